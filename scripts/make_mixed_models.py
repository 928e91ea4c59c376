#!/usr/bin/env python3
"""Writes recipes of models with mixed quantised types, one for each architecture, and the
logits that others compute with the same weights, to tests/data/decoders_mixed/.

    python3 -m venv .venv && .venv/bin/pip install numpy gguf torch transformers
    mkdir judge && (cd judge && npm install --ignore-scripts node-llama-cpp)
    .venv/bin/python scripts/make_mixed_models.py --modules judge [NAME...]

A recipe has a file's keys and tensors, but no data: blocks are random bits of a counter,
which the tests make again (`tests/support/recipe.rs`), and `sum` tells whether they are the
same. What the blocks decode to is what PyPI's `gguf` says. Models are those of
`make_decoder_models.py` and `make_judged_models.py`, with rows of 256 and more; the
judge is transformers or llama.cpp as there, with the decoded weights as F32.

Which types a file has is taken from the mixes that llama.cpp's quantisation makes: one for
most matrices, others for values, `ffn_down`, embeddings and output; what it leaves alone
is F32 here, and a matrix whose rows its type does not fit gets one that fits.
"""

import argparse
import json
import pathlib
import tempfile

import decoder_sizes

decoder_sizes.SCALE = 16

import gguf
import numpy as np
import torch
import transformers as hf

import make_judged_models as by_llama
from decoder_models import VOCAB, configurations, plain_tensors
from make_decoder_models import sizes, tokenizer
from make_quant_fixtures import TYPES

ROOT = pathlib.Path(__file__).resolve().parent.parent
OUT = ROOT / "tests" / "data" / "decoders_mixed"
LENGTH = 11

# Most matrices, values, ffn_down, embeddings, output.
MIXES = [
    ("Q4_K", "Q6_K", "Q6_K", "Q4_K", "Q6_K"),
    ("Q4_0", "Q5_1", "Q4_1", "Q8_0", "Q5_0"),
    ("IQ2_S", "IQ3_S", "IQ2_XS", "IQ3_S", "Q5_K"),
    ("Q3_K", "Q5_K", "Q4_K", "Q3_K", "Q6_K"),
    ("IQ4_XS", "Q5_K", "IQ3_XXS", "Q4_K", "Q6_K"),
    ("MXFP4", "Q8_0", "MXFP4", "BF16", "Q8_0"),
    ("Q2_K", "Q3_K", "Q3_K", "Q2_K", "Q6_K"),
    ("IQ2_XXS", "IQ1_M", "IQ1_S", "Q2_K", "Q5_K"),
    ("NVFP4", "F16", "NVFP4", "Q8_0", "IQ4_NL"),
    ("TQ2_0", "TQ1_0", "TQ1_0", "Q4_K", "Q6_K"),
]
# Turns of architectures that came later, so that the others keep theirs.
LATER = {"arwkv7": 9, "bailingmoe3": 8, "cogvlm": 6, "graniteswitch": 0, "grovemoe": 4, "hrm_text": 2,
         "muse-glimmer": 3, "plamo2": 1, "rwkv6": 3, "rwkv6qwen2": 5, "rwkv7": 0, "spark2_5": 7,
         "talkie": 5}
# What llama.cpp does not quantise.
LEFT = ("norm", "attn_rel_b", "ffn_gate_inp", "altup", "laurel", "per_layer_model_proj", "position_embd",
        "ssm_conv1d", "shortconv.conv", "rope", "sinks", "lerp", "time_mix_first", "time_mix_decay",
        *(f"time_mix_{letter}{number}" for letter in "wavg" for number in (1, 2)))
SMALLER = {"Q4_K": "Q5_0", "Q5_K": "Q5_1", "Q6_K": "Q8_0", "TQ1_0": "Q4_0", "TQ2_0": "Q4_0"}
# What the second scale of a block is to the first, where values would else all be positive.
SHIFTS = {"Q4_1": -7.5, "Q5_1": -15.5}


def kind_of(name, shape, mix):
    """The type of a tensor."""
    if not name.endswith(".weight") or len(shape) < 2 or any(part in name for part in LEFT):
        return "F32"
    most, value, down, embedding, output = mix
    kind = most
    if "attn_v" in name or "attn_qkv" in name:
        kind = value
    elif "ffn_down" in name:
        kind = down
    elif "token_embd" in name:
        kind = embedding
    elif name == "output.weight":
        kind = output
    for other in kind, SMALLER.get(kind, "IQ4_NL"):
        if shape[-1] % gguf.GGML_QUANT_SIZES[gguf.GGMLQuantizationType[other]][0] == 0:
            return other
    return "F16"


def words(number, count):
    """Random bits (SplitMix64) of the tensor of that number."""
    mask, golden = np.uint64(0xFFFFFFFFFFFFFFFF), np.uint64(0x9E3779B97F4A7C15)
    with np.errstate(over="ignore"):
        z = np.uint64(number << 32) + np.arange(1, count + 1, dtype=np.uint64) * golden & mask
        z = (z ^ z >> np.uint64(30)) * np.uint64(0xBF58476D1CE4E5B9)
        z = (z ^ z >> np.uint64(27)) * np.uint64(0x94D049BB133111EB)
    return z ^ z >> np.uint64(31)


def spread_of(name, shape):
    """(middle, standard deviation) of a tensor's values; weights large enough for every
    part to count."""
    if "norm" in name or "time_mix_ln" in name:
        return float(not name.endswith("bias")), 0.3
    if name.endswith("ssm_a"):
        return -0.6, 0.25
    if name.startswith("rope_freqs"):
        return 1.8, 0.4
    if name.endswith("ssm_d"):
        return 0.0, 0.5
    if "lerp" in name or name.endswith(("_k_k.weight", "_k_a.weight")):
        return 0.5, 0.3
    if name.endswith("time_mix_decay.weight"):
        return -1.0, 0.5
    if "scale" in name:
        return 1.0, 0.2
    if name.endswith("bias"):
        return 0.0, 0.3
    if "sinks" in name:
        return 0.0, 1.0
    if "attn_rel_b" in name:
        return 0.0, 3.0
    return 0.0, 1.6 / shape[-1] ** 0.5


def plain(name, kind, shape, number, share):
    """(data, values, how to make them) of types without blocks."""
    middle, deviation = spread_of(name, shape)
    middle, half = float(np.float32(middle)), float(np.float32(share * deviation * 3**0.5))
    drawn = (words(number, int(np.prod(shape))) >> np.uint64(40)).astype(np.float64)
    values = (middle + half * (drawn / 2**23 - 1)).astype(np.float32).reshape(shape)
    quant = gguf.GGMLQuantizationType[kind]
    data = values if kind == "F32" else gguf.quantize(values, quant)
    return data, gguf.dequantize(data, quant).reshape(shape), [middle, half]


def blocks(kind, shape, number, share):
    """The same of a type with blocks: random bits, and scales for values of the size that
    weights have."""
    quant = gguf.GGMLQuantizationType[kind]
    length, size = gguf.GGML_QUANT_SIZES[quant]
    rows, columns = int(np.prod(shape[:-1])), shape[-1]
    total = rows * columns // length * size
    data = words(number, -(-total // 8)).view(np.uint8)[:total].copy()
    data = data.reshape(rows, columns // length, size)

    def scaled(by):
        """Sets the scales; gives their bits."""
        if kind == "MXFP4":
            bits = [127 + round(np.log2(by))]
            data[..., 0] = bits[0]
        elif kind == "NVFP4":
            bits = [8 * (7 + round(np.log2(by)))]
            data[..., :4] = bits[0]
        elif kind == "IQ1_M":
            bits = [int(np.array(by, "<f2").view(np.uint16))]
            for i in range(4):
                data[..., 49 + 2 * i] = data[..., 49 + 2 * i] & 0x0F | (bits[0] >> 4 * i & 0xF) << 4
        else:
            factors = [by, by * SHIFTS.get(kind, 1.0)]
            places = TYPES[kind][1]
            bits = [int(np.array(factors[i], "<f2").view(np.uint16)) for i in range(len(places))]
            for at, value in zip(places, bits):
                data[..., at : at + 2] = np.array([value], "<u2").view(np.uint8)
        return gguf.dequantize(data.reshape(rows, -1), quant), bits

    values, bits = scaled(1.6 * share / columns**0.5 / scaled(1.0)[0].std())
    return data.reshape(*shape[:-1], -1), values.reshape(shape), bits


def fill(shapes, mix, share=lambda name: 1.0):
    """({name: values}, tensors of a recipe, sum over all data); `share` says what the weights
    of a tensor are multiplied with."""
    values, listed, total = {}, [], 0
    for number, (name, shape) in enumerate(shapes.items()):
        kind = kind_of(name, shape, mix)
        if kind in ("F32", "F16", "BF16"):
            data, values[name], how = plain(name, kind, shape, number, share(name))
        else:
            data, values[name], how = blocks(kind, shape, number, share(name))
        listed.append([name, kind, list(shape), how])
        raw = np.ascontiguousarray(data).tobytes()
        padded = np.frombuffer(raw + bytes(-len(raw) % 4), "<u4").astype(np.uint64)
        with np.errstate(over="ignore"):
            total += int((padded * np.arange(1, len(padded) + 1, dtype=np.uint64)).sum())
    return values, listed, total % 2**64


def places(model, architecture, config):
    """{tensor of the file: (places of its elements among all parameters, what is added)}"""
    unique = {t.data_ptr(): t for t in model.state_dict().values()}
    def given(fill):
        at = 0
        for tensor in unique.values():
            tensor.copy_(fill(at, tensor.numel()).reshape(tensor.shape))
            at += tensor.numel()
        assert at < 2**24
        return dict(plain_tensors(model, architecture, config))
    added = given(lambda at, count: torch.zeros(count))
    counted = given(lambda at, count: torch.arange(at, at + count, dtype=torch.float32))
    return unique, {
        name: ((value - added[name]).astype(np.int64), float(added[name].flat[0]))
        for name, value in counted.items()}


def give(unique, where, values):
    """Gives a model of transformers the weights of the file."""
    flat = np.full(sum(t.numel() for t in unique.values()), np.nan, np.float32)
    for name, (at, added) in where.items():
        flat[at] = values[name] - np.float32(added)
    assert not np.isnan(flat).any()
    at = 0
    for tensor in unique.values():
        tensor.copy_(torch.from_numpy(flat[at : at + tensor.numel()]).reshape(tensor.shape))
        at += tensor.numel()


@torch.no_grad()
def of_transformers(name, config, keys, mix, path):
    """Makes the file of keys; gives the rest of a recipe."""
    torch.manual_seed(1)
    model = hf.AutoModelForCausalLM.from_config(config, attn_implementation="eager").eval().float()
    unique, where = places(model, name, config)
    values, listed, total = fill({t: at.shape for t, (at, _) in where.items()}, mix)
    give(unique, where, values)
    keys = {k: v for k, v in keys.items() if k not in ("lengths", "deep", "types")}
    fixed = keys.pop("tensors", {})
    tokens = np.random.default_rng(len(name)).integers(8, VOCAB, LENGTH).tolist()
    logits = model(torch.tensor([tokens])).logits[0, -1].numpy()
    writer = gguf.GGUFWriter(path, name)
    sizes(writer, config, keys)
    add = {int: writer.add_uint32, float: writer.add_float32, str: writer.add_string,
           bool: writer.add_bool, list: writer.add_array}
    for key, value in keys.items():
        add[type(value)](f"{name}.{key}", value)
    for key, value in fixed.items():
        writer.add_tensor(key, np.array(value, np.float32))
    finish(writer)
    return dict(judge="transformers", tensors=listed, fixed=fixed, sum=total,
                tokens=tokens, logits=logits)


def of_llama(name, model, mix, path, modules):
    share = lambda name: by_llama.share(model, name)
    values, listed, total = fill(model.tensors, mix, share)
    writer = gguf.GGUFWriter(path, name)
    add = {int: writer.add_uint32, float: writer.add_float32, str: writer.add_string,
           bool: writer.add_bool, list: writer.add_array}
    for key, value in model.keys.items():
        add[type(value)](key if key.startswith("xielu.") else f"{name}.{key}", value)
    tokenizer(writer)
    for key, value in (values | model.fixed).items():
        writer.add_tensor(key, np.array(value, np.float32))
    finish(writer)
    tokens = np.random.default_rng(len(name)).integers(8, VOCAB, LENGTH).tolist()
    tokens = by_llama.spoken(model, tokens)
    logits = by_llama.judged(modules, path, tokens, path.parent)[-1]
    return dict(judge="llama.cpp", tensors=listed, fixed=model.fixed, sum=total,
                tokens=tokens, logits=logits)


def finish(writer):
    writer.write_header_to_file()
    writer.write_kv_data_to_file()
    writer.write_tensors_to_file()
    writer.close()


def keys_of(path):
    """[key, type, value] of all but the vocabulary."""
    for field in gguf.GGUFReader(path).fields.values():
        if not field.name.startswith(("GGUF.", "tokenizer.")):
            yield [field.name, " ".join(kind.name for kind in field.types), shown(field.contents())]


def shown(value):
    """A key's value; numbers that JSON does not have are texts."""
    if isinstance(value, list):
        return [shown(item) for item in value]
    return str(value) if isinstance(value, float) and not np.isfinite(value) else value


def main():
    parser = argparse.ArgumentParser()
    parser.add_argument("names", nargs="*")
    parser.add_argument("--modules", default=".")
    given = parser.parse_args()
    OUT.mkdir(parents=True, exist_ok=True)
    first = lambda name: "--" not in name
    models = {name: (of_transformers, (config, keys))
              for name, config, keys in configurations() if first(name)}
    models |= {name: (of_llama, (model,)) for name, model in by_llama.models() if first(name)}
    turns = {name: i for i, name in enumerate(sorted(models.keys() - LATER.keys()))} | LATER
    for name, (make, what) in sorted(models.items()):
        if given.names and name not in given.names:
            continue
        with tempfile.TemporaryDirectory() as folder:
            path = pathlib.Path(folder) / f"{name}.gguf"
            more = (given.modules,) if make is of_llama else ()
            recipe = make(name, *what, MIXES[turns[name] % len(MIXES)], path, *more)
            recipe = {"keys": list(keys_of(path)), **recipe}
        largest = float(np.abs(recipe["logits"]).max())
        recipe["logits"] = [float(f"{x:.7g}") for x in recipe["logits"]]
        lines = ",\n".join(f" {json.dumps(k)}: {json.dumps(v, allow_nan=False)}" for k, v in recipe.items())
        (OUT / f"{name}.json").write_text("{\n" + lines + "\n}\n")
        print(name, recipe["judge"], "largest logit", largest, flush=True)


if __name__ == "__main__":
    main()

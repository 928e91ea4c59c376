#!/usr/bin/env python3
"""Writes stand-ins of published language models: GGUF files with their sizes, keys and
names of tensors, of random weights, in the quantised types that published files have.

    python3 -m venv .venv && .venv/bin/pip install numpy gguf llama-cpp-python
    pip download --no-deps --no-binary :all: llama-cpp-python   # unpack: vendor/llama.cpp/models
    .venv/bin/python scripts/make_stand_ins.py --vocabularies models OUT [NAME...]

Which models there are is in `stand_ins.py`. Weights are drawn so that what a matrix gives
is as large as what it is given; norms are near 1. A file is written as the converter does
(F16, small tensors F32), and llama.cpp's own quantisation makes the mix of it
(`Q4_K_M` and so on), so types are chosen by its rules. Vocabularies are real where
llama.cpp has them, cut or filled up to the model's size (with unused tokens, as the
converter does).
"""

import argparse
import ctypes
import pathlib
import sys

import gguf
import llama_cpp as llama
import numpy as np

import make_judged_models as judged
import stand_ins

MIXES = {"F32": 0, "F16": 1, "Q4_0": 2, "Q8_0": 7, "Q2_K": 10, "Q3_K_M": 12, "Q4_K_M": 15,
         "Q5_K_M": 17, "Q6_K": 18, "IQ4_XS": 30, "BF16": 32, "MXFP4_MOE": 38}
# What the converter leaves in F32, beside vectors.
PLAIN = ("_norm.weight", "ffn_gate_inp.weight", "position_embd", "ssm_conv1d", "shortconv.conv",
         "time_mix_w1", "time_mix_w2", "time_mix_first", "time_mix_decay_w", "lerp_fused", "altup_correct_coef",
         "altup_predict_coef", "ffn_gate_inp_shexp")
# Random numbers that tensors take turns with; a prime, so that no two rows are the same.
POOL = 16777259
UNUSED, CONTROL, NORMAL = 5, 3, 1


def is_plain(name, shape):
    return len(shape) < 2 or not name.endswith(".weight") or any(part in name for part in PLAIN)


class Weights:
    def __init__(self, seed):
        self.rng = np.random.default_rng(seed)
        self.pool = self.rng.standard_normal(POOL, np.float32)

    def of(self, name, shape):
        """Values of a tensor, F32 or F16."""
        if is_plain(name, shape):
            return self.small(name, shape)
        # Rows of embeddings are one each, not a sum of as many numbers.
        deviation = 0.3 if name == "token_embd.weight" else 1.0
        drawn = (self.pool * np.float32(deviation / shape[-1] ** 0.5)).astype(np.float16)
        drawn = np.roll(drawn, int(self.rng.integers(POOL)))
        return np.resize(drawn, shape)

    def small(self, name, shape):
        normal = self.rng.standard_normal(shape, np.float32)
        if "norm" in name and not name.endswith("bias") or name.endswith(("norm", "norm_2")):
            return 1 + np.float32(0.1) * normal
        # Small time steps and quick decays, as trained models begin with.
        if name.endswith("ssm_dt.bias"):
            return np.float32(0.5) * normal - np.float32(3)
        if name.endswith("ssm_a"):
            return -np.exp(np.abs(normal))
        if "conv" in name:
            return np.float32(0.3) * normal
        if name.endswith("bias") and "exps" not in name and "ssm" not in name:
            return np.float32(0.1) * normal
        return judged.values(name, shape, self.rng)


def vocabulary(writer, model, folder):
    if model.words == "rwkv":
        return longest_tokens(writer, model.vocabulary)
    file, pre = model.words
    fields = gguf.GGUFReader(folder / f"ggml-vocab-{file}.gguf").fields
    given = {field.name: field.contents() for field in fields.values()
             if field.name.startswith("tokenizer.ggml.")}
    of = lambda name: given.get(f"tokenizer.ggml.{name}")
    size, have = model.vocabulary, len(of("tokens"))
    cut = dict(tokens=of("tokens")[:size], token_type=of("token_type")[:size])
    # Special tokens that are cut off take the places of the last ones that are not.
    place = min(size, have)
    for name in [name for name in given if name.endswith("_token_id") and given[name] >= size]:
        place -= 1
        cut["tokens"][place], cut["token_type"][place] = of("tokens")[given[name]], CONTROL
        given[name] = place
    missing = max(size - have, 0)
    given["tokenizer.ggml.tokens"] = cut["tokens"] + [f"[PAD{i}]" for i in range(missing)]
    given["tokenizer.ggml.token_type"] = cut["token_type"] + [UNUSED] * missing
    if of("scores"):
        given["tokenizer.ggml.scores"] = of("scores")[:size] + [-1000.0] * missing
    if of("merges"):
        there = set(cut["tokens"])
        whole = lambda line: [line.replace(" ", "", 1), *line.split(" ")]
        given["tokenizer.ggml.merges"] = [line for line in of("merges") if there.issuperset(whole(line))]
    if pre:
        given["tokenizer.ggml.pre"] = pre
    for name, value in given.items():
        types = fields[name].types if name in fields else [gguf.GGUFValueType.STRING]
        inner = types[1] if types[0] == gguf.GGUFValueType.ARRAY else None
        writer.add_key_value(name, value, types[0], inner)


def longest_tokens(writer, size):
    """RWKV's kind: bytes with escapes, and the longest token wins."""
    words = [f"\\x{byte:02x}" for byte in range(256)]
    words += [f"{a}{b}{c}" for a in " etaoinsrhld" for b in "etaoinshrdlucmfw" for c in "etaoinshrdlu "]
    words = ["<s>", *dict.fromkeys(words)][:size]
    missing = size - len(words)
    writer.add_tokenizer_model("rwkv")
    writer.add_token_list(words + [f"[PAD{i}]" for i in range(missing)])
    writer.add_token_types([3] + [NORMAL] * (len(words) - 1) + [UNUSED] * missing)
    writer.add_bos_token_id(0)
    writer.add_eos_token_id(0)


def write(model, path, folder):
    """The file as the converter writes it."""
    writer = gguf.GGUFWriter(path, model.architecture)
    writer.add_type("model")
    writer.add_name(model.repository.split("/")[1])
    writer.add_file_type(MIXES["F16"])
    add = {int: writer.add_uint32, float: writer.add_float32, str: writer.add_string,
           bool: writer.add_bool, list: writer.add_array}
    for key, value in model.keys.items():
        add[type(value)](f"{model.architecture}.{key}", value)
    vocabulary(writer, model, folder)
    writer.add_quantization_version(2)
    for name, shape in model.tensors.items():
        kind = np.dtype(np.float32 if is_plain(name, shape) else np.float16)
        writer.add_tensor_info(name, shape, kind, int(np.prod(shape)) * kind.itemsize)
    for name, numbers in model.fixed.items():
        writer.add_tensor_info(name, [len(numbers)], np.dtype(np.float32), 4 * len(numbers))
    writer.write_header_to_file()
    writer.write_kv_data_to_file()
    writer.write_ti_data_to_file()
    weights = Weights(len(model.repository))
    for name, shape in model.tensors.items():
        writer.write_tensor_data(weights.of(name, shape))
    for numbers in model.fixed.values():
        writer.write_tensor_data(np.array(numbers, np.float32))
    writer.close()


def quantise(source, out, mix, embeddings=None):
    """llama.cpp's quantisation, also of what is quantised (then `F32` decodes it).
    `embeddings`: the type that the table of embeddings keeps."""
    given = llama.llama_model_quantize_default_params()
    given.nthread, given.ftype, given.allow_requantize = 2, MIXES[mix], True
    given.max_buf_size = 1 << 30
    if embeddings is not None:
        given.token_embedding_type = int(embeddings)
    if llama.llama_model_quantize(str(source).encode(), str(out).encode(), ctypes.byref(given)):
        raise SystemExit(f"{out}: llama.cpp did not make it")


def quiet():
    @llama.llama_log_callback
    def said(level, text, _):
        if level >= 4:
            sys.stderr.write(text.decode(errors="replace"))
    quiet.kept = said
    llama.llama_log_set(said, ctypes.c_void_p())


def make(name, model, out, folder):
    path = out / f"{name}.gguf"
    if model.mix == "F16":
        write(model, path, folder)
        return path
    source = out / f"{name}.f16.gguf"
    write(model, source, folder)
    quantise(source, path, model.mix)
    source.unlink()
    return path


def main():
    parser = argparse.ArgumentParser()
    parser.add_argument("out", type=pathlib.Path)
    parser.add_argument("names", nargs="*")
    parser.add_argument("--vocabularies", type=pathlib.Path, required=True)
    given = parser.parse_args()
    quiet()
    for name, model in stand_ins.models():
        if not given.names or name in given.names:
            path = make(name, model, given.out, given.vocabularies)
            print(f"{name}: {path.stat().st_size / 2**20:.0f} MiB, {model.mix}", flush=True)


if __name__ == "__main__":
    main()

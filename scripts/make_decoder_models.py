#!/usr/bin/env python3
"""Writes a small language model with random weights for each architecture, and
the logits that Hugging Face transformers computes with it, to
tests/data/decoders/.

    python3 -m venv .venv && .venv/bin/pip install numpy gguf torch transformers
    .venv/bin/python scripts/make_decoder_models.py

A model is `<architecture>.gguf` (F32, with the names and conventions of
llama.cpp's `convert_hf_to_gguf.py`) and `<architecture>.json`: `tokens`, and for
some `lengths` the `logits` after so many of them. Windows are short and factors
large, so that a block that ignores them is found out. Where an architecture has
several forms there are several files, the form behind two dashes. Names on the command
line make only those.

What is particular to an architecture is in `decoder_models.py`.
"""

import json
import pathlib

import sys

import gguf
import numpy as np
import torch
import transformers as hf

from decoder_models import VOCAB, configurations, tensors

OUT = pathlib.Path(__file__).resolve().parent.parent / "tests" / "data" / "decoders"
LENGTHS = [1, 7, 13, 24]

def tokenizer(writer):
    """Special tokens, one for each byte, and one that two bytes merge to."""
    printable = [*range(33, 127), *range(161, 173), *range(174, 256)]
    others = [b for b in range(256) if b not in printable]
    chars = {b: chr(b) for b in printable} | {b: chr(256 + i) for i, b in enumerate(others)}
    special = ["<pad>", "<s>", "</s>", *[f"<{i}>" for i in range(4)]]
    writer.add_tokenizer_model("gpt2")
    writer.add_tokenizer_pre("gpt-2")
    writer.add_token_list(special + [chars[b] for b in range(256)] + ["he"])
    writer.add_token_types([3] * len(special) + [1] * 257)
    writer.add_token_merges(["h e"])
    writer.add_bos_token_id(1)
    writer.add_eos_token_id(2)


def randomise(model, generator):
    """Weights large enough for every part to count."""
    kind = type(model).__name__.lower()
    ones = "gemma3n" in kind or "gemma4" in kind
    zero_centred = "gemma" in kind and not ones or "nemotron" in kind
    for name, parameter in model.named_parameters():
        norm = "norm" in name or ".ln_" in name or name.endswith("scale")
        scale = 0.3 if norm or "bias" in name else 1.6 / parameter.shape[-1] ** 0.5
        offset = 1.0 if norm and "bias" not in name.split(".")[-1] and not zero_centred else 0.0
        parameter.data = offset + scale * torch.randn(parameter.shape, generator=generator)
    for name, buffer in model.named_buffers():
        if name.endswith("e_score_correction_bias"):
            buffer.data = 0.2 * torch.randn(buffer.shape, generator=generator)
        if name.endswith("layer_scalar"):
            buffer.data = 1 + 0.2 * torch.randn(buffer.shape, generator=generator)


def soften(model):
    """Makes blocks add little: rounding would grow through many of them, in the
    judge as well."""
    for name, parameter in model.named_parameters():
        if "layernorm" in name and ".post_" in name:
            parameter.data -= 0.8


def theta_of(config):
    parameters = getattr(config, "rope_parameters", None) or {}
    theta = getattr(config, "rope_theta", None) or parameters.get("rope_theta")
    if theta is None and "full_attention" in parameters:
        theta = parameters["full_attention"]["rope_theta"]
    return float(theta or 10000.0)


def sizes(writer, config, keys):
    """The keys that every file has."""
    of = lambda *names: next(v for n in names if (v := getattr(config, n, None)) is not None)
    heads, width = of("num_attention_heads"), of("hidden_size")
    kv_heads = keys.pop("kv_heads", None) or getattr(config, "num_key_value_heads", None) or heads
    head = keys.pop("head", None) or getattr(config, "head_dim", None) or width // heads
    context = keys.pop("context", None)
    writer.add_context_length(context or of("max_position_embeddings"))
    writer.add_embedding_length(width)
    writer.add_block_count(config.num_hidden_layers)
    writer.add_feed_forward_length(keys.pop("feed_forward", None) or of("intermediate_size"))
    writer.add_head_count(heads)
    writer.add_head_count_kv(kv_heads)
    for name, add in ("key", writer.add_key_length), ("value", writer.add_value_length):
        add(keys.pop(f"attention.{name}_length", head))
    epsilon = keys.pop("layer_norm_eps", None)
    if epsilon is None:
        writer.add_layer_norm_rms_eps(of("rms_norm_eps", "norm_eps"))
    else:
        writer.add_layer_norm_eps(epsilon)
    writer.add_rope_freq_base(theta_of(config))


def write(name, architecture, config, keys):
    generator = torch.Generator().manual_seed(len(name) * 1009 + config.num_hidden_layers)
    model = hf.AutoModelForCausalLM.from_config(config, attn_implementation="eager").eval().float()
    randomise(model, generator)
    if config.tie_word_embeddings:
        model.tie_weights()
    tokens = torch.randint(8, VOCAB, (max(LENGTHS),), generator=generator)
    keys = dict(keys)
    lengths = keys.pop("lengths", LENGTHS)
    if keys.pop("deep", False):
        soften(model)
    weights = dict(tensors(model, architecture, config, keys.pop("types", None)))
    for tensor, values in keys.pop("tensors", {}).items():
        weights[tensor] = (np.array(values, np.float32), None)
    with torch.no_grad():
        logits = [model(tokens[None, :n]).logits[0, -1].numpy() for n in lengths]
    writer = gguf.GGUFWriter(OUT / f"{name}.gguf", architecture)
    sizes(writer, config, keys)
    add = {
        int: writer.add_uint32, float: writer.add_float32, str: writer.add_string,
        bool: writer.add_bool, list: writer.add_array,
    }
    for key, value in keys.items():
        add[type(value)](f"{architecture}.{key}", value)
    tokenizer(writer)
    for tensor, (value, kind) in weights.items():
        writer.add_tensor(tensor, value, raw_dtype=kind)
    writer.write_header_to_file()
    writer.write_kv_data_to_file()
    writer.write_tensors_to_file()
    writer.close()
    shortest = [[float(str(logit)) for logit in row] for row in logits]
    judged = {"tokens": tokens.tolist(), "lengths": lengths, "logits": shortest}
    (OUT / f"{name}.json").write_text(json.dumps(judged) + "\n")
    print(name, "theta", theta_of(config), "largest logit", max(map(abs, shortest[-1])))


def main():
    OUT.mkdir(parents=True, exist_ok=True)
    for name, config, keys in configurations():
        if not sys.argv[1:] or name in sys.argv[1:]:
            write(name, name.split("--")[0], config, keys)


if __name__ == "__main__":
    main()

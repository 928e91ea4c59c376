#!/usr/bin/env python3
"""Writes small models in two parts (T5, UMT5) with random weights, and the logits that
Hugging Face transformers computes with them in f64, to tests/data/decoders/ and, of mixed
quantised types, to tests/data/decoders_mixed/.

    python3 -m venv .venv && .venv/bin/pip install numpy gguf torch transformers
    .venv/bin/python scripts/make_t5_models.py [NAME...]

`tokens` are those that are read, the token that ends them, the one that what is written
begins with, and what follows; `further` has other tokens of the same model. How weights
are made is in `make_mixed_models.py`.
"""

import json
import pathlib
import sys
import tempfile

import gguf
import numpy as np
import torch
import transformers as hf

from make_decoder_models import tokenizer
from make_mixed_models import MIXES, fill, finish, keys_of

ROOT = pathlib.Path(__file__).resolve().parent.parent / "tests" / "data"
PLAIN = ("F32",) * 5
VOCAB, END, START, BUCKETS = 264, 2, 0, 32
# Tokens that are read, those that are written, and behind how many of these logits are given.
CASES = [(24, 6, [1, 2, 4, 6]), (1, 4, [1, 3, 4]), (7, 5, [1, 2, 5]), (140, 4, [1, 3, 4]), (9, 150, [150])]


def config_of(name, width, heads, head, feed, blocks, written):
    common = dict(
        vocab_size=VOCAB, d_model=width, d_kv=head, d_ff=feed, num_heads=heads, num_layers=blocks,
        num_decoder_layers=written, layer_norm_epsilon=1e-5, pad_token_id=START, eos_token_id=END,
        decoder_start_token_id=START, relative_attention_num_buckets=BUCKETS,
        relative_attention_max_distance=128, dropout_rate=0.0)
    if name == "t5--every":
        return hf.UMT5ForConditionalGeneration(hf.UMT5Config(
            **common, feed_forward_proj="gated-gelu", tie_word_embeddings=False))
    tied = name == "t5"
    return hf.T5ForConditionalGeneration(hf.T5Config(
        **common, feed_forward_proj="relu" if tied else "gated-gelu", tie_word_embeddings=tied))


def names(model):
    """{tensor of the file: tensor of transformers}"""
    given = model.state_dict()
    found = {"token_embd.weight": "shared.weight"}
    if not model.config.tie_word_embeddings:
        found["output.weight"] = "lm_head.weight"
    for part in "encoder", "decoder":
        found[f"{part[:3]}.output_norm.weight"] = f"{part}.final_layer_norm.weight"
    stems = {
        "SelfAttention.relative_attention_bias": "attn_rel_b", "DenseReluDense.wi_0": "ffn_gate",
        "DenseReluDense.wi_1": "ffn_up", "DenseReluDense.wi": "ffn_up", "DenseReluDense.wo": "ffn_down"}
    stems |= {f"SelfAttention.{letter}": f"attn_{letter}" for letter in "qkvo"}
    stems |= {f"EncDecAttention.{letter}": f"cross_attn_{letter}" for letter in "qkvo"}
    for theirs in given:
        parts = theirs.split(".")
        if len(parts) < 6 or parts[1] != "block":
            continue
        stem = ".".join(parts[5:-1])
        if stem == "layer_norm":
            last = parts[4] == ("1" if parts[0] == "encoder" else "2")
            stem = "ffn_norm" if last else "attn_norm" if parts[4] == "0" else "cross_attn_norm"
        else:
            stem = stems[stem]
        found[f"{parts[0][:3]}.blk.{parts[2]}.{stem}.weight"] = theirs
    return found


@torch.no_grad()
def judged(model, source, written, lengths):
    logits = model(torch.tensor([source]), decoder_input_ids=torch.tensor([written])).logits[0]
    return {"tokens": source + written, "lengths": [len(source) + n for n in lengths],
            "logits": [[float(f"{x:.8g}") for x in logits[n - 1].tolist()] for n in lengths]}


def make(name, sizes, mix, path):
    """(the model with its weights, tensors of a recipe, sum); the file is at `path`."""
    width, heads, head, feed, blocks, written = sizes
    model = config_of(name, *sizes).eval().double()
    found = names(model)
    shapes = {ours: tuple(model.state_dict()[theirs].shape) for ours, theirs in found.items()}
    values, listed, total = fill(shapes, mix)
    with torch.no_grad():
        for ours, theirs in found.items():
            model.state_dict()[theirs].copy_(torch.from_numpy(values[ours].astype(np.float64)))
    writer = gguf.GGUFWriter(path, "t5")
    writer.add_context_length(256)
    writer.add_embedding_length(width)
    writer.add_feed_forward_length(feed)
    writer.add_block_count(blocks)
    if written != blocks:
        writer.add_uint32("t5.decoder_block_count", written)
    writer.add_head_count(heads)
    writer.add_key_length(head)
    writer.add_value_length(head)
    writer.add_layer_norm_eps(1e-5)
    writer.add_layer_norm_rms_eps(1e-5)
    writer.add_relative_attn_buckets_count(BUCKETS)
    writer.add_decoder_start_token_id(START)
    tokenizer(writer)
    if mix is PLAIN:
        for ours, value in values.items():
            writer.add_tensor(ours, np.array(value, np.float32))
    finish(writer)
    return model, listed, total


def main():
    random = np.random.default_rng(5)
    for name in "t5", "t5--gated", "t5--every":
        # Those that are made do not depend on which are asked for.
        cases = [(random.integers(8, VOCAB, read - 1).tolist() + [END],
                  [START] + random.integers(8, VOCAB, count - 1).tolist(), lengths)
                 for read, count, lengths in CASES]
        if sys.argv[1:] and name not in sys.argv[1:]:
            continue
        path = ROOT / "decoders" / f"{name}.gguf"
        model, _, _ = make(name, (32, 4, 10, 48, 2, 2 if name == "t5" else 3), PLAIN, path)
        first, *further = [judged(model, *case) for case in cases]
        path.with_suffix(".json").write_text(json.dumps({**first, "further": further}) + "\n")
        print(name, "largest logit", max(map(abs, first["logits"][-1])), flush=True)
    if not sys.argv[1:] or "mixed" in sys.argv[1:]:
        with tempfile.TemporaryDirectory() as folder:
            path = pathlib.Path(folder) / "model.gguf"
            model, listed, total = make("t5--gated", (256, 8, 32, 256, 2, 2), MIXES[0], path)
            keys = list(keys_of(path))
        read = np.random.default_rng(2).integers(8, VOCAB, 12).tolist()
        case = judged(model, read[:8] + [END], [START] + read[8:], [5])
        recipe = dict(keys=keys, judge="transformers", tensors=listed, fixed={}, sum=total,
                      tokens=case["tokens"], logits=case["logits"][0])
        lines = ",\n".join(f" {json.dumps(k)}: {json.dumps(v)}" for k, v in recipe.items())
        (ROOT / "decoders_mixed" / "t5.json").write_text("{\n" + lines + "\n}\n")
        print("mixed", "largest logit", max(map(abs, recipe["logits"])), flush=True)


if __name__ == "__main__":
    main()

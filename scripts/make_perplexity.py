#!/usr/bin/env python3
"""Has llama.cpp measure how well SmolLM2 foresees the first tokens of the text in
tests/data/smollm2/perplexity.json, and writes the figures there as `quick`.

    python3 -m venv .venv && .venv/bin/pip install numpy gguf llama-cpp-python
    .venv/bin/python scripts/make_perplexity.py --model MODEL.gguf

The formula is that of its `llama-perplexity`: windows that do not overlap, each computed
from its beginning; of a window of n tokens those from n / 2 + 1 on are scored, and the
perplexity is the exponential of the mean surprise. Logits are llama.cpp's on the weights
that the file decodes to, as F32, with an F32 cache.
"""

import argparse
import json
import pathlib
import tempfile

import numpy as np

import compare_stand_ins as compared
import make_stand_ins as made

PATH = compared.ROOT / "tests" / "data" / "smollm2" / "perplexity.json"
# (tokens, tokens of a window)
SIZES = [(96, 96), (128, 64)]


def surprises(model, window):
    """Of each token that is scored."""
    compared.llama.llama_memory_clear(compared.llama.llama_get_memory(model.context), True)
    rows = [model.row([token]) for token in window]
    half = len(window) // 2
    return [-rows[at][window[at + 1]] for at in range(half, len(window) - 1)]


def main():
    parser = argparse.ArgumentParser()
    parser.add_argument("--model", type=pathlib.Path, required=True)
    given = parser.parse_args()
    made.quiet()
    known = json.loads(PATH.read_text())
    known["quick"] = []
    with tempfile.TemporaryDirectory() as folder:
        plain = pathlib.Path(folder) / "plain.gguf"
        compared.decoded(given.model, plain)
        model = compared.Theirs(plain, 512)
        if compared.llama.llama_vocab_get_add_bos(model.vocabulary):
            raise SystemExit("a window would begin with another token")
        for count, size in SIZES:
            windows = [known["ids"][at : at + size] for at in range(0, count, size)]
            all_of = np.concatenate([surprises(model, window) for window in windows])
            figure = {"tokens": count, "n_ctx": size, "n_scored": len(all_of),
                      "perplexity_f32_weights_dequantised": float(np.exp(all_of.mean()))}
            known["quick"].append(figure)
            print(figure)
        model.close()
    PATH.write_text(json.dumps(known) + "\n")


if __name__ == "__main__":
    main()

#!/usr/bin/env python3
"""Makes a small vocabulary of byte strings, as RWKV has one, and writes what llama.cpp makes
of some hundred texts with it, to tests/data/tokenizers/longest.gguf and longest.json.

    python3 -m venv .venv && .venv/bin/pip install numpy gguf
    mkdir judge && (cd judge && npm install --ignore-scripts node-llama-cpp)
    .venv/bin/python scripts/make_longest_tokens.py --modules judge

The texts are those of `lines.json`. Tokens are all bytes and the parts of the texts that
come most often, some of which end in the middle of a character; they are spelled as Python
does between quotes. llama.cpp takes the text of the control token for it, which is left out
here. At each place of a text the longest one counts.
"""

import argparse
import collections
import json
import pathlib
import subprocess
import tempfile

import gguf

ROOT = pathlib.Path(__file__).resolve().parent.parent
OUT = ROOT / "tests" / "data" / "tokenizers"
MARK = "\u2581"


def vocabulary(texts):
    """Tokens as files spell them."""
    counts = collections.Counter()
    for text in texts:
        raw = text.encode()
        for size in range(2, 13):
            counts.update(raw[at : at + size] for at in range(len(raw) - size + 1))
    # Long ones first, so that there are some within others.
    weight = lambda part: (-counts[part] * len(part) ** 2, part)
    parts = sorted((part for part in counts if counts[part] > 1), key=weight)[:700]
    return ["<s>"] + [repr(part)[2:-1] for part in [bytes([b]) for b in range(256)] + sorted(parts)]


def write(path, tokens):
    writer = gguf.GGUFWriter(path, "llama")
    # Without sizes llama.cpp takes not even a vocabulary.
    writer.add_context_length(256)
    writer.add_embedding_length(16)
    writer.add_block_count(1)
    writer.add_feed_forward_length(16)
    writer.add_head_count(2)
    writer.add_layer_norm_rms_eps(1e-5)
    writer.add_tokenizer_model("rwkv")
    writer.add_token_list(tokens)
    writer.add_token_types([3] + [1] * (len(tokens) - 1))
    writer.add_bos_token_id(0)
    writer.add_eos_token_id(0)
    writer.write_header_to_file()
    writer.write_kv_data_to_file()
    writer.close()


def main():
    parser = argparse.ArgumentParser()
    parser.add_argument("--modules", default=".")
    given = parser.parse_args()
    cases = json.loads((OUT / "lines.json").read_text())["cases"]
    texts = [case["text"] for case in cases if MARK not in case["text"] and "<s>" not in case["text"]]
    write(OUT / "longest.gguf", vocabulary(texts))
    with tempfile.TemporaryDirectory() as folder:
        folder = pathlib.Path(folder)
        (folder / "texts.json").write_text(json.dumps(texts))
        script = ROOT / "scripts" / "llama_tokens.mjs"
        subprocess.run(
            ["node", script, given.modules, folder / "texts.json", folder / "out.json",
             OUT / "longest.gguf"], check=True)
        found = json.loads((folder / "out.json").read_text())["longest"]
    if isinstance(found, str):
        raise SystemExit(found)
    cases = [{"text": text, "ids": ids} for text, ids in zip(texts, found)]
    lines = ",\n".join(json.dumps(case, ensure_ascii=False) for case in cases)
    (OUT / "longest.json").write_text(f'{{"judge": "llama.cpp", "cases": [\n{lines}\n]}}\n')
    print(len(cases), "texts")


if __name__ == "__main__":
    main()

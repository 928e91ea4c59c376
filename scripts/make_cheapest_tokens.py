#!/usr/bin/env python3
"""Makes a small vocabulary as PLaMo 2 has one, characters and words with scores, and writes
what llama.cpp makes of some hundred texts with it, to tests/data/tokenizers/cheapest.gguf
and cheapest.json.

    python3 -m venv .venv && .venv/bin/pip install numpy gguf
    mkdir judge && (cd judge && npm install --ignore-scripts node-llama-cpp)
    .venv/bin/python scripts/make_cheapest_tokens.py --modules judge

The texts are those of `lines.json`, but for texts of control tokens, which llama.cpp takes
for them, and for a byte order mark at the beginning, which it leaves out and the model's
own tokenizer does not. Many tokens have the same score, so that ways to cut a text cost the
same; some have scores so low that they are never taken, and some characters have no token.
"""

import argparse
import collections
import json
import pathlib
import random
import subprocess
import tempfile

import gguf

ROOT = pathlib.Path(__file__).resolve().parent.parent
OUT = ROOT / "tests" / "data" / "tokenizers"
NORMAL, UNKNOWN, CONTROL, UNUSED, BYTE = 1, 2, 3, 5, 6
SPECIAL = ["<|plamo:unk|>", "<|plamo:bos|>", "<|plamo:eos|>", "<|plamo:pad|>", "<|plamo:op|>"]


def vocabulary(texts):
    """(token, score, type) of each."""
    rng = random.Random(5)
    counts = collections.Counter()
    for text in texts:
        for size in range(1, 11):
            counts.update(text[at : at + size] for at in range(len(text) - size + 1))
    yield SPECIAL[0], 0.0, UNKNOWN
    yield from ((text, 0.0, CONTROL) for text in SPECIAL[1:])
    yield from ((f"<0x{byte:02X}>", 0.0, BYTE) for byte in range(256))
    characters = sorted(part for part in counts if len(part) == 1 and counts[part] > 2)
    weight = lambda part: (-counts[part] * len(part), part)
    words = sorted((part for part in counts if len(part) > 1 and counts[part] > 1), key=weight)[:900]
    for part in characters + sorted(words):
        drawn = rng.random()
        if drawn < 0.3:
            # As their characters together, or another round number.
            score = -2.0 * len(part)
        elif drawn < 0.34:
            score = rng.choice([-2000.0, -2500.0, float("-inf"), -1999.0, -999.99996])
        else:
            score = round(rng.uniform(-12, 0), rng.choice([1, 3, 6]))
        yield part, score, NORMAL
    yield "[PAD1]", -1000.0, UNUSED


def write(path, tokens):
    writer = gguf.GGUFWriter(path, "llama")
    # Without sizes llama.cpp takes not even a vocabulary.
    writer.add_context_length(256)
    writer.add_embedding_length(16)
    writer.add_block_count(1)
    writer.add_feed_forward_length(16)
    writer.add_head_count(2)
    writer.add_layer_norm_rms_eps(1e-5)
    writer.add_tokenizer_model("plamo2")
    writer.add_tokenizer_pre("default")
    words, scores, types = zip(*tokens)
    writer.add_token_list(list(words))
    writer.add_token_scores(list(scores))
    writer.add_token_types(list(types))
    for place, add in enumerate([writer.add_unk_token_id, writer.add_bos_token_id,
                                 writer.add_eos_token_id, writer.add_pad_token_id,
                                 writer.add_eot_token_id]):
        add(place)
    writer.write_header_to_file()
    writer.write_kv_data_to_file()
    writer.close()


def main():
    parser = argparse.ArgumentParser()
    parser.add_argument("--modules", default=".")
    given = parser.parse_args()
    cases = json.loads((OUT / "lines.json").read_text())["cases"]
    plain = lambda text: not text.startswith("\ufeff") and not any(s in text for s in SPECIAL)
    texts = [case["text"] for case in cases if plain(case["text"])]
    write(OUT / "cheapest.gguf", vocabulary(texts[::2]))
    with tempfile.TemporaryDirectory() as folder:
        folder = pathlib.Path(folder)
        (folder / "texts.json").write_text(json.dumps(texts))
        script = ROOT / "scripts" / "llama_tokens.mjs"
        subprocess.run(
            ["node", script, given.modules, folder / "texts.json", folder / "out.json",
             OUT / "cheapest.gguf"], check=True)
        found = json.loads((folder / "out.json").read_text())["cheapest"]
    if isinstance(found, str):
        raise SystemExit(found)
    cases = [{"text": text, "ids": ids} for text, ids in zip(texts, found)]
    lines = ",\n".join(json.dumps(case, ensure_ascii=False) for case in cases)
    (OUT / "cheapest.json").write_text(f'{{"judge": "llama.cpp", "cases": [\n{lines}\n]}}\n')
    print(len(cases), "texts")


if __name__ == "__main__":
    main()

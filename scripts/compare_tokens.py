#!/usr/bin/env python3
"""Puts some hundred texts through the tokenizers of GGUF files, in llama.cpp and in
wginfer, and says where they differ. A file without weights will do.

    python3 -m venv .venv
    .venv/bin/pip install numpy gguf sentencepiece protobuf tokenizers transformers==4.57.1
    mkdir judge && (cd judge && npm install --ignore-scripts node-llama-cpp)
    cargo build --example tokens
    .venv/bin/python scripts/compare_tokens.py --modules judge FILE.gguf...

The texts are those of `make_byte_pairs.py`.
"""

import argparse
import json
import pathlib
import subprocess
import sys
import tempfile

import make_byte_pairs
import make_tokenizers as made


def main():
    parser = argparse.ArgumentParser()
    parser.add_argument("files", nargs="+")
    parser.add_argument("--modules", default=".")
    parser.add_argument("--tokens", default=made.ROOT / "target" / "debug" / "examples" / "tokens")
    given = parser.parse_args()
    chosen, wrong = make_byte_pairs.texts(made.corpus()), 0
    with tempfile.TemporaryDirectory() as folder:
        folder = pathlib.Path(folder)
        texts, out = folder / "texts.json", folder / "out.json"
        texts.write_text(json.dumps(chosen))
        ours = json.loads(subprocess.check_output([given.tokens, texts, *given.files]))
        script = made.ROOT / "scripts" / "llama_tokens.mjs"
        for file in given.files:
            # One at a time: llama.cpp ends the process over some files.
            done = subprocess.run(["node", script, given.modules, texts, out, file], capture_output=True, text=True)
            name = pathlib.Path(file).stem
            theirs = json.loads(out.read_text())[name] if done.returncode == 0 else done.stderr.strip()[-200:]
            if isinstance(theirs, str) or isinstance(ours[name], str):
                wrong += isinstance(theirs, str) != isinstance(ours[name], str)
                print(f"{name}: llama.cpp: {theirs if isinstance(theirs, str) else 'reads it'}")
                print(f"{name}: here: {ours[name] if isinstance(ours[name], str) else 'reads it'}")
                continue
            others = [i for i, ids in enumerate(theirs) if ids != ours[name][i]]
            print(f"{name}: {len(chosen) - len(others)} of {len(chosen)} texts the same", flush=True)
            wrong += bool(others)
            for i in others[:3]:
                print(f"  {chosen[i]!r}\n    here      {ours[name][i]}\n    llama.cpp {theirs[i]}")
    return 1 if wrong else 0


if __name__ == "__main__":
    sys.exit(main())

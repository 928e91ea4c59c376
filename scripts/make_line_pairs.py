#!/usr/bin/env python3
"""Trains a small vocabulary of pairs over whole lines, as Gemma 4 has one, and writes
what llama.cpp makes of some hundred texts with it, to tests/data/tokenizers/.

    python3 -m venv .venv
    .venv/bin/pip install numpy gguf sentencepiece protobuf tokenizers transformers==4.57.1
    mkdir judge && (cd judge && npm install --ignore-scripts node-llama-cpp)
    .venv/bin/python scripts/make_line_pairs.py --modules judge

Pairs merge across words, with a mark for a space; what no token spells is bytes; runs of
line ends are tokens of their own.
"""

import argparse
import json
import pathlib
import subprocess
import tempfile

import gguf
import tokenizers

import make_byte_pairs as pairs
import make_tokenizers as made

MARK = "\u2581"


def vocabulary(lines):
    """Tokens, their types, and merges."""
    bpe = tokenizers.Tokenizer(tokenizers.models.BPE(byte_fallback=True))
    bpe.normalizer = tokenizers.normalizers.Replace(" ", MARK)
    trainer = tokenizers.trainers.BpeTrainer(
        vocab_size=1100, min_frequency=2, limit_alphabet=90, max_token_length=14,
        show_progress=False)
    bpe.train_from_iterator(lines, trainer)
    model = json.loads(bpe.to_str())["model"]
    words = sorted(model["vocab"], key=model["vocab"].get)
    special = ["<pad>", "<eos>", "<bos>", "<unk>"]
    whole = ["\n" * n for n in (1, 2, 3, 5)]
    byte = [f"<0x{value:02X}>" for value in range(256)]
    words = [word for word in words if word not in whole]
    types = [3] * 3 + [2] + [6] * 256 + [1] * (len(whole) + len(words))
    merges = [" ".join(merge) for merge in model["merges"]]
    return special + byte + whole + words, types, merges


def write(path, tokens, types, merges):
    writer = gguf.GGUFWriter(path, "llama")
    # Without sizes llama.cpp takes not even a vocabulary.
    writer.add_context_length(256)
    writer.add_embedding_length(16)
    writer.add_block_count(1)
    writer.add_feed_forward_length(16)
    writer.add_head_count(2)
    writer.add_layer_norm_rms_eps(1e-5)
    writer.add_tokenizer_model("gemma4")
    writer.add_token_list(tokens)
    writer.add_token_scores([0.0] * len(tokens))
    writer.add_token_types(types)
    writer.add_token_merges(merges)
    writer.add_bos_token_id(2)
    writer.add_eos_token_id(1)
    writer.add_unk_token_id(3)
    writer.add_pad_token_id(0)
    writer.add_add_space_prefix(False)
    writer.write_header_to_file()
    writer.write_kv_data_to_file()
    writer.close()


def main():
    parser = argparse.ArgumentParser()
    parser.add_argument("--modules", default=".")
    given = parser.parse_args()
    lines = made.corpus()
    chosen = pairs.texts(lines) + ["a\n\n\n\nb", "\n\n\n\n\n\n\n", " \n \n\n x", "x\r\n\r\ny"]
    path = made.OUT / "lines.gguf"
    write(path, *vocabulary(lines))
    with tempfile.TemporaryDirectory() as folder:
        folder = pathlib.Path(folder)
        (folder / "texts.json").write_text(json.dumps(chosen))
        script = made.ROOT / "scripts" / "llama_tokens.mjs"
        subprocess.run(
            ["node", script, given.modules, folder / "texts.json", folder / "out.json", path],
            check=True)
        found = json.loads((folder / "out.json").read_text())["lines"]
    if isinstance(found, str):
        raise SystemExit(found)
    cases = [{"text": text, "ids": ids} for text, ids in zip(chosen, found)]
    (made.OUT / "lines.json").write_text(json.dumps({"cases": cases}, ensure_ascii=False) + "\n")
    print(len(cases), "texts,", sum(map(len, found)), "tokens")


if __name__ == "__main__":
    main()

#!/usr/bin/env python3
"""Trains small SentencePiece vocabularies and writes what SentencePiece makes of
some hundred texts with them, to tests/data/tokenizers/.

    python3 -m venv .venv && .venv/bin/pip install numpy gguf sentencepiece
    .venv/bin/python scripts/make_tokenizers.py

A vocabulary is `<name>.gguf` (metadata only, as llama.cpp's converter writes it)
and `<name>.json`: `cases` of a `text` and its `ids`.
"""

import json
import pathlib
import random
import tempfile

import gguf
import sentencepiece as spm

ROOT = pathlib.Path(__file__).resolve().parent.parent
OUT = ROOT / "tests" / "data" / "tokenizers"
OTHER = """Über den Wolken muß die Freiheit wohl grenzenlos sein. Ça va très bien, merci.
Съешь же ещё этих мягких французских булок. 日本語の文章も少しあります。今日は良い天気です。
fn main() { println!("{}", 3.14); }   if  x == 0:\n\treturn None
"""
ODD = ["", " ", "  ", "a", " a", "a ", "\n", "\n\n  \t", "▁", "▁▁a", "<s>", "</s> x", "<0x0A>",
       "\u0000", "\u200b\u200d", "👩‍👩‍👧‍👦 family", "e\u0301", "１２３", "ﬁne", "x" * 300, " " * 70 + "y",
       "aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaa", "\r\n mixed \r line", "𝔘𝔫𝔦𝔠𝔬𝔡𝔢", "الْعَرَبِيَّة", "עִבְרִית", "हिन्दी"]


def corpus():
    texts = [path.read_text() for path in sorted(ROOT.glob("docs/*.md"))]
    texts += [(ROOT / "ARCHITECTURE.md").read_text(), OTHER * 20]
    return [line for text in texts for line in text.splitlines() if line.strip()]


def train(folder, lines, prefix):
    text = pathlib.Path(folder) / "corpus.txt"
    text.write_text("\n".join(lines))
    spm.SentencePieceTrainer.train(
        input=str(text), model_prefix=f"{folder}/m", vocab_size=1200, model_type="bpe",
        byte_fallback=True, normalization_rule_name="identity", add_dummy_prefix=prefix,
        remove_extra_whitespaces=False, split_digits=True, character_coverage=0.9995,
        allow_whitespace_only_pieces=True, minloglevel=2)
    return spm.SentencePieceProcessor(model_file=f"{folder}/m.model")


def texts(lines, seed):
    draw = random.Random(seed)
    words = " ".join(lines).split()
    chosen = [draw.choice(lines) for _ in range(80)]
    chosen += [" ".join(draw.choices(words, k=draw.randint(1, 12))) for _ in range(80)]
    alphabet = "abcdeéßжя日本 \n\t.,0123<>▁👍\u0301"
    chosen += ["".join(draw.choices(alphabet, k=draw.randint(1, 40))) for _ in range(80)]
    return ODD + chosen


def write(name, lines, prefix):
    with tempfile.TemporaryDirectory() as folder:
        model = train(folder, lines, prefix)
    size = model.get_piece_size()
    kinds = [2 if model.is_unknown(i) else 3 if model.is_control(i) else 6 if model.is_byte(i)
             else 1 for i in range(size)]
    writer = gguf.GGUFWriter(OUT / f"{name}.gguf", "llama")
    writer.add_tokenizer_model("llama")
    writer.add_token_list([model.id_to_piece(i) for i in range(size)])
    writer.add_token_scores([model.get_score(i) for i in range(size)])
    writer.add_token_types(kinds)
    writer.add_unk_token_id(0)
    writer.add_bos_token_id(1)
    writer.add_eos_token_id(2)
    writer.add_add_space_prefix(prefix)
    writer.write_header_to_file()
    writer.write_kv_data_to_file()
    writer.close()
    cases = [{"text": text, "ids": model.encode(text)} for text in texts(lines, name)]
    (OUT / f"{name}.json").write_text(json.dumps({"cases": cases}, ensure_ascii=False) + "\n")
    print(name, size, "pieces,", len(cases), "texts")


def main():
    OUT.mkdir(parents=True, exist_ok=True)
    lines = corpus()
    write("sentencepiece", lines, True)
    write("sentencepiece_no_prefix", lines, False)


if __name__ == "__main__":
    main()

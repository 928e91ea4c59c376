#!/usr/bin/env python3
"""Trains small vocabularies and writes what their own programs make of some hundred
texts with them, to tests/data/tokenizers/: SentencePiece for its BPE and unigrams,
the tokenizer of transformers 4 that is written in Python for WordPiece.

    python3 -m venv .venv
    .venv/bin/pip install numpy gguf sentencepiece protobuf tokenizers transformers==4.57.1
    .venv/bin/python scripts/make_tokenizers.py

A vocabulary is `<name>.gguf` (metadata only, as llama.cpp's converter writes it)
and `<name>.json`: `cases` of a `text` and its `ids`.
"""

import json
import pathlib
import random
import sys
import tempfile

import gguf
import sentencepiece as spm
import tokenizers
from sentencepiece import sentencepiece_model_pb2
from transformers.models.bert.tokenization_bert import BertTokenizer

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


def finish(writer, name, lines, encode):
    writer.write_header_to_file()
    writer.write_kv_data_to_file()
    writer.close()
    cases = [{"text": text, "ids": encode(text)} for text in texts(lines, name)]
    (OUT / f"{name}.json").write_text(json.dumps({"cases": cases}, ensure_ascii=False) + "\n")
    print(name, len(cases), "texts")


def write_unigram(name, lines, plain):
    """With T5's map of characters and merged spaces, or `plain`: every character as
    it is, and bytes for those that are not known."""
    with tempfile.TemporaryDirectory() as folder:
        text = pathlib.Path(folder) / "corpus.txt"
        text.write_text("\n".join(lines))
        spm.SentencePieceTrainer.train(
            input=str(text), model_prefix=f"{folder}/m", vocab_size=900, model_type="unigram",
            byte_fallback=plain, normalization_rule_name="identity" if plain else "nmt_nfkc",
            add_dummy_prefix=not plain, remove_extra_whitespaces=not plain, minloglevel=2,
            character_coverage=0.999)
        model = spm.SentencePieceProcessor(model_file=f"{folder}/m.model")
        proto = sentencepiece_model_pb2.ModelProto()
        proto.ParseFromString(pathlib.Path(f"{folder}/m.model").read_bytes())
    size = model.get_piece_size()
    kinds = [2 if model.is_unknown(i) else 3 if model.is_control(i) else 6 if model.is_byte(i)
             else 1 for i in range(size)]
    writer = gguf.GGUFWriter(OUT / f"{name}.gguf", "t5")
    writer.add_tokenizer_model("t5")
    writer.add_token_list([model.id_to_piece(i) for i in range(size)])
    writer.add_token_scores([model.get_score(i) for i in range(size)])
    writer.add_token_types(kinds)
    writer.add_unk_token_id(0)
    writer.add_bos_token_id(1)
    writer.add_eos_token_id(2)
    writer.add_add_space_prefix(not plain)
    writer.add_remove_extra_whitespaces(not plain)
    if proto.normalizer_spec.precompiled_charsmap:
        writer.add_precompiled_charsmap(proto.normalizer_spec.precompiled_charsmap)
    finish(writer, name, lines, model.encode)


def write_wordpiece(name, lines, lower):
    trainer = tokenizers.BertWordPieceTokenizer(lowercase=lower)
    trainer.train_from_iterator(lines, vocab_size=900, min_frequency=1, show_progress=False)
    words = sorted(trainer.get_vocab(), key=trainer.get_vocab().get)
    special = ["[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]"]
    with tempfile.TemporaryDirectory() as folder:
        path = pathlib.Path(folder) / "vocab.txt"
        path.write_text("\n".join(words) + "\n")
        judge = BertTokenizer(str(path), do_lower_case=lower, split_special_tokens=True)

    def spelled(word):
        if word in special:
            return word
        return word[2:] if word.startswith("##") else "\u2581" + word

    writer = gguf.GGUFWriter(OUT / f"{name}.gguf", "bert")
    writer.add_tokenizer_model("bert")
    writer.add_token_list([spelled(word) for word in words])
    writer.add_token_types([3 if word in special else 1 for word in words])
    ids = {word: i for i, word in enumerate(words)}
    writer.add_unk_token_id(ids["[UNK]"])
    writer.add_bos_token_id(ids["[CLS]"])
    writer.add_sep_token_id(ids["[SEP]"])
    writer.add_pad_token_id(ids["[PAD]"])
    finish(writer, name, lines, lambda text: judge.encode(text, add_special_tokens=False))


def main():
    OUT.mkdir(parents=True, exist_ok=True)
    lines = corpus()
    makers = {
        "sentencepiece": lambda name: write(name, lines, True),
        "sentencepiece_no_prefix": lambda name: write(name, lines, False),
        "unigram": lambda name: write_unigram(name, lines, False),
        "unigram_plain": lambda name: write_unigram(name, lines, True),
        "wordpiece": lambda name: write_wordpiece(name, lines, True),
        "wordpiece_cased": lambda name: write_wordpiece(name, lines, False),
    }
    for name in sys.argv[1:] or makers:
        makers[name](name)


if __name__ == "__main__":
    main()

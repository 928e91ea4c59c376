#!/usr/bin/env python3
"""Writes what two other programs, llama.cpp and Hugging Face's tokenizers, make of some
hundred texts with the vocabulary of SmolLM2, to tests/data/smollm2/texts.json. They must
agree.

    python3 -m venv .venv
    .venv/bin/pip install numpy gguf sentencepiece protobuf tokenizers transformers==4.57.1
    mkdir judge && (cd judge && npm install --ignore-scripts node-llama-cpp)
    .venv/bin/python scripts/make_smollm2_tokens.py --modules judge --model MODEL.gguf

A case is a `text`, its `ids`, with `special` the ids if the texts of control tokens are
those tokens, where that differs, and with `whole` the ids between BOS and EOS, which only
tokenizers adds when asked. Bytes that the vocabulary has no token for are left out: the
two do not agree on them.
"""

import argparse
import json
import pathlib
import random
import subprocess
import tempfile

import gguf
import tokenizers

import make_byte_pairs as pairs
import make_tokenizers as made

FOLDER = made.ROOT / "tests" / "data" / "smollm2"
CONTROL = 3
# Conversations, and what looks like one.
TALK = ["<|im_start|>user\nWhy is the sky blue?<|im_end|>\n<|im_start|>assistant\n",
        "<|im_start|>system\nYou are a helpful AI assistant named SmolLM<|im_end|>\n",
        "<|endoftext|>", "a<|endoftext|>b", "<|im_start|><|im_start|>", "<|im_start|> <|im_end|>",
        "<|im_start |>", "<|im_end|", "|im_start|>", "<repo_name>x<file_sep>src/a.rs\n<|im_end|>",
        "<jupyter_start>1 2\n<jupyter_output>\t3", "é<|im_end|>é", " <|im_start|>  x", "<|IM_START|>"]


def vocabulary(reader):
    field = lambda name: reader.fields["tokenizer.ggml." + name].contents()
    return field("tokens"), field("token_type"), field("merges"), field("bos_token_id"), field("eos_token_id")


def engine(tokens, merges):
    ids = {token: i for i, token in enumerate(tokens)}
    found = tokenizers.Tokenizer(tokenizers.models.BPE(ids, [tuple(m.split(" ")) for m in merges]))
    # As the model's own tokenizer.json says.
    pre = tokenizers.pre_tokenizers
    found.pre_tokenizer = pre.Sequence(
        [pre.Digits(individual_digits=True), pre.ByteLevel(add_prefix_space=False, use_regex=True)])
    found.decoder = tokenizers.decoders.ByteLevel()
    return found


def by_tokenizers(texts, tokens, types, merges, bos, eos):
    plain, special = engine(tokens, merges), engine(tokens, merges)
    control = [token for token, kind in zip(tokens, types) if kind == CONTROL]
    special.add_special_tokens([tokenizers.AddedToken(t, special=True, normalized=False) for t in control])
    assert special.get_vocab_size() == len(tokens)
    whole = engine(tokens, merges)
    whole.post_processor = tokenizers.processors.TemplateProcessing(
        single="BOS $A EOS", special_tokens=[("BOS", bos), ("EOS", eos)])
    ids = lambda engine: [engine.encode(text).ids for text in texts]
    lossless = [plain.decode(row, skip_special_tokens=False) == text for row, text in zip(ids(plain), texts)]
    return ids(plain), ids(special), ids(whole), lossless


def by_llama(modules, texts, model):
    script = made.ROOT / "scripts" / "llama_tokens.mjs"
    found = []
    for more in ([], ["--special"]):
        with tempfile.TemporaryDirectory() as folder:
            folder = pathlib.Path(folder)
            (folder / "texts.json").write_text(json.dumps(texts))
            command = ["node", script, *more, modules, folder / "texts.json", folder / "out.json", model]
            subprocess.run(command, check=True)
            found.append(json.loads((folder / "out.json").read_text())[model.stem])
    return found


def chosen(lines):
    draw = random.Random(7)
    words = " ".join(lines).split(" ")
    texts = [*pairs.MORE.split("\n"), pairs.MORE, *made.ODD, *TALK]
    texts += [draw.choice(lines) for _ in range(60)]
    texts += [" ".join(draw.choices(words, k=draw.randint(1, 14))) for _ in range(60)]
    texts += ["".join(draw.choices(pairs.PARTS, k=draw.randint(2, 16))) for _ in range(100)]
    texts += [draw.choice(TALK) + draw.choice(lines) + draw.choice(TALK) for _ in range(30)]
    return list(dict.fromkeys(texts))


def main():
    parser = argparse.ArgumentParser()
    parser.add_argument("--modules", default=".")
    parser.add_argument("--model", type=pathlib.Path, required=True, help="the GGUF file of the model")
    given = parser.parse_args()
    known = vocabulary(gguf.GGUFReader(given.model))
    texts = chosen(made.corpus())
    plain, special, whole, lossless = by_tokenizers(texts, *known)
    other_plain, other_special = by_llama(given.modules, texts, given.model)
    cases = []
    for i, text in enumerate(texts):
        if not lossless[i]:
            continue
        if (plain[i], special[i]) != (other_plain[i], other_special[i]):
            raise SystemExit(f"{text!r}: {plain[i]} {other_plain[i]}, {special[i]} {other_special[i]}")
        case = {"text": text, "ids": plain[i], "whole": whole[i]}
        if special[i] != plain[i]:
            case["special"] = special[i]
        cases.append(case)
    lines = ",\n".join(json.dumps(case, ensure_ascii=False, separators=(",", ":")) for case in cases)
    (FOLDER / "texts.json").write_text(f"[\n{lines}\n]\n")
    print(len(cases), "of", len(texts), "texts,", sum("special" in case for case in cases), "with special tokens")


if __name__ == "__main__":
    main()

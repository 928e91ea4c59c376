#!/usr/bin/env python3
"""Writes recipes of small rankers with random weights, and the scores that llama.cpp gives
documents with them, to tests/data/rankers/.

    python3 -m venv .venv && .venv/bin/pip install numpy gguf torch transformers
    mkdir judge && (cd judge && npm install --ignore-scripts node-llama-cpp)
    .venv/bin/python scripts/make_rank_models.py --modules judge [NAME...]

Models are those of `make_encoder_models.py` with a classifier behind them. Tokens of pairs
are made by Hugging Face's tokenizers as the models are trained: `[CLS] query [SEP] document
[SEP]` of words, `<s> query </s></s> document </s>` of unigrams.
"""

import argparse
import json
import math
import pathlib
import subprocess
import tempfile

import make_encoder_models as encoders
from make_encoder_models import CLS, PLAIN, ROOT, WIDTH, fill, keys_of, tokens_of

OUT = ROOT / "tests" / "data" / "rankers"
RANK = 4
QUERY = "What is a man eating?"


def with_classifier(model, labels=1, hidden=True, norm=False, bias=True):
    model.keys["pooling_type"] = RANK
    ends = ("weight", "bias") if bias else ("weight",)
    for end in ends:
        if hidden:
            model.tensors[f"cls.{end}"] = (WIDTH, WIDTH)[: 2 if end == "weight" else 1]
        model.tensors[f"cls.output.{end}"] = (labels, WIDTH)[: 2 if end == "weight" else 1]
    if norm:
        model.tensors["cls.norm.weight"] = (WIDTH,)
    return model


def models():
    yield "bert", with_classifier(encoders.bert(CLS))
    yield "bert--xlm", with_classifier(encoders.bert(CLS, "unigram"))
    yield "modern-bert", with_classifier(encoders.modern(), norm=True, bias=False)
    # A decoder's score is the probability of the first label; its file says how texts
    # come together, here as BERT has it.
    causal = encoders.like_llama("qwen3", RANK)
    causal.keys |= {"attention.causal": True, "classifier.output_labels": ["yes", "no"]}
    causal.each(["attn_q_norm", "attn_k_norm"], {}, norm_biases=False)
    yield "qwen3", with_classifier(causal, labels=2, hidden=False, bias=False)


def pairs_of(vocabulary):
    texts = encoders.TEXTS
    encoders.TEXTS = [QUERY, *texts]
    query, *documents = tokens_of(vocabulary)
    between = [] if vocabulary == "wordpiece" else [2]
    made = [query + between + document[1:] for document in documents]
    encoders.TEXTS = texts
    return made


def scores_of(modules, path, tokens, labels):
    folder = path.parent
    (folder / "texts.json").write_text(json.dumps(tokens))
    done = subprocess.run(
        ["node", ROOT / "scripts" / "llama_vectors.mjs", modules, path, folder / "texts.json",
         folder / "out.json", "rank"], capture_output=True, text=True)
    if done.returncode != 0:
        raise SystemExit(f"{path.name}: llama.cpp: {done.stderr}")
    given = [one["vector"][0] for one in json.loads((folder / "out.json").read_text())]
    if labels > 1:
        return given
    # node-llama-cpp makes a probability of what llama.cpp gives, where it is none.
    return [math.log(p) - math.log1p(-p) for p in given]


def main():
    parser = argparse.ArgumentParser()
    parser.add_argument("names", nargs="*")
    parser.add_argument("--modules", default=".")
    given = parser.parse_args()
    OUT.mkdir(parents=True, exist_ok=True)
    for name, model in models():
        if given.names and name not in given.names:
            continue
        values, listed, total = fill(model.tensors, PLAIN)
        tokens = pairs_of(model.vocabulary)
        with tempfile.TemporaryDirectory() as folder:
            path = pathlib.Path(folder) / "model.gguf"
            encoders.write(path, model, values)
            labels, _ = model.tensors["cls.output.weight"]
            scores = scores_of(given.modules, path, tokens, labels)
            keys = list(keys_of(path))
        keys += [[f"tokenizer.ggml.add_{end}_token", "BOOL", True] for end in ("bos", "eos")]
        if name == "qwen3":
            template = "[CLS]{query}[SEP]{document}[SEP]"
            keys.append(["tokenizer.chat_template.rerank", "STRING", template])
        recipe = dict(
            vocabulary=model.vocabulary, keys=keys, tensors=listed, fixed={}, sum=total,
            query=QUERY, texts=encoders.TEXTS, ids=tokens,
            scores=[float(f"{x:.7g}") for x in scores])
        lines = ",\n".join(f" {json.dumps(k)}: {json.dumps(v, ensure_ascii=False)}" for k, v in recipe.items())
        (OUT / f"{name}.json").write_text("{\n" + lines + "\n}\n")
        print(name, scores, flush=True)


if __name__ == "__main__":
    main()

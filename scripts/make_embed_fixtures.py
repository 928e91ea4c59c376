#!/usr/bin/env python3
"""Makes tests/data/embed: small encoders with random weights and what the library
Transformers computes with them in f64, and what it computes with all-MiniLM-L6-v2.

Needs the Python packages torch, transformers, sentence-transformers, tokenizers,
safetensors, onnx, onnxruntime and onnxscript (see tests/data/embed/README.md for
the versions). Usage:

    scripts/make_embed_fixtures.py TARGET MINILM_FOLDER
"""

import json
import shutil
import sys
from pathlib import Path

import numpy as np
import onnx
import torch
from safetensors.torch import load_file, save_file
from sentence_transformers import SentenceTransformer
from tokenizers import Tokenizer, models, normalizers, pre_tokenizers, processors, trainers
from transformers import (
    AutoModel,
    BertConfig,
    BertModel,
    BertTokenizer,
    DistilBertConfig,
    DistilBertModel,
    MPNetConfig,
    MPNetModel,
    PreTrainedTokenizerFast,
    RobertaConfig,
    RobertaModel,
)

CORPUS = """a cat sleeps on the warm mat while the dog barks at the moon
the quick brown fox jumps over the lazy dog and the cat sleeps again
numbers such as one two three and many words make a sentence longer
resume naive cafe uber strasse the weather is nice today isn't it
""".splitlines()

TEXTS = [
    "A cat sleeps on the mat.",
    "",
    "The quick brown fox jumps over the lazy dog, and the dog barks at the moon!",
    "Naïve café; Über-straße\tand\u00a0spaces",
    "one",
    "猫 sleeps 🐈 on the 垫子",
    "words " * 60,
    "a [PAD] b <pad> c",
    "the dog barks at the moon while the cat sleeps",
]

WIDTH, HEADS, INNER, BLOCKS = 16, 2, 24, 2


def word_piece(special, single):
    """A WordPiece tokenizer with a vocabulary of the corpus."""
    tokenizer = Tokenizer(models.WordPiece(unk_token=special["unk"]))
    tokenizer.normalizer = normalizers.BertNormalizer(lowercase=True)
    tokenizer.pre_tokenizer = pre_tokenizers.BertPreTokenizer()
    trainer = trainers.WordPieceTrainer(
        vocab_size=120, special_tokens=list(special.values()), show_progress=False
    )
    tokenizer.train_from_iterator(CORPUS * 3 + ["? ! . , ; -"], trainer)
    tokenizer.post_processor = processors.TemplateProcessing(
        single=single,
        special_tokens=[(t, tokenizer.token_to_id(t)) for t in (special["cls"], special["sep"])],
    )
    return tokenizer


def byte_pairs():
    """A byte-level BPE tokenizer as RoBERTa has it."""
    tokenizer = Tokenizer(models.BPE())
    tokenizer.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    trainer = trainers.BpeTrainer(
        vocab_size=300,
        special_tokens=["<s>", "<pad>", "</s>", "<unk>", "<mask>"],
        initial_alphabet=pre_tokenizers.ByteLevel.alphabet(),
        show_progress=False,
    )
    tokenizer.train_from_iterator(CORPUS * 3, trainer)
    tokenizer.post_processor = processors.RobertaProcessing(
        ("</s>", tokenizer.token_to_id("</s>")), ("<s>", tokenizer.token_to_id("<s>"))
    )
    return tokenizer


def randomise(model, seed, dtype):
    """Weights large enough that nothing is hidden in their smallness, rounded to dtype."""
    generator = torch.Generator().manual_seed(seed)
    with torch.no_grad():
        for name, weight in sorted(model.named_parameters()):
            noise = torch.randn(weight.shape, generator=generator)
            norm = "norm" in name.lower() and name.endswith("weight")
            weight.copy_((1 + 0.2 * noise if norm else 0.3 * noise).to(dtype).float())
    return model.eval()


def save(model, folder, dtype, shards=1):
    """Writes config and weights; in `shards` files with an index if there are several."""
    folder.mkdir(parents=True)
    model.config.save_pretrained(folder)
    keep = {k: v.to(dtype).contiguous() for k, v in model.state_dict().items() if "pooler" not in k}
    if shards == 1:
        save_file(keep, folder / "model.safetensors", {"format": "pt"})
        return
    names = sorted(keep)
    index = {}
    for shard in range(shards):
        file = f"model-{shard + 1:05}-of-{shards:05}.safetensors"
        part = {name: keep[name] for name in names[shard::shards]}
        save_file(part, folder / file, {"format": "pt"})
        index.update({name: file for name in part})
    write(folder / "model.safetensors.index.json", {"metadata": {}, "weight_map": index})


def write(path, value):
    path.parent.mkdir(parents=True, exist_ok=True)
    # Every number on a line of its own would be most of a file.
    separators = (",", ":") if path.name == "oracle.json" else None
    path.write_text(json.dumps(value, separators=separators) + "\n")


def modules(folder, encoder, pooling, normalise, most):
    """The files of Sentence Transformers around an encoder in `encoder`."""
    prefix = "sentence_transformers.models."
    parts = [("Transformer", encoder), ("Pooling", "1_Pooling")]
    parts += [("Normalize", "2_Normalize")] * normalise
    listed = [
        {"idx": i, "name": str(i), "path": path, "type": prefix + kind}
        for i, (kind, path) in enumerate(parts)
    ]
    write(folder / "modules.json", listed)
    switches = {
        "cls": "pooling_mode_cls_token",
        "max": "pooling_mode_max_tokens",
        "mean": "pooling_mode_mean_tokens",
        "mean_sqrt_len_tokens": "pooling_mode_mean_sqrt_len_tokens",
    }
    config = {switch: kind in pooling for kind, switch in switches.items()}
    write(folder / "1_Pooling" / "config.json", {"word_embedding_dimension": WIDTH, **config})
    write(
        folder / encoder / "sentence_bert_config.json",
        {"max_seq_length": most, "do_lower_case": False},
    )


def pooled(hidden, kind):
    n = len(hidden)
    weighted = np.arange(1, n + 1)[:, None] / (n * (n + 1) / 2)
    return {
        "cls": lambda: hidden[0],
        "max": lambda: hidden.max(0),
        "mean": lambda: hidden.mean(0),
        "mean_sqrt_len_tokens": lambda: hidden.sum(0) / np.sqrt(n),
        "weightedmean": lambda: (hidden * weighted).sum(0),
        "lasttoken": lambda: hidden[-1],
    }[kind]()


KINDS = ["cls", "max", "mean", "mean_sqrt_len_tokens", "weightedmean", "lasttoken"]


def judge(model, tokenizer, most):
    """Each text by itself, in f64: token counts and each kind of pooling."""
    model = model.double()
    total, used, vectors = [], [], {kind: [] for kind in KINDS}
    for text in TEXTS:
        total.append(len(tokenizer(text)["input_ids"]))
        ids = tokenizer(text, truncation=True, max_length=most)["input_ids"]
        used.append(len(ids))
        with torch.no_grad():
            output = model(input_ids=torch.tensor([ids]), attention_mask=torch.ones(1, len(ids)))
        hidden = output.last_hidden_state[0].numpy()
        for kind in KINDS:
            vectors[kind].append([round(float(v), 6) for v in pooled(hidden, kind)])
    return {"texts": TEXTS, "total": total, "used": used, "most": most, "vectors": vectors}


def same_by_sentence_transformers(folder, oracle, pooling, normalise):
    """The second judge: the whole folder, batched and padded."""
    model = SentenceTransformer(str(folder), device="cpu").double()
    theirs = model.encode(TEXTS, batch_size=4)
    ours = np.concatenate([np.array(oracle["vectors"][kind]) for kind in pooling], axis=1)
    if normalise:
        ours = ours / np.linalg.norm(ours, axis=1, keepdims=True)
    error = np.linalg.norm(theirs - ours) / np.linalg.norm(ours)
    print(f"{folder.name}: Sentence Transformers differs by {error:.1e}")
    assert error < 1e-5, folder


def bert(target):
    special = {"pad": "[PAD]", "unk": "[UNK]", "cls": "[CLS]", "sep": "[SEP]", "mask": "[MASK]"}
    tokenizer = word_piece(special, "[CLS] $A [SEP]")
    config = BertConfig(
        vocab_size=tokenizer.get_vocab_size(),
        hidden_size=WIDTH,
        num_hidden_layers=BLOCKS,
        num_attention_heads=HEADS,
        intermediate_size=INNER,
        max_position_embeddings=40,
    )
    model = randomise(BertModel(config, add_pooling_layer=False), 1, torch.float32)
    folder = target / "bert"
    save(model, folder, torch.float32)
    names = {f"{k}_token": v for k, v in special.items()}
    fast = PreTrainedTokenizerFast(tokenizer_object=tokenizer, model_max_length=40, **names)
    modules(folder, "", ["mean"], True, 32)
    export(model, folder / "model.onnx")
    oracle = judge(model, fast, 32)
    write(folder / "oracle.json", oracle)
    # Settings that a reader has to overrule.
    tokenizer.enable_padding(length=20)
    tokenizer.enable_truncation(10)
    tokenizer.save(str(folder / "tokenizer.json"))
    write(folder / "tokenizer_config.json", {"model_max_length": 40, **names})
    same_by_sentence_transformers(folder, oracle, ["mean"], True)


def roberta(target):
    tokenizer = byte_pairs()
    config = RobertaConfig(
        vocab_size=tokenizer.get_vocab_size(),
        hidden_size=WIDTH,
        num_hidden_layers=BLOCKS,
        num_attention_heads=HEADS,
        intermediate_size=INNER,
        max_position_embeddings=42,
        type_vocab_size=1,
        pad_token_id=1,
        bos_token_id=0,
        eos_token_id=2,
        layer_norm_eps=1e-5,
        hidden_act="gelu_new",
    )
    model = randomise(RobertaModel(config, add_pooling_layer=False), 2, torch.float32)
    folder = target / "roberta"
    encoder = folder / "0_Transformer"
    save(model, encoder, torch.float32, shards=3)
    names = {"bos_token": "<s>", "eos_token": "</s>", "pad_token": "<pad>", "unk_token": "<unk>"}
    fast = PreTrainedTokenizerFast(tokenizer_object=tokenizer, model_max_length=40, **names)
    modules(folder, "0_Transformer", ["cls"], False, 40)
    tokenizer.save(str(encoder / "tokenizer.json"))
    write(encoder / "tokenizer_config.json", {"model_max_length": 40, **names})
    oracle = judge(model, fast, 40)
    write(folder / "oracle.json", oracle)
    same_by_sentence_transformers(folder, oracle, ["cls"], False)


def distilbert(target):
    special = {"pad": "[PAD]", "unk": "[UNK]", "cls": "[CLS]", "sep": "[SEP]", "mask": "[MASK]"}
    tokenizer = word_piece(special, "[CLS] $A [SEP]")
    config = DistilBertConfig(
        vocab_size=tokenizer.get_vocab_size(),
        dim=WIDTH,
        n_layers=BLOCKS,
        n_heads=HEADS,
        hidden_dim=INNER,
        max_position_embeddings=48,
    )
    model = randomise(DistilBertModel(config), 3, torch.float16)
    folder = target / "distilbert"
    save(model, folder, torch.float16)
    vocabulary = sorted(tokenizer.get_vocab().items(), key=lambda item: item[1])
    (folder / "vocab.txt").write_text("".join(f"{token}\n" for token, _ in vocabulary))
    fast = BertTokenizer(str(folder / "vocab.txt"))
    write(folder / "oracle.json", judge(model, fast, 48))


def mpnet(target):
    special = {"cls": "<s>", "pad": "<pad>", "sep": "</s>", "unk": "[UNK]", "mask": "<mask>"}
    tokenizer = word_piece(special, "<s> $A </s>")
    config = MPNetConfig(
        vocab_size=tokenizer.get_vocab_size(),
        hidden_size=WIDTH,
        num_hidden_layers=BLOCKS,
        num_attention_heads=HEADS,
        intermediate_size=INNER,
        max_position_embeddings=66,
        relative_attention_num_buckets=32,
        layer_norm_eps=1e-5,
        pad_token_id=1,
        bos_token_id=0,
        eos_token_id=2,
    )
    model = randomise(MPNetModel(config, add_pooling_layer=False), 4, torch.bfloat16)
    folder = target / "mpnet"
    save(model, folder, torch.bfloat16)
    names = {"bos_token": "<s>", "eos_token": "</s>", "pad_token": "<pad>", "unk_token": "[UNK]"}
    fast = PreTrainedTokenizerFast(tokenizer_object=tokenizer, model_max_length=64, **names)
    modules(folder, "", ["cls", "max", "mean"], False, 64)
    tokenizer.save(str(folder / "tokenizer.json"))
    write(folder / "tokenizer_config.json", {"model_max_length": 64, **names})
    oracle = judge(model, fast, 64)
    write(folder / "oracle.json", oracle)
    same_by_sentence_transformers(folder, oracle, ["cls", "max", "mean"], False)


class Hidden(torch.nn.Module):
    """What is exported: one output, the tokens' vectors."""

    def __init__(self, model):
        super().__init__()
        self.model = model

    def forward(self, input_ids, attention_mask, token_type_ids):
        output = self.model(
            input_ids=input_ids, attention_mask=attention_mask, token_type_ids=token_type_ids
        )
        return output.last_hidden_state


def export(model, path):
    batch, length = torch.export.Dim("batch", max=64), torch.export.Dim("length", max=40)
    names = ["input_ids", "attention_mask", "token_type_ids"]
    example = tuple(torch.ones(2, 7, dtype=torch.int64) for _ in names)
    program = torch.onnx.export(
        Hidden(model).eval(),
        example,
        input_names=names,
        output_names=["last_hidden_state"],
        dynamic_shapes={name: {0: batch, 1: length} for name in names},
        opset_version=18,
    )
    program.save(str(path), external_data=False)
    # Where each node came from is most of the file.
    model = onnx.load(str(path))
    del model.metadata_props[:]
    for node in model.graph.node:
        del node.metadata_props[:]
        node.doc_string = ""
    for value in [*model.graph.value_info, *model.graph.input, *model.graph.output]:
        del value.metadata_props[:]
    del model.graph.value_info[:]
    del model.functions[:]
    onnx.save(model, str(path))
    onnx.checker.check_model(str(path))


SENTENCES = [
    "A man is eating food.",
    "A man is eating a piece of bread.",
    "The girl is carrying a baby.",
    "A man is riding a horse.",
    "A woman is playing violin.",
    "Two men pushed carts through the woods.",
    "A man is riding a white horse on an enclosed ground.",
    "A monkey is playing drums.",
    "A cheetah is running behind its prey.",
    "How do I reset my password?",
    "Instructions for changing your login credentials",
    "The central bank raised interest rates by a quarter of a percentage point.",
    "L'été dernier, nous avons visité le château à vélo.",
    "東京は日本の首都です。",
    "E = mc², where c ≈ 299 792 458 m/s",
    "fn main() { println!(\"{}\", 1 + 1); }",
    "🐈 🐕 🌙",
    "ok",
    "",
    "UPPER CASE AND lower case",
    "don't—can't; won't: isn't",
    "The mitochondrion is the powerhouse of the cell. " * 12,
    "Photosynthesis converts light energy into chemical energy. " * 60,
    "supercalifragilisticexpialidocious antidisestablishmentarianism",
]


def minilm(target, folder):
    """The whole folder in f64 by Sentence Transformers; ids by its tokenizer."""
    model = SentenceTransformer(str(folder), device="cpu").double()
    vectors = model.encode(SENTENCES, batch_size=8)
    tokenizer = model.tokenizer
    total = [len(tokenizer(s, truncation=False, padding=False)["input_ids"]) for s in SENTENCES]
    target.mkdir(parents=True)
    vectors.astype("<f4").tofile(target / "vectors.f32")
    write(target / "oracle.json", {"texts": SENTENCES, "total": total, "most": 256})


def main():
    target, folder = Path(sys.argv[1]), Path(sys.argv[2])
    for part in ["bert", "roberta", "distilbert", "mpnet", "minilm"]:
        shutil.rmtree(target / part, ignore_errors=True)
    for make in [bert, roberta, distilbert, mpnet]:
        make(target)
    minilm(target / "minilm", folder)


if __name__ == "__main__":
    main()

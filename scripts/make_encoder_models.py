#!/usr/bin/env python3
"""Writes recipes of small encoders with random weights, and the vectors that others give
texts with them, to tests/data/encoders/.

    python3 -m venv .venv && .venv/bin/pip install numpy gguf torch transformers
    mkdir judge && (cd judge && npm install --ignore-scripts node-llama-cpp)
    .venv/bin/python scripts/make_encoder_models.py --modules judge [NAME...]

A recipe is like those of `make_mixed_models.py`: keys, and how tensors are made. Each
encoder has one with F32 weights and one of mixed quantised types (`.mixed`), for which the
judge gets the decoded weights in F32. Vocabularies are those of tests/data/tokenizers/. The judge
is transformers in f64, or llama.cpp where transformers lacks the architecture.
"""

import argparse
import json
import pathlib
import subprocess
import tempfile

import decoder_sizes

decoder_sizes.SCALE = 16

import gguf
import numpy as np
import torch
import transformers as hf

from make_mixed_models import MIXES, fill, finish, keys_of

ROOT = pathlib.Path(__file__).resolve().parent.parent
OUT = ROOT / "tests" / "data" / "encoders"
VOCAB, WIDTH, HEADS, HEAD, KV, FEED, BLOCKS, CONTEXT = 900, 256, 16, 16, 8, 256, 2, 64
PLAIN = ("F32",) * 5
NONE, MEAN, CLS, LAST = range(4)
TEXTS = [
    "A man is eating food.",
    "CAPITALS, naïve façades and 東京!",
    "x",
    "The quick brown fox jumps over the lazy dog near the river bank today.",
]


class Encoder:
    """Keys and tensors of an encoder, as files name them."""

    # What files add to a text, at its beginning and at its end.
    added = (True, True)
    texts = TEXTS

    def __init__(self, architecture, pooling, vocabulary="wordpiece", blocks=BLOCKS, **keys):
        self.architecture, self.vocabulary, self.blocks = architecture, vocabulary, blocks
        self.keys = {
            "context_length": CONTEXT, "embedding_length": WIDTH, "block_count": blocks,
            "feed_forward_length": FEED, "attention.head_count": HEADS,
            "attention.causal": False, "pooling_type": pooling,
        } | keys
        self.tensors = {"token_embd.weight": (VOCAB, WIDTH)}

    def whole(self, norms=(), types=0, positions=False, biased=True):
        for name in norms:
            self.norm(name, biased)
        if types:
            self.tensors["token_types.weight"] = (types, WIDTH)
        if positions:
            self.tensors["position_embd.weight"] = (CONTEXT, WIDTH)
        return self

    def norm(self, name, biased, size=WIDTH):
        self.tensors[f"{name}.weight"] = (size,)
        if biased:
            self.tensors[f"{name}.bias"] = (size,)

    def each(self, norms, matrices, biases=False, norm_biases=True, blocks=None):
        """`matrices`: {name: shape} of blocks."""
        for block in range(self.blocks) if blocks is None else blocks:
            for name in norms:
                self.norm(f"blk.{block}.{name}", norm_biases, HEAD if "_q_n" in name or "_k_n" in name else WIDTH)
            for name, shape in matrices.items():
                self.tensors[f"blk.{block}.{name}.weight"] = shape
                if biases:
                    self.tensors[f"blk.{block}.{name}.bias"] = shape[:-2] + shape[-2:-1]
        return self


def attention(kv=HEADS):
    return {"attn_q": (HEADS * HEAD, WIDTH), "attn_k": (kv * HEAD, WIDTH),
            "attn_v": (kv * HEAD, WIDTH), "attn_output": (WIDTH, HEADS * HEAD)}


FUSED = {"attn_qkv": (3 * WIDTH, WIDTH), "attn_output": (WIDTH, WIDTH)}
UP, DOWN = {"ffn_up": (FEED, WIDTH)}, {"ffn_down": (WIDTH, FEED)}
BOTH, GATE = {"ffn_up": (2 * FEED, WIDTH)}, {"ffn_gate": (FEED, WIDTH)}
STREAM = ["attn_output_norm", "layer_output_norm"]
EPS = {"attention.layer_norm_epsilon": 1e-5}
RMS = {"attention.layer_norm_rms_epsilon": 1e-5}


def bert(pooling, vocabulary="wordpiece"):
    model = Encoder("bert", pooling, vocabulary, **EPS)
    model.whole(["token_embd_norm"], types=2, positions=True)
    return model.each(STREAM, attention() | UP | DOWN, biases=True)


def rotated(architecture, pooling, feed, biases, base, **more):
    model = Encoder(architecture, pooling, **EPS, **{"rope.freq_base": base}, **more)
    return model.whole(["token_embd_norm"], types=2).each(STREAM, FUSED | feed, biases)


def experts():
    model = rotated("nomic-bert-moe", MEAN, {}, True, 700.0, **{
        "expert_count": 4, "expert_used_count": 2, "moe_every_n_layers": 2})
    model.each([], UP | DOWN, biases=True, blocks=[0])
    return model.each([], {
        "ffn_gate_inp": (4, WIDTH), "ffn_up_exps": (4, FEED, WIDTH),
        "ffn_down_exps": (4, WIDTH, FEED)}, blocks=[1])


def jina(fused):
    model = Encoder("jina-bert-v2", MEAN, **EPS).whole(["token_embd_norm"], types=2)
    model.each(STREAM, attention() | DOWN, biases=True)
    return model.each([], BOTH if fused else GATE | UP)


def modern():
    model = Encoder("modern-bert", CLS, blocks=4, **EPS, **{
        "rope.freq_base": 700.0, "rope.freq_base_swa": 90.0, "attention.sliding_window": 6,
        "attention.sliding_window_pattern": 3})
    model.whole(["token_embd_norm", "output_norm"], biased=False)
    model.each(["ffn_norm"], FUSED | BOTH | DOWN, norm_biases=False)
    return model.each(["attn_norm"], {}, norm_biases=False, blocks=[1, 2, 3])


def neo():
    model = Encoder("neo-bert", CLS, **RMS, **{"rope.freq_base": 700.0})
    model.whole(["enc.output_norm"], biased=False)
    return model.each(["attn_norm", "ffn_norm"], FUSED | BOTH | DOWN, norm_biases=False)


def like_llama(architecture, pooling):
    model = Encoder(architecture, pooling, **RMS, **{
        "rope.freq_base": 700.0, "attention.head_count_kv": KV,
        "attention.key_length": HEAD, "attention.value_length": HEAD})
    model.whole(["output_norm"], biased=False)
    return model.each(["attn_norm", "ffn_norm"], attention(KV) | GATE | UP | DOWN, norm_biases=False)


def gemma():
    model = Encoder("gemma-embedding", MEAN, "unigram", blocks=6, **RMS, **{
        "rope.freq_base": 700.0, "rope.freq_base_swa": 90.0, "attention.head_count_kv": KV,
        "attention.key_length": HEAD, "attention.value_length": HEAD,
        "attention.sliding_window": 6, "dense_2_feat_in": WIDTH, "dense_2_feat_out": 2 * WIDTH,
        "dense_3_feat_in": 2 * WIDTH, "dense_3_feat_out": WIDTH})
    model.whole(["output_norm"], biased=False)
    model.tensors |= {"dense_2.weight": (2 * WIDTH, WIDTH), "dense_3.weight": (WIDTH, 2 * WIDTH)}
    norms = ["attn_norm", "ffn_norm", "post_attention_norm", "post_ffw_norm", "attn_q_norm", "attn_k_norm"]
    return model.each(norms, attention(KV) | GATE | UP | DOWN, norm_biases=False)


def t5(gated):
    model = Encoder("t5encoder", MEAN, "unigram", **RMS, **{
        "attention.key_length": HEAD, "attention.value_length": HEAD,
        "attention.relative_buckets_count": 32})
    model.added = (False, True)
    # Far enough for every bucket to be in use.
    model.texts = [*TEXTS, " ".join(3 * TEXTS)]
    model.keys["context_length"] = 512
    model.norm("enc.output_norm", False)
    up = {"ffn_up": (FEED, WIDTH)} | (GATE if gated else {})
    parts = {k.replace("attn_output", "attn_o"): v for k, v in (attention() | up | DOWN).items()}
    for block in range(BLOCKS):
        for name in ("attn_norm", "ffn_norm"):
            model.norm(f"enc.blk.{block}.{name}", False)
        for name, shape in parts.items():
            model.tensors[f"enc.blk.{block}.{name}.weight"] = shape
        if block == 0:
            model.tensors["enc.blk.0.attn_rel_b.weight"] = (32, HEADS)
    return model


def models():
    yield "bert", bert(MEAN)
    yield "bert--xlm", bert(CLS, "unigram")
    yield "nomic-bert", rotated("nomic-bert", MEAN, GATE | UP | DOWN, False, 700.0)
    yield "nomic-bert-moe", experts()
    yield "jina-bert-v2", jina(True)
    yield "jina-bert-v2--apart", jina(False)
    yield "jina-bert-v3", rotated("jina-bert-v3", MEAN, UP | DOWN, True, 700.0)
    yield "modern-bert", modern()
    yield "neo-bert", neo()
    yield "eurobert", like_llama("eurobert", MEAN)
    yield "gemma-embedding", gemma()
    yield "llama-embed", like_llama("llama-embed", MEAN)
    causal = like_llama("qwen3", LAST)
    causal.keys["attention.causal"] = True
    yield "qwen3--last", causal.each(["attn_q_norm", "attn_k_norm"], {}, norm_biases=False)
    yield "t5encoder", t5(True)
    yield "t5encoder--relu", t5(False)


# The names of transformers: what stands in for a block's number, and tensors by theirs.
LAYER = {
    "attn_norm": "input_layernorm", "ffn_norm": "post_attention_layernorm",
    "attn_q": "self_attn.q_proj", "attn_k": "self_attn.k_proj", "attn_v": "self_attn.v_proj",
    "attn_output": "self_attn.o_proj", "attn_q_norm": "self_attn.q_norm",
    "attn_k_norm": "self_attn.k_norm", "ffn_gate": "mlp.gate_proj", "ffn_up": "mlp.up_proj",
    "ffn_down": "mlp.down_proj",
}
EMBEDDINGS = {
    "token_embd": "embeddings.word_embeddings", "position_embd": "embeddings.position_embeddings",
    "token_types": "embeddings.token_type_embeddings", "token_embd_norm": "embeddings.LayerNorm",
}
BEHIND = {"attn_output_norm": "post_attention_layernorm", "layer_output_norm": "post_mlp_layernorm"}
DECODER = {"token_embd": "embed_tokens", "output_norm": "norm"}


def sized(config, **more):
    return config(
        vocab_size=VOCAB, hidden_size=WIDTH, num_attention_heads=HEADS, intermediate_size=FEED,
        max_position_embeddings=CONTEXT, pad_token_id=0, bos_token_id=2, eos_token_id=3, **more)


def theta(base):
    return dict(rope_parameters={"rope_theta": base, "rope_type": "default"})


def of_transformers(name):
    """(model, prefix of blocks, names) or None."""
    two = dict(num_hidden_layers=2)
    like_llama = dict(num_key_value_heads=KV, head_dim=HEAD, rms_norm_eps=1e-5)
    if name in ("bert", "bert--xlm"):
        names = EMBEDDINGS | {
            "attn_q": "attention.self.query", "attn_k": "attention.self.key",
            "attn_v": "attention.self.value", "attn_output": "attention.output.dense",
            "attn_output_norm": "attention.output.LayerNorm", "ffn_up": "intermediate.dense",
            "ffn_down": "output.dense", "layer_output_norm": "output.LayerNorm"}
        config = sized(hf.BertConfig, layer_norm_eps=1e-5, **two)
        return hf.BertModel(config, add_pooling_layer=False), "encoder.layer.", names
    if name == "nomic-bert":
        config = sized(hf.NomicBertConfig, layer_norm_eps=1e-5, **two, **theta(700.0))
        return hf.AutoModel.from_config(config), "layers.", EMBEDDINGS | LAYER | BEHIND
    if name == "jina-bert-v3":
        names = EMBEDDINGS | LAYER | BEHIND | {"ffn_up": "mlp.fc1", "ffn_down": "mlp.fc2"}
        config = sized(hf.JinaEmbeddingsV3Config, layer_norm_eps=1e-5, type_vocab_size=2, **two, **theta(700.0))
        return hf.AutoModel.from_config(config), "layers.", names
    if name == "modern-bert":
        names = {"token_embd": "embeddings.tok_embeddings", "token_embd_norm": "embeddings.norm",
                 "output_norm": "final_norm", "attn_norm": "attn_norm", "attn_qkv": "attn.Wqkv",
                 "attn_output": "attn.Wo", "ffn_norm": "mlp_norm", "ffn_up": "mlp.Wi", "ffn_down": "mlp.Wo"}
        config = sized(hf.ModernBertConfig, num_hidden_layers=4, local_attention=6, norm_eps=1e-5,
                       global_attn_every_n_layers=3, cls_token_id=2, sep_token_id=3, rope_parameters={
                           "full_attention": {"rope_theta": 700.0, "rope_type": "default"},
                           "sliding_attention": {"rope_theta": 90.0, "rope_type": "default"}})
        return hf.AutoModel.from_config(config), "layers.", names
    if name == "eurobert":
        config = sized(hf.EuroBertConfig, mask_token_id=4, **two, **like_llama, **theta(700.0))
        return hf.AutoModel.from_config(config), "layers.", DECODER | LAYER
    if name == "qwen3--last":
        config = sized(hf.Qwen3Config, **two, **like_llama, **theta(700.0))
        return hf.AutoModel.from_config(config), "layers.", DECODER | LAYER
    if name.startswith("t5encoder"):
        gated = name == "t5encoder"
        attention, feed = "layer.0.SelfAttention.", "layer.1.DenseReluDense."
        names = {"token_embd": "shared", "enc.output_norm": "encoder.final_layer_norm",
                 "attn_norm": "layer.0.layer_norm", "ffn_norm": "layer.1.layer_norm",
                 "attn_rel_b": attention + "relative_attention_bias", "ffn_gate": feed + "wi_0",
                 "ffn_up": feed + ("wi_1" if gated else "wi"), "ffn_down": feed + "wo"}
        names |= {f"attn_{letter}": attention + letter for letter in "qkvo"}
        config = hf.T5Config(
            vocab_size=VOCAB, d_model=WIDTH, d_kv=HEAD, d_ff=FEED, num_layers=BLOCKS, num_heads=HEADS,
            layer_norm_epsilon=1e-5, feed_forward_proj="gated-gelu" if gated else "relu")
        return hf.T5EncoderModel(config), "encoder.block.", names
    if name == "gemma-embedding":
        names = DECODER | LAYER | {
            "post_attention_norm": "post_attention_layernorm", "ffn_norm": "pre_feedforward_layernorm",
            "post_ffw_norm": "post_feedforward_layernorm"}
        config = sized(hf.Gemma3TextConfig, num_hidden_layers=6, **like_llama, sliding_window=6,
                       use_bidirectional_attention=True, query_pre_attn_scalar=HEAD, rope_parameters={
                           "full_attention": {"rope_theta": 700.0, "rope_type": "default"},
                           "sliding_attention": {"rope_theta": 90.0, "rope_type": "default"}})
        return hf.AutoModel.from_config(config), "layers.", names
    return None


def named(name, prefix, names):
    """A tensor's name in transformers."""
    stem, end = name.rsplit(".", 1)
    if stem.startswith(("blk.", "enc.blk.")):
        stem = stem.removeprefix("enc.")
        _, block, part = stem.split(".", 2)
        return f"{prefix}{block}.{names[part]}.{end}"
    return f"{names[stem]}.{end}"


def unfused(values):
    """Queries, keys and values by themselves."""
    for name, value in values.items():
        if "attn_qkv" not in name:
            yield name, value
            continue
        for letter, part in zip("qkv", np.split(value, 3)):
            yield name.replace("attn_qkv", f"attn_{letter}"), part


@torch.no_grad()
def by_transformers(found, model, values, tokens, dense):
    theirs, prefix, names = found
    theirs = theirs.eval().double()
    state, wanted = {}, theirs.state_dict()
    given = values if "attn_qkv" in names else dict(unfused(values))
    # Gemma's norms multiply with 1 more than their weights.
    less = 1.0 if model.architecture == "gemma-embedding" else 0.0
    for name, value in given.items():
        by = less if "norm" in name else 0.0
        state[named(name, prefix, names)] = torch.from_numpy(value.astype(np.float64) - by)
    # T5's table of embeddings is there twice.
    other = ("position_ids", "pooler", "encoder.embed_tokens")
    missing = {k for k in wanted if k not in state and not any(part in k for part in other)}
    assert not missing and not state.keys() - wanted.keys(), (missing, state.keys() - wanted.keys())
    # How many types there are does not matter: all tokens have the first.
    theirs.load_state_dict(state, strict=False)
    for ids in tokens:
        hidden = theirs(torch.tensor([ids])).last_hidden_state[0].numpy()
        vector = {MEAN: hidden.mean(0), CLS: hidden[0], LAST: hidden[-1]}[model.keys["pooling_type"]]
        for matrix in dense:
            vector = matrix.astype(np.float64) @ vector
        yield vector


def by_llama(modules, path, tokens, folder):
    (folder / "texts.json").write_text(json.dumps(tokens))
    done = subprocess.run(
        ["node", ROOT / "scripts" / "llama_vectors.mjs", modules, path, folder / "texts.json",
         folder / "out.json"], capture_output=True, text=True)
    if done.returncode != 0:
        raise SystemExit(f"{path.name}: llama.cpp: {done.stderr}")
    return [np.array(one["vector"]) for one in json.loads((folder / "out.json").read_text())]


def vocabulary_of(name):
    return gguf.GGUFReader(ROOT / "tests" / "data" / "tokenizers" / f"{name}.gguf")


def tokens_of(vocabulary, added, given):
    """The texts' ids, by an implementation that is not ours."""
    fields = {k: f.contents() for k, f in vocabulary_of(vocabulary).fields.items()}
    texts = fields["tokenizer.ggml.tokens"]
    if vocabulary == "wordpiece":
        from tokenizers import BertWordPieceTokenizer
        word = lambda t: t[1:] if t[0] == "▁" else t if t[0] == "[" and t[-1] == "]" and len(t) > 1 else "##" + t
        judge = BertWordPieceTokenizer({word(t): i for i, t in enumerate(texts)}, lowercase=True)
        return [judge.encode(text).ids for text in given]
    from tokenizers import Tokenizer, models, normalizers, pre_tokenizers, Regex
    pieces = list(zip(texts, map(float, fields["tokenizer.ggml.scores"])))
    judge = Tokenizer(models.Unigram(pieces, unk_id=fields["tokenizer.ggml.unknown_token_id"]))
    charmap = bytes(b & 255 for b in fields["tokenizer.ggml.precompiled_charsmap"])
    judge.normalizer = normalizers.Sequence([
        normalizers.Precompiled(charmap), normalizers.Replace(Regex(" {2,}"), " ")])
    judge.pre_tokenizer = pre_tokenizers.Metaspace()
    begin, end = ([token] if asked else [] for token, asked in zip((1, 2), added))
    return [[*begin, *judge.encode(text).ids, *end] for text in given]


def write(path, model, values):
    writer = gguf.GGUFWriter(path, model.architecture)
    add = {int: writer.add_uint32, float: writer.add_float32, bool: writer.add_bool,
           list: writer.add_array}
    for key, value in model.keys.items():
        add[type(value)](f"{model.architecture}.{key}", value)
    for key, field in vocabulary_of(model.vocabulary).fields.items():
        if key.startswith("tokenizer."):
            kind, of = field.types[0], field.types[1] if len(field.types) > 1 else None
            writer.add_key_value(key, field.contents(), kind, of)
    writer.add_token_type_count(2)
    writer.add_bool("tokenizer.ggml.add_bos_token", model.added[0])
    writer.add_bool("tokenizer.ggml.add_eos_token", model.added[1])
    for name, value in values.items():
        writer.add_tensor(name, np.array(value, np.float32))
    finish(writer)


def recipe_of(name, model, mix, given, path):
    values, listed, total = fill(model.tensors, mix)
    write(path, model, values)
    tokens = tokens_of(model.vocabulary, model.added, model.texts)
    found = None if given.all_llama else of_transformers(name)
    if found:
        dense = [values.pop(k) for k in ("dense_2.weight", "dense_3.weight") if k in values]
        vectors = list(by_transformers(found, model, values, tokens, dense))
    else:
        vectors = by_llama(given.modules, path, tokens, path.parent)
    normal = [(v / np.linalg.norm(v)).tolist() for v in vectors]
    return dict(
        judge="transformers" if found else "llama.cpp", vocabulary=model.vocabulary,
        keys=[*keys_of(path), *([f"tokenizer.ggml.add_{end}_token", "BOOL", given]
                                for end, given in zip(("bos", "eos"), model.added))],
        tensors=listed, fixed={}, sum=total, texts=model.texts,
        ids=tokens, vectors=[[float(f"{x:.7g}") for x in v] for v in normal])


def main():
    parser = argparse.ArgumentParser()
    parser.add_argument("names", nargs="*")
    parser.add_argument("--modules", default=".")
    parser.add_argument("--all-llama", action="store_true", help="let llama.cpp judge all, and tell how far apart the two are")
    given = parser.parse_args()
    OUT.mkdir(parents=True, exist_ok=True)
    for i, (name, model) in enumerate(models()):
        if given.names and name not in given.names:
            continue
        for end, mix in ("", PLAIN), (".mixed", MIXES[i % len(MIXES)]):
            with tempfile.TemporaryDirectory() as folder:
                recipe = recipe_of(name, model, mix, given, pathlib.Path(folder) / "model.gguf")
            file = OUT / f"{name}{end}.json"
            if given.all_llama:
                other = np.array(json.loads(file.read_text())["vectors"])
                print(name + end, np.abs(np.linalg.norm(other - np.array(recipe["vectors"]), axis=1)).max(), flush=True)
                continue
            lines = ",\n".join(f" {json.dumps(k)}: {json.dumps(v, ensure_ascii=False)}" for k, v in recipe.items())
            file.write_text("{\n" + lines + "\n}\n")
            print(name + end, recipe["judge"], flush=True)


if __name__ == "__main__":
    main()

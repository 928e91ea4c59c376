#!/usr/bin/env python3
"""Writes a small language model with random weights for architectures that Hugging
Face transformers does not have, and the logits that llama.cpp computes with it, to
tests/data/decoders/.

    python3 -m venv .venv && .venv/bin/pip install numpy gguf
    mkdir judge && (cd judge && npm install --ignore-scripts node-llama-cpp)
    .venv/bin/python scripts/make_judged_models.py --modules judge [NAME...]

Files are as those of `make_decoder_models.py`; `judge` says who computed the logits.
That llama.cpp takes a file says that its keys and tensors have the names it looks
for. It reads GELU from a table of halves, so only models without are judged here.
"""

import argparse
import json
import pathlib
import subprocess
import tempfile

import gguf
import numpy as np

ROOT = pathlib.Path(__file__).resolve().parent.parent
OUT = ROOT / "tests" / "data" / "decoders"
VOCAB, WIDTH, HEADS, KV_HEADS, HEAD, FEED = 264, 16, 4, 2, 4, 24
LENGTHS = [1, 7, 13, 24]


class Model:
    """Tensors and keys of a model; names as in files."""

    def __init__(self, blocks=2, width=WIDTH, heads=HEADS, kv_heads=KV_HEADS, head=HEAD, feed=FEED):
        self.blocks, self.width, self.heads, self.kv_heads = blocks, width, heads, kv_heads
        self.head, self.feed = head, feed
        self.tensors = {"token_embd.weight": (VOCAB, width), "output.weight": (VOCAB, width)}
        self.norm("output_norm", width)
        self.keys = {
            "context_length": 256, "embedding_length": width, "block_count": blocks,
            "feed_forward_length": feed, "attention.head_count": heads,
            "attention.head_count_kv": kv_heads, "attention.layer_norm_rms_epsilon": 1e-5,
            "rope.freq_base": 700.0, "rope.dimension_count": head,
        }
        self.sizes = {
            "attn_q": (heads * head, width), "attn_k": (kv_heads * head, width),
            "attn_v": (kv_heads * head, width), "attn_output": (width, heads * head),
            "attn_qkv": ((heads + 2 * kv_heads) * head, width),
        }

    def norm(self, name, size, bias=False):
        self.tensors[f"{name}.weight"] = (size,)
        if bias:
            self.tensors[f"{name}.bias"] = (size,)

    def each(self, *names, blocks=None, **sizes):
        """Matrices of blocks by their names, or with sizes of their own."""
        for block in range(self.blocks) if blocks is None else blocks:
            for name in names:
                self.tensors[f"blk.{block}.{name}.weight"] = self.sizes[name]
            for name, size in sizes.items():
                self.tensors[f"blk.{block}.{name}.weight"] = size
        return self

    def norms(self, *names, size=None, bias=False):
        for block in range(self.blocks):
            for name in names:
                self.norm(f"blk.{block}.{name}", size or self.width, bias)
        return self

    def biases(self, *names):
        for block in range(self.blocks):
            for name in names:
                size = self.tensors[f"blk.{block}.{name}.weight"]
                self.tensors[f"blk.{block}.{name}.bias"] = size[:-2] + size[-2:-1]
        return self

    def split(self):
        return self.each("attn_q", "attn_k", "attn_v", "attn_output").norms("attn_norm", "ffn_norm")

    def gated(self, blocks=None, feed=None):
        inner, width = feed or self.feed, self.width
        return self.each(
            blocks=blocks, ffn_gate=(inner, width), ffn_up=(inner, width), ffn_down=(width, inner))

    def plain(self):
        return self.each(ffn_up=(self.feed, self.width), ffn_down=(self.width, self.feed))

    def experts(self, count=5, inner=12, shared=None, blocks=None, shared_key=True):
        width = self.width
        self.each(
            blocks=blocks, ffn_gate_inp=(count, width), ffn_gate_exps=(count, inner, width),
            ffn_up_exps=(count, inner, width), ffn_down_exps=(count, width, inner))
        self.keys |= {"expert_count": count, "expert_used_count": 2,
                      "expert_feed_forward_length": inner}
        if shared:
            self.each(blocks=blocks, ffn_gate_shexp=(shared, width),
                      ffn_up_shexp=(shared, width), ffn_down_shexp=(width, shared))
            if shared_key:
                self.keys["expert_shared_feed_forward_length"] = shared
        return self

    def head_norms(self):
        return self.norms("attn_q_norm", "attn_k_norm", size=self.head)

    def layer_norms(self):
        """Norms by mean and variance."""
        for name in [name for name in self.tensors if "norm.weight" in name]:
            self.tensors[name.replace(".weight", ".bias")] = self.tensors[name]
        self.keys["attention.layer_norm_epsilon"] = self.keys.pop("attention.layer_norm_rms_epsilon")
        return self

    def scales(self, *names):
        """A factor for each of some matrices, or for each expert of it."""
        for block in range(self.blocks):
            for name in names:
                size = self.tensors[f"blk.{block}.{name}.weight"]
                self.tensors[f"blk.{block}.{name}.scale"] = size[:-2] or (1,)
        return self

    def mamba2(self, blocks, heads=4, head=8, rows=8, groups=2, norm=True):
        """Blocks of Mamba-2."""
        inner, shared = heads * head, groups * rows
        channels = inner + 2 * shared
        for block in blocks:
            at = f"blk.{block}.ssm"
            self.tensors |= {
                f"{at}_in.weight": (inner + channels + heads, self.width),
                f"{at}_conv1d.weight": (channels, 4), f"{at}_conv1d.bias": (channels,),
                f"{at}_dt.bias": (heads,), f"{at}_a": (heads, 1), f"{at}_d": (heads, 1),
                f"{at}_out.weight": (self.width, inner)}
            if norm:
                self.tensors[f"{at}_norm.weight"] = (groups, inner // groups)
        return self.states(inner, rows, heads).key(ssm__group_count=groups)

    def mamba(self, blocks, rank=3, rows=16, norms=False):
        """Blocks of Mamba."""
        inner = 2 * self.width
        for block in blocks:
            at = f"blk.{block}.ssm"
            self.tensors |= {
                f"{at}_in.weight": (2 * inner, self.width),
                f"{at}_conv1d.weight": (inner, 4), f"{at}_conv1d.bias": (inner,),
                f"{at}_x.weight": (rank + 2 * rows, inner), f"{at}_dt.weight": (inner, rank),
                f"{at}_dt.bias": (inner,), f"{at}_a": (inner, rows), f"{at}_d": (inner,),
                f"{at}_out.weight": (self.width, inner)}
            if norms:
                self.norm(f"{at}_dt_norm", rank)
                self.norm(f"{at}_b_norm", rows)
                self.norm(f"{at}_c_norm", rows)
        return self.states(inner, rows, rank)

    def delta(self, blocks, heads=4, keys=2, rows=16, legacy=False, fused_rates=False):
        """Blocks that are gated delta nets."""
        inner, shared, width = heads * rows, keys * rows, self.width
        for block in blocks:
            at = f"blk.{block}"
            self.tensors |= {
                f"{at}.ssm_conv1d.weight": (2 * shared + inner, 4), f"{at}.ssm_dt.bias": (heads,),
                f"{at}.ssm_a": (heads,), f"{at}.ssm_norm.weight": (rows,),
                f"{at}.ssm_out.weight": (width, inner)}
            if legacy:
                self.tensors[f"{at}.ssm_in.weight"] = (2 * (shared + inner), width)
            else:
                self.tensors[f"{at}.attn_qkv.weight"] = (2 * shared + inner, width)
                self.tensors[f"{at}.attn_gate.weight"] = (inner, width)
            if fused_rates:
                self.tensors[f"{at}.ssm_ba.weight"] = (2 * heads, width)
            else:
                self.tensors[f"{at}.ssm_beta.weight"] = (heads, width)
                self.tensors[f"{at}.ssm_alpha.weight"] = (heads, width)
        return self.states(inner, rows, heads).key(ssm__group_count=keys)

    def states(self, inner, rows, heads):
        return self.key(ssm__conv_kernel=4, ssm__inner_size=inner, ssm__state_size=rows,
                        ssm__time_step_rank=heads)

    def attends(self, blocks, gated=False):
        """Attention in some blocks; queries may have a gate behind each head."""
        self.each("attn_q", "attn_k", "attn_v", "attn_output", blocks=blocks)
        if gated:
            self.each(blocks=blocks, attn_q=(2 * self.heads * self.head, self.width))
            for block in blocks:
                self.norm(f"blk.{block}.attn_q_norm", self.head)
                self.norm(f"blk.{block}.attn_k_norm", self.head)
        return self

    def key(self, **keys):
        self.keys |= {name.replace("__", "."): value for name, value in keys.items()}
        return self

    def without(self, *names):
        for name in names:
            del (self.keys if name in self.keys else self.tensors)[name]
        return self


def models():
    many = lambda **sizes: Model(kv_heads=HEADS, **sizes)
    yield "apertus", Model().split().plain().head_norms().key(
        xielu__alpha_n=[0.3, -0.8], xielu__alpha_p=[0.9, 0.2], xielu__beta=[0.5, 0.5],
        xielu__eps=[-1e-6, -1e-6])
    # The number of blocks says whether they rotate.
    yield "baichuan", Model(blocks=32, width=8, heads=2, kv_heads=2, feed=8).split().gated()
    yield "baichuan--13b", Model(blocks=40, width=8, heads=2, kv_heads=2, feed=8).split().gated()
    yield "bailingmoe", Model().split().experts(shared=12, shared_key=False).key(
        expert_shared_count=1, expert_weights_scale=1.5, expert_weights_norm=True,
        leading_dense_block_count=0)
    yield "bailingmoe2", Model().each("attn_qkv", "attn_output").norms(
        "attn_norm", "ffn_norm").head_norms().gated(blocks=[0]).experts(
            count=6, shared=12, blocks=[1], shared_key=False).key(
                leading_dense_block_count=1, expert_shared_count=1, expert_weights_scale=2.5,
                expert_weights_norm=True, expert_gating_func=2, expert_group_count=3,
                expert_group_used_count=2)
    yield "bitnet", many().split().gated().norms("attn_sub_norm").norms(
        "ffn_sub_norm", size=FEED).scales(
            "attn_q", "attn_k", "attn_v", "attn_output", "ffn_gate", "ffn_up", "ffn_down").without(
                "output.weight")
    yield "deepseek", many().split().gated(blocks=[0]).experts(
        shared=12, blocks=[1], shared_key=False).key(
            leading_dense_block_count=1, expert_shared_count=1, expert_weights_scale=1.5)
    yield "exaone-moe", Model(blocks=4).split().head_norms().gated(blocks=[0]).experts(
        shared=12, blocks=[1, 2, 3]).key(
            leading_dense_block_count=1, expert_shared_count=1, expert_weights_scale=2.5,
            expert_weights_norm=True, expert_gating_func=2, attention__sliding_window=5)
    yield "hunyuan-moe", Model().split().head_norms().experts(inner=FEED, shared=20)
    yield "jais", many().each("attn_qkv", "attn_output").norms(
        "attn_norm", "ffn_norm").gated().layer_norms().biases(
            "attn_qkv", "attn_output", "ffn_gate", "ffn_up", "ffn_down").key(
                attention__max_alibi_bias=8.0).without("rope.freq_base", "rope.dimension_count")
    yield "jais2", many().split().plain().layer_norms().biases(
        "attn_q", "attn_k", "attn_v", "attn_output", "ffn_up", "ffn_down")
    lfm2 = Model(blocks=4).norms("attn_norm", "ffn_norm").gated(blocks=[0]).experts(
        blocks=[1, 2, 3]).each("attn_q", "attn_k", "attn_v", "attn_output", blocks=[1, 3])
    lfm2.each(blocks=[0, 2], **{
        "shortconv.conv": (WIDTH, 3), "shortconv.in_proj": (3 * WIDTH, WIDTH),
        "shortconv.out_proj": (WIDTH, WIDTH)})
    for block in 1, 3:
        lfm2.norm(f"blk.{block}.attn_q_norm", HEAD)
        lfm2.norm(f"blk.{block}.attn_k_norm", HEAD)
    for block in 1, 2, 3:
        lfm2.tensors[f"blk.{block}.exp_probs_b.bias"] = (5,)
    lfm2.norm("token_embd_norm", WIDTH)
    yield "lfm2moe", lfm2.without("output.weight", "output_norm.weight").key(
        leading_dense_block_count=1, expert_gating_func=2, shortconv__l_cache=3,
        attention__head_count_kv=[0, KV_HEADS, 0, KV_HEADS])
    yield "llama--scaled", Model().split().gated().biases("attn_q").scales(
        "attn_q", "attn_k", "attn_v", "attn_output", "ffn_gate", "ffn_up", "ffn_down")
    yield "qwen3moe--scaled", Model().split().head_norms().experts().scales(
        "attn_q", "attn_k", "attn_v", "attn_output", "ffn_gate_exps", "ffn_up_exps", "ffn_down_exps")
    yield "llama4--scout", Model(blocks=4).split().experts(
        count=16, inner=12, shared=12, shared_key=False).key(
            interleave_moe_layer_step=1, expert_used_count=1)
    yield "maincoder", Model().split().head_norms().gated()
    yield "mistral3--temperature", Model().split().gated().key(
        rope__scaling__type="yarn", rope__scaling__factor=4.0,
        rope__scaling__original_context_length=5, rope__scaling__yarn_beta_fast=8.0,
        rope__scaling__yarn_beta_slow=1.0, rope__scaling__yarn_log_multiplier=1.0,
        attention__temperature_scale=0.4)
    minimax = Model().split().norms("attn_q_norm", size=HEADS * HEAD).norms(
        "attn_k_norm", size=KV_HEADS * HEAD).experts(inner=FEED).key(
            expert_gating_func=2, rope__dimension_count=2)
    for block in range(2):
        minimax.tensors[f"blk.{block}.exp_probs_b.bias"] = (5,)
    yield "minimax-m2", minimax
    yield "orion", many().split().gated().layer_norms()
    yield "pangu-embedded", Model().split().gated().biases(
        "attn_q", "attn_k", "attn_v", "attn_output")
    yield "plamo", Model().each("attn_q", "attn_k", "attn_v", "attn_output").norms(
        "attn_norm").gated()
    # The key counts the rows of the gate and of `up`.
    yield "qwen", many().each("attn_qkv", "attn_output").norms("attn_norm", "ffn_norm").gated(
        feed=FEED // 2).biases("attn_qkv")
    sections = dict(rope__dimension_sections=[1, 1, 0, 0])
    yield "qwen3vl", Model().split().head_norms().gated().key(**sections, n_deepstack_layers=0)
    yield "qwen3vlmoe", Model().split().head_norms().experts().key(**sections, n_deepstack_layers=0)
    yield "refact", Model(kv_heads=1).split().gated().without("rope.freq_base", "rope.dimension_count")
    yield "xverse", many().split().gated()


    yield from recurrent()


def recurrent():
    """Models with blocks that have a recurrent state."""
    linear, attending = [0, 1, 2, 4], [3, 5]
    def qwen(**options):
        model = Model(blocks=6).norms("attn_norm", "post_attention_norm")
        return model.attends(attending, gated=True).delta(linear, **options).key(
            attention__key_length=HEAD, attention__value_length=HEAD)
    # The last block is no fourth one.
    which = [block in linear for block in range(6)]
    sections = dict(rope__dimension_sections=[1, 0, 0, 0], rope__dimension_count=2)
    yield "qwen35", qwen(heads=6).gated().key(attention__recurrent_layers=which, **sections)
    def shared(model):
        model.experts(shared=20)
        for block in range(6):
            model.tensors[f"blk.{block}.ffn_gate_inp_shexp.weight"] = (model.width,)
        return model
    yield "qwen35moe", shared(qwen()).key(attention__recurrent_layers=which, **sections)
    def every_third(**options):
        model = Model(blocks=6).norms("attn_norm", "post_attention_norm")
        model.attends([2, 5], gated=True).delta([0, 1, 3, 4], fused_rates=True, **options)
        return shared(model).key(full_attention_interval=3, rope__dimension_count=2,
                                 attention__key_length=HEAD, attention__value_length=HEAD)
    yield "qwen3next", every_third(heads=4)
    yield "qwen3next--legacy", every_third(heads=4, legacy=True)
    unused = ["attention.head_count_kv", "rope.freq_base", "rope.dimension_count"]
    alone = {"attention__head_count": 0, "feed_forward_length": 0}
    yield "mamba2", Model(blocks=3).norms("attn_norm").mamba2(range(3)).without(*unused).key(**alone)
    yield "mamba", Model(blocks=3).norms("attn_norm").mamba(range(3)).without(*unused).key(**alone)
    yield "mamba--falcon", Model(blocks=2).norms("attn_norm").mamba(range(2)).without(*unused).key(
        **alone, ssm__dt_b_c_rms=True)
    scales = dict(embedding_scale=3.0, logit_scale=2.0, residual_scale=0.5, attention__scale=0.3)
    heads = dict(attention__head_count_kv=[0, KV_HEADS, 0])
    def granite():
        model = Model(blocks=3).norms("attn_norm", "ffn_norm").mamba2([0, 2]).attends([1])
        return model.key(**heads, **scales, rope__scaling__finetuned=False)
    yield "granitehybrid", granite().gated()
    yield "granitehybrid--experts", granite().experts(inner=FEED, shared=20)
    # As Bamba's files.
    yield "granitehybrid--bamba", granite().gated().key(rope__scaling__finetuned=True).without(
        "embedding_scale", "logit_scale", "residual_scale", "attention.scale")
    falcon = Model(blocks=2).split().gated().mamba2(range(2), norm=False)
    for block in range(2):
        falcon.tensors[f"blk.{block}.ffn_norm"] = falcon.tensors.pop(f"blk.{block}.ffn_norm.weight")
    yield "falcon-h1", falcon.key(attention__key_length=HEAD, attention__value_length=HEAD)
    def nemotron():
        model = Model(blocks=4).norms("attn_norm").mamba2([0, 3]).attends([2])
        return model.key(attention__head_count_kv=[0, 0, KV_HEADS, 0], attention__key_length=HEAD,
                         attention__value_length=HEAD, feed_forward_length=[0, FEED, 0, 0],
                         attention__layer_norm_epsilon=1e-5)
    yield "nemotron_h", nemotron().each(
        blocks=[1], ffn_up=(FEED, WIDTH), ffn_down=(WIDTH, FEED))
    experts = nemotron().experts(shared=20, blocks=[1]).key(
        expert_weights_norm=True, expert_weights_scale=2.5, expert_shared_count=1,
        expert_group_count=1)
    experts.tensors["blk.1.exp_probs_b.bias"] = (5,)
    yield "nemotron_h_moe", experts.without("blk.1.ffn_gate_exps.weight", "blk.1.ffn_gate_shexp.weight")
    jamba = Model(blocks=3).norms("attn_norm", "ffn_norm").mamba([0, 2], norms=True).attends(
        [1]).gated(blocks=[0, 2]).experts(inner=FEED, blocks=[1])
    yield "jamba", jamba.without("rope.freq_base", "rope.dimension_count").key(**heads)


def tokenizer(writer):
    """As in `make_decoder_models.py`, which needs more to be imported."""
    printable = [*range(33, 127), *range(161, 173), *range(174, 256)]
    others = [b for b in range(256) if b not in printable]
    chars = {b: chr(b) for b in printable} | {b: chr(256 + i) for i, b in enumerate(others)}
    special = ["<pad>", "<s>", "</s>", *[f"<{i}>" for i in range(4)]]
    writer.add_tokenizer_model("gpt2")
    writer.add_tokenizer_pre("gpt-2")
    writer.add_token_list(special + [chars[b] for b in range(256)] + ["he"])
    writer.add_token_types([3] * len(special) + [1] * 257)
    writer.add_token_merges(["h e"])
    writer.add_bos_token_id(1)
    writer.add_eos_token_id(2)


def values(name, shape, rng):
    """Weights large enough for every part to count."""
    normal = rng.standard_normal(shape, np.float32)
    if "norm" in name:
        return np.float32(0.3) * normal + np.float32(not name.endswith("bias"))
    if name.endswith("ssm_a"):
        # What remains of a state after a token, as an exponent.
        return -np.exp(np.float32(0.5) * normal - np.float32(1))
    if name.endswith("ssm_d"):
        return np.float32(0.5) * normal
    if name.endswith("scale"):
        return np.float32(0.2) * normal + np.float32(1)
    if name.endswith("bias"):
        return np.float32(0.3) * normal
    return np.float32(1.6 / shape[-1] ** 0.5) * normal


def write(name, model, path):
    rng = np.random.default_rng(len(name) * 1009 + model.blocks)
    architecture = name.split("--")[0]
    writer = gguf.GGUFWriter(path, architecture)
    add = {int: writer.add_uint32, float: writer.add_float32, str: writer.add_string,
           bool: writer.add_bool, list: writer.add_array}
    for key, value in model.keys.items():
        own = key if key.startswith("xielu.") else f"{architecture}.{key}"
        add[type(value)](own, value)
    tokenizer(writer)
    for tensor, shape in model.tensors.items():
        writer.add_tensor(tensor, values(tensor, shape, rng))
    writer.write_header_to_file()
    writer.write_kv_data_to_file()
    writer.write_tensors_to_file()
    writer.close()
    return rng.integers(8, VOCAB, max(LENGTHS)).tolist()


def judged(modules, model, tokens, folder):
    (folder / "tokens.json").write_text(json.dumps({"tokens": tokens}))
    script = ROOT / "scripts" / "llama_logits.mjs"
    out = folder / "logits.bin"
    done = subprocess.run(
        ["node", script, modules, model, folder / "tokens.json", out], capture_output=True, text=True)
    if done.returncode != 0:
        raise SystemExit(f"{model.name}: llama.cpp: {done.stderr}")
    rows = np.frombuffer(out.read_bytes(), "<f4", offset=8 + 4 * len(tokens))
    return rows.reshape(len(tokens), -1)


def main():
    parser = argparse.ArgumentParser()
    parser.add_argument("names", nargs="*")
    parser.add_argument("--modules", default=".")
    given = parser.parse_args()
    for name, model in models():
        if given.names and name not in given.names:
            continue
        path = OUT / f"{name}.gguf"
        tokens = write(name, model, path)
        with tempfile.TemporaryDirectory() as folder:
            logits = judged(given.modules, path, tokens, pathlib.Path(folder))
        shortest = [[float(str(x)) for x in logits[length - 1]] for length in LENGTHS]
        record = {"judge": "llama.cpp", "tokens": tokens, "lengths": LENGTHS, "logits": shortest}
        (OUT / f"{name}.json").write_text(json.dumps(record) + "\n")
        print(name, "largest logit", float(np.abs(logits).max()), flush=True)


if __name__ == "__main__":
    main()

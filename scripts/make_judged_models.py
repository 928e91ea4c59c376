#!/usr/bin/env python3
"""Writes a small language model with random weights for architectures that Hugging
Face transformers does not have, and the logits that llama.cpp computes with it, to
tests/data/decoders/.

    python3 -m venv .venv && .venv/bin/pip install numpy gguf
    mkdir judge && (cd judge && npm install --ignore-scripts node-llama-cpp)
    .venv/bin/python scripts/make_judged_models.py --modules judge [NAME...]

Files are as those of `make_decoder_models.py`; `judge` says who computed the logits.
That llama.cpp takes a file says that its keys and tensors have the names it looks
for. It reads GELU from a table of halves, so only models without are judged here, or some
where what comes of it is small beside the rest.
"""

import argparse
import json
import pathlib
import subprocess
import tempfile

import gguf
import numpy as np

from decoder_sizes import SCALE, feed_width

ROOT = pathlib.Path(__file__).resolve().parent.parent
OUT = ROOT / "tests" / "data" / "decoders"
VOCAB, WIDTH, HEADS, KV_HEADS, HEAD = 264, 16 * SCALE, 4 * SCALE, 2 * SCALE, 4
# Widths of a feed-forward layer, of an expert and of one for all tokens.
FEED, EXPERT, SHARED = feed_width(24), feed_width(12), feed_width(20)
LENGTHS = [1, 7, 13, 24]


class Model:
    """Tensors and keys of a model; names as in files."""

    def __init__(self, blocks=2, width=WIDTH, heads=HEADS, kv_heads=KV_HEADS, head=HEAD, feed=FEED):
        self.blocks, self.width, self.heads, self.kv_heads = blocks, width, heads, kv_heads
        self.head, self.feed = head, feed
        # Tensors whose values are no weights.
        self.fixed = {}
        # Tokens that the judge's must have, by their places.
        self.said = {}
        # What the weights of some matrices are multiplied with.
        self.shares = {}
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

    def experts(self, count=5, inner=EXPERT, shared=None, blocks=None, shared_key=True):
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

    def biased_norms(self):
        for name in [name for name in self.tensors if "norm.weight" in name]:
            self.tensors[name.replace(".weight", ".bias")] = self.tensors[name]
        return self

    def factors(self, short, long):
        """Divisors of rotary frequencies for short texts and for long ones."""
        self.fixed |= {"rope_factors_short.weight": short, "rope_factors_long.weight": long}
        return self

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

    def mamba2(self, blocks, heads=4 * SCALE, head=8, rows=8, groups=2, norm=True):
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

    def mamba_heads(self, blocks, heads=4 * SCALE, head=4, rows=8):
        """Blocks of PLaMo 2; names of norms without their ends, as in its files."""
        inner, rank = heads * head, max(64, self.width // 16)
        for block in blocks:
            at = f"blk.{block}.ssm"
            self.tensors |= {
                f"{at}_in.weight": (2 * inner, self.width), f"{at}_conv1d.weight": (inner, 4),
                f"{at}_x.weight": (rank + 2 * rows, inner), f"{at}_dt.weight": (heads, rank),
                f"{at}_dt.bias": (heads,), f"{at}_a": (heads,), f"{at}_d": (heads,),
                f"{at}_out.weight": (self.width, inner), f"{at}_dt_norm": (rank,),
                f"{at}_b_norm": (rows,), f"{at}_c_norm": (rows,)}
        return self.states(inner, rows, heads).key(ssm__group_count=0)

    def delta(self, blocks, heads=4 * SCALE, keys=2 * SCALE, rows=16, legacy=False, fused_rates=False):
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

    def channel_delta(self, blocks, rows=8):
        """Blocks that are delta nets with a decay of each channel."""
        inner, width = self.heads * rows, self.width
        for block in blocks:
            at = f"blk.{block}"
            for letter in "qkv":
                self.tensors[f"{at}.attn_{letter}.weight"] = (inner, width)
                self.tensors[f"{at}.ssm_conv1d_{letter}.weight"] = (inner, 1, 4)
            for letter in "fg":
                self.tensors[f"{at}.ssm_{letter}_a.weight"] = (rows, width)
                self.tensors[f"{at}.ssm_{letter}_b.weight"] = (inner, rows)
            self.tensors |= {
                f"{at}.ssm_beta.weight": (self.heads, width), f"{at}.ssm_dt.bias": (inner,),
                f"{at}.ssm_a": (self.heads, 1), f"{at}.ssm_norm.weight": (rows,),
                f"{at}.attn_output.weight": (width, inner)}
        return self.key(ssm__conv_kernel=4, kda__head_dim=rows)

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
    narrow = dict(
        width=8 * SCALE, heads=2 * SCALE, kv_heads=2 * SCALE, feed=feed_width(8))
    yield "baichuan", Model(blocks=32, **narrow).split().gated()
    yield "baichuan--13b", Model(blocks=40, **narrow).split().gated()
    yield "bailingmoe", Model().split().experts(shared=EXPERT, shared_key=False).key(
        expert_shared_count=1, expert_weights_scale=1.5, expert_weights_norm=True,
        leading_dense_block_count=0)
    yield "bailingmoe2", Model().each("attn_qkv", "attn_output").norms(
        "attn_norm", "ffn_norm").head_norms().gated(blocks=[0]).experts(
            count=6, shared=EXPERT, blocks=[1], shared_key=False).key(
                leading_dense_block_count=1, expert_shared_count=1, expert_weights_scale=2.5,
                expert_weights_norm=True, expert_gating_func=2, expert_group_count=3,
                expert_group_used_count=2)
    yield "bitnet", many().split().gated().norms("attn_sub_norm").norms(
        "ffn_sub_norm", size=FEED).scales(
            "attn_q", "attn_k", "attn_v", "attn_output", "ffn_gate", "ffn_up", "ffn_down").without(
                "output.weight")
    yield "deepseek", many().split().gated(blocks=[0]).experts(
        shared=EXPERT, blocks=[1], shared_key=False).key(
            leading_dense_block_count=1, expert_shared_count=1, expert_weights_scale=1.5)
    yield "exaone-moe", Model(blocks=4).split().head_norms().gated(blocks=[0]).experts(
        shared=EXPERT, blocks=[1, 2, 3]).key(
            leading_dense_block_count=1, expert_shared_count=1, expert_weights_scale=2.5,
            expert_weights_norm=True, expert_gating_func=2, attention__sliding_window=5)
    yield "hunyuan-moe", Model().split().head_norms().experts(inner=FEED, shared=SHARED)
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
        count=16, shared=EXPERT, shared_key=False).key(
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
    yield from large_mixtures()
    yield from gated_mixtures()
    yield from uneven()
    yield from short_vectors()
    # Of a text all positions of a token are the same.
    sections = dict(rope__dimension_sections=[1, 1, 0, 0])
    yield "paddleocr", Model().split().gated().key(**sections)
    yield "hunyuan_vl", Model().split().head_norms().gated().key(
        **sections, rope__scaling__alpha=20.0)


    yield from recurrent()
    yield from of_odd_norms()


def of_odd_norms():
    """Norms without weights, stacks that take turns, gates behind attention."""
    cogvlm = many_heads().each("attn_qkv", "attn_output").norms("attn_norm", "ffn_norm").gated()
    inner = (FEED, WIDTH)
    # Of pictures alone.
    yield "cogvlm", cogvlm.each(
        vis_attn_qkv=cogvlm.sizes["attn_qkv"], vis_attn_output=cogvlm.sizes["attn_output"],
        vis_gate=inner, vis_up=inner, vis_down=(WIDTH, FEED)).without("rope.freq_base")
    matrices = ["attn_q", "attn_k", "attn_v", "attn_output"]
    gate = dict(attn_gate=(HEADS * HEAD, WIDTH))
    hrm = Model(blocks=4).each(*matrices, **gate).gated()
    hrm.tensors["hrm.z_l_init"] = (WIDTH,)
    # Two turns, in each two runs of the low stack and one of the high one.
    yield "hrm_text", hrm.without("output_norm.weight").key(
        block_count=12, hrm__layers_per_stack=2, hrm__h_cycles=2, hrm__l_cycles=2,
        embedding_scale=3.0)
    muse = Model(blocks=4).split().head_norms().norms(
        "post_attention_norm", "post_ffw_norm").each(**gate).gated()
    yield "muse-glimmer", muse.key(
        attention__sliding_window=5, logit_scale=0.6, final_logit_softcapping=3.0,
        rope__freq_base_swa=300.0)
    spark = Model(blocks=4).split().each(attn_gate=(HEADS, WIDTH)).gated()
    # So that GELU's table counts for little.
    spark.shares = {"ffn_down": 0.02}
    yield "spark2_5", spark.key(
        attention__sliding_window=5, rope__freq_base_swa=40.0,
        attention__sliding_window_pattern=[True, False, True, True])
    # Two adapters; tokens 20 and 31 choose them and are read as 21 and 9.
    switch = Model().each("attn_qkv", "attn_output").norms("attn_norm", "ffn_norm").gated()
    queries, others = HEADS * HEAD, KV_HEADS * HEAD
    sizes = {"attn_q": (queries, WIDTH), "attn_k": (others, WIDTH), "attn_v": (others, WIDTH),
             "attn_output": (WIDTH, queries), "ffn_gate": (FEED, WIDTH), "ffn_up": (FEED, WIDTH),
             "ffn_down": (WIDTH, FEED)}
    rank = 3
    for block in range(2):
        for name, (outputs, inputs) in sizes.items():
            switch.tensors[f"blk.{block}.{name}.lora_a"] = (3, rank, inputs)
            switch.tensors[f"blk.{block}.{name}.lora_b"] = (3, outputs, rank)
    switch.said = {3: 31, 7: 20}
    yield "graniteswitch", switch.key(
        adapters__count=2, adapters__lora_rank=rank, adapters__token_ids_activate=[20, 31],
        adapters__token_ids_substitute=[21, 9], embedding_scale=3.0, residual_scale=0.7,
        logit_scale=2.5, attention__scale=0.4)
    talkie = Model(blocks=3).each(*matrices, attn_q_norm=(HEADS, 1)).gated().scales(
        "attn_output", "ffn_down")
    for block in range(3):
        talkie.tensors[f"blk.{block}.layer_output_scale.weight"] = (1,)
    yield "talkie", talkie.without("output_norm.weight").key(logit_scale=0.7)


def many_heads():
    return Model(kv_heads=HEADS)


def large_mixtures():
    """Mixtures of experts with something particular."""
    afmoe = Model(blocks=4).split().head_norms().norms(
        "post_attention_norm", "post_ffw_norm").each(
            attn_gate=(HEADS * HEAD, WIDTH)).gated(blocks=[0]).experts(
                shared=EXPERT, blocks=[1, 2, 3], shared_key=False)
    for block in 1, 2, 3:
        afmoe.tensors[f"blk.{block}.exp_probs_b.bias"] = (5,)
    yield "afmoe", afmoe.key(
        leading_dense_block_count=1, expert_shared_count=1, expert_weights_scale=2.5,
        expert_weights_norm=True, expert_gating_func=2, attention__sliding_window=5)
    dbrx = Model().each("attn_qkv", "attn_output").norms("attn_norm", "attn_output_norm")
    # Six experts share three that read what the chosen ones give.
    yield "grovemoe", Model().split().head_norms().experts(count=6).each(
        ffn_gate_chexps=(3, feed_width(8), WIDTH), ffn_up_chexps=(3, feed_width(8), WIDTH),
        ffn_down_chexps=(3, WIDTH, feed_width(8))).key(
            expert_chunk_feed_forward_length=feed_width(8), expert_group_scale=0.7,
            experts_per_group=2)
    yield "dbrx", dbrx.experts(inner=FEED).key(
        attention__clamp_kqv=0.8, attention__layer_norm_epsilon=1e-5).without(
            "attention.layer_norm_rms_epsilon")
    yield "arctic", Model().split().norms("ffn_norm_exps").gated(feed=WIDTH).experts(inner=FEED)
    cohere = lambda: Model(blocks=4).each("attn_q", "attn_k", "attn_v", "attn_output").norms(
        "attn_norm").gated(blocks=[0]).experts(shared=EXPERT, blocks=[1, 2, 3]).key(
            leading_dense_block_count=1, expert_shared_count=1, attention__sliding_window=5,
            logit_scale=0.6)
    yield "cohere2moe", cohere().key(attention__layer_norm_epsilon=1e-5).without(
        "attention.layer_norm_rms_epsilon")
    yield "cohere2moe--rms", cohere().key(
        expert_weights_norm=True, expert_weights_scale=1.5, expert_gating_func=1,
        attention__sliding_window_pattern=2)
    # Embeddings are so large with the scales that Grok has without keys that GELU's
    # table counts for little.
    yield "grok", Model().split().norms("attn_output_norm", "layer_output_norm").gated().experts()
    yield "grok--1", Model().split().norms("attn_output_norm", "layer_output_norm").experts(
        inner=FEED).key(embedding_scale=60.0, logit_scale=0.5, attn_logit_softcapping=20.0,
                        attention__output_scale=0.2)
    plamo = Model(blocks=4).each("attn_qkv", "attn_output").head_norms().norms(
        "attn_norm", "ffn_norm").each(ffn_up=(2 * FEED, WIDTH), ffn_down=(WIDTH, FEED))
    for block in range(4):
        for name in "post_attention_norm", "post_ffw_norm":
            plamo.tensors[f"blk.{block}.{name}"] = (WIDTH,)
    yield "plamo3", plamo.key(
        attention__sliding_window=5, attention__sliding_window_pattern=2,
        rope__freq_base_swa=300.0)
    yield "mellum", Model(blocks=4).split().head_norms().experts().key(
        attention__sliding_window=5, rope__scaling__type="yarn", rope__scaling__factor=4.0,
        rope__scaling__original_context_length=64)
    windowed = [True, False, True, True]
    granite = Model(blocks=4).split().gated()
    for block in range(4):
        granite.tensors[f"blk.{block}.attn_sinks.weight"] = (HEADS,)
    yield "granite_swa", granite.key(
        attention__sliding_window=5, attention__sliding_window_pattern=windowed,
        attention__rope_pattern=[True, False, True, False], embedding_scale=3.0,
        residual_scale=0.7, logit_scale=2.5, attention__scale=0.4)
    hunyuan = Model(blocks=3).split().head_norms().gated(blocks=[0]).experts(
        shared=SHARED, blocks=[1, 2])
    for block in 1, 2:
        hunyuan.tensors[f"blk.{block}.exp_probs_b"] = (5,)
    yield "hy_v3", hunyuan.key(
        leading_dense_block_count=1, expert_weights_scale=2.5, expert_weights_norm=True,
        attention__key_length=HEAD, attention__value_length=HEAD)
    mimo = Model(blocks=4, head=8).norms("attn_norm", "ffn_norm")
    for block in range(4):
        heads = KV_HEADS if windowed[block] else 1
        mimo.each(blocks=[block], attn_q=(HEADS * 8, WIDTH), attn_k=(heads * 8, WIDTH),
                  attn_v=(heads * 6, WIDTH), attn_output=(WIDTH, HEADS * 6))
        if windowed[block]:
            mimo.tensors[f"blk.{block}.attn_sinks.weight"] = (HEADS,)
    mimo.gated(blocks=[0]).experts(blocks=[1, 2, 3])
    for block in 1, 2, 3:
        mimo.tensors[f"blk.{block}.exp_probs_b.bias"] = (5,)
    yield "mimo2", mimo.key(
        attention__key_length=8, attention__value_length=6, attention__sliding_window=5,
        attention__sliding_window_pattern=windowed, rope__freq_base_swa=40.0,
        rope__dimension_count=4, attention__value_scale=0.7,
        attention__head_count_kv=[KV_HEADS if local else 1 for local in windowed])
    phi = Model().split().biases("attn_q", "attn_k", "attn_v", "attn_output").experts(inner=FEED)
    phi.tensors["output.bias"] = (VOCAB,)
    yield "phimoe", phi.biased_norms().factors([1.0, 1.7], [1.0, 9.0]).key(
        rope__scaling__original_context_length=256)
    # The first of four blocks sees all and does not rotate. The window of llama.cpp is
    # that of the published models, whatever the file says.
    yield "smallthinker", Model(blocks=5).split().experts().key(
        attention__sliding_window=4096, expert_gating_func=2)
    heads = [4 * SCALE, 6 * SCALE, 6 * SCALE, 4 * SCALE]
    windowed = [count == 6 * SCALE for count in heads]
    step = Model(blocks=4, head=8).norms("attn_norm", "ffn_norm").norms(
        "attn_q_norm", "attn_k_norm", size=8)
    for block, count in enumerate(heads):
        step.each(blocks=[block], attn_q=(count * 8, WIDTH), attn_k=(KV_HEADS * 8, WIDTH),
                  attn_v=(KV_HEADS * 8, WIDTH), attn_output=(WIDTH, count * 8),
                  attn_gate=(count, WIDTH))
    step.gated(blocks=[0]).experts(shared=SHARED, blocks=[1, 2, 3])
    for block in 1, 2, 3:
        step.tensors[f"blk.{block}.exp_probs_b.bias"] = (5,)
    step.tensors["rope_freqs.weight"] = (4,)
    yield "step35", step.key(
        attention__head_count=heads, attention__key_length=8, attention__value_length=8,
        attention__sliding_window=5, attention__sliding_window_pattern=windowed,
        rope__freq_base_swa=40.0, rope__dimension_count=8, expert_weights_norm=True,
        expert_weights_scale=2.5, swiglu_clamp_exp=[0.0, 0.3, 0.0, 0.2],
        swiglu_clamp_shexp=[0.25, 0.0, 0.3, 0.0])


def gated_mixtures():
    """Mixtures whose attention goes through a gate, and others of their time."""
    def laguna(rows):
        model = Model(blocks=4).split().head_norms().gated(blocks=[0]).experts(
            shared=SHARED, blocks=[1, 2, 3]).each(attn_gate=(rows, WIDTH))
        for block in 1, 2, 3:
            model.tensors[f"blk.{block}.exp_probs_b.bias"] = (5,)
        return model.key(
            leading_dense_block_count=1, expert_weights_scale=2.5, expert_weights_norm=True,
            expert_gating_func=2, attention__key_length=HEAD, attention__value_length=HEAD)

    yield "laguna", laguna(HEADS).key(
        attention__sliding_window=5, rope__freq_base_swa=40.0, rope__dimension_count=2,
        rope__dimension_count_swa=4, rope__scaling__type="yarn", rope__scaling__factor=4.0,
        rope__scaling__original_context_length=16)
    yield "laguna--whole", laguna(HEADS * HEAD)
    yield "maple", Model(blocks=4).split().head_norms().experts().key(
        attention__sliding_window=5, attention__sliding_window_pattern=[True, False, True, True],
        rope__freq_base_swa=40.0, rope__scaling__factor=2.0,
        swiglu_clamp_exp=[0.0, 0.3, 0.0, 0.2])
    yield "glm4--vision", Model().each(
        "attn_q", "attn_k", "attn_v", "attn_output", ffn_up=(2 * FEED, WIDTH),
        ffn_down=(WIDTH, FEED)).norms(
            "attn_norm", "ffn_norm", "post_attention_norm", "post_ffw_norm").key(
                rope__dimension_sections=[1, 1, 0, 0])
    yield "nanbeige", Model().split().gated().key(num_loops=3)
    yield "nanbeige--skip", Model().split().gated().key(num_loops=2, skip_loop_final_norm=True)
    yield "deepseek2-ocr", Model(kv_heads=HEADS).split().gated(blocks=[0]).experts(
        shared=EXPERT, blocks=[1], shared_key=False).key(
            leading_dense_block_count=1, expert_shared_count=1, expert_weights_scale=1.5,
            rope__freq_base=10000.0)


def uneven():
    """Blocks of different numbers of heads, and blocks that lack a part."""
    large = lambda numbers: [SCALE * number for number in numbers]
    heads, keys = large([4, 4, 0, 0, 2]), large([2, 0, 0, 0, 1])
    inner = large([24, 16, 8, 0, 12])
    deci = Model(blocks=5)
    for block in 0, 1, 4:
        deci.norm(f"blk.{block}.attn_norm", WIDTH)
        deci.each(blocks=[block], attn_output=(WIDTH, (heads[block] or HEADS) * HEAD))
    for block in 0, 4:
        deci.each(blocks=[block], attn_q=(heads[block] * HEAD, WIDTH),
                  attn_k=(keys[block] * HEAD, WIDTH), attn_v=(keys[block] * HEAD, WIDTH))
    for block in 0, 1, 2, 4:
        deci.norm(f"blk.{block}.ffn_norm", WIDTH)
        deci.gated(blocks=[block], feed=inner[block])
    yield "deci", deci.key(
        attention__head_count=heads, attention__head_count_kv=keys, feed_forward_length=inner,
        attention__key_length=HEAD, attention__value_length=HEAD)
    heads, keys, inner = large([4, 6, 8]), large([2, 2, 4]), large([24, 16, 28])
    elm = Model(blocks=3).norms("attn_norm", "ffn_norm").head_norms()
    for block in range(3):
        elm.each(blocks=[block], attn_qkv=((heads[block] + 2 * keys[block]) * HEAD, WIDTH),
                 attn_output=(WIDTH, heads[block] * HEAD))
        elm.gated(blocks=[block], feed=inner[block])
    yield "openelm", elm.without("output.weight").key(
        attention__head_count=heads, attention__head_count_kv=keys, feed_forward_length=inner,
        attention__key_length=HEAD, attention__value_length=HEAD)


def short_vectors():
    """Keys and values made of one short vector of each token."""
    def latent(queries=None, split=False, **sizes):
        rank, plain, turned, value = 8, 6, 4, 6
        model = Model(**sizes).norms("attn_norm", "ffn_norm").each(
            attn_kv_a_mqa=(rank + turned, WIDTH), attn_output=(WIDTH, HEADS * value)).norms(
                "attn_kv_a_norm", size=rank)
        if queries:
            model.each(attn_q_a=(queries, WIDTH), attn_q_b=(HEADS * (plain + turned), queries))
            model.norms("attn_q_a_norm", size=queries).key(attention__q_lora_rank=queries)
        else:
            model.each(attn_q=(HEADS * (plain + turned), WIDTH))
        if split:
            model.each(attn_k_b=(HEADS, rank, plain), attn_v_b=(HEADS, value, rank))
            model.key(attention__key_length_mla=plain + turned, attention__value_length_mla=value,
                      attention__key_length=rank + turned, attention__value_length=rank,
                      attention__head_count_kv=1)
        else:
            model.each(attn_kv_b=(HEADS * (plain + value), rank))
            model.key(attention__key_length=plain + turned, attention__value_length=value,
                      attention__head_count_kv=HEADS)
        return model.key(attention__kv_lora_rank=rank, rope__dimension_count=turned)
    yield "minicpm3", latent(queries=12).gated().factors([1.0, 1.7], [1.0, 9.0]).key(
        rope__scaling__original_context_length=256).without("output.weight")
    yield "plm", latent().plain().without("output.weight")
    yield "mistral4", latent(queries=12, split=True).experts(
        shared=EXPERT, shared_key=False).key(
            expert_shared_count=1, leading_dense_block_count=0, expert_weights_norm=True,
            expert_gating_func=1, rope__scaling__type="yarn", rope__scaling__factor=4.0,
            rope__scaling__original_context_length=5, rope__scaling__yarn_beta_fast=8.0,
            rope__scaling__yarn_beta_slow=1.0, rope__scaling__yarn_log_multiplier=0.1,
            attention__temperature_scale=0.4, attention__temperature_length=5)


def kimi():
    """Delta nets with a decay of each channel, and latent attention that does not rotate."""
    rank, plain, turned, value = 8, 6, 4, 6
    model = Model(blocks=4).norms("attn_norm", "ffn_norm").gated(blocks=[0]).experts(
        shared=EXPERT, blocks=[1, 2, 3], shared_key=False).channel_delta([0, 1, 3])
    model.each(blocks=[2], attn_kv_a_mqa=(rank + turned, WIDTH),
               attn_q=(HEADS * (plain + turned), WIDTH), attn_output=(WIDTH, HEADS * value))
    model.norm("blk.2.attn_kv_a_norm", rank)
    model.each(blocks=[2], attn_k_b=(HEADS, rank, plain), attn_v_b=(HEADS, value, rank))
    for block in 1, 2, 3:
        model.tensors[f"blk.{block}.exp_probs_b.bias"] = (5,)
    return model.key(
        attention__head_count_kv=[0, 0, 1, 0], attention__kv_lora_rank=rank,
        attention__key_length_mla=plain + turned, attention__value_length_mla=value,
        attention__key_length=rank + turned,
        attention__value_length=rank,
        rope__dimension_count=turned, expert_shared_count=1, leading_dense_block_count=1,
        expert_weights_scale=2.5, expert_weights_norm=True, expert_gating_func=2)


def ling():
    """Ling 3: as Kimi Linear, with decays in bounds, rotated heads and a gate for each."""
    model, rank = kimi(), 6
    for block in 0, 1, 3:
        inner = model.tensors[f"blk.{block}.ssm_f_b.weight"][0]
        for letter in "fg":
            del model.tensors[f"blk.{block}.ssm_{letter}_b.weight"]
            model.tensors[f"blk.{block}.ssm_{letter}_a.weight"] = (inner, WIDTH)
    queries = model.tensors.pop("blk.2.attn_q.weight")[0]
    model.each(blocks=[2], attn_q_a=(rank, WIDTH), attn_q_b=(queries, rank),
               attn_gate=(HEADS, WIDTH)).norm("blk.2.attn_q_a_norm", rank)
    return model.key(kda__gate_lower_bound=-1.5, attention__q_lora_rank=rank)


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
    yield "kimi-linear", kimi()
    yield "bailingmoe3", ling()
    yield "qwen35", qwen(heads=6 * SCALE).gated().key(attention__recurrent_layers=which, **sections)
    def shared(model):
        model.experts(shared=SHARED)
        for block in range(6):
            model.tensors[f"blk.{block}.ffn_gate_inp_shexp.weight"] = (model.width,)
        return model
    yield "qwen35moe", shared(qwen()).key(attention__recurrent_layers=which, **sections)
    def every_third(**options):
        model = Model(blocks=6).norms("attn_norm", "post_attention_norm")
        model.attends([2, 5], gated=True).delta([0, 1, 3, 4], fused_rates=True, **options)
        return shared(model).key(full_attention_interval=3, rope__dimension_count=2,
                                 attention__key_length=HEAD, attention__value_length=HEAD)
    yield "qwen3next", every_third()
    yield "qwen3next--legacy", every_third(legacy=True)
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
    yield "granitehybrid--experts", granite().experts(inner=FEED, shared=SHARED)
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
    def narrow():
        """Experts of a smaller width than the stream."""
        model, own = nemotron().experts(shared=SHARED, blocks=[1]), 10
        model.each(blocks=[1], ffn_latent_down=(own, WIDTH), ffn_latent_up=(WIDTH, own),
                   ffn_up_exps=(5, EXPERT, own), ffn_down_exps=(5, own, EXPERT))
        model.tensors["blk.1.exp_probs_b.bias"] = (5,)
        return model.key(
            moe_latent_size=own, expert_weights_norm=True, expert_weights_scale=2.5,
            expert_shared_count=1, expert_group_count=1).without(
                "blk.1.ffn_gate_exps.weight", "blk.1.ffn_gate_shexp.weight")
    experts = nemotron().experts(shared=SHARED, blocks=[1]).key(
        expert_weights_norm=True, expert_weights_scale=2.5, expert_shared_count=1,
        expert_group_count=1)
    experts.tensors["blk.1.exp_probs_b.bias"] = (5,)
    yield "nemotron_h_moe--narrow", narrow()
    yield "nemotron_h_moe", experts.without("blk.1.ffn_gate_exps.weight", "blk.1.ffn_gate_shexp.weight")
    jamba = Model(blocks=3).norms("attn_norm", "ffn_norm").mamba([0, 2], norms=True).attends(
        [1]).gated(blocks=[0, 2]).experts(inner=FEED, blocks=[1])
    yield "plamo2", plamo2()
    for name in ["rwkv7", "arwkv7", "rwkv6", "rwkv6--apart", "rwkv6qwen2"]:
        yield name, rwkv(name)
    yield "jamba", jamba.without("rope.freq_base", "rope.dimension_count").key(**heads)


def plamo2():
    """Attention in every other block, with norms of each head of their own. The judge comes
    to no end where the first block does not attend, as in published models."""
    model = Model(blocks=4).norms("attn_norm", "ffn_norm").mamba_heads([1, 3]).each(
        "attn_qkv", "attn_output", blocks=[0, 2]).each(
            ffn_up=(2 * FEED, WIDTH), ffn_down=(WIDTH, FEED))
    for block in range(4):
        for name in "post_attention_norm", "post_ffw_norm":
            model.tensors[f"blk.{block}.{name}"] = (WIDTH,)
    for block in 0, 2:
        model.tensors[f"blk.{block}.attn_q_norm.weight"] = (HEADS, HEAD)
        model.tensors[f"blk.{block}.attn_k_norm.weight"] = (KV_HEADS, HEAD)
    return model.key(
        attention__head_count=[HEADS, 0, HEADS, 0], attention__head_count_kv=[KV_HEADS, 0, KV_HEADS, 0],
        attention__key_length=HEAD, attention__value_length=HEAD)


def rwkv(name):
    """RWKV-6 and RWKV-7: each token reads the one before it, by shares of each channel. The
    judge reads heads 64 elements at a time, whatever they have."""
    seventh, of_qwen = "wkv7" in name, name.startswith("arwkv7") or name.endswith("qwen2")
    blocks, rank, head = 2, 6, 64
    model = Model(blocks=blocks, width=max(WIDTH, 2 * head)).norms("attn_norm")
    width, square = model.width, (model.width, model.width)
    names = ["receptance", "key", "value", "output"]
    model.each(**{f"time_mix_{name}": square for name in names})
    if seventh:
        for letter in "wavg":
            model.each(**{f"time_mix_{letter}1": (rank, width), f"time_mix_{letter}2": (width, rank)})
        model.each(**{f"time_mix_{letter}0": (width,) for letter in "wav"},
                   **{f"time_mix_{two}": (width,) for two in ["k_k", "k_a", "r_k"]},
                   time_mix_lerp_fused=(6, 1, 1, width))
        model.key(attention__decay_lora_rank=rank, attention__iclr_lora_rank=rank,
                  attention__value_residual_mix_lora_rank=rank,
                  attention__gate_lora_rank=rank)
    else:
        model.each(time_mix_w1=(5 * rank, width), time_mix_w2=(5, width, rank),
                   time_mix_lerp_x=(1, 1, width), time_mix_decay=(width,),
                   time_mix_decay_w1=(rank, width), time_mix_decay_w2=(width, rank),
                   time_mix_gate=square)
        if name.endswith("apart"):
            model.each(**{f"time_mix_lerp_{letter}": (1, 1, width) for letter in "wkvrg"})
        else:
            model.each(time_mix_lerp_fused=(5, 1, 1, width))
        model.key(time_mix_extra_dim=rank, time_decay_extra_dim=rank)
    if of_qwen:
        model.norms("ffn_norm").gated()
        if not seventh:
            # Two heads share keys and values.
            model.each(time_mix_key=(width // 2, width), time_mix_value=(width // 2, width))
            model.biases("time_mix_receptance", "time_mix_key", "time_mix_value")
            model.key(attention__head_count=width // head,
                      attention__head_count_kv=width // head // 2)
        else:
            model.norms("time_mix_ln", bias=True)
    else:
        model.norms("attn_norm_2", bias=True).norm("token_embd_norm", width)
        model.each(channel_mix_key=(FEED, width), channel_mix_value=(width, FEED),
                   channel_mix_lerp_k=(1, 1, width))
        model.layer_norms().norms("time_mix_ln", bias=True)
        if not seventh:
            model.each(time_mix_first=(width // head, head), channel_mix_receptance=square,
                       channel_mix_lerp_r=(1, 1, width))
            model.key(rescale_every_n_layers=2)
    unused = ["rope.freq_base", "rope.dimension_count"]
    if seventh or not of_qwen:
        unused.append("attention.head_count_kv")
        model.key(attention__head_count=0)
    return model.without(*unused).key(
        wkv__head_size=head, token_shift_count=1 if of_qwen else 2)


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
    if "norm" in name or "time_mix_ln" in name:
        return np.float32(0.3) * normal + np.float32(not name.endswith("bias"))
    if name.endswith("ssm_a"):
        # What remains of a state after a token, as an exponent.
        return -np.exp(np.float32(0.5) * normal - np.float32(1))
    if name.startswith("rope_freqs"):
        return np.float32(1) + np.abs(normal)
    if name.endswith("ssm_d"):
        return np.float32(0.5) * normal
    if name.endswith("scale"):
        return np.float32(0.2) * normal + np.float32(1)
    if "lerp" in name or name.split(".")[2:3] and name.split(".")[2].endswith(("_k_k", "_k_a")):
        return np.float32(0.5) + np.float32(0.3) * normal
    if name.endswith("time_mix_decay.weight"):
        return np.float32(0.5) * normal - np.float32(1)
    if name.endswith(("bias", "exp_probs_b")):
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
        writer.add_tensor(tensor, values(tensor, shape, rng) * np.float32(share(model, tensor)))
    for tensor, numbers in model.fixed.items():
        writer.add_tensor(tensor, np.array(numbers, np.float32))
    writer.write_header_to_file()
    writer.write_kv_data_to_file()
    writer.write_tensors_to_file()
    writer.close()
    return spoken(model, rng.integers(8, VOCAB, max(LENGTHS)).tolist())


def share(model, tensor):
    return model.shares.get(tensor.removesuffix(".weight").split(".")[-1], 1.0)


def spoken(model, tokens):
    return [model.said.get(i, token) for i, token in enumerate(tokens)]


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

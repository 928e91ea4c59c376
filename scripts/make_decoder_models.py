#!/usr/bin/env python3
"""Writes a small language model with random weights for each architecture, and
the logits that Hugging Face transformers computes with it, to
tests/data/decoders/.

    python3 -m venv .venv && .venv/bin/pip install numpy gguf torch transformers
    .venv/bin/python scripts/make_decoder_models.py

A model is `<architecture>.gguf` (F32, with the names and conventions of
llama.cpp's `convert_hf_to_gguf.py`) and `<architecture>.json`: `tokens`, and for
some `lengths` the `logits` after so many of them. Windows are short and factors
large, so that a block that ignores them is found out.
"""

import json
import pathlib

import gguf
import numpy as np
import torch
import transformers as hf

OUT = pathlib.Path(__file__).resolve().parent.parent / "tests" / "data" / "decoders"
VOCAB, WIDTH, HEADS, KV_HEADS, HEAD, FEED = 264, 16, 4, 2, 8, 24
LENGTHS = [1, 7, 13, 24]

COMMON = dict(
    vocab_size=VOCAB, hidden_size=WIDTH, intermediate_size=FEED, num_attention_heads=HEADS,
    num_key_value_heads=KV_HEADS, max_position_embeddings=256, rms_norm_eps=1e-5,
    attn_implementation="eager", pad_token_id=0, bos_token_id=1, eos_token_id=2,
)
HALF_WIDTH = {**COMMON, "num_attention_heads": 2, "num_key_value_heads": 1}


def configurations():
    """(architecture, configuration, further GGUF keys)"""
    yield "llama", hf.LlamaConfig(
        **COMMON, head_dim=HEAD, num_hidden_layers=2, rope_theta=500.0), {}
    yield "qwen2", hf.Qwen2Config(**HALF_WIDTH, num_hidden_layers=2, rope_theta=900.0), {}
    yield "qwen3", hf.Qwen3Config(
        **COMMON, head_dim=HEAD, num_hidden_layers=2, rope_theta=900.0), {}
    yield "gemma2", hf.Gemma2Config(
        **COMMON, head_dim=HEAD, num_hidden_layers=3, query_pre_attn_scalar=HEAD,
        sliding_window=5, attn_logit_softcapping=2.0, final_logit_softcapping=3.0), {
            "attention.sliding_window": 5,
            "attn_logit_softcapping": 2.0,
            "final_logit_softcapping": 3.0}
    yield "gemma3", hf.Gemma3TextConfig(
        **COMMON, head_dim=HEAD, num_hidden_layers=7, query_pre_attn_scalar=HEAD,
        sliding_window=5, rope_theta=3000.0, rope_local_base_freq=40.0,
        rope_scaling={"rope_type": "linear", "factor": 4.0}), {
            "attention.sliding_window": 5,
            "rope.freq_base_swa": 40.0,
            "rope.scaling.type": "linear",
            "rope.scaling.factor": 4.0}
    yield "phi3", hf.Phi3Config(
        **HALF_WIDTH, num_hidden_layers=2, sliding_window=6, rope_theta=700.0,
        original_max_position_embeddings=256, resid_pdrop=0.0, embd_pdrop=0.0), {
            "attention.sliding_window": 6}
    yield "smollm3", hf.SmolLM3Config(
        **HALF_WIDTH, num_hidden_layers=5, rope_theta=700.0, no_rope_layer_interval=4,
        use_sliding_window=False), {}


def rows_for_pairs(weight, heads):
    """Rows of neighbours instead of halves, as Llama's files have them."""
    size = weight.shape[0] // heads
    return weight.reshape(heads, 2, size // 2, -1).swapaxes(1, 2).reshape(weight.shape)


NAMES = {
    "input_layernorm.weight": "attn_norm.weight",
    "self_attn.q_proj": "attn_q",
    "self_attn.k_proj": "attn_k",
    "self_attn.v_proj": "attn_v",
    "self_attn.o_proj": "attn_output",
    "self_attn.qkv_proj": "attn_qkv",
    "self_attn.q_norm": "attn_q_norm",
    "self_attn.k_norm": "attn_k_norm",
    "mlp.gate_proj": "ffn_gate",
    "mlp.up_proj": "ffn_up",
    "mlp.gate_up_proj": "ffn_up",
    "mlp.down_proj": "ffn_down",
    "pre_feedforward_layernorm": "ffn_norm",
    "post_feedforward_layernorm": "post_ffw_norm",
}


def gguf_name(name, architecture):
    name = name.removeprefix("model.")
    whole = {"embed_tokens.weight": "token_embd.weight", "norm.weight": "output_norm.weight",
             "lm_head.weight": "output.weight"}
    if name in whole:
        return whole[name]
    _, block, rest = name.split(".", 2)
    gemma = architecture.startswith("gemma")
    after = "post_attention_norm" if gemma else "ffn_norm"
    for theirs, ours in {**NAMES, "post_attention_layernorm": after}.items():
        if rest.startswith(theirs):
            return f"blk.{block}.{rest.replace(theirs, ours)}"
    raise ValueError(name)


def tensors(model, architecture, config):
    for name, tensor in model.state_dict().items():
        if name == "lm_head.weight" and config.tie_word_embeddings:
            continue
        value, ours = tensor.numpy().astype(np.float32), gguf_name(name, architecture)
        if architecture.startswith("gemma") and "norm" in ours:
            value = value + 1
        if architecture in ("llama", "smollm3") and ("attn_q." in ours or "attn_k." in ours):
            heads = config.num_attention_heads if "attn_q." in ours else config.num_key_value_heads
            value = rows_for_pairs(value, heads)
        yield ours, np.ascontiguousarray(value)


def tokenizer(writer):
    """Special tokens, one for each byte, and one that two bytes merge to."""
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


def randomise(model, generator):
    """Weights large enough for every part to count."""
    for name, parameter in model.named_parameters():
        scale = 0.3 if "norm" in name or "bias" in name else 1.6 / parameter.shape[-1] ** 0.5
        offset = 1.0 if "norm" in name and "gemma" not in type(model).__name__.lower() else 0.0
        parameter.data = offset + scale * torch.randn(parameter.shape, generator=generator)


def write(architecture, config, keys):
    generator = torch.Generator().manual_seed(len(architecture) * 1009 + config.num_hidden_layers)
    model = hf.AutoModelForCausalLM.from_config(config, attn_implementation="eager").eval().float()
    randomise(model, generator)
    if config.tie_word_embeddings:
        model.tie_weights()
    tokens = torch.randint(8, VOCAB, (max(LENGTHS),), generator=generator)
    with torch.no_grad():
        logits = [model(tokens[None, :n]).logits[0, -1].tolist() for n in LENGTHS]
    writer = gguf.GGUFWriter(OUT / f"{architecture}.gguf", architecture)
    head = getattr(config, "head_dim", None) or config.hidden_size // config.num_attention_heads
    writer.add_context_length(config.max_position_embeddings)
    writer.add_embedding_length(config.hidden_size)
    writer.add_block_count(config.num_hidden_layers)
    writer.add_feed_forward_length(config.intermediate_size)
    writer.add_head_count(config.num_attention_heads)
    writer.add_head_count_kv(config.num_key_value_heads)
    writer.add_key_length(head)
    writer.add_value_length(head)
    writer.add_layer_norm_rms_eps(config.rms_norm_eps)
    parameters = getattr(config, "rope_parameters", None) or {}
    theta = getattr(config, "rope_theta", None) or parameters.get("rope_theta")
    if theta is None and "full_attention" in parameters:
        theta = parameters["full_attention"]["rope_theta"]
    writer.add_rope_freq_base(float(theta or 10000.0))
    for key, value in keys.items():
        add = {int: writer.add_uint32, float: writer.add_float32, str: writer.add_string}
        add[type(value)](f"{architecture}.{key}", value)
    tokenizer(writer)
    for name, value in tensors(model, architecture, config):
        writer.add_tensor(name, value)
    writer.write_header_to_file()
    writer.write_kv_data_to_file()
    writer.write_tensors_to_file()
    writer.close()
    judged = {"tokens": tokens.tolist(), "lengths": LENGTHS, "logits": logits}
    (OUT / f"{architecture}.json").write_text(json.dumps(judged) + "\n")
    print(architecture, "theta", theta, "largest logit", max(map(abs, logits[-1])))


def main():
    OUT.mkdir(parents=True, exist_ok=True)
    for architecture, config, keys in configurations():
        write(architecture, config, keys)


if __name__ == "__main__":
    main()

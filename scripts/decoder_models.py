"""What `make_decoder_models.py` makes: configurations of small models, and how
transformers' tensors become those of a GGUF file."""

import gguf
import numpy as np
import torch
import transformers as hf

from decoder_sizes import SCALE, feed_width
from make_quant_fixtures import TYPES

VOCAB, WIDTH, HEADS, KV_HEADS, HEAD = 264, 16 * SCALE, 4 * SCALE, 2 * SCALE, 8
# Widths of a feed-forward layer, of an expert and of one for all tokens.
FEED, EXPERT, SHARED_EXPERT = feed_width(24), feed_width(12), feed_width(20)

COMMON = dict(
    vocab_size=VOCAB, hidden_size=WIDTH, intermediate_size=FEED, num_attention_heads=HEADS,
    num_key_value_heads=KV_HEADS, max_position_embeddings=256, rms_norm_eps=1e-5,
    attn_implementation="eager", pad_token_id=0, bos_token_id=1, eos_token_id=2,
)
HALF_WIDTH = {**COMMON, "num_attention_heads": 2 * SCALE, "num_key_value_heads": SCALE}
TWO = dict(num_hidden_layers=2, rope_theta=700.0)
# Layer norms have an epsilon of another name.
LAYER = {k: v for k, v in {**COMMON, **TWO}.items() if k != "rms_norm_eps"}
EXPERTS = dict(moe_intermediate_size=EXPERT, num_experts_per_tok=2)
COUNTS = {"expert_count": 5, "expert_used_count": 2}
INNER = {**COUNTS, "expert_feed_forward_length": EXPERT}
SHARED = {**INNER, "expert_shared_count": 1, "leading_dense_block_count": 1}
EIGHT = dict(head_dim=HEAD)


def partial(share):
    return {"rope_parameters": {
        "rope_type": "default", "rope_theta": 700.0, "partial_rotary_factor": share}}


def without(config, *names):
    return {k: v for k, v in config.items() if k not in names}


def gemma4():
    """Blocks that are told of tokens and read others' keys; and experts beside a layer."""
    def of(kinds, own, **more):
        windowed = [kind == "sliding_attention" for kind in kinds]
        blocks, shared = len(kinds), len(kinds) - own
        rope = {
            "sliding_attention": {"rope_type": "default", "rope_theta": 40.0},
            "full_attention": {
                "rope_type": "proportional", "rope_theta": 3000.0, "partial_rotary_factor": 0.5}}
        config = hf.Gemma4TextConfig(
            **COMMON, head_dim=HEAD, global_head_dim=12, num_hidden_layers=blocks,
            sliding_window=5, layer_types=kinds, rope_parameters=rope,
            num_kv_shared_layers=shared, final_logit_softcapping=3.0,
            vocab_size_per_layer_input=VOCAB, **more)
        # What is not rotated turns by next to nothing.
        return config, {
            "head": 12, "attention.key_length_swa": HEAD, "attention.value_length_swa": HEAD,
            "rope.dimension_count": 12, "rope.dimension_count_swa": HEAD,
            "rope.freq_base_swa": 40.0, "attention.sliding_window": 5,
            "attention.sliding_window_pattern": windowed, "attention.shared_kv_layers": shared,
            "final_logit_softcapping": 3.0,
            "embedding_length_per_layer_input": config.hidden_size_per_layer_input,
            "tensors": {"rope_freqs.weight": [1.0] * 3 + [1e30] * 3}}
    kinds = [*["sliding_attention"] * 3, *["full_attention", "sliding_attention"] * 2][:6]
    config, keys = of(
        kinds[:5] + ["full_attention"], 4, hidden_size_per_layer_input=10,
        use_double_wide_mlp=True)
    yield "gemma4", config, {**keys, "feed_forward": [FEED] * 4 + [2 * FEED] * 2}
    kinds = ["sliding_attention", "full_attention"] * 2
    config, keys = of(
        kinds, 4, hidden_size_per_layer_input=0, attention_k_eq_v=True,
        num_global_key_value_heads=1, enable_moe_block=True, num_experts=5, top_k_experts=2,
        moe_intermediate_size=EXPERT)
    yield "gemma4--experts", config, {
        **keys, **INNER, "kv_heads": [KV_HEADS, 1] * 2}


def configurations():
    """(name, configuration, further GGUF keys)"""
    yield "llama", hf.LlamaConfig(
        **COMMON, head_dim=HEAD, num_hidden_layers=2, rope_theta=500.0), {}
    yield "qwen3--ternary", hf.Qwen3Config(
        **{**COMMON, "hidden_size": 256, "intermediate_size": 256}, head_dim=64,
        num_hidden_layers=2, rope_theta=500.0), {"types": TERNARY}
    yield "qwen2", hf.Qwen2Config(**HALF_WIDTH, num_hidden_layers=2, rope_theta=900.0), {}
    # Of a text all positions of a token are the same.
    yield "qwen2vl", hf.Qwen2Config(**HALF_WIDTH, num_hidden_layers=2, rope_theta=900.0), {
        "rope.dimension_sections": [1, 2, 1, 0]}
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
    kinds = ["sliding_attention", "sliding_attention", "full_attention"] * 2
    windowed = [kind == "sliding_attention" for kind in kinds]
    shares = [0.6, 0.3, 0.0, 0.0, 0.7, 0.0]
    deviations = torch.distributions.normal.Normal(0, 1).icdf(torch.tensor(shares))
    yield "gemma3n", hf.Gemma3nTextConfig(
        **{**COMMON, "intermediate_size": [FEED] * 6}, head_dim=HEAD, num_hidden_layers=6,
        sliding_window=5, layer_types=kinds, rope_theta=3000.0, rope_local_base_freq=40.0,
        activation_sparsity_pattern=shares, altup_num_inputs=3, altup_active_idx=1,
        hidden_size_per_layer_input=10, vocab_size_per_layer_input=VOCAB,
        num_kv_shared_layers=2, laurel_rank=6, final_logit_softcapping=3.0), {
            "feed_forward": FEED,
            "attention.sliding_window": 5,
            "attention.sliding_window_pattern": windowed,
            "attention.shared_kv_layers": 2,
            "rope.freq_base_swa": 40.0,
            "altup.num_inputs": 3,
            "altup.active_idx": 1,
            "embedding_length_per_layer_input": 10,
            "activation_sparsity_scale": deviations.tolist(),
            "final_logit_softcapping": 3.0}
    yield from gemma4()
    # So many blocks scale attention by the width, not by the size of a head.
    narrow = {**COMMON, "num_attention_heads": 2, "num_key_value_heads": 1, "head_dim": 4,
              "intermediate_size": 8, "query_pre_attn_scalar": WIDTH // 2, "sliding_window": 5}
    yield "gemma2--27b", hf.Gemma2Config(
        **narrow, num_hidden_layers=46, rope_theta=900.0), {
            "attention.sliding_window": 5, "deep": True}
    yield "gemma3--27b", hf.Gemma3TextConfig(
        **narrow, num_hidden_layers=62, rope_theta=3000.0, rope_local_base_freq=40.0), {
            "attention.sliding_window": 5, "rope.freq_base_swa": 40.0, "deep": True}
    yield "phi3", hf.Phi3Config(
        **HALF_WIDTH, num_hidden_layers=2, sliding_window=6, rope_theta=700.0,
        original_max_position_embeddings=256, resid_pdrop=0.0, embd_pdrop=0.0), {
            "attention.sliding_window": 6}
    long = dict(short_factor=[1.0, 1.25, 1.5, 2.0], long_factor=[1.5, 3.0, 5.0, 9.0])
    yield "phi3--longrope", hf.Phi3Config(
        **HALF_WIDTH, num_hidden_layers=2, sliding_window=None, original_max_position_embeddings=5,
        rope_parameters={"rope_type": "longrope", "rope_theta": 700.0, **long},
        resid_pdrop=0.0, embd_pdrop=0.0), {
            "rope.scaling.original_context_length": 5,
            "rope.scaling.attn_factor": float((1 + np.log(256 / 5) / np.log(5)) ** 0.5),
            "lengths": [7, 13, 24],
            "tensors": {f"rope_factors_{k.split('_')[0]}.weight": v for k, v in long.items()}}
    yield "smollm3", hf.SmolLM3Config(
        **HALF_WIDTH, num_hidden_layers=5, rope_theta=700.0, no_rope_layer_interval=4,
        use_sliding_window=False), {}
    yield from experts()
    yield from dense()
    yield from classic()


GRANITE = dict(embedding_multiplier=3.0, logits_scaling=2.0, residual_multiplier=0.5)
SCALES = {"embedding_scale": 3.0, "logit_scale": 2.0, "residual_scale": 0.5}


def experts():
    yield "llama--mixtral", hf.MixtralConfig(
        **COMMON, **TWO, num_local_experts=5, num_experts_per_tok=2), COUNTS
    yield "qwen2moe", hf.Qwen2MoeConfig(
        **COMMON, **TWO, **EXPERTS, num_experts=5, shared_expert_intermediate_size=SHARED_EXPERT), {
            **INNER, "expert_shared_feed_forward_length": SHARED_EXPERT}
    yield "qwen3moe", hf.Qwen3MoeConfig(
        **COMMON, **TWO, **EXPERTS, **EIGHT, num_experts=5, norm_topk_prob=True), INNER
    yield "qwen3moe--mixed", hf.Qwen3MoeConfig(
        **{**COMMON, "hidden_size": 256}, **TWO, head_dim=64, num_experts=4,
        num_experts_per_tok=2, moe_intermediate_size=256, norm_topk_prob=True), {
            "expert_count": 4, "expert_used_count": 2, "expert_feed_forward_length": 256,
            "types": MIXED}
    yield "olmoe", hf.OlmoeConfig(
        **{**COMMON, "num_key_value_heads": HEADS}, **TWO, num_experts=5, num_experts_per_tok=2,
        norm_topk_prob=False), COUNTS
    scaled = {**SCALES, "attention.scale": 0.3}
    yield "granite", hf.GraniteConfig(**COMMON, **TWO, **GRANITE, attention_multiplier=0.3), scaled
    yield "granitemoe", hf.GraniteMoeConfig(
        **COMMON, **TWO, **GRANITE, attention_multiplier=0.3, num_local_experts=5, num_experts_per_tok=2), {
            **scaled, **COUNTS}
    yield "granitemoe--shared", hf.GraniteMoeSharedConfig(
        **COMMON, **TWO, **GRANITE, attention_multiplier=0.3, num_local_experts=5, num_experts_per_tok=2,
        shared_intermediate_size=SHARED_EXPERT), {
            **scaled, **COUNTS, "expert_shared_feed_forward_length": SHARED_EXPERT}
    groups = dict(n_group=1, topk_group=1, first_k_dense_replace=1)
    yield "dots1", hf.Dots1Config(
        **{**COMMON, "num_key_value_heads": HEADS}, **TWO, **EXPERTS, **groups, n_routed_experts=5, n_shared_experts=1,
        norm_topk_prob=True, routed_scaling_factor=1.5), {
            **SHARED, "expert_gating_func": 2, "expert_weights_norm": True,
            "expert_weights_scale": 1.5}
    yield "glm4moe", hf.Glm4MoeConfig(
        **COMMON, **EXPERTS, **EIGHT, **groups, **partial(0.5), num_hidden_layers=2,
        n_routed_experts=5, n_shared_experts=1, norm_topk_prob=True, use_qk_norm=True,
        routed_scaling_factor=1.5), {
            **SHARED, "expert_gating_func": 2, "expert_weights_norm": True,
            "expert_weights_scale": 1.5,
            "rope.dimension_count": 4}
    # All blocks rotate, none has experts.
    yield "llama4", hf.Llama4TextConfig(
        **without(COMMON, "attn_implementation"), **EIGHT, num_hidden_layers=2, num_local_experts=2,
        interleave_moe_layer_step=9, moe_layers=[], no_rope_layers=[1, 1],
        intermediate_size_mlp=FEED, attention_chunk_size=None, use_qk_norm=True,
        attn_temperature_tuning=False,
        rope_parameters={"rope_type": "default", "rope_theta": 700.0}), {
            "attention.sliding_window": 0}
    yield "llama4--chunks", hf.Llama4TextConfig(
        **without(COMMON, "attn_implementation"), **EIGHT, num_hidden_layers=4, num_local_experts=2,
        interleave_moe_layer_step=9, moe_layers=[], no_rope_layers=[1, 1, 1, 0],
        intermediate_size_mlp=FEED, attention_chunk_size=6, use_qk_norm=True,
        attn_temperature_tuning=True, attn_scale=0.3, floor_scale=5,
        rope_parameters={"rope_type": "default", "rope_theta": 700.0}), {
            "attention.sliding_window": 6, "attention.temperature_scale": 0.3,
            "attention.temperature_length": 5}
    yield "ernie4_5-moe", hf.Ernie4_5_MoeConfig(
        **COMMON, **TWO, moe_num_experts=5, moe_k=2, moe_intermediate_size=EXPERT,
        moe_num_shared_experts=1, moe_layer_start_index=1), {
            **SHARED, "expert_shared_feed_forward_length": EXPERT, "interleave_moe_layer_step": 1}


    yield from latent()
    yield "gpt-oss", hf.GptOssConfig(
        **COMMON, **EIGHT, num_hidden_layers=2, num_local_experts=5, num_experts_per_tok=2,
        sliding_window=5, rope_parameters={
            "rope_type": "yarn", "rope_theta": 700.0, "factor": 4.0, "beta_fast": 8.0,
            "beta_slow": 1.0, "original_max_position_embeddings": 64}), {
                **COUNTS, "expert_feed_forward_length": FEED, "attention.sliding_window": 5,
                "rope.scaling.type": "yarn", "rope.scaling.factor": 4.0,
                "rope.scaling.original_context_length": 64, "rope.scaling.yarn_beta_fast": 8.0,
                "rope.scaling.yarn_beta_slow": 1.0}


def latent():
    """Keys and values from one vector; the matrices whole, or in two parts."""
    mla = dict(kv_lora_rank=12, qk_nope_head_dim=8, qk_rope_head_dim=4, v_head_dim=6,
               n_shared_experts=1, first_k_dense_replace=1)
    ranks = {"attention.kv_lora_rank": 12, "rope.dimension_count": 4}
    whole = {**ranks, "attention.key_length": 12, "attention.value_length": 6}
    parts = {**ranks, "kv_heads": 1, "attention.key_length": 16, "attention.value_length": 12,
             "attention.key_length_mla": 12, "attention.value_length_mla": 6}
    base = {**COMMON, "num_key_value_heads": HEADS}
    yield "deepseek2", hf.DeepseekV2Config(
        **base, **TWO, **EXPERTS, **mla, q_lora_rank=None, n_routed_experts=5, n_group=1,
        topk_group=1, topk_method="greedy", norm_topk_prob=False, routed_scaling_factor=1.0), {
            **SHARED, **whole}
    yield "deepseek2--groups", hf.DeepseekV2Config(
        **base, **TWO, **EXPERTS, **mla, q_lora_rank=10, n_routed_experts=6, n_group=3,
        topk_group=2, topk_method="group_limited_greedy", norm_topk_prob=False,
        routed_scaling_factor=2.0), {
            **SHARED, **parts, "expert_count": 6, "attention.q_lora_rank": 10,
            "expert_group_count": 3, "expert_group_used_count": 2, "expert_weights_scale": 2.0}
    yield "deepseek2--v3", hf.DeepseekV3Config(
        **base, **EXPERTS, **mla, num_hidden_layers=2, q_lora_rank=10, n_routed_experts=6,
        n_group=3, topk_group=2, norm_topk_prob=True, routed_scaling_factor=2.5,
        rope_parameters={
            "rope_type": "yarn", "rope_theta": 700.0, "factor": 4.0, "mscale": 1.0,
            "mscale_all_dim": 1.0, "beta_fast": 8.0, "beta_slow": 1.0,
            "original_max_position_embeddings": 64}), {
                **SHARED, **parts, "expert_count": 6, "attention.q_lora_rank": 10,
                "expert_group_count": 3, "expert_group_used_count": 2,
                "expert_gating_func": 2, "expert_weights_norm": True, "expert_weights_scale": 2.5,
                "rope.scaling.type": "yarn", "rope.scaling.factor": 4.0,
                "rope.scaling.original_context_length": 64, "rope.scaling.yarn_beta_fast": 8.0,
                "rope.scaling.yarn_beta_slow": 1.0, "rope.scaling.yarn_log_multiplier": 0.1}


def dense():
    yield "lfm2", hf.Lfm2Config(
        **{k: v for k, v in COMMON.items() if k != "rms_norm_eps"}, num_hidden_layers=4,
        norm_eps=1e-5, rope_parameters={"rope_type": "default", "rope_theta": 700.0},
        conv_L_cache=3, block_auto_adjust_ff_dim=False,
        layer_types=["conv", "full_attention", "conv", "full_attention"]), {
            "kv_heads": [0, KV_HEADS, 0, KV_HEADS], "shortconv.l_cache": 3, "head": WIDTH // HEADS}
    yield "arcee", hf.ArceeConfig(**COMMON, **TWO), {}
    yield "chatglm", hf.GlmConfig(
        **COMMON, head_dim=4, **partial(0.5), num_hidden_layers=2), {"rope.dimension_count": 2}
    yield "glm4", hf.Glm4Config(
        **COMMON, **EIGHT, **partial(0.5), num_hidden_layers=2, attention_bias=True), {
            "rope.dimension_count": 4}
    yield "ernie4_5", hf.Ernie4_5Config(**COMMON, **TWO, **EIGHT), {}
    yield "exaone", hf.LlamaConfig(**COMMON, **TWO), {}
    yield "exaone4", hf.Exaone4Config(
        **COMMON, num_hidden_layers=4, rope_theta=700.0, sliding_window=5,
        sliding_window_pattern=4), {"attention.sliding_window": 5}
    yield "gemma", hf.GemmaConfig(**COMMON, **TWO, **EIGHT), {}
    yield "hunyuan-dense", hf.HunYuanDenseV1Config(**COMMON, **TWO, **EIGHT), {}
    yield "internlm2", hf.LlamaConfig(**COMMON, **TWO), {}
    yield "minicpm", hf.GraniteConfig(
        **COMMON, **TWO, **GRANITE, attention_multiplier=(WIDTH / HEADS) ** -0.5), SCALES
    yield "mistral3", hf.MistralConfig(**COMMON, **TWO, sliding_window=None), {}
    yield "olmo", hf.OlmoConfig(**LAYER, clip_qkv=1.0), {
        "layer_norm_eps": 1e-5, "attention.clamp_kqv": 1.0}
    yield "olmo2", hf.Olmo2Config(**COMMON, **TWO), {}
    yield "olmo2--olmo3", hf.Olmo3Config(
        **COMMON, num_hidden_layers=4, sliding_window=5, rope_parameters={
            kind: {"rope_type": "default", "rope_theta": 700.0}
            for kind in ("full_attention", "sliding_attention")}), {
            "attention.sliding_window": 5}
    yield "seed_oss", hf.SeedOssConfig(**COMMON, **TWO, **EIGHT), {}


def classic():
    """Layer norms, and mostly no gate."""
    eps = {"layer_norm_eps": 1e-5}
    for name, norms in ("command-r", False), ("command-r--plus", True):
        yield name, hf.CohereConfig(
            **LAYER, use_qk_norm=norms, logit_scale=0.25), {**eps, "logit_scale": 0.25}
    yield "cohere2", hf.Cohere2Config(
        **{**LAYER, "num_hidden_layers": 4}, sliding_window=5, sliding_window_pattern=4,
        logit_scale=0.25), {**eps, "logit_scale": 0.25, "attention.sliding_window": 5}
    falcon = dict(vocab_size=VOCAB, hidden_size=WIDTH, num_attention_heads=HEADS, num_hidden_layers=2,
                  ffn_hidden_size=FEED, rope_theta=700.0, max_position_embeddings=256)
    yield "falcon", hf.FalconConfig(**falcon), {**eps, "kv_heads": 1, "feed_forward": FEED}
    yield "falcon--40b", hf.FalconConfig(
        **falcon, new_decoder_architecture=True, num_kv_heads=KV_HEADS), {
            **eps, "kv_heads": KV_HEADS, "feed_forward": FEED}
    yield "gpt2", hf.GPT2Config(
        vocab_size=VOCAB, n_embd=WIDTH, n_head=HEADS, n_layer=2, n_positions=256, n_inner=FEED), {
            **eps, "feed_forward": FEED}
    yield "starcoder", hf.GPTBigCodeConfig(
        vocab_size=VOCAB, n_embd=WIDTH, n_head=HEADS, n_layer=2, n_positions=256, n_inner=FEED,
        multi_query=True), {**eps, "kv_heads": 1, "feed_forward": FEED}
    neox = without(LAYER, "num_key_value_heads", "rope_theta")
    # Heads that are no power of two have slopes in between.
    yield "bloom", hf.BloomConfig(
        vocab_size=VOCAB, hidden_size=24 * SCALE, n_head=6 * SCALE, n_layer=2, seq_length=256), {
            **eps, "context": 256, "kv_heads": 6 * SCALE, "feed_forward": 96 * SCALE}
    yield "mpt", hf.MptConfig(
        vocab_size=VOCAB, d_model=WIDTH, n_heads=HEADS, n_layers=2, max_seq_len=256,
        no_bias=True, attn_config=dict(
            alibi=True, alibi_bias_max=8, clip_qkv=1.5, attn_type="multihead_attention")), {
                **eps, "context": 256, "kv_heads": HEADS, "feed_forward": 4 * WIDTH,
                "attention.max_alibi_bias": 8.0, "attention.clamp_kqv": 1.5}
    yield "gptneox", hf.GPTNeoXConfig(**neox, **partial(0.5)), {
        **eps, "rope.dimension_count": 2, "use_parallel_residual": True}
    yield "gptneox--sequential", hf.GPTNeoXConfig(
        **neox, **partial(0.5), use_parallel_residual=False), {
            **eps, "rope.dimension_count": 2, "use_parallel_residual": False}
    half = without(LAYER, "rope_theta")
    yield "nemotron", hf.NemotronConfig(**half, **partial(0.5)), {**eps, "rope.dimension_count": 2}
    yield "phi2", hf.PhiConfig(**half, **partial(0.5)), {**eps, "rope.dimension_count": 2}
    yield "stablelm", hf.StableLmConfig(**half, **partial(0.5), use_qkv_bias=True), {
        **eps, "rope.dimension_count": 2}
    yield "stablelm--12b", hf.StableLmConfig(
        **half, **partial(0.5), qk_layernorm=True, use_parallel_residual=True), {
            **eps, "rope.dimension_count": 2}
    yield "starcoder2", hf.Starcoder2Config(**LAYER), eps
    # The same block, but for its name.
    yield "codeshell", hf.Starcoder2Config(**LAYER), eps


def rows_for_pairs(weight, heads):
    """Rows of neighbours instead of halves, as Llama's files have them."""
    size = weight.shape[0] // heads
    return weight.reshape(heads, 2, size // 2, -1).swapaxes(1, 2).reshape(weight.shape)


# transformers' names, the longest first where one begins with another.
NAMES = {
    "input_layernorm": "attn_norm",
    "ln_attn": "attn_norm_2",
    "ln_mlp": "attn_norm",
    "ln_1": "attn_norm",
    "ln_2": "ffn_norm",
    "self_attn.q_proj": "attn_q",
    "self_attn.k_proj": "attn_k",
    "self_attn.v_proj": "attn_v",
    "self_attn.o_proj": "attn_output",
    "self_attn.dense": "attn_output",
    "self_attention.dense": "attn_output",
    "attention.dense": "attn_output",
    "attn.c_proj": "attn_output",
    "self_attn.qkv_proj": "attn_qkv",
    "self_attention.query_key_value": "attn_qkv",
    "attention.query_key_value": "attn_qkv",
    "attn.c_attn": "attn_qkv",
    "self_attn.q_norm": "attn_q_norm",
    "self_attn.k_norm": "attn_k_norm",
    "self_attn.query_layernorm": "attn_q_norm",
    "self_attn.key_layernorm": "attn_k_norm",
    "feed_forward.gate_proj": "ffn_gate",
    "feed_forward.up_proj": "ffn_up",
    "feed_forward.down_proj": "ffn_down",
    "mlp.gate_proj": "ffn_gate",
    "mlp.up_proj": "ffn_up",
    "mlp.gate_up_proj": "ffn_up",
    "mlp.down_proj": "ffn_down",
    "mlp.c_fc": "ffn_up",
    "mlp.c_proj": "ffn_down",
    "mlp.fc1": "ffn_up",
    "mlp.fc2": "ffn_down",
    "mlp.dense_h_to_4h": "ffn_up",
    "mlp.dense_4h_to_h": "ffn_down",
    "ffn.up_proj": "ffn_up",
    "ffn.down_proj": "ffn_down",
    "norm_1": "attn_norm",
    "norm_2": "ffn_norm",
    "attn.Wqkv": "attn_qkv",
    "attn.out_proj": "attn_output",
    "self_attn.sinks": "attn_sinks.weight",
    "mlp.router": "ffn_gate_inp",
    "self_attn.q_a_proj": "attn_q_a",
    "self_attn.q_a_layernorm": "attn_q_a_norm",
    "self_attn.q_b_proj": "attn_q_b",
    "self_attn.kv_a_proj_with_mqa": "attn_kv_a_mqa",
    "self_attn.kv_a_layernorm": "attn_kv_a_norm",
    "self_attn.kv_b_proj": "attn_kv_b",
    "self_attn.out_proj": "attn_output",
    "self_attn.q_layernorm": "attn_q_norm",
    "self_attn.k_layernorm": "attn_k_norm",
    "conv.conv": "shortconv.conv",
    "conv.in_proj": "shortconv.in_proj",
    "conv.out_proj": "shortconv.out_proj",
    "operator_norm": "attn_norm",
    "ffn_norm": "ffn_norm",
    "feed_forward.w1": "ffn_gate",
    "feed_forward.w2": "ffn_down",
    "feed_forward.w3": "ffn_up",
    "mlp.gate.weight": "ffn_gate_inp.weight",
    "block_sparse_moe.router": "ffn_gate_inp",
    "mlp.gate.e_score_correction_bias": "exp_probs_b.bias",
    "mlp.moe_statics.e_score_correction_bias": "exp_probs_b.bias",
    "mlp.gate.moe_statics.e_score_correction_bias": "exp_probs_b.bias",
    "mlp.experts.down_proj": "ffn_down_exps.weight",
    "block_sparse_moe.experts.down_proj": "ffn_down_exps.weight",
    "mlp.shared_expert_gate": "ffn_gate_inp_shexp",
    "shared_mlp.output_linear": "ffn_down_shexp",
    "pre_feedforward_layernorm": "ffn_norm",
    "post_feedforward_layernorm": "post_ffw_norm",
    "post_self_attn_layernorm": "post_attention_norm",
    "post_mlp_layernorm": "post_ffw_norm",
    "altup.correct_output_scale": "altup_correct_scale.weight",
    "altup.correction_coefs": "altup_correct_coef",
    "altup.prediction_coefs": "altup_predict_coef",
    "altup.modality_router": "altup_router",
    "altup.router_norm": "altup_router_norm",
    "laurel.linear_left": "laurel_l",
    "laurel.linear_right": "laurel_r",
    "laurel.post_laurel_norm": "laurel_post_norm",
    "per_layer_input_gate": "inp_gate",
    "per_layer_projection": "proj",
    "post_per_layer_input_norm": "post_norm",
}
for part in ("gate", "up", "down"):
    NAMES[f"mlp.shared_expert.{part}_proj"] = f"ffn_{part}_shexp"
    NAMES[f"mlp.shared_experts.{part}_proj"] = f"ffn_{part}_shexp"

WHOLE = {
    "embed_tokens": "token_embd", "embed_in": "token_embd", "wte": "token_embd",
    "word_embeddings": "token_embd", "wpe": "position_embd", "lm_head": "output",
    "norm": "output_norm", "final_layernorm": "output_norm", "final_layer_norm": "output_norm",
    "ln_f": "output_norm", "norm_f": "output_norm", "word_embeddings_layernorm": "token_embd_norm",
    # What LFM2 calls the norm at the end.
    "embedding_norm": "token_embd_norm",
    "embed_tokens_per_layer": "per_layer_token_embd",
    "per_layer_model_projection": "per_layer_model_proj",
    "per_layer_projection_norm": "per_layer_proj_norm",
}
OF_GEMMA4 = {
    "layer_scalar": "layer_output_scale.weight",
    "router.proj.weight": "ffn_gate_inp.weight",
    "router.scale": "ffn_gate_inp.scale",
    "router.per_expert_scale": "ffn_down_exps.scale",
    "experts.gate_up_proj": "ffn_gate_up_exps.weight",
    "experts.down_proj": "ffn_down_exps.weight",
    "pre_feedforward_layernorm_2.weight": "pre_ffw_norm_2.weight",
    "post_feedforward_layernorm_1.weight": "post_ffw_norm_1.weight",
    "post_feedforward_layernorm_2.weight": "post_ffw_norm_2.weight",
}
# Matrices that files have in one tensor.
STACKED = {"altup_projections": "altup_proj", "altup_unembed_projections": "altup_unembd_proj"}
# Whose norm after attention is one of what attention gives.
POST_NORMS = ("gemma2", "gemma3", "gemma3n", "gemma4", "olmo2", "exaone4")
# Whose norm before the feed-forward layer has the other name in files.
OTHER_NAME = ("glm4moe", "seed_oss", "gpt-oss")
# Whose rotated pairs are neighbours in files, and halves in transformers.
REARRANGED = ("llama", "smollm3", "granite", "granitemoe", "olmo", "arcee", "internlm2", "minicpm", "mistral3")


def gguf_name(name, architecture):
    for prefix in ("model.", "transformer.", "gpt_neox."):
        name = name.removeprefix(prefix)
    stem, _, end = name.rpartition(".")
    if stem in WHOLE:
        return f"{WHOLE[stem]}.{end}"
    _, block, rest = name.split(".", 2)
    after = "ffn_norm"
    if architecture in POST_NORMS or architecture in OTHER_NAME:
        after = "post_attention_norm"
    for theirs, ours in {**NAMES, "post_attention_layernorm": after}.items():
        if rest.startswith(theirs + ".") or rest == theirs:
            return f"blk.{block}.{ours}{rest.removeprefix(theirs)}"
    raise ValueError(name)


def grouped_rows(value, groups, queries, size):
    """From groups of queries, a key and a value to all queries, keys and values."""
    parts = value.reshape(groups, queries + 2, size, -1)
    rows = [parts[:, :queries], parts[:, queries:-1], parts[:, -1:]]
    return np.concatenate([part.reshape(-1, *value.shape[1:]) for part in rows])


def plain_tensors(model, architecture, config):
    state, norms = model.state_dict(), {}
    stacked = {}
    for name, tensor in state.items():
        if name.startswith("lm_head.") and config.tie_word_embeddings:
            continue
        value = tensor.numpy().astype(np.float32)
        if architecture == "gpt-oss" and ".experts." in name:
            yield from alternating(name, value)
            continue
        if architecture == "gemma4" and (renamed := OF_GEMMA4.get(name.split(".", 3)[-1])):
            yield f"blk.{name.split('.')[2]}.{renamed}", value
            continue
        if ".experts.gate_up_proj" in name or "shared_mlp.input_linear" in name:
            block = name.split(".")[2]
            kind = "exps" if "experts" in name else "shexp"
            halves = np.split(value, 2, axis=-2)
            for part, half in zip(("gate", "up"), halves):
                yield f"blk.{block}.ffn_{part}_{kind}.weight", half
            continue
        if "_layernorm.norms." in name:
            block, which = name.split(".")[2], name.split("self_attn.")[1][0]
            norms.setdefault(f"blk.{block}.attn_{which}_norm.weight", []).append(value)
            continue
        if (whole := STACKED.get(name.removeprefix("model.").split(".")[0])) is not None:
            stacked.setdefault(f"{whole}.weight", []).append(value)
            continue
        ours = gguf_name(name, architecture)
        if "attn_kv_b" in ours and (config.q_lora_rank or 0) > 0:
            block = ours.split(".")[1]
            parts = value.reshape(config.num_attention_heads, -1, config.kv_lora_rank)
            key, values = np.split(parts, [config.qk_nope_head_dim], axis=1)
            yield f"blk.{block}.attn_k_b.weight", key.swapaxes(1, 2)
            yield f"blk.{block}.attn_v_b.weight", values
            continue
        if "norm" in ours and (
            architecture.startswith("gemma") and architecture not in ("gemma3n", "gemma4")
            or architecture == "nemotron" and ours.endswith("weight")
        ):
            value = value + 1
        if architecture in REARRANGED and ("attn_q." in ours or "attn_k." in ours):
            heads = config.num_attention_heads if "attn_q." in ours else config.num_key_value_heads
            value = rows_for_pairs(value, heads)
        if architecture == "gpt2" and value.ndim == 2 and "embd" not in ours:
            value = value.T
        if architecture == "gptneox" and "attn_qkv" in ours:
            heads = config.num_attention_heads
            value = grouped_rows(value, heads, 1, config.hidden_size // heads)
        if architecture == "falcon" and "attn_qkv" in ours:
            heads = config.num_attention_heads
            groups = config.num_kv_heads if config.new_decoder_architecture else 1
            value = grouped_rows(value, groups, heads // groups, config.hidden_size // heads)
        if architecture == "bloom" and "attn_qkv" in ours:
            value = grouped_rows(value, config.n_head, 1, config.hidden_size // config.n_head)
        if "shortconv.conv" in ours:
            value = value.reshape(value.shape[0], -1)
        if "exp_probs_b" in ours or "ffn_gate_inp_shexp" in ours:
            value = value.reshape(-1)
        yield ours, value
    for name, rows in (norms | stacked).items():
        yield name, np.stack(rows)


def alternating(name, value):
    """Experts whose gate and up take turns, and whose matrices lie the other way."""
    block, rest = name.split(".")[2], name.rsplit(".", 1)[1]
    end = "bias" if rest.endswith("_bias") else "weight"
    if end == "weight":
        value = value.swapaxes(1, 2)
    if rest.startswith("down"):
        yield f"blk.{block}.ffn_down_exps.{end}", value
        return
    for i, part in enumerate(("gate", "up")):
        yield f"blk.{block}.ffn_{part}_exps.{end}", value[:, i::2]


# Types of a file of many: the end of a name, and the type of such tensors.
MIXED = {
    "token_embd.weight": "Q6_K", "output.weight": "IQ4_XS", "attn_q.weight": "IQ3_S",
    "attn_k.weight": "Q5_K", "attn_v.weight": "Q8_0", "attn_output.weight": "IQ2_S",
    "0.ffn_gate_exps.weight": "IQ2_XXS", "0.ffn_up_exps.weight": "IQ2_XXS",
    "1.ffn_gate_exps.weight": "Q4_K", "1.ffn_up_exps.weight": "IQ1_M",
    "0.ffn_down_exps.weight": "Q3_K", "1.ffn_down_exps.weight": "MXFP4",
}


# Those with few values.
TERNARY = {
    "token_embd.weight": "TQ2_0", "output.weight": "Q8_0", "attn_q.weight": "TQ1_0",
    "attn_k.weight": "TQ2_0", "attn_v.weight": "NVFP4", "attn_output.weight": "NVFP4",
    "0.ffn_gate.weight": "MXFP4", "0.ffn_up.weight": "NVFP4", "0.ffn_down.weight": "TQ1_0",
    "1.ffn_gate.weight": "NVFP4", "1.ffn_up.weight": "NVFP4", "1.ffn_down.weight": "IQ4_NL",
}


def random_blocks(kind, shape, rng):
    """Blocks of random bits whose values are of the size that weights have."""
    quant = gguf.GGMLQuantizationType[kind]
    length, size = gguf.GGML_QUANT_SIZES[quant]
    rows, columns = int(np.prod(shape[:-1])), shape[-1]
    data = rng.integers(0, 256, (rows, columns // length, size), dtype=np.uint8)

    def scaled(by):
        for at in TYPES[kind][1]:
            data[..., at : at + 2] = np.array([by], "<f2").view(np.uint8)
        if kind == "MXFP4":
            data[..., 0] = 127 + round(np.log2(by))
        if kind == "NVFP4":
            data[..., :4] = 8 * (7 + round(np.log2(by)))
        if kind == "IQ1_M":
            bits = int(np.array([by], "<f2").view(np.uint16)[0])
            for i in range(4):
                data[..., 49 + 2 * i] = data[..., 49 + 2 * i] & 0x0F | (bits >> 4 * i & 0xF) << 4
        return gguf.dequantize(data.reshape(rows, -1), quant)

    values = scaled(1.6 / columns**0.5 / scaled(1.0).std())
    return data.reshape(*shape[:-1], -1), values.reshape(shape)


def tensors(model, architecture, config, types=None):
    """(name, (data, type)); weights of other types are given to the model too."""
    rng = np.random.default_rng(7)
    back = {}
    for ours, value in plain_tensors(model, architecture, config):
        kind = next((k for end, k in (types or {}).items() if ours.endswith(end)), None)
        if kind is None:
            yield ours, (np.ascontiguousarray(value), None)
            continue
        data, values = random_blocks(kind, value.shape, rng)
        back[ours] = values
        yield ours, (data, gguf.GGMLQuantizationType[kind])
    if back:
        give_back(model, architecture, back)


def give_back(model, architecture, back):
    for name, parameter in model.state_dict().items():
        if ".experts.gate_up_proj" in name:
            block = name.split(".")[2]
            parts = [back[f"blk.{block}.ffn_{part}_exps.weight"] for part in ("gate", "up")]
            parameter.copy_(torch.from_numpy(np.concatenate(parts, axis=-2)))
        elif gguf_name(name, architecture) in back:
            parameter.copy_(torch.from_numpy(back[gguf_name(name, architecture)]))

"""Published language models as data: their sizes, and the keys and tensors of their files.

Sizes are meant to be those of each model's `config.json` on the Hugging Face hub, in the
repository named beside it; they were written down without these files at hand and not
compared with them. Keys and names of tensors follow the source of llama.cpp's
`convert_hf_to_gguf.py`, which was not run. `make_stand_ins.py` fills them with random weights.
"""

import math

import make_judged_models as judged

# Where a published file has its own vocabulary: a file of llama.cpp's `models/`, which
# the source package of `llama-cpp-python` brings; the name of a pre-tokenizer replaces
# that file's where the vocabulary is another one of the same kind.
LLAMA3, QWEN, SPM = ("llama-bpe", None), ("qwen2", None), ("llama-spm", None)


def of(pre, vocabulary="gpt-2"):
    return vocabulary, pre


class StandIn(judged.Model):
    """A published model with so many of its blocks."""

    def __init__(self, architecture, repository, blocks, width, heads, kv_heads, feed, vocabulary,
                 words=LLAMA3, mix="Q4_K_M", head=None, theta=10000.0, context=4096, eps=1e-5,
                 tied=False, written=None):
        """`written`: whether the file says how long heads are, which it does where the
        configuration does."""
        size = head or width // heads
        judged.VOCAB = vocabulary
        super().__init__(blocks=blocks, width=width, heads=heads, kv_heads=kv_heads, head=size, feed=feed)
        self.architecture, self.repository = architecture, repository
        self.words, self.mix, self.vocabulary = words, mix, vocabulary
        self.keys |= {"context_length": context, "attention.layer_norm_rms_epsilon": eps,
                      "rope.freq_base": float(theta), "rope.dimension_count": size,
                      "vocab_size": vocabulary}
        if written if written is not None else head is not None:
            self.key(attention__key_length=size, attention__value_length=size)
        if tied:
            self.without("output.weight")

    def turning(self, factor, low=1.0, high=4.0, original=8192):
        """The divisors of rotary frequencies that Llama 3.1's scaling is."""
        theta, size, numbers = self.keys["rope.freq_base"], self.head, []
        for i in range(0, size, 2):
            frequency = 1.0 / theta ** (i / size)
            length = 2 * math.pi / frequency
            smooth = (original / length - low) / (high - low)
            numbers.append(1.0 if smooth >= 1 else factor if smooth <= 0 else
                           1.0 / ((1 - smooth) / factor + smooth))
        self.fixed["rope_freqs.weight"] = numbers
        return self

    def normal_eps(self, eps=1e-5):
        """Norms by mean and variance, without biases unless they are added."""
        self.keys.pop("attention.layer_norm_rms_epsilon", None)
        return self.key(attention__layer_norm_epsilon=eps)

    def after(self):
        """Norms of what attention and the feed-forward layer give."""
        return self.norms("post_attention_norm", "post_ffw_norm")

    def used(self, count, **more):
        return self.key(expert_used_count=count, **more)


def gated(*sizes, **more):
    """The block of Llama and most others."""
    return StandIn(*sizes, **more).split().gated()


def models():
    """(name, model)"""
    yield from llamas()
    yield from qwens()
    yield from gemmas()
    yield from phis()
    yield from dense()
    yield from mixtures()
    yield from classic()
    yield from recurrent()


def llamas():
    yield "llama-3.2-1b", gated(
        "llama", "meta-llama/Llama-3.2-1B-Instruct", 4, 2048, 32, 8, 8192, 128256, head=64,
        theta=5e5, context=131072, tied=True).turning(32.0)
    yield "llama-3.2-3b", gated(
        "llama", "meta-llama/Llama-3.2-3B-Instruct", 2, 3072, 24, 8, 8192, 128256, head=128,
        theta=5e5, context=131072, tied=True, mix="IQ4_XS").turning(32.0)
    yield "llama-3.1-8b", gated(
        "llama", "meta-llama/Llama-3.1-8B-Instruct", 2, 4096, 32, 8, 14336, 128256,
        theta=5e5, context=131072).turning(8.0)
    yield "tinyllama-1.1b", gated(
        "llama", "TinyLlama/TinyLlama-1.1B-Chat-v1.0", 22, 2048, 32, 4, 5632, 32000, SPM,
        context=2048)
    yield "mistral-7b-v0.3", gated(
        "llama", "mistralai/Mistral-7B-Instruct-v0.3", 2, 4096, 32, 8, 14336, 32768, SPM, "Q5_K_M",
        theta=1e6, context=32768)
    yield "mistral-nemo-12b", gated(
        "llama", "mistralai/Mistral-Nemo-Instruct-2407", 2, 5120, 32, 8, 14336, 131072,
        of("tekken", "llama-bpe"), head=128, theta=1e6, context=131072)
    yield "falcon3-1b", gated(
        "llama", "tiiuae/Falcon3-1B-Instruct", 3, 2048, 8, 4, 8192, 131072,
        of("falcon3", "falcon"), "Q8_0", head=256, theta=1000042, context=8192, eps=1e-6)
    yield "smollm3-3b", gated(
        "smollm3", "HuggingFaceTB/SmolLM3-3B", 5, 2048, 16, 4, 11008, 128256,
        of("smaug-bpe", "llama-bpe"), theta=5e6, context=65536, eps=1e-6, tied=True)
    yield "granite-3.3-2b", gated(
        "granite", "ibm-granite/granite-3.3-2b-instruct", 3, 2048, 32, 8, 8192, 49159,
        of("refact", "refact"), theta=1e7, context=131072, tied=True).key(
            embedding_scale=12.0, residual_scale=0.22, attention__scale=0.015625, logit_scale=8.0)
    yield "minicpm-2b", gated(
        "minicpm", "openbmb/MiniCPM-2B-sft-bf16", 3, 2304, 36, 36, 5760, 122753, SPM,
        tied=True).key(
            embedding_scale=12.0, residual_scale=1.4 / 40**0.5, logit_scale=9.0)
    yield "internlm2-1.8b", gated(
        "internlm2", "internlm/internlm2-chat-1_8b", 3, 2048, 16, 8, 8192, 92544, SPM,
        theta=1e6, context=32768)
    yield "ernie-4.5-0.3b", gated(
        "ernie4_5", "baidu/ERNIE-4.5-0.3B-PT", 6, 1024, 16, 2, 3072, 103424, SPM, "Q8_0", head=128,
        theta=5e5, context=131072, tied=True)
    yield "olmo-2-1b", StandIn(
        "olmo2", "allenai/OLMo-2-0425-1B-Instruct", 3, 2048, 16, 16, 8192, 100352, of("dbrx", "llama-bpe"),
        theta=5e5, eps=1e-6).each("attn_q", "attn_k", "attn_v", "attn_output").gated().norms(
            "attn_q_norm", "attn_k_norm").after()
    yield "exaone-4.0-1.2b", StandIn(
        "exaone4", "LGAI-EXAONE/EXAONE-4.0-1.2B", 3, 2048, 32, 8, 4096, 102400, of("exaone4", "gpt-2"),
        head=64, theta=1e6, context=65536, tied=True).each(
            "attn_q", "attn_k", "attn_v", "attn_output").gated().head_norms().after().turning(
                16.0, original=8192)


def qwens():
    yield "qwen2.5-0.5b", gated(
        "qwen2", "Qwen/Qwen2.5-0.5B-Instruct", 24, 896, 14, 2, 4864, 151936, QWEN, theta=1e6,
        context=32768, eps=1e-6, tied=True).biases("attn_q", "attn_k", "attn_v").without(
            "rope.dimension_count")
    yield "qwen2.5-1.5b", gated(
        "qwen2", "Qwen/Qwen2.5-1.5B-Instruct", 3, 1536, 12, 2, 8960, 151936, QWEN, "Q4_0", theta=1e6,
        context=32768, eps=1e-6, tied=True).biases("attn_q", "attn_k", "attn_v").without(
            "rope.dimension_count")
    yield "qwen2.5-7b", gated(
        "qwen2", "Qwen/Qwen2.5-7B-Instruct", 2, 3584, 28, 4, 18944, 152064, QWEN, theta=1e6,
        context=32768, eps=1e-6).biases("attn_q", "attn_k", "attn_v").without("rope.dimension_count")
    yield "qwen3-0.6b", gated(
        "qwen3", "Qwen/Qwen3-0.6B", 28, 1024, 16, 8, 3072, 151936, QWEN, "Q8_0", head=128, theta=1e6,
        context=40960, eps=1e-6, tied=True).head_norms().without("rope.dimension_count")
    yield "qwen3-4b", gated(
        "qwen3", "Qwen/Qwen3-4B", 2, 2560, 32, 8, 9728, 151936, QWEN, "Q6_K", head=128, theta=1e6,
        context=40960, eps=1e-6, tied=True).head_norms().without("rope.dimension_count")
    yield "qwen3-30b-a3b", StandIn(
        "qwen3moe", "Qwen/Qwen3-30B-A3B", 2, 2048, 32, 4, 6144, 151936, QWEN, head=128, theta=1e6,
        context=40960, eps=1e-6).split().head_norms().experts(128, 768).used(8).without(
            "rope.dimension_count")
    yield "qwen3.5-0.8b", delta_net("Qwen/Qwen3.5-0.8B", 1024, 8, 2, 3584, 16)
    yield "qwen1.5-moe-a2.7b", qwen2moe()


def delta_net(repository, width, heads, kv_heads, feed, linear):
    model = StandIn(
        "qwen35", repository, 4, width, heads, kv_heads, feed, 248320, ("qwen35", None), head=256,
        theta=1e7, context=262144, eps=1e-6, tied=True).norms("attn_norm", "post_attention_norm")
    model.attends([3], gated=True).delta([0, 1, 2], heads=linear, keys=16, rows=128).gated()
    return model.key(full_attention_interval=4, rope__dimension_count=64,
                     attention__recurrent_layers=[True, True, True, False],
                     rope__dimension_sections=[11, 11, 10, 0])


def qwen2moe():
    model = StandIn(
        "qwen2moe", "Qwen/Qwen1.5-MoE-A2.7B-Chat", 2, 2048, 16, 16, 5632, 151936, QWEN, theta=1e6,
        context=8192, eps=1e-6).split().biases("attn_q", "attn_k", "attn_v").experts(
            60, 1408, shared=5632).used(4)
    for block in range(2):
        model.tensors[f"blk.{block}.ffn_gate_inp_shexp.weight"] = (2048,)
    return model.without("rope.dimension_count")


def gemmas():
    yield "gemma-2-2b", gated(
        "gemma2", "google/gemma-2-2b-it", 4, 2304, 8, 4, 9216, 256000, SPM, head=256, context=8192,
        eps=1e-6, tied=True).after().key(
            attn_logit_softcapping=50.0, final_logit_softcapping=30.0,
            attention__sliding_window=4096).without("rope.freq_base", "rope.dimension_count")
    def third(repository, *sizes, window, **more):
        return gated("gemma3", repository, *sizes, head=256, theta=1e6, eps=1e-6, tied=True,
                     **more).after().head_norms().key(
                         attention__sliding_window=window).without("rope.dimension_count")
    yield "gemma-3-270m", third(
        "google/gemma-3-270m-it", 18, 640, 4, 1, 2048, 262144, SPM, "Q8_0", window=512, context=32768)
    yield "gemma-3-1b", third(
        "google/gemma-3-1b-it", 6, 1152, 4, 1, 6912, 262144, SPM, window=512, context=32768)
    yield "gemma-3-4b", third(
        "google/gemma-3-4b-it", 6, 2560, 8, 4, 10240, 262208, SPM, "Q4_0", window=1024,
        context=131072).key(rope__scaling__type="linear", rope__scaling__factor=8.0)


def factors(count, first, last):
    """Factors that grow as those of the published files do."""
    return [round(first + (last - first) * (i / (count - 1)) ** 3, 4) for i in range(count)]


def phis():
    def phi3(repository, blocks, kv_heads, vocabulary, words, head, turned, window, context, **more):
        model = StandIn("phi3", repository, blocks, 3072, 3072 // head, kv_heads, 8192, vocabulary,
                        words, head=head, written=False, context=context, **more)
        model.each("attn_qkv", "attn_output", ffn_up=(16384, 3072), ffn_down=(3072, 8192))
        return model.norms("attn_norm", "ffn_norm").key(
            rope__dimension_count=turned, attention__sliding_window=window,
            rope__scaling__original_context_length=4096)
    def long(model, turned):
        attention = (1 + math.log(131072 / 4096) / math.log(4096)) ** 0.5
        return model.factors(factors(turned // 2, 1.05, 3.3), factors(turned // 2, 1.03, 64.9)).key(
            rope__scaling__attn_factor=attention)
    yield "phi-3-mini-4k", phi3(
        "microsoft/Phi-3-mini-4k-instruct", 3, 32, 32064, ("phi-3", None), 96, 96, 2047, 4096)
    yield "phi-3-mini-128k", long(phi3(
        "microsoft/Phi-3-mini-128k-instruct", 3, 32, 32064, ("phi-3", None), 96, 96, 262144,
        131072), 96)
    yield "phi-4-mini", long(phi3(
        "microsoft/Phi-4-mini-instruct", 3, 8, 200064, of("gpt-4o", "llama-bpe"), 128, 96, 262144,
        131072, tied=True), 96)


def dense():
    starcoder = StandIn(
        "starcoder2", "bigcode/starcoder2-3b", 3, 3072, 24, 2, 12288, 49152, ("starcoder", None),
        theta=999999.4420358813, context=16384, tied=True).split().plain().layer_norms().biases(
            "attn_q", "attn_k", "attn_v", "attn_output", "ffn_up", "ffn_down")
    yield "starcoder2-3b", starcoder.without("rope.dimension_count")
    glm = StandIn(
        "glm4", "THUDM/GLM-4-9B-0414", 2, 4096, 32, 2, 13696, 151552, of("chatglm-bpe", "llama-bpe"),
        head=128, context=32768).each(
            "attn_q", "attn_k", "attn_v", "attn_output", ffn_up=(2 * 13696, 4096),
            ffn_down=(4096, 13696)).norms("attn_norm", "ffn_norm").after()
    yield "glm-4-9b", glm.key(rope__dimension_count=64)
    yield "command-r7b", StandIn(
        "cohere2", "CohereForAI/c4ai-command-r7b-12-2024", 4, 4096, 32, 8, 14336, 256000,
        ("command-r", None), head=128, theta=5e4, context=8192, tied=True, written=False).each(
            "attn_q", "attn_k", "attn_v", "attn_output").norms("attn_norm").gated().normal_eps().key(
                attention__sliding_window=4096, logit_scale=0.25, rope__scaling__type="none")
    hunyuan = gated(
        "hunyuan-dense", "tencent/Hunyuan-0.5B-Instruct", 4, 1024, 16, 8, 3584, 120818,
        of("hunyuan-dense", "llama-bpe"), head=128, theta=10000.0 * 1000 ** (128 / 126), context=262144,
        tied=True).head_norms().key(
            rope__scaling__type="none", rope__scaling__factor=1.0,
            rope__scaling__original_context_length=262144)
    yield "hunyuan-0.5b", hunyuan.without("rope.dimension_count")
    stablelm = StandIn(
        "stablelm", "stabilityai/stablelm-2-1_6b-chat", 3, 2048, 32, 32, 5632, 100352,
        of("stablelm2", "llama-bpe")).split().gated().layer_norms().biases("attn_q", "attn_k", "attn_v")
    yield "stablelm-2-1.6b", stablelm.key(
        rope__dimension_count=16, use_parallel_residual=False)


def mixtures():
    yield "mixtral-8x7b", StandIn(
        "llama", "mistralai/Mixtral-8x7B-Instruct-v0.1", 1, 4096, 32, 8, 14336, 32000, SPM,
        theta=1e6, context=32768).split().experts(8, 14336).without("expert_feed_forward_length")
    yield "olmoe-1b-7b", StandIn(
        "olmoe", "allenai/OLMoE-1B-7B-0924-Instruct", 2, 2048, 16, 16, 1024, 50304,
        of("olmo", "gpt-neox")).split().norms("attn_q_norm", "attn_k_norm").experts(64, 1024).used(
            8).without("expert_feed_forward_length", "rope.dimension_count")
    oss = StandIn(
        "gpt-oss", "openai/gpt-oss-20b", 2, 2880, 64, 8, 2880, 201088, of("gpt-4o", "llama-bpe"),
        "MXFP4_MOE", head=64, theta=150000.0, context=131072).norms(
            "attn_norm", "post_attention_norm").each(
                "attn_q", "attn_k", "attn_v", "attn_output").experts(32, 2880).used(4)
    oss.biases("attn_q", "attn_k", "attn_v", "attn_output", "ffn_gate_inp", "ffn_gate_exps",
               "ffn_up_exps", "ffn_down_exps")
    for block in range(2):
        oss.tensors[f"blk.{block}.attn_sinks.weight"] = (64,)
    yield "gpt-oss-20b", oss.key(
        attention__sliding_window=128, rope__scaling__type="yarn", rope__scaling__factor=32.0,
        rope__scaling__original_context_length=4096, rope__scaling__yarn_beta_fast=32.0,
        rope__scaling__yarn_beta_slow=1.0).without("rope.dimension_count")


def classic():
    """Layer norms and GELU; of the first ones all blocks."""
    def wide(*sizes, **more):
        model = StandIn(*sizes, **more).each("attn_qkv", "attn_output").norms(
            "attn_norm", "ffn_norm").plain()
        return model.layer_norms().biases("attn_qkv", "attn_output", "ffn_up", "ffn_down")
    gpt2 = wide("gpt2", "openai-community/gpt2", 12, 768, 12, 12, 3072, 50257, ("gpt-2", None), "Q8_0",
                context=1024, tied=True)
    gpt2.tensors["position_embd.weight"] = (1024, 768)
    yield "gpt2", gpt2.without("rope.freq_base", "rope.dimension_count", "attention.head_count_kv",
                               "vocab_size")
    bloom = wide("bloom", "bigscience/bloom-560m", 4, 1024, 16, 16, 4096, 250880,
                 of("bloom", "gpt-2"), context=2048, tied=True)
    bloom.norm("token_embd_norm", 1024, bias=True)
    yield "bloom-560m", bloom.without("rope.freq_base", "rope.dimension_count")
    yield "pythia-410m", wide(
        "gptneox", "EleutherAI/pythia-410m", 6, 1024, 16, 16, 4096, 50304, of("olmo", "gpt-neox"),
        context=2048).key(rope__dimension_count=16, use_parallel_residual=True).without(
            "attention.head_count_kv")
    phi = StandIn("phi2", "microsoft/phi-2", 3, 2560, 32, 32, 10240, 51200, of("gpt-2"),
                  context=2048).each("attn_qkv", "attn_output").norms("attn_norm").plain()
    phi.layer_norms().biases("attn_qkv", "attn_output", "ffn_up", "ffn_down")
    phi.tensors["output.bias"] = (51200,)
    yield "phi-2", phi.key(rope__dimension_count=32)


def recurrent():
    unused = ["attention.head_count_kv", "rope.freq_base", "rope.dimension_count"]
    mamba = StandIn("mamba", "state-spaces/mamba-130m-hf", 24, 768, 1, 1, 0, 50280, ("gpt-neox", None),
                    "Q8_0", context=2**20, tied=True).norms("attn_norm").mamba(range(24), rank=48)
    yield "mamba-130m", mamba.without(*unused).key(
        attention__head_count=0, feed_forward_length=0, ssm__dt_b_c_rms=False)
    lfm = StandIn("lfm2", "LiquidAI/LFM2-1.2B", 5, 2048, 32, 8, 8192, 65536, of("lfm2", "llama-bpe"),
                  theta=1e6, context=128000, tied=True).norms("attn_norm", "ffn_norm").gated()
    attending = [2, 4]
    lfm.attends(attending, gated=False)
    for block in range(5):
        if block in attending:
            lfm.norm(f"blk.{block}.attn_q_norm", 64)
            lfm.norm(f"blk.{block}.attn_k_norm", 64)
        else:
            lfm.each(blocks=[block], **{
                "shortconv.conv": (2048, 3), "shortconv.in_proj": (6144, 2048),
                "shortconv.out_proj": (2048, 2048)})
    lfm.norm("token_embd_norm", 2048)
    yield "lfm2-1.2b", lfm.without("output_norm.weight", "rope.dimension_count").key(
        shortconv__l_cache=3,
        attention__head_count_kv=[8 if block in attending else 0 for block in range(5)])
    falcon = StandIn(
        "falcon-h1", "tiiuae/Falcon-H1-0.5B-Instruct", 6, 1024, 8, 2, 2048, 32784,
        of("falcon-h1", "falcon"), head=64, theta=1e11, context=16384, tied=False).split().gated().mamba2(
            range(6), heads=24, head=64, rows=128, groups=1, norm=False)
    for block in range(6):
        falcon.tensors[f"blk.{block}.ffn_norm"] = falcon.tensors.pop(f"blk.{block}.ffn_norm.weight")
    yield "falcon-h1-0.5b", falcon.without("rope.dimension_count")
    granite = StandIn(
        "granitehybrid", "ibm-granite/granite-4.0-h-tiny", 4, 1536, 12, 4, 512, 100352,
        of("dbrx", "llama-bpe"), context=2**20, tied=True).norms("attn_norm", "ffn_norm").mamba2(
            [0, 1, 3], heads=48, head=64, rows=128, groups=1).attends([2]).experts(
                64, 512, shared=1024)
    yield "granite-4.0-h-tiny", granite.used(6).without("expert_feed_forward_length").key(
        attention__head_count_kv=[0, 0, 4, 0], embedding_scale=12.0, residual_scale=0.22,
        attention__scale=0.0078125, logit_scale=6.0, rope__scaling__finetuned=False)
    yield "rwkv7-0.4b", rwkv7()


def rwkv7():
    """Ranks as `set_gguf_parameters` of the converter has them."""
    model = StandIn("rwkv7", "fla-hub/rwkv7-0.4B-world", 6, 1024, 1, 1, 4096, 65536, "rwkv", "Q8_0",
                    context=2**20).norms("attn_norm").norms("attn_norm_2", bias=True)
    width, square = 1024, (1024, 1024)
    model.each(**{f"time_mix_{name}": square for name in ("receptance", "key", "value", "output")})
    for letter in "wavg":
        for block in range(6):
            if letter == "v" and block == 0:
                # Never read: the converter writes those of `a` for them.
                rank = 64
            else:
                rank = dict(w=64, a=64, v=32, g=128)[letter]
            model.each(blocks=[block], **{f"time_mix_{letter}1": (rank, width),
                                          f"time_mix_{letter}2": (width, rank)})
            if letter != "g":
                model.each(blocks=[block], **{f"time_mix_{letter}0": (width,)})
    model.each(**{f"time_mix_{two}": (width,) for two in ("k_k", "k_a", "r_k")},
               time_mix_lerp_fused=(6, 1, 1, width), channel_mix_key=(4096, width),
               channel_mix_value=(width, 4096), channel_mix_lerp_k=(width,))
    model.norm("token_embd_norm", width)
    model.layer_norms().norms("time_mix_ln", bias=True)
    return model.without("attention.head_count_kv", "rope.freq_base", "rope.dimension_count").key(
        attention__head_count=0, wkv__head_size=64, token_shift_count=2,
        attention__decay_lora_rank=64, attention__iclr_lora_rank=64,
        attention__value_residual_mix_lora_rank=32, attention__gate_lora_rank=128)

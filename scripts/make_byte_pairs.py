#!/usr/bin/env python3
"""Trains a small vocabulary of byte pairs and writes what llama.cpp makes of some
hundred texts with it under every pre-tokenizer, to tests/data/tokenizers/. Where
llama.cpp says that its expression is not the model's own (`llama-vocab.cpp`), the
model's own one is given to the engine of Hugging Face's tokenizers instead.

    python3 -m venv .venv
    .venv/bin/pip install numpy gguf sentencepiece protobuf tokenizers transformers==4.57.1
    mkdir judge && (cd judge && npm install --ignore-scripts node-llama-cpp)
    .venv/bin/python scripts/make_byte_pairs.py --modules judge

Pairs merge across words and digits, so where a pre-tokenizer cuts shows in the tokens;
some tokens are words that no merge leads to, which shows who looks pieces up first.
`byte_pairs.gguf` is the vocabulary, `byte_pairs.json` has `texts` and `groups`: the
`names` of pre-tokenizers that cut alike and, by the number of a text, the `ids` that
differ from those of the first group.
"""

import argparse
import json
import pathlib
import random
import subprocess
import tempfile

import gguf
import tokenizers

import make_tokenizers as made

NAMES = """gpt-2 a.x-4.0 exaone4 gigachat granite-docling jais jina-de jina-es jina-v1-en
jina-v2-code jina-v2-de jina-v2-es mellum modern-bert mpt olmo phi-2 roberta-bpe trillion
afmoe bailingmoe bailingmoe2 llada-moe deepseek-r1-qwen f2llmv2 grok-2 hunyuan kormo megrez
qwen2 solar-open stablelm2 bloom gpt3-finnish poro-chat chameleon chatglm-bpe dbrx glm4
smaug-bpe codeshell command-r exaone mellum2 minerva-7b refact smollm starcoder
deepseek-coder deepseek-llm deepseek-v3 hunyuan-dense joyai-llm default exaone-moe falcon-h1
falcon3 jina-v5-nano lfm2 llama-bpe llama-v3 llama3 midm-2.0 pixtral falcon gpt-4o kanana2
llama4 minimax-m2 talkie granite-embed-multi-97m jais-2 kimi-k2 laguna seed-coder minicpm5
qwen35 superbpe tekken tiny_aya ufakzeka viking youtu""".split()
MORE = """The year 1234567890, 12 345 and 1,234,567.89; it's IT'S we've WE'VE they'll I'm I'M you'd 'tis.
if (value != null) {
\t\treturn array[i]->name;
}  // TODO: fixMe_now camelCaseWords HTTPServer
price: $3.50, 100% of €20; e-mail a.b@c.org -- see https://example.org/path?q=1#top
Ελληνικά και ΚΕΦΑΛΑΙΑ, ǅungla ʰa ªb, Türkçe İstanbul ılık, Việt Nam tiếng Việt
ภาษาไทย ลาวລາວ ខ្មែរ မြန်မာ 한국어 문장 입니다 日本語とカタカナ、中文字符。价格３５元
العربية ١٢٣٤٥٦ हिन्दी १२३४ తెలుగు ௧௨௩ ½ ² Ⅳ ㊀
"""
PARTS = ["a", "b", "Ab", "AB", "é", "ß", "Ж", "ж", "日", "本", "か", "カ", "한", "ก", "م", "1", "12",
         "345", "6789", "１", "٣", "²", " ", "  ", "   ", "\n", "\n\n", "\r\n", "\t", "\u3000", "\u00a0",
         ".", ",", "!", "...", "'s", "'S", "'t", "'ll", "’s", "_", "-", "/", "//", "<", "$", "`", "(",
         "{", "\u0301", "👍", "ǅ", "ʰ", "…", "。", "|"]
DIGITS = r"\p{N}{1,3}"
CASED = r"[^\r\n\p{L}\p{N}]?[\p{Lu}\p{Lt}\p{Lm}\p{Lo}\p{M}]*[\p{Ll}\p{Lm}\p{Lo}\p{M}]+%s|[^\r\n\p{L}\p{N}]?[\p{Lu}\p{Lt}\p{Lm}\p{Lo}\p{M}]+[\p{Ll}\p{Lm}\p{Lo}\p{M}]*%s"
SHORT = "(?i:'s|'t|'re|'ve|'m|'ll|'d)?"
REST = r"| ?[^\s\p{L}\p{N}]+[\r\n/]*|\s*[\r\n]+|\s+(?!\S)|\s+"
O200K = CASED % (SHORT, SHORT) + "|" + DIGITS + REST
MARKS = r"""[!"#$%&'()*+,\-./:;<=>?@\[\\\]^_`{|}~][A-Za-z]+|[^\r\n\p{L}\p{P}\p{S}]?[\p{L}\p{M}]+| ?[\p{P}\p{S}]+[\r\n]*|\s*[\r\n]+|\s+(?!\S)|\s+"""
HAN = (r"\p{Han}+|" + CASED % (SHORT, SHORT) + "|" + DIGITS + REST.replace("/]*", "]*")).replace(
    r"\p{Lo}\p{M}]", r"\p{Lo}\p{M}&&[^\p{Han}]]")
# The models' own expressions, and whether pieces that are tokens are taken as they are.
OWN = {
    "tekken": ([CASED % ("", "") + r"|\p{N}" + REST], True),
    **{name: ([O200K], False) for name in ("gpt-4o", "kanana2", "llama4", "minimax-m2", "talkie")},
    "granite-embed-multi-97m": ([O200K], True),
    "youtu": (["[가-힣ㄱ-ㆎ]+|[！…“”‘’—：；，、-〿︰-﹏]+|[ㄅ-ㄯ]+|[一-龥\u3040-ゟ゠-ヿ]+",
               CASED % (SHORT, SHORT) + r"|\p{N}" + REST], True),
    "tiny_aya": ([r"\d{1,3}(?=(?:\d{3})*\b)", O200K], False),
    "kimi-k2": ([HAN], False),
    "afmoe": ([r"\p{N}{1,3}(?=(?:\p{N}{3})*(?!\p{N}))",
               "[一-鿿㐀-䶿\uf900-\ufaff\u3040-ゟ゠-ヿ･-ﾟ\u2f00-\u2fdf\u0e40-\u0e7f\u0e80-\u0eff\u1780-\u17ff"
               "\u1000-\u109f\uaa60-\uaa7f\ua9e0-\ua9ff\uac00-\ud7af\u1100-\u11ff]+", MARKS], False),
    "superbpe": ([r"\p{N}+", r"(?=(\d{3})+(?!\d))"], False),
    "deepseek-llm": (["[\r\n]", r"\s?[\p{Lu}\p{Ll}\p{Lt}]+", "\\s?[!-/:-~！-／：-～‘-‟\u3000-。]+",
                      r"\s+$", "[一-龥\u0800-一가-\ud7ff]+", r"\p{N}+"], False),
}
# No merge leads to these.
WHOLE = ["Ġfreedom", "Ġreturn", "Ġriver", "camel", "Ġarray", "HTTPServer", "Ġ1234", "ĠWE", "123", "12"]


def vocabulary(lines):
    bpe = tokenizers.Tokenizer(tokenizers.models.BPE())
    levels = tokenizers.pre_tokenizers.ByteLevel
    bpe.pre_tokenizer = levels(add_prefix_space=False, use_regex=False)
    trainer = tokenizers.trainers.BpeTrainer(
        vocab_size=1600, special_tokens=["<s>", "</s>"], initial_alphabet=levels.alphabet(),
        max_token_length=12, show_progress=False)
    # Several lines at once, so that tokens hold line ends.
    parts = ["\n".join(lines[i : i + 4]) for i in range(0, len(lines), 3)]
    bpe.train_from_iterator(parts, trainer)
    model = json.loads(bpe.to_str())["model"]
    tokens = sorted(model["vocab"], key=model["vocab"].get)
    merges = [" ".join(merge) for merge in model["merges"]]
    return tokens + [word for word in WHOLE if word not in model["vocab"]], merges


def texts(lines):
    draw = random.Random(5)
    words = " ".join(lines + MORE.split("\n") * 30).split(" ")
    chosen = [*MORE.split("\n"), MORE, *made.ODD]
    chosen += [draw.choice(lines) for _ in range(40)]
    chosen += [" ".join(draw.choices(words, k=draw.randint(1, 12))) for _ in range(60)]
    chosen += ["".join(draw.choices(PARTS, k=draw.randint(2, 16))) for _ in range(140)]
    chosen += [" freedom", " return HTTPServer 1234 WE 123 12"]
    return chosen + [" " * n + "x" for n in (1, 2, 3, 5, 8, 13, 300, 513, 1100)]


def write(path, tokens, merges, pre):
    writer = gguf.GGUFWriter(path, "llama")
    # Without sizes llama.cpp takes not even a vocabulary.
    writer.add_context_length(256)
    writer.add_embedding_length(16)
    writer.add_block_count(1)
    writer.add_feed_forward_length(16)
    writer.add_head_count(2)
    writer.add_layer_norm_rms_eps(1e-5)
    writer.add_tokenizer_model("gpt2")
    writer.add_tokenizer_pre(pre)
    writer.add_token_list(tokens)
    writer.add_token_types([3, 3] + [1] * (len(tokens) - 2))
    writer.add_token_merges(merges)
    writer.add_bos_token_id(0)
    writer.add_eos_token_id(1)
    writer.write_header_to_file()
    writer.write_kv_data_to_file()
    writer.close()


def judged(modules, chosen, tokens, merges):
    with tempfile.TemporaryDirectory() as folder:
        folder = pathlib.Path(folder)
        (folder / "texts.json").write_text(json.dumps(chosen))
        for name in NAMES:
            write(folder / f"{name}.gguf", tokens, merges, name)
        files = [folder / f"{name}.gguf" for name in NAMES]
        script = made.ROOT / "scripts" / "llama_tokens.mjs"
        subprocess.run(
            ["node", script, modules, folder / "texts.json", folder / "out.json", *files], check=True)
        return json.loads((folder / "out.json").read_text())


def by_own(chosen, tokens, merges, expressions, whole):
    bpe = tokenizers.models.BPE(
        {token: i for i, token in enumerate(tokens)}, [tuple(merge.split(" ")) for merge in merges],
        ignore_merges=whole)
    engine = tokenizers.Tokenizer(bpe)
    pre = tokenizers.pre_tokenizers
    cuts = [pre.Split(tokenizers.Regex(expression), "isolated") for expression in expressions]
    engine.pre_tokenizer = pre.Sequence([*cuts, pre.ByteLevel(add_prefix_space=False, use_regex=False)])
    return [engine.encode(text, add_special_tokens=False).ids for text in chosen]


def main():
    parser = argparse.ArgumentParser()
    parser.add_argument("--modules", default=".")
    given = parser.parse_args()
    lines = made.corpus()
    tokens, merges = vocabulary(lines + MORE.split("\n") * 40)
    chosen = texts(lines)
    found = judged(given.modules, chosen, tokens, merges)
    for name, (expressions, whole) in OWN.items():
        found[name] = by_own(chosen, tokens, merges, expressions, whole)
    first, groups = found[NAMES[0]], {}
    for name in NAMES:
        if isinstance(found[name], str):
            raise SystemExit(f"{name}: {found[name]}")
        groups.setdefault(json.dumps(found[name]), []).append(name)
    listed = []
    for names in groups.values():
        ids = found[names[0]]
        others = {str(i): row for i, row in enumerate(ids) if names[0] == NAMES[0] or row != first[i]}
        listed.append({"names": names, "ids": others})
    write(made.OUT / "byte_pairs.gguf", tokens, merges, NAMES[0])
    text = json.dumps({"texts": chosen, "groups": listed}, ensure_ascii=False, separators=(",", ":"))
    (made.OUT / "byte_pairs.json").write_text(text + "\n")
    print(len(chosen), "texts,", len(NAMES), "names,", len(listed), "groups,", len(text), "characters")


if __name__ == "__main__":
    main()

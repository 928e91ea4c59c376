#!/usr/bin/env python3
"""Puts stand-ins of published language models (`make_stand_ins.py`) through llama.cpp and
the command `wginfer generate`, and writes their table in docs/decoders.md.

    python3 -m venv .venv && .venv/bin/pip install numpy gguf llama-cpp-python
    pip download --no-deps --no-binary :all: llama-cpp-python   # unpack: vendor/llama.cpp/models
    cargo build --release --bin wginfer
    .venv/bin/python scripts/compare_stand_ins.py --vocabularies models --folder OUT [NAME...]

A model's file is made in OUT and removed once it is compared (`--keep` keeps it; one takes
up to 12 GB on the way). Compared are log-probabilities, of the 4096 most likely tokens,
after prompts of about 2, 8, 100 and 700 tokens of text and after each of 8 tokens that
follow (the most likely ones here, given to both), with contexts of 4096 or what the model
has, F32 caches and no flash attention:

- with llama.cpp on the weights that the file decodes to, as F32. That is sharp, but for
  llama.cpp's GELU, which it reads from a table of halves.
- with llama.cpp on the file as it is, for which it rounds activations to 8 bits; and
  llama.cpp itself, on the file against the decoded weights: what that rounding makes.

Figures are the root of the mean square of the differences over the deviation of all logits
of the row, the largest of all rows. `first` says for how many rows both have the same most
likely token on the decoded weights, of those whose best two logits are further apart than
llama.cpp's rounding moves logits. What each took, on the file as it is, is in OUT/figures.json: only to be compared on a
machine that does nothing else. Adapters
(`--devices cpu,lavapipe,swiftshader`: those of `adapters.sh`) compute prompts of up to 100
tokens. Prompts are text, so the tokens that both make of it are compared as well: their
number, and by what they lead to.
"""

import argparse
import ctypes
import json
import pathlib
import subprocess
import sys
import time

import gguf
import llama_cpp as llama
import numpy as np

import make_stand_ins as made
import stand_ins

ROOT = pathlib.Path(__file__).resolve().parent.parent
TABLE = ROOT / "docs" / "decoders.md"
# What adapters are called in a process that has one of them.
NAMES = {"lavapipe": "llvmpipe", "lavapipe-old": "llvmpipe", "swiftshader": "SwiftShader"}
BEGIN, END = "<!-- stand-ins -->", "<!-- end of stand-ins -->"
LENGTHS, THEN, MOST = [3, 30, 430, 3000], 8, 4096
# Of both: some models have other rotary frequencies in a longer one.
CONTEXT = 4096


def prompts():
    """Texts of so many characters."""
    text = (ROOT / "docs" / "decoders.md").read_text().split("<!--")[0].split("# ", 1)[1]
    odd = "    for i in range(10):\n\t\tprint(i ** 2)  été 東京 🙂 don't 1234567890 3.14 --- ...\n"
    text = text[:200] + odd + text[200:]
    return [text[:length] for length in LENGTHS]


class Theirs:
    """A file in llama.cpp."""

    def __init__(self, path, context):
        options = llama.llama_model_default_params()
        self.model = llama.llama_model_load_from_file(str(path).encode(), options)
        if not self.model:
            raise SystemExit(f"{path}: llama.cpp refuses it")
        given = llama.llama_context_default_params()
        given.n_ctx, given.n_batch, given.n_ubatch = context, 512, 512
        given.n_threads = given.n_threads_batch = 2
        given.type_k = given.type_v = 0
        given.flash_attn_type = 0
        given.no_perf = True
        self.context = llama.llama_init_from_model(self.model, given)
        self.vocabulary = llama.llama_model_get_vocab(self.model)
        self.size = llama.llama_vocab_n_tokens(self.vocabulary)

    def step(self, tokens):
        for at in range(0, len(tokens), 512):
            part = tokens[at : at + 512]
            ids = (llama.llama_token * len(part))(*part)
            if llama.llama_decode(self.context, llama.llama_batch_get_one(ids, len(part))):
                raise SystemExit("llama.cpp: a batch failed")
        return np.ctypeslib.as_array(llama.llama_get_logits_ith(self.context, -1), (self.size,)).copy()

    def row(self, tokens):
        """Log-probabilities after tokens that go on from those before."""
        logits = self.step(tokens).astype(np.float64)
        highest = logits.max()
        return logits - highest - np.log(np.exp(logits - highest).sum())

    def rows(self, prompt, following):
        """(log-probabilities, {what: seconds})"""
        llama.llama_memory_clear(llama.llama_get_memory(self.context), True)
        began = time.monotonic()
        rows = [self.row(prompt)]
        took = {"prompt": time.monotonic() - began}
        began = time.monotonic()
        rows += [self.row([token]) for token in following]
        took["token"] = (time.monotonic() - began) / max(len(following), 1)
        return np.array(rows), took

    def encode(self, text):
        data = text.encode()
        ids = (llama.llama_token * (len(data) + 16))()
        count = llama.llama_tokenize(self.vocabulary, data, len(data), ids, len(ids), True, False)
        return list(ids[:count])

    def close(self):
        llama.llama_free(self.context)
        llama.llama_model_free(self.model)


def theirs(path, texts, context):
    """What llama.cpp has after each text and the tokens of `texts[text]`."""
    model = Theirs(path, context)
    found = {text: (model.encode(text), *model.rows(model.encode(text), following))
             for text, following in texts.items()}
    model.close()
    return found


# Runs a command and says its largest memory. A process of its own: what a command has from
# the one that starts it counts as well.
WATCH = """
import resource, subprocess, sys
code = subprocess.run(sys.argv[1:]).returncode
print("largest", resource.getrusage(resource.RUSAGE_CHILDREN).ru_maxrss, file=sys.stderr)
sys.exit(code)
"""


def watched(command):
    """(stdout, largest memory in bytes)"""
    command = [sys.executable, "-c", WATCH, *map(str, command)]
    done = subprocess.run(command, capture_output=True, text=True)
    *said, largest = done.stderr.strip().splitlines()
    if done.returncode:
        raise RuntimeError((said or ["nothing was said"])[-1])
    return done.stdout, int(largest.split()[1]) * 1024


def ours(given, path, text, device, folder):
    """What the command has after a text and after each of the tokens that it goes on with."""
    (folder / "prompt.txt").write_text(text)
    command = [given.wginfer, "generate", path, "-f", folder / "prompt.txt", "--raw", "--json", "--ignore-end",
               "-n", THEN + 1, "--log-probabilities", MOST, "--cache", "f32", "--context", given.context]
    chosen = ["-a", "cpu" if device == "cpu" else NAMES[device]]
    adapters = [] if device == "cpu" else [ROOT / "scripts" / "adapters.sh", "run", device]
    out, memory = watched([*adapters, *command, *chosen])
    found = json.loads(out)
    rows = [{at["token"]: at["value"] for at in row["top"]} for row in found["log_probabilities"]]
    stats = found["stats"]
    took = {"prompt": stats["prefill_seconds"], "token": stats["decode_seconds"] / stats["decode_steps"],
            "open": stats["load_seconds"], "memory": memory}
    return found["tokens"][:THEN], rows, stats["prompt_tokens"], took


def apart(ours, wanted):
    """The largest distance of a row, whose most likely tokens are `ours`."""
    worst = 0.0
    for row, theirs in zip(ours, wanted, strict=True):
        ids = np.array(list(row))
        off = np.array(list(row.values())) - theirs[ids]
        worst = max(worst, float(np.sqrt((off**2).mean()) / theirs.std()))
    return worst


def firsts(ours, wanted, rounded):
    """(rows with the same most likely token, rows where that is to be told)"""
    best = np.sort(wanted, axis=-1)[:, -2:]
    clear = best[:, 1] - best[:, 0] > 4 * (rounded - wanted).std(axis=-1)
    same = np.array([next(iter(row)) for row in ours]) == wanted.argmax(-1)
    return int(same[clear].sum()), int(clear.sum())


def decoded(path, out):
    """A copy with F32 weights; a table of embeddings that is only read row by row stays."""
    kinds = {tensor.name: tensor.tensor_type for tensor in gguf.GGUFReader(path).tensors}
    kept = {"token_embd.weight"} if "output.weight" in kinds else set()
    made.quantise(path, out, "F32", kinds["token_embd.weight"] if kept else None)
    halves = gguf.GGMLQuantizationType.F16, gguf.GGMLQuantizationType.BF16
    left = {t.name for t in gguf.GGUFReader(out).tensors if t.tensor_type in halves} - kept
    if left:
        # What quantisation leaves alone; llama.cpp would round what is multiplied with it.
        widened(out, left)


def widened(path, names):
    """Writes tensors of halves in a file as F32."""
    reader, other = gguf.GGUFReader(path), path.with_suffix(".wide")
    writer = gguf.GGUFWriter(other, reader.fields["general.architecture"].contents())
    for field in reader.fields.values():
        if not field.name.startswith("GGUF.") and field.name != "general.architecture":
            inner = field.types[1] if field.types[0] == gguf.GGUFValueType.ARRAY else None
            writer.add_key_value(field.name, field.contents(), field.types[0], inner)
    for tensor in reader.tensors:
        wide = tensor.name in names
        data = gguf.dequantize(tensor.data, tensor.tensor_type) if wide else tensor.data
        writer.add_tensor(tensor.name, data, raw_dtype=None if wide else tensor.tensor_type)
    writer.write_header_to_file()
    writer.write_kv_data_to_file()
    writer.write_tensors_to_file()
    writer.close()
    other.replace(path)


def compare(name, model, given):
    folder = given.folder
    path = folder / f"{name}.gguf"
    if not path.exists():
        made.make(name, model, folder, given.vocabularies)
    figures = {"size": path.stat().st_size}
    given.context = min(CONTEXT, model.keys.get("context_length", CONTEXT))
    computed = {}
    for device in given.devices.split(","):
        texts = prompts()[: given.prompts if device == "cpu" else 3]
        computed[device] = {text: ours(given, path, text, device, folder) for text in texts}
    following = {text: tokens for text, (tokens, *_) in computed["cpu"].items()}
    rounded = theirs(path, following, given.context)
    plain = folder / f"{name}.f32.gguf"
    decoded(path, plain)
    wanted = theirs(plain, following, given.context)
    plain.unlink()
    if not given.keep:
        path.unlink()
    figures["theirs"] = list(rounded.values())[-1][2]
    whole = lambda of: np.concatenate([rows for _, rows, _ in of.values()])
    figures["rounding"] = float(((whole(rounded) - whole(wanted)).std(-1) / whole(wanted).std(-1)).max())
    for device, found in computed.items():
        # The tokens that follow are those of the CPU.
        same = [text for text in found if found[text][0] == following[text]]
        rows = [row for text in same for row in found[text][1]]
        of = lambda other: np.concatenate([other[text][1] for text in same])
        figures[device] = {
            "exact": apart(rows, of(wanted)), "as it is": apart(rows, of(rounded)),
            "first": firsts(rows, of(wanted), of(rounded)),
            "tokens": [sum(found[text][2] == len(wanted[text][0]) for text in found), len(found)],
            "same": [len(same), len(found)], **list(found.values())[-1][3]}
    return figures


def shown(name, model, figures):
    """A row of the table."""
    cpu, size = figures["cpu"], figures["size"]
    others = [f"{device} {figures[device]['exact']:.0e}" for device in figures
              if isinstance(figures[device], dict) and "exact" in figures[device] and device != "cpu"]
    right, told = cpu["first"]
    cells = [
        f"`{name}`", f"{model.architecture}, {model.blocks}", model.mix, f"{size / 1e9:.2f} GB",
        f"{cpu['exact']:.0e}", ", ".join(others) or "-", f"{cpu['as it is']:.0e}",
        f"{figures['rounding']:.0e}", f"{right} of {told}", ' of '.join(map(str, cpu['tokens'])),
        f"{cpu['memory'] / size:.2f}" if cpu["memory"] else "-"]
    return f"| {' | '.join(cells)} |"


def write_table(known):
    """Rows of models that were not compared this time stay as they are."""
    text = TABLE.read_text()
    before, rest = text.split(BEGIN)
    there, after = rest.split(END)
    kept = {line.split("`")[1]: line for line in there.splitlines() if line.startswith("| `")}
    row = lambda name, model: shown(name, model, known[name]) if name in known else kept.get(name)
    rows = [row(name, model) for name, model in stand_ins.models() if name in known or name in kept]
    head = ["model", "architecture, blocks", "types", "file", "exact", "adapters", "as it is",
            "rounding", "first", "texts", "memory / file"]
    table = [f"| {' | '.join(head)} |", "|---" * len(head) + "|", *rows]
    TABLE.write_text("\n".join([before + BEGIN, "", *table, "", END]) + after)


def main():
    parser = argparse.ArgumentParser()
    parser.add_argument("names", nargs="*")
    parser.add_argument("--folder", type=pathlib.Path, required=True)
    parser.add_argument("--vocabularies", type=pathlib.Path, required=True)
    parser.add_argument("--wginfer", default=ROOT / "target" / "release" / "wginfer")
    parser.add_argument("--devices", default="cpu", help="separated by commas, `cpu` first")
    parser.add_argument("--prompts", type=int, default=4, help="only so many of the prompts")
    parser.add_argument("--keep", action="store_true")
    parser.add_argument("--table", action="store_true", help="only write the table of what is known")
    given = parser.parse_args()
    made.quiet()
    results = given.folder / "figures.json"
    known = json.loads(results.read_text()) if results.exists() else {}
    for name, model in stand_ins.models():
        if given.table or given.names and name not in given.names:
            continue
        try:
            known[name] = compare(name, model, given)
        except (RuntimeError, SystemExit) as error:
            print(f"{name}: FAILED: {error}", flush=True)
            continue
        print(name, json.dumps(known[name]), flush=True)
        results.write_text(json.dumps(known, indent=1))
    write_table(known)


if __name__ == "__main__":
    sys.exit(main())

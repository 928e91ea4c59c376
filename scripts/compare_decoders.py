#!/usr/bin/env python3
"""Puts every small decoder of tests/data/decoders/ through llama.cpp and wginfer, and
writes the table of docs/decoders.md.

    python3 -m venv .venv && .venv/bin/pip install numpy gguf
    mkdir judge && (cd judge && npm install --ignore-scripts node-llama-cpp)
    cargo build --release --example logits
    .venv/bin/python scripts/compare_decoders.py --modules judge [NAME...]

Three runtimes compute the logits after each of 24 tokens: transformers (they are in
the files beside the models), llama.cpp (a prebuilt one, `llama_logits.mjs`) and wginfer
(`examples/logits.rs`), with F32 weights and an F32 cache. Numbers are the largest
relative L2 of a row. llama.cpp takes some choices from the number of blocks, so some
models are given to it in copies with their blocks repeated; those have no figure of
transformers. Without names, all models are compared and the table is written.
"""

import argparse
import json
import pathlib
import subprocess
import sys
import tempfile

import gguf
import numpy as np

ROOT = pathlib.Path(__file__).resolve().parent.parent
MODELS = ROOT / "tests" / "data" / "decoders"
TABLE = ROOT / "docs" / "decoders.md"
MARK = "<!-- written by scripts/compare_decoders.py -->"

# Copies that llama.cpp takes for the model that the form is of: so many blocks, and
# keys that are left out.
COPIES = {
    "command-r--plus": dict(blocks=64),
    "deepseek2": dict(blocks=27),
    "exaone4": dict(without=["exaone4.attention.sliding_window"]),
    "phi3": dict(without=["phi3.attention.sliding_window"]),
}
# What a figure needs to be understood.
NOTES = {
    "command-r--plus": "llama.cpp reads norms of queries and keys only with 64 blocks: a copy with so many",
    "deepseek2": "llama.cpp knows the form without `q_lora_rank` by 27 blocks: a copy with so many",
    "deepseek2--groups": "llama.cpp ranks groups of DeepSeek-V2 by their two best experts, as V3 does; the published model by the best one, as here",
    "exaone4": "llama.cpp has windows only with 64 blocks: a copy without",
    "phi3": "llama.cpp leaves Phi-3's window out: a copy without",
    "gemma3n": "llama.cpp has the number of blocks with keys and of closed gates of the published models: a model of 25 blocks, with matrices of published sizes, is as far from transformers there as GELU's table of halves makes it (5e-3)",
    "llama4": "llama.cpp has this architecture only with experts",
    "qwen2vl": "llama.cpp is as far from transformers; why is not known",
    "qwen3--ternary": "quantised weights, for which llama.cpp rounds activations to 8 bits",
    "qwen3moe--mixed": "quantised weights, for which llama.cpp rounds activations to 8 bits",
}
GELU = "llama.cpp reads GELU from a table of halves"


def copy_of(model, out, blocks=None, without=()):
    """Writes a copy with the blocks repeated, or without some keys."""
    reader = gguf.GGUFReader(model)
    architecture = reader.fields["general.architecture"].contents()
    writer = gguf.GGUFWriter(out, architecture)
    have = reader.fields[f"{architecture}.block_count"].contents()
    for field in reader.fields.values():
        if field.name.startswith("GGUF.") or field.name == "general.architecture":
            continue
        if field.name in without:
            continue
        value, kind = field.contents(), field.types[0]
        if blocks and field.name.endswith(".block_count"):
            value = blocks
        inner = field.types[1] if kind == gguf.GGUFValueType.ARRAY else None
        writer.add_key_value(field.name, value, kind, inner)
    for tensor in reader.tensors:
        writer.add_tensor(tensor.name, tensor.data, raw_dtype=tensor.tensor_type)
        parts = tensor.name.split(".")
        for block in range(have, blocks or 0):
            # The first block may be of another kind than all others.
            if parts[0] == "blk" and int(parts[1]) == 1 + (block - 1) % (have - 1):
                name = ".".join(["blk", str(block), *parts[2:]])
                writer.add_tensor(name, tensor.data, raw_dtype=tensor.tensor_type)
    writer.write_header_to_file()
    writer.write_kv_data_to_file()
    writer.write_tensors_to_file()
    writer.close()


def rows_of(path):
    """What `examples/logits.rs` writes: `[tokens, vocabulary]`."""
    data = path.read_bytes()
    count, vocabulary = np.frombuffer(data, "<u4", 2)
    rows = np.frombuffer(data, "<f4", offset=8 + 4 * int(count))
    return rows.reshape(count, vocabulary).astype(np.float64)


def apart(got, wanted):
    off = np.linalg.norm(got - wanted, axis=-1) / np.linalg.norm(wanted, axis=-1)
    return float(off.max())


def run(command):
    done = subprocess.run(command, capture_output=True, text=True)
    if done.returncode != 0:
        said = [line for line in done.stderr.splitlines() if "rror" in line]
        raise RuntimeError((said or done.stderr.splitlines() or ["nothing was said"])[0])
    return done.stdout.strip().splitlines()


def compare(name, given, folder):
    """(figures of the pairs that there are, llama.cpp's version)"""
    model, judged = MODELS / f"{name}.gguf", json.loads((MODELS / f"{name}.json").read_text())
    copied = name in COPIES
    if copied:
        copy_of(model, folder / "copy.gguf", **COPIES[name])
        model = folder / "copy.gguf"
    tokens = MODELS / f"{name}.json"
    figures, version = {}, None
    run([given.logits, model, tokens, folder / "ours.bin", given.device])
    ours = rows_of(folder / "ours.bin")
    places = [length - 1 for length in judged["lengths"]]
    if not copied and judged.get("judge") != "llama.cpp":
        wanted = np.array(judged["logits"])
        figures["ours, transformers"] = apart(ours[places], wanted)
    try:
        script = ROOT / "scripts" / "llama_logits.mjs"
        said = run(["node", script, given.modules, model, tokens, folder / "theirs.bin"])
        version = said[-1]
        theirs = rows_of(folder / "theirs.bin")
        # Factors for long texts are chosen by the text here, by the context there.
        theirs, ours = theirs[places], ours[places]
        figures["ours, llama.cpp"] = apart(ours, theirs)
        if not copied and judged.get("judge") != "llama.cpp":
            figures["llama.cpp, transformers"] = apart(theirs, wanted)
    except RuntimeError as error:
        figures["refused"] = str(error)
    return figures, version


def uses_gelu(figures):
    both = figures.get("ours, llama.cpp", 0), figures.get("llama.cpp, transformers", 0)
    return min(both) > 3e-5


def row(name, figures):
    note = NOTES.get(name, GELU if uses_gelu(figures) else "")
    if "refused" in figures and name not in NOTES:
        note = f"llama.cpp: {figures['refused']}"
    shown = lambda pair: f"{figures[pair]:.0e}" if pair in figures else "-"
    pairs = "ours, transformers", "ours, llama.cpp", "llama.cpp, transformers"
    return f"| `{name}` | {' | '.join(map(shown, pairs))} | {note} |"


def main():
    parser = argparse.ArgumentParser()
    parser.add_argument("names", nargs="*")
    parser.add_argument("--modules", default=".")
    parser.add_argument("--logits", default=ROOT / "target" / "release" / "examples" / "logits")
    parser.add_argument("--device", default="cpu")
    given = parser.parse_args()
    names = given.names or sorted(path.stem for path in MODELS.glob("*.gguf"))
    rows, versions = [], set()
    for name in names:
        with tempfile.TemporaryDirectory() as folder:
            figures, version = compare(name, given, pathlib.Path(folder))
        rows.append(row(name, figures))
        versions.add(version)
        print(rows[-1], flush=True)
    if given.names:
        return
    head = TABLE.read_text().split(MARK)[0]
    table = [
        MARK, "", f"llama.cpp {', '.join(sorted(filter(None, versions)))}, wginfer on `{given.device}`.",
        "", "| model | here / transformers | here / llama.cpp | llama.cpp / transformers | |",
        "|---|---|---|---|---|", *rows,
    ]
    TABLE.write_text(head + "\n".join(table) + "\n")


if __name__ == "__main__":
    sys.exit(main())

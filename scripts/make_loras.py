#!/usr/bin/env python3
"""Writes LoRA adapters of random numbers for some of the small models of
tests/data/decoders/, and the logits that llama.cpp computes with them, to
tests/data/loras/.

    python3 -m venv .venv && .venv/bin/pip install numpy gguf
    mkdir judge && (cd judge && npm install --ignore-scripts node-llama-cpp)
    .venv/bin/python scripts/make_loras.py judge

`<name>.json` has the `model`, the `adapters` with their `scale`, `tokens`, and for some
`lengths` the `logits` after so many of them. `<name>-<n>.gguf` is an adapter, with the keys
and names of llama.cpp's `convert_lora_to_gguf.py`.
"""

import json
import pathlib
import subprocess
import sys
import tempfile

import gguf
import numpy as np

ROOT = pathlib.Path(__file__).resolve().parent.parent
MODELS = ROOT / "tests" / "data" / "decoders"
OUT = ROOT / "tests" / "data" / "loras"
LENGTHS = [1, 7, 13, 24]

MATRICES = ["attn_q", "attn_k", "attn_v", "attn_output", "ffn_gate", "ffn_up", "ffn_down"]
EXPERTS = ["ffn_gate_exps", "ffn_up_exps", "ffn_down_exps", "ffn_gate_inp"]
# Name: the model, and for each adapter its rank, alpha (None: the file has none), scale,
# element type, and the tensors that it changes.
ADAPTERS = {
    # All that a block has, the table of embeddings and the head.
    "llama": ("llama", [(8, 16.0, 1.0, "F32", [*MATRICES, "token_embd", "output"])]),
    # Two at once, of other ranks and types, which overlap.
    "llama--two": (
        "llama",
        [
            (5, 3.0, 0.7, "F16", MATRICES[:4]),
            (8, None, -0.4, "F32", ["attn_q", "attn_v", "ffn_down", "token_embd"]),
        ],
    ),
    # Queries, keys and values in one matrix, of which a graph has parts; the feed-forward
    # layer's too.
    "phi3": ("phi3--longrope", [(4, 8.0, 1.0, "F32", ["attn_qkv", "ffn_up", "attn_output"])]),
    # Biases behind matrices.
    "qwen2": ("qwen2", [(3, 6.0, 1.5, "F16", MATRICES)]),
    # Matrices of experts, and their router.
    "qwen3moe": ("qwen3moe", [(4, 8.0, 1.0, "F32", [*MATRICES[:4], *EXPERTS])]),
    # Experts with biases, and sinks.
    "gpt-oss": ("gpt-oss", [(4, 8.0, 1.0, "F32", [*MATRICES[:4], *EXPERTS[:3]])]),
}


def adapter(path, model, generator, rank, alpha, kind, names, widened=False):
    """`widened`: the same values as F32, since llama.cpp rounds what it multiplies with F16."""
    architecture = model.fields["general.architecture"].contents()
    writer = gguf.GGUFWriter(path, architecture)
    writer.add_type("adapter")
    writer.add_string("adapter.type", "lora")
    if alpha is not None:
        writer.add_float32("adapter.lora.alpha", alpha)
    changed = 0
    for tensor in model.tensors:
        stem = tensor.name.removesuffix(".weight").split(".")[-1]
        if not tensor.name.endswith(".weight") or stem not in names:
            continue
        changed += 1
        shape = [int(extent) for extent in reversed(tensor.shape)]
        *outer, outputs, inputs = shape
        of_a, of_b = [*outer, rank, inputs], [*outer, outputs, rank]
        if tensor.name == "token_embd.weight":
            of_a, of_b = [outputs, rank], [inputs, rank]
        dtype = np.float16 if kind == "F16" else np.float32
        for end, shape in [("lora_a", of_a), ("lora_b", of_b)]:
            values = generator.normal(size=shape) / np.sqrt(shape[-1])
            values = values.astype(dtype)
            writer.add_tensor(f"{tensor.name}.{end}", values.astype(np.float32) if widened else values)
    assert changed >= len(names) - 1, f"{path}: {changed} tensors"
    writer.write_header_to_file()
    writer.write_kv_data_to_file()
    writer.write_tensors_to_file()
    writer.close()


def judged(modules, model, tokens, adapters):
    with tempfile.TemporaryDirectory() as folder:
        given, out = pathlib.Path(folder) / "tokens.json", pathlib.Path(folder) / "out.bin"
        given.write_text(json.dumps({"tokens": tokens}))
        command = ["node", ROOT / "scripts" / "llama_logits.mjs", modules, model, given, out]
        for file, scale in adapters:
            command += [file, str(scale)]
        subprocess.run(command, check=True)
        data = out.read_bytes()
    count, vocabulary = np.frombuffer(data, np.uint32, 2)
    logits = np.frombuffer(data, np.float32, offset=8 + 4 * int(count))
    return logits.reshape(count, vocabulary)


def main():
    modules = sys.argv[1]
    OUT.mkdir(exist_ok=True)
    for number, (name, (model, adapters)) in enumerate(ADAPTERS.items()):
        path = MODELS / f"{model}.gguf"
        reader = gguf.GGUFReader(path)
        tokens = json.loads((MODELS / f"{model}.json").read_text())["tokens"]
        files, told = [], []
        folder = tempfile.TemporaryDirectory()
        for i, (rank, alpha, scale, kind, names) in enumerate(adapters):
            for place, widened in [(OUT, False), (pathlib.Path(folder.name), True)]:
                generator = np.random.default_rng(100 * number + i)
                file = place / f"{name}-{i}.gguf"
                adapter(file, reader, generator, rank, alpha, kind, names, widened)
            files.append((file, scale))
            told.append({"file": file.name, "scale": scale})
        with_them = judged(modules, path, tokens, files)
        folder.cleanup()
        without = judged(modules, path, tokens, [])
        moved = np.linalg.norm(with_them - without) / np.linalg.norm(without)
        assert moved > 0.05, f"{name}: logits moved by {moved}"
        lengths = [length for length in LENGTHS if length <= len(tokens)]
        logits = [[float(f"{v:.8g}") for v in with_them[length - 1]] for length in lengths]
        judge = {"model": model, "adapters": told, "tokens": tokens}
        judge |= {"lengths": lengths, "logits": logits}
        (OUT / f"{name}.json").write_text(json.dumps(judge) + "\n")
        print(f"{name}: logits moved by {moved:.2f}")


main()

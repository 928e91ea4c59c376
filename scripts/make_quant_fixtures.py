#!/usr/bin/env python3
"""Writes tests/data/quant/<type>.bin: random weight blocks and what they decode to.

The values come from PyPI `gguf` (NumPy). Run by hand when a type is added:

    pip install gguf numpy
    python3 scripts/make_quant_fixtures.py

A file is the number of blocks (u32, little-endian), the blocks, and the decoded
elements as f32. Scales are finite halves: normal ones of all sizes, subnormal
ones, both zeros, the smallest and the largest. Plain types count elements.
"""

import pathlib

import numpy as np
from gguf import GGMLQuantizationType, dequantize
from gguf.constants import GGML_QUANT_SIZES

OUT = pathlib.Path(__file__).resolve().parent.parent / "tests" / "data" / "quant"

# Type: (blocks, byte offsets of the f16 scales in a block).
TYPES = {
    "F32": (389, None),
    "F16": (1021, None),
    "BF16": (1021, None),
    "Q4_0": (49, (0,)),
    "Q4_1": (49, (0, 2)),
    "Q5_0": (49, (0,)),
    "Q5_1": (49, (0, 2)),
    "Q8_0": (49, (0,)),
    "IQ4_NL": (49, (0,)),
    "Q2_K": (27, (80, 82)),
    "Q3_K": (27, (108,)),
    "Q4_K": (27, (0, 2)),
    "Q5_K": (27, (0, 2)),
    "Q6_K": (27, (208,)),
    "IQ4_XS": (27, (0,)),
    "IQ2_XXS": (27, (0,)),
    "IQ2_XS": (27, (0,)),
    "IQ2_S": (27, (0,)),
    "IQ3_XXS": (27, (0,)),
    "IQ3_S": (27, (0,)),
    "IQ1_S": (27, (0,)),
    "IQ1_M": (27, ()),
    "TQ1_0": (27, (52,)),
    "TQ2_0": (27, (64,)),
    "MXFP4": (49, ()),
    "NVFP4": (49, ()),
}

# Smallest and largest subnormal, smallest and largest normal, zero; both signs.
EDGES = [s | m for m in (0x0001, 0x03FF, 0x0400, 0x7BFF, 0x0000) for s in (0, 0x8000)]


def halves(rng: np.random.Generator, count: int) -> np.ndarray:
    """Finite halves: the edges, then a third subnormal, a third of any size, a
    third of the size real models have."""
    kinds = rng.integers(0, 3, count)
    magnitude = np.where(kinds == 0, rng.integers(1, 0x400, count), rng.integers(0, 0x7C00, count))
    magnitude = np.where(kinds == 2, rng.integers(0x1000, 0x2800, count), magnitude)
    bits = (magnitude | rng.integers(0, 2, count) << 15).astype("<u2")
    bits[: min(count, len(EDGES))] = EDGES[:count]
    return bits


def plain(name: str, rng: np.random.Generator, count: int) -> np.ndarray:
    if name == "F16":
        return halves(rng, count).view(np.uint8)
    values = rng.standard_normal(count, dtype=np.float32) * np.exp2(
        rng.integers(-100, 100, count).astype(np.float32)
    )
    if name == "F32":
        return values.astype("<f4").view(np.uint8)
    return (values.view(np.uint32) >> 16).astype("<u2").view(np.uint8)


def blocks(name: str, rng: np.random.Generator, count: int, scales: tuple[int, ...]) -> np.ndarray:
    size = GGML_QUANT_SIZES[GGMLQuantizationType[name]][1]
    data = rng.integers(0, 256, (count, size), dtype=np.uint8)
    for k, at in enumerate(scales):
        # The second scale is turned, so that edges meet different partners.
        data[:, at : at + 2] = np.roll(halves(rng, count), 3 * k).view(np.uint8).reshape(count, 2)
    if name == "IQ1_M":
        # A quarter of the half in the top of each of the last four half words.
        bits = halves(rng, count).astype(np.uint16)
        for i in range(4):
            quarter = (bits >> (4 * i) & 0xF).astype(np.uint8)
            data[:, 49 + 2 * i] = data[:, 49 + 2 * i] & 0x0F | quarter << 4
    if name == "MXFP4":
        # Powers of two that give finite normal numbers.
        data[:, 0] = rng.integers(2, 250, count)
    if name == "NVFP4":
        # Scales of all sizes, and the one that is not a number.
        data[:, :4] &= 0x7F
        data[0, :4] = (0, 0x7F, 0x07, 0x7E)
    return data


def main() -> None:
    OUT.mkdir(parents=True, exist_ok=True)
    for seed, (name, (count, scales)) in enumerate(TYPES.items()):
        rng = np.random.default_rng(seed)
        kind = GGMLQuantizationType[name]
        data = plain(name, rng, count) if scales is None else blocks(name, rng, count, scales)
        values = dequantize(data, kind).astype("<f4", copy=False)
        assert np.isfinite(values).all(), name
        assert values.size == count * GGML_QUANT_SIZES[kind][0], name
        path = OUT / f"{name.lower()}.bin"
        path.write_bytes(np.uint32(count).tobytes() + data.tobytes() + values.tobytes())
        print(f"{path.name}: {count} blocks, {path.stat().st_size} bytes")


if __name__ == "__main__":
    main()

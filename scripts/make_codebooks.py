#!/usr/bin/env python3
"""Writes src/quant/codebooks.rs: the tables of the IQ types.

The tables are constants of the format (ggml-common.h, `iq2xxs_grid` and others);
PyPI `gguf` has them too, and is where they are read from. Run by hand:

    pip install gguf numpy
    python3 scripts/make_codebooks.py

An entry is eight (or four) small codes in one number, the first in the lowest
bits: two bits each, or three for IQ3.
"""

import pathlib

import numpy as np
from gguf import quants

OUT = pathlib.Path(__file__).resolve().parent.parent / "src" / "quant" / "codebooks.rs"

# Name, class, bits of a code, what is said about it.
TABLES = [
    ("IQ2_XXS", quants.IQ2_XXS, 2, "Codes of 8, 25 and 43."),
    ("IQ2_XS", quants.IQ2_XS, 2, "Codes of 8, 25 and 43."),
    ("IQ2_S", quants.IQ2_S, 2, "Codes of 8, 25 and 43."),
    ("IQ3_XXS", quants.IQ3_XXS, 3, "Codes of 4, 12, 20, 28, 36, 44, 52 and 62."),
    ("IQ3_S", quants.IQ3_S, 3, "Codes of 1, 3, 5, 7, 9, 11, 13 and 15."),
    ("IQ1", quants.IQ1_S, 2, "Codes of -1, 0 and 1; IQ1_S and IQ1_M."),
]

HEAD = """//! The tables of the IQ types: which groups of values a few bits stand for.
//!
//! Constants of the format, written by `scripts/make_codebooks.py`. An entry has the
//! codes of eight elements of two bits each (IQ1, IQ2) or of four of three bits
//! (IQ3), the first in the lowest bits.

"""


def packed(table, bits):
    table.init_grid()
    grid = table.grid.reshape(table.grid_shape).astype(np.int64)
    codes = np.searchsorted(np.array(table.grid_map), grid)
    assert (np.array(table.grid_map)[codes] == grid).all()
    return (codes << np.arange(grid.shape[1]) * bits).sum(axis=1)


def main():
    text = HEAD
    for name, table, bits, about in TABLES:
        entries = packed(table, bits)
        assert entries.max() < 1 << 16
        text += f"/// {about}\n#[rustfmt::skip]\npub(super) const {name}: [u16; {len(entries)}] = [\n"
        for row in entries.reshape(-1, 16):
            text += "    " + ",".join(f"0x{entry:x}" for entry in row) + ",\n"
        text += "];\n\n"
    OUT.write_text(text.rstrip("\n") + "\n")
    print(OUT.name, len(text), "bytes")


if __name__ == "__main__":
    main()

#!/usr/bin/env python3
"""Writes what ONNX and ONNX Runtime say of their operators to src/onnx/schemas.txt:
one line for each version of an operator, with the domain, the name, the version of
the operator set that brought it, the least and the most inputs, and its attributes.

    python3 -m venv .venv && .venv/bin/pip install onnx onnxruntime
    .venv/bin/python scripts/make_onnx_schemas.py
"""

import pathlib

import onnx
import onnxruntime
from onnxruntime.capi.onnxruntime_pybind11_state import get_all_operator_schema

FILE = pathlib.Path(__file__).resolve().parent.parent / "src/onnx/schemas.txt"
MANY = 2**31 - 1


def line(schema):
    most = "*" if schema.max_input >= MANY else str(schema.max_input)
    domain = schema.domain or "ai.onnx"
    return " ".join([domain, schema.name, str(schema.since_version), str(schema.min_input), most, *sorted(schema.attributes)])


def main():
    lines = {line(schema) for schema in onnx.defs.get_all_schemas_with_history()}
    # The version of com.microsoft has always been 1.
    lines |= {line(schema) for schema in get_all_operator_schema() if schema.domain == "com.microsoft"}
    head = f"# Written by scripts/make_onnx_schemas.py of onnx {onnx.__version__} and onnxruntime {onnxruntime.__version__}.\n"
    FILE.write_text(head + "\n".join(sorted(lines)) + "\n")


if __name__ == "__main__":
    main()

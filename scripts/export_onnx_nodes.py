#!/usr/bin/env python3
"""Writes ONNX's own node tests to a folder, for tests/onnx_nodes.

The cases are those of the installed PyPI package `onnx`, which builds them in
memory and computes the expected results with NumPy.

    scripts/export_onnx_nodes.py FOLDER

cases.json   [{"name", "operators", "model": [offset, length], "random",
               "inputs": [tensor], "outputs": [tensor]}], where a tensor is
               {"name", "dtype", "extents", "data": [offset, length]} and dtype
               is ONNX's name of the element type, or "sequence", "optional"
cases.bin    the models and the tensors' elements, little-endian; types of less
             than 8 bits take a byte each
"""

import json
import pathlib
import sys
import warnings

import numpy as np
import onnx
from onnx import numpy_helper
from onnx.backend.test.loader import load_node_model_tests

# What they give is drawn at random: only its shape could be compared.
RANDOM = {"Bernoulli", "RandomNormal", "RandomNormalLike", "RandomUniform", "RandomUniformLike"}
DROPOUT_RATIO = 1
DROPOUT_TRAINING = 2


def is_random(model, inputs):
    for node in model.graph.node:
        if node.op_type in RANDOM:
            return True
        if node.op_type == "Dropout" and len(inputs) > DROPOUT_TRAINING:
            ratio, training = inputs[DROPOUT_RATIO], inputs[DROPOUT_TRAINING]
            if np.any(training) and (ratio is None or np.any(ratio)):
                return True
    return False


class Blob:
    """Bytes one after another, each piece at a multiple of 16."""

    def __init__(self, path):
        self.file = path.open("wb")
        self.size = 0

    def add(self, data):
        start = self.size
        self.file.write(data)
        self.size += len(data)
        padding = -self.size % 16
        self.file.write(bytes(padding))
        self.size += padding
        return [start, len(data)]


def element_type(value_info):
    kind = value_info.type.WhichOneof("value")
    if kind != "tensor_type":
        return kind.removesuffix("_type")
    return onnx.TensorProto.DataType.Name(value_info.type.tensor_type.elem_type)


def array(value):
    if isinstance(value, onnx.TensorProto):
        return numpy_helper.to_array(value)
    return np.asarray(value)


def tensor(blob, value_info, value):
    dtype = element_type(value_info)
    entry = {"name": value_info.name, "dtype": dtype, "extents": [], "data": [0, 0]}
    if dtype in ("sequence", "optional", "map", "STRING") or value is None:
        return entry
    value = array(value)
    entry["extents"] = list(value.shape)
    if dtype in ("INT4", "INT2"):
        # Their bytes have no sign.
        value = value.astype(np.int8)
    entry["data"] = blob.add(np.ascontiguousarray(value).tobytes())
    return entry


def operators(graph):
    names = set()
    for node in graph.node:
        names.add(node.op_type if not node.domain else f"{node.domain}.{node.op_type}")
        for attribute in node.attribute:
            for inner in [attribute.g, *attribute.graphs]:
                names |= operators(inner)
    return names


def main():
    warnings.filterwarnings("ignore")
    folder = pathlib.Path(sys.argv[1])
    folder.mkdir(parents=True, exist_ok=True)
    blob, cases = Blob(folder / "cases.bin"), []
    for case in load_node_model_tests():
        graph = case.model.graph
        for number, (inputs, outputs) in enumerate(case.data_sets):
            named = [v for v in graph.input]
            cases.append({
                "name": case.name if number == 0 else f"{case.name}_{number}",
                "operators": sorted(operators(graph)),
                "functions": len(case.model.functions),
                "model": blob.add(case.model.SerializeToString()),
                "random": is_random(case.model, inputs),
                "inputs": [tensor(blob, v, x) for v, x in zip(named, inputs)],
                "outputs": [tensor(blob, v, y) for v, y in zip(graph.output, outputs)],
            })
    (folder / "cases.json").write_text(json.dumps({"onnx": onnx.__version__, "cases": cases}))
    print(f"{len(cases)} cases of onnx {onnx.__version__}")


main()

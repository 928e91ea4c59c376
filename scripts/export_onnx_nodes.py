#!/usr/bin/env python3
"""Writes ONNX's own node tests to a folder, for tests/onnx_nodes.

The cases are those of the installed PyPI package `onnx`, which builds them in
memory and computes the expected results with NumPy.

    scripts/export_onnx_nodes.py FOLDER

cases.json   [{"name", "operators", "model": [offset, length], "random",
               "inputs": [tensor], "outputs": [tensor]}], where a tensor is
               {"name", "dtype", "extents", "data": [offset, length]} and dtype
               is ONNX's name of the element type; a tensor of strings has them in
               "strings"; a "sequence" has its tensors in "items"; an optional value
               is what is in it, or has the dtype "absent"
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


def array(value):
    if isinstance(value, onnx.TensorProto):
        return numpy_helper.to_array(value)
    return np.asarray(value)


def tensor(blob, value_info, value):
    return typed(blob, value_info.name, value_info.type, value)


def typed(blob, name, type_proto, value):
    entry = {"name": name, "dtype": "absent", "extents": [], "data": [0, 0]}
    kind = type_proto.WhichOneof("value")
    if value is None:
        return entry
    if kind == "optional_type":
        return typed(blob, name, type_proto.optional_type.elem_type, value)
    if kind == "sequence_type":
        inner = type_proto.sequence_type.elem_type
        items = [typed(blob, f"{name}[{i}]", inner, item) for i, item in enumerate(value)]
        return entry | {"dtype": "sequence", "items": items}
    if kind != "tensor_type":
        return entry | {"dtype": kind.removesuffix("_type")}
    entry["dtype"] = dtype = onnx.TensorProto.DataType.Name(type_proto.tensor_type.elem_type)
    value = array(value)
    if dtype == "STRING":
        texts = [x.decode() if isinstance(x, bytes) else str(x) for x in value.ravel().tolist()]
        return entry | {"extents": list(value.shape), "strings": texts}
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

#!/usr/bin/env python3
"""Writes models of ONNX Runtime's own operators and of what it takes beyond the
letter of ONNX, inputs for them, and what ONNX Runtime makes of these, to
tests/data/onnx_contrib/.

    python3 -m venv .venv && .venv/bin/pip install numpy onnx onnxruntime
    .venv/bin/python scripts/make_contrib_models.py

The files are like those of scripts/make_onnx_models.py; the test `onnx_models`
runs both.
"""

import json
import pathlib

import numpy as np
import onnx
import onnxruntime
from onnx import helper, numpy_helper

FOLDER = pathlib.Path(__file__).resolve().parent.parent / "tests/data/onnx_contrib"
NAMES = {"float32": "F32", "int64": "I64", "int32": "I32"}


def node(op, inputs, outputs, **attributes):
    return helper.make_node(op, inputs, outputs, domain="com.microsoft", **attributes)


def number(value, dtype=np.float32):
    return np.array(value, dtype)


def lstm(random, directions, columns):
    """An LSTM of 5 inputs and 6 units whose weights are quantised, over 7 steps."""
    codes = lambda *shape: random.integers(-127, 128, shape).astype(np.int8)
    scales = (directions, 24) if columns else (directions,)
    scale = lambda: (random.random(scales) * 0.004 + 0.002).astype(np.float32)
    # ONNX Runtime takes no other.
    zero = lambda: np.zeros(scales, np.int8)
    weights = {
        "w": codes(directions, 5, 24), "r": codes(directions, 6, 24),
        "b": random.standard_normal((directions, 48)).astype(np.float32),
        "h": random.standard_normal((directions, 1, 6)).astype(np.float32),
        "c": random.standard_normal((directions, 1, 6)).astype(np.float32),
        "ws": scale(), "wz": zero(), "rs": scale(), "rz": zero(),
    }
    nodes = [node("DynamicQuantizeLSTM", ["x", "w", "r", "b", "", "h", "c", "", "ws", "wz", "rs", "rz"],
                  ["y", "y_h", "y_c"], hidden_size=6,
                  direction="bidirectional" if directions == 2 else "reverse")]
    return nodes, weights, {"x": random.standard_normal((7, 1, 5)).astype(np.float32)}, ["y", "y_h", "y_c"]


def products(random):
    """Products with a quantised matrix, from real numbers and from codes."""
    weights = {
        "b": random.integers(-127, 128, (9, 8)).astype(np.int8),
        "bs": (random.random(8) * 0.01 + 0.005).astype(np.float32),
        "bz": random.integers(-9, 10, 8).astype(np.int8),
        "bias": random.standard_normal(8).astype(np.float32),
        "as": number(0.02), "az": number(130, np.uint8),
    }
    nodes = [
        node("DynamicQuantizeMatMul", ["x", "b", "bs", "bz", "bias"], ["y"]),
        helper.make_node("QuantizeLinear", ["x", "as", "az"], ["codes"]),
        node("MatMulIntegerToFloat", ["codes", "b", "as", "bs", "az", "bz", "bias"], ["z"]),
    ]
    return nodes, weights, {"x": random.standard_normal((5, 9)).astype(np.float32)}, ["y", "z"]


def codes(random):
    """Arithmetic on codes: sum, product, functions, mean and concatenation."""
    weights = {
        "xs": number(0.03), "xz": number(120, np.uint8), "ts": number(0.05), "tz": number(7, np.uint8),
        "ss": number(1 / 256), "sz": number(0, np.uint8),
    }
    nodes = [
        node("QuantizeLinear", ["x", "xs", "xz"], ["a"]),
        node("QLinearLeakyRelu", ["a", "xs", "xz", "ts", "tz"], ["leaky"], alpha=0.3),
        node("QLinearAdd", ["a", "xs", "xz", "leaky", "ts", "tz", "ts", "tz"], ["sum"]),
        node("QLinearSigmoid", ["sum", "ts", "tz", "ss", "sz"], ["gate"]),
        node("QLinearMul", ["sum", "ts", "tz", "gate", "ss", "sz", "ts", "tz"], ["gated"]),
        node("QLinearConcat", ["ts", "tz", "gated", "ts", "tz", "a", "xs", "xz"], ["both"], axis=1),
        node("QLinearGlobalAveragePool", ["both", "ts", "tz", "ts", "tz"], ["mean"]),
        node("QLinearSoftmax", ["both", "ts", "tz", "ss", "sz"], ["soft"], axis=2, opset=13),
        node("QLinearSoftmax", ["both", "ts", "tz", "ss", "sz"], ["softer"], axis=2, opset=12),
        node("DequantizeLinear", ["soft", "ss", "sz"], ["s"]),
        node("DequantizeLinear", ["softer", "ss", "sz"], ["t"]),
        node("DequantizeLinear", ["both", "ts", "tz"], ["y"]),
        node("DequantizeLinear", ["mean", "ts", "tz"], ["z"]),
    ]
    return nodes, weights, {"x": random.standard_normal((2, 3, 4, 5)).astype(np.float32)}, ["y", "z", "s", "t"]


def fused(random):
    """Convolutions and a product with a function in the node."""
    weights = {
        "w": random.standard_normal((4, 3, 3, 3)).astype(np.float32) * np.float32(0.3),
        "b": random.standard_normal(4).astype(np.float32),
        "m": random.standard_normal((4, 5)).astype(np.float32),
        "n": random.standard_normal(5).astype(np.float32),
        "scale": random.standard_normal(7).astype(np.float32),
    }
    nodes = [
        node("FusedConv", ["x", "w", "b"], ["a"], pads=[1, 1, 1, 1], activation="LeakyRelu",
             activation_params=[0.2]),
        node("FusedConv", ["x", "w", "b", "a"], ["s"], pads=[1, 1, 1, 1], activation="Relu"),
        node("FusedConv", ["x", "w", "b"], ["c"], activation="Clip", activation_params=[-0.5, 0.75]),
        helper.make_node("ReduceMean", ["s"], ["mean"], axes=[2, 3], keepdims=0),
        helper.make_node("LayerNormalization", ["s", "scale"], ["l"], axis=-1),
        node("FusedGemm", ["mean", "m", "n"], ["g"], activation="LeakyRelu", activation_alpha=0.1,
             alpha=0.5, beta=2.0),
    ]
    return nodes, weights, {"x": random.standard_normal((2, 3, 6, 7)).astype(np.float32)}, ["a", "c", "s", "g", "l"]


def spectra(random):
    """A transform of a signal without the dimension of real and imaginary parts,
    which ONNX asks for and exporters leave out."""
    weights = {"step": number(6, np.int64), "window": random.random(16).astype(np.float32)}
    nodes = [helper.make_node("STFT", ["x", "step", "window"], ["y"])]
    return nodes, weights, {"x": random.standard_normal((2, 50)).astype(np.float32)}, ["y"]


MODELS = {
    "quantised_lstm": lambda random: lstm(random, 2, True),
    "quantised_lstm_reverse": lambda random: lstm(random, 1, False),
    "quantised_products": products,
    "quantised_codes": codes,
    "fused_nodes": fused,
    "signal_of_two_dimensions": spectra,
}


def main():
    FOLDER.mkdir(parents=True, exist_ok=True)
    entries = []
    for seed, (name, make) in enumerate(MODELS.items()):
        nodes, weights, inputs, outputs = make(np.random.default_rng(seed))
        infos = [helper.make_tensor_value_info(key, helper.np_dtype_to_tensor_dtype(value.dtype), value.shape)
                 for key, value in inputs.items()]
        results = [onnx.ValueInfoProto(name=output) for output in outputs]
        constants = [numpy_helper.from_array(value, key) for key, value in weights.items()]
        graph = helper.make_graph(nodes, name, infos, results, constants)
        opsets = [helper.make_opsetid("", 16 if name == "fused_nodes" else 17), helper.make_opsetid("com.microsoft", 1)]
        model = helper.make_model(graph, opset_imports=opsets, ir_version=8)
        data = model.SerializeToString()
        (FOLDER / f"{name}.onnx").write_bytes(data)
        options = onnxruntime.SessionOptions()
        options.graph_optimization_level = onnxruntime.GraphOptimizationLevel.ORT_DISABLE_ALL
        session = onnxruntime.InferenceSession(data, options, providers=["CPUExecutionProvider"])
        values = dict(zip(outputs, session.run(outputs, inputs)))
        table = lambda arrays: [{"name": key, "dtype": NAMES[str(value.dtype)], "extents": value.shape}
                                for key, value in arrays.items()]
        numbers = [*inputs.values(), *values.values()]
        (FOLDER / f"{name}.bin").write_bytes(b"".join(np.ascontiguousarray(v).tobytes() for v in numbers))
        entries.append({"model": name, "inputs": table(inputs), "outputs": table(values)})
    (FOLDER / "models.json").write_text(json.dumps(entries, indent=1) + "\n")


if __name__ == "__main__":
    main()

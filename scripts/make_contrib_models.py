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


def ended(random):
    """The same over three sequences of which two end early, with codes so small that
    no processor's sum of two products leaves 16 bits."""
    nodes, weights, _, outputs = lstm(random, 2, True)
    nodes[0].input[4] = "lengths"
    for name in ("w", "r"):
        weights[name] = weights[name] // 2
    for name in ("h", "c"):
        weights[name] = random.standard_normal((2, 3, 6)).astype(np.float32)
    weights["lengths"] = np.array([7, 2, 5], np.int32)
    return nodes, weights, {"x": random.standard_normal((7, 3, 5)).astype(np.float32)}, outputs


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


def attentions(random):
    """Attention with its projections in the node: masks of every kind, past, values
    of another size, terms that are added."""
    real = lambda *shape: random.standard_normal(shape).astype(np.float32)
    weights = {"w": real(8, 24), "b": real(24), "wide": real(8, 28), "wide_b": real(28), "ends": number([4, 6], np.int32),
               "ends_starts": number([6, 5, 1, 2], np.int32), "shown": number([[1, 1, 1, 1, 0, 0], [0, 1, 1, 1, 1, 1]], np.int32),
               "each": random.integers(0, 2, (2, 6, 6)).astype(np.int32) | np.eye(6, dtype=np.int32),
               "added": real(2, 2, 6, 6), "past": real(2, 2, 2, 4, 4)}
    calls = [
        (["x", "w", "b"], {}), (["x", "w", "b", "ends"], {}), (["x", "w", "b", "ends_starts"], {}),
        (["x", "w", "b", "shown"], {"mask_filter_value": -5.0}), (["x", "w", "", "each"], {"scale": 0.7}),
        (["x", "w", "b"], {"unidirectional": 1}), (["x", "wide", "wide_b"], {"qkv_hidden_sizes": [8, 8, 12]}),
        (["x", "w", "b", "shown", "", "added"], {}),
    ]
    nodes = [node("Attention", inputs, [f"y{i}"], num_heads=2, **more) for i, (inputs, more) in enumerate(calls)]
    nodes.append(node("Attention", ["x", "w", "b", "", "past"], ["z", "present"], num_heads=2, unidirectional=1))
    outputs = [f"y{i}" for i in range(len(calls))] + ["z", "present"]
    return nodes, weights, {"x": real(2, 6, 8)}, outputs


def quantised_attentions(random):
    """Attention over codes, with one scale and with one for each column."""
    real = lambda *shape: random.standard_normal(shape).astype(np.float32)
    weights = {"w": random.integers(-127, 128, (8, 24)).astype(np.int8), "b": real(24), "xs": number(0.02), "xz": number(128, np.uint8),
               "ws": number(0.01), "wz": number(3, np.int8), "each": (random.random(24) * 0.01 + 0.005).astype(np.float32),
               "each_z": np.zeros(24, np.int8), "ends": number([4, 6], np.int32), "past": real(2, 2, 2, 3, 4)}
    nodes = [
        helper.make_node("QuantizeLinear", ["x", "xs", "xz"], ["a"]),
        node("QAttention", ["a", "w", "b", "xs", "ws", "ends", "xz", "wz"], ["y"], num_heads=2),
        node("QAttention", ["a", "w", "b", "xs", "each", "", "xz", "each_z"], ["z"], num_heads=2, unidirectional=1),
        node("QAttention", ["a", "w", "b", "xs", "ws", "", "xz", "wz", "past"], ["t", "present"], num_heads=2, unidirectional=1),
    ]
    return nodes, weights, {"x": real(2, 6, 8)}, ["y", "z", "t", "present"]


def embeddings(random):
    """What BERT looks up, with and without segments, positions and a mask; a table of
    codes in blocks."""
    real = lambda *shape: random.standard_normal(shape).astype(np.float32)
    weights = {"words": real(30, 8), "places": real(16, 8), "kinds": real(2, 8), "g": real(8), "b": real(8),
               "codes": random.integers(0, 256, (10, 32)).astype(np.uint8), "scales": (random.random((10, 4)) * 0.1).astype(np.float32),
               "zeros": random.integers(0, 256, (10, 2)).astype(np.uint8), "whole": (random.random((10, 2)) * 0.1).astype(np.float32)}
    inputs = {"ids": random.integers(0, 30, (2, 6)).astype(np.int32), "segments": random.integers(0, 2, (2, 6)).astype(np.int32),
              "mask": number([[1, 1, 1, 1, 0, 0], [1] * 6], np.int32), "at": random.integers(0, 16, (2, 6)).astype(np.int32),
              "rows": random.integers(0, 10, (3, 2)).astype(np.int64)}
    nodes = [
        node("EmbedLayerNormalization", ["ids", "segments", "words", "places", "kinds", "g", "b", "mask"], ["y", "count"], epsilon=1e-12),
        node("EmbedLayerNormalization", ["ids", "", "words", "places", "", "g", "b"], ["z", "none"], epsilon=1e-5),
        node("EmbedLayerNormalization", ["ids", "segments", "words", "places", "kinds", "g", "b", "", "at"], ["t", "no", "sum"]),
        node("GatherBlockQuantized", ["codes", "rows", "scales", "zeros"], ["four"], bits=4, block_size=16, quantize_axis=1),
        node("GatherBlockQuantized", ["codes", "rows", "whole"], ["eight"], bits=8, block_size=16, quantize_axis=1),
    ]
    return nodes, weights, inputs, ["y", "count", "z", "none", "t", "sum", "four", "eight"]


def more_codes(random):
    """Products, pools and choices between codes; convolutions and pools with
    the channels last."""
    real = lambda *shape: random.standard_normal(shape).astype(np.float32)
    weights = {"xs": number(0.03), "xz": number(120, np.uint8), "ts": number(0.05), "tz": number(7, np.uint8),
               "w": random.integers(-127, 128, (5, 8)).astype(np.int8), "ws": number(0.01), "wz": number(0, np.int8),
               "c": random.integers(-500, 500, 5).astype(np.int32), "v": random.integers(-127, 128, (8, 5)).astype(np.int8),
               "vs": (random.random(5) * 0.01 + 0.002).astype(np.float32), "vz": np.zeros(5, np.int8),
               "k": random.integers(-127, 128, (6, 3, 3, 3)).astype(np.int8), "kb": random.integers(-99, 99, 6).astype(np.int32),
               "which": random.integers(0, 2, (2, 3, 6, 8)).astype(bool)}
    nodes = [
        node("QuantizeLinear", ["x", "xs", "xz"], ["a"]),
        node("QuantizeLinear", ["m", "xs", "xz"], ["n"]),
        node("QGemm", ["n", "xs", "xz", "w", "ws", "wz", "c", "ts", "tz"], ["g"], transB=1, alpha=0.5),
        node("QGemm", ["n", "xs", "xz", "v", "vs", "vz", "c", "ts", "tz"], ["h"]),
        node("QGemm", ["n", "xs", "xz", "v", "vs", "vz"], ["real"]),
        node("QLinearAveragePool", ["a", "xs", "xz", "ts", "tz"], ["p"], kernel_shape=[3, 3], strides=[2, 2], pads=[1, 1, 1, 1]),
        helper.make_node("Transpose", ["a"], ["last"], perm=[0, 2, 3, 1]),
        node("QLinearAveragePool", ["last", "xs", "xz", "ts", "tz"], ["pl"], kernel_shape=[3, 3], channels_last=1),
        node("QLinearConv", ["last", "xs", "xz", "k", "ws", "wz", "ts", "tz", "kb"], ["q"], kernel_shape=[3, 3], channels_last=1),
        node("NhwcMaxPool", ["last"], ["most"], kernel_shape=[2, 2], strides=[2, 2]),
        node("QLinearWhere", ["which", "a", "xs", "xz", "a", "ts", "tz", "xs", "xz"], ["chosen"]),
    ]
    coded = ["g", "h", "p", "pl", "q", "most", "chosen"]
    nodes += [helper.make_node("Cast", [name], [name + "_i"], to=onnx.TensorProto.INT32) for name in coded]
    return nodes, weights, {"x": real(2, 3, 6, 8), "m": real(3, 8)}, ["real"] + [name + "_i" for name in coded]


def adopted(random):
    """What ONNX took over, and products with every function and order."""
    real = lambda *shape: random.standard_normal(shape).astype(np.float32)
    weights = {"axis": number(1, np.int32), "at": number([[1, 2], [0, 3]], np.int64), "pads": number([0, 1, 0, 1], np.int64), "v": number(0.5),
               "w": real(6, 4), "b": real(6), "batch": real(2, 4, 5), "grid": real(1, 3, 3, 2), "image": real(1, 2, 5, 5),
               "zero": number(0), "five": number(5), "one": number(1)}
    nodes = [
        node("Inverse", ["x"], ["inverse"]), node("ExpandDims", ["m", "axis"], ["wide"]), node("Trilu", ["m"], ["lower"], upper=0),
        node("GatherND", ["m", "at"], ["picked"]), node("Pad", ["m", "pads", "v"], ["padded"], mode="constant"),
        node("GridSample", ["image", "grid"], ["sampled"], mode="bilinear"),
        node("Range", ["zero", "five", "one"], ["range"]),
        node("FusedMatMul", ["p", "batch"], ["pb"], transBatchA=1, alpha=0.25), node("TransposeMatMul", ["t", "batch"], ["tb"], transA=1),
    ]
    functions = ["Elu", "Softplus", "Softsign", "ThresholdedRelu"]
    nodes += [node("FusedGemm", ["m", "w", "b"], [f"f{i}"], transB=1, activation=name, activation_alpha=0.3) for i, name in enumerate(functions)]
    inputs = {"x": real(2, 3, 3), "m": real(4, 4), "p": real(3, 2, 4), "t": real(2, 4, 3)}
    return nodes, weights, inputs, ["inverse", "wide", "lower", "picked", "padded", "sampled", "pb", "tb", "range"] + [f"f{i}" for i in range(len(functions))]


def whole_numbers(random):
    """Products and pictures of whole numbers."""
    weights = {"w": random.integers(-9, 10, (2, 4, 5)).astype(np.int32), "v": random.integers(-9, 10, 4).astype(np.int64),
               "sizes": number([1, 2, 7, 9], np.int64), "twice": number([1, 2, 8, 10], np.int64)}
    nodes = [
        helper.make_node("MatMul", ["a", "w"], ["y"]), helper.make_node("MatMul", ["b", "v"], ["z"]),
        helper.make_node("Cast", ["image"], ["bytes"], to=onnx.TensorProto.UINT8),
        helper.make_node("Cast", ["image"], ["signed"], to=onnx.TensorProto.INT8),
        helper.make_node("Resize", ["bytes", "", "", "sizes"], ["larger"], mode="linear"),
        helper.make_node("Resize", ["signed", "", "", "twice"], ["larger_signed"], mode="linear", coordinate_transformation_mode="asymmetric"),
        helper.make_node("Resize", ["image", "", "", "sizes"], ["larger_i"], mode="linear", coordinate_transformation_mode="align_corners"),
        helper.make_node("Cast", ["larger"], ["r"], to=onnx.TensorProto.INT32), helper.make_node("Cast", ["larger_signed"], ["s"], to=onnx.TensorProto.INT32),
    ]
    inputs = {"a": random.integers(-99, 100, (3, 4)).astype(np.int32), "b": random.integers(-99, 100, (2, 3, 4)).astype(np.int64),
              "image": random.integers(-120, 120, (1, 2, 4, 5)).astype(np.int32)}
    return nodes, weights, inputs, ["y", "z", "r", "s", "larger_i"]


def regions(random):
    """The largest of parts of regions, and a normalisation whose scale differs from
    row to row."""
    real = lambda *shape: random.standard_normal(shape).astype(np.float32)
    boxes = [[0, 1, 1, 6, 5], [1, 0, 0, 9, 7], [0, 4, 2, 4, 2], [1, 7, 3, 30, 40], [0, 2.4, 1.6, 7.5, 6.5], [1, 5, 5, 2, 2]]
    weights = {"boxes": number(boxes), "scale": real(2, 3, 5), "bias": real(3, 5), "row": real(1, 1, 5)}
    nodes = [
        helper.make_node("MaxRoiPool", ["x", "boxes"], ["y"], pooled_shape=[3, 2], spatial_scale=0.9),
        helper.make_node("LayerNormalization", ["n", "scale", "bias"], ["z"]),
        helper.make_node("LayerNormalization", ["n", "row", "bias"], ["t"]),
        helper.make_node("LayerNormalization", ["n", "scale"], ["u"]),
    ]
    return nodes, weights, {"x": real(2, 3, 8, 10), "n": real(2, 3, 5)}, ["y", "z", "t", "u"]


def four_bits(random):
    """Products with codes of four bits, in floating-point numbers and in quantiles."""
    weights, nodes = {}, []
    for kind, name in enumerate(["y", "z"]):
        weights[f"b{kind}"] = random.integers(0, 256, 5 * 24 // 2).astype(np.uint8)
        weights[f"s{kind}"] = (random.random(8) + 0.5).astype(np.float32)
        inputs = ["x", f"b{kind}", f"s{kind}"]
        nodes.append(node("MatMulBnb4", inputs, [name], K=24, N=5, block_size=16, quant_type=kind))
    return nodes, weights, {"x": random.standard_normal((2, 3, 24)).astype(np.float32)}, ["y", "z"]


def mixtures(random):
    """Mixtures of experts: every function, with and without biases, of real numbers and
    of codes in blocks and without."""
    real = lambda *shape: random.standard_normal(shape).astype(np.float32) * np.float32(0.5)
    scale = lambda *shape: (random.random(shape) * 0.05 + 0.02).astype(np.float32)
    codes = lambda *shape: random.integers(0, 256, shape).astype(np.uint8)
    weights = {"w1": real(4, 24, 32), "b1": real(4, 24), "w2": real(4, 32, 24), "b2": real(4, 32),
               "v1": real(4, 48, 32), "c1": real(4, 48),
               "q1": codes(4, 64, 16), "s1": scale(4, 64), "d1": real(4, 64), "q2": codes(4, 32, 16), "s2": scale(4, 32),
               "e1": codes(4, 64, 32), "e2": codes(4, 32, 32),
               "t1": scale(4, 64, 2), "t2": scale(4, 32, 2), "z1": codes(4, 64, 1), "z2": codes(4, 32, 1)}
    plain = ["x", "r", "w1", "b1", "w2", "b2"]
    nodes = [
        node("MoE", plain, ["y0"], activation_type="relu", k=1),
        node("MoE", plain, ["y1"], activation_type="gelu", k=2, normalize_routing_weights=1),
        node("MoE", ["x", "r", "w1", "", "w2"], ["y2"], activation_type="silu", k=3),
        node("MoE", ["x", "r", "v1", "c1", "w2", "b2"], ["y3"], activation_type="swiglu", k=2, swiglu_fusion=1,
             normalize_routing_weights=1, activation_alpha=1.702, activation_beta=1.0, swiglu_limit=0.7),
        node("QMoE", ["x", "r", "q1", "s1", "d1", "q2", "s2"], ["y4"], activation_type="swiglu", k=2, swiglu_fusion=1,
             normalize_routing_weights=1, activation_alpha=1.702, activation_beta=1.0, swiglu_limit=7.0),
        node("QMoE", ["x", "r", "q1", "t1", "", "q2", "t2", "", "", "", "", "z1", "z2"], ["y5"], activation_type="swiglu",
             k=2, swiglu_fusion=1, block_size=16, normalize_routing_weights=1),
        # ONNX Runtime's CPU provider normalises here as well.
        node("QMoE", ["x", "r", "q1", "s1", "d1", "q2", "s2"], ["y6"], activation_type="swiglu", k=2, swiglu_fusion=1,
             normalize_routing_weights=0, activation_alpha=1.702, activation_beta=1.0, swiglu_limit=7.0),
    ]
    return nodes, weights, {"x": real(2, 3, 32), "r": real(6, 4)}, [f"y{i}" for i in range(7)]


def grouped_codes(random):
    """A product whose columns have the scales of other blocks (with which ONNX Runtime's
    CPU provider passes over zero points), distances, and what a quantised BERT looks
    up."""
    real = lambda *shape: random.standard_normal(shape).astype(np.float32)
    codes = lambda *shape: random.integers(0, 256, shape).astype(np.uint8)
    weights = {"b": codes(5, 4, 8), "s": (random.random(20) * 0.1).astype(np.float32), "g": random.permutation(np.repeat(np.arange(4), 16)).astype(np.int32), "far": real(4, 6),
               "words": codes(30, 8), "places": codes(16, 8), "kinds": codes(2, 8), "gamma": codes(8), "beta": codes(8)}
    for i, name in enumerate("wpkgb"):
        weights["s" + name], weights["z" + name] = number(0.01 + 0.002 * i), number(128 - 7 * i, np.uint8)
    inputs = {"x": real(2, 64), "a": real(3, 6), "ids": random.integers(0, 30, (2, 6)).astype(np.int32),
              "segments": random.integers(0, 2, (2, 6)).astype(np.int32), "mask": number([[1, 1, 1, 1, 0, 0], [1] * 6], np.int32)}
    tables = ["words", "places", "kinds", "gamma", "beta", "mask"]
    nodes = [
        node("MatMulNBits", ["x", "b", "s", "", "g"], ["y"], K=64, N=5, bits=4, block_size=16),
        node("CDist", ["a", "far"], ["d"], metric="euclidean"), node("CDist", ["a", "far"], ["e"], metric="sqeuclidean"),
        node("QEmbedLayerNormalization", ["ids", "segments", *tables, "sw", "sp", "sk", "sg", "sb", "zw", "zp", "zk", "zg", "zb"],
             ["q", "count"], epsilon=1e-5),
    ]
    return nodes, weights, inputs, ["y", "d", "e", "q", "count"]


def caches(random):
    """Attention over groups of heads whose positions are given."""
    real = lambda *shape: random.standard_normal(shape).astype(np.float32)
    weights = {"seqlens": number([4, 4], np.int32), "total": number(5, np.int32), "cos": real(16, 8), "sin": real(16, 8)}
    inputs = {"q": real(2, 1, 64), "k": real(2, 1, 32), "v": real(2, 1, 32), "past_k": real(2, 2, 4, 16), "past_v": real(2, 2, 4, 16),
              "at": number([[7], [2]], np.int64)}
    nodes = [node("GroupQueryAttention", ["q", "k", "v", "past_k", "past_v", "seqlens", "total", "cos", "sin", "at"],
                  ["y", "pk", "pv"], num_heads=4, kv_num_heads=2, do_rotary=1)]
    return nodes, weights, inputs, ["y", "pk", "pv"]


def sinks(random):
    """Attention over groups of heads of which each has a sink: given, and of score 0; a
    prompt, and one token behind a cache that is longer than what is valid in it."""
    real = lambda *shape: random.standard_normal(shape).astype(np.float32)
    weights = {"sink": real(4), "ends": number([5, 3], np.int32), "six": number(6, np.int32),
               "whole": number([4, 4], np.int32), "five": number(5, np.int32)}
    inputs = {"q": real(2, 1, 64), "k": real(2, 1, 32), "v": real(2, 1, 32), "past_k": real(2, 2, 5, 16), "past_v": real(2, 2, 5, 16),
              "pq": real(2, 5, 64), "pk": real(2, 5, 32), "pv": real(2, 5, 32)}
    sizes = {"num_heads": 4, "kv_num_heads": 2}
    step, prompt = ["q", "k", "v", "past_k", "past_v", "ends", "six"], ["pq", "pk", "pv", "", "", "whole", "five"]
    given = ["", "", "", "", "sink"]
    nodes = [
        node("GroupQueryAttention", step + given, ["y", "y_k", "y_v"], **sizes),
        node("GroupQueryAttention", step, ["s", "s_k", "s_v"], smooth_softmax=1, **sizes),
        node("GroupQueryAttention", prompt + given, ["p", "p_k", "p_v"], local_window_size=3, softcap=2.0, **sizes),
        node("GroupQueryAttention", prompt, ["w", "w_k", "w_v"], smooth_softmax=1, **sizes),
    ]
    return nodes, weights, inputs, ["y", "s", "p", "w"]


def diffusion(random):
    """What ONNX Runtime's optimiser makes of diffusion models, which its CPU provider
    does not run: the judge is the same in ONNX's own operators."""
    real = lambda *shape: random.standard_normal(shape).astype(np.float32)
    weights = {"w": real(6, 3, 3, 4) * np.float32(0.3), "b": real(6), "gamma": real(4), "beta": real(4), "skip": real(2, 4),
               "bias": real(4), "wide": real(8), "start": number([0], np.int64), "half": number([4], np.int64),
               "end": number([8], np.int64), "axis": number([2], np.int64)}
    weights["skip4"] = weights["skip"].reshape(2, 1, 1, 4)
    weights["w2"] = np.ascontiguousarray(weights["w"].transpose(0, 3, 1, 2))
    nodes = [
        node("NhwcConv", ["x", "w", "b"], ["conv"], pads=[1, 1, 1, 1], strides=[2, 1], kernel_shape=[3, 3]),
        node("GroupNorm", ["x", "gamma", "beta"], ["norm"], groups=2, activation=1, epsilon=1e-4),
        node("SkipGroupNorm", ["x", "gamma", "beta", "skip", "bias"], ["skipped", "sum"], groups=2, activation=0, epsilon=1e-4),
        node("BiasSplitGelu", ["m", "wide"], ["gelu"]), node("BiasAdd", ["m", "wide", "m"], ["added"]),
        node("MultiHeadAttention", ["packed"], ["att"], num_heads=2),
        node("MultiHeadAttention", ["query", "packed_kv"], ["cross"], num_heads=2),
        node("RelativePositionBias", ["table", "queries", "keys"], ["both_ways"], max_distance=20, is_bidirectional=1),
        node("RelativePositionBias", ["table", "queries", "keys"], ["back"], max_distance=20),
        helper.make_node("Slice", ["packed", "start", "two", "three"], ["packed_kv"]),
    ]
    weights |= {"two": number([2], np.int64), "three": number([3], np.int64)}
    plain = lambda op, inputs, outputs, **more: helper.make_node(op, inputs, outputs, **more)
    part = lambda at, name: [plain("Gather", ["packed", f"at{at}"], [name + "_h"], axis=3), plain("Reshape", [name + "_h", "flat"], [name])]
    weights |= {f"at{i}": number(i, np.int64) for i in range(3)} | {"flat": number([2, 5, 8], np.int64)}
    judge = [
        plain("Transpose", ["x"], ["c"], perm=[0, 3, 1, 2]),
        plain("Conv", ["c", "w2", "b"], ["c0"], pads=[1, 1, 1, 1], strides=[2, 1]), plain("Transpose", ["c0"], ["conv"], perm=[0, 2, 3, 1]),
        *grouped(plain, "c", "n0"), plain("Sigmoid", ["n0"], ["open"]), plain("Mul", ["n0", "open"], ["n1"]),
        plain("Transpose", ["n1"], ["norm"], perm=[0, 2, 3, 1]),
        plain("Add", ["x", "skip4"], ["s0"]), plain("Add", ["s0", "bias"], ["sum"]), plain("Transpose", ["sum"], ["s1"], perm=[0, 3, 1, 2]),
        *grouped(plain, "s1", "s2"), plain("Transpose", ["s2"], ["skipped"], perm=[0, 2, 3, 1]),
        plain("Add", ["m", "wide"], ["g0"]), plain("Add", ["g0", "m"], ["added"]),
        plain("Slice", ["g0", "start", "half", "axis"], ["left"]), plain("Slice", ["g0", "half", "end", "axis"], ["right"]),
        node("Gelu", ["right"], ["r"]), plain("Mul", ["left", "r"], ["gelu"]),
        *part(0, "pq"), *part(1, "pk"), *part(2, "pv"),
        node("MultiHeadAttention", ["pq", "pk", "pv"], ["att"], num_heads=2),
        node("MultiHeadAttention", ["query", "pq", "pk"], ["cross"], num_heads=2),
    ]
    weights |= {"table": real(8, 3), "queries": number(9, np.int64), "keys": number(25, np.int64)}
    for name, both in (("both_ways", True), ("back", False)):
        weights[name + "_at"] = buckets(9, 25, 8, 20, both)
        judge += [plain("Gather", ["table", name + "_at"], [name + "_t"]), plain("Transpose", [name + "_t"], [name + "_h"], perm=[2, 0, 1]),
                  plain("Reshape", [name + "_h", "lead"], [name])]
    weights["lead"] = number([1, 3, 9, 25], np.int64)
    inputs = {"x": real(2, 6, 5, 4), "m": real(2, 3, 8), "packed": real(2, 5, 2, 3, 4), "query": real(2, 3, 8)}
    return nodes, weights, inputs, ["conv", "norm", "skipped", "sum", "gelu", "added", "att", "cross", "both_ways", "back"], judge


def buckets(queries, keys, count, farthest, both):
    """The buckets of T5 for distances between queries and keys."""
    far = np.arange(queries)[:, None] - np.arange(keys)[None]
    first = np.zeros_like(far)
    if both:
        count //= 2
        first, far = np.where(far < 0, count, 0), np.abs(far)
    far, near = np.maximum(far, 0), count // 2
    shared = near + (np.log(np.maximum(far, 1) / near) / np.log(farthest / near) * (count - near)).astype(np.int64)
    return first + np.where(far < near, far, np.minimum(shared, count - 1))


def grouped(plain, x, y):
    """Two groups of the two channels each of `[2, 4, 6, 5]`, normalised with gamma and beta."""
    return [
        plain("Constant", [], [y + "_in"], value_ints=[2, 2, -1]), plain("Constant", [], [y + "_out"], value_ints=[2, 4, 6, 5]),
        plain("Constant", [], [y + "_ones"], value_floats=[1.0, 1.0]), plain("Constant", [], [y + "_zeros"], value_floats=[0.0, 0.0]),
        plain("Constant", [], [y + "_column"], value_ints=[4, 1, 1]),
        plain("Reshape", [x, y + "_in"], [y + "0"]), plain("InstanceNormalization", [y + "0", y + "_ones", y + "_zeros"], [y + "1"], epsilon=1e-4),
        plain("Reshape", [y + "1", y + "_out"], [y + "2"]), plain("Reshape", ["gamma", y + "_column"], [y + "_g"]),
        plain("Reshape", ["beta", y + "_column"], [y + "_b"]), plain("Mul", [y + "2", y + "_g"], [y + "3"]), plain("Add", [y + "3", y + "_b"], [y]),
    ]


MODELS = {
    "quantised_lstm": lambda random: lstm(random, 2, True),
    "quantised_lstm_reverse": lambda random: lstm(random, 1, False),
    "quantised_products": products,
    "quantised_codes": codes,
    "fused_nodes": fused,
    "signal_of_two_dimensions": spectra,
    "attention_with_projections": attentions,
    "attention_of_codes": quantised_attentions,
    "embeddings": embeddings,
    "more_quantised_codes": more_codes,
    "adopted_operators": adopted,
    "whole_numbers": whole_numbers,
    "regions": regions,
    "four_bit_products": four_bits,
    "mixtures": mixtures,
    "grouped_codes": grouped_codes,
    "given_positions": caches,
    "diffusion": diffusion,
    "sinks": sinks,
    "quantised_lstm_lengths": ended,
}


def main():
    FOLDER.mkdir(parents=True, exist_ok=True)
    entries = []
    for seed, (name, make) in enumerate(MODELS.items()):
        nodes, weights, inputs, outputs, *judge = make(np.random.default_rng(seed))
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
        # With more, its LSTM rounds the states of each thread's sequences in a range of their own.
        options.intra_op_num_threads = 1
        if judge:
            graph = helper.make_graph(judge[0], name, infos, results, constants)
            judged = helper.make_model(graph, opset_imports=opsets, ir_version=8).SerializeToString()
        else:
            judged = data
        session = onnxruntime.InferenceSession(judged, options, providers=["CPUExecutionProvider"])
        values = dict(zip(outputs, session.run(outputs, inputs)))
        table = lambda arrays: [{"name": key, "dtype": NAMES[str(value.dtype)], "extents": value.shape}
                                for key, value in arrays.items()]
        numbers = [*inputs.values(), *values.values()]
        (FOLDER / f"{name}.bin").write_bytes(b"".join(np.ascontiguousarray(v).tobytes() for v in numbers))
        entries.append({"model": name, "inputs": table(inputs), "outputs": table(values)})
    (FOLDER / "models.json").write_text(json.dumps(entries, indent=1) + "\n")


if __name__ == "__main__":
    main()

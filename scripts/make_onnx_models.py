#!/usr/bin/env python3
"""Writes small ONNX models with random weights, inputs for them, and what ONNX
Runtime makes of these, to tests/data/onnx_models/.

    python3 -m venv .venv && .venv/bin/pip install numpy onnx onnxruntime
    .venv/bin/python scripts/make_onnx_models.py

Each model is written the way PyTorch's exporter writes it: normalisations,
GELU, SiLU and HardSwish as their primitives where older operator sets had no
operator. The test `onnx_models` runs them on every backend.
"""

import json
import pathlib

import numpy as np
import onnx
import onnxruntime
from onnx import TensorProto, helper, numpy_helper

FOLDER = pathlib.Path(__file__).resolve().parent.parent / "tests/data/onnx_models"
OPSET = 17


class Net:
    """A graph in the making; values go by their names."""

    def __init__(self, name, seed):
        self.name = name
        self.random = np.random.default_rng(seed)
        self.nodes, self.weights, self.inputs, self.outputs = [], [], [], []
        self.given = {}

    def input(self, name, value, shape=None):
        """An input with the value it has in the test; shape may have names."""
        kind = helper.np_dtype_to_tensor_dtype(value.dtype)
        info = helper.make_tensor_value_info(name, kind, shape or value.shape)
        self.inputs.append(info)
        self.given[name] = value
        return name

    def output(self, name, rank):
        shape = [f"{name}_{i}" for i in range(rank)]
        info = helper.make_tensor_value_info(name, TensorProto.FLOAT, shape)
        self.outputs.append(info)

    def const(self, value, dtype=np.float32):
        name = f"w{len(self.weights)}"
        value = np.asarray(value, dtype)
        self.weights.append(numpy_helper.from_array(value, name))
        return name

    def normal(self, *shape, scale=None):
        fan = np.prod(shape[1:]) if len(shape) > 1 else shape[0]
        scale = 1 / np.sqrt(fan) if scale is None else scale
        return self.const(self.random.standard_normal(shape) * scale)

    def ints(self, *values):
        return self.const(values, np.int64)

    def node(self, op, *inputs, outputs=1, **attributes):
        first = len(self.nodes)
        names = [f"{op.lower()}_{first}_{i}" for i in range(outputs)]
        self.nodes.append(helper.make_node(op, list(inputs), names, f"{op}_{first}", **attributes))
        return names[0] if outputs == 1 else names

    def linear(self, x, inner, outer):
        weight = self.const(self.random.standard_normal((inner, outer)) / np.sqrt(inner))
        product = self.node("MatMul", x, weight)
        return self.node("Add", product, self.normal(outer, scale=0.1))

    def conv(self, x, inner, outer, kernel, dims=2, bias=True, groups=1, **attributes):
        weight = self.normal(outer, inner // groups, *[kernel] * dims)
        parts = [x, weight] + ([self.normal(outer, scale=0.1)] if bias else [])
        return self.node("Conv", *parts, group=groups, kernel_shape=[kernel] * dims, **attributes)

    def batch_norm(self, x, channels):
        scale = self.const(1 + 0.2 * self.random.standard_normal(channels))
        bias = self.normal(channels, scale=0.1)
        mean = self.normal(channels, scale=0.1)
        variance = self.const(0.5 + self.random.random(channels))
        return self.node("BatchNormalization", x, scale, bias, mean, variance, epsilon=1e-5)

    def layer_norm(self, x, width, spelled=True):
        scale = self.const(1 + 0.2 * self.random.standard_normal(width))
        bias = self.normal(width, scale=0.1)
        if not spelled:
            return self.node("LayerNormalization", x, scale, bias, axis=-1, epsilon=1e-5)
        mean = self.node("ReduceMean", x, axes=[-1])
        centred = self.node("Sub", x, mean)
        square = self.node("Pow", centred, self.const(2.0))
        variance = self.node("ReduceMean", square, axes=[-1])
        root = self.node("Sqrt", self.node("Add", variance, self.const(1e-5)))
        scaled = self.node("Mul", self.node("Div", centred, root), scale)
        return self.node("Add", scaled, bias)

    def gelu(self, x):
        erf = self.node("Erf", self.node("Div", x, self.const(np.sqrt(2))))
        whole = self.node("Mul", x, self.node("Add", erf, self.const(1.0)))
        return self.node("Mul", whole, self.const(0.5))

    def silu(self, x):
        return self.node("Mul", x, self.node("Sigmoid", x))

    def hard_swish(self, x):
        shifted = self.node("Add", x, self.const(3.0))
        clipped = self.node("Clip", shifted, self.const(0.0), self.const(6.0))
        return self.node("Div", self.node("Mul", x, clipped), self.const(6.0))

    def attention(self, x, width, heads):
        size = width // heads

        def split(x, order):
            x = self.linear(x, width, width)
            x = self.node("Reshape", x, self.ints(0, -1, heads, size))
            return self.node("Transpose", x, perm=order)

        q, k, v = split(x, [0, 2, 1, 3]), split(x, [0, 2, 3, 1]), split(x, [0, 2, 1, 3])
        scores = self.node("Div", self.node("MatMul", q, k), self.const(np.sqrt(size)))
        mixed = self.node("MatMul", self.node("Softmax", scores, axis=-1), v)
        mixed = self.node("Transpose", mixed, perm=[0, 2, 1, 3])
        mixed = self.node("Reshape", mixed, self.ints(0, -1, width))
        return self.linear(mixed, width, width)

    def done(self, result, rank):
        self.nodes.append(helper.make_node("Identity", [result], ["y"]))
        self.output("y", rank)
        graph = helper.make_graph(self.nodes, self.name, self.inputs, self.outputs, self.weights)
        opset = helper.make_opsetid("", OPSET)
        model = helper.make_model(graph, opset_imports=[opset], ir_version=8, producer_name="wginfer")
        onnx.checker.check_model(model, full_check=True)
        return model


def lstm_tagger():
    net = Net("lstm_tagger", 1)
    tokens = net.random.integers(0, 50, (11, 2))
    x = net.node("Gather", net.normal(50, 16, scale=1), net.input("tokens", tokens, ["steps", 2]))
    lengths = net.input("lengths", np.array([11, 7], np.int32))
    hidden, gates = 12, 48
    weights = [net.normal(2, gates, 16, scale=0.25), net.normal(2, gates, hidden, scale=0.25)]
    bias = net.normal(2, 2 * gates, scale=0.1)
    lstm = net.node(
        "LSTM", x, *weights, bias, lengths, outputs=3, hidden_size=hidden, direction="bidirectional"
    )
    y = net.node("Transpose", lstm[0], perm=[0, 2, 1, 3])
    y = net.node("Reshape", y, net.ints(0, 0, -1))
    weights = [net.normal(1, 36, 24, scale=0.2), net.normal(1, 36, hidden, scale=0.25)]
    bias = net.normal(1, 72, scale=0.1)
    gru = net.node("GRU", y, *weights, bias, outputs=2, hidden_size=hidden, linear_before_reset=1)
    y = net.node("Squeeze", gru[0], net.ints(1))
    return net, net.done(net.node("LogSoftmax", net.linear(y, hidden, 7), axis=-1), 3)


def vit_block():
    net = Net("vit_block", 2)
    width = 24
    image = net.input("image", net.random.standard_normal((2, 3, 16, 16)).astype(np.float32))
    x = net.conv(image, 3, width, 4, strides=[4, 4])
    x = net.node("Reshape", x, net.ints(0, width, -1))
    x = net.node("Transpose", x, perm=[0, 2, 1])
    batch = net.node("Gather", net.node("Shape", image), net.ints(0))
    shape = net.node("Concat", batch, net.ints(-1, -1), axis=0)
    # Expand takes 1 where the class token keeps its extent.
    shape = net.node("Where", net.node("Less", shape, net.ints(0)), net.ints(1), shape)
    token = net.node("Expand", net.normal(1, 1, width, scale=1), shape)
    x = net.node("Concat", token, x, axis=1)
    x = net.node("Add", x, net.normal(1, 17, width, scale=0.3))
    x = net.node("Add", x, net.attention(net.layer_norm(x, width), width, 3))
    y = net.layer_norm(x, width, spelled=False)
    y = net.linear(net.gelu(net.linear(y, width, 2 * width)), 2 * width, width)
    x = net.layer_norm(net.node("Add", x, y), width)
    x = net.node("Gather", x, net.const(0, np.int64), axis=1)
    return net, net.done(net.linear(x, width, 10), 2)


def conformer_block():
    net = Net("conformer_block", 3)
    width = 24
    sound = net.random.standard_normal((1, 20, width)).astype(np.float32)
    x = net.input("sound", sound, [1, "frames", width])

    def forward(x):
        y = net.linear(net.layer_norm(x, width), width, 2 * width)
        y = net.linear(net.silu(y), 2 * width, width)
        return net.node("Add", x, net.node("Mul", y, net.const(0.5)))

    x = forward(x)
    x = net.node("Add", x, net.attention(net.layer_norm(x, width), width, 4))
    y = net.node("Transpose", net.layer_norm(x, width), perm=[0, 2, 1])
    y = net.conv(y, width, 2 * width, 1, dims=1)
    half, gate = net.node("Split", y, outputs=2, axis=1)
    y = net.node("Mul", half, net.node("Sigmoid", gate))
    y = net.conv(y, width, width, 7, dims=1, groups=width, pads=[3, 3])
    y = net.silu(net.batch_norm(y, width))
    y = net.conv(y, width, width, 1, dims=1)
    x = net.node("Add", x, net.node("Transpose", y, perm=[0, 2, 1]))
    return net, net.done(net.layer_norm(forward(x), width), 3)


def residual_block():
    net = Net("residual_block", 4)
    image = net.random.standard_normal((1, 3, 17, 15)).astype(np.float32)
    image = net.input("image", image, [1, 3, "height", "width"])
    x = net.node("Relu", net.batch_norm(net.conv(image, 3, 12, 3, bias=False, pads=[1] * 4), 12))
    x = net.node("MaxPool", x, kernel_shape=[3, 3], strides=[2, 2], pads=[1] * 4)
    y = net.conv(x, 12, 20, 3, bias=False, pads=[1] * 4, strides=[2, 2])
    y = net.node("Relu", net.batch_norm(y, 20))
    y = net.batch_norm(net.conv(y, 20, 20, 3, bias=False, pads=[1] * 4), 20)
    skip = net.batch_norm(net.conv(x, 12, 20, 1, bias=False, strides=[2, 2]), 20)
    x = net.node("Relu", net.node("Add", y, skip))
    x = net.node("Flatten", net.node("GlobalAveragePool", x), axis=1)
    weight, bias = net.normal(10, 20), net.normal(10, scale=0.1)
    return net, net.done(net.node("Gemm", x, weight, bias, transB=1), 2)


def mobilenet_block():
    net = Net("mobilenet_block", 5)
    image = net.random.standard_normal((2, 8, 14, 13)).astype(np.float32)
    x = net.input("image", image, [2, 8, "height", "width"])
    y = net.hard_swish(net.batch_norm(net.conv(x, 8, 32, 1, bias=False), 32))
    y = net.conv(y, 32, 32, 5, bias=False, groups=32, pads=[2] * 4)
    y = net.hard_swish(net.batch_norm(y, 32))
    gate = net.node("ReduceMean", y, axes=[2, 3], keepdims=1)
    gate = net.node("Relu", net.conv(gate, 32, 8, 1))
    gate = net.node("HardSigmoid", net.conv(gate, 8, 32, 1), alpha=1 / 6, beta=0.5)
    y = net.node("Mul", y, gate)
    y = net.batch_norm(net.conv(y, 32, 8, 1, bias=False), 8)
    return net, net.done(net.node("Add", x, y), 4)


def small_unet():
    net = Net("small_unet", 6)
    image = net.random.standard_normal((1, 1, 16, 24)).astype(np.float32)
    image = net.input("image", image, [1, 1, "height", "width"])

    def both(x, inner, outer):
        for channels in (inner, outer):
            x = net.node("Relu", net.conv(x, channels, outer, 3, pads=[1] * 4))
        return x

    top = both(image, 1, 6)
    middle = both(net.node("MaxPool", top, kernel_shape=[2, 2], strides=[2, 2]), 6, 12)
    bottom = both(net.node("AveragePool", middle, kernel_shape=[2, 2], strides=[2, 2]), 12, 16)
    weight, bias = net.normal(16, 12, 2, 2, scale=0.2), net.normal(12, scale=0.1)
    x = net.node("ConvTranspose", bottom, weight, bias, kernel_shape=[2, 2], strides=[2, 2])
    x = both(net.node("Concat", x, middle, axis=1), 24, 12)
    scales = net.const([1, 1, 2, 2])
    x = net.node(
        "Resize", x, "", scales, mode="linear", coordinate_transformation_mode="half_pixel"
    )
    x = both(net.node("Concat", x, top, axis=1), 18, 6)
    return net, net.done(net.node("Sigmoid", net.conv(x, 6, 2, 1)), 4)


def tensor(name, value):
    names = {"float32": "F32", "int64": "I64", "int32": "I32"}
    return {"name": name, "dtype": names[str(value.dtype)], "extents": list(value.shape)}


def main():
    FOLDER.mkdir(parents=True, exist_ok=True)
    table = []
    builders = [
        lstm_tagger, vit_block, conformer_block, residual_block, mobilenet_block, small_unet
    ]
    for build in builders:
        net, model = build()
        (FOLDER / f"{net.name}.onnx").write_bytes(model.SerializeToString(deterministic=True))
        session = onnxruntime.InferenceSession(
            model.SerializeToString(), providers=["CPUExecutionProvider"]
        )
        results = session.run(None, net.given)
        names = [output.name for output in net.outputs]
        values = list(net.given.values()) + results
        assert all(np.isfinite(value).all() for value in results), net.name
        (FOLDER / f"{net.name}.bin").write_bytes(b"".join(value.tobytes() for value in values))
        table.append({
            "model": net.name,
            "inputs": [tensor(*item) for item in net.given.items()],
            "outputs": [tensor(*item) for item in zip(names, results)],
        })
    (FOLDER / "models.json").write_text(json.dumps(table, indent=1) + "\n")
    size = sum(path.stat().st_size for path in FOLDER.iterdir())
    print(f"{len(table)} models, {size} bytes")
    assert size < 300_000


if __name__ == "__main__":
    main()

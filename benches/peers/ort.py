#!/usr/bin/env python3
"""ONNX Runtime's WebGPU provider as a server of timings: see README.md.

Operands cannot stay on the device between calls here, so the time of an operator is
the difference between models that have it COUNT and 2 * COUNT times in a row and
give a single number back, divided by COUNT.
"""

import sys
import time

import numpy as np
import onnxruntime as ort
from onnx import TensorProto as T
from onnx import helper as h
from onnx import numpy_helper as nh

COUNT = 4
rng = np.random.default_rng(1)


def floats(*shape):
    return rng.uniform(-1, 1, shape).astype(np.float32)


def square(n):
    w = floats(n, n) / np.float32(np.sqrt(n / 3))
    return [n, n], {"w": w}, lambda x, y: [h.make_node("MatMul", [x, "w"], [y])]


def there_and_back(m, k, n):
    """Two products: the second leads back to the first one's shape."""
    init = {"w": floats(k, n) / np.float32(np.sqrt(k / 3)), "v": floats(n, k) / np.float32(np.sqrt(n / 3))}
    return [m, k], init, lambda x, y: [
        h.make_node("MatMul", [x, "w"], [y + "a"]), h.make_node("MatMul", [y + "a", "v"], [y])]


def nibbles(k, n):
    return rng.integers(0, 256, (n, k // 32, 16), dtype=np.uint8), (floats(n * (k // 32)) / np.float32(8 * np.sqrt(k)))


def four_bits(m, k, n):
    (w, ws), (v, vs) = nibbles(k, n), nibbles(n, k)
    node = lambda x, b, s, y, k, n: h.make_node(
        "MatMulNBits", [x, b, s], [y], domain="com.microsoft", K=k, N=n, bits=4, block_size=32)
    return [m, k], {"w": w, "ws": ws, "v": v, "vs": vs}, lambda x, y: [
        node(x, "w", "ws", y + "a", k, n), node(y + "a", "v", "vs", y, n, k)]


def conv(c, size, m, kernel, stride, group):
    w = floats(m, c // group, kernel, kernel) / np.float32(np.sqrt(c / group * kernel * kernel / 3))
    attributes = {"strides": [stride] * 2, "pads": [kernel // 2] * 4, "group": group}
    return [1, c, size, size], {"w": w}, lambda x, y: [h.make_node("Conv", [x, "w"], [y], **attributes)]


def rows(op, m, n, init=(), **attributes):
    init = {name: floats(n) for name in init}
    return [m, n], init, lambda x, y: [h.make_node(op, [x, *init], [y], axis=-1, **attributes)]


def attention():
    """Of three operators: ONNX Runtime 1.27.0's own one (MultiHeadAttention) takes 5.4 to 6.6 ms
    on lavapipe for these shapes, and is off there by 0.005 where the largest result is 0.139 (its
    CPU provider: 1e-7)."""
    kt, v = floats(1, 9, 64, 256) / 8, floats(1, 9, 256, 64)
    return [1, 9, 256, 64], {"kt": kt, "v": v}, lambda x, y: [
        h.make_node("MatMul", [x, "kt"], [y + "a"]), h.make_node("Softmax", [y + "a"], [y + "b"], axis=-1),
        h.make_node("MatMul", [y + "b", "v"], [y])]


def large(op, domain=""):
    init = {"b": floats(4096, 1024)} if op == "Add" else {}
    return [4096, 1024], init, lambda x, y: [h.make_node(op, [x, *init], [y], domain=domain)]


# The names of benches/kernels, how many such operators a link of the chain is, and it.
CASES = {
    "matmul_F32/256": (1, lambda: square(256)),
    "matmul_F32/512": (1, lambda: square(512)),
    "matmul_F32/1024": (1, lambda: square(1024)),
    "prefill_F32/128x576x1536": (2, lambda: there_and_back(128, 576, 1536)),
    "matvec_F32/576x1536": (2, lambda: there_and_back(1, 576, 1536)),
    "matvec_Q4_0/576x1536": (2, lambda: four_bits(1, 576, 1536)),
    "prefill_Q4_0/128x1536x576": (2, lambda: four_bits(128, 1536, 576)),
    "matvec_F32/1536x576": (2, lambda: there_and_back(1, 1536, 576)),
    "softmax/512x1024": (1, lambda: rows("Softmax", 512, 1024)),
    "softmax/4096x4096": (1, lambda: rows("Softmax", 4096, 4096)),
    "layer_normalization/512x1024": (1, lambda: rows("LayerNormalization", 512, 1024, ("s", "b"))),
    "layer_normalization/4096x4096": (1, lambda: rows("LayerNormalization", 4096, 4096, ("s", "b"))),
    # ONNX Runtime has it under ONNX's own domain, where ONNX has none of this name.
    "rms_normalization/512x1024": (1, lambda: rows("SimplifiedLayerNormalization", 512, 1024, ("s",))),
    "rms_normalization/4096x4096": (1, lambda: rows("SimplifiedLayerNormalization", 4096, 4096, ("s",))),
    "add/4M": (1, lambda: large("Add")),
    "gelu/4M": (1, lambda: large("Gelu", "com.microsoft")),
    "conv_7x7/3x224x224x64": (1, lambda: conv(3, 224, 64, 7, 2, 1)),
    "conv_3x3/64x56x56x64": (1, lambda: conv(64, 56, 64, 3, 1, 1)),
    "conv_1x1/256x14x14x1024": (1, lambda: conv(256, 14, 1024, 1, 1, 1)),
    "conv_depthwise/32x112x112": (1, lambda: conv(32, 112, 32, 3, 1, 32)),
    "attention/9x256x64": (1, attention),
}


def model(links, shape, init, node):
    """`links` times the node, each on what came before where the shapes allow it, and
    a number of the result."""
    nodes, last, tops = [], "x", []
    chained = same_shape(shape, init, node)
    for i in range(links):
        nodes += node(last, f"t{i}")
        if chained:
            last = f"t{i}"
        else:
            # A single element: next to nothing beside the operator.
            nodes.append(h.make_node("Slice", [f"t{i}", "begin", "end"], [f"m{i}"]))
            tops.append(f"m{i}")
    if chained:
        nodes.append(h.make_node("ReduceMax", [last], ["y"], keepdims=0))
    else:
        init = {**init, "begin": np.zeros(4, np.int64), "end": np.ones(4, np.int64)}
        nodes.append(h.make_node("Max", tops, ["y"]))
    graph = h.make_graph(
        nodes, "chain", [h.make_tensor_value_info("x", T.FLOAT, shape)],
        [h.make_tensor_value_info("y", T.FLOAT, None)], [nh.from_array(v, k) for k, v in init.items()])
    made = h.make_model(graph, opset_imports=[h.make_opsetid("", 17), h.make_opsetid("com.microsoft", 1)])
    made.ir_version = 9
    return made.SerializeToString()


def same_shape(shape, init, node):
    """Whether results can be the next link's input."""
    kinds = [n.op_type for n in node("x", "y")]
    if kinds == ["Conv"]:
        w = init["w"]
        stride = [a.ints[0] for a in node("x", "y")[0].attribute if a.name == "strides"][0]
        return stride == 1 and w.shape[0] == shape[1]
    return True


def session(links, case, provider):
    options = ort.SessionOptions()
    # Nothing is to be computed ahead or merged.
    options.graph_optimization_level = ort.GraphOptimizationLevel.ORT_DISABLE_ALL
    options.log_severity_level = 3
    return ort.InferenceSession(model(links, *case), options, providers=[provider])


def timed(s, x):
    begun = time.perf_counter()
    y = s.run(None, {"x": x})[0]
    return (time.perf_counter() - begun) * 1e3, y


def opened(name):
    """The sessions, their input, and what the first run took."""
    each, make = CASES[name]
    case = make()
    x = floats(*case[0])
    begun = time.perf_counter()
    one = session(1, case, "WebGpuExecutionProvider")
    one.run(None, {"x": x})
    first = (time.perf_counter() - begun) * 1e3
    pair = [session(n * COUNT, case, "WebGpuExecutionProvider") for n in (1, 2)]
    right = session(COUNT, case, "CPUExecutionProvider").run(None, {"x": x})[0]
    ours = pair[0].run(None, {"x": x})[0]
    pair[1].run(None, {"x": x})
    wrong = not np.allclose(ours, right, rtol=1e-3, atol=1e-4)
    return (each, pair, x), first, wrong


def main():
    print(f"ready ONNX Runtime {ort.__version__}, WebGPU", flush=True)
    there = {}
    for line in sys.stdin:
        name, count = line.split()
        if int(count) == 0:
            if name not in CASES:
                print("unknown", flush=True)
                continue
            try:
                there[name], first, wrong = opened(name)
                print("wrong" if wrong else first, flush=True)
            except Exception as error:  # what a peer cannot do is a result
                print("failed", str(error).replace("\n", " ")[:160], flush=True)
            continue
        each, pair, x = there[name]
        times = [min(timed(s, x)[0] for _ in range(int(count))) for s in pair]
        print((times[1] - times[0]) / COUNT / each, flush=True)


if __name__ == "__main__":
    main()

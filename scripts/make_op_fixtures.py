#!/usr/bin/env python3
"""Writes tests/data/onnx_nodes/cases.bin: ONNX's own test cases of single
operators, in the terms of wginfer's operators.

The cases come from PyPI `onnx` (its backend tests, which compute the expected
results with NumPy). Run by hand when an operator is added:

    pip install onnx numpy
    python3 scripts/make_op_fixtures.py

An adapter for each operator says how a case is expressed: which inputs are
attributes here, and how tensors are laid out. What cannot be expressed is listed
in the file with the reason. tests/oracle reads the file:

    u64, little-endian       length of the header
    header                   JSON: source, cases, skipped
    data                     the tensors, each at its case's offset
"""

import json
import pathlib
import warnings

import numpy as np
import onnx
from onnx import defs, helper, numpy_helper
from onnx.backend.test.loader import load_node_model_tests

OUT = pathlib.Path(__file__).resolve().parent.parent / "tests" / "data" / "onnx_nodes"
MOST_ELEMENTS = 20_000
# For a key that takes no part: far below any score, and finite.
HIDDEN = np.float32(-1e38)
F32_MAX = float(np.finfo(np.float32).max)

DTYPES = {
    "float32": "F32",
    "float16": "F16",
    "bfloat16": "BF16",
    "int8": "I8",
    "uint8": "U8",
    "int32": "I32",
    "uint32": "U32",
    "int64": "I64",
    "bool": "BOOL",
}


class Inexpressible(Exception):
    """Why a case has no counterpart."""


def need(condition: bool, otherwise: str) -> None:
    if not condition:
        raise Inexpressible(otherwise)


def case(op, inputs, output, oracle="F32", **attributes):
    """A case in wginfer's terms. `oracle` is the arithmetic of the expected values."""
    return {
        "op": op,
        "attributes": attributes,
        "inputs": inputs,
        "output": output,
        "oracle": oracle,
    }


def same(op, *names, many=None):
    """The operator has the same inputs here, and these attributes."""

    def adapt(a, x, y):
        if many is not None:
            need(len(x) == many, f"{len(x)} inputs; here it has {many}")
        need(len({t.dtype for t in x}) == 1, "inputs of different dtypes")
        return case(op, x, y[0], **{name: a[name] for name in names})

    return adapt


def binary(op, kinds="fiub"):
    adapt = same(op, many=2)

    def checked(a, x, y):
        need(x[0].dtype.kind in kinds or x[0].dtype.name == "bfloat16", f"of {x[0].dtype}")
        return adapt(a, x, y)

    return checked


def gelu(a, x, y):
    return case("GeluTanh" if a["approximate"] == "tanh" else "Gelu", x, y[0])


def selu(a, x, y):
    schema = defs.get_schema("Selu").attributes
    default = {n: helper.get_attribute_value(schema[n].default_value) for n in ("alpha", "gamma")}
    need(a == default, "constants other than the default ones")
    return case("Selu", x, y[0])


def swish(a, x, y):
    need(a["alpha"] == 1, "alpha other than 1")
    return case("Swish", x, y[0])


def clip(a, x, y):
    need(x[0].dtype == np.float32, f"of {x[0].dtype}")
    ends = [*x[1:], None, None][:2]
    low, high = (float(e) if e is not None else d for e, d in zip(ends, (-F32_MAX, F32_MAX)))
    return case("Clip", x[:1], y[0], min=low, max=high)


def cast(a, x, y):
    return case("Cast", x, y[0], to=DTYPES[y[0].dtype.name])


def where(a, x, y):
    return case("Where", x, y[0])


def gemm(a, x, y):
    need(a["alpha"] == 1 and a["beta"] == 1, "alpha and beta")
    if len(x) == 3:
        columns = y[0].shape[1]
        need(x[2].ndim < 2 or x[2].shape[0] == 1, "a bias for each element")
        x = [*x[:2], np.broadcast_to(x[2].reshape(-1), (columns,)).copy()]
    flags = {"trans_a": bool(a["transA"]), "trans_b": bool(a["transB"])}
    return case("MatMul", x, y[0], **flags)


def matmul(a, x, y):
    return case("MatMul", x, y[0], trans_a=False, trans_b=False)


def gather(a, x, y):
    return case("Gather", [x[0], whole(x[1])], y[0], axis=a["axis"])


def concat(a, x, y):
    return case("Concat", x, y[0], axis=a["axis"])


def expand(a, x, y):
    return case("Expand", x[:1], y[0], shape=x[1].tolist())


def reshape(a, x, y):
    """0 and -1 are told apart when a graph is built, so the result's shape is given."""
    return case("Reshape", x[:1], y[0], shape=list(y[0].shape))


def slice_(a, x, y):
    starts, ends = x[1].tolist(), x[2].tolist()
    axes = x[3].tolist() if len(x) > 3 else range(len(starts))
    steps = x[4].tolist() if len(x) > 4 else [1] * len(starts)
    ranges = [list(r) for r in zip(axes, starts, ends, steps)]
    return case("Slice", x[:1], y[0], ranges=ranges)


def transpose(a, x, y):
    perm = a.get("perm") or list(range(x[0].ndim))[::-1]
    return case("Transpose", x, y[0], permutation=perm)


def norm(op):
    """Normalised over the last axes: over one axis, once they are one."""

    def adapt(a, x, y):
        axis = a["axis"] % x[0].ndim
        outer, inner = x[0].shape[:axis], int(np.prod(x[0].shape[axis:]))
        rows = [x[0].reshape(*outer, inner), *(t.reshape(inner) for t in x[1:])]
        return case(op, rows, y[0].reshape(*outer, inner), epsilon=a["epsilon"])

    return adapt


def token_major(t, heads):
    """[B, H, Q, D] or [B, Q, H * D] as [B, Q, H, D]."""
    if t.ndim == 4:
        return t.transpose(0, 2, 1, 3).copy()
    return t.reshape(*t.shape[:2], heads, -1)


def rotary(a, x, y):
    heads = a.get("num_heads")
    t, out = token_major(x[0], heads), token_major(y[0], heads)
    tokens = t.shape[:2]
    if len(x) > 3:
        cos, sin, ids = x[1], x[2], whole(x[3])
    else:
        # A row for each token: its number is its position.
        cos, sin = (table.reshape(-1, table.shape[-1]) for table in x[1:3])
        ids = np.arange(tokens[0] * tokens[1], dtype=np.int32).reshape(tokens)
    width = a.get("rotary_embedding_dim") or t.shape[3]
    return case(
        "RotaryEmbedding",
        [t, cos, sin, ids],
        out,
        interleaved=bool(a["interleaved"]),
        rotary_dim=width,
    )


def softmax(op):
    def adapt(a, x, y):
        return case(op, x, y[0], axis=a["axis"])

    return adapt


def scatter(a, x, y):
    need(a["mode"] == "linear", "a circular cache")
    cache, update, indices, out = x[0], x[1], whole(x[2]), y[0]
    if cache.ndim == 3:
        need(a["axis"] % 3 == 1, "another axis")
        cache, update, out = cache[:, None], update[:, None], out[:, None]
    else:
        need(a["axis"] % cache.ndim == 2 and cache.ndim == 4, "another axis")
    return case("TensorScatter", [cache, update, indices], out)


def attention(a, x, y):
    """Keys of the past and new ones are one cache; what precedes the queries is
    `past`; keys that are padding are hidden by a mask."""
    q, k, v, mask, past_k, past_v, filled = [*x, *[None] * 4][:7]
    need(q.dtype.name != "bfloat16", "computed in BF16, for which no bound is derived")
    dtype, out = q.dtype, token_major(y[0], a.get("q_num_heads"))
    q = token_major(q, a.get("q_num_heads"))
    if k.ndim == 3:
        k, v = (token_major(t, a["kv_num_heads"]).transpose(0, 2, 1, 3).copy() for t in (k, v))
    if past_k is not None:
        k, v = (np.concatenate(pair, axis=2) for pair in ((past_k, k), (past_v, v)))
    (batch, queries), capacity = q.shape[:2], k.shape[2]
    causal, left, right = bool(a["is_causal"]), a["left_window_size"], a["right_window_size"]
    need(causal or left < 0 and right < 0, "a window around the query, not up to it")
    need(right < 0, "a window to the right")
    need(all(np.isfinite(t).all() for t in (q, k, v)), "values that are not finite")
    mask = None if mask is None else finite_mask(mask, capacity)
    if filled is not None and not causal and (filled < queries).any():
        # Fewer keys than queries: the rest of the cache is hidden by the mask.
        padding = np.where(np.arange(capacity) < filled[:, None], np.float32(0), HIDDEN)
        padding = padding[:, None, None]
        mask = padding if mask is None else np.maximum(mask + padding, HIDDEN)
        filled = None
    if filled is not None:
        before = filled - queries
    elif causal:
        before = np.full(batch, past_k.shape[2] if past_k is not None else 0)
    else:
        before = np.full(batch, capacity - queries)
    need((before >= 0).all() and (before + queries <= capacity).all(), "fewer keys than queries")
    inputs = [q.astype(np.float32), k, v, before.astype(np.int32)]
    if mask is not None:
        position = (before[:, None] + np.arange(queries))[..., None]
        last = position if causal else (before + queries - 1)[:, None, None]
        keys = np.arange(capacity)
        seen = (keys <= last) & ((left < 0) | (keys >= position - left))
        shown = seen[:, None] & (mask > HIDDEN / 2)
        need(shown.any(axis=-1).all(), "a query that a mask hides every key from")
        inputs.append(mask)
    return case(
        "Attention",
        inputs,
        out,
        oracle={"float32": "F32", "float16": "F16"}[dtype.name],
        scale=a.get("scale"),
        causal=causal,
        window=left + 1 if left >= 0 else None,
        softcap=a["softcap"] or None,
    )


def finite_mask(mask, capacity):
    """Added to the scores, finite, and as wide as the cache."""
    if mask.dtype == np.bool_:
        mask = np.where(mask, np.float32(0), HIDDEN)
    mask = np.maximum(mask.astype(np.float32), HIDDEN)
    if mask.shape[-1] == 1:
        return mask
    more = [(0, 0)] * (mask.ndim - 1) + [(0, capacity - mask.shape[-1])]
    return np.pad(mask, more, constant_values=HIDDEN)


def whole(t):
    need(t.size == 0 or np.abs(t).max() < 2**31, "indices over 32 bits")
    return t.astype(np.int32)


UNARY = """Identity Neg Abs Sign Exp Log Sqrt Reciprocal Sigmoid Tanh Relu Softplus
    Softsign HardSwish Mish Erf Floor Ceil Round Sin Cos""".split()
BINARY = "Add Sub Mul Div Min Max Less LessOrEqual Greater GreaterOrEqual Equal".split()

EXPRESSIBLE = {
    **{op: same(op, many=1) for op in UNARY},
    **{op: binary(op) for op in BINARY},
    **{op: binary(op, "f") for op in ("Pow", "PRelu")},
    **{op: binary(op, "b") for op in ("And", "Or", "Xor")},
    "LeakyRelu": same("LeakyRelu", "alpha"),
    "Elu": same("Elu", "alpha"),
    "HardSigmoid": same("HardSigmoid", "alpha", "beta"),
    "Selu": selu,
    "Gelu": gelu,
    "Swish": swish,
    "Clip": clip,
    "Cast": cast,
    "Where": where,
    "MatMul": matmul,
    "Gemm": gemm,
    "Attention": attention,
    "Gather": gather,
    "Concat": concat,
    "Expand": expand,
    "Reshape": reshape,
    "Slice": slice_,
    "Transpose": transpose,
    "LayerNormalization": norm("LayerNormalization"),
    "RMSNormalization": norm("RMSNormalization"),
    "RotaryEmbedding": rotary,
    "Softmax": softmax("Softmax"),
    "LogSoftmax": softmax("LogSoftmax"),
    "TensorScatter": scatter,
}


def attributes(node, version):
    """Those of the node, and the defaults of the others; text as str."""
    schema = defs.get_schema(node.op_type, version)
    found = {}
    for name, attribute in schema.attributes.items():
        if attribute.default_value.type:
            found[name] = helper.get_attribute_value(attribute.default_value)
    found.update({a.name: helper.get_attribute_value(a) for a in node.attribute})
    # Windows came after the first version of the operator, without changing it.
    if node.op_type == "Attention":
        found = {"left_window_size": -1, "right_window_size": -1, **found}
    return {n: v.decode() if isinstance(v, bytes) else v for n, v in found.items()}


def array(value):
    if isinstance(value, onnx.TensorProto):
        value = numpy_helper.to_array(value)
    need(not isinstance(value, list) and value is not None, "a sequence or an optional")
    value = np.asarray(value)
    need(value.dtype.name in DTYPES, f"of {value.dtype}")
    return value


def adapted(test):
    """The case in wginfer's terms."""
    (node,) = test.model.graph.node
    (given, expected) = test.data_sets[0]
    given = iter([array(value) for value in given])
    # An input without a name is absent.
    inputs = [next(given) if name else None for name in node.input]
    outputs = [array(value) for value in expected]
    version = next(o.version for o in test.model.opset_import if o.domain in ("", "ai.onnx"))
    found = EXPRESSIBLE[node.op_type](attributes(node, version), inputs, outputs)
    sizes = [t.size for t in [*found["inputs"], found["output"]]]
    need(sum(sizes) <= 2 * MOST_ELEMENTS and max(sizes) <= MOST_ELEMENTS, "large")
    return found


def collect():
    cases, skipped = [], {}
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        tests = load_node_model_tests()
    for test in sorted(tests, key=lambda test: test.name):
        nodes = test.model.graph.node
        # An "expanded" case is another with the operator written out.
        single = len(nodes) == 1 and not test.name.endswith("_expanded")
        if not single or nodes[0].op_type not in EXPRESSIBLE or nodes[0].domain:
            continue
        try:
            found = adapted(test)
        except Inexpressible as reason:
            skipped.setdefault(f"{nodes[0].op_type}: {reason}", []).append(test.name)
            continue
        cases.append({"name": test.name, **found})
    return cases, skipped


def store(cases, skipped):
    data = bytearray()

    def place(tensor):
        at = len(data)
        data.extend(np.ascontiguousarray(tensor).tobytes())
        data.extend(bytes(-len(data) % 4))
        return {"dtype": DTYPES[tensor.dtype.name], "extents": list(tensor.shape), "at": at}

    for found in cases:
        found["inputs"] = [place(tensor) for tensor in found["inputs"]]
        found["output"] = place(found["output"])
    header = {
        "source": f"onnx {onnx.__version__} backend node tests, Apache-2.0, "
        "https://github.com/onnx/onnx",
        "cases": cases,
        "skipped": skipped,
    }
    text = json.dumps(header, separators=(",", ":")).encode()
    text += b" " * (-len(text) % 4)
    OUT.mkdir(parents=True, exist_ok=True)
    (OUT / "cases.bin").write_bytes(len(text).to_bytes(8, "little") + text + data)
    return len(text) + len(data)


def main() -> None:
    cases, skipped = collect()
    counts = {}
    for found in cases:
        counts[found["op"]] = counts.get(found["op"], 0) + 1
    size = store(cases, skipped)
    print(f"{len(cases)} cases, {size} bytes")
    for op, count in sorted(counts.items()):
        print(f"    {op} {count}")
    for reason, names in sorted(skipped.items()):
        print(f"not expressed, {reason}: {', '.join(names)}")


if __name__ == "__main__":
    main()

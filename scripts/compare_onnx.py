#!/usr/bin/env python3
"""Compares wginfer with ONNX Runtime's CPU provider on one model.

    scripts/compare_onnx.py model.onnx
    scripts/compare_onnx.py model.onnx --adapter cpu --dim batch=2 --shape image=1x3x64x96
    scripts/compare_onnx.py model.onnx --inputs in.npz --each-node

Both run on the same inputs, given or random. For each output the largest
absolute difference and the relative one are printed: |ours - theirs| / |theirs|,
lengths of the whole tensors (L2). An output is well if the relative difference is
within --threshold, or no element is further off than --absolute, which is about
how exact ONNX Runtime's own sigmoid, tanh and exponential are: a sigmoid that is
0.00001 everywhere says nothing. Whole numbers and truth values must be equal.
With --each-node every value of the main graph is compared, in order, and the
first node that differs is named.

Exit codes: 0 within the threshold, 1 not, 2 could not compare. Needs the Python
packages onnx, onnxruntime and numpy. Docs: docs/comparing-onnx.md
"""

import argparse
import json
import shlex
import subprocess
import sys
import tempfile
import zipfile
from pathlib import Path

import numpy as np
import onnx
import onnxruntime
from onnx import TensorProto, helper

REPOSITORY = Path(__file__).resolve().parent.parent
# Values exposed at a time by --each-node.
GROUP = 100


class Failed(Exception):
    """The comparison could not be made."""


def arguments():
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    add = parser.add_argument
    add("model", type=Path)
    add("--inputs", type=Path, metavar="NPZ", help="arrays by the names of inputs; others are random")
    add("--dim", action="append", default=[], metavar="NAME=N", help="a named dimension of random inputs")
    add("--shape", action="append", default=[], metavar="NAME=1x3x224x224", help="extents of a random input")
    add("--range", action="append", default=[], metavar="NAME=LOW:HIGH",
        help="random values of an input from LOW to below HIGH")
    add("--seed", type=int, default=0)
    add("--adapter", help="as for wginfer run; without it what wginfer picks")
    add("--wginfer", metavar="COMMAND", help="the command; without it the newest build in target/, or the PATH's")
    add("--threshold", type=float, default=1e-4, help="largest relative difference (default: %(default)s)")
    add("--absolute", type=float, default=5e-7, help="differences that do not count (default: %(default)s)")
    add("--each-node", "--layers", action="store_true", help="compare all values, name the first node that differs")
    add("--ort-optimise", action="store_true", help="let ONNX Runtime optimise the graph, as it does by default")
    add("--ort-threads", type=int, metavar="N", help="threads of ONNX Runtime; some of its results depend on them")
    add("--keep", type=Path, metavar="DIR", help="write inputs.npz, ours.npz and theirs.npz there")
    add("--json", action="store_true", help="print one JSON object")
    parser.usage = "%(prog)s MODEL [option ...] [-- option of wginfer run ...]"
    own, extra = parted(sys.argv[1:], "--")
    args = parser.parse_args(own)
    args.extra = extra
    return args


def parted(items, mark):
    """What is before a mark, and what is behind it."""
    at = items.index(mark) if mark in items else len(items)
    return items[:at], items[at + 1:]


def pairs(options, what):
    found = {}
    for option in options:
        name, sign, value = option.rpartition("=")
        if not sign or not name:
            raise Failed(f"--{what} {option}: expected NAME=VALUE")
        found[name] = value
    return found


# ---- Inputs -----------------------------------------------------------------


def make_inputs(model, args):
    """The arrays of a run, by name."""
    given = dict(np.load(args.inputs)) if args.inputs else {}
    defaults = {initializer.name for initializer in model.graph.initializer}
    wanted = {info.name: info for info in model.graph.input}
    for kind in ("shape", "range"):
        for name in pairs(getattr(args, kind), kind):
            if name not in wanted:
                raise Failed(f"--{kind} {name}: the model's inputs are {', '.join(wanted)}")
    if unknown := set(given) - set(wanted):
        raise Failed(f"{args.inputs}: {', '.join(sorted(unknown))}: no such input")
    dims = {name: int(value) for name, value in pairs(args.dim, "dim").items()}
    shapes = {name: parsed(shape) for name, shape in pairs(args.shape, "shape").items()}
    learn_dims(wanted, {name: array.shape for name, array in given.items()} | shapes, dims)
    rng = np.random.default_rng(args.seed)
    inputs = {}
    for name, info in wanted.items():
        if name in given:
            inputs[name] = given[name]
        elif name not in defaults:
            shape = shapes[name] if name in shapes else extents(info, dims)
            inputs[name] = random_input(model, info, shape, rng, args)
    return inputs


def parsed(shape):
    return tuple(int(extent) for extent in shape.split("x")) if shape else ()


def learn_dims(wanted, shapes, dims):
    """Named dimensions that given inputs and options fix."""
    for name, shape in shapes.items():
        for dim, extent in zip(wanted[name].type.tensor_type.shape.dim, shape):
            if is_symbol(dim):
                dims.setdefault(dim.dim_param, extent)


def is_symbol(dim):
    # Some exporters write these for any number.
    return dim.dim_param not in ("", "?", "-1")


def random_input(model, info, shape, rng, args):
    name = info.name
    if info.type.WhichOneof("value") != "tensor_type":
        raise Failed(f"input '{name}' is no tensor; give it with --inputs")
    kind = info.type.tensor_type
    low, high = value_range(model, info, pairs(args.range, "range"))
    try:
        dtype = helper.tensor_dtype_to_np_dtype(kind.elem_type)
    except KeyError as error:
        raise Failed(f"input '{name}': type {error}") from error
    if kind.elem_type == TensorProto.STRING:
        raise Failed(f"input '{name}' holds strings, which cannot be compared")
    if kind.elem_type == TensorProto.BOOL:
        return rng.integers(0, 2, shape).astype(bool)
    if np.issubdtype(dtype, np.integer):
        low, high = (0, 2) if low is None else (int(low), int(high))
        return rng.integers(low, high, shape).astype(dtype)
    if low is None:
        return rng.standard_normal(shape).astype(dtype)
    return rng.uniform(low, high, shape).astype(dtype)


def extents(info, dims):
    """Extents of an input. A dimension without a number is what --dim says; else 1
    for the batch, 64 in pictures, 16 elsewhere."""
    if not info.type.tensor_type.HasField("shape"):
        raise Failed(f"input '{info.name}' has no shape; say it with --shape")
    declared = info.type.tensor_type.shape.dim
    shape = []
    for axis, dim in enumerate(declared):
        batch = axis == 0 or "batch" in dim.dim_param.lower()
        free = 1 if batch else 64 if len(declared) == 4 else 16
        if is_symbol(dim):
            shape.append(dims.setdefault(dim.dim_param, free))
        else:
            shape.append(dim.dim_value if dim.HasField("dim_value") and dim.dim_value > 0 else free)
    return tuple(shape)


def value_range(model, info, ranges):
    """The range to draw from; None for a normal distribution or truth values."""
    if info.name in ranges:
        low, _, high = ranges[info.name].partition(":")
        return float(low), float(high)
    whole = info.type.tensor_type.elem_type in (TensorProto.INT64, TensorProto.INT32)
    if not whole:
        byte = info.type.tensor_type.elem_type in (TensorProto.UINT8, TensorProto.INT8)
        return (0, 128) if byte else (None, None)
    name = info.name.lower()
    if "mask" in name:
        return 1, 2
    if "byte" in name:
        return 0, 256
    if name in ("sr", "sample_rate", "sampling_rate"):
        return 16000, 16001
    rows = table_rows(model, info.name)
    return (0, rows) if rows else (0, 2)


def table_rows(model, name):
    """The rows of the table that an input is an index into, through casts."""
    sizes = {table.name: list(table.dims) for table in model.graph.initializer}
    names, rows = {name}, []
    for node in model.graph.node:
        if node.op_type in ("Cast", "Identity", "Unsqueeze", "Squeeze", "Reshape") and node.input[0] in names:
            names.add(node.output[0])
        if node.op_type == "Gather" and node.input[1] in names and node.input[0] in sizes:
            axis = next((a.i for a in node.attribute if a.name == "axis"), 0)
            rows.append(sizes[node.input[0]][axis])
    return min(rows, default=0)


# ---- Runs -------------------------------------------------------------------


def write_arrays(path, arrays):
    # np.savez takes names as keywords, of which some are its own.
    with zipfile.ZipFile(path, "w") as archive:
        for name, array in arrays.items():
            with archive.open(f"{name}.npy", "w", force_zip64=True) as file:
                np.lib.format.write_array(file, np.asanyarray(array))


def run_theirs(path, inputs, args, optimise):
    options = onnxruntime.SessionOptions()
    options.log_severity_level = 3
    if args.ort_threads:
        options.intra_op_num_threads = args.ort_threads
    if not optimise:
        options.graph_optimization_level = onnxruntime.GraphOptimizationLevel.ORT_DISABLE_ALL
    try:
        session = onnxruntime.InferenceSession(str(path), options, providers=["CPUExecutionProvider"])
        names = [output.name for output in session.get_outputs()]
        values = {}
        for name, value in zip(names, session.run(names, inputs)):
            values |= flattened(name, value)
        return values
    except Exception as error:  # Its errors have no base class of their own.
        raise Failed(f"ONNX Runtime: {error}") from error


def flattened(name, value):
    """The arrays in a value, named as wginfer names them; none of one that is absent."""
    if value is None:
        return {}
    if isinstance(value, dict):
        return {f"{name}.keys": np.array(list(value)), f"{name}.values": np.array(list(value.values()))}
    if isinstance(value, list):
        arrays = {}
        for at, item in enumerate(value):
            arrays |= flattened(f"{name}[{at}]", item)
        return arrays
    array = np.asarray(value)
    # Strings come as objects.
    return {name: array.astype(str) if array.dtype.kind in "OSU" else array}


def command(args):
    if args.wginfer:
        return shlex.split(args.wginfer)
    built = [REPOSITORY / "target" / kind / "wginfer" for kind in ("release", "debug")]
    built = sorted((p for p in built if p.exists()), key=lambda p: p.stat().st_mtime)
    return [str(built[-1])] if built else ["wginfer"]


def run_ours(path, inputs, args, folder):
    given, result = folder / "inputs.npz", folder / "ours.npz"
    write_arrays(given, inputs)
    line = [*command(args), "run", str(path), "--quiet", "--output", str(result)]
    if inputs:
        line += ["--input", str(given)]
    if args.adapter:
        line += ["--adapter", args.adapter]
    try:
        done = subprocess.run([*line, *args.extra], capture_output=True, text=True, check=False)
    except OSError as error:
        raise Failed(f"{line[0]}: {error}") from error
    if done.returncode != 0:
        raise Failed(f"wginfer: {done.stderr.strip() or done.stdout.strip()}")
    with np.load(result) as arrays:
        return dict(arrays)


# ---- Comparison -------------------------------------------------------------


def compare(name, ours, theirs, args):
    """The row of a value."""
    row = {"name": name, "type": str(theirs.dtype), "extents": list(theirs.shape)}
    if ours is None or ours.shape != theirs.shape:
        got = "nothing" if ours is None else f"extents {list(ours.shape)}"
        return row | {"max_abs": None, "relative": None, "ok": False, "why": f"wginfer gives {got}"}
    if theirs.dtype.kind == "U":
        differ = int(np.count_nonzero(ours.astype(str) != theirs))
        row |= {"max_abs": None, "relative": differ / max(1, theirs.size), "ok": differ == 0}
        return row | ({} if differ == 0 else {"why": f"{differ} of {theirs.size} strings differ"})
    if theirs.dtype.kind in "biu":
        differ = int(np.count_nonzero(ours != theirs))
        largest = float(np.max(np.abs(ours.astype("f8") - theirs.astype("f8")), initial=0))
        row |= {"max_abs": largest, "relative": differ / max(1, theirs.size), "ok": differ == 0}
        return row | ({} if differ == 0 else {"why": f"{differ} of {theirs.size} elements differ"})
    a, b = ours.astype("f8"), theirs.astype("f8")
    same = (a == b) | (np.isnan(a) & np.isnan(b))
    odd = ~same & ~(np.isfinite(a) & np.isfinite(b))
    if odd.any():
        at = [int(i) for i in np.argwhere(odd)[0]]
        why = f"at {at} wginfer gives {a[odd][0]}, ONNX Runtime {b[odd][0]}"
        return row | {"max_abs": None, "relative": None, "ok": False, "why": why}
    off = np.where(same, 0.0, np.subtract(a, b, where=~same, out=np.zeros_like(a)))
    size = np.linalg.norm(np.where(np.isfinite(b), b, 0.0))
    distance = np.linalg.norm(off)
    relative = float(distance / size) if size else (0.0 if distance == 0 else float("inf"))
    largest = float(np.max(np.abs(off), initial=0))
    ok = relative <= args.threshold or largest <= args.absolute
    return row | {"max_abs": largest, "relative": relative, "ok": bool(ok)}


def line(row):
    def number(value):
        return "-" if value is None else f"{value:.2e}"

    kind = f"{row['type']}{row['extents']}".replace(" ", "")
    node = f"  {row['node']}" if "node" in row else ""
    why = f"  {row['why']}" if "why" in row else ""
    mark = "ok    " if row["ok"] else "DIFFER"
    return f"{mark}  {number(row['max_abs']):>9}  {number(row['relative']):>9}  {row['name']}  {kind}{node}{why}"


HEADING = "          max abs   relative  value"


def whole_model(model, inputs, args, folder):
    theirs = run_theirs(args.model, inputs, args, args.ort_optimise)
    ours = run_ours(args.model, inputs, args, folder)
    if args.keep:
        args.keep.mkdir(parents=True, exist_ok=True)
        for name, arrays in (("inputs", inputs), ("ours", ours), ("theirs", theirs)):
            write_arrays(args.keep / f"{name}.npz", arrays)
    return [compare(name, ours.get(name), value, args) for name, value in theirs.items()]


def each_node(model, inputs, args, folder):
    """Rows of all values up to and with the group that has the first difference."""
    typed = types_of(model)
    found = [(node, name) for node in model.graph.node for name in node.output if name in typed]
    rows = []
    for start in range(0, len(found), GROUP):
        group = found[start:start + GROUP]
        path = folder / "exposed.onnx"
        expose(model, [typed[name] for _, name in group], path)
        theirs = run_theirs(path, inputs, args, False)
        ours = run_ours(path, inputs, args, folder)
        for node, name in group:
            if not isinstance(theirs[name], np.ndarray) or theirs[name].dtype.kind not in "fiub":
                continue
            row = compare(name, ours.get(name), theirs[name], args)
            rows.append(row | {"node": f"{node.op_type} '{node.name}'"})
        if not all(row["ok"] for row in rows):
            break
    if not rows:
        raise Failed("no value of the main graph can be compared")
    return rows


def types_of(model):
    """The values of the main graph as outputs, by name: tensors that both can give,
    and what shape inference does not know."""
    inferred = onnx.shape_inference.infer_shapes(model, data_prop=True).graph
    names = [name for node in model.graph.node for name in node.output if name]
    typed = {name: onnx.ValueInfoProto(name=name) for name in names}
    for info in [*inferred.value_info, *inferred.output]:
        kind = info.type.tensor_type.elem_type
        if info.type.WhichOneof("value") in ("sequence_type", "optional_type", "map_type"):
            typed.pop(info.name, None)
        elif info.type.WhichOneof("value") == "tensor_type" and kind == TensorProto.STRING:
            typed.pop(info.name, None)
        elif info.name in typed and kind:
            typed[info.name] = helper.make_tensor_value_info(info.name, kind, None)
    return typed


def expose(model, values, path):
    """Writes the model with these values as its outputs."""
    exposed = onnx.ModelProto()
    exposed.CopyFrom(model)
    del exposed.graph.output[:]
    exposed.graph.output.extend(values)
    big = exposed.ByteSize() > 1 << 30
    onnx.save(exposed, path, save_as_external_data=big, size_threshold=1024)


def report(rows, args):
    bad = [row for row in rows if not row["ok"]]
    if args.json:
        print(json.dumps({"model": str(args.model), "threshold": args.threshold, "ok": not bad,
                          "values": rows}, indent=2))
        return
    shown = rows
    if args.each_node and not bad:
        # All are well: the ones that are furthest off.
        shown = sorted(rows, key=lambda row: -row["relative"])[:10]
    elif args.each_node:
        at = rows.index(bad[0])
        shown = rows[max(0, at - 3):at] + bad[:10]
    print(HEADING, *map(line, shown), sep="\n")
    if args.each_node and bad:
        print(f"\nThe first value that differs is '{bad[0]['name']}', by {bad[0]['node']}.")
    elif args.each_node:
        print(f"\nAll {len(rows)} values agree; the ten furthest off are shown.")
    elif bad:
        print(f"\n{len(bad)} of {len(rows)} outputs differ by more than {args.threshold:g}; "
              "--each-node finds where that begins.")


def main():
    args = arguments()
    try:
        model = onnx.load(args.model)
        inputs = make_inputs(model, args)
        with tempfile.TemporaryDirectory() as folder:
            compared = each_node if args.each_node else whole_model
            rows = compared(model, inputs, args, Path(folder))
    except Failed as error:
        print(f"compare_onnx.py: {error}", file=sys.stderr)
        return 2
    except (OSError, ValueError, onnx.onnx_cpp2py_export.checker.ValidationError) as error:
        print(f"compare_onnx.py: {args.model}: {error}", file=sys.stderr)
        return 2
    report(rows, args)
    return 0 if all(row["ok"] for row in rows) else 1


if __name__ == "__main__":
    sys.exit(main())

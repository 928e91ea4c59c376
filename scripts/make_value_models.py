#!/usr/bin/env python3
"""Writes models with strings, sequences, optional values and `ai.onnx.ml`
operators, and what ONNX Runtime makes of some inputs, for tests/onnx_import.

    scripts/make_value_models.py tests/data/onnx_values

Needs the PyPI packages onnx, onnxruntime, numpy, scikit-learn and skl2onnx.
Each model is a file; `cases.json` lists them with inputs and outputs, in which a
value is {"dtype", "extents", "values"}, {"items": [value]}, {"keys": [..],
"values": value} or null for an optional one that is absent; what is not finite
is a string.
"""

import json
import pathlib
import sys
import warnings

import numpy as np
import onnx
import onnxruntime as ort
from onnx import TensorProto, helper as h, numpy_helper
from skl2onnx import convert_sklearn
from skl2onnx.common.data_types import FloatTensorType, Int64TensorType, StringTensorType
from sklearn.compose import ColumnTransformer
from sklearn.datasets import load_iris
from sklearn.ensemble import (
    AdaBoostClassifier, ExtraTreesRegressor, GradientBoostingClassifier, GradientBoostingRegressor,
    RandomForestClassifier, RandomForestRegressor,
)
from sklearn.feature_extraction.text import CountVectorizer, TfidfVectorizer
from sklearn.impute import SimpleImputer
from sklearn.linear_model import LinearRegression, LogisticRegression, SGDClassifier
from sklearn.neural_network import MLPClassifier
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import (
    Binarizer, MinMaxScaler, Normalizer, OneHotEncoder, OrdinalEncoder, StandardScaler,
)
from sklearn.svm import SVC, SVR, OneClassSVM
from sklearn.tree import DecisionTreeClassifier

warnings.filterwarnings("ignore")
DTYPES = {
    np.dtype("float32"): "F32", np.dtype("float64"): "F64", np.dtype("int64"): "I64",
    np.dtype("int32"): "I32", np.dtype("bool"): "BOOL",
}
FLOAT, INT64, STRING, BOOL = (
    TensorProto.FLOAT, TensorProto.INT64, TensorProto.STRING, TensorProto.BOOL,
)


def value(x):
    if x is None:
        return None
    if isinstance(x, list) and x and isinstance(x[0], dict):
        return {"items": [value(item) for item in x]}
    if isinstance(x, dict):
        keys = list(x)
        return {"keys": keys, "values": value(np.array([x[key] for key in keys], np.float32))}
    if isinstance(x, list):
        return {"items": [value(item) for item in x]}
    x = np.asarray(x)
    if x.dtype.kind in "UOS":
        return {"dtype": "STRING", "extents": list(x.shape), "values": x.ravel().tolist()}
    values = x.ravel().tolist()
    if x.dtype.kind == "f":
        values = [v if np.isfinite(v) else str(v) for v in values]
    return {"dtype": DTYPES[x.dtype], "extents": list(x.shape), "values": values}


class Writer:
    def __init__(self, folder):
        self.folder, self.cases = folder, []
        folder.mkdir(parents=True, exist_ok=True)

    def add(self, name, model, inputs):
        """Of several sets of inputs each is a case."""
        (self.folder / f"{name}.onnx").write_bytes(model.SerializeToString())
        options = ort.SessionOptions()
        options.log_severity_level = 3
        session = ort.InferenceSession(model.SerializeToString(), options)
        for given in inputs:
            feed = {key: x if isinstance(x, list) else np.asarray(x) for key, x in given.items()}
            outputs = session.run(None, feed)
            names = [output.name for output in session.get_outputs()]
            self.cases.append({
                "model": name,
                "inputs": {key: value(x) for key, x in given.items()},
                "outputs": {key: value(x) for key, x in zip(names, outputs)},
            })
        print(name, len(inputs))

    def close(self):
        text = json.dumps(self.cases, separators=(",", ":"))
        (self.folder / "cases.json").write_text(text.replace('{"model"', '\n{"model"') + "\n")


def model(nodes, inputs, outputs, initializers=(), opset=21, ml=3):
    graph = h.make_graph(nodes, "values", inputs, outputs, list(initializers))
    opsets = [h.make_opsetid("", opset), h.make_opsetid("ai.onnx.ml", ml)]
    made = h.make_model(graph, opset_imports=opsets, ir_version=10)
    onnx.checker.check_model(made)
    return made


def tensor(name, dtype, *dims):
    return h.make_tensor_value_info(name, dtype, list(dims))


def sequence(name, dtype, *dims):
    element = h.make_tensor_type_proto(dtype, list(dims) if dims else None)
    return h.make_value_info(name, h.make_sequence_type_proto(element))


def constant(name, x):
    return numpy_helper.from_array(np.asarray(x), name)


def sequences(writer):
    rng = np.random.default_rng(1)
    x = rng.standard_normal((5, 3)).astype(np.float32)
    # Pieces, one taken out, one put in, all joined.
    nodes = [
        h.make_node("SplitToSequence", ["x", "lengths"], ["pieces"], axis=0),
        h.make_node("SequenceAt", ["pieces", "one"], ["second"]),
        h.make_node("Softmax", ["second"], ["soft"], axis=1),
        h.make_node("SequenceErase", ["pieces", "zero"], ["fewer"]),
        h.make_node("SequenceInsert", ["fewer", "soft", "minus"], ["more"]),
        h.make_node("SequenceLength", ["more"], ["count"]),
        h.make_node("ConcatFromSequence", ["more"], ["joined"], axis=0),
        h.make_node("SplitToSequence", ["x"], ["rows"], axis=0, keepdims=0),
        h.make_node("ConcatFromSequence", ["rows"], ["stacked"], axis=1, new_axis=1),
    ]
    constants = [
        constant("lengths", np.int64([2, 2, 1])), constant("one", np.int64(1)),
        constant("zero", np.int64(0)), constant("minus", np.int64(-1)),
    ]
    outputs = [
        sequence("more", FLOAT), tensor("count", INT64), tensor("joined", FLOAT, None, None),
        tensor("stacked", FLOAT, None, None),
    ]
    made = model(nodes, [tensor("x", FLOAT, None, 3)], outputs, constants)
    writer.add("sequence_of_pieces", made, [{"x": x}, {"x": x[::-1].copy()}])

    # A loop that gathers what it finds, as exporters of detectors write it; whether it
    # goes on is computed.
    body = h.make_graph(
        [
            h.make_node("Gather", ["x", "i"], ["row"], axis=0),
            h.make_node("Softmax", ["row"], ["soft"], axis=0),
            h.make_node("SequenceInsert", ["found", "soft"], ["found_out"]),
            h.make_node("ReduceSum", ["row"], ["sum"], keepdims=0),
            h.make_node("Less", ["sum", "limit"], ["on"]),
        ],
        "body",
        [tensor("i", INT64), tensor("go", BOOL), sequence("found", FLOAT)],
        [tensor("on", BOOL), sequence("found_out", FLOAT)],
    )
    nodes = [
        h.make_node("SequenceEmpty", [], ["none"], dtype=FLOAT),
        h.make_node("Loop", ["trip", "start", "none"], ["all"], body=body),
        h.make_node("SequenceLength", ["all"], ["count"]),
        h.make_node("ConcatFromSequence", ["all"], ["joined"], axis=0, new_axis=1),
    ]
    made = model(
        nodes,
        [tensor("x", FLOAT, None, 3), tensor("limit", FLOAT)],
        [sequence("all", FLOAT), tensor("count", INT64), tensor("joined", FLOAT, None, None)],
        [constant("trip", np.int64(5)), constant("start", np.bool_(True))],
    )
    given = [{"x": x, "limit": np.float32(limit)} for limit in (100.0, -100.0, 0.5)]
    writer.add("sequence_in_a_loop", made, given)

    # Branches that give sequences of different lengths.
    then = h.make_graph(
        [h.make_node("SequenceConstruct", ["x", "y"], ["two"])], "then", [],
        [sequence("two", FLOAT)],
    )
    other = h.make_graph(
        [h.make_node("Relu", ["x"], ["positive"]),
         h.make_node("SequenceConstruct", ["positive"], ["one"])],
        "else", [], [sequence("one", FLOAT)],
    )
    nodes = [
        h.make_node("Neg", ["x"], ["y"]),
        h.make_node("ReduceMax", ["x"], ["most"], keepdims=0),
        h.make_node("Greater", ["most", "limit"], ["large"]),
        h.make_node("If", ["large"], ["chosen"], then_branch=then, else_branch=other),
        h.make_node("SequenceAt", ["chosen", "last"], ["z"]),
    ]
    made = model(
        nodes, [tensor("x", FLOAT, None, None), tensor("limit", FLOAT)],
        [sequence("chosen", FLOAT), tensor("z", FLOAT, None, None)],
        [constant("last", np.int64(-1))],
    )
    writer.add("sequence_from_a_branch", made, [
        {"x": x, "limit": np.float32(-9)}, {"x": x, "limit": np.float32(9)},
    ])

    # Sequences handed in, of several lengths.
    inner = h.make_graph(
        [h.make_node("Mul", ["e", "f"], ["g"])], "body",
        [tensor("e", FLOAT, None, None), tensor("f", FLOAT)], [tensor("g", FLOAT, None, None)],
    )
    nodes = [
        h.make_node("SequenceMap", ["s", "factor"], ["t"], body=inner),
        h.make_node("SequenceLength", ["t"], ["count"]),
    ]
    made = model(
        nodes, [sequence("s", FLOAT), tensor("factor", FLOAT)],
        [sequence("t", FLOAT), tensor("count", INT64)],
    )
    writer.add("sequence_mapped", made, [
        {"s": [x, x[:2]], "factor": np.float32(2.5)}, {"s": [x[1:]], "factor": np.float32(-1)},
    ])


def strings(writer):
    # Text goes to numbers, which a network computes with.
    words = np.array([["red", "green"], ["blue", "red"], ["green", "pink"]])
    nodes = [
        h.make_node("LabelEncoder", ["w"], ["ids"], domain="ai.onnx.ml",
                    keys_strings=["red", "green", "blue"], values_int64s=[2, 0, 1],
                    default_int64=3),
        h.make_node("Gather", ["table", "ids"], ["vectors"], axis=0),
        h.make_node("ReduceMean", ["vectors", "axes"], ["mean"], keepdims=0),
        h.make_node("MatMul", ["mean", "weights"], ["scores"]),
        h.make_node("ArgMax", ["scores"], ["best"], axis=1, keepdims=0),
        h.make_node("LabelEncoder", ["best"], ["name"], domain="ai.onnx.ml",
                    keys_int64s=[0, 1, 2], values_strings=["cold", "warm", "hot"],
                    default_string="?"),
        h.make_node("Unsqueeze", ["name", "axes"], ["column"]),
        h.make_node("Concat", ["w", "column"], ["wide"], axis=1),
        h.make_node("Equal", ["w", "red"], ["is_red"]),
    ]
    rng = np.random.default_rng(2)
    constants = [
        constant("table", rng.standard_normal((4, 6)).astype(np.float32)),
        constant("weights", rng.standard_normal((6, 3)).astype(np.float32)),
        constant("axes", np.int64([1])),
        h.make_tensor("red", STRING, [], ["red"]),
    ]
    made = model(
        nodes, [tensor("w", STRING, None, None)],
        [tensor("scores", FLOAT, None, 3), tensor("name", STRING, None),
         tensor("wide", STRING, None, None), tensor("is_red", BOOL, None, None)],
        constants,
    )
    writer.add("words_to_scores", made, [{"w": words}, {"w": words[:1]}, {"w": words[::-1]}])

    numbers = np.array(["1.5", "-2", "1e-3", "7"])
    nodes = [
        h.make_node("Cast", ["w"], ["f"], to=FLOAT),
        h.make_node("Exp", ["f"], ["e"]),
        h.make_node("Cast", ["i"], ["t"], to=STRING),
        h.make_node("Cast", ["g"], ["u"], to=STRING),
        h.make_node("StringConcat", ["w", "t"], ["both"]),
        h.make_node("Gather", ["both", "places"], ["chosen"], axis=0),
        h.make_node("Reshape", ["chosen", "shape"], ["square"]),
        h.make_node("Transpose", ["square"], ["turned"], perm=[1, 0]),
    ]
    made = model(
        nodes,
        [tensor("w", STRING, 4), tensor("i", INT64, 4), tensor("g", FLOAT, None)],
        [tensor("e", FLOAT, 4), tensor("t", STRING, 4), tensor("u", STRING, None),
         tensor("both", STRING, 4), tensor("turned", STRING, 2, 2)],
        [constant("places", np.int64([3, 1, 0, 0])), constant("shape", np.int64([2, 2]))],
    )
    shown = np.float32([1, 0.1, -2.5, 1e10, 1.25e-7, 123456.789, 0, np.inf])
    writer.add("strings_and_numbers", made, [
        {"w": numbers, "i": np.int64([1, -20, 300, 0]), "g": shown},
    ])


def classical(writer):
    data = load_iris()
    x, y = data.data.astype(np.float32), data.target
    names = np.array(["setosa", "versicolor", "virginica"])[y]
    two = (y > 0).astype(np.int64)
    x = x + np.random.default_rng(3).normal(0, 0.35, x.shape).astype(np.float32)
    some = x[::23]
    rows = [{"X": some}, {"X": some[:1]}]
    floats = [("X", FloatTensorType([None, 4]))]

    def export(name, fitted, given=rows, types=floats, **options):
        made = convert_sklearn(fitted, initial_types=types, target_opset={"": 17, "ai.onnx.ml": 3},
                               options={id(fitted): options} if options else None)
        for node in made.graph.node:
            if node.op_type == "StringNormalizer":
                # The one that every machine has.
                kept = [a for a in node.attribute if a.name != "locale"]
                del node.attribute[:]
                node.attribute.extend([*kept, h.make_attribute("locale", "C")])
        writer.add(name, made, given)

    small = {"n_estimators": 6, "max_depth": 4, "random_state": 0}
    export("logistic", LogisticRegression(max_iter=500).fit(x, y))
    export("logistic_of_two", LogisticRegression(max_iter=500).fit(x, two))
    export("logistic_words", make_pipeline(StandardScaler(), LogisticRegression()).fit(x, names))
    export("sgd", SGDClassifier(random_state=0).fit(x, y))
    export("linear", make_pipeline(MinMaxScaler(), LinearRegression()).fit(x, x[:, :2]))
    export("forest", RandomForestClassifier(**small).fit(x, names))
    export("forest_of_two", RandomForestClassifier(**small).fit(x, two), zipmap=False)
    export("forest_of_numbers", RandomForestRegressor(**small).fit(x, x[:, 0] * x[:, 1]))
    export("extra_trees", ExtraTreesRegressor(**small).fit(x[:, :], x[:, 1:3]))
    export("boosted", GradientBoostingClassifier(**small).fit(x, y), zipmap=False)
    export("boosted_of_two", GradientBoostingClassifier(**small).fit(x, two))
    export("boosted_numbers", GradientBoostingRegressor(**small).fit(x, x[:, 3]))
    export("one_tree", DecisionTreeClassifier(max_depth=3, random_state=0).fit(x, names))
    export("adaboost", AdaBoostClassifier(n_estimators=4, random_state=0).fit(x, y), zipmap=False)
    export("mlp", MLPClassifier((5,), max_iter=50, random_state=0).fit(x, y), zipmap=False)
    export("svr", SVR(C=2.0).fit(x[:60], x[:60, 0]))
    export("svr_poly", SVR(kernel="poly", degree=2).fit(x[:60], x[:60, 2]))
    export("svc", SVC().fit(x, y), zipmap=False)
    export("svc_words", SVC(kernel="poly", degree=2, probability=True, random_state=0).fit(x, names), zipmap=False)
    export("svc_of_two", SVC(kernel="sigmoid", gamma=0.01).fit(x, two), zipmap=False)
    export("svc_of_two_likely", SVC(kernel="linear", probability=True, random_state=0).fit(x, two), zipmap=False)
    export("normalised", make_pipeline(Normalizer("l1"), Normalizer("l2")).fit(x))
    export("binarised", Binarizer(threshold=2.0).fit(x))
    holes = x.copy()
    holes[::3, 1] = np.nan
    export("imputed", SimpleImputer().fit(holes), [{"X": holes[:9]}])

    texts = [
        "the cat sat on the mat", "a dog and a cat", "the dog sat", "on and on and on",
        "mats are for cats and dogs",
    ]
    column = np.array(texts).reshape(-1, 1)
    text = [("X", StringTensorType([None, 1]))]
    given = [{"X": column}, {"X": column[:2]}, {"X": np.array([["nothing of it"]])}]
    for name, vectorizer in [
        ("counts", CountVectorizer(token_pattern="[a-z]+", ngram_range=(1, 2))),
        ("tfidf", TfidfVectorizer(token_pattern="[a-z]+")),
    ]:
        export(name, vectorizer.fit(texts), given, text)
    categories = np.array([["red", "s"], ["blue", "m"], ["red", "l"], ["green", "m"]])
    types = [("X", StringTensorType([None, 2]))]
    export("one_hot", OneHotEncoder(handle_unknown="ignore").fit(categories),
           [{"X": categories}, {"X": np.array([["pink", "m"]])}], types)
    export("ordinal", OrdinalEncoder().fit(categories), [{"X": categories}], types)


def main():
    writer = Writer(pathlib.Path(sys.argv[1]))
    sequences(writer)
    strings(writer)
    classical(writer)
    writer.close()


main()

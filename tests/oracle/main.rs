//! The f64 reference, which judges everything else, judged from outside: by the
//! test cases that ONNX publishes for its operators (tests/data/onnx_nodes). The
//! CPU backend runs them too.

#![allow(
    clippy::expect_used,
    clippy::panic,
    clippy::unwrap_used,
    reason = "a test program: what is wrong should stop it"
)]

mod fixture;
mod operators;

use fixture::{Fixture, OracleCase};
use std::collections::BTreeMap;
use std::sync::Arc;
use wginfer::exec::Reference;
use wginfer::graph::{Bindings, Graph, GraphBuilder, Shape};
use wginfer::ops::registry::OPERATORS;
use wginfer::ops::{Arithmetic, BoundCx, Operator, RefData, RefTensor};
use wginfer::validate::error_model::ulp;
use wginfer::validate::{Report, compare};
use wginfer::{Backend, Session, SessionOptions, Tensor};

/// How many cases each operator has at least, so that none is lost unnoticed.
const COUNTS: &[(&str, usize)] = &[
    ("Abs", 1),
    ("Add", 5),
    ("And", 8),
    ("Attention", 79),
    ("Cast", 4),
    ("Ceil", 2),
    ("Clip", 9),
    ("Concat", 12),
    ("Cos", 2),
    ("Div", 7),
    ("Elu", 3),
    ("Equal", 5),
    ("Erf", 1),
    ("Exp", 2),
    ("Expand", 2),
    ("Floor", 2),
    ("Gather", 4),
    ("Gelu", 2),
    ("GeluTanh", 2),
    ("Greater", 5),
    ("GreaterOrEqual", 5),
    ("HardSigmoid", 3),
    ("HardSwish", 1),
    ("Identity", 1),
    ("LayerNormalization", 19),
    ("LeakyRelu", 3),
    ("Less", 5),
    ("LessOrEqual", 5),
    ("Log", 2),
    ("LogSoftmax", 7),
    ("MatMul", 14),
    ("Max", 8),
    ("Min", 8),
    ("Mish", 1),
    ("Mul", 6),
    ("Neg", 2),
    ("Or", 8),
    ("PRelu", 2),
    ("Pow", 4),
    ("RMSNormalization", 19),
    ("Reciprocal", 2),
    ("Relu", 1),
    ("Reshape", 10),
    ("RotaryEmbedding", 8),
    ("Round", 1),
    ("Selu", 1),
    ("Sigmoid", 2),
    ("Sign", 1),
    ("Sin", 2),
    ("Slice", 8),
    ("Softmax", 7),
    ("Softplus", 2),
    ("Softsign", 2),
    ("Sqrt", 2),
    ("Sub", 6),
    ("Swish", 1),
    ("Tanh", 2),
    ("TensorScatter", 2),
    ("Transpose", 7),
    ("Where", 2),
    ("Xor", 8),
];

/// Operators that ONNX does not have: others in one each, whose parts are judged
/// here.
const NOT_IN_ONNX: &[&str] = &[
    "Chain",
    "ExpertMatMul",
    "GatedActivation",
    "GatedExpertMatMul",
    "GatedMatMul",
    "Patches",
    "QuantizeRange",
    "Requantize",
    "RotaryScatter",
    "SkipLayerNormalization",
    "SkipSimplifiedLayerNormalization",
    "StatefulConvolution",
    "StatefulLinearAttention",
];

/// Operators that ONNX's cases judge as whole nodes, through the importer
/// (tests/onnx_nodes).
const JUDGED_AS_NODES: &[&str] = &[
    "Acos",
    "Acosh",
    "ArgMax",
    "ArgMin",
    "Asin",
    "Asinh",
    "Atan",
    "Atanh",
    "AveragePool",
    "BitCast",
    "BitShift",
    "BitwiseAnd",
    "BitwiseNot",
    "BitwiseOr",
    "BitwiseXor",
    "Celu",
    "Conv",
    "ConvTranspose",
    "Cosh",
    "CumProd",
    "CumSum",
    "DequantizeLinear",
    "GRU",
    "GatherElements",
    "GatherND",
    "GridSample",
    "GroupNormalization",
    "IsInf",
    "IsNaN",
    "LRN",
    "LSTM",
    "LinearAttention",
    "LpPool",
    "MatMulInteger",
    "MaxPool",
    "Mod",
    "Not",
    "Pad",
    "QuantizeLinear",
    "RNN",
    "ReduceL1",
    "ReduceL2",
    "ReduceLogSum",
    "ReduceLogSumExp",
    "ReduceMax",
    "ReduceMean",
    "ReduceMin",
    "ReduceProd",
    "ReduceSum",
    "ReduceSumSquare",
    "Resample",
    "RoiAlign",
    "ScatterElements",
    "ScatterND",
    "Shrink",
    "Sinh",
    "Take",
    "Tan",
    "ThresholdedRelu",
    "TopK",
    "Trilu",
];

/// A graph with the case's node, all of whose inputs are given at the run.
fn graph(case: &OracleCase, op: Arc<dyn Operator>) -> wginfer::Result<Graph> {
    let mut builder = GraphBuilder::new();
    let mut inputs = Vec::new();
    for (i, tensor) in case.inputs.iter().enumerate() {
        let shape: Shape = tensor.extents().iter().map(|&n| n.into()).collect();
        inputs.push(Some(builder.input(&format!("input {i}"), tensor.dtype(), shape)?));
    }
    let outputs = builder.node(&case.name, op, &inputs)?;
    builder.output("output", outputs[0])?;
    builder.finish()
}

/// How far the reference is from the oracle and the CPU backend from the reference.
fn judge(case: &OracleCase) -> wginfer::Result<(Report, Report)> {
    let op = operators::build(&case.op, &case.attributes);
    let graph = graph(case, op.clone())?;
    let names: Vec<String> = (0..case.inputs.len()).map(|i| format!("input {i}")).collect();
    let inputs: Vec<(&str, &Tensor)> = names.iter().map(String::as_str).zip(&case.inputs).collect();
    let (_, reference) = Reference::new(&graph, Bindings::default())?.run(&inputs)?.remove(0);
    let mut session = Session::new_blocking(graph, &Backend::Cpu, SessionOptions::default())?;
    let (_, on_cpu) = session.run_blocking(&inputs)?.remove(0);
    let bound = |arithmetic| bound(case, op.as_ref(), &reference, arithmetic);
    let own = close("the CPU backend", &on_cpu, reference.clone(), bound(Arithmetic::F32)?)?;
    // What an oracle of halves stores is rounded to them.
    let stored = RefTensor { dtype: case.output.dtype(), ..reference.clone() };
    let outside = close("the oracle", &case.output, stored, bound(case.oracle)?)?;
    Ok((outside, own))
}

/// What the operator allows an executor in that arithmetic, which is what the
/// oracle is.
fn bound(
    case: &OracleCase,
    op: &dyn Operator,
    reference: &RefTensor,
    arithmetic: Arithmetic,
) -> wginfer::Result<Vec<f64>> {
    let exact: Vec<RefTensor> =
        case.inputs.iter().map(RefTensor::from_tensor).collect::<wginfer::Result<_>>()?;
    let inputs: Vec<Option<&RefTensor>> = exact.iter().map(Some).collect();
    let outputs = std::slice::from_ref(reference);
    Ok(op.bound(&BoundCx { inputs: &inputs, outputs, arithmetic })?.remove(0))
}

/// Compares, after taking out what is the same infinity or not a number in both:
/// there is no distance between these.
fn close(
    name: &str,
    got: &Tensor,
    mut want: RefTensor,
    mut bound: Vec<f64>,
) -> wginfer::Result<Report> {
    let mut exact = RefTensor::from_tensor(got)?;
    if let (RefData::Real(got), RefData::Real(want)) = (&mut exact.data, &mut want.data) {
        for ((got, want), bound) in got.iter_mut().zip(want).zip(&mut bound) {
            if !want.is_finite() && (*got == *want || got.is_nan() && want.is_nan()) {
                (*got, *want, *bound) = (0.0, 0.0, 0.0);
            }
        }
    }
    compare(name, &exact.to_tensor()?, &want, &bound)
}

#[test]
fn the_reference_gives_what_onnx_expects() {
    let fixture = Fixture::read();
    let mut wrong = Vec::new();
    let mut worst: BTreeMap<&str, (f64, &str)> = BTreeMap::new();
    for case in &fixture.cases {
        match judge(case) {
            Ok((outside, own)) => {
                for report in [&outside, &own].into_iter().filter(|report| !report.passed()) {
                    wrong.push(format!("{} ({}): {report}", case.name, case.op));
                }
                let worst = worst.entry(&case.op).or_default();
                if outside.worst_ratio >= worst.0 {
                    *worst = (outside.worst_ratio, &case.name);
                }
            }
            Err(error) => wrong.push(format!("{} ({}): {error}", case.name, case.op)),
        }
    }
    println!("the largest part of a bound between reference and oracle:");
    for (op, (ratio, name)) in &worst {
        println!("  {op}: {ratio:.3} ({name})");
    }
    assert!(wrong.is_empty(), "{} wrong:\n{}", wrong.len(), wrong.join("\n"));
}

#[test]
fn no_operator_has_lost_cases() {
    let fixture = Fixture::read();
    let mut found: BTreeMap<&str, usize> = BTreeMap::new();
    for case in &fixture.cases {
        *found.entry(&case.op).or_default() += 1;
    }
    for (op, least) in COUNTS {
        let count = found.get(op).copied().unwrap_or(0);
        assert!(count >= *least, "{op}: {count} cases, there were {least}");
    }
    for op in found.keys() {
        assert!(COUNTS.iter().any(|(counted, _)| counted == op), "{op} is not in COUNTS");
    }
}

#[test]
fn every_operator_is_judged() {
    for info in OPERATORS {
        let judged = COUNTS.iter().any(|(op, _)| *op == info.name);
        let elsewhere = [NOT_IN_ONNX, JUDGED_AS_NODES].concat();
        let excused = elsewhere.contains(&info.name);
        assert!(judged != excused, "{}: judged {judged}, excused {excused}", info.name);
    }
}

/// Every bound is one that a wrong result does not meet: one with the largest
/// element moved by a thousandth of it, or doubled where the oracle is coarse.
#[test]
fn a_slightly_wrong_oracle_is_noticed() {
    let fixture = Fixture::read();
    let mut tried = 0;
    for case in &fixture.cases {
        let factor = if case.oracle == Arithmetic::F32 { 1.001 } else { 2.0 };
        let Some(output) = moved(&case.output, factor) else { continue };
        let case = OracleCase { output, ..case.clone() };
        let (outside, _) = judge(&case).unwrap();
        assert!(!outside.passed(), "{}: {outside}", case.name);
        tried += 1;
    }
    assert!(tried > fixture.cases.len() / 2, "{tried} cases");
}

/// The tensor with its largest element moved, if it has a finite one that is not 0.
fn moved(tensor: &Tensor, factor: f64) -> Option<Tensor> {
    let mut exact = RefTensor::from_tensor(tensor).unwrap();
    match &mut exact.data {
        RefData::Real(data) => {
            let finite = data.iter_mut().filter(|v| v.is_finite() && **v != 0.0);
            let largest = finite.max_by(|a, b| a.abs().total_cmp(&b.abs()))?;
            // Two steps of a dtype in which a thousandth is less than one.
            *largest = *largest * factor + 2.0 * ulp(tensor.dtype(), *largest);
        }
        RefData::Int(data) => {
            let first = data.first_mut()?;
            *first ^= 1;
        }
    }
    Some(exact.to_tensor().unwrap())
}

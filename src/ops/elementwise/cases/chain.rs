//! What chains are tried on.

use super::{PATTERNS, REALS, lengths, pattern_shapes};
use crate::ops::Operator;
use crate::ops::elementwise::{Arg, Binary, Cast, Chain, GatedActivation, Step, Unary, Where};
use crate::tensor::DType;
use crate::validate::{Case, CaseFamily, CaseInput, Values};
use std::sync::Arc;

fn step(op: impl Operator, args: &[Arg]) -> Step {
    Step { op: Arc::new(op), args: args.to_vec() }
}

/// silu(a b + 1/2), and the gate of it and a.
fn gate(dtype: DType) -> Chain {
    let steps = vec![
        step(Binary::Mul, &[Arg::Input(0), Arg::Input(1)]),
        step(Binary::Add, &[Arg::Step(0), Arg::Number(0.5, dtype)]),
        step(Unary::Silu, &[Arg::Step(1)]),
        step(GatedActivation { act: Unary::Tanh }, &[Arg::Step(2), Arg::Input(0)]),
    ];
    Chain { steps }
}

/// The larger of a and b where a < b + 1, else b, through a comparison.
fn choice(dtype: DType) -> Chain {
    let steps = vec![
        step(Binary::Add, &[Arg::Input(1), Arg::Number(1.0, dtype)]),
        step(Binary::Less, &[Arg::Input(0), Arg::Step(0)]),
        step(Binary::Max, &[Arg::Input(0), Arg::Step(0)]),
        step(Where, &[Arg::Step(1), Arg::Step(2), Arg::Input(1)]),
    ];
    Chain { steps }
}

/// a + a in its own type, which may wrap; as another type, times b; and the
/// largest of that and 3 as a third type.
fn conversions(to: DType, last: DType) -> Chain {
    let steps = vec![
        step(Binary::Add, &[Arg::Input(0), Arg::Input(0)]),
        step(Cast { to }, &[Arg::Step(0)]),
        step(Binary::Mul, &[Arg::Step(1), Arg::Input(1)]),
        step(Binary::Max, &[Arg::Step(2), Arg::Number(3.0, to)]),
        step(Cast { to: last }, &[Arg::Step(3)]),
    ];
    Chain { steps }
}

/// The mean of six inputs of different shapes.
fn six() -> Chain {
    let mut steps = vec![step(Binary::Add, &[Arg::Input(0), Arg::Input(1)])];
    for i in 2..Chain::MOST_INPUTS {
        steps.push(step(Binary::Add, &[Arg::Step(i - 2), Arg::Input(i)]));
    }
    steps.push(step(Binary::Div, &[Arg::Step(4), Arg::Number(6.0, DType::F32)]));
    Chain { steps }
}

/// Cases of chains.
pub(crate) fn chain_cases() -> Vec<CaseFamily> {
    let mut families = real_cases();
    families.extend(conversion_cases());
    families.push(CaseFamily::new("Chain of six", pattern_shapes(), |s| {
        let &[n, m, k] = s else { return None };
        let shapes: [&[usize]; 6] = [&[n, m, k], &[k], &[m, 1], &[n, 1, k], &[], &[1, m, k]];
        Some(Case::new(six(), shapes.map(|shape| CaseInput::run(DType::F32, shape))))
    }));
    families.push(over_a_binding());
    families
}

fn real_cases() -> Vec<CaseFamily> {
    let mut families = Vec::new();
    for dtype in REALS {
        families.push(CaseFamily::new(format!("Chain {dtype}"), lengths(), move |s| {
            Some(Case::new(gate(dtype), [CaseInput::run(dtype, s), CaseInput::run(dtype, s)]))
        }));
    }
    for (name, pattern) in PATTERNS {
        for (what, chain) in [("gate", gate as fn(DType) -> Chain), ("choice", choice)] {
            let label = format!("Chain {what} {name}");
            families.push(CaseFamily::new(label, pattern_shapes(), move |s| {
                let (a, b) = pattern(s.get(..3)?);
                let inputs = [a, b].map(|shape| CaseInput::run(DType::F32, &shape));
                Some(Case::new(chain(DType::F32), inputs))
            }));
        }
    }
    let double = |s: &[usize]| {
        let inputs = [CaseInput::run(DType::F64, s), CaseInput::run(DType::F64, s)];
        let steps = vec![
            step(Binary::Mul, &[Arg::Input(0), Arg::Input(1)]),
            step(Unary::Tanh, &[Arg::Step(0)]),
        ];
        Some(Case::new(Chain { steps }, inputs))
    };
    families.push(CaseFamily::new("Chain F64", [vec![1], vec![70]], double).on_cpu_only());
    families
}

fn conversion_cases() -> Vec<CaseFamily> {
    let mut families = Vec::new();
    let kinds = [
        (DType::U8, DType::I32, DType::I8),
        (DType::I8, DType::I64, DType::F16),
        (DType::I64, DType::F32, DType::I16),
        (DType::I16, DType::U8, DType::BF16),
        (DType::I32, DType::F16, DType::F32),
        (DType::U64, DType::U16, DType::Bool),
    ];
    for (from, to, last) in kinds {
        let label = format!("Chain {from} {to} {last}");
        let shapes = [vec![0], vec![1], vec![5], vec![1009]];
        families.push(CaseFamily::new(label, shapes, move |s| {
            let a = CaseInput::run(from, s).values(Values::Whole(1, 120));
            let b = CaseInput::run(to, s).values(Values::Whole(1, 9));
            Some(Case::new(conversions(to, last), [a, b]))
        }));
    }
    for dtype in [DType::I32, DType::I64, DType::U8, DType::I16] {
        let shapes = [vec![2, 0, 3], vec![3, 5, 7]];
        families.push(CaseFamily::new(format!("Chain choice {dtype}"), shapes, move |s| {
            let inputs = [CaseInput::run(dtype, s), CaseInput::run(dtype, s.get(1..)?)];
            Some(Case::new(choice(dtype), inputs.map(|i| i.values(Values::Whole(0, 5)))))
        }));
    }
    families
}

/// Repeated operands over 1 MiB, two results in a word.
fn over_a_binding() -> CaseFamily {
    let n = (1 << 19) + 3;
    CaseFamily::new("Chain F16 over 1 MiB", [vec![2, n, 0], vec![2, n, 1]], |s| {
        let &[rows, n, column] = s else { return None };
        let (a, b) = if column > 0 { (vec![n, 1], vec![rows]) } else { (vec![rows, n], vec![n]) };
        let inputs = [a, b].map(|shape| CaseInput::run(DType::F16, &shape));
        Some(Case::new(choice(DType::F16), inputs))
    })
}

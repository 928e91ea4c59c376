//! What Softmax and LogSoftmax are tried on.

use super::{LogSoftmax, Softmax};
use crate::ops::Operator;
use crate::tensor::{DType, Tensor};
use crate::validate::{Case, CaseFamily, CaseInput, Values};

/// The last is more than a binding of 1 MiB, and its rows are longer than what
/// some drivers let one invocation go through.
const LAST: [[usize; 2]; 9] =
    [[1, 1], [1, 7], [3, 64], [5, 257], [0, 4], [17, 1], [2, 1031], [2, 1048], [9, 30011]];
const MIDDLE: [[usize; 3]; 6] =
    [[1, 1, 1], [2, 3, 5], [3, 37, 2], [4, 0, 3], [2, 5, 0], [1, 129, 31]];
const ONE: [[usize; 1]; 4] = [[1], [11], [300], [0]];

/// Far out: a row has one of them, or all of them by turns.
const FAR: [f32; 3] = [-1e4, 1e4, 0.0];

pub(crate) fn softmax_cases() -> Vec<CaseFamily> {
    cases(|axis| Softmax { axis })
}

pub(crate) fn log_softmax_cases() -> Vec<CaseFamily> {
    cases(|axis| LogSoftmax { axis })
}

fn cases<O: Operator>(op: fn(i64) -> O) -> Vec<CaseFamily> {
    let last = |label: String, values: Values| {
        CaseFamily::new(format!("last axis, {label}"), LAST.map(Vec::from), move |d| {
            let x = CaseInput::run(DType::F32, d).values(values.clone());
            (d[1] > 0).then(|| Case::new(op(-1), [x]))
        })
    };
    let spread = |scale: f64| last(format!("spread {scale}"), Values::Normal(scale));
    // Here `max + ln(sum)` would lose what distinguishes the elements.
    let offset = last("offset 1e4".into(), Values::Uniform(1e4 - 3.0, 1e4 + 3.0));
    let far = CaseFamily::new("last axis, far out", LAST.map(Vec::from), move |d| {
        let x = Tensor::from_f32(d, &far_out(d[0], d[1])).ok()?;
        (d[1] > 0).then(|| Case::new(op(1), [CaseInput::exact(x)]))
    });
    let inner = CaseFamily::new("middle axis", MIDDLE.map(Vec::from), move |d| {
        (d[1] > 0).then(|| Case::new(op(1), [CaseInput::run(DType::F32, d)]))
    });
    let first = CaseFamily::new("first axis of one", ONE.map(Vec::from), move |d| {
        Some(Case::new(op(0), [CaseInput::run(DType::F32, d)]))
    });
    vec![spread(1.0), spread(30.0), spread(1e-3), offset, far, inner, first]
}

/// Rows of [`FAR`] by turns, and every other one of the same value throughout.
fn far_out(rows: usize, n: usize) -> Vec<f32> {
    let at = |i: usize, j: usize| FAR[if i % 2 == 1 { i / 2 } else { i + j } % FAR.len()];
    (0..rows).flat_map(|i| (0..n).map(move |j| at(i, j))).collect()
}

//! What normalisation is tried on.

use super::{Normalization, SkipNormalization};
use crate::tensor::DType;
use crate::validate::{Case, CaseFamily, CaseInput, Values};

const SHAPES: [[usize; 3]; 9] = [
    [1, 1, 1],
    [1, 1, 64],
    [2, 3, 5],
    [1, 7, 257],
    [3, 1, 576],
    [0, 2, 4],
    [1, 33, 31],
    [1, 2, 1030],
    // More than a binding of 1 MiB, and rows longer than what some drivers let
    // one invocation go through.
    [1, 14, 20011],
];

/// Spread and offset of x: far from 0 the mean cancels.
const DATA: [(f64, f64); 3] = [(1.0, 0.0), (1e-3, 0.0), (1.0, 20.0)];

fn families(
    kind: &str,
    with_bias: bool,
    build: impl Fn(CaseInput, &[usize], bool) -> Option<Case> + Copy + Send + Sync + 'static,
) -> Vec<CaseFamily> {
    let mut families = Vec::new();
    for (spread, offset) in DATA {
        for bias in [false, true] {
            if bias && !with_bias {
                continue;
            }
            let label = format!("{kind} spread {spread} offset {offset} bias {bias}");
            families.push(CaseFamily::new(label, SHAPES.map(Vec::from), move |d| {
                let half = spread * 1.7;
                let values = Values::Uniform(offset - half, offset + half);
                let x = CaseInput::run(DType::F32, d).values(values);
                if d[2] == 0 { None } else { build(x, d, bias) }
            }));
        }
    }
    families
}

fn vector(n: usize) -> CaseInput {
    CaseInput::run(DType::F32, &[n]).constant()
}

pub(crate) fn rms_cases() -> Vec<CaseFamily> {
    families("rms", false, |x, d, _| Some(Case::new(Normalization::rms(1e-5), [x, vector(d[2])])))
}

pub(crate) fn layer_cases() -> Vec<CaseFamily> {
    families("layer", true, |x, d, bias| {
        let inputs = [x, vector(d[2])].into_iter().chain(bias.then(|| vector(d[2])));
        Some(Case::new(Normalization::layer(1e-5), inputs))
    })
}

pub(crate) fn skip_rms_cases() -> Vec<CaseFamily> {
    families("skip rms", false, |x, d, _| {
        let op = SkipNormalization { norm: Normalization::rms(1e-6) };
        Some(Case::new(op, [x, CaseInput::run(DType::F32, d), vector(d[2])]))
    })
}

pub(crate) fn skip_layer_cases() -> Vec<CaseFamily> {
    families("skip layer", true, |x, d, bias| {
        let op = SkipNormalization { norm: Normalization::layer(1e-5) };
        let skip = CaseInput::run(DType::F32, d);
        let inputs = [x, skip, vector(d[2])].into_iter().chain(bias.then(|| vector(d[2])));
        Some(Case::new(op, inputs))
    })
}

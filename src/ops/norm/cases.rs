//! What normalisation is tried on.

use super::{GroupNormalization, LocalResponse, Normalization, SkipNormalization};
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

/// Instances, groups, channels of a group, and elements of a channel. The last
/// is more than a binding of 1 MiB.
const GROUPED: [[usize; 5]; 7] = [
    [1, 1, 1, 1, 1],
    [2, 3, 1, 5, 7],
    [3, 1, 5, 2, 11],
    [2, 2, 3, 1, 1],
    [0, 2, 2, 3, 1],
    [2, 2, 2, 0, 3],
    [3, 3, 2, 131, 127],
];

pub(crate) fn group_cases() -> Vec<CaseFamily> {
    let of = |offset: f64| {
        CaseFamily::new(format!("offset {offset}"), GROUPED.map(Vec::from), move |d| {
            let channels = d[1] * d[2];
            let values = Values::Uniform(offset - 1.7, offset + 1.7);
            let x = CaseInput::run(DType::F32, &[d[0], channels, d[3], d[4]]).values(values);
            let op = GroupNormalization { groups: d[1] as u64, epsilon: 1e-5 };
            (channels > 0).then(|| Case::new(op, [x, vector(channels), vector(channels)]))
        })
    };
    vec![of(0.0), of(20.0)]
}

const RESPONSES: [[usize; 4]; 6] =
    [[1, 1, 1, 1], [2, 5, 3, 7], [3, 11, 1, 1], [0, 3, 2, 2], [2, 3, 0, 4], [3, 17, 73, 79]];

pub(crate) fn response_cases() -> Vec<CaseFamily> {
    let of = |size: u32, alpha: f32, beta: f32, bias: f32| {
        let label = format!("size {size} alpha {alpha} beta {beta} bias {bias}");
        CaseFamily::new(label, RESPONSES.map(Vec::from), move |d| {
            let x = CaseInput::run(DType::F32, d).values(Values::Normal(3.0));
            Some(Case::new(LocalResponse { size, alpha, beta, bias }, [x]))
        })
    };
    vec![
        of(5, 1e-4, 0.75, 1.0),
        of(4, 2.0, 0.5, 0.25),
        of(1, 0.5, 1.5, 2.0),
        of(23, 1.0, -0.75, 1.0),
    ]
}

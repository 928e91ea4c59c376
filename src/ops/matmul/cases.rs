//! What matrix products are tried on. Shapes are `[m, k, n]`; for quantised
//! weights k counts blocks.

use super::{GatedMatMul, MatMul};
use crate::ops::elementwise::Unary;
use crate::quant::WEIGHT_TYPES;
use crate::tensor::DType;
use crate::validate::{Case, CaseFamily, CaseInput, Values};
use std::sync::Arc;

fn f32s(extents: &[usize]) -> CaseInput {
    CaseInput::run(DType::F32, extents)
}

fn weight(dtype: DType, extents: &[usize]) -> CaseInput {
    CaseInput::run(dtype, extents).constant()
}

fn shapes<const N: usize>(shapes: &[[usize; N]]) -> Vec<Vec<usize>> {
    shapes.iter().map(|shape| shape.to_vec()).collect()
}

/// Odd and prime sizes, single rows and columns, whole tiles and one more,
/// nothing at all.
const PLAIN: &[[usize; 3]] = &[
    [1, 1, 1],
    [2, 3, 4],
    [7, 13, 5],
    [1, 7, 1],
    [1, 129, 33],
    [5, 1, 3],
    [8, 8, 8],
    [17, 31, 29],
    [64, 64, 64],
    [65, 33, 67],
    [33, 300, 66],
    [130, 40, 131],
    [0, 3, 4],
    [3, 0, 4],
    [3, 4, 0],
];

/// For quantised weights: enough rows for every algorithm.
const BLOCKS: &[[usize; 3]] = &[
    [1, 1, 1],
    [1, 5, 67],
    [2, 2, 9],
    [8, 1, 33],
    [11, 3, 70],
    [70, 2, 66],
    [0, 1, 3],
    [2, 1, 0],
    // Rows that take turns on software adapters (`kernels/interleave.rs`).
    [1, 3, 64],
    [5, 1, 32],
    [37, 2, 96],
];

/// The cases of [`MatMul`].
pub(crate) fn matmul_cases() -> Vec<CaseFamily> {
    let mut cases = vec![
        CaseFamily::new("MatMul F32", shapes(PLAIN), |s| {
            Some(Case::new(MatMul::default(), [f32s(&[s[0], s[1]]), f32s(&[s[1], s[2]])]))
        }),
        CaseFamily::new("MatMul F32, a transposed", shapes(PLAIN), |s| {
            let op = MatMul { trans_a: true, ..MatMul::default() };
            Some(Case::new(op, [f32s(&[s[1], s[0]]), f32s(&[s[1], s[2]])]))
        }),
        CaseFamily::new("MatMul F32, b transposed and computed", shapes(PLAIN), |s| {
            let op = MatMul { trans_b: true, ..MatMul::default() };
            Some(Case::new(op, [f32s(&[s[0], s[1]]), f32s(&[s[2], s[1]])]))
        }),
        // Longer than what some drivers let one invocation of the serial kernels do.
        CaseFamily::new("MatMul F32, long sums", shapes(&[[1, 34001, 3]]), |s| {
            Some(Case::new(MatMul::default(), [f32s(&[s[0], s[1]]), f32s(&[s[1], s[2]])]))
        }),
        CaseFamily::new("MatMul F32, both transposed", shapes(&[[7, 13, 5], [33, 40, 35]]), |s| {
            let op = MatMul { trans_a: true, trans_b: true, ..MatMul::default() };
            Some(Case::new(op, [f32s(&[s[1], s[0]]), f32s(&[s[2], s[1]])]))
        }),
        // Products that cancel: the bound follows the condition, not the result.
        CaseFamily::new("MatMul F32, wide values", shapes(&[[9, 257, 9], [1, 64, 5]]), |s| {
            let wide = |extents: &[usize]| f32s(extents).values(Values::Uniform(-1e4, 1e4));
            Some(Case::new(MatMul::default(), [wide(&[s[0], s[1]]), wide(&[s[1], s[2]])]))
        }),
    ];
    cases.extend(batches());
    cases.extend(WEIGHT_TYPES.map(linear));
    cases.extend([DType::F16, DType::BF16].map(|dtype| {
        CaseFamily::new(format!("MatMul {dtype} as [k, n]"), shapes(&PLAIN[2..12]), move |s| {
            let op = MatMul::default();
            Some(Case::new(op, [f32s(&[s[0], s[1]]), weight(dtype, &[s[1], s[2]])]))
        })
    }));
    cases.extend(epilogues());
    cases.extend(in_parts());
    cases.extend(long());
    cases
}

/// Sums that can be in parts: of multiples of four blocks.
fn in_parts() -> Vec<CaseFamily> {
    let sizes = [[1, 32, 1], [3, 1024, 5], [9, 96, 67], [35, 2048, 33], [70, 1024, 66]];
    let mut cases = Vec::from([false, true].map(|trans_a| {
        let label = format!("MatMul F32, sums in parts, a transposed {trans_a}");
        CaseFamily::new(label, shapes(&sizes), move |s| {
            let op = MatMul { trans_a, ..MatMul::default() };
            let a = if trans_a { [s[1], s[0]] } else { [s[0], s[1]] };
            Some(Case::new(op, [f32s(&a), f32s(&[s[1], s[2]])]))
        })
    }));
    cases.extend([DType::F16, DType::Q4_0, DType::Q8_0, DType::Q4_K].map(|dtype| {
        let label = format!("MatMul {dtype} weight, sums in parts, bias and Relu");
        CaseFamily::new(label, shapes(&sizes), move |s| {
            if s[1] % dtype.block_len() != 0 {
                return None;
            }
            let op = MatMul { trans_b: true, activation: Some(Unary::Relu), ..MatMul::default() };
            let w = weight(dtype, &[s[2], s[1]]);
            Some(Case::new(op, [f32s(&[s[0], s[1]]), w, f32s(&[s[2]])]))
        })
    }));
    cases
}

/// Few rows by quantised weights with sums longer than what waits in workgroup memory
/// at a time.
fn long() -> Vec<CaseFamily> {
    use DType::{IQ4_XS, Q2_K, Q4_0, Q4_K, Q6_K, Q8_0};
    const K: usize = 17 * 256;
    let sizes = [[1, K, 9], [2, K, 21]];
    Vec::from([Q4_0, Q8_0, Q2_K, Q4_K, Q6_K, IQ4_XS].map(|dtype| {
        CaseFamily::new(format!("MatMul {dtype} weight, long sums"), shapes(&sizes), move |s| {
            let op = MatMul { trans_b: true, ..MatMul::default() };
            Some(Case::new(op, [f32s(&[s[0], s[1]]), weight(dtype, &[s[2], s[1]])]))
        })
    }))
}

/// A linear layer with a weight of each type.
fn linear(dtype: DType) -> CaseFamily {
    let block = dtype.block_len();
    let shapes = if dtype.is_quantised() { shapes(BLOCKS) } else { shapes(PLAIN) };
    CaseFamily::new(format!("MatMul {dtype} weight"), shapes, move |s| {
        let op = MatMul { trans_b: true, ..MatMul::default() };
        Some(Case::new(op, [f32s(&[s[0], s[1] * block]), weight(dtype, &[s[2], s[1] * block])]))
    })
}

/// Vectors, and batches that broadcast in every way.
fn batches() -> Vec<CaseFamily> {
    type Extents = fn(&[usize]) -> (Vec<usize>, Vec<usize>);
    let kinds: [(&str, Extents); 9] = [
        ("vector by matrix", |s| (vec![s[1]], vec![s[1], s[2]])),
        ("matrix by vector", |s| (vec![s[0], s[1]], vec![s[1]])),
        ("vector by vector", |s| (vec![s[1]], vec![s[1]])),
        ("vector by batch", |s| (vec![s[1]], vec![3, s[1], s[2]])),
        ("batch by matrix", |s| (vec![2, 3, s[0], s[1]], vec![s[1], s[2]])),
        ("batch by batch", |s| (vec![2, 3, s[0], s[1]], vec![2, 3, s[1], s[2]])),
        ("matrix by batch", |s| (vec![s[0], s[1]], vec![3, s[1], s[2]])),
        ("crossed batches", |s| (vec![2, 1, 3, s[0], s[1]], vec![5, 1, s[1], s[2]])),
        ("batches crossed twice", |s| (vec![2, 1, 3, 1, s[0], s[1]], vec![1, 2, 1, 2, s[1], s[2]])),
    ];
    let sizes = [[1, 1, 1], [3, 5, 7], [9, 16, 9], [1, 40, 17], [33, 12, 35]];
    kinds
        .into_iter()
        .map(|(name, extents)| {
            CaseFamily::new(format!("MatMul F32, {name}"), shapes(&sizes), move |s| {
                let (a, b) = extents(s);
                Some(Case::new(MatMul::default(), [f32s(&a), f32s(&b)]))
            })
        })
        .collect()
}

/// Bias and activations.
fn epilogues() -> Vec<CaseFamily> {
    let mut activations: Vec<Option<Unary>> = vec![None];
    activations.extend(
        [
            Unary::Identity,
            Unary::Relu,
            Unary::Silu,
            Unary::Gelu,
            Unary::GeluTanh,
            Unary::Sigmoid,
            Unary::Tanh,
            Unary::Clip { min: -1.0, max: 6.0 },
        ]
        .map(Some),
    );
    let sizes = [[1, 40, 17], [9, 24, 33], [35, 7, 10]];
    let mut cases = Vec::new();
    for activation in activations {
        let name = activation.map_or("no activation", Unary::name);
        cases.push(CaseFamily::new(
            format!("MatMul F32, bias and {name}"),
            shapes(&sizes),
            move |s| {
                let op = MatMul { trans_b: true, activation, ..MatMul::default() };
                let w = weight(DType::F32, &[s[2], s[1]]);
                Some(Case::new(op, [f32s(&[s[0], s[1]]), w, f32s(&[s[2]])]))
            },
        ));
    }
    cases.push(CaseFamily::new("MatMul F32 [k, n], bias and Relu", shapes(&sizes), |s| {
        let op = MatMul { activation: Some(Unary::Relu), ..MatMul::default() };
        let inputs = [f32s(&[2, s[0], s[1]]), f32s(&[2, s[1], s[2]]), f32s(&[s[2]])];
        Some(Case { op: Arc::new(op), inputs: inputs.into_iter().map(Some).collect() })
    }));
    cases
}

/// The cases of [`GatedMatMul`].
pub(crate) fn gated_cases() -> Vec<CaseFamily> {
    let of = |dtype: DType, activation: Unary| {
        let block = dtype.block_len();
        let label = format!("GatedMatMul {dtype} {}", activation.name());
        let shapes = if dtype.is_quantised() { shapes(BLOCKS) } else { shapes(PLAIN) };
        CaseFamily::new(label, shapes, move |s| {
            let (k, n) = (s[1] * block, s[2]);
            let weights = || weight(dtype, &[n, k]).values(Values::Normal(0.2));
            let inputs = [f32s(&[s[0], k]), weights(), weights()];
            Some(Case::new(GatedMatMul { activation }, inputs))
        })
    };
    let mut cases = Vec::from(WEIGHT_TYPES.map(|dtype| of(dtype, Unary::Silu)));
    cases.extend([DType::Q4_0, DType::Q4_K].map(|dtype| {
        let label = format!("GatedMatMul {dtype}, long sums");
        CaseFamily::new(label, shapes(&[[1, 17 * 256, 9]]), move |s| {
            let weights = || weight(dtype, &[s[2], s[1]]).values(Values::Normal(0.2));
            let inputs = [f32s(&[s[0], s[1]]), weights(), weights()];
            Some(Case::new(GatedMatMul { activation: Unary::Silu }, inputs))
        })
    }));
    cases.extend([Unary::Gelu, Unary::GeluTanh, Unary::Relu].map(|f| of(DType::F32, f)));
    cases
}

//! What products with chosen matrices are tried on. Shapes are `[rows, indices,
//! matrices, k, n]`; for quantised weights k counts blocks.

use super::{ExpertMatMul, GatedExpertMatMul};
use crate::ops::elementwise::Unary;
use crate::quant::KINDS;
use crate::tensor::{DType, Tensor};
use crate::validate::{Case, CaseFamily, CaseInput, Values};

/// One row and many, matrices that nobody chooses, one that everybody does,
/// whole tiles and one more, nothing at all.
const PLAIN: &[[usize; 5]] = &[
    [1, 1, 1, 1, 1],
    [1, 3, 8, 12, 5],
    [2, 2, 5, 7, 67],
    [13, 2, 3, 33, 29],
    [70, 3, 2, 40, 66],
    [9, 4, 131, 8, 3],
    [300, 1, 7, 16, 11],
    [0, 2, 3, 4, 5],
    [3, 0, 2, 4, 5],
    [3, 2, 2, 0, 5],
    [3, 2, 2, 4, 0],
];

const BLOCKS: &[[usize; 5]] = &[
    [1, 2, 4, 1, 9],
    [1, 3, 7, 2, 66],
    [5, 2, 3, 1, 33],
    [40, 3, 4, 1, 70],
    [0, 1, 1, 1, 3],
    // Rows that take turns on software adapters (`kernels/interleave.rs`).
    [1, 2, 5, 3, 64],
    [40, 3, 4, 2, 32],
];

/// The operator, x's rank, and the weights.
fn family(dtype: DType, gated: bool, shared: bool, activation: Option<Unary>) -> CaseFamily {
    let block = dtype.block_len();
    let name = if gated { "GatedExpertMatMul" } else { "ExpertMatMul" };
    let rows = if shared { "" } else { ", a row for each index" };
    let f = activation.map_or(String::new(), |f| format!(" {}", f.name()));
    let shapes = if dtype.is_quantised() { BLOCKS } else { PLAIN };
    let shapes = shapes.iter().map(|shape| shape.to_vec());
    CaseFamily::new(format!("{name} {dtype}{f}{rows}"), shapes, move |shape| {
        let &[rows, chosen, experts, k, n] = shape else { return None };
        if experts == 0 && rows * chosen > 0 {
            return None;
        }
        let k = k * block;
        let x = if shared { vec![rows, k] } else { vec![rows, chosen, k] };
        let indices = CaseInput::run(DType::I32, &[rows, chosen])
            .values(Values::Whole(0, experts.max(1) as i64));
        let weight = || {
            let weight = CaseInput::run(dtype, &[experts, n, k]).constant();
            if gated { weight.values(Values::Normal(0.2)) } else { weight }
        };
        let inputs = [CaseInput::run(DType::F32, &x), indices, weight()];
        Some(match activation {
            Some(activation) if gated => {
                let op = GatedExpertMatMul { activation };
                Case::new(op, inputs.into_iter().chain([weight()]))
            }
            _ => Case::new(ExpertMatMul { activation }, inputs),
        })
    })
}

/// All rows choose the last matrix of a stack over 1 MiB, whose matrices end
/// anywhere; `[rows, matrices, k, n]`.
fn large(dtype: DType) -> CaseFamily {
    let block = dtype.block_len();
    let shapes = [vec![1, 9, 512 / block, 131], vec![5, 3, 768 / block, 1031]];
    CaseFamily::new(format!("ExpertMatMul {dtype}, over 1 MiB"), shapes, move |shape| {
        let &[rows, experts, k, n] = shape else { return None };
        let last = i32::try_from(experts).ok()? - 1;
        let indices = vec![[0, last, last / 2]; rows].concat();
        let indices = Tensor::from_i32(&[rows, 3], &indices).ok()?;
        let x = CaseInput::run(DType::F32, &[rows, k * block]);
        let weight = CaseInput::run(dtype, &[experts, n, k * block]).constant();
        let inputs = [x, CaseInput::exact(indices), weight];
        (experts > 0).then(|| Case::new(ExpertMatMul::default(), inputs))
    })
    .heavy()
}

/// The cases of [`ExpertMatMul`].
pub(crate) fn expert_cases() -> Vec<CaseFamily> {
    let mut cases = Vec::from(KINDS.map(|dtype| family(dtype, false, true, None)));
    cases.push(family(DType::F32, false, false, None));
    cases.push(family(DType::Q4_K, false, false, None));
    cases.extend([Unary::Silu, Unary::Relu].map(|f| family(DType::F32, false, true, Some(f))));
    cases.extend([DType::F32, DType::F16, DType::Q8_0, DType::Q6_K].map(large));
    cases
}

/// The cases of [`GatedExpertMatMul`].
pub(crate) fn gated_expert_cases() -> Vec<CaseFamily> {
    let silu = Some(Unary::Silu);
    let mut cases = Vec::from(KINDS.map(|dtype| family(dtype, true, true, silu)));
    cases.push(family(DType::F32, true, false, Some(Unary::GeluTanh)));
    cases
}

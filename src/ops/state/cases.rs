//! What `TensorScatter` is tried on.

use super::TensorScatter;
use crate::tensor::DType;
use crate::validate::{Case, CaseFamily, CaseInput, Values};

/// Shapes are `[B, Q, G, C, D]`.
pub(crate) fn cases() -> Vec<CaseFamily> {
    let shapes = [
        [1, 1, 1, 1, 1],
        [1, 1, 1, 2, 2],
        [1, 1, 3, 17, 64],
        [2, 5, 3, 31, 64],
        [1, 7, 2, 7, 80],
        // Odd widths: rows of F16 share words with their neighbours.
        [1, 3, 2, 5, 1],
        [3, 4, 2, 9, 7],
        [2, 13, 3, 13, 33],
        [0, 3, 2, 5, 8],
        [2, 0, 2, 5, 8],
        [2, 3, 0, 5, 8],
        [2, 3, 2, 5, 0],
        // More than one binding of 1 MiB, of the cache and of the update.
        [1, 9, 5, 1201, 96],
        [2, 701, 3, 801, 77],
    ];
    let mut families = Vec::new();
    for dtype in [DType::F32, DType::F16] {
        for (token_major, state) in [(true, true), (true, false), (false, true)] {
            let kind = if state { "state" } else { "value" };
            families.push(CaseFamily::new(
                format!("TensorScatter {dtype} {kind} token_major={token_major}"),
                shapes.iter().map(|shape| shape.to_vec()),
                move |shape| build(dtype, token_major, state, shape, 1.0),
            ));
        }
    }
    for dtype in [DType::F32, DType::F16] {
        families.push(CaseFamily::new(
            format!("TensorScatter {dtype} write_indices over 1 MiB"),
            [vec![(1 << 18) + 1, 1, 1, 3, 1]],
            move |shape| build(dtype, true, true, shape, 1.0),
        ));
    }
    families.push(CaseFamily::new(
        "TensorScatter F16 state, values beyond the largest F16",
        [vec![2, 3, 2, 5, 8], vec![2, 3, 2, 5, 7]],
        |shape| build(DType::F16, true, true, shape, 60_000.0),
    ));
    families.push(CaseFamily::new(
        "TensorScatter F16 state, subnormal values",
        [vec![2, 3, 2, 5, 8], vec![2, 3, 2, 5, 7]],
        |shape| build(DType::F16, true, true, shape, 3e-5),
    ));
    for dtype in [DType::F32, DType::F16] {
        families.push(CaseFamily::new(
            format!("TensorScatter {dtype} state, slots outside left out"),
            [vec![7, 3, 2, 5, 8], vec![5, 9, 2, 4, 7], vec![2, 1, 2, 1, 2], vec![4, 0, 1, 3, 2]],
            move |shape| beyond(dtype, shape),
        ));
    }
    families
}

/// Tokens before the first slot, behind the last, and more of them than slots.
fn beyond(dtype: DType, shape: &[usize]) -> Option<Case> {
    let &[b, q, g, c, d] = shape else { return None };
    Some(Case::new(
        TensorScatter { axis: 2, token_major: true, skip: true },
        [
            CaseInput::run(dtype, &[b, g, c, d]).state(),
            CaseInput::run(DType::F32, &[b, q, g, d]).values(Values::Normal(1.0)),
            CaseInput::run(DType::I32, &[b]).values(Values::Whole(-(q as i64) - 1, c as i64 + 2)),
        ],
    ))
}

fn build(
    dtype: DType,
    token_major: bool,
    state: bool,
    shape: &[usize],
    deviation: f64,
) -> Option<Case> {
    let &[b, q, g, c, d] = shape else { return None };
    if q > c {
        return None;
    }
    let cache = CaseInput::run(dtype, &[b, g, c, d]);
    let update = if token_major { [b, q, g, d] } else { [b, g, q, d] };
    Some(Case::new(
        TensorScatter { axis: 2, token_major, skip: false },
        [
            if state { cache.state() } else { cache },
            CaseInput::run(DType::F32, &update).values(Values::Normal(deviation)),
            CaseInput::run(DType::I32, &[b]).values(Values::Whole(0, (c - q + 1) as i64)),
        ],
    ))
}

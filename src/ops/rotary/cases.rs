//! What `RotaryEmbedding` is tried on.

use super::RotaryEmbedding;
use crate::tensor::DType;
use crate::validate::{Case, CaseFamily, CaseInput, Values};

/// Shapes are `[B, Q, H, D, pairs, P]`.
pub(crate) fn cases() -> Vec<CaseFamily> {
    let shapes = [
        [1, 1, 1, 2, 1, 1],
        [1, 7, 3, 64, 32, 33],
        [2, 5, 3, 80, 16, 101],
        [3, 1, 2, 96, 48, 4096],
        [1, 3, 1, 7, 2, 5],
        [1, 4, 2, 6, 0, 3],
        [0, 4, 2, 8, 4, 3],
        [2, 0, 2, 8, 4, 3],
        [1, 61, 5, 128, 64, 257],
        // More than one binding of 1 MiB: of rows, then of tables, then of positions.
        [1, 300, 8, 128, 64, 300],
        [2, 3, 1, 256, 128, 5000],
        [1, (1 << 18) + 3, 1, 2, 1, 3],
    ];
    [false, true]
        .into_iter()
        .map(|interleaved| {
            CaseFamily::new(
                format!("RotaryEmbedding F32 interleaved={interleaved}"),
                shapes.iter().map(|shape| shape.to_vec()),
                move |shape| build(interleaved, shape),
            )
        })
        .collect()
}

fn build(interleaved: bool, shape: &[usize]) -> Option<Case> {
    let &[b, q, h, d, pairs, p] = shape else { return None };
    if 2 * pairs > d || p == 0 {
        return None;
    }
    let table =
        || CaseInput::run(DType::F32, &[p, pairs]).values(Values::Uniform(-1.0, 1.0)).constant();
    Some(Case::new(
        RotaryEmbedding { interleaved, rotary_dim: 2 * pairs },
        [
            CaseInput::run(DType::F32, &[b, q, h, d]),
            table(),
            table(),
            CaseInput::run(DType::I32, &[b, q]).values(Values::Whole(0, p as i64)),
        ],
    ))
}

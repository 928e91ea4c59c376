//! What `RotaryEmbedding` and `RotaryScatter` are tried on.

use super::{RotaryEmbedding, RotaryScatter};
use crate::tensor::DType;
use crate::validate::{Case, CaseFamily, CaseInput, Values};
use std::sync::Arc;

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

/// Where queries, keys and values are.
#[derive(Debug, Clone, Copy, PartialEq)]
enum Packing {
    /// In rows of their own, `[B, Q, heads, size]`.
    Apart,
    /// All in one row.
    Together,
    /// Queries and keys in one row.
    Turned,
    /// Keys and values in one row.
    Cached,
}

/// Shapes are `[B, Q, H, G, C, D, V, pairs, P]`.
pub(crate) fn scatter_cases() -> Vec<CaseFamily> {
    let shapes = [
        [1, 1, 1, 1, 1, 4, 4, 2, 1],
        [1, 1, 9, 3, 17, 64, 64, 32, 33],
        [1, 7, 4, 2, 11, 64, 32, 16, 33],
        [3, 5, 3, 1, 13, 12, 20, 2, 101],
        [2, 1, 2, 2, 5, 96, 128, 48, 4096],
        [1, 3, 5, 5, 3, 8, 4, 0, 5],
        [0, 4, 2, 2, 5, 8, 8, 4, 3],
        [2, 0, 2, 2, 5, 8, 8, 4, 3],
        [1, 61, 5, 1, 67, 128, 64, 64, 257],
        // More than one binding of 1 MiB: of rows, of tables, of keys, of values.
        [1, 300, 8, 8, 310, 128, 128, 64, 300],
        [2, 3, 1, 1, 7, 256, 128, 128, 5000],
        [1, 3, 2, 5, 1201, 96, 12, 48, 7],
        [2, 5, 2, 5, 1201, 4, 96, 2, 7],
    ];
    let packings = [Packing::Apart, Packing::Together, Packing::Turned, Packing::Cached];
    let mut families = Vec::new();
    for (number, packing) in packings.into_iter().enumerate() {
        for dtype in [DType::F32, DType::F16] {
            // Both ways to pair, states and values, with each packing once.
            let (interleaved, state) = (number % 2 == 1, (dtype == DType::F16) || number > 1);
            let kind = if state { "state" } else { "value" };
            families.push(CaseFamily::new(
                format!("RotaryScatter {dtype} {kind} {packing:?} interleaved={interleaved}"),
                shapes.iter().map(|shape| shape.to_vec()),
                move |shape| appended(packing, dtype, (interleaved, state, false), shape),
            ));
        }
    }
    families.push(CaseFamily::new(
        "RotaryScatter F16 state, slots outside left out",
        [vec![7, 3, 2, 2, 5, 8, 8, 4, 9], vec![5, 9, 3, 1, 4, 12, 4, 2, 9]],
        |shape| appended(Packing::Together, DType::F16, (false, true, true), shape),
    ));
    families
}

fn appended(
    packing: Packing,
    dtype: DType,
    (interleaved, state, skip): (bool, bool, bool),
    shape: &[usize],
) -> Option<Case> {
    let &[b, q, heads, groups, c, d, v, pairs, p] = shape else { return None };
    let fours = [d, v, 2 * pairs].iter().all(|n| n.is_multiple_of(4));
    if 2 * pairs > d || p == 0 || !fours || (q > c && !skip) {
        return None;
    }
    let table =
        || CaseInput::run(DType::F32, &[p, pairs]).values(Values::Uniform(-1.0, 1.0)).constant();
    let cache = |width: usize| {
        let cache = CaseInput::run(dtype, &[b, groups, c, width]);
        if state { cache.state() } else { cache }
    };
    // Elements that nobody reads stand before, between and behind.
    let (queries, keys, values) = (heads * d, groups * d, groups * v);
    let rows = |elements: usize| Some(CaseInput::run(DType::F32, &[b, q, elements]));
    let heads_of = |count, size| Some(CaseInput::run(DType::F32, &[b, q, count, size]));
    let (given, offsets) = match packing {
        Packing::Apart => {
            ([heads_of(heads, d), heads_of(groups, d), heads_of(groups, v)], [0, 0, 0])
        }
        Packing::Together => {
            let row = queries + keys + values + 8;
            ([rows(row), None, None], [4, queries + 4, queries + keys + 8])
        }
        Packing::Turned => ([rows(queries + keys), None, rows(values + 4)], [0, queries, 4]),
        Packing::Cached => ([rows(queries), rows(keys + values), None], [0, 0, keys]),
    };
    let slots = if skip {
        Values::Whole(-(q as i64) - 1, c as i64 + 2)
    } else {
        Values::Whole(0, (c - q + 1) as i64)
    };
    let rest = [
        table(),
        table(),
        CaseInput::run(DType::I32, &[b, q]).values(Values::Whole(0, p as i64)),
        CaseInput::run(DType::I32, &[b]).values(slots),
        cache(d),
        cache(v),
    ];
    let rotary = RotaryEmbedding { interleaved, rotary_dim: 2 * pairs };
    Some(Case {
        op: Arc::new(RotaryScatter { rotary, heads, offsets, skip }),
        inputs: given.into_iter().chain(rest.map(Some)).collect(),
    })
}

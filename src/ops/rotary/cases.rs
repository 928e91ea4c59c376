//! What `RotaryEmbedding` and `RotaryScatter` are tried on.

use super::scatter::MOST_NORMED;
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

/// How queries, keys and values come, and where they go.
#[derive(Debug, Clone, Copy)]
struct Coming {
    packing: Packing,
    interleaved: bool,
    dtype: DType,
    state: bool,
    /// Slots outside of the caches are left out.
    skip: bool,
    normed: bool,
    /// Tokens are rows of a longer text.
    gathered: bool,
}

impl Coming {
    fn label(&self) -> String {
        let flags = [
            (self.interleaved, "interleaved"),
            (self.state, "state"),
            (self.skip, "slots outside left out"),
            (self.normed, "norms"),
            (self.gathered, "rows"),
        ];
        let flags: Vec<_> = flags.iter().filter(|(on, _)| *on).map(|(_, name)| *name).collect();
        format!("RotaryScatter {} {:?} {}", self.dtype, self.packing, flags.join(", "))
    }
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
        [1, 3, 2, 1, 4, 256, 256, 128, 9],
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
            // Both ways to pair, states and values, norms and rows, but not all of each.
            let half = dtype == DType::F16;
            let coming = Coming {
                packing,
                interleaved: number % 2 == 1,
                dtype,
                state: half || number > 1,
                skip: false,
                normed: half != (number % 2 == 0),
                gathered: half == (number > 1),
            };
            families.push(CaseFamily::new(
                coming.label(),
                shapes.iter().map(|shape| shape.to_vec()),
                move |shape| appended(coming, shape),
            ));
        }
    }
    for (normed, gathered) in [(false, false), (true, true)] {
        let (packing, dtype) = (Packing::Together, DType::F16);
        let (interleaved, state, skip) = (false, true, true);
        let coming = Coming { packing, interleaved, dtype, state, skip, normed, gathered };
        families.push(CaseFamily::new(
            coming.label(),
            [vec![7, 3, 2, 2, 5, 8, 8, 4, 9], vec![5, 9, 3, 1, 4, 12, 4, 2, 9]],
            move |shape| appended(coming, shape),
        ));
    }
    families
}

/// Queries, keys and values, and where they begin in their rows. Elements that nobody
/// reads stand before, between and behind.
fn packed(
    packing: Packing,
    batch: [usize; 2],
    [heads, groups, d, v]: [usize; 4],
) -> ([Option<CaseInput>; 3], [usize; 3]) {
    let (queries, keys, values) = (heads * d, groups * d, groups * v);
    let input = |extents: &[usize]| Some(CaseInput::run(DType::F32, &[&batch, extents].concat()));
    match packing {
        Packing::Apart => {
            let given = [input(&[heads, d]), input(&[groups, d]), input(&[groups, v])];
            (given, [0, 0, 0])
        }
        Packing::Together => {
            let row = queries + keys + values + 8;
            ([input(&[row]), None, None], [4, queries + 4, queries + keys + 8])
        }
        Packing::Turned => {
            ([input(&[queries + keys]), None, input(&[values + 4])], [0, queries, 4])
        }
        Packing::Cached => ([input(&[queries]), input(&[keys + values]), None], [0, 0, keys]),
    }
}

fn appended(coming: Coming, shape: &[usize]) -> Option<Case> {
    let &[b, q, heads, groups, c, d, v, pairs, p] = shape else { return None };
    let fours = [d, v, 2 * pairs].iter().all(|n| n.is_multiple_of(4));
    if 2 * pairs > d || p == 0 || !fours || (q > c && !coming.skip) {
        return None;
    }
    if coming.normed && d.max(v) > MOST_NORMED {
        return None;
    }
    // A text from which tokens are taken, some of them twice, most of them never.
    let text = 2 * q + 13;
    let batch = if coming.gathered { [1, text] } else { [b, q] };
    let table =
        || CaseInput::run(DType::F32, &[p, pairs]).values(Values::Uniform(-1.0, 1.0)).constant();
    let cache = |width: usize| {
        let cache = CaseInput::run(coming.dtype, &[b, groups, c, width]);
        if coming.state { cache.state() } else { cache }
    };
    let slots = if coming.skip {
        Values::Whole(-(q as i64) - 1, c as i64 + 2)
    } else {
        Values::Whole(0, (c - q + 1) as i64)
    };
    let whole = |extents: &[usize], most: usize| {
        CaseInput::run(DType::I32, extents).values(Values::Whole(0, most as i64))
    };
    let norm = || coming.normed.then(|| CaseInput::run(DType::F32, &[d]).constant());
    let rows = || coming.gathered.then(|| whole(&[b, q], text));
    let (given, offsets) = packed(coming.packing, batch, [heads, groups, d, v]);
    let rest = [
        Some(table()),
        Some(table()),
        Some(whole(&batch, p)),
        Some(CaseInput::run(DType::I32, &[b]).values(slots)),
        Some(cache(d)),
        Some(cache(v)),
        norm(),
        norm(),
        rows(),
        rows(),
    ];
    let rotary = RotaryEmbedding { interleaved: coming.interleaved, rotary_dim: 2 * pairs };
    let op = RotaryScatter { rotary, heads, offsets, skip: coming.skip, epsilon: 1e-5 };
    Some(Case { op: Arc::new(op), inputs: given.into_iter().chain(rest).collect() })
}

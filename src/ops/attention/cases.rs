//! What `Attention` is tried on.

use super::Attention;
use crate::tensor::{DType, Tensor};
use crate::validate::{Case, CaseFamily, CaseInput, Values};

/// Shapes are `[B, Q, H, G, D, Dv, C]`.
const SHAPES: [[usize; 7]; 22] = [
    [1, 1, 1, 1, 1, 1, 1],
    [1, 1, 9, 3, 64, 64, 257],
    [1, 17, 9, 3, 64, 64, 64],
    [2, 5, 4, 4, 32, 32, 11],
    // Odd and unequal head sizes.
    [1, 3, 2, 1, 7, 5, 13],
    [2, 4, 3, 1, 33, 80, 37],
    [1, 2, 2, 2, 80, 96, 101],
    [1, 40, 2, 1, 96, 80, 71],
    [3, 2, 8, 2, 128, 128, 65],
    [1, 33, 5, 1, 128, 128, 97],
    [1, 1, 2, 1, 256, 256, 300],
    [1, 37, 4, 2, 192, 256, 150],
    [1, 2, 2, 1, 260, 300, 30],
    [1, 5, 2, 2, 40, 8, 5],
    // Long rows.
    [1, 1, 3, 1, 64, 64, 2047],
    [2, 1, 6, 2, 48, 48, 1031],
    // Nothing to do, or nothing to see.
    [0, 3, 2, 1, 8, 8, 4],
    [2, 0, 2, 1, 8, 8, 4],
    [1, 3, 0, 1, 8, 8, 4],
    // Caches, then queries, of more than one binding of 1 MiB.
    [1, 2, 6, 6, 64, 64, 1500],
    [2, 300, 8, 2, 128, 128, 301],
    [2, 2, 2, 2, 65, 65, 2100],
];

pub(crate) fn cases() -> Vec<CaseFamily> {
    let plain = Attention::default();
    let mut families = Vec::new();
    for dtype in [DType::F32, DType::F16] {
        families.push(family("causal", plain, dtype, None));
        let all = Attention { causal: false, ..plain };
        families.push(family("all keys", all, dtype, None));
    }
    let some = [
        ("window 1", Attention { window: Some(1), ..plain }),
        ("window 5", Attention { window: Some(5), ..plain }),
        ("window 64, not causal", Attention { window: Some(64), causal: false, ..plain }),
        ("window 0: nothing visible", Attention { window: Some(0), ..plain }),
        ("softcap 2", Attention { softcap: Some(2.0), ..plain }),
        ("softcap 50", Attention { softcap: Some(50.0), window: Some(40), ..plain }),
        ("scale 1.5", Attention { scale: Some(1.5), ..plain }),
        ("scale -0.25", Attention { scale: Some(-0.25), ..plain }),
    ];
    for (label, op) in some {
        families.push(family(label, op, DType::F16, None));
    }
    for mask in [Mask::Full, Mask::Keys, Mask::Batch] {
        let op = Attention { causal: mask == Mask::Full, ..plain };
        families.push(family("mask", op, DType::F32, Some(mask)));
    }
    families.push(ends_of_past());
    families.extend([DType::F32, DType::F16].map(sinks));
    families.push(hiding_mask());
    families.push(infinite_mask(false));
    families.push(infinite_mask(true));
    families.push(more_queries(true));
    families.push(more_queries(false));
    families.push(large_mask());
    families.push(many_sequences());
    families.push(nothing_among_pieces());
    families
}

/// A query that sees nothing, over keys that are computed in pieces: it begins and ends
/// within a piece that nobody computes.
fn nothing_among_pieces() -> CaseFamily {
    let shapes = [
        vec![2, 1, 2, 1, 20, 28, 300],
        vec![1, 1, 2, 1, 8, 8, 300],
        vec![2, 1, 3, 1, 64, 64, 1031],
    ];
    CaseFamily::new("Attention F32 nothing among pieces", shapes, |shape| {
        let &[_, q, _, _, _, _, c] = shape else { return None };
        let past = c.checked_sub(q + 7)? as i64;
        let op = Attention { window: Some(0), ..Attention::default() };
        build(op, DType::F32, shape, Values::Whole(past, past + 1))
    })
}

/// Which dimensions of `[B, H, Q, C]` a mask has.
#[derive(Debug, Clone, Copy, PartialEq)]
enum Mask {
    Full,
    Keys,
    Batch,
}

/// Masks that hide every third key, the first one too, with numbers beside which
/// scores vanish.
fn hiding_mask() -> CaseFamily {
    let shapes = SHAPES.iter().filter(|s| s.iter().product::<usize>() < 1 << 20);
    CaseFamily::new("Attention F32 hiding mask", shapes.map(|s| s.to_vec()), |shape| {
        let &[_, q, _, _, _, _, c] = shape else { return None };
        let past = c.checked_sub(q)? as i64;
        let all = Attention { causal: false, ..Attention::default() };
        let mut case = build(all, DType::F32, shape, Values::Whole(past, past + 1))?;
        let hidden = |key: usize| if key.is_multiple_of(2) { -1e38 } else { f32::MIN };
        let at = |key: usize| if key.is_multiple_of(3) && c > 1 { hidden(key) } else { 0.5 };
        let mask: Vec<f32> = (0..c).map(at).collect();
        case.inputs.push(Some(CaseInput::exact(Tensor::from_f32(&[c], &mask).ok()?)));
        Some(case)
    })
}

/// Masks that hide keys with minus infinity: every third one, and all of every
/// fifth query.
fn infinite_mask(causal: bool) -> CaseFamily {
    let shapes = SHAPES.iter().filter(|s| s.iter().product::<usize>() < 1 << 20);
    let label = format!("Attention F32 infinite mask, causal {causal}");
    CaseFamily::new(label, shapes.map(|s| s.to_vec()), move |shape| {
        let &[_, q, _, _, _, _, c] = shape else { return None };
        let past = c.checked_sub(q)? as i64;
        let op = Attention { causal, ..Attention::default() };
        let mut case = build(op, DType::F32, shape, Values::Whole(past, past + 1))?;
        let at = |i: usize| {
            let (query, key) = (i / c.max(1), i % c.max(1));
            // The first query sees something, or an output of zeros would do.
            let hidden = key % 3 == 1 || query % 5 == 4;
            if hidden { f32::NEG_INFINITY } else { (i % 7) as f32 * 0.3 }
        };
        let mask: Vec<f32> = (0..q * c).map(at).collect();
        case.inputs.push(Some(CaseInput::exact(Tensor::from_f32(&[q, c], &mask).ok()?)));
        Some(case)
    })
}

/// A sink for each head: above and below the scores, and far off. With a window,
/// whose keys may all be out of sight.
fn sinks(dtype: DType) -> CaseFamily {
    CaseFamily::new(format!("Attention {dtype} sinks"), SHAPES.map(|s| s.to_vec()), move |shape| {
        let &[_, q, h, _, d, _, c] = shape else { return None };
        let op = Attention { window: Some(40), ..Attention::default() };
        let past = Values::Whole(0, (c.checked_sub(q)? + 1) as i64);
        let mut case = build(op, dtype, shape, past)?;
        let far =
            |head: usize| [2.0, -1.0, 90.0, -300.0][head % 4] * if d > 64 { 0.5 } else { 1.0 };
        let sinks: Vec<f32> = (0..h).map(far).collect();
        case.inputs.push(None);
        case.inputs.push(Some(CaseInput::exact(Tensor::from_f32(&[h], &sinks).ok()?)));
        Some(case)
    })
}

/// More queries than keys, and `past` below 0.
fn more_queries(causal: bool) -> CaseFamily {
    let shapes = [[2, 9, 2, 1, 8, 8, 4], [1, 33, 3, 3, 5, 7, 17], [3, 2, 2, 2, 64, 64, 1]];
    let label = format!("Attention F32 more queries than keys, causal {causal}");
    CaseFamily::new(label, shapes.map(|s| s.to_vec()), move |shape| {
        let &[b, q, h, g, d, dv, c] = shape else { return None };
        if g == 0 || h % g != 0 || d == 0 || dv == 0 || c == 0 || q == 0 {
            return None;
        }
        let op = Attention { causal, ..Attention::default() };
        let least = 1 - i64::try_from(q).ok()?;
        let past = Values::Whole(least, c as i64 - q as i64 + 1);
        let inputs = [
            CaseInput::run(DType::F32, &[b, q, h, d]),
            CaseInput::run(DType::F32, &[b, g, c, d]),
            CaseInput::run(DType::F32, &[b, g, c, dv]),
            CaseInput::run(DType::I32, &[b]).values(past),
        ];
        Some(Case::new(op, inputs))
    })
}

/// Mask and cache of more than one binding of 1 MiB each, and planes of the
/// cache, too.
fn large_mask() -> CaseFamily {
    let shapes = [[1, 36, 2, 1, 64, 64, 4300]];
    CaseFamily::new("Attention F32 mask over 1 MiB", shapes.map(|s| s.to_vec()), |shape| {
        let &[b, q, h, _, _, _, c] = shape else { return None };
        let past = Values::Whole(0, (c.checked_sub(q)? + 1) as i64);
        let mut case = build(Attention::default(), DType::F32, shape, past)?;
        let mask = CaseInput::run(DType::F32, &[b, h, q, c]).values(Values::Normal(8.0));
        case.inputs.push(Some(mask));
        Some(case)
    })
    .heavy()
}

/// `past` of more than one binding of 1 MiB.
fn many_sequences() -> CaseFamily {
    let shapes = [[(1 << 18) + 1, 1, 1, 1, 1, 1, 2]];
    CaseFamily::new("Attention F32 past over 1 MiB", shapes.map(|s| s.to_vec()), |shape| {
        build(Attention::default(), DType::F32, shape, Values::Whole(0, 2))
    })
    .heavy()
}

fn family(label: &str, op: Attention, dtype: DType, mask: Option<Mask>) -> CaseFamily {
    let label = match mask {
        Some(mask) => format!("Attention {dtype} {label} {mask:?}"),
        None => format!("Attention {dtype} {label}"),
    };
    let shapes = SHAPES.iter().filter(|s| mask.is_none() || s.iter().product::<usize>() < 1 << 20);
    CaseFamily::new(label, shapes.map(|shape| shape.to_vec()), move |shape| {
        let &[b, q, h, g, d, _, c] = shape else { return None };
        let mut case = build(op, dtype, shape, Values::Whole(0, (c.checked_sub(q)? + 1) as i64))?;
        if let Some(mask) = mask {
            let extents = match mask {
                Mask::Full => vec![b, h, q, c],
                Mask::Keys => vec![q, c],
                Mask::Batch => vec![b, 1, 1, c],
            };
            // Wide enough to leave few keys, narrow enough for a bound that tells.
            let deviation = if d > 64 { 2.0 } else { 8.0 };
            let values = Values::Normal(deviation);
            case.inputs.push(Some(CaseInput::run(DType::F32, &extents).values(values)));
        }
        (g > 0).then_some(case)
    })
}

/// The smallest and the largest `past` there may be.
fn ends_of_past() -> CaseFamily {
    let shapes = [[2, 3, 2, 1, 8, 8, 9], [2, 5, 2, 2, 64, 64, 70]];
    CaseFamily::new("Attention F16 ends of past", shapes.map(|s| s.to_vec()), |shape| {
        let &[b, q, _, _, _, _, c] = shape else { return None };
        let last = i32::try_from(c.checked_sub(q)?).ok()?;
        let past: Vec<i32> = (0..b).map(|i| if i % 2 == 0 { last } else { 0 }).collect();
        let values = Values::Exact(Tensor::from_i32(&[b], &past).ok()?);
        build(Attention::default(), DType::F16, shape, values)
    })
}

fn build(op: Attention, dtype: DType, shape: &[usize], past: Values) -> Option<Case> {
    let &[b, q, h, g, d, dv, c] = shape else { return None };
    if g == 0 || h % g != 0 || d == 0 || dv == 0 || q > c {
        return None;
    }
    Some(Case::new(
        op,
        [
            CaseInput::run(DType::F32, &[b, q, h, d]),
            CaseInput::run(dtype, &[b, g, c, d]),
            CaseInput::run(dtype, &[b, g, c, dv]),
            CaseInput::run(DType::I32, &[b]).values(past),
        ],
    ))
}

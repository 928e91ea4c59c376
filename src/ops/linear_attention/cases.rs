//! What `LinearAttention` is tried on.

use super::{LinearAttention, StatefulConvolution, StatefulLinearAttention};
use crate::tensor::{DType, Tensor};
use crate::validate::{Case, CaseFamily, CaseInput, Values};

/// Shapes are `[B, T, H, G, D, Dv]`. The last are more than a binding of 1 MiB,
/// and more loop iterations than some drivers allow.
const SHAPES: [[usize; 6]; 9] = [
    [1, 1, 1, 1, 1, 1],
    [2, 5, 4, 2, 7, 5],
    [1, 9, 3, 3, 16, 33],
    [3, 2, 6, 2, 64, 11],
    [0, 2, 2, 1, 4, 4],
    [2, 0, 2, 1, 4, 4],
    [1, 37, 2, 1, 13, 17],
    [3, 301, 4, 1, 64, 32],
    [1, 1700, 2, 1, 13, 3],
];

pub(crate) fn cases() -> Vec<CaseFamily> {
    let mut families = Vec::new();
    for past in [false, true] {
        for (label, decay, beta) in [
            ("linear", None, None),
            ("gated, each row", Some(true), None),
            ("gated, each head", Some(false), None),
            ("delta", None, Some(true)),
            ("gated delta", Some(true), Some(false)),
        ] {
            let label = format!("LinearAttention {label}, past {past}");
            // Without a decay the bound of the delta rule grows with every token.
            let heavy = past && label.contains("gated delta");
            let count = if heavy { SHAPES.len() } else { SHAPES.len() - 2 };
            let shapes = SHAPES[..count].iter().map(|shape| shape.to_vec());
            let family =
                CaseFamily::new(label, shapes, move |shape| build(shape, past, decay, beta));
            families.push(if heavy { family.heavy() } else { family });
        }
    }
    families
}

/// `decay`: one for each row; `beta`: one for each head.
fn build(shape: &[usize], past: bool, decay: Option<bool>, beta: Option<bool>) -> Option<Case> {
    let &[b, t, h, g, d, dv] = shape else { return None };
    if g == 0 || h == 0 || h % g != 0 || d == 0 || dv == 0 {
        return None;
    }
    let f32s = |extents: &[usize], values: Values| {
        Some(CaseInput::run(DType::F32, extents).values(values))
    };
    // Keys of about unit length, as the delta rules ask for.
    let key = Values::Normal(0.7 / (d as f64).sqrt());
    let decays =
        |each: bool| f32s(&[b, t, if each { g * d } else { g }], Values::Uniform(-1.0, -0.05));
    let betas = |each: bool| f32s(&[b, t, if each { g } else { 1 }], Values::Uniform(0.1, 0.9));
    let inputs = vec![
        f32s(&[b, t, h * d], Values::Normal(1.0)),
        f32s(&[b, t, g * d], key),
        f32s(&[b, t, g * dv], Values::Normal(1.0)),
        past.then(|| f32s(&[b, g, d, dv], Values::Normal(1.0))).flatten(),
        decay.and_then(decays),
        beta.and_then(betas),
    ];
    let scale = past.then_some(0.3);
    let op = LinearAttention { q_heads: h as u64, kv_heads: g as u64, scale };
    Some(Case { op: std::sync::Arc::new(op), inputs })
}

/// Shapes are `[B, T, G, K, D, Dv]`; the last is more loop iterations than some drivers
/// allow.
const STEPS: [[usize; 6]; 9] = [
    [1, 1, 1, 1, 1, 1],
    [2, 5, 4, 2, 7, 5],
    [5, 9, 6, 3, 16, 33],
    [3, 1, 4, 4, 64, 11],
    [0, 2, 2, 1, 4, 4],
    [2, 0, 2, 1, 4, 4],
    [4, 37, 5, 1, 16, 1],
    [2, 901, 2, 1, 13, 3],
    // More than a binding of 1 MiB.
    [5, 301, 4, 2, 64, 32],
];

pub(crate) fn stateful_cases() -> Vec<CaseFamily> {
    let mut families = Vec::new();
    // What Mamba-2, Mamba, gated delta nets and RWKV-7 have.
    let kinds = [
        (Some(false), None, false),
        (Some(true), None, false),
        (Some(false), Some(true), false),
        (Some(true), None, true),
        (None, None, true),
    ];
    for (decay, beta, erase) in kinds {
        for (state, tiled) in [(true, false), (true, true), (false, false)] {
            let kind = if state { "state" } else { "value" };
            let label = format!(
                "StatefulLinearAttention {kind}, tiled {tiled}, decay of each row {decay:?}, \
                 beta {beta:?}, erase {erase}"
            );
            let shapes = STEPS.iter().map(|shape| shape.to_vec());
            families.push(CaseFamily::new(label, shapes, move |shape| {
                step(shape, (decay, beta, erase), state, tiled)
            }));
        }
    }
    families
}

fn step(
    shape: &[usize],
    (decay, beta, erase): (Option<bool>, Option<bool>, bool),
    state: bool,
    tiled: bool,
) -> Option<Case> {
    let &[b, t, g, k, d, dv] = shape else { return None };
    if k == 0 || g == 0 || g % k != 0 {
        return None;
    }
    let k = if erase { g } else { k };
    let mut like = build(&[b, t, g, g, d, dv], true, decay, beta)?;
    for (index, values) in [(0, Values::Normal(1.0)), (1, Values::Normal(0.7 / (d as f64).sqrt()))]
    {
        like.inputs[index] = Some(CaseInput::run(DType::F32, &[b, t, k * d]).values(values));
    }
    if state {
        like.inputs[3] = like.inputs[3].take().map(CaseInput::state);
    }
    like.inputs.push(Some(spans(b, t)));
    if erase {
        // Together less than the decay leaves, so that states do not grow; without one so
        // little that hundreds of steps do not multiply the error bound beyond the result.
        let size = if decay.is_some() { 0.3 } else { 0.1 };
        let values = Values::Normal(size / (d as f64).sqrt());
        like.inputs.push(Some(CaseInput::run(DType::F32, &[b, t, 2 * g * d]).values(values)));
    }
    let op = StatefulLinearAttention { states: g as u64, keys: k as u64, tiled, scale: Some(0.3) };
    Some(Case { op: std::sync::Arc::new(op), inputs: like.inputs })
}

/// Sequences that begin and that go on, with no padding, some, and nothing else.
fn spans(batch: usize, rows: usize) -> CaseInput {
    let skips = [0, 1, -2, rows as i32, rows as i32 + 7, rows as i32 / 2];
    let of = |b: usize| [(b as i32 + 1) % 2 * 5, skips[b % skips.len()]];
    let numbers: Vec<i32> = (0..batch).flat_map(of).collect();
    match Tensor::from_i32(&[batch, 2], &numbers) {
        Ok(tensor) => CaseInput::exact(tensor),
        Err(_) => CaseInput::run(DType::I32, &[batch, 2]),
    }
}

pub(crate) fn convolution_cases() -> Vec<CaseFamily> {
    // [B, T, C, K]; the last one is over 1 MiB.
    let shapes = [
        [1, 1, 1, 2],
        [2, 5, 7, 4],
        [6, 3, 33, 4],
        [5, 9, 16, 3],
        [1, 2, 65, 16],
        [0, 2, 4, 4],
        [2, 0, 4, 4],
        [3, 301, 512, 4],
    ];
    let mut families = Vec::new();
    for (bias, state) in [(false, true), (true, true), (true, false)] {
        families.push(CaseFamily::new(
            format!("StatefulConvolution bias {bias}, state {state}"),
            shapes.iter().map(|shape| shape.to_vec()),
            move |shape| convolution(shape, bias, state),
        ));
    }
    families
}

fn convolution(shape: &[usize], bias: bool, state: bool) -> Option<Case> {
    let &[b, t, c, k] = shape else { return None };
    if c == 0 || !(2..=16).contains(&k) {
        return None;
    }
    let f32s = |extents: &[usize]| CaseInput::run(DType::F32, extents);
    let before = f32s(&[b, k - 1, c]);
    let inputs = vec![
        Some(f32s(&[b, t, c])),
        Some(f32s(&[c, k])),
        bias.then(|| f32s(&[c])),
        Some(if state { before.state() } else { before }),
        Some(spans(b, t)),
    ];
    Some(Case { op: std::sync::Arc::new(StatefulConvolution), inputs })
}

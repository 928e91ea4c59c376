//! What `LinearAttention` is tried on.

use super::LinearAttention;
use crate::tensor::DType;
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

//! Support vector machines.

use super::onnx::{reals, rows};
use super::scores::Transform;
use crate::error::Result;
use crate::graph::ValueId;
use crate::onnx::NodeCx;
use crate::ops::elementwise::{Binary, Unary};
use crate::ops::matmul::{MatMul, squared};
use crate::tensor::Tensor;

/// How alike rows and support vectors are, `[rows, vectors]`.
fn kernel(cx: &mut NodeCx<'_>, x: ValueId, vectors: ValueId) -> Result<ValueId> {
    let kind = cx.string("kernel_type", "LINEAR")?.to_string();
    let given = reals(cx, "kernel_params")?;
    let parameter = |at: usize, default: f32| given.get(at).map_or(default, |&value| value as f32);
    let (gamma, add, degree) = (parameter(0, 0.0), parameter(1, 0.0), parameter(2, 0.0));
    let product = MatMul { trans_b: true, ..MatMul::default() };
    let dot = cx.op1(product, &[x, vectors])?;
    match kind.as_str() {
        "LINEAR" => Ok(dot),
        "POLY" | "SIGMOID" => {
            let scaled = cx.map2_f32(Binary::Mul, dot, gamma)?;
            let moved = cx.map2_f32(Binary::Add, scaled, add)?;
            match kind.as_str() {
                "POLY" => {
                    let degree = cx.scalar_f32(degree)?;
                    cx.map2(Binary::Pow, moved, degree)
                }
                _ => cx.map1(Unary::Tanh, moved),
            }
        }
        "RBF" => {
            let far = squared(cx, x, vectors)?;
            let scaled = cx.map2_f32(Binary::Mul, far, -gamma)?;
            cx.map1(Unary::Exp, scaled)
        }
        other => Err(cx.broken(format!("kernel_type '{other}'"))),
    }
}

pub(super) fn regressor(cx: &mut NodeCx<'_>) -> Result<()> {
    let (rows, columns) = rows(cx)?;
    let transform = Transform::of(cx)?;
    let one_class = cx.int("one_class", 0)? != 0;
    let (weights, rho) = (reals(cx, "coefficients")?, reals(cx, "rho")?);
    let vectors = reals(cx, "support_vectors")?;
    let narrow = |values: &[f64]| values.iter().map(|&value| value as f32).collect::<Vec<_>>();
    let x = cx.input_f32(0)?;
    let x = cx.reshaped(x, &[rows, columns])?;
    let count = cx.int("n_supports", 0)?;
    let count = usize::try_from(count).map_err(|_| cx.broken(format!("{count} supports")))?;
    let given = if count == 0 {
        // Without support vectors the coefficients are those of the columns.
        x
    } else {
        if Some(vectors.len()) != count.checked_mul(columns) {
            return Err(cx.broken(format!("{} numbers of {count} vectors", vectors.len())));
        }
        let vectors = cx.constant(Tensor::from_f32(&[count, columns], &narrow(&vectors))?)?;
        kernel(cx, x, vectors)?
    };
    let wide = if count == 0 { columns } else { count };
    if weights.len() != wide {
        return Err(cx.broken(format!("{} coefficients for {wide}", weights.len())));
    }
    let weights = cx.constant(Tensor::from_f32(&[wide, 1], &narrow(&weights))?)?;
    let y = cx.op1(MatMul::default(), &[given, weights])?;
    let mut y = cx.map2_f32(Binary::Add, y, rho.first().map_or(0.0, |&rho| rho as f32))?;
    if one_class {
        // 1 inside of the class, -1 outside.
        let zero = cx.scalar_f32(0.0)?;
        let inside = cx.map2(Binary::Greater, y, zero)?;
        let inside = cx.cast(inside, crate::tensor::DType::F32)?;
        let twice = cx.map2_f32(Binary::Mul, inside, 2.0)?;
        y = cx.map2_f32(Binary::Sub, twice, 1.0)?;
    }
    let y = transform.apply(cx, y)?;
    cx.output(0, y);
    Ok(())
}

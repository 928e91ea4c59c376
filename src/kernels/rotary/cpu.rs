//! The CPU twin of `shaders/rotary/pairs.wgsl`.

use crate::error::{Error, Result};
use crate::kernels::CpuCx;
use crate::ops::rotary::RotaryEmbedding;
use rayon::prelude::*;

pub(super) fn run(op: RotaryEmbedding, cx: &mut CpuCx<'_>) -> Result<()> {
    let (x, cos, sin, ids) = (cx.input(0)?, cx.input(1)?, cx.input(2)?, cx.input(3)?);
    let (heads, width, half) = (x.extents[2], x.extents[3], op.rotary_dim / 2);
    let rows = cos.extents[0];
    let (x, cos, sin) = (x.read::<f32>(), cos.read::<f32>(), sin.read::<f32>());
    let token_len = heads * width;
    if token_len == 0 {
        return Ok(());
    }
    let out = cx.output(0)?.write::<f32>()?;
    out.par_chunks_mut(token_len)
        .zip(x.par_chunks(token_len))
        .zip(ids.read::<i32>().par_iter())
        .enumerate()
        .try_for_each(|(token, ((out, x), &id))| {
            let position = usize::try_from(id).ok().filter(|&p| p < rows).ok_or_else(|| {
                Error::input(format!("position_ids[{token}]"), format!("0 to {rows} - 1"), id)
            })?;
            let (c, s) = (&cos[position * half..][..half], &sin[position * half..][..half]);
            for (out, x) in out.chunks_exact_mut(width).zip(x.chunks_exact(width)) {
                out[2 * half..].copy_from_slice(&x[2 * half..]);
                turn(op, x, c, s, out);
            }
            Ok(())
        })
}

/// The pairs of one head.
fn turn(op: RotaryEmbedding, x: &[f32], cos: &[f32], sin: &[f32], out: &mut [f32]) {
    let half = cos.len();
    if op.interleaved {
        let (x, _) = x.as_chunks::<2>();
        let (out, _) = out.as_chunks_mut::<2>();
        for (((out, x), c), s) in out.iter_mut().zip(x).zip(cos).zip(sin) {
            *out = [x[0] * c - x[1] * s, x[0] * s + x[1] * c];
        }
    } else {
        let (x0, x1) = x[..2 * half].split_at(half);
        let (out0, out1) = out[..2 * half].split_at_mut(half);
        for i in 0..half {
            out0[i] = x0[i] * cos[i] - x1[i] * sin[i];
            out1[i] = x0[i] * sin[i] + x1[i] * cos[i];
        }
    }
}

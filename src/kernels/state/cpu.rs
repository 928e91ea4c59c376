//! The CPU twin of `shaders/state`.

use crate::error::Result;
use crate::kernels::CpuCx;
use crate::ops::state::TensorScatter;
use crate::tensor::DType;
use half::f16;
use half::slice::HalfFloatSliceExt;

pub(super) fn run(op: TensorScatter, cx: &mut CpuCx<'_>) -> Result<()> {
    let (past, update, indices) = (cx.optional(0), cx.input(1)?, cx.input(2)?);
    let (tokens, groups) = op.update_axes();
    let (tokens, groups) = (update.extents[tokens], update.extents[groups]);
    let indices = indices.read::<i32>();
    let update = update.read::<f32>();
    let cache = cx.output(0)?;
    let (capacity, width) = (cache.extents[2], cache.extents[3]);
    // All slots are checked before anything is written.
    for (b, &first) in indices.iter().enumerate() {
        for q in [0, tokens.saturating_sub(1)].into_iter().take(tokens) {
            op.slot(first.into(), q, capacity, b)?;
        }
    }
    if let Some(past) = past {
        cache.bytes.copy_from_slice(past.bytes);
    }
    let half = cache.dtype == DType::F16;
    for (row, from) in update.chunks_exact(width.max(1)).enumerate() {
        let (b, q, g) = if op.token_major {
            (row / groups / tokens, row / groups % tokens, row % groups)
        } else {
            (row / tokens / groups, row % tokens, row / tokens % groups)
        };
        let Some(slot) = op.slot(indices[b].into(), q, capacity, b)? else { continue };
        let at = ((b * groups + g) * capacity + slot) * width;
        if half {
            store_halves(from, &mut cache.write::<f16>()?[at..at + width]);
        } else {
            cache.write::<f32>()?[at..at + width].copy_from_slice(from);
        }
    }
    Ok(())
}

/// Nearest halves; what is beyond the largest becomes the largest.
pub(in crate::kernels) fn store_halves(from: &[f32], to: &mut [f16]) {
    let most = f16::MAX.to_f32();
    let mut clamped = [0f32; 64];
    for (from, to) in from.chunks(64).zip(to.chunks_mut(64)) {
        let clamped = &mut clamped[..from.len()];
        for (clamped, from) in clamped.iter_mut().zip(from) {
            *clamped = from.clamp(-most, most);
        }
        to.convert_from_f32_slice(clamped);
    }
}

//! The CPU twin of `shaders/gather`.

use crate::error::Result;
use crate::kernels::{CpuCx, CpuTensor};
use crate::ops::gather::{Gather, Layout, entry};
use crate::quant;
use rayon::prelude::*;

pub(super) fn run(op: Gather, cx: &mut CpuCx<'_>) -> Result<()> {
    let (data, indices) = (cx.input(0)?, cx.input(1)?);
    let layout = op.layout(&data.extents, &indices.extents, |d| d.iter().product::<usize>())?;
    let indices = indices.read::<i32>();
    let out = cx.output(0)?;
    if out.is_empty() {
        return Ok(());
    }
    if data.dtype.is_integer() {
        return rows(&layout, &indices, out.write::<u32>()?, |row, out| {
            copy(&data, row, layout.inner, bytemuck::cast_slice_mut(out));
            Ok(())
        });
    }
    let bytes = data.dtype.bytes(&[layout.inner])?;
    rows(&layout, &indices, out.write::<f32>()?, |row, out| {
        quant::decode(data.dtype, &data.bytes[row * bytes..][..bytes], out)
    })
}

/// Calls `fill` with each output row and the number of the row it comes from.
fn rows<T: Send>(
    layout: &Layout<usize>,
    indices: &[i32],
    out: &mut [T],
    fill: impl Fn(usize, &mut [T]) -> Result<()> + Sync,
) -> Result<()> {
    out.par_chunks_mut(layout.inner).enumerate().try_for_each(|(result, out)| {
        let (o, j) = (result / layout.picked, result % layout.picked);
        let at = o / layout.per_batch * layout.picked + j;
        fill(o * layout.axis + entry(indices[at].into(), layout.axis, at)?, out)
    })
}

fn copy(data: &CpuTensor<'_>, row: usize, inner: usize, out: &mut [u8]) {
    let bytes = inner * data.dtype.block_bytes();
    out.copy_from_slice(&data.bytes[row * bytes..][..bytes]);
}

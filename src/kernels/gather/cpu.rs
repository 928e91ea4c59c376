//! The CPU twin of `shaders/gather`.

use crate::error::Result;
use crate::kernels::{CpuCx, CpuTensor};
use crate::ops::gather::{Gather, Layout, Places, entry};
use crate::quant;
use crate::tensor::DType;
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

/// Indices of either dtype.
pub(crate) fn whole_numbers(indices: &CpuTensor<'_>) -> Vec<i64> {
    match indices.dtype {
        DType::I64 => indices.read::<i64>().into_owned(),
        _ => indices.read::<i32>().iter().map(|&index| index.into()).collect(),
    }
}

pub(super) fn places(places: Places, cx: &mut CpuCx<'_>) -> Result<()> {
    let (data, indices) = (cx.input(0)?, cx.input(1)?);
    let rows = places.rows(&data.extents, &indices.extents, &whole_numbers(&indices))?;
    let out = cx.output(0)?;
    let size = data.dtype.block_bytes();
    let bytes = rows.inner * size;
    if out.bytes.is_empty() {
        return Ok(());
    }
    out.bytes.par_chunks_exact_mut(bytes).zip(&rows.starts).for_each(|(out, &start)| {
        out.copy_from_slice(&data.bytes[start * size..][..bytes]);
    });
    Ok(())
}

//! Copies on the CPU: any plain dtype, by the bytes of its elements.

use super::{PadKernel, Place, StridedCopy};
use crate::error::{Error, Result};
use crate::kernels::CpuCx;
use rayon::prelude::*;

pub(super) fn copy(kernel: &StridedCopy, cx: &mut CpuCx<'_>) -> Result<()> {
    let x = cx.input(0)?;
    let layout = Layout::of(kernel, cx)?;
    let y = cx.output(0)?;
    let size = y.dtype.block_bytes();
    let Some((&last, outer)) = y.extents.split_last() else {
        y.bytes.copy_from_slice(x.bytes);
        return Ok(());
    };
    if y.bytes.is_empty() {
        return Ok(());
    }
    let step = layout.steps[outer.len()];
    y.bytes.par_chunks_exact_mut(last * size).enumerate().for_each(|(number, row)| {
        let (mut left, mut from) = (number, layout.start as isize);
        for (extent, step) in outer.iter().zip(&layout.steps).rev() {
            from += (left % extent) as isize * step;
            left /= extent;
        }
        if step == 1 {
            let from = from as usize * size;
            row.copy_from_slice(&x.bytes[from..from + last * size]);
            return;
        }
        for (i, element) in row.chunks_exact_mut(size).enumerate() {
            let from = (from + i as isize * step) as usize * size;
            element.copy_from_slice(&x.bytes[from..from + size]);
        }
    });
    Ok(())
}

/// A copy's start and steps in elements.
struct Layout {
    start: usize,
    steps: Vec<isize>,
}

impl Layout {
    fn of(kernel: &StridedCopy, cx: &CpuCx<'_>) -> Result<Self> {
        let signed = |step: &super::Step| {
            let stride = step.stride.eval(cx.bindings)? as isize;
            Ok(if step.backward { -stride } else { stride })
        };
        Ok(Layout {
            start: kernel.start.eval(cx.bindings)? as usize,
            steps: kernel.steps.iter().map(signed).collect::<Result<_>>()?,
        })
    }
}

pub(super) fn place(kernel: Place, cx: &mut CpuCx<'_>) -> Result<()> {
    let inputs: Vec<_> = (0..cx.inputs.len()).map(|i| cx.input(i)).collect::<Result<_>>()?;
    let y = cx.output(0)?;
    let size = y.dtype.block_bytes();
    let result_row = y.extents[kernel.axis..].iter().product::<usize>() * size;
    if result_row == 0 {
        return Ok(());
    }
    for (i, result) in y.bytes.chunks_exact_mut(result_row).enumerate() {
        let mut at = 0;
        for x in &inputs {
            let row = x.extents[kernel.axis..].iter().product::<usize>() * size;
            result[at..at + row].copy_from_slice(&x.bytes[i * row..(i + 1) * row]);
            at += row;
        }
    }
    Ok(())
}

pub(super) fn pad(kernel: &PadKernel, cx: &mut CpuCx<'_>) -> Result<()> {
    let (x, value) = (cx.input(0)?, cx.optional(1));
    let start = kernel.start.eval(cx.bindings)? as usize;
    let mut tables = Vec::with_capacity(kernel.dims.len());
    for dim in &kernel.dims {
        let extent = |dim: &crate::graph::Dim| Ok::<_, Error>(dim.eval(cx.bindings)? as usize);
        let (kept, total, stride) = (extent(&dim.kept)?, extent(&dim.total)?, extent(&dim.stride)?);
        let source = |i| kernel.mode.source(i, dim.before as usize, kept).map(|at| at * stride);
        tables.push((0..total).map(source).collect::<Vec<Option<usize>>>());
    }
    let y = cx.output(0)?;
    let size = y.dtype.block_bytes();
    let zeros = vec![0; size];
    let fill = value.as_ref().map_or(zeros.as_slice(), |value| value.bytes);
    let Some((last, outer)) = tables.split_last() else {
        y.bytes.copy_from_slice(x.bytes);
        return Ok(());
    };
    if y.bytes.is_empty() {
        return Ok(());
    }
    y.bytes.par_chunks_exact_mut(last.len() * size).enumerate().for_each(|(number, row)| {
        let (mut left, mut from) = (number, Some(start));
        for table in outer.iter().rev() {
            from = from.zip(table[left % table.len()]).map(|(from, own)| from + own);
            left /= table.len();
        }
        for (element, own) in row.chunks_exact_mut(size).zip(last) {
            match from.zip(*own) {
                Some((from, own)) => {
                    let at = (from + own) * size;
                    element.copy_from_slice(&x.bytes[at..at + size]);
                }
                None => element.copy_from_slice(fill),
            }
        }
    });
    Ok(())
}

//! Copies on the CPU: any plain dtype, by the bytes of its elements.

use super::{Place, StridedCopy};
use crate::error::Result;
use crate::kernels::CpuCx;

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
    let mut index = vec![0usize; outer.len()];
    let step = layout.steps[outer.len()];
    for row in y.bytes.chunks_exact_mut(last * size) {
        let from: isize = index.iter().zip(&layout.steps).map(|(&i, step)| i as isize * step).sum();
        let from = layout.start as isize + from;
        if step == 1 {
            let from = from as usize * size;
            row.copy_from_slice(&x.bytes[from..from + last * size]);
        } else {
            for (i, element) in row.chunks_exact_mut(size).enumerate() {
                let from = (from + i as isize * step) as usize * size;
                element.copy_from_slice(&x.bytes[from..from + size]);
            }
        }
        advance(&mut index, outer);
    }
    Ok(())
}

/// The next index in row-major order.
fn advance(index: &mut [usize], extents: &[usize]) {
    for axis in (0..extents.len()).rev() {
        index[axis] += 1;
        if index[axis] < extents[axis] {
            return;
        }
        index[axis] = 0;
    }
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

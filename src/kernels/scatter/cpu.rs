//! The CPU twin of `shaders/scatter`. Updates come in order, so that results
//! are the same in every run; it is memory that takes the time.

use super::ScatterKernel;
use crate::error::{Error, Result};
use crate::kernels::gather::whole_numbers;
use crate::kernels::{CpuCx, CpuTensor, CpuTensorMut};
use crate::ops::scatter::Reduction;
use crate::tensor::DType;
use bytemuck::Pod;

pub(super) fn run(kernel: ScatterKernel, cx: &mut CpuCx<'_>) -> Result<()> {
    let (indices, updates) = (cx.input(0)?, cx.input(1)?);
    let y = cx.output(0)?;
    let rows = kernel.places.rows(&y.extents, &indices.extents, &whole_numbers(&indices))?;
    let (starts, inner) = (rows.starts, rows.inner);
    match (kernel.reduction, y.dtype) {
        (Reduction::None, _) => {
            let size = y.dtype.block_bytes();
            let row = inner * size;
            for (i, start) in starts.iter().enumerate() {
                y.bytes[start * size..][..row].copy_from_slice(&updates.bytes[i * row..][..row]);
            }
            Ok(())
        }
        (how, DType::F32) => reduce(
            &starts,
            inner,
            &updates,
            y,
            match how {
                Reduction::Add => |a: f32, b| a + b,
                Reduction::Mul => |a: f32, b| a * b,
                Reduction::Max => f32::max,
                _ => f32::min,
            },
        ),
        (how, DType::I32) => reduce(
            &starts,
            inner,
            &updates,
            y,
            match how {
                Reduction::Add => i32::wrapping_add,
                Reduction::Mul => i32::wrapping_mul,
                Reduction::Max => |a: i32, b| a.max(b),
                _ => |a: i32, b| a.min(b),
            },
        ),
        (how, DType::U32) => reduce(
            &starts,
            inner,
            &updates,
            y,
            match how {
                Reduction::Add => u32::wrapping_add,
                Reduction::Mul => u32::wrapping_mul,
                Reduction::Max => |a: u32, b| a.max(b),
                _ => |a: u32, b| a.min(b),
            },
        ),
        (how, DType::I64) => reduce(
            &starts,
            inner,
            &updates,
            y,
            match how {
                Reduction::Add => i64::wrapping_add,
                Reduction::Mul => i64::wrapping_mul,
                Reduction::Max => |a: i64, b| a.max(b),
                _ => |a: i64, b| a.min(b),
            },
        ),
        (how, dtype) => Err(Error::internal(format!("scatter {how:?} of {dtype}"))),
    }
}

fn reduce<T: Pod>(
    starts: &[usize],
    inner: usize,
    updates: &CpuTensor<'_>,
    y: &mut CpuTensorMut<'_>,
    joined: fn(T, T) -> T,
) -> Result<()> {
    let updates = updates.read::<T>();
    let y = y.write::<T>()?;
    for (i, &start) in starts.iter().enumerate() {
        let own = updates[i * inner..].iter();
        for (old, &update) in y[start..start + inner].iter_mut().zip(own) {
            *old = joined(*old, update);
        }
    }
    Ok(())
}

//! Linear quantisation and products of whole numbers on the CPU.

use super::{Conversion, Linear};
use crate::error::{Error, Result};
use crate::graph::TensorType;
use crate::kernels::{CpuCx, CpuTensor, CpuTensorMut};
use crate::ops::quantize::{dequantized, geometry, quantized, requantized};
use crate::tensor::{DType, small_float};
use half::{bf16, f16};
use rayon::prelude::*;

/// Elements that one task converts.
const PIECE: usize = 1 << 13;

/// Element `i` of a tensor, which is no more than 32 bits wide.
fn number(x: &CpuTensor<'_>, i: usize) -> Option<f64> {
    fn at<const N: usize>(bytes: &[u8], i: usize) -> Option<[u8; N]> {
        bytes.get(i * N..)?.first_chunk().copied()
    }
    Some(match x.dtype {
        DType::F32 => f32::from_le_bytes(at(x.bytes, i)?).into(),
        DType::F16 => f16::from_le_bytes(at(x.bytes, i)?).into(),
        DType::BF16 => bf16::from_le_bytes(at(x.bytes, i)?).into(),
        DType::I32 => i32::from_le_bytes(at(x.bytes, i)?).into(),
        DType::I16 => i16::from_le_bytes(at(x.bytes, i)?).into(),
        DType::U16 => u16::from_le_bytes(at(x.bytes, i)?).into(),
        DType::I8 | DType::I4 | DType::I2 => i8::from_le_bytes(at(x.bytes, i)?).into(),
        DType::U8 | DType::U4 | DType::U2 => u8::from_le_bytes(at(x.bytes, i)?).into(),
        small if small.is_small_float() => small_float(small, *x.bytes.get(i)?),
        _ => return None,
    })
}

/// Puts element `i` of a piece of the result where it belongs.
fn put(dtype: DType, out: &mut [u8], i: usize, value: f64) {
    let size = dtype.block_bytes();
    let Some(out) = out.get_mut(i * size..(i + 1) * size) else { return };
    match dtype {
        DType::F32 => out.copy_from_slice(&(value as f32).to_le_bytes()),
        DType::F16 => out.copy_from_slice(&f16::from_f64(value).to_le_bytes()),
        DType::BF16 => out.copy_from_slice(&bf16::from_f64(value).to_le_bytes()),
        DType::I16 => out.copy_from_slice(&(value as i16).to_le_bytes()),
        DType::U16 => out.copy_from_slice(&(value as u16).to_le_bytes()),
        DType::I8 | DType::I4 | DType::I2 => out.copy_from_slice(&(value as i8).to_le_bytes()),
        _ => out.copy_from_slice(&[value as u8]),
    }
}

pub(super) fn linear(
    kernel: &Linear,
    x: &CpuTensor<'_>,
    scale: &CpuTensor<'_>,
    zero: Option<&CpuTensor<'_>>,
    y: &mut CpuTensorMut<'_>,
) -> Result<()> {
    let scale = scale.read::<f32>();
    let zero = zero.map(|zero| zero.read::<i32>());
    let (to, size) = (y.dtype, y.dtype.block_bytes());
    let short = || Error::internal(format!("{kernel:?} of operands that do not fit"));
    y.bytes.par_chunks_mut(PIECE * size).enumerate().try_for_each(|(piece, out)| {
        for i in 0..out.len() / size {
            let flat = piece * PIECE + i;
            let at = kernel.granularity.place(&x.extents, flat);
            let value = number(x, flat).ok_or_else(short)?;
            let s = *scale.get(at).ok_or_else(short)?;
            let z = match &zero {
                Some(zero) => *zero.get(at).ok_or_else(short)?,
                None => 0,
            };
            match kernel.conversion {
                Conversion::Quantize { precision, saturate } if to.is_small_float() => {
                    let code = crate::ops::quantize::small(to, value, s, precision, saturate);
                    *out.get_mut(i).ok_or_else(short)? = code;
                }
                Conversion::Quantize { precision, .. } => {
                    put(to, out, i, quantized(to, value, s, z, precision) as f64);
                }
                Conversion::Requantize => put(to, out, i, requantized(to, value, s, z) as f64),
                Conversion::Dequantize => put(to, out, i, dequantized(value, s, z).into()),
            }
        }
        Ok(())
    })
}

/// The whole numbers of a tensor.
fn whole(x: &CpuTensor<'_>) -> Vec<i32> {
    match x.dtype {
        DType::I8 => x.read::<i8>().iter().map(|&v| v.into()).collect(),
        DType::U8 => x.read::<u8>().iter().map(|&v| v.into()).collect(),
        _ => x.read::<i32>().into_owned(),
    }
}

/// C = (A - a_zero)(B - b_zero), a row of C at a time.
pub(super) fn product(cx: &mut CpuCx<'_>) -> Result<()> {
    let (a, b) = (cx.input(0)?, cx.input(1)?);
    let ty = |x: &CpuTensor<'_>| {
        let shape: Vec<_> = x.extents.iter().map(|&n| n.into()).collect();
        TensorType::new(x.dtype, shape)
    };
    let g = geometry(&ty(&a), &ty(&b)).map_err(|what| Error::rule("MatMulInteger", what))?;
    let known = |dim: &crate::graph::Dim| {
        let number = dim.as_const().ok_or_else(|| Error::internal("an extent without a number"))?;
        Ok::<usize, Error>(number as usize)
    };
    let (m, n, k) = (known(&g.m)?, known(&g.n)?, known(&g.k)?);
    let mut batch = Vec::new();
    for (dim, (a, b)) in g.batch.iter().zip(g.steps()) {
        batch.push((known(&dim.extent)?, known(&a)?, known(&b)?));
    }
    let (zero_a, zero_b) = (cx.optional(2).map(|z| whole(&z)), cx.optional(3).map(|z| whole(&z)));
    let (a, mut b) = (whole(&a), whole(&b));
    if let Some(zeros) = zero_b.filter(|zeros| !zeros.is_empty()) {
        for row in b.chunks_mut(n.max(1)) {
            row.iter_mut().zip(zeros.iter().cycle()).for_each(|(b, z)| *b = b.wrapping_sub(*z));
        }
    }
    let c = cx.output(0)?.write::<i32>()?;
    c.par_chunks_mut(n.max(1)).enumerate().for_each(|(at, c)| {
        let (z, row) = (at / m.max(1), at % m.max(1));
        let (mut rest, mut za, mut zb) = (z, 0, 0);
        for &(extent, a, b) in batch.iter().rev() {
            za += rest % extent * a;
            zb += rest % extent * b;
            rest /= extent;
        }
        let shift = match &zero_a {
            Some(zeros) if !zeros.is_empty() => zeros[row % zeros.len()],
            _ => 0,
        };
        c.fill(0);
        let left = &a[(za * m + row) * k..][..k];
        for (i, &value) in left.iter().enumerate() {
            let value = value.wrapping_sub(shift);
            let right = &b[(zb * k + i) * n..][..n];
            for (c, b) in c.iter_mut().zip(right) {
                *c = c.wrapping_add(value.wrapping_mul(*b));
            }
        }
    });
    Ok(())
}

//! The CPU's way: rows that chose the same matrix are one product.

use super::{ExpertsKernel, Extents};
use crate::error::{Error, Result};
use crate::kernels::matmul::MatMulKernel;
use crate::kernels::matmul::cpu::{Product, finish, gate};
use crate::kernels::{CpuCx, CpuTensor};
use crate::ops::matmul::expert;
use crate::tensor::DType;

/// Computes an [`ExpertsKernel`].
pub(super) fn run(kernel: &ExpertsKernel, cx: &mut CpuCx<'_>) -> Result<()> {
    let (a, indices, weight) = (cx.input(0)?, cx.input(1)?, cx.input(2)?);
    let (up, allow_int8) = (cx.optional(3), cx.allow_int8);
    let extents = Extents::new(&a.extents, &indices.extents, &weight.extents)
        .ok_or_else(|| Error::internal("experts of other ranks"))?;
    let groups = groups(&indices.read::<i32>(), extents.experts)?;
    let out = cx.output(0)?.write::<f32>()?;
    let (rows, share) = (a.read::<f32>(), if extents.shared { extents.chosen } else { 1 });
    let (n, k) = (extents.n, extents.k);
    let mut left = Vec::new();
    for (expert, pairs) in groups.iter().enumerate().filter(|(_, pairs)| !pairs.is_empty()) {
        left.clear();
        for pair in pairs {
            left.extend_from_slice(&rows[pair / share * k..][..k]);
        }
        let times = |weight: &CpuTensor<'_>| {
            product(&left, pairs.len(), &slice(weight, expert)?, n, allow_int8)
        };
        let mut c = times(&weight)?;
        match &up {
            Some(up) if kernel.gated => gate(&mut c, &times(up)?, kernel.activation),
            _ => finish(&mut c, n, None, kernel.activation),
        }
        for (pair, row) in pairs.iter().zip(c.chunks(n.max(1))) {
            out[pair * n..][..n].copy_from_slice(row);
        }
    }
    Ok(())
}

/// For each matrix, the pairs that chose it.
fn groups(indices: &[i32], experts: usize) -> Result<Vec<Vec<usize>>> {
    let mut groups = vec![Vec::new(); experts];
    for (pair, &index) in indices.iter().enumerate() {
        groups[expert(index.into(), experts, pair)?].push(pair);
    }
    Ok(groups)
}

/// One matrix of a stack.
fn slice<'a>(stack: &CpuTensor<'a>, expert: usize) -> Result<CpuTensor<'a>> {
    let extents = stack.extents[1..].to_vec();
    let size = stack.dtype.bytes(&extents)?;
    Ok(CpuTensor { dtype: stack.dtype, extents, bytes: &stack.bytes[expert * size..][..size] })
}

fn product(
    left: &[f32],
    m: usize,
    weight: &CpuTensor<'_>,
    n: usize,
    allow_int8: bool,
) -> Result<Vec<f32>> {
    let extents = vec![m, weight.extents[1]];
    let a = CpuTensor { dtype: DType::F32, extents, bytes: bytemuck::cast_slice(left) };
    let plain = MatMulKernel { trans_a: false, trans_b: true, activation: None, gated: false };
    let mut c = vec![0f32; m * n];
    Product::new(&plain, &a, weight, allow_int8)?.compute(weight, &mut c)?;
    Ok(c)
}

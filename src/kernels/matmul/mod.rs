//! Matrix products. Seven algorithms, each in a few variants, and the CPU's.
//!
//! | Algorithm | For | How |
//! |---|---|---|
//! | `matvec` | few rows | invocations share rows of B, sums meet in workgroup memory or subgroups |
//! | `strips` | GPUs, one or two rows by a quantised weight | as `matvec`, with quants read four words at a time and multiplied as they are |
//! | `blocks` | software adapters, one row by a quantised weight | quants are multiplied as they are, sums scaled; `pairs`: two words at a time |
//! | `direct` | software adapters | each invocation a tile of its own, straight from storage; `quads`: four share what they read of A |
//! | `tiled` | GPUs | tiles in workgroup memory, 4 by 4 sums per invocation |
//! | `int8` | where rounding to eight bits was asked for | rows of A rounded first, then tiles of packed products |
//! | `coop` | GPUs with cooperative matrices | f16 tiles in workgroup memory |
//!
//! `tiled_128` and `coop_wide` have larger tiles. `tiled` and `coop` also sum over k in parts
//! at once (`ksplit`), where there are few tiles.
//!
//! All read B through the weight decoders, so every type goes through the same
//! sources. Products over the binding limit are cut (`split`).
//!
//! Where rows choose their matrices (`experts`), the algorithms for few rows take
//! them one by one and the others in groups of the same matrix, which a shader
//! makes first. Matrices that no row chose are not read.

mod cpu;
mod dot;
mod dot_coded;
mod experts;
mod gpu;
mod int8;
mod ksplit;
mod request;
mod split;
#[cfg(test)]
mod tests;
mod variants;

pub(in crate::kernels) use cpu::{Left, Target, rows_product};
pub(in crate::kernels) use dot::dot;
pub use experts::ExpertsKernel;
pub(crate) use experts::Extents;
pub(crate) use request::requests;
pub use variants::{FAMILY, VARIANTS};

use super::{CpuCx, Dispatch, GpuCx, Kernel};
use crate::error::Result;
use crate::ops::elementwise::Unary;

/// `activation(a · b + bias)`, or `activation(a · gateᵀ) * (a · upᵀ)` if gated.
///
/// Inputs: a F32, b of a weight type, and bias F32 or nothing; if gated, a,
/// gate and up. Output: F32. Shapes are those of
/// [`MatMul`](crate::ops::matmul::MatMul) and
/// [`GatedMatMul`](crate::ops::matmul::GatedMatMul).
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct MatMulKernel {
    /// The matrices of `a` are stored transposed.
    pub trans_a: bool,
    /// The matrices of `b` are stored transposed.
    pub trans_b: bool,
    /// Applied to the result, or to the gate.
    pub activation: Option<Unary>,
    /// Whether there are two weights.
    pub gated: bool,
}

impl Kernel for MatMulKernel {
    fn name(&self) -> &str {
        if self.gated { "matmul.gated" } else { "matmul.product" }
    }

    fn gpu(&self, cx: &GpuCx<'_>) -> Result<Vec<Dispatch>> {
        gpu::dispatches(self, cx)
    }

    fn cpu(&self, cx: &mut CpuCx<'_>) -> Result<()> {
        cpu::run(self, cx)
    }
}

//! Products of rows with matrices that indices choose for them.

mod cpu;
mod gpu;

use crate::error::{Error, Result};
use crate::graph::{Dim, Shape};
use crate::kernels::{CpuCx, Dispatch, GpuCx, Kernel};
use crate::ops::elementwise::Unary;

/// `activation(a · w[i]ᵀ)` for every index `i` of a row, or
/// `activation(a · gate[i]ᵀ) * (a · up[i]ᵀ)` if gated.
///
/// Inputs: a F32, indices I32, w of a weight type (gate and up if gated).
/// Output: F32. Shapes are those of
/// [`ExpertMatMul`](crate::ops::matmul::ExpertMatMul).
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct ExpertsKernel {
    /// Applied to the result, or to the gate.
    pub activation: Option<Unary>,
    /// Whether there are two weights.
    pub gated: bool,
}

/// The extents of such a product: of dimensions, or of numbers.
#[derive(Debug, Clone, PartialEq)]
pub(crate) struct Extents<T> {
    /// Rows of indices.
    pub(crate) rows: T,
    /// Indices of a row.
    pub(crate) chosen: T,
    /// Whether all indices of a row share a row of A.
    pub(crate) shared: bool,
    /// Matrices.
    pub(crate) experts: T,
    /// Columns of the result.
    pub(crate) n: T,
    /// The length of the sums.
    pub(crate) k: T,
}

impl<T: Clone> Extents<T> {
    /// From the shapes of A, the indices and the weight; `None` if the numbers of
    /// their dimensions are others.
    pub(crate) fn new(a: &[T], chosen: &[T], weight: &[T]) -> Option<Self> {
        let ([rows, per_row], [experts, n, k]) = (chosen, weight) else { return None };
        let shared = match a.len() {
            2 => true,
            3 => false,
            _ => return None,
        };
        Some(Extents {
            rows: rows.clone(),
            chosen: per_row.clone(),
            shared,
            experts: experts.clone(),
            n: n.clone(),
            k: k.clone(),
        })
    }
}

impl Extents<Dim> {
    fn of(a: &Shape, chosen: &Shape, weight: &Shape) -> Result<Self> {
        Extents::new(a, chosen, weight).ok_or_else(|| Error::internal("experts of other ranks"))
    }
}

impl Kernel for ExpertsKernel {
    fn name(&self) -> &str {
        if self.gated { "matmul.gated_experts" } else { "matmul.experts" }
    }

    fn gpu(&self, cx: &GpuCx<'_>) -> Result<Vec<Dispatch>> {
        gpu::dispatches(self, cx)
    }

    fn cpu(&self, cx: &mut CpuCx<'_>) -> Result<()> {
        cpu::run(self, cx)
    }
}

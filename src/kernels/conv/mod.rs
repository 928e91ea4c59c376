//! Convolutions. Three algorithms, each in a few variants, and the CPU's.
//!
//! | Algorithm | For | How |
//! |---|---|---|
//! | `direct` | software adapters; few channels in a group | each invocation alone, straight from storage; `quads`: four share weights |
//! | `winograd` | software adapters; windows of 3 by 3 | products of matrices between two transforms |
//! | `tiled` | GPUs | a matrix product in workgroup memory, whose right side is gathered |
//!
//! The outputs of a transposed convolution that are a stride apart meet the same
//! taps at neighbouring inputs. Each such phase is a convolution of stride 1, so
//! both kinds share their shaders. Convolutions over the binding limit are cut
//! (`split`).

mod cpu;
mod gpu;
mod split;
mod variants;
mod winograd;

pub(crate) use variants::requests;
pub use variants::{FAMILY, VARIANTS};

use super::{CpuCx, Dispatch, GpuCx, Kernel};
use crate::error::Result;
use crate::ops::conv::geometry::Geometry;
use crate::ops::elementwise::Unary;

/// `activation(convolution + bias + residual)`.
///
/// Inputs: x, w, and bias and residual or nothing, F32. Output: F32. Shapes are
/// those of [`Conv`](crate::ops::conv::Conv) and
/// [`ConvTranspose`](crate::ops::conv::ConvTranspose).
#[derive(Debug, Clone, PartialEq)]
pub struct ConvKernel {
    /// The extents.
    pub(crate) geometry: Geometry,
    /// Applied to the result.
    pub(crate) activation: Option<Unary>,
}

impl Kernel for ConvKernel {
    fn name(&self) -> &str {
        if self.geometry.transposed { "conv.transposed" } else { "conv.window" }
    }

    fn gpu(&self, cx: &GpuCx<'_>) -> Result<Vec<Dispatch>> {
        gpu::dispatches(self, cx)
    }

    fn cpu(&self, cx: &mut CpuCx<'_>) -> Result<()> {
        cpu::run(self, cx)
    }
}

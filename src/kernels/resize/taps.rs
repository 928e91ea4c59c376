//! Weighted sums along a dimension, by tables.

use super::{FAMILY, VARIANTS, cpu};
use crate::error::{Error, Result};
use crate::gpu::ShaderRequest;
use crate::graph::Dim;
use crate::kernels::parts;
use crate::kernels::{CpuCx, Dispatch, GpuCx, Grid, Kernel, Param, Place, View};

/// Computes [`Resample`](crate::ops::resize::Resample).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct TapsKernel {
    /// The dimension, from the front.
    pub axis: usize,
}

impl Kernel for TapsKernel {
    fn name(&self) -> &str {
        "resize.taps"
    }

    fn gpu(&self, cx: &GpuCx<'_>) -> Result<Vec<Dispatch>> {
        let (x, indices) = (cx.input(0)?, cx.input(1)?);
        let variant = cx.choose(FAMILY, VARIANTS, |variant| variant.name == "taps")?;
        let [m, taps] = indices.shape.as_slice() else {
            return Err(Error::internal("a table of samples that is no matrix"));
        };
        let longest = cx.bound(taps)?;
        if !cx.caps.loops_fit(longest) {
            let what = format!("{longest} samples for an element on this driver");
            return Err(Error::unsupported("resampling", what));
        }
        let table = cx.bound(&(indices.elements() * 4u64))?;
        if table > cx.caps.max_binding() {
            return Err(parts::too_large("a table of samples", table, cx.caps.max_binding()));
        }
        let rows = Dim::product(&x.shape[..self.axis]);
        let (n, inner) = (&x.shape[self.axis], Dim::product(&x.shape[self.axis + 1..]));
        let sources = parts::runs(cx, "x of a resampling", &rows, &(n * &inner), 4)?;
        let all = cx.output(0)?.elements();
        parts::fits_u32(cx, "elements of a resampling", &all)?;
        let results = parts::split(cx, "the result of a resampling", &all, &[4u64.into()])?;
        let mut dispatches = Vec::new();
        for result in &results {
            for source in &sources {
                let count = result.live(&all);
                dispatches.push(Dispatch {
                    shader: ShaderRequest::new(variant.shader),
                    variant: format!("{FAMILY}/{}", variant.name),
                    bindings: vec![
                        ("x", source.view(Place::Input(0))),
                        ("indices", View::all(Place::Input(1))),
                        ("weights", View::all(Place::Input(2))),
                        ("y", result.view(Place::Output(0), 4)),
                    ],
                    params: vec![
                        ("count", (&count).into()),
                        ("first", Param::U32(result.first as u32)),
                        ("x_first", (&source.first).into()),
                        ("x_live", (&source.live).into()),
                        ("x_base", (&source.base).into()),
                        ("n", n.into()),
                        ("m", m.into()),
                        ("inner", (&inner).into()),
                        ("taps", taps.into()),
                    ],
                    grid: Grid::Linear(count.ceil_div(64u64)),
                    work: count * taps * 4u64,
                });
            }
        }
        Ok(dispatches)
    }

    fn cpu(&self, cx: &mut CpuCx<'_>) -> Result<()> {
        cpu::taps(self.axis, cx)
    }
}

//! Normalisation by neighbouring channels.

use super::FAMILY;
use crate::error::Result;
use crate::gpu::ShaderRequest;
use crate::graph::Dim;
use crate::kernels::parts::{self, Run};
use crate::kernels::{CpuCx, Dispatch, GpuCx, Grid, Kernel, Param, Place};
use crate::ops::norm::LocalResponse;
use rayon::prelude::*;

/// Computes [`LocalResponse`].
#[derive(Debug, Clone, Copy)]
pub struct ResponseKernel {
    /// What to compute.
    pub op: LocalResponse,
}

impl Kernel for ResponseKernel {
    fn name(&self) -> &str {
        "norm.response"
    }

    fn gpu(&self, cx: &GpuCx<'_>) -> Result<Vec<Dispatch>> {
        let x = cx.input(0)?;
        let variant = cx.choose(FAMILY, super::VARIANTS, |variant| {
            variant.name == "response" && cx.caps.loops_fit(u64::from(self.op.size))
        })?;
        let channels = x.shape.get(1).cloned().unwrap_or(Dim::Const(1));
        let inner = Dim::product(x.shape.iter().skip(2));
        let outer = x.shape.first().cloned().unwrap_or(Dim::Const(1));
        let slab = &channels * &inner;
        parts::fits_u32(cx, "elements of LRN", &x.elements())?;
        let runs = parts::runs(cx, "an instance of LRN", &outer, &slab, 4)?;
        let before = (self.op.size - 1) / 2;
        let dispatch = |run: &Run| {
            let count = &run.live * &slab;
            Dispatch {
                shader: ShaderRequest::new(variant.shader),
                variant: format!("{FAMILY}/{}", variant.name),
                bindings: vec![("x", run.view(Place::Input(0))), ("y", run.view(Place::Output(0)))],
                params: vec![
                    ("count", (&count).into()),
                    ("base", (&run.base).into()),
                    ("channels", (&channels).into()),
                    ("inner", (&inner).into()),
                    ("before", Param::U32(before)),
                    ("after", Param::U32(self.op.size - 1 - before)),
                    ("scale", Param::F32(self.op.alpha / self.op.size as f32)),
                    ("bias", Param::F32(self.op.bias)),
                    ("beta", Param::F32(self.op.beta)),
                ],
                grid: Grid::Linear(count.ceil_div(64u64)),
                work: count * u64::from(self.op.size.saturating_add(8)),
            }
        };
        Ok(runs.iter().map(dispatch).collect())
    }

    fn cpu(&self, cx: &mut CpuCx<'_>) -> Result<()> {
        let x = cx.input(0)?;
        let channels = x.extents.get(1).copied().unwrap_or(1);
        let inner: usize = x.extents.iter().skip(2).product();
        let values = x.read::<f32>();
        let y = cx.output(0)?.write::<f32>()?;
        if y.is_empty() {
            return Ok(());
        }
        let op = self.op;
        let before = (op.size as usize - 1) / 2;
        let after = op.size as usize - 1 - before;
        let scale = op.alpha / op.size as f32;
        y.par_chunks_mut(inner).enumerate().for_each(|(row, y)| {
            let channel = row % channels;
            let from = channel.saturating_sub(before);
            let to = (channel + after + 1).min(channels);
            for (i, y) in y.iter_mut().enumerate() {
                let at = |c: usize| values[(row - channel + c) * inner + i];
                let sum: f32 = (from..to).map(|c| at(c) * at(c)).sum();
                *y = at(channel) * (op.bias + scale * sum).powf(-op.beta);
            }
        });
        Ok(())
    }
}

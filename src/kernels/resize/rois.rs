//! Pooling regions.

use super::{FAMILY, VARIANTS, cpu};
use crate::error::{Error, Result};
use crate::gpu::ShaderRequest;
use crate::kernels::parts;
use crate::kernels::{CpuCx, Dispatch, Fault, GpuCx, Grid, Kernel, Param, Place, Variant, View};
use crate::ops::resize::RoiAlign;

/// Computes [`RoiAlign`].
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct RoisKernel {
    /// What to compute.
    pub op: RoiAlign,
}

fn request(variant: &Variant, half_pixel: bool, largest: bool) -> ShaderRequest {
    let features =
        half_pixel.then_some("half_pixel").into_iter().chain(largest.then_some("largest"));
    features.fold(ShaderRequest::new(variant.shader), |request, feature| request.feature(feature))
}

pub(super) fn requests(variant: &Variant) -> Vec<ShaderRequest> {
    let both = |half_pixel| [false, true].map(|largest| request(variant, half_pixel, largest));
    [false, true].into_iter().flat_map(both).collect()
}

impl Kernel for RoisKernel {
    fn name(&self) -> &str {
        "resize.rois"
    }

    fn gpu(&self, cx: &GpuCx<'_>) -> Result<Vec<Dispatch>> {
        let (x, rois, y) = (cx.input(0)?, cx.input(1)?, cx.output(0)?);
        let variant = cx.choose(FAMILY, VARIANTS, |variant| variant.name == "rois")?;
        let ([batches, channels, height, width], [_, _, rows, columns]) =
            (x.shape.as_slice(), y.shape.as_slice())
        else {
            return Err(Error::internal("RoiAlign of no planes"));
        };
        // A region that covers all has so many samples for each result.
        let ratio = u64::from(self.op.sampling_ratio);
        let covered = |n, bins| Ok::<_, Error>(cx.bound(n)? / cx.bound(bins)?.max(1) + 2);
        let samples = match ratio {
            0 => covered(height, rows)? * covered(width, columns)?,
            _ => ratio.saturating_mul(ratio),
        };
        if !cx.caps.loops_fit(samples) {
            let what = format!("{samples} samples for an element on this driver");
            return Err(Error::unsupported("RoiAlign", what));
        }
        let corners = cx.bound(&(rois.elements() * 4u64))?;
        if corners > cx.caps.max_binding() {
            return Err(parts::too_large("rois of RoiAlign", corners, cx.caps.max_binding()));
        }
        let plane = height * width;
        let sources = parts::runs(cx, "x of RoiAlign", &(batches * channels), &plane, 4)?;
        let all = y.elements();
        parts::fits_u32(cx, "elements of RoiAlign", &all)?;
        let results = parts::split(cx, "the result of RoiAlign", &all, &[4u64.into()])?;
        let shift = if self.op.half_pixel { 0.5 } else { 0.0 };
        let mut dispatches = Vec::new();
        for result in &results {
            let count = result.live(&all);
            for source in &sources {
                dispatches.push(Dispatch {
                    shader: request(variant, self.op.half_pixel, self.op.largest),
                    variant: format!("{FAMILY}/{}", variant.name),
                    bindings: vec![
                        ("x", source.view(Place::Input(0))),
                        ("rois", View::all(Place::Input(1))),
                        ("batch_indices", View::all(Place::Input(2))),
                        ("y", result.view(Place::Output(0), 4)),
                        ("status", View::all(Place::Status)),
                    ],
                    params: vec![
                        ("index_code", Param::Status(Fault::Index)),
                        ("count", (&count).into()),
                        ("first", Param::U32(result.first as u32)),
                        ("x_first", (&source.first).into()),
                        ("x_live", (&source.live).into()),
                        ("x_base", (&source.base).into()),
                        ("batches", batches.into()),
                        ("channels", channels.into()),
                        ("height", height.into()),
                        ("width", width.into()),
                        ("rows", rows.into()),
                        ("columns", columns.into()),
                        ("sampling_ratio", Param::U32(self.op.sampling_ratio)),
                        ("spatial_scale", Param::F32(self.op.spatial_scale)),
                        ("shift", Param::F32(shift)),
                    ],
                    grid: Grid::Linear(count.ceil_div(64u64)),
                    work: &count * (samples.min(1 << 20) * 32),
                });
            }
        }
        Ok(dispatches)
    }

    fn cpu(&self, cx: &mut CpuCx<'_>) -> Result<()> {
        cpu::rois(self.op, cx)
    }
}

//! Sampling where a grid says.

use super::{FAMILY, VARIANTS, cpu};
use crate::error::{Error, Result};
use crate::gpu::{ConstValue, ShaderRequest};
use crate::graph::Dim;
use crate::kernels::parts;
use crate::kernels::{CpuCx, Dispatch, GpuCx, Grid, Kernel, Param, Place, Variant};
use crate::ops::resize::{GridSample, Outside, Sampling};

/// Computes [`GridSample`].
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct GridKernel {
    /// What to compute.
    pub op: GridSample,
}

fn request(variant: &Variant, op: GridSample, volume: bool) -> ShaderRequest {
    let mode = match op.mode {
        Sampling::Nearest => Some("nearest"),
        Sampling::Linear => None,
        Sampling::Cubic => Some("cubic"),
    };
    let outside = match op.outside {
        Outside::Zeros => None,
        Outside::Border => Some("border"),
        Outside::Reflection => Some("reflection"),
    };
    let align = op.align_corners.then_some("align");
    let features = mode.into_iter().chain(outside).chain(align).chain(volume.then_some("volume"));
    let request =
        ShaderRequest::new(variant.shader).with("TAPS", ConstValue::U32(op.mode.taps() as u32));
    features.fold(request, |request, feature| request.feature(feature))
}

pub(super) fn requests(variant: &Variant) -> Vec<ShaderRequest> {
    let mut requests = Vec::new();
    for mode in Sampling::ALL {
        for outside in Outside::ALL {
            for align_corners in [false, true] {
                for volume in [false, true] {
                    requests.push(request(
                        variant,
                        GridSample { mode, outside, align_corners },
                        volume,
                    ));
                }
            }
        }
    }
    requests
}

impl Kernel for GridKernel {
    fn name(&self) -> &str {
        "resize.grid"
    }

    fn gpu(&self, cx: &GpuCx<'_>) -> Result<Vec<Dispatch>> {
        let (x, grid) = (cx.input(0)?, cx.input(1)?);
        let variant = cx.choose(FAMILY, VARIANTS, |variant| variant.name == "grid")?;
        let [batch, channels, spatial @ ..] = x.shape.as_slice() else {
            return Err(Error::internal("GridSample of no planes"));
        };
        let [height, width] = &spatial[spatial.len().saturating_sub(2)..] else {
            return Err(Error::internal("GridSample of lines"));
        };
        let volume = spatial.len() == 3;
        let points = Dim::product(&grid.shape[1..grid.rank() - 1]);
        let planes = batch * channels;
        let plane = Dim::product(spatial);
        let sources = parts::runs(cx, "x of GridSample", &planes, &plane, 4)?;
        let point = spatial.len() as u64 * 4;
        let places = batch * &points;
        let grids = parts::split(cx, "the grid of GridSample", &places, &[point.into()])?;
        let all = cx.output(0)?.elements();
        parts::fits_u32(cx, "elements of GridSample", &all)?;
        parts::fits_u32(cx, "numbers of a grid", &grid.elements())?;
        let results = parts::split(cx, "the result of GridSample", &all, &[4u64.into()])?;
        let taps = u64::from(self.op.mode.taps() as u32).pow(spatial.len() as u32);
        let mut dispatches = Vec::new();
        for result in &results {
            let count = result.live(&all);
            for source in &sources {
                for grid in &grids {
                    let mut params: Vec<(&'static str, Param)> = vec![
                        ("count", (&count).into()),
                        ("first", Param::U32(result.first as u32)),
                        ("x_first", (&source.first).into()),
                        ("x_live", (&source.live).into()),
                        ("x_base", (&source.base).into()),
                        ("grid_first", Param::U32(grid.first as u32)),
                        ("grid_count", Param::U32(grid.count as u32)),
                        ("channels", channels.into()),
                        ("points", (&points).into()),
                        ("height", height.into()),
                        ("width", width.into()),
                    ];
                    params.extend(volume.then(|| ("depth", Param::from(&spatial[0]))));
                    dispatches.push(Dispatch {
                        shader: request(variant, self.op, volume),
                        variant: format!("{FAMILY}/{}", variant.name),
                        bindings: vec![
                            ("x", source.view(Place::Input(0))),
                            ("grid", grid.view(Place::Input(1), point)),
                            ("y", result.view(Place::Output(0), 4)),
                        ],
                        params,
                        grid: Grid::Linear(count.ceil_div(64u64)),
                        work: &count * (taps * 16 + 32),
                    });
                }
            }
        }
        Ok(dispatches)
    }

    fn cpu(&self, cx: &mut CpuCx<'_>) -> Result<()> {
        cpu::grid(self.op, cx)
    }
}

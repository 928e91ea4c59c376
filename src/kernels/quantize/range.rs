//! Scale and zero point from the ends of what is to be quantised.

use super::{FAMILY, VARIANTS, plain};
use crate::error::Result;
use crate::kernels::{CpuCx, Dispatch, GpuCx, Grid, Kernel, Place, View};
use crate::ops::quantize::QuantizeRange;

/// Computes [`QuantizeRange`].
#[derive(Debug, Clone, Copy)]
pub struct Range;

impl Kernel for Range {
    fn name(&self) -> &str {
        "quantize.range"
    }

    fn gpu(&self, cx: &GpuCx<'_>) -> Result<Vec<Dispatch>> {
        let variant = cx.choose(FAMILY, VARIANTS, |variant| variant.name == "range")?;
        Ok(vec![Dispatch {
            shader: plain(variant),
            variant: format!("{FAMILY}/{}", variant.name),
            bindings: vec![
                ("largest", View::all(Place::Input(0))),
                ("least", View::all(Place::Input(1))),
                ("scale", View::all(Place::Output(0))),
                ("zero", View::all(Place::Output(1))),
            ],
            params: Vec::new(),
            grid: Grid::Linear(1u64.into()),
            work: 64u64.into(),
        }])
    }

    fn cpu(&self, cx: &mut CpuCx<'_>) -> Result<()> {
        let end = |i| cx.input(i).map(|x| x.read::<f32>().first().copied().unwrap_or(0.0));
        let (scale, zero) = QuantizeRange::of(end(0)?, end(1)?);
        cx.output(0)?.write::<f32>()?.fill(scale);
        cx.output(1)?.write::<i32>()?.fill(zero);
        Ok(())
    }
}

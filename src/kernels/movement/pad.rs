//! Padding on the GPU and on the CPU.

use super::{DIMS, FAMILY, SIZES, STRIDES, VARIANTS, bits_of, cpu, sized};
use crate::error::Result;
use crate::gpu::ShaderRequest;
use crate::graph::Dim;
use crate::kernels::parts;
use crate::kernels::{CpuCx, Dispatch, GpuCx, Grid, Kernel, Param, Place, Variant, View};
use crate::ops::movement::PadMode;
use crate::tensor::MAX_RANK;

const BEFORE: [&str; 8] = ["b0", "b1", "b2", "b3", "b4", "b5", "b6", "b7"];
const KEPT: [&str; 8] = ["m0", "m1", "m2", "m3", "m4", "m5", "m6", "m7"];

/// What becomes of one dimension.
#[derive(Debug, Clone, PartialEq)]
pub struct Padded {
    /// Elements of the result before those of the source.
    pub before: u64,
    /// Elements of the source.
    pub kept: Dim,
    /// Elements of the result.
    pub total: Dim,
    /// How far apart neighbours are in the source.
    pub stride: Dim,
}

/// Copies a part of the source and puts elements around it. The second input,
/// one element, is what [`PadMode::Constant`] puts there; 0 without.
#[derive(Debug, Clone, PartialEq)]
pub struct PadKernel {
    /// What to put there.
    pub mode: PadMode,
    /// Where the first element that is copied is in the source.
    pub start: Dim,
    /// The dimensions, slowest first.
    pub dims: Vec<Padded>,
}

fn feature(mode: PadMode) -> &'static str {
    match mode {
        PadMode::Constant => "constant",
        PadMode::Edge => "edge",
        PadMode::Reflect => "reflect",
        PadMode::Wrap => "wrap",
    }
}

fn request(
    variant: &Variant,
    bits: u32,
    mode: PadMode,
    rank: usize,
    options: &[&'static str],
) -> ShaderRequest {
    let dims = DIMS[..rank].iter().skip(1);
    let features = [feature(mode)].into_iter().chain(dims.copied()).chain(options.iter().copied());
    features.fold(sized(variant, bits), |request, feature| request.feature(feature))
}

pub(super) fn requests(variant: &Variant) -> Vec<ShaderRequest> {
    let mut requests = Vec::new();
    for mode in PadMode::ALL {
        for bits in [8, 16, 32] {
            requests.push(request(variant, bits, mode, 3, &[]));
            requests.push(request(variant, bits, mode, 2, &["windowed"]));
        }
        requests.extend((1..=MAX_RANK).map(|rank| request(variant, 32, mode, rank, &[])));
    }
    requests.push(request(variant, 16, PadMode::Constant, 4, &["filled"]));
    requests.push(request(variant, 16, PadMode::Constant, 4, &["windowed", "filled"]));
    requests
}

impl Kernel for PadKernel {
    fn name(&self) -> &str {
        "movement.pad"
    }

    fn gpu(&self, cx: &GpuCx<'_>) -> Result<Vec<Dispatch>> {
        let (x, y) = (cx.input(0)?, cx.output(0)?);
        let variant = cx.choose(FAMILY, VARIANTS, |variant| variant.name == "pad")?;
        let bits = bits_of("Pad", y.dtype)?;
        let bytes = u64::from(bits / 8);
        let (count, source) = (y.elements(), x.elements());
        parts::fits_u32(cx, "elements of Pad's result", &count)?;
        parts::fits_u32(cx, "elements of Pad's source", &source)?;
        let sources = parts::split(cx, "the source of Pad", &source, &[bytes.into()])?;
        let results = parts::split(cx, "the result of Pad", &count, &[bytes.into()])?;
        let filled = cx.inputs.get(1).is_some_and(Option::is_some);
        let mut options = Vec::new();
        options.extend((sources.len() > 1).then_some("windowed"));
        options.extend(filled.then_some("filled"));
        let shader = request(variant, bits, self.mode, self.dims.len().max(1), &options);
        let params = self.params();
        let mut dispatches = Vec::new();
        for result in &results {
            for source in &sources {
                let live = result.live(&count);
                let mut params = params.clone();
                params.push(("count", (&live).into()));
                params.push(("first", Param::U32(result.first as u32)));
                if sources.len() > 1 {
                    params.push(("source_first", Param::U32(source.first as u32)));
                    params.push(("source_count", Param::U32(source.count as u32)));
                }
                let mut bindings = vec![
                    ("x", source.view(Place::Input(0), bytes)),
                    ("y", result.view(Place::Output(0), bytes)),
                ];
                bindings.extend(filled.then(|| ("value", View::all(Place::Input(1)))));
                dispatches.push(Dispatch {
                    shader: shader.clone(),
                    variant: format!("{FAMILY}/{}", variant.name),
                    bindings,
                    params,
                    grid: Grid::Linear(live.ceil_div(64 * 32 / bits)),
                    work: &live * 16u64,
                });
            }
        }
        Ok(dispatches)
    }

    fn cpu(&self, cx: &mut CpuCx<'_>) -> Result<()> {
        cpu::pad(self, cx)
    }
}

impl PadKernel {
    fn params(&self) -> Vec<(&'static str, Param)> {
        let one = Dim::Const(1);
        let mut params: Vec<(&'static str, Param)> = vec![("start", (&self.start).into())];
        if self.dims.is_empty() {
            // A scalar is a row of one element.
            params.extend([("b0", 0u32.into()), ("m0", (&one).into()), ("s0", (&one).into())]);
        }
        for (axis, dim) in self.dims.iter().enumerate() {
            if axis > 0 {
                params.push((SIZES[axis], (&dim.total).into()));
            }
            params.push((BEFORE[axis], Dim::from(dim.before).into()));
            params.push((KEPT[axis], (&dim.kept).into()));
            params.push((STRIDES[axis], (&dim.stride).into()));
        }
        params
    }
}

//! Normalisation along the last axis and of groups of channels, on the GPU and
//! on the CPU.

mod response;

pub use response::ResponseKernel;

use super::parts::{self, Run};
use super::{CpuCx, Dispatch, GpuCx, Grid, Kernel, Language, Needs, Param, Place, Variant, View};
use crate::error::{Error, Result};
use crate::gpu::{ConstValue, ShaderRequest};
use crate::graph::Dim;
use crate::ops::norm::{Kind, Normalization};
use rayon::prelude::*;

/// The name policies and coverage use.
pub const FAMILY: &str = "norm";

const ROW: Needs = Needs {
    f16: false,
    subgroups: false,
    coop: None,
    lanes: None,
    int64: false,
    int8: false,
    storage_buffers: 8,
    invocations: 128,
    workgroup_bytes: 512,
};

/// Rows up to this length are no work for a SIMD vector of a CPU.
const SHORT: u64 = 16;

/// Rows up to this length leave lanes idle that take eight elements at a time.
const LANES: u64 = 32;

/// How a row is reduced.
pub const VARIANTS: &[Variant] = &[
    // Such a workgroup reads and writes eight neighbouring elements at a time, in
    // words of 64 bits.
    Variant {
        name: "pairs",
        shader: "norm/pairs",
        consts: &[("WORKGROUP", ConstValue::U32(8))],
        features: &[],
        needs: Needs { int64: true, invocations: 8, workgroup_bytes: 32, ..ROW },
        languages: Language::ALL,
        executed_on: &["lavapipe", "lavapipe-old"],
    },
    // A workgroup of one SIMD vector of a CPU takes a row: for software adapters.
    Variant {
        name: "lanes",
        shader: "norm/row",
        consts: &[("WORKGROUP", ConstValue::U32(8))],
        features: &[],
        needs: Needs { invocations: 8, workgroup_bytes: 32, ..ROW },
        languages: Language::ALL,
        executed_on: &["lavapipe", "swiftshader", "lavapipe-old"],
    },
    // One invocation takes a whole row: for short rows on software adapters.
    Variant {
        name: "serial",
        shader: "norm/serial",
        consts: &[("WORKGROUP", ConstValue::U32(8))],
        features: &[],
        needs: Needs { invocations: 8, workgroup_bytes: 0, ..ROW },
        languages: Language::ALL,
        executed_on: &["lavapipe", "swiftshader", "lavapipe-old"],
    },
    // A workgroup takes a row and reduces it with subgroup operations.
    Variant {
        name: "subgroup",
        shader: "norm/row",
        consts: &[("WORKGROUP", ConstValue::U32(128))],
        features: &["subgroups"],
        needs: Needs { subgroups: true, ..ROW },
        languages: Language::ALL,
        executed_on: &["lavapipe", "swiftshader", "lavapipe-old"],
    },
    // A workgroup takes a row and reduces it in workgroup memory.
    Variant {
        name: "workgroup",
        shader: "norm/row",
        consts: &[("WORKGROUP", ConstValue::U32(128))],
        features: &[],
        needs: ROW,
        languages: Language::ALL,
        executed_on: &["lavapipe", "swiftshader", "lavapipe-old"],
    },
    // One invocation takes an element and looks at other channels.
    Variant {
        name: "response",
        shader: "norm/response",
        consts: &[],
        features: &[],
        needs: Needs { invocations: 64, workgroup_bytes: 0, ..ROW },
        languages: Language::ALL,
        executed_on: &["lavapipe", "swiftshader", "lavapipe-old"],
    },
];

/// The shaders a variant is instantiated to.
pub fn requests(variant: &'static Variant) -> Vec<ShaderRequest> {
    if variant.name == "response" {
        return vec![ShaderRequest::new(variant.shader)];
    }
    let grouped = request(variant, Kind::Layer, false, true).feature("grouped");
    let mut requests = if variant.name == "pairs" { vec![] } else { vec![grouped] };
    for skip in [false, true] {
        requests.push(request(variant, Kind::Rms, skip, false));
        requests.push(request(variant, Kind::Layer, skip, false));
        requests.push(request(variant, Kind::Layer, skip, true));
    }
    requests
}

fn request(variant: &Variant, kind: Kind, skip: bool, bias: bool) -> ShaderRequest {
    let mut request = ShaderRequest::new(variant.shader);
    // Rows and their elements are those that were bound.
    request.in_bounds = true;
    for (name, value) in variant.consts {
        request = request.with(*name, *value);
    }
    let wanted = [(kind == Kind::Layer, "centred"), (skip, "skip"), (bias, "biased")];
    let wanted = wanted.iter().filter(|(on, _)| *on).map(|(_, name)| *name);
    variant.features.iter().copied().chain(wanted).fold(request, ShaderRequest::feature)
}

fn workgroup(variant: &Variant) -> Result<u32> {
    match variant.consts {
        [("WORKGROUP", ConstValue::U32(size))] => Ok(*size),
        _ => Err(Error::internal("a norm variant without WORKGROUP")),
    }
}

/// Computes [`Normalization`] of x, or of x + skip where there is a skip.
/// Inputs: x, skip, scale, bias. Outputs: the result and, with skip, the sum.
#[derive(Debug, Clone)]
pub struct NormKernel {
    /// What to compute.
    pub norm: Normalization,
    /// Where rows are groups of channels, and scale and bias are the channels'.
    pub groups: Option<Groups>,
}

/// Channels in groups: a row is `[channels, spatial]`.
#[derive(Debug, Clone, PartialEq)]
pub struct Groups {
    /// Groups of an instance.
    pub groups: u64,
    /// Channels of a group.
    pub channels: u64,
    /// Elements of a channel.
    pub spatial: Dim,
}

impl Kernel for NormKernel {
    fn name(&self) -> &str {
        "norm.last_axis"
    }

    fn gpu(&self, cx: &GpuCx<'_>) -> Result<Vec<Dispatch>> {
        let x = cx.input(0)?;
        let present = |index: usize| cx.inputs.get(index).is_some_and(Option::is_some);
        let (skip, bias) = (present(1), present(3));
        let (rows, n) = match &self.groups {
            None => (x.rows(), x.width()),
            Some(own) => {
                let instances = x.shape.first().cloned().unwrap_or(Dim::Const(1));
                (instances * own.groups, &own.spatial * own.channels)
            }
        };
        let software = cx.caps.is_software();
        let forced = cx.policy.force.contains_key(FAMILY);
        let longest = cx.bound(&n)?;
        let runs = parts::runs(cx, "a row of a normalisation", &rows, &n, 4)?;
        let aligned = parts::in_eights(&n, &runs);
        let can = |variant: &Variant| {
            let serial = variant.name == "serial";
            let share = if serial { 1 } else { workgroup(variant).map_or(1, u64::from) };
            // At most five passes over the row.
            let suits = variant.name != "pairs" || (aligned && self.groups.is_none());
            variant.name != "response"
                && suits
                && cx.caps.loops_fit(5 * longest.div_ceil(share) + 16)
        };
        let suits = |variant: &Variant| {
            forced
                || match variant.name {
                    "pairs" => software && longest > LANES,
                    "lanes" => software && longest > SHORT,
                    "serial" => software && longest <= SHORT,
                    _ => !software,
                }
        };
        let variant = cx
            .choose(FAMILY, VARIANTS, |variant| can(variant) && suits(variant))
            .or_else(|_| cx.choose(FAMILY, VARIANTS, can))?;
        let size = workgroup(variant)?;
        let dispatch = |run: &Run| {
            let live = run.live.clone();
            let mut bindings = vec![
                ("x", run.view(Place::Input(0))),
                ("scale", View::all(Place::Input(2))),
                ("y", run.view(Place::Output(0))),
            ];
            if skip {
                bindings.push(("residual", run.view(Place::Input(1))));
                bindings.push(("sum", run.view(Place::Output(1))));
            }
            if bias {
                bindings.push(("bias", View::all(Place::Input(3))));
            }
            let mut shader = request(variant, self.norm.kind, skip, bias);
            let mut params: Vec<(&'static str, Param)> = vec![
                ("rows", (&live).into()),
                ("base", (&run.base).into()),
                ("n", (&n).into()),
                ("epsilon", self.norm.epsilon.into()),
            ];
            if let Some(own) = &self.groups {
                shader = shader.feature("grouped");
                params.push(("first_row", (&run.first).into()));
                params.push(("groups", Dim::from(own.groups).into()));
                params.push(("channels", Dim::from(own.channels).into()));
                params.push(("spatial", (&own.spatial).into()));
            }
            Dispatch {
                shader,
                variant: format!("{FAMILY}/{}", variant.name),
                bindings,
                params,
                grid: Grid::Linear(match variant.name {
                    "serial" => live.ceil_div(size),
                    _ => live.clone(),
                }),
                work: live * &n * 6u64,
            }
        };
        Ok(runs.iter().map(dispatch).collect())
    }

    fn cpu(&self, cx: &mut CpuCx<'_>) -> Result<()> {
        let (x, scale) = (cx.input(0)?, cx.input(2)?);
        let (skip, bias) = (cx.optional(1), cx.optional(3));
        let (n, own) = match &self.groups {
            None => (x.extents.last().copied().unwrap_or(1), None),
            Some(own) => {
                let spatial = own.spatial.eval(cx.bindings)? as usize;
                let (groups, channels) = (own.groups as usize, own.channels as usize);
                (channels * spatial, Some((groups, channels, spatial)))
            }
        };
        let (x, scale) = (x.read::<f32>(), scale.read::<f32>());
        let (skip, bias) = (skip.map(|t| t.read::<f32>()), bias.map(|t| t.read::<f32>()));
        if n == 0 {
            return Ok(());
        }
        let (results, sums) = cx.outputs.split_at_mut(1);
        let y = results[0].write::<f32>()?;
        let finish = |row: &[f32], y: &mut [f32]| self.row(row, &scale, bias.as_deref(), y);
        match (skip, sums.first_mut()) {
            (Some(skip), Some(sum)) => {
                let sum = sum.write::<f32>()?;
                let rows = y.par_chunks_mut(n).zip(sum.par_chunks_mut(n));
                let given = x.par_chunks(n).zip(skip.par_chunks(n));
                rows.zip(given).for_each(|((y, sum), (x, skip))| {
                    for ((sum, x), skip) in sum.iter_mut().zip(x).zip(skip) {
                        *sum = x + skip;
                    }
                    finish(sum, y);
                });
            }
            _ => {
                let rows = y.par_chunks_mut(n).zip(x.par_chunks(n)).enumerate();
                rows.for_each(|(row, (y, x))| match own {
                    None => finish(x, y),
                    Some((groups, channels, spatial)) => {
                        let first = row % groups * channels;
                        let scale = &scale[first..first + channels];
                        let bias = bias.as_deref().map(|bias| &bias[first..first + channels]);
                        self.group(x, scale, bias, spatial, y);
                    }
                });
            }
        }
        Ok(())
    }
}

impl NormKernel {
    /// The mean of a row and what differences from it are multiplied by.
    fn facts(&self, x: &[f32]) -> (f32, f32) {
        let count = x.len() as f32;
        let mean = match self.norm.kind {
            Kind::Rms => 0.0,
            Kind::Layer => sum(x, |v| v) / count,
        };
        let square = sum(x, |v| (v - mean) * (v - mean)) / count;
        (mean, 1.0 / (square + self.norm.epsilon).sqrt())
    }

    fn row(&self, x: &[f32], scale: &[f32], bias: Option<&[f32]>, y: &mut [f32]) {
        let (mean, factor) = self.facts(x);
        for ((y, x), scale) in y.iter_mut().zip(x).zip(scale) {
            *y = (x - mean) * factor * scale;
        }
        for (y, bias) in y.iter_mut().zip(bias.unwrap_or_default()) {
            *y += bias;
        }
    }

    /// A row of channels, each with its scale and bias.
    fn group(&self, x: &[f32], scale: &[f32], bias: Option<&[f32]>, spatial: usize, y: &mut [f32]) {
        let (mean, factor) = self.facts(x);
        let channels = y.chunks_mut(spatial).zip(x.chunks(spatial)).enumerate();
        for (channel, (y, x)) in channels {
            let (scale, bias) = (scale[channel], bias.map_or(0.0, |bias| bias[channel]));
            for (y, x) in y.iter_mut().zip(x) {
                *y = (x - mean) * factor * scale + bias;
            }
        }
    }
}

/// A sum in eight lanes, so that it vectorises and errs less.
fn sum(x: &[f32], f: impl Fn(f32) -> f32) -> f32 {
    let mut lanes = [0f32; 8];
    let (chunks, rest) = x.as_chunks::<8>();
    for chunk in chunks {
        for (lane, &v) in lanes.iter_mut().zip(chunk) {
            *lane += f(v);
        }
    }
    lanes.iter().sum::<f32>() + rest.iter().map(|&v| f(v)).sum::<f32>()
}

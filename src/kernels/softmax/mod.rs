//! Softmax on the GPU and on the CPU.

use super::parts::{self, Run};
use super::{CpuCx, Dispatch, GpuCx, Grid, Kernel, Language, Needs, Param, Place, Variant};
use crate::error::{Error, Result};
use crate::gpu::{ConstValue, ShaderRequest};
use crate::graph::Dim;
use rayon::prelude::*;

/// The name policies and coverage use.
pub const FAMILY: &str = "softmax";

/// Contiguous rows up to this length are no work for a SIMD vector of a CPU.
const SHORT: u64 = 16;

/// Rows up to this length leave lanes idle that take eight elements at a time.
const LANES: u64 = 32;

/// How a row is reduced.
pub const VARIANTS: &[Variant] = &[
    // Such a workgroup reads and writes eight neighbouring elements at a time, in
    // words of 64 bits.
    Variant {
        name: "pairs",
        shader: "softmax/pairs",
        consts: &[("WORKGROUP", ConstValue::U32(8))],
        features: &[],
        needs: Needs {
            f16: false,
            subgroups: false,
            coop: None,
            lanes: None,
            int64: true,
            int8: false,
            storage_buffers: 8,
            invocations: 8,
            workgroup_bytes: 32,
        },
        languages: Language::ALL,
        executed_on: &["lavapipe", "lavapipe-old"],
    },
    // A workgroup of one SIMD vector of a CPU takes a row: for software adapters.
    Variant {
        name: "lanes",
        shader: "softmax/row",
        consts: &[("WORKGROUP", ConstValue::U32(8))],
        features: &[],
        needs: Needs {
            f16: false,
            subgroups: false,
            coop: None,
            lanes: None,
            int64: false,
            int8: false,
            storage_buffers: 8,
            invocations: 8,
            workgroup_bytes: 32,
        },
        languages: Language::ALL,
        executed_on: &["lavapipe", "swiftshader", "lavapipe-old"],
    },
    // One invocation takes a whole row: for short rows on software adapters, and
    // for rows that are not contiguous.
    Variant {
        name: "serial",
        shader: "softmax/serial",
        consts: &[("WORKGROUP", ConstValue::U32(8))],
        features: &[],
        needs: Needs {
            f16: false,
            subgroups: false,
            coop: None,
            lanes: None,
            int64: false,
            int8: false,
            storage_buffers: 8,
            invocations: 8,
            workgroup_bytes: 0,
        },
        languages: Language::ALL,
        executed_on: &["lavapipe", "swiftshader", "lavapipe-old"],
    },
    // A workgroup takes a row and reduces it with subgroup operations.
    Variant {
        name: "subgroup",
        shader: "softmax/row",
        consts: &[("WORKGROUP", ConstValue::U32(128))],
        features: &["subgroups"],
        needs: Needs {
            f16: false,
            subgroups: true,
            coop: None,
            lanes: None,
            int64: false,
            int8: false,
            storage_buffers: 8,
            invocations: 128,
            workgroup_bytes: 512,
        },
        languages: Language::ALL,
        executed_on: &["lavapipe", "swiftshader", "lavapipe-old"],
    },
    // A workgroup takes a row and reduces it in workgroup memory.
    Variant {
        name: "workgroup",
        shader: "softmax/row",
        consts: &[("WORKGROUP", ConstValue::U32(128))],
        features: &[],
        needs: Needs {
            f16: false,
            subgroups: false,
            coop: None,
            lanes: None,
            int64: false,
            int8: false,
            storage_buffers: 8,
            invocations: 128,
            workgroup_bytes: 512,
        },
        languages: Language::ALL,
        executed_on: &["lavapipe", "swiftshader", "lavapipe-old"],
    },
];

/// The shaders a variant is instantiated to.
pub fn requests(variant: &'static Variant) -> Vec<ShaderRequest> {
    vec![request(variant, false), request(variant, true)]
}

fn request(variant: &Variant, logarithm: bool) -> ShaderRequest {
    let mut request = ShaderRequest::new(variant.shader);
    // Rows and their elements are those that were bound.
    request.in_bounds = true;
    for (name, value) in variant.consts {
        request = request.with(*name, *value);
    }
    let option = logarithm.then_some("logarithm");
    let features = variant.features.iter().copied().chain(option);
    features.fold(request, |request, feature| request.feature(feature))
}

fn workgroup(variant: &Variant) -> Result<u32> {
    match variant.consts {
        [("WORKGROUP", ConstValue::U32(size))] => Ok(*size),
        _ => Err(Error::internal("a softmax variant without WORKGROUP")),
    }
}

/// Computes [`Softmax`](crate::ops::softmax::Softmax) and
/// [`LogSoftmax`](crate::ops::softmax::LogSoftmax).
#[derive(Debug, Clone, Copy)]
pub struct SoftmaxKernel {
    /// The axis, from the front.
    pub axis: usize,
    /// Whether the result is the logarithm of the softmax.
    pub logarithm: bool,
}

impl Kernel for SoftmaxKernel {
    fn name(&self) -> &str {
        "softmax.axis"
    }

    fn gpu(&self, cx: &GpuCx<'_>) -> Result<Vec<Dispatch>> {
        let x = cx.input(0)?;
        let outer = Dim::product(&x.shape[..self.axis]);
        let n = x.shape[self.axis].clone();
        let inner = Dim::product(&x.shape[self.axis + 1..]);
        let contiguous = cx.bound(&inner)? == 1;
        // On a software adapter barriers cost more than they save.
        let software = cx.caps.is_software();
        let forced = cx.policy.force.contains_key(FAMILY);
        let longest = cx.bound(&n)?;
        let slab = &n * &inner;
        let row = if self.logarithm { "a row of LogSoftmax" } else { "a row of Softmax" };
        let runs = parts::runs(cx, row, &outer, &slab, 4)?;
        let can = |variant: &Variant| {
            let serial = variant.name == "serial";
            let share = if serial { 1 } else { workgroup(variant).map_or(1, u64::from) };
            // Three passes over the row.
            let aligned = variant.name != "pairs" || parts::in_eights(&n, &runs);
            (serial || contiguous) && aligned && cx.caps.loops_fit(3 * longest.div_ceil(share) + 16)
        };
        let suits = |variant: &Variant| {
            forced
                || match variant.name {
                    "pairs" => software && longest > LANES && !cx.caps.gathers,
                    "lanes" => software && longest > SHORT,
                    "serial" => !contiguous || (software && longest <= SHORT),
                    _ => !software && contiguous,
                }
        };
        let variant = cx
            .choose(FAMILY, VARIANTS, |variant| can(variant) && suits(variant))
            .or_else(|_| cx.choose(FAMILY, VARIANTS, can))?;
        let size = workgroup(variant)?;
        let dispatch = |run: &Run| {
            // An axis of no elements has no rows to write.
            let rows = &run.live * &inner * n.min(1u64);
            let grid = match variant.name {
                "serial" => rows.ceil_div(size),
                _ => rows.clone(),
            };
            let mut params: Vec<(&'static str, Param)> =
                vec![("rows", (&rows).into()), ("base", (&run.base).into()), ("n", (&n).into())];
            if variant.name == "serial" {
                params.push(("inner", (&inner).into()));
            }
            Dispatch {
                shader: request(variant, self.logarithm),
                variant: format!("{FAMILY}/{}", variant.name),
                bindings: vec![("x", run.view(Place::Input(0))), ("y", run.view(Place::Output(0)))],
                params,
                grid: Grid::Linear(grid),
                work: rows * &n * 8u64,
            }
        };
        Ok(runs.iter().map(dispatch).collect())
    }

    fn cpu(&self, cx: &mut CpuCx<'_>) -> Result<()> {
        let x = cx.input(0)?;
        let (n, values) = (x.extents[self.axis], x.read::<f32>());
        let inner: usize = x.extents[self.axis + 1..].iter().product();
        let y = cx.output(0)?.write::<f32>()?;
        if y.is_empty() {
            return Ok(());
        }
        let slabs = y.par_chunks_mut(n * inner).zip(values.par_chunks(n * inner));
        let row = if self.logarithm { log_row } else { row };
        slabs.for_each(|(y, x)| {
            for i in 0..inner {
                row(x, y, i, inner);
            }
        });
        Ok(())
    }
}

/// Softmax of the elements from `start` on, `stride` apart.
fn row(x: &[f32], y: &mut [f32], start: usize, stride: usize) {
    let max = largest(x, start, stride);
    let mut sum = 0.0;
    for at in (start..x.len()).step_by(stride) {
        y[at] = (x[at] - max).exp();
        sum += y[at];
    }
    for at in (start..x.len()).step_by(stride) {
        y[at] /= sum;
    }
}

/// Its logarithm.
fn log_row(x: &[f32], y: &mut [f32], start: usize, stride: usize) {
    let max = largest(x, start, stride);
    let mut sum = 0.0;
    for at in (start..x.len()).step_by(stride) {
        y[at] = x[at] - max;
        sum += y[at].exp();
    }
    let log = f32::ln(sum);
    for at in (start..x.len()).step_by(stride) {
        y[at] -= log;
    }
}

fn largest(x: &[f32], start: usize, stride: usize) -> f32 {
    x[start..].iter().step_by(stride).copied().fold(f32::MIN, f32::max)
}

//! Copies with strides on the GPU and on the CPU.

mod cpu;

use super::parts;
use super::{CpuCx, Dispatch, GpuCx, Grid, Kernel, Language, Needs, Param, Variant, View};
use crate::error::{Error, Result};
use crate::gpu::{ConstValue, ShaderRequest};
use crate::graph::Dim;
use crate::tensor::{DType, MAX_RANK};

/// The name policies and coverage use.
pub const FAMILY: &str = "movement";

const NEEDS: Needs =
    Needs { f16: false, subgroups: false, coop: None, invocations: 64, workgroup_bytes: 0 };

/// One way to gather and one way to place; words hold 1, 2 or 4 elements.
pub const VARIANTS: &[Variant] = &[
    Variant {
        name: "copy",
        shader: "movement/copy",
        consts: &[],
        features: &[],
        needs: NEEDS,
        languages: Language::ALL,
        executed_on: &["lavapipe", "swiftshader", "lavapipe-old"],
    },
    Variant {
        name: "place",
        shader: "movement/place",
        consts: &[],
        features: &[],
        needs: NEEDS,
        languages: Language::ALL,
        executed_on: &["lavapipe", "swiftshader", "lavapipe-old"],
    },
];

const DIMS: [&str; 8] = ["dim0", "dim1", "dim2", "dim3", "dim4", "dim5", "dim6", "dim7"];
const SIZES: [&str; 8] = ["n0", "n1", "n2", "n3", "n4", "n5", "n6", "n7"];
const STRIDES: [&str; 8] = ["s0", "s1", "s2", "s3", "s4", "s5", "s6", "s7"];

/// The shaders a variant is instantiated to.
pub fn requests(variant: &'static Variant) -> Vec<ShaderRequest> {
    let mut requests = Vec::new();
    for bits in [8, 16, 32] {
        match variant.name {
            "place" => requests.push(placing(variant, bits)),
            _ => requests.extend((1..=MAX_RANK).map(|rank| copying(variant, bits, rank))),
        }
    }
    requests
}

fn sized(variant: &Variant, bits: u32) -> ShaderRequest {
    ShaderRequest::new(variant.shader)
        .with("BITS", ConstValue::U32(bits))
        .with("LANES", ConstValue::U32(32 / bits))
}

fn copying(variant: &Variant, bits: u32, rank: usize) -> ShaderRequest {
    let request = sized(variant, bits);
    DIMS[..rank].iter().skip(1).fold(request, |request, dim| request.feature(*dim))
}

fn placing(variant: &Variant, bits: u32) -> ShaderRequest {
    let request = sized(variant, bits);
    if bits < 32 { request.feature("merge") } else { request }
}

/// Bits of an element on the device.
fn bits_of(at: &str, dtype: DType) -> Result<u32> {
    match dtype.block_bytes() {
        bytes @ (1 | 2 | 4) if !dtype.is_quantised() => Ok(bytes as u32 * 8),
        _ => Err(Error::unsupported(at, format!("{dtype} on a GPU; the CPU backend computes it"))),
    }
}

/// How far apart neighbours along a dimension of the result are in the source.
#[derive(Debug, Clone, PartialEq)]
pub struct Step {
    /// The distance in elements.
    pub stride: Dim,
    /// Whether positions count down.
    pub backward: bool,
}

impl Step {
    /// A step that counts up.
    pub fn forward(stride: Dim) -> Self {
        Step { stride, backward: false }
    }
}

/// Element `(i0, i1, ...)` of the result is source element `start ± i0 * stride
/// ± i1 * stride ...`.
#[derive(Debug, Clone, PartialEq)]
pub struct StridedCopy {
    /// Where the first element is.
    pub start: Dim,
    /// One for each dimension of the result.
    pub steps: Vec<Step>,
}

impl Kernel for StridedCopy {
    fn name(&self) -> &str {
        "movement.copy"
    }

    fn gpu(&self, cx: &GpuCx<'_>) -> Result<Vec<Dispatch>> {
        let (x, y) = (cx.input(0)?, cx.output(0)?);
        let variant = cx.choose(FAMILY, VARIANTS, |variant| variant.name == "copy")?;
        let bits = bits_of("a copy", y.dtype)?;
        let bytes = u64::from(bits / 8);
        parts::unsplit(cx, "the source of a copy", &(x.elements() * bytes))?;
        let count = y.elements();
        parts::fits_u32(cx, "elements of a copy", &count)?;
        let rank = self.steps.len().max(1);
        let backward = self.steps.iter().enumerate();
        let backward = backward.fold(0, |mask, (i, step)| mask | (u32::from(step.backward) << i));
        let zero = Dim::Const(0);
        let first_stride = self.steps.first().map_or(&zero, |step| &step.stride);
        let parts = parts::split(cx, "the result of a copy", &count, &[bytes.into()])?;
        let dispatch = |part: &parts::Part| {
            let live = part.live(&count);
            let mut params: Vec<(&'static str, Param)> = vec![
                ("count", (&live).into()),
                ("first", Param::U32(part.first as u32)),
                ("start", (&self.start).into()),
                ("backward", Param::U32(backward)),
                ("s0", first_stride.into()),
            ];
            for axis in 1..self.steps.len() {
                params.push((SIZES[axis], (&y.shape[axis]).into()));
                params.push((STRIDES[axis], (&self.steps[axis].stride).into()));
            }
            Dispatch {
                shader: copying(variant, bits, rank),
                variant: format!("{FAMILY}/{}", variant.name),
                bindings: vec![
                    ("x", View::all(super::Place::Input(0))),
                    ("y", part.view(super::Place::Output(0), bytes)),
                ],
                params,
                grid: Grid::Linear(live.ceil_div(64 * 32 / bits)),
                work: live * 8u64,
            }
        };
        Ok(parts.iter().map(dispatch).collect())
    }

    fn cpu(&self, cx: &mut CpuCx<'_>) -> Result<()> {
        cpu::copy(self, cx)
    }
}

/// Puts its inputs one after another along an axis.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Place {
    /// The axis, from the front.
    pub axis: usize,
}

impl Kernel for Place {
    fn name(&self) -> &str {
        "movement.place"
    }

    fn gpu(&self, cx: &GpuCx<'_>) -> Result<Vec<Dispatch>> {
        let y = cx.output(0)?;
        let variant = cx.choose(FAMILY, VARIANTS, |variant| variant.name == "place")?;
        let bits = bits_of("Concat", y.dtype)?;
        let (bytes, lanes) = (u64::from(bits / 8), 32 / bits);
        let outer = Dim::product(&y.shape[..self.axis]);
        let result_row = Dim::product(&y.shape[self.axis..]);
        let mut dispatches = Vec::new();
        let mut column = Dim::Const(0);
        for i in 0..cx.inputs.len() {
            let row = Dim::product(&cx.input(i)?.shape[self.axis..]);
            let row_bytes = [&row * bytes, &result_row * bytes];
            let rows = parts::split(cx, "a row of Concat", &outer, &row_bytes)?;
            let (from, to) = (cx.bound(&row_bytes[0])?, cx.bound(&row_bytes[1])?);
            for part in &rows {
                let live = part.live(&outer);
                let elements = &live * &result_row;
                parts::fits_u32(cx, "elements of Concat", &elements)?;
                // An input of no elements has nothing to put anywhere.
                let count = match lanes {
                    1 => &live * &row,
                    _ => elements.ceil_div(lanes) * row.min(1u64),
                };
                dispatches.push(Dispatch {
                    shader: placing(variant, bits),
                    variant: format!("{FAMILY}/{}", variant.name),
                    bindings: vec![
                        ("x", part.view(super::Place::Input(i), from)),
                        ("y", part.view(super::Place::Output(0), to)),
                    ],
                    params: vec![
                        ("count", (&count).into()),
                        ("row", (&row).into()),
                        ("result_row", (&result_row).into()),
                        ("column", (&column).into()),
                        ("elements", elements.into()),
                    ],
                    grid: Grid::Linear(count.ceil_div(64u64)),
                    work: count * 8u64,
                });
            }
            column = column + row;
        }
        Ok(dispatches)
    }

    fn cpu(&self, cx: &mut CpuCx<'_>) -> Result<()> {
        cpu::place(*self, cx)
    }
}

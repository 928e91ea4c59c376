//! Copies with strides on the GPU and on the CPU.

mod cpu;
mod pad;
mod trilu;
mod turn;

pub use pad::{PadKernel, Padded};
pub use trilu::TriluKernel;

use super::parts::{self, Part};
use super::{CpuCx, Dispatch, GpuCx, Grid, Kernel, Language, Needs, Param, Variant};
use crate::error::{Error, Result};
use crate::gpu::{ConstValue, ShaderRequest};
use crate::graph::Dim;
use crate::tensor::{DType, MAX_RANK};

/// The name policies and coverage use.
pub const FAMILY: &str = "movement";

const NEEDS: Needs = Needs {
    f16: false,
    subgroups: false,
    coop: None,
    lanes: None,
    int64: false,
    int8: false,
    storage_buffers: 8,
    invocations: 64,
    workgroup_bytes: 0,
};

/// One way for each thing to do; words hold 1, 2 or 4 elements. `copy` and `place` have one
/// more, for runs of whole vectors of four words.
pub const VARIANTS: &[Variant] = &[
    variant(COPY_VECTORS, "movement/copy", &["vectors"]),
    variant(PLACE_VECTORS, "movement/place", &["vectors"]),
    variant("copy", "movement/copy", &[]),
    // Copies that turn rows into columns: in workgroups of one SIMD vector for
    // software adapters, and through tiles in workgroup memory.
    Variant {
        consts: &[("WORKGROUP", ConstValue::U32(8))],
        needs: Needs { invocations: 8, ..NEEDS },
        ..variant("turn", "movement/turn", &[])
    },
    Variant {
        consts: &[("WORKGROUP", ConstValue::U32(256))],
        needs: Needs { invocations: 256, workgroup_bytes: 4224, ..NEEDS },
        ..variant("turn_tile", "movement/turn_tile", &[])
    },
    variant("place", "movement/place", &[]),
    variant("pad", "movement/pad", &[]),
    variant("trilu", "movement/trilu", &[]),
];

const fn variant(
    name: &'static str,
    shader: &'static str,
    features: &'static [&'static str],
) -> Variant {
    let executed_on = &["lavapipe", "swiftshader", "lavapipe-old"];
    let (consts, needs, languages) = (&[], NEEDS, Language::ALL);
    Variant { name, shader, consts, features, needs, languages, executed_on }
}

const COPY_VECTORS: &str = "copy_vectors";
const PLACE_VECTORS: &str = "place_vectors";

/// Bytes of a vector of four words.
const VECTOR: u64 = 16;

const DIMS: [&str; 8] = ["dim0", "dim1", "dim2", "dim3", "dim4", "dim5", "dim6", "dim7"];
const SIZES: [&str; 8] = ["n0", "n1", "n2", "n3", "n4", "n5", "n6", "n7"];
const STRIDES: [&str; 8] = ["s0", "s1", "s2", "s3", "s4", "s5", "s6", "s7"];

/// The shaders a variant is instantiated to.
pub fn requests(variant: &'static Variant) -> Vec<ShaderRequest> {
    match variant.name {
        "pad" => return pad::requests(variant),
        "trilu" => return trilu::requests(variant),
        "turn" | "turn_tile" => return turn::requests(variant),
        COPY_VECTORS => {
            return (1..=MAX_RANK).map(|rank| copying(variant, 32, rank, false)).collect();
        }
        PLACE_VECTORS => return vec![sized(variant, 32)],
        _ => {}
    }
    let mut requests = Vec::new();
    for bits in [8, 16, 32] {
        match variant.name {
            "place" => requests.push(placing(variant, bits)),
            _ => {
                requests.extend((1..=MAX_RANK).map(|rank| copying(variant, bits, rank, false)));
                requests.push(copying(variant, bits, 4, true));
            }
        }
    }
    requests
}

fn is_vectors(variant: &Variant) -> bool {
    matches!(variant.name, COPY_VECTORS | PLACE_VECTORS)
}

/// A shader for elements of so many bits; for vectors, which are moved whole, of 32.
fn sized(variant: &Variant, bits: u32) -> ShaderRequest {
    let request = ShaderRequest::new(variant.shader)
        .with("BITS", ConstValue::U32(bits))
        .with("LANES", ConstValue::U32(32 / bits));
    variant.features.iter().copied().fold(request, ShaderRequest::feature)
}

fn copying(variant: &Variant, bits: u32, rank: usize, windowed: bool) -> ShaderRequest {
    let mut request = sized(variant, bits);
    if windowed {
        request = request.feature("windowed");
    }
    DIMS[..rank].iter().skip(1).fold(request, |request, dim| request.feature(*dim))
}

fn placing(variant: &Variant, bits: u32) -> ShaderRequest {
    let request = sized(variant, bits);
    if bits < 32 { request.feature("merge") } else { request }
}

/// Bits of an element on the device.
pub(crate) fn bits_of(at: &str, dtype: DType) -> Result<u32> {
    match dtype.device_block_bytes() {
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
        let bits = bits_of("a copy", y.dtype)?;
        let bytes = u64::from(bits / 8);
        let whole = |what: &str, elements: &Dim| -> Result<bool> {
            parts::fits_u32(cx, &format!("elements of {what}"), elements)?;
            Ok(parts::split(cx, what, elements, &[bytes.into()])?.len() == 1)
        };
        let whole = whole("the source of a copy", &x.elements())?
            & whole("the result of a copy", &y.elements())?;
        if whole
            && let Some((copy, shape)) = self.of_vectors(&y.shape, VECTOR / bytes)
            && let Ok(variant) = cx.choose(FAMILY, VARIANTS, |own| own.name == COPY_VECTORS)
        {
            let source = &x.elements() / &Dim::Const(VECTOR / bytes);
            return copy.dispatches(cx, variant, &source, &shape, VECTOR);
        }
        if bits == 32
            && whole
            && let Some(dispatch) = turn::dispatch(self, cx)?
        {
            return Ok(vec![dispatch]);
        }
        let variant = cx.choose(FAMILY, VARIANTS, |variant| variant.name == "copy")?;
        self.dispatches(cx, variant, &x.elements(), &y.shape, bytes)
    }

    fn cpu(&self, cx: &mut CpuCx<'_>) -> Result<()> {
        cpu::copy(self, cx)
    }
}

impl StridedCopy {
    /// Dispatches that copy elements of so many bytes, or vectors.
    fn dispatches(
        &self,
        cx: &GpuCx<'_>,
        variant: &'static Variant,
        source: &Dim,
        shape: &[Dim],
        bytes: u64,
    ) -> Result<Vec<Dispatch>> {
        let count = Dim::product(shape);
        let sources = parts::split(cx, "the source of a copy", source, &[bytes.into()])?;
        let results = parts::split(cx, "the result of a copy", &count, &[bytes.into()])?;
        let windowed = sources.len() > 1;
        if windowed && is_vectors(variant) {
            return Err(Error::internal("a copy of vectors from parts of a source"));
        }
        // Elements that an invocation writes.
        let each = if is_vectors(variant) { 1 } else { 4 / bytes };
        let bits = if is_vectors(variant) { 32 } else { bytes as u32 * 8 };
        let params = self.params(shape);
        let shader = copying(variant, bits, self.steps.len().max(1), windowed);
        let mut dispatches = Vec::new();
        for result in &results {
            let live = result.live(&count);
            for source in &sources {
                let mut params = params.clone();
                params.push(("count", (&live).into()));
                params.push(("first", Param::U32(result.first as u32)));
                if windowed {
                    params.push(("source_first", Param::U32(source.first as u32)));
                    params.push(("source_count", Param::U32(source.count as u32)));
                }
                dispatches.push(Dispatch {
                    shader: shader.clone(),
                    variant: format!("{FAMILY}/{}", variant.name),
                    bindings: vec![
                        ("x", source.view(super::Place::Input(0), bytes)),
                        ("y", result.view(super::Place::Output(0), bytes)),
                    ],
                    params,
                    grid: Grid::Linear(live.ceil_div(64 * each)),
                    work: &live * 8u64,
                });
            }
        }
        Ok(dispatches)
    }

    /// The same copy, and the result's shape, in vectors of so many elements: where runs along
    /// the last dimension are whole vectors, and begin at a multiple of one in the source.
    fn of_vectors(&self, shape: &[Dim], elements: u64) -> Option<(Self, Vec<Dim>)> {
        let vector = Dim::Const(elements);
        let (last, others) = self.steps.split_last()?;
        let run = shape.last()?;
        let is_run = !last.backward && last.stride.as_const() == Some(1);
        let apart = |(step, dim): (&Step, &Dim)| {
            dim.as_const() == Some(1) || step.stride.is_multiple_of(elements)
        };
        let fits = is_run
            && run.is_multiple_of(elements)
            && self.start.is_multiple_of(elements)
            && others.iter().zip(shape).all(apart);
        if !fits {
            return None;
        }
        let mut steps: Vec<Step> = others.to_vec();
        steps.iter_mut().for_each(|step| step.stride = &step.stride / &vector);
        steps.push(last.clone());
        let mut shape = shape.to_vec();
        *shape.last_mut()? = run / &vector;
        Some((StridedCopy { start: &self.start / &vector, steps }, shape))
    }

    /// The parameters that say where elements come from.
    fn params(&self, shape: &[Dim]) -> Vec<(&'static str, Param)> {
        let backward = self.steps.iter().enumerate();
        let backward = backward.fold(0, |mask, (i, step)| mask | (u32::from(step.backward) << i));
        let zero = Dim::Const(0);
        let first = self.steps.first().map_or(&zero, |step| &step.stride);
        let mut params: Vec<(&'static str, Param)> = vec![
            ("start", (&self.start).into()),
            ("backward", Param::U32(backward)),
            ("s0", first.into()),
        ];
        for axis in 1..self.steps.len() {
            params.push((SIZES[axis], (&shape[axis]).into()));
            params.push((STRIDES[axis], (&self.steps[axis].stride).into()));
        }
        params
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
        let bits = bits_of("Concat", y.dtype)?;
        let rows = (0..cx.inputs.len())
            .map(|i| Ok(Dim::product(&cx.input(i)?.shape[self.axis..])))
            .collect::<Result<Vec<Dim>>>()?;
        let elements = VECTOR / u64::from(bits / 8);
        let in_vectors = rows.iter().all(|row| row.is_multiple_of(elements));
        let variant = cx
            .choose(FAMILY, VARIANTS, |own| own.name == PLACE_VECTORS && in_vectors)
            .or_else(|_| cx.choose(FAMILY, VARIANTS, |own| own.name == "place"))?;
        // In vectors everything below counts these.
        let (shader, bytes, lanes, scale) = if is_vectors(variant) {
            (sized(variant, 32), VECTOR, 1, elements)
        } else {
            (placing(variant, bits), u64::from(bits / 8), 32 / bits, 1)
        };
        let scale = Dim::Const(scale);
        let outer = Dim::product(&y.shape[..self.axis]);
        let result_row = &Dim::product(&y.shape[self.axis..]) / &scale;
        let elements = &outer * &result_row;
        parts::fits_u32(cx, "elements of Concat", &elements)?;
        let results = parts::split(cx, "the result of Concat", &elements, &[bytes.into()])?;
        let mut dispatches = Vec::new();
        let mut column = Dim::Const(0);
        for (i, row) in rows.iter().enumerate() {
            let row = row / &scale;
            let all = &outer * &row;
            let place = Placed { row, result_row: result_row.clone(), column, lanes };
            for x in &parts::split(cx, "an input of Concat", &all, &[bytes.into()])? {
                for y in &results {
                    let count = place.units([x, y], &all, &elements);
                    if count.as_const() == Some(0) {
                        continue;
                    }
                    dispatches.push(Dispatch {
                        shader: shader.clone(),
                        variant: format!("{FAMILY}/{}", variant.name),
                        bindings: vec![
                            ("x", x.view(super::Place::Input(i), bytes)),
                            ("y", y.view(super::Place::Output(0), bytes)),
                        ],
                        params: vec![
                            ("count", (&count).into()),
                            ("row", (&place.row).into()),
                            ("result_row", (&result_row).into()),
                            ("column", (&place.column).into()),
                            ("elements", (&elements).into()),
                            ("x_first", Param::U32(x.first as u32)),
                            ("x_count", Param::U32(x.count as u32)),
                            ("y_first", Param::U32(y.first as u32)),
                            ("y_count", Param::U32(y.count as u32)),
                        ],
                        grid: Grid::Linear(count.ceil_div(64u64)),
                        work: count * 8u64,
                    });
                }
            }
            column = place.column + place.row;
        }
        Ok(dispatches)
    }

    fn cpu(&self, cx: &mut CpuCx<'_>) -> Result<()> {
        cpu::place(*self, cx)
    }
}

/// Where an input of Concat goes.
struct Placed {
    row: Dim,
    result_row: Dim,
    column: Dim,
    lanes: u32,
}

impl Placed {
    /// Invocations for a part of an input of `all` elements and a part of the
    /// result; none where nothing of the one goes to the other.
    fn units(&self, [x, y]: [&Part; 2], all: &Dim, elements: &Dim) -> Dim {
        let live = x.live(all);
        let end = self.place(&(&live + x.first));
        let meets = (y.live(elements) + y.first - self.place(&x.first.into())).min(1u64)
            * (end - y.first).min(1u64);
        let units = match self.lanes {
            1 => live,
            // An input of no elements has nothing to put anywhere.
            lanes => y.live(elements).ceil_div(lanes) * live.min(1u64),
        };
        units * meets
    }

    /// Where element `i` goes. Later elements go to later places.
    fn place(&self, i: &Dim) -> Dim {
        let row = self.row.max(1u64);
        let before = i / &row;
        let rest = i - &before * &row;
        before * &self.result_row + &self.column + rest
    }
}

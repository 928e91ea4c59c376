//! Picking slices by index.

mod cpu;
mod places;

pub(crate) use cpu::whole_numbers;
pub use places::PlacesKernel;
pub(crate) use places::{KINDS, dims, index_bytes, index_parts, params, placed};

use super::parts::{self, Part, Run};
use super::{CpuCx, Dispatch, GpuCx, Grid, Kernel, Language, Needs, Param, Place, Variant, View};
use crate::error::{Error, Result};
use crate::gpu::ShaderRequest;
use crate::graph::{Dim, TensorType};
use crate::ops::gather::{Gather, Layout};
use crate::quant::{DeviceLayout, WEIGHT_TYPES};
use crate::tensor::DType;

/// The name policies and coverage use.
pub const FAMILY: &str = "gather";

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

/// How elements get from data to output.
pub const VARIANTS: &[Variant] = &[
    // As they are, in words.
    Variant {
        name: "words",
        shader: "gather/words",
        consts: &[],
        features: &[],
        needs: NEEDS,
        languages: Language::ALL,
        executed_on: &["lavapipe", "lavapipe-old", "swiftshader"],
    },
    // Decoded by the weight type's module, eight at a time.
    Variant {
        name: "decode",
        shader: "gather/decode",
        consts: &[],
        features: &[],
        needs: NEEDS,
        languages: Language::ALL,
        executed_on: &["lavapipe", "lavapipe-old", "swiftshader"],
    },
    // As they are, one by one, from wherever indices say.
    Variant {
        name: "places",
        shader: "gather/take",
        consts: &[],
        features: &[],
        needs: NEEDS,
        languages: Language::ALL,
        executed_on: &["lavapipe", "lavapipe-old", "swiftshader"],
    },
];

/// The shaders a variant is instantiated to.
pub fn requests(variant: &'static Variant) -> Vec<ShaderRequest> {
    match variant.name {
        "places" => places::requests(variant),
        "decode" => {
            let kinds = WEIGHT_TYPES.iter().flat_map(|&dtype| [(dtype, 1), (dtype, 32)]);
            let kinds = kinds.filter(|(dtype, together)| dtype.is_quantised() || *together == 1);
            kinds.filter_map(|(dtype, together)| request(variant, dtype, together).ok()).collect()
        }
        _ => vec![ShaderRequest::new(variant.shader)],
    }
}

fn request(variant: &Variant, dtype: DType, together: u64) -> Result<ShaderRequest> {
    let request = ShaderRequest::new(variant.shader);
    if variant.name != "decode" {
        return Ok(request);
    }
    let layout = DeviceLayout::of(dtype)
        .ok_or_else(|| Error::unsupported(FAMILY, format!("decoding {dtype}")))?;
    let request = request.module("weight", layout.shader().trim_end_matches(".wgsl"));
    if together == 1 {
        return Ok(request);
    }
    Ok(request.feature("interleaved").with("TOGETHER", together as u32))
}

/// Elements that one invocation writes, as the shaders have it.
fn group_len(variant: &Variant) -> u64 {
    if variant.name == "decode" { 8 } else { 4 }
}

/// Computes [`Gather`].
#[derive(Debug, Clone, Copy)]
pub struct GatherKernel {
    /// What to compute.
    pub op: Gather,
}

/// Rows of data that one dispatch has bound.
struct Source {
    rows: Run,
    /// Their part of the head, where there is one.
    head: Option<View>,
}

/// The rows of data in parts that fit a binding, and whose elements shaders can
/// count in 32 bits.
fn sources(cx: &GpuCx<'_>, data: &TensorType, rows: &Dim, inner: &Dim) -> Result<Vec<Source>> {
    const WHAT: &str = "data of Gather";
    let quantised = data.dtype.is_quantised();
    let Some(layout) = DeviceLayout::of(data.dtype).filter(|_| quantised) else {
        let runs = parts::runs(cx, WHAT, rows, inner, data.dtype.device_block_bytes() as u64)?;
        return Ok(runs.into_iter().map(|rows| Source { rows, head: None }).collect());
    };
    let blocks = inner / layout.block_len;
    let body = &blocks * layout.body_bytes_per_block;
    let head = &blocks * layout.head_bytes_per_block;
    let parts = parts::split(cx, WHAT, rows, &[body.clone(), head.clone()])?;
    let (body, head) = (cx.bound(&body)?, cx.bound(&head)?);
    let source = |part: &Part| {
        parts::fits_u32(cx, "elements of a part of Gather's data", &(inner * part.count))?;
        let view = part.view(Place::Head(0), head);
        let head = layout.has_head().then_some(view);
        Ok(Source { rows: Run::fixed(part, rows, body), head })
    };
    parts.iter().map(source).collect()
}

impl Kernel for GatherKernel {
    fn name(&self) -> &str {
        "gather.rows"
    }

    fn gpu(&self, cx: &GpuCx<'_>) -> Result<Vec<Dispatch>> {
        let (data, indices) = (cx.input(0)?, cx.input(1)?);
        let whole_words = data.dtype.device_block_bytes() == 4 && !data.dtype.is_quantised();
        let variant = cx.choose(FAMILY, VARIANTS, |variant| match variant.name {
            "words" => whole_words,
            "decode" => DeviceLayout::of(data.dtype).is_some(),
            _ => false,
        })?;
        let layout = self.op.layout(&data.shape, &indices.shape, |dims| Dim::product(dims))?;
        let rows = &layout.outer * &layout.axis;
        let sources = sources(cx, data, &rows, &layout.inner)?;
        let results = &layout.outer * &layout.picked;
        let results = parts::runs(cx, "output of Gather", &results, &layout.inner, 4)?;
        let index_parts =
            parts::split(cx, "indices of Gather", &indices.elements(), &[4u64.into()])?;
        let mut dispatches = Vec::new();
        for source in &sources {
            for result in &results {
                for index_part in &index_parts {
                    let parts = (source, index_part, result);
                    dispatches.push(self.dispatch(cx, variant, &layout, parts)?);
                }
            }
        }
        Ok(dispatches)
    }

    fn cpu(&self, cx: &mut CpuCx<'_>) -> Result<()> {
        cpu::run(self.op, cx)
    }
}

impl GatherKernel {
    fn dispatch(
        &self,
        cx: &GpuCx<'_>,
        variant: &Variant,
        layout: &Layout<Dim>,
        (source, index_part, result): (&Source, &Part, &Run),
    ) -> Result<Dispatch> {
        let data = cx.input(0)?;
        let name = if variant.name == "decode" { "w_body" } else { "data" };
        let mut bindings = vec![
            (name, source.rows.view(Place::Input(0))),
            ("indices", index_part.view(Place::Input(1), 4)),
            ("result", result.view(Place::Output(0))),
        ];
        bindings.extend(source.head.clone().map(|head| ("w_head", head)));
        if DeviceLayout::of(data.dtype).is_some_and(|layout| layout.has_codebook()) {
            bindings.push(("w_table", View::all(Place::Codebook(data.dtype))));
        }
        let groups = layout.inner.ceil_div(group_len(variant));
        let units = &result.live * &groups;
        parts::fits_u32(cx, "invocations of Gather", &units)?;
        let together = cx.together(0)?;
        let mut params: Vec<(&'static str, Param)> = vec![
            ("units", (&units).into()),
            ("row_groups", groups.into()),
            ("inner", (&layout.inner).into()),
            ("first_result", (&result.first).into()),
            ("result_base", (&result.base).into()),
            ("first_index", Param::U32(index_part.first as u32)),
            ("indices_bound", Param::U32(index_part.count as u32)),
            ("picked", (&layout.picked).into()),
            ("per_batch", (&layout.per_batch).into()),
            ("axis", (&layout.axis).into()),
            ("first_row", (&source.rows.first).into()),
            ("rows", (&source.rows.live).into()),
            ("data_base", (&source.rows.base).into()),
        ];
        if together > 1 {
            let block = data.dtype.block_len();
            params.push(("row_blocks", (data.width() / block).into()));
        }
        Ok(Dispatch {
            shader: request(variant, data.dtype, together)?,
            variant: format!("{FAMILY}/{}", variant.name),
            bindings,
            params,
            grid: Grid::Linear(units.ceil_div(64u64)),
            work: units * 16u64,
        })
    }
}

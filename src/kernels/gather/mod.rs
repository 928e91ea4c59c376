//! Picking slices by index.

mod cpu;

use super::parts::{self, Part};
use super::{CpuCx, Dispatch, GpuCx, Grid, Kernel, Language, Needs, Param, Place, Variant};
use crate::error::{Error, Result};
use crate::gpu::ShaderRequest;
use crate::graph::{Dim, TensorType};
use crate::ops::gather::{Gather, Layout};
use crate::quant::{DeviceLayout, WEIGHT_TYPES};
use crate::tensor::DType;

/// The name policies and coverage use.
pub const FAMILY: &str = "gather";

const NEEDS: Needs =
    Needs { f16: false, subgroups: false, coop: None, invocations: 64, workgroup_bytes: 0 };

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
];

/// The shaders a variant is instantiated to.
pub fn requests(variant: &'static Variant) -> Vec<ShaderRequest> {
    match variant.name {
        "decode" => WEIGHT_TYPES.iter().filter_map(|&dtype| request(variant, dtype).ok()).collect(),
        _ => vec![ShaderRequest::new(variant.shader)],
    }
}

fn request(variant: &Variant, dtype: DType) -> Result<ShaderRequest> {
    let request = ShaderRequest::new(variant.shader);
    if variant.name != "decode" {
        return Ok(request);
    }
    let layout = DeviceLayout::of(dtype)
        .ok_or_else(|| Error::unsupported(FAMILY, format!("decoding {dtype}")))?;
    Ok(request.module("weight", layout.shader().trim_end_matches(".wgsl")))
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

/// Bytes of a row of `inner` elements in the body and in the head.
fn row_bytes(data: &TensorType, inner: &Dim) -> (Dim, Dim) {
    match DeviceLayout::of(data.dtype).filter(DeviceLayout::has_head) {
        Some(layout) => {
            let blocks = inner / layout.block_len;
            (&blocks * layout.body_bytes_per_block, &blocks * layout.head_bytes_per_block)
        }
        None => (inner * data.dtype.block_bytes(), Dim::Const(0)),
    }
}

impl Kernel for GatherKernel {
    fn name(&self) -> &str {
        "gather.rows"
    }

    fn gpu(&self, cx: &GpuCx<'_>) -> Result<Vec<Dispatch>> {
        let (data, indices) = (cx.input(0)?, cx.input(1)?);
        let whole_words = data.dtype.block_bytes() == 4 && !data.dtype.is_quantised();
        let variant = cx.choose(FAMILY, VARIANTS, |variant| match variant.name {
            "words" => whole_words,
            _ => DeviceLayout::of(data.dtype).is_some(),
        })?;
        let layout = self.op.layout(&data.shape, &indices.shape, |dims| Dim::product(dims))?;
        let (body, head) = row_bytes(data, &layout.inner);
        let rows = &layout.outer * &layout.axis;
        let data_parts = parts::split(cx, "data of Gather", &rows, &[body.clone(), head.clone()])?;
        // Shaders count the elements of a part in 32 bits.
        for part in &data_parts {
            let elements = &layout.inner * part.count;
            parts::fits_u32(cx, "elements of a part of Gather's data", &elements)?;
        }
        let results = &layout.outer * &layout.picked;
        let result_parts = parts::split(cx, "output of Gather", &results, &[&layout.inner * 4u64])?;
        let index_parts =
            parts::split(cx, "indices of Gather", &indices.elements(), &[4u64.into()])?;
        let mut dispatches = Vec::new();
        for data_part in &data_parts {
            for result_part in &result_parts {
                for index_part in &index_parts {
                    let parts = [data_part, index_part, result_part];
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
        [data_part, index_part, result_part]: [&Part; 3],
    ) -> Result<Dispatch> {
        let data = cx.input(0)?;
        let (body, head) = row_bytes(data, &layout.inner);
        let (body, head) = (cx.bound(&body)?, cx.bound(&head)?);
        let source = if variant.name == "decode" { "w_body" } else { "data" };
        let result_bytes = cx.bound(&(&layout.inner * 4u64))?;
        let mut bindings = vec![
            (source, data_part.view(Place::Input(0), body)),
            ("indices", index_part.view(Place::Input(1), 4)),
            ("result", result_part.view(Place::Output(0), result_bytes)),
        ];
        if DeviceLayout::of(data.dtype).is_some_and(|layout| layout.has_head()) {
            bindings.push(("w_head", data_part.view(Place::Head(0), head)));
        }
        let live = result_part.live(&(&layout.outer * &layout.picked));
        let groups = layout.inner.ceil_div(group_len(variant));
        let units = live * &groups;
        parts::fits_u32(cx, "invocations of Gather", &units)?;
        Ok(Dispatch {
            shader: request(variant, data.dtype)?,
            variant: format!("{FAMILY}/{}", variant.name),
            bindings,
            params: vec![
                ("units", (&units).into()),
                ("row_groups", groups.into()),
                ("inner", (&layout.inner).into()),
                ("first_result", Param::U32(result_part.first as u32)),
                ("first_index", Param::U32(index_part.first as u32)),
                ("indices_bound", Param::U32(index_part.count as u32)),
                ("picked", (&layout.picked).into()),
                ("per_batch", (&layout.per_batch).into()),
                ("axis", (&layout.axis).into()),
                ("first_row", Param::U32(data_part.first as u32)),
                ("rows", Param::U32(data_part.count as u32)),
            ],
            grid: Grid::Linear(units.ceil_div(64u64)),
            work: units * 16u64,
        })
    }
}

//! Updating states in place.

pub(super) mod cpu;

use super::parts::{self, Part, Run};
use super::{CpuCx, Dispatch, GpuCx, Grid, Kernel, Language, Needs, Param, Place, Variant, View};
use crate::error::Result;
use crate::gpu::ShaderRequest;
use crate::graph::Dim;
use crate::ops::state::TensorScatter;
use crate::tensor::DType;

/// The name policies and coverage use.
pub const FAMILY: &str = "state";

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

/// What one invocation writes.
pub const VARIANTS: &[Variant] = &[
    Variant {
        name: "f32",
        shader: "state/scatter_f32",
        consts: &[],
        features: &[],
        needs: NEEDS,
        languages: Language::ALL,
        executed_on: &["lavapipe", "swiftshader", "lavapipe-old"],
    },
    // A word with two halves of the same row.
    Variant {
        name: "f16_even",
        shader: "state/scatter_f16",
        consts: &[],
        features: &[],
        needs: NEEDS,
        languages: Language::ALL,
        executed_on: &["lavapipe", "swiftshader", "lavapipe-old"],
    },
    // A word whose halves may belong to two rows.
    Variant {
        name: "f16_odd",
        shader: "state/scatter_f16",
        consts: &[],
        features: &["odd"],
        needs: NEEDS,
        languages: Language::ALL,
        executed_on: &["lavapipe", "swiftshader", "lavapipe-old"],
    },
];

/// The shaders a variant is instantiated to, and the copy before them.
pub fn requests(variant: &'static Variant) -> Vec<ShaderRequest> {
    vec![request(variant), ShaderRequest::new(COPY)]
}

const COPY: &str = "state/copy";

fn request(variant: &Variant) -> ShaderRequest {
    let request = ShaderRequest::new(variant.shader);
    variant.features.iter().fold(request, |request, feature| request.feature(*feature))
}

/// Computes [`TensorScatter`]. Input 0 is absent where the cache is updated in
/// place; otherwise it is copied first.
#[derive(Debug, Clone, Copy)]
pub struct ScatterKernel {
    /// What to compute.
    pub op: TensorScatter,
}

impl Kernel for ScatterKernel {
    fn name(&self) -> &str {
        "state.scatter"
    }

    fn gpu(&self, cx: &GpuCx<'_>) -> Result<Vec<Dispatch>> {
        let (cache, update) = (cx.output(0)?, cx.input(1)?);
        let odd = cache.shape[3].as_const().is_none_or(|width| width % 2 != 0);
        let wanted = match (cache.dtype, odd) {
            (DType::F32, _) => "f32",
            (_, false) => "f16_even",
            (_, true) => "f16_odd",
        };
        // The odd variant serves even rows too, so that a test can force it.
        let fits = |v: &Variant| v.name == wanted || (wanted == "f16_even" && v.name == "f16_odd");
        let variant = cx.choose(FAMILY, VARIANTS, fits)?;
        let elements = cache.elements();
        parts::fits_u32(cx, "elements of a cache", &elements)?;
        let bytes = &elements * cache.dtype.block_bytes();
        let words = bytes.ceil_div(4u64);
        let windows = parts::split(cx, "cache", &words, &[4u64.into()])?;
        let width = &update.shape[3];
        let rows = Dim::product(&update.shape[..3]);
        let runs = parts::runs(cx, "update of TensorScatter", &rows, width, 4)?;
        let index_parts = parts::split(cx, "write_indices", &update.shape[0], &[4u64.into()])?;
        let mut dispatches = Vec::new();
        if cx.inputs.first().is_some_and(Option::is_some) {
            let label = format!("{FAMILY}/{}", variant.name);
            dispatches = copies(cx, "cache", [0, 0], &label)?;
        }
        for window in &windows {
            for run in &runs {
                for indices in &index_parts {
                    dispatches.push(self.scatter(cx, variant, run, [window, indices])?);
                }
            }
        }
        Ok(dispatches)
    }

    fn cpu(&self, cx: &mut CpuCx<'_>) -> Result<()> {
        cpu::run(self.op, cx)
    }
}

impl ScatterKernel {
    fn scatter(
        &self,
        cx: &GpuCx<'_>,
        variant: &Variant,
        run: &Run,
        [window, indices]: [&Part; 2],
    ) -> Result<Dispatch> {
        let (cache, update) = (cx.output(0)?, cx.input(1)?);
        let width = &update.shape[3];
        let (tokens, groups) = self.op.update_axes();
        let per_row = match variant.name {
            "f32" => width.clone(),
            _ => width.ceil_div(2u64),
        };
        let units = &run.live * &per_row;
        let bytes = cx.bound(&(cache.elements() * cache.dtype.block_bytes()))?;
        Ok(Dispatch {
            shader: request(variant),
            variant: format!("{FAMILY}/{}", variant.name),
            bindings: vec![
                ("cache", words_view(window, Place::Output(0), bytes)),
                ("updates", run.view(Place::Input(1))),
                ("write_indices", indices.view(Place::Input(2), 4)),
            ],
            params: vec![
                ("units", (&units).into()),
                ("first_row", (&run.first).into()),
                ("rows", (&run.live).into()),
                ("base", (&run.base).into()),
                ("first_index", Param::U32(indices.first as u32)),
                ("indices_bound", Param::U32(indices.count as u32)),
                ("tokens", (&update.shape[tokens]).into()),
                ("groups", (&update.shape[groups]).into()),
                ("token_major", Param::U32(u32::from(self.op.token_major))),
                ("capacity", (&cache.shape[2]).into()),
                ("cache_rows", Dim::product(&cache.shape[..3]).into()),
                ("width", width.into()),
                ("window_first", Param::U32(window.first as u32)),
                ("window_words", Param::U32(window.count as u32)),
            ],
            grid: Grid::Linear(units.ceil_div(64u64)),
            work: units * 8u64,
        })
    }
}

/// The words of a window. The last one may be half a word past the operand,
/// which is room that buffers have.
pub(super) fn words_view(window: &Part, place: Place, bytes: u64) -> View {
    let first = window.first * 4;
    View::range(place, first, (window.count * 4).min(bytes - first))
}

/// Copies an input to an output of the same type, for kernels that go on from there;
/// `label` is the variant that does.
///
/// # Errors
/// As [`parts::split`].
pub(crate) fn copies(
    cx: &GpuCx<'_>,
    what: &str,
    [input, output]: [usize; 2],
    label: &str,
) -> Result<Vec<Dispatch>> {
    let ty = cx.input(input)?;
    let bytes = ty.elements() * ty.dtype.block_bytes();
    let words = bytes.ceil_div(4u64);
    let bytes = cx.bound(&bytes)?;
    let copy = |window: &Part| {
        let live = window.live(&words);
        Dispatch {
            shader: ShaderRequest::new(COPY),
            variant: label.into(),
            bindings: vec![
                ("source", words_view(window, Place::Input(input), bytes)),
                ("sink", words_view(window, Place::Output(output), bytes)),
            ],
            params: vec![("words", (&live).into())],
            grid: Grid::Linear(live.ceil_div(64u64)),
            work: live,
        }
    };
    Ok(parts::split(cx, what, &words, &[4u64.into()])?.iter().map(copy).collect())
}

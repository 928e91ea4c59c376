//! Rotary position embedding.

mod cpu;
mod scatter;

pub use scatter::RotaryScatterKernel;

use super::parts::{self, Part, Run};
use super::{CpuCx, Dispatch, GpuCx, Grid, Kernel, Language, Needs, Param, Place, Variant};
use crate::error::Result;
use crate::gpu::ShaderRequest;
use crate::graph::Dim;
use crate::ops::rotary::RotaryEmbedding;

/// The name policies and coverage use.
pub const FAMILY: &str = "rotary";

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

/// What one invocation has.
pub const VARIANTS: &[Variant] = &[
    // A pair of features, or one that is copied.
    variant("pairs", "rotary/pairs", NEEDS, EVERYWHERE),
    // Four features of a query, a key or a value; the last two go to their caches. Queries,
    // keys and values are in the same rows, and neither normalised nor taken from others.
    variant(scatter::PACKED, SCATTER, NEEDS, EVERYWHERE),
    // The same wherever they are, normalised or not. SwiftShader binds fewer buffers.
    variant(
        scatter::WHOLE,
        SCATTER,
        Needs { storage_buffers: 14, workgroup_bytes: 256, ..NEEDS },
        &["lavapipe", "lavapipe-old"],
    ),
    // A dispatch each for queries, keys and values: for devices that bind fewer buffers.
    variant(scatter::APART, SCATTER, Needs { workgroup_bytes: 256, ..NEEDS }, EVERYWHERE),
];

const SCATTER: &str = "rotary/scatter";
const EVERYWHERE: &[&str] = &["lavapipe", "lavapipe-old", "swiftshader"];

const fn variant(
    name: &'static str,
    shader: &'static str,
    needs: Needs,
    executed_on: &'static [&'static str],
) -> Variant {
    let (consts, features, languages) = (&[], &[], Language::ALL);
    Variant { name, shader, consts, features, needs, languages, executed_on }
}

/// The shaders a variant is instantiated to.
pub fn requests(variant: &'static Variant) -> Vec<ShaderRequest> {
    match variant.shader {
        SCATTER => scatter::requests(variant),
        shader => vec![ShaderRequest::new(shader)],
    }
}

/// Computes [`RotaryEmbedding`].
#[derive(Debug, Clone, Copy)]
pub struct RotaryKernel {
    /// What to compute.
    pub op: RotaryEmbedding,
}

impl Kernel for RotaryKernel {
    fn name(&self) -> &str {
        "rotary.embedding"
    }

    fn gpu(&self, cx: &GpuCx<'_>) -> Result<Vec<Dispatch>> {
        let variant = cx.choose(FAMILY, VARIANTS, |variant| variant.shader != SCATTER)?;
        let (x, table) = (cx.input(0)?, cx.input(1)?);
        let (token_elements, pairs) = (Dim::product(&x.shape[2..]), self.op.rotary_dim as u64 / 2);
        let tokens = Dim::product(&x.shape[..2]);
        let token_parts = parts::runs(cx, "x of RotaryEmbedding", &tokens, &token_elements, 4)?;
        let position_parts = parts::split(cx, "position_ids", &tokens, &[4u64.into()])?;
        let table_parts =
            parts::split(cx, "tables of RotaryEmbedding", &table.shape[0], &[(pairs * 4).into()])?;
        let mut dispatches = Vec::new();
        for tokens in &token_parts {
            for positions in &position_parts {
                for table in &table_parts {
                    dispatches.push(self.dispatch(cx, variant, tokens, [positions, table])?);
                }
            }
        }
        Ok(dispatches)
    }

    fn cpu(&self, cx: &mut CpuCx<'_>) -> Result<()> {
        cpu::run(self.op, cx)
    }
}

impl RotaryKernel {
    fn dispatch(
        &self,
        cx: &GpuCx<'_>,
        variant: &Variant,
        run: &Run,
        [positions, table]: [&Part; 2],
    ) -> Result<Dispatch> {
        let (x, cos) = (cx.input(0)?, cx.input(1)?);
        let (heads, width) = (&x.shape[2], &x.shape[3]);
        let half = self.op.rotary_dim as u64 / 2;
        let (stride, partner) = if self.op.interleaved { (2, 1) } else { (1, half as u32) };
        let units = &run.live * heads * (width - half);
        parts::fits_u32(cx, "invocations of RotaryEmbedding", &units)?;
        let mut bindings = vec![
            ("x", run.view(Place::Input(0))),
            ("positions", positions.view(Place::Input(3), 4)),
            ("result", run.view(Place::Output(0))),
        ];
        for (name, input) in [("cosines", 1), ("sines", 2)] {
            bindings.push((name, table.view(Place::Input(input), half * 4)));
        }
        Ok(Dispatch {
            shader: ShaderRequest::new(variant.shader),
            variant: format!("{FAMILY}/{}", variant.name),
            bindings,
            params: vec![
                ("units", (&units).into()),
                ("first_token", (&run.first).into()),
                ("base", (&run.base).into()),
                ("first_position", Param::U32(positions.first as u32)),
                ("positions_bound", Param::U32(positions.count as u32)),
                ("heads", heads.into()),
                ("width", width.into()),
                ("half", Param::U32(half as u32)),
                ("stride", Param::U32(stride)),
                ("partner", Param::U32(partner)),
                ("positions_end", (&cos.shape[0]).into()),
                ("table_first", Param::U32(table.first as u32)),
                ("table_rows", Param::U32(table.count as u32)),
            ],
            grid: Grid::Linear(units.ceil_div(64u64)),
            work: units * 6u64,
        })
    }
}

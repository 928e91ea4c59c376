//! Linear attention: a state for each key head, brought forward token by token.
//! The columns of a state are independent, so each has an invocation. And the
//! convolution before it (`convolution.rs`), whose channels are.

mod convolution;
mod cpu;

use super::parts::{self, Part};
use super::state::copies;
use super::{CpuCx, Dispatch, GpuCx, Grid, Kernel, Language, Needs, Param, Place, Variant, View};
use crate::error::{Error, Result};
use crate::gpu::{ConstValue, ShaderRequest};
use crate::graph::Dim;
use crate::ops::linear_attention::{Heads, scale_for};
pub use convolution::ConvolutionKernel;

/// The name policies and coverage use.
pub const FAMILY: &str = "linear_attention";

/// The longest column of a state that an invocation holds.
const LONGEST: u64 = 1024;

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

const SCAN: &str = "linear_attention/scan";
const CONVOLUTION: &str = "linear_attention/convolution";

/// How many columns or channels a workgroup has.
pub const VARIANTS: &[Variant] = &[
    Variant {
        name: "columns",
        shader: SCAN,
        consts: &[("WORKGROUP", ConstValue::U32(64))],
        features: &[],
        needs: NEEDS,
        languages: Language::ALL,
        executed_on: &["lavapipe", "swiftshader", "lavapipe-old"],
    },
    // As many as a software adapter has lanes.
    Variant {
        name: "few_columns",
        shader: SCAN,
        consts: &[("WORKGROUP", ConstValue::U32(8))],
        features: &[],
        needs: Needs { invocations: 8, ..NEEDS },
        languages: Language::ALL,
        executed_on: &["lavapipe", "swiftshader", "lavapipe-old"],
    },
    Variant {
        name: "channels",
        shader: CONVOLUTION,
        consts: &[("WORKGROUP", ConstValue::U32(64))],
        features: &[],
        needs: NEEDS,
        languages: Language::ALL,
        executed_on: &["lavapipe", "swiftshader", "lavapipe-old"],
    },
];

/// The shaders a variant is instantiated to.
pub fn requests(variant: &'static Variant) -> Vec<ShaderRequest> {
    if variant.shader == CONVOLUTION {
        return convolution::requests(variant);
    }
    let mut requests = Vec::new();
    for head in [7, 64] {
        for (decay, beta) in [(None, false), (Some(true), true), (Some(false), false)] {
            for [past, resumed, span] in
                [[0, 0, 0], [1, 0, 0], [0, 1, 0], [0, 1, 1]].map(|row| row.map(|on| on == 1))
            {
                let plain = [beta, past, resumed, span, false];
                requests.push(request(variant, head, decay, plain));
            }
        }
        for decay in [None, Some(true)] {
            requests.push(request(variant, head, decay, [false, false, true, true, true]));
        }
    }
    requests
}

/// `decay` says whether there is one for each row of the state.
fn request(
    variant: &Variant,
    head: u64,
    decay: Option<bool>,
    [beta, past, resumed, span, erase]: [bool; 5],
) -> ShaderRequest {
    let consts = variant.consts.iter();
    let request = ShaderRequest::new(variant.shader).with("HEAD", ConstValue::U32(head as u32));
    let request = consts.fold(request, |request, (name, value)| request.with(*name, *value));
    let wanted = [
        (decay.is_some(), "decay"),
        (decay == Some(true), "each"),
        (beta, "beta"),
        (past, "past"),
        (resumed, "resumed"),
        (span, "span"),
        (erase, "erase"),
    ];
    let wanted = wanted.into_iter().filter(|(on, _)| *on);
    wanted.fold(request, |request, (_, name)| request.feature(name))
}

/// Computes [`LinearAttention`](crate::ops::linear_attention::LinearAttention) and, with
/// a seventh input (and an eighth), its stateful kind, with the inputs and outputs of these. The state
/// of the latter is absent where it is updated in place.
#[derive(Debug, Clone, Copy)]
pub struct LinearAttentionKernel {
    /// Which heads belong together.
    pub(crate) heads: Heads,
    /// What outputs are multiplied with; `None` for `1 / sqrt(D)`.
    pub(crate) scale: Option<f32>,
}

impl Kernel for LinearAttentionKernel {
    fn name(&self) -> &str {
        "linear_attention.scan"
    }

    fn gpu(&self, cx: &GpuCx<'_>) -> Result<Vec<Dispatch>> {
        let sizes = self.heads.sizes(cx.input(0)?, cx.input(2)?)?;
        if sizes.head > LONGEST {
            let what = format!("a state of {} rows, more than {LONGEST}", sizes.head);
            return Err(Error::unsupported("LinearAttention", what));
        }
        let (batch, tokens) = (&cx.input(0)?.shape[0], &cx.input(0)?.shape[1]);
        // An iteration for each row of the state in each pass, and the end of each loop,
        // which drivers count as well.
        let share = self.heads.outputs / self.heads.states;
        let passes = (sizes.head + 1) * (5 + share) + share + 4;
        let around = 2 * (sizes.head + 1) + 2;
        let can = |variant: &Variant| variant.shader == SCAN && cx.caps.loops_fit(passes + around);
        let software = cx.caps.is_software();
        let suits = |variant: &Variant| (variant.name == "few_columns") == software;
        let forced = cx.policy.force.contains_key(FAMILY);
        let variant = cx
            .choose(FAMILY, VARIANTS, |variant| can(variant) && (forced || suits(variant)))
            .or_else(|_| cx.choose(FAMILY, VARIANTS, can))?;
        let left = cx.caps.loop_iterations.map_or(u64::MAX, |most| most.saturating_sub(around));
        let chunk = (left / passes).clamp(1, 1024);
        let all = cx.bound(tokens)?;
        let width =
            |index: usize| cx.inputs.get(index).and_then(Option::as_ref).map(|ty| ty.width());
        let (decay, beta, erase) = (width(4), width(5), width(7));
        let state = sizes.head * sizes.value * self.heads.states;
        let token = |width: u64| tokens * (width * 4);
        let mut row: Vec<Dim> = vec![
            token(sizes.head * self.heads.queries()),
            token(sizes.head * self.heads.keys),
            token(sizes.value * self.heads.states),
            token(sizes.value * self.heads.outputs),
            (state * 4).into(),
        ];
        row.extend(
            [&decay, &beta, &erase].into_iter().flatten().map(|width| tokens * width * 4u64),
        );
        let has = |index: usize| cx.inputs.get(index).is_some_and(Option::is_some);
        let parts = parts::split(cx, "a sequence of LinearAttention", batch, &row)?;
        let mut dispatches = Vec::new();
        if has(6) && has(3) {
            let label = format!("{FAMILY}/{}", variant.name);
            dispatches = copies(cx, "a state", [3, 1], &label)?;
        }
        for part in &parts {
            // Without tokens the state goes through all the same.
            for first in (0..all.max(1)).step_by(chunk as usize) {
                dispatches.push(self.dispatch(cx, variant, part, [first, chunk], &row)?);
            }
        }
        Ok(dispatches)
    }

    fn cpu(&self, cx: &mut CpuCx<'_>) -> Result<()> {
        cpu::run(self, cx)
    }
}

impl LinearAttentionKernel {
    /// The tokens from `first` on of some sequences; `row` has the bytes of a
    /// sequence in each operand.
    fn dispatch(
        &self,
        cx: &GpuCx<'_>,
        variant: &'static Variant,
        part: &Part,
        [first, count]: [u64; 2],
        row: &[Dim],
    ) -> Result<Dispatch> {
        let sizes = self.heads.sizes(cx.input(0)?, cx.input(2)?)?;
        let (batch, tokens) = (&cx.input(0)?.shape[0], &cx.input(0)?.shape[1]);
        let present = |index: usize| cx.inputs.get(index).is_some_and(Option::is_some);
        let (beta, span, erase) = (present(5), present(6), present(7));
        let past = present(3) && !span;
        let decay = cx
            .inputs
            .get(4)
            .and_then(Option::as_ref)
            .map(|ty| ty.width() != Dim::from(self.heads.states) || sizes.head == 1);
        let mut places = vec![
            ("q", Place::Input(0)),
            ("k", Place::Input(1)),
            ("v", Place::Input(2)),
            ("y", Place::Output(0)),
            ("present", Place::Output(1)),
        ];
        let optional = [(present(4), "decay", 4), (beta, "beta", 5), (erase, "erase", 7)];
        let optional = optional.into_iter().filter(|(on, ..)| *on);
        places.extend(optional.map(|(_, name, index)| (name, Place::Input(index))));
        let mut bindings = Vec::new();
        for ((name, place), bytes) in places.into_iter().zip(row) {
            bindings.push((name, part.view(place, cx.bound(bytes)?)));
        }
        let number = |value: u64| Param::U32(value as u32);
        if past {
            let bytes = sizes.head * sizes.value * self.heads.states * 4;
            bindings.push(("past", part.view(Place::Input(3), bytes)));
        }
        if span {
            bindings.push(("span", View::all(Place::Input(6))));
        }
        let columns = part.live(batch) * (self.heads.states * sizes.value);
        let mut params: Vec<(&'static str, Param)> = vec![
            ("columns", (&columns).into()),
            ("tokens", tokens.into()),
            ("first", number(first)),
            ("count", number(count)),
            ("heads", number(self.heads.outputs)),
            ("groups", number(self.heads.states)),
            ("keys", number(self.heads.keys)),
            ("queries", number(self.heads.queries())),
            ("tiled", Param::U32(u32::from(self.heads.tiled))),
            ("value", number(sizes.value)),
            ("scale", Param::F32(scale_for(self.scale, sizes.head))),
        ];
        for (name, index) in [("decays", 4), ("betas", 5)] {
            if let Some(ty) = cx.inputs.get(index).and_then(Option::as_ref) {
                params.push((name, ty.width().into()));
            }
        }
        if span {
            params.push(("first_sequence", number(part.first)));
        }
        let workgroup = u64::from(variant.needs.invocations);
        // The state given is read once; after that it is in the result.
        let resumed = first > 0 || span;
        if resumed {
            bindings.retain(|(name, _)| *name != "past");
        }
        Ok(Dispatch {
            shader: request(
                variant,
                sizes.head,
                decay,
                [beta, past && !resumed, resumed, span, erase],
            ),
            variant: format!("{FAMILY}/{}", variant.name),
            bindings,
            params,
            grid: Grid::Linear(columns.ceil_div(workgroup)),
            work: columns * (count * sizes.head * 8),
        })
    }
}

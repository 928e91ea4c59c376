//! Linear attention: a state for each key head, brought forward token by token.
//! The columns of a state are independent, so each has an invocation.

use super::parts::{self, Part};
use super::{CpuCx, Dispatch, GpuCx, Grid, Kernel, Language, Needs, Param, Place, Variant};
use crate::error::{Error, Result};
use crate::gpu::{ConstValue, ShaderRequest};
use crate::graph::Dim;
use crate::ops::linear_attention::LinearAttention;
use rayon::prelude::*;

/// The name policies and coverage use.
pub const FAMILY: &str = "linear_attention";

/// The longest column of a state that an invocation holds.
const LONGEST: u64 = 1024;

const NEEDS: Needs =
    Needs { f16: false, subgroups: false, coop: None, invocations: 64, workgroup_bytes: 0 };

/// How many columns a workgroup has.
pub const VARIANTS: &[Variant] = &[
    Variant {
        name: "columns",
        shader: "linear_attention/scan",
        consts: &[("WORKGROUP", ConstValue::U32(64))],
        features: &[],
        needs: NEEDS,
        languages: Language::ALL,
        executed_on: &["lavapipe", "swiftshader", "lavapipe-old"],
    },
    // As many as a software adapter has lanes.
    Variant {
        name: "few_columns",
        shader: "linear_attention/scan",
        consts: &[("WORKGROUP", ConstValue::U32(8))],
        features: &[],
        needs: Needs { invocations: 8, ..NEEDS },
        languages: Language::ALL,
        executed_on: &["lavapipe", "swiftshader", "lavapipe-old"],
    },
];

/// The shaders a variant is instantiated to.
pub fn requests(variant: &'static Variant) -> Vec<ShaderRequest> {
    let mut requests = Vec::new();
    for head in [7, 64] {
        for (decay, beta) in [(None, false), (Some(true), true), (Some(false), false)] {
            for past in [false, true] {
                for resumed in [false, true] {
                    requests.push(request(variant, head, decay, [beta, past, resumed]));
                }
            }
        }
    }
    requests
}

/// `decay` says whether there is one for each row of the state.
fn request(
    variant: &Variant,
    head: u64,
    decay: Option<bool>,
    [beta, past, resumed]: [bool; 3],
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
    ];
    let wanted = wanted.into_iter().filter(|(on, _)| *on);
    wanted.fold(request, |request, (_, name)| request.feature(name))
}

/// Computes [`LinearAttention`], with its inputs and outputs.
#[derive(Debug, Clone, Copy)]
pub struct LinearAttentionKernel {
    /// What to compute.
    pub op: LinearAttention,
}

impl Kernel for LinearAttentionKernel {
    fn name(&self) -> &str {
        "linear_attention.scan"
    }

    fn gpu(&self, cx: &GpuCx<'_>) -> Result<Vec<Dispatch>> {
        let sizes = self.op.sizes(cx.input(0)?, cx.input(2)?)?;
        if sizes.head > LONGEST {
            let what = format!("a state of {} rows, more than {LONGEST}", sizes.head);
            return Err(Error::unsupported("LinearAttention", what));
        }
        let (batch, tokens) = (&cx.input(0)?.shape[0], &cx.input(0)?.shape[1]);
        // An iteration for each row of the state in each pass, and the end of each loop,
        // which drivers count as well.
        let share = self.op.q_heads / self.op.kv_heads;
        let passes = (sizes.head + 1) * (3 + share) + share + 4;
        let around = 2 * (sizes.head + 1) + 2;
        let can = |_: &Variant| cx.caps.loops_fit(passes + around);
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
        let (decay, beta) = (width(4), width(5));
        let state = sizes.head * sizes.value * self.op.kv_heads;
        let token = |width: u64| tokens * (width * 4);
        let mut row: Vec<Dim> = vec![
            token(sizes.head * self.op.q_heads),
            token(sizes.head * self.op.kv_heads),
            token(sizes.value * self.op.kv_heads),
            token(sizes.value * self.op.q_heads),
            (state * 4).into(),
        ];
        row.extend([&decay, &beta].into_iter().flatten().map(|width| tokens * width * 4u64));
        let parts = parts::split(cx, "a sequence of LinearAttention", batch, &row)?;
        let mut dispatches = Vec::new();
        for part in &parts {
            // Without tokens the state goes through all the same.
            for first in (0..all.max(1)).step_by(chunk as usize) {
                dispatches.push(self.dispatch(cx, variant, part, [first, chunk], &row)?);
            }
        }
        Ok(dispatches)
    }

    fn cpu(&self, cx: &mut CpuCx<'_>) -> Result<()> {
        let (q, k, v) = (cx.input(0)?, cx.input(1)?, cx.input(2)?);
        let (past, decay, beta) = (cx.optional(3), cx.optional(4), cx.optional(5));
        let [batch, tokens, hidden] = q.extents[..] else {
            return Err(Error::internal("linear attention over other than rank 3"));
        };
        let (heads, groups) = (self.op.q_heads as usize, self.op.kv_heads as usize);
        let (head, value) = (hidden / heads, v.extents[2] / groups);
        let widths = [&decay, &beta].map(|t| t.as_ref().map_or(1, |t| t.extents[2]));
        let (q, k, v) = (q.read::<f32>(), k.read::<f32>(), v.read::<f32>());
        let [past, decay, beta] = [past, decay, beta].map(|t| t.map(|t| t.read::<f32>()));
        let scale = self.op.scale_for(head as u64);
        let share = heads / groups;
        let (outputs, states) = cx.outputs.split_at_mut(1);
        let present = states
            .first_mut()
            .ok_or_else(|| Error::internal("no present state"))?
            .write::<f32>()?;
        let y = outputs[0].write::<f32>()?;
        match &past {
            Some(past) => present.copy_from_slice(past),
            None => present.fill(0.0),
        }
        let slab = |number: usize, state: &mut [f32]| -> Vec<f32> {
            let (b, g) = (number / groups, number % groups);
            let mut out = vec![0.0; tokens * share * value];
            let mut u = vec![0.0; value];
            let mut held = vec![0.0; value];
            for t in 0..tokens {
                let token = b * tokens + t;
                let key = &k[(token * groups + g) * head..][..head];
                u.copy_from_slice(&v[(token * groups + g) * value..][..value]);
                if let Some(decay) = &decay {
                    let each = widths[0] == groups * head;
                    for (i, row) in state.chunks_mut(value).enumerate() {
                        let at = if each { g * head + i } else { g };
                        let factor = decay[token * widths[0] + at].exp();
                        row.iter_mut().for_each(|s| *s *= factor);
                    }
                }
                if let Some(beta) = &beta {
                    let rate = beta[token * widths[1] + g.min(widths[1] - 1)];
                    // Summed by itself: each partial sum of a small product taken from a
                    // large value would be rounded as the value is.
                    held.fill(0.0);
                    for (row, key) in state.chunks(value).zip(key) {
                        held.iter_mut().zip(row).for_each(|(held, s)| *held += s * key);
                    }
                    u.iter_mut().zip(&held).for_each(|(u, held)| *u = (*u - held) * rate);
                }
                for (row, key) in state.chunks_mut(value).zip(key) {
                    row.iter_mut().zip(&u).for_each(|(s, u)| *s += key * u);
                }
                for h in 0..share {
                    let query = &q[(token * heads + g * share + h) * head..][..head];
                    let out = &mut out[(t * share + h) * value..][..value];
                    for (row, q) in state.chunks(value).zip(query) {
                        out.iter_mut().zip(row).for_each(|(out, s)| *out += q * s);
                    }
                    out.iter_mut().for_each(|out| *out *= scale);
                }
            }
            out
        };
        let slabs: Vec<Vec<f32>> = present
            .par_chunks_mut((head * value).max(1))
            .enumerate()
            .map(|(number, state)| slab(number, state))
            .collect();
        for (number, out) in slabs.iter().enumerate() {
            let (b, g) = (number / groups, number % groups);
            for t in 0..tokens {
                let at = ((b * tokens + t) * heads + g * share) * value;
                y[at..at + share * value]
                    .copy_from_slice(&out[t * share * value..][..share * value]);
            }
        }
        debug_assert!(slabs.len() <= batch * groups);
        Ok(())
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
        let sizes = self.op.sizes(cx.input(0)?, cx.input(2)?)?;
        let (batch, tokens) = (&cx.input(0)?.shape[0], &cx.input(0)?.shape[1]);
        let present = |index: usize| cx.inputs.get(index).is_some_and(Option::is_some);
        let (past, beta) = (present(3), present(5));
        let decay = cx
            .inputs
            .get(4)
            .and_then(Option::as_ref)
            .map(|ty| ty.width() != Dim::from(self.op.kv_heads) || sizes.head == 1);
        let mut places = vec![
            ("q", Place::Input(0)),
            ("k", Place::Input(1)),
            ("v", Place::Input(2)),
            ("y", Place::Output(0)),
            ("present", Place::Output(1)),
        ];
        let optional = [(present(4), "decay", 4), (beta, "beta", 5)];
        let optional = optional.into_iter().filter(|(on, ..)| *on);
        places.extend(optional.map(|(_, name, index)| (name, Place::Input(index))));
        let mut bindings = Vec::new();
        for ((name, place), bytes) in places.into_iter().zip(row) {
            bindings.push((name, part.view(place, cx.bound(bytes)?)));
        }
        let number = |value: u64| Param::U32(value as u32);
        if past {
            let bytes = sizes.head * sizes.value * self.op.kv_heads * 4;
            bindings.push(("past", part.view(Place::Input(3), bytes)));
        }
        let columns = part.live(batch) * (self.op.kv_heads * sizes.value);
        let mut params: Vec<(&'static str, Param)> = vec![
            ("columns", (&columns).into()),
            ("tokens", tokens.into()),
            ("first", number(first)),
            ("count", number(count)),
            ("heads", number(self.op.q_heads)),
            ("groups", number(self.op.kv_heads)),
            ("value", number(sizes.value)),
            ("scale", Param::F32(self.op.scale_for(sizes.head))),
        ];
        for (name, index) in [("decays", 4), ("betas", 5)] {
            if let Some(ty) = cx.inputs.get(index).and_then(Option::as_ref) {
                params.push((name, ty.width().into()));
            }
        }
        let workgroup = u64::from(variant.needs.invocations);
        // The state given is read once; after that it is in the result.
        let resumed = first > 0;
        if resumed {
            bindings.retain(|(name, _)| *name != "past");
        }
        Ok(Dispatch {
            shader: request(variant, sizes.head, decay, [beta, past && !resumed, resumed]),
            variant: format!("{FAMILY}/{}", variant.name),
            bindings,
            params,
            grid: Grid::Linear(columns.ceil_div(workgroup)),
            work: columns * (count * sizes.head * 8),
        })
    }
}

//! Attention with an online softmax, on the GPU and on the CPU: scores are
//! never stored.

mod coop;
mod cpu;
mod grouped;
mod split;
mod variants;
mod vectors;

pub use variants::VARIANTS;

use super::parts::Part;
use super::{CpuCx, Dispatch, GpuCx, Grid, Kernel, Param, Place, Variant, View};
use crate::error::{Error, Result};
use crate::gpu::{ConstValue, ShaderRequest};
use crate::graph::{Dim, TensorType};
use crate::ops::attention::Attention;
use crate::tensor::DType;

/// The name policies and coverage use.
pub const FAMILY: &str = "attention";

/// Queries and keys of a tile of the tiled variant.
const TILE: (u64, u64) = (16, 8);
/// The most queries and keys that a software adapter computes in pieces, which compile in
/// a fifth of the time: a short prompt waits for the compiler, not for its attention.
const SMALL: (u64, u64) = (128, 256);
/// The largest head of the tiled variant: what fits 16 KiB of workgroup memory.
const TILED_HEAD: u64 = 128;

/// The shaders a variant is instantiated to.
pub fn requests(variant: &'static Variant) -> Vec<ShaderRequest> {
    if grouped::is_grouped(variant) {
        return grouped::requests(variant);
    }
    if coop::is_coop(variant) {
        return coop::requests(variant);
    }
    let mut requests = Vec::new();
    let plain = Attention { causal: false, ..Attention::default() };
    let rich = Attention { window: Some(4), softcap: Some(30.0), ..Attention::default() };
    for half in [false, true] {
        for (op, mask) in [(plain, false), (rich, true), (Attention::default(), false)] {
            for sizes in [(64, 64), (80, 20), (7, 5)] {
                requests.push(request(variant, &op, [half, mask, false, false], sizes));
            }
            for sinks in [false, true] {
                requests.push(request(variant, &op, [half, mask, true, sinks], (80, 20)));
            }
        }
    }
    requests
}

fn request(
    variant: &Variant,
    op: &Attention,
    [half, mask, split, sinks]: [bool; 4],
    (head, value): (u64, u64),
) -> ShaderRequest {
    let mut request = ShaderRequest::new(variant.shader)
        .with("HEAD", ConstValue::U32(head as u32))
        .with("VALUE", ConstValue::U32(value as u32));
    // Places in workgroup memory follow from the sizes of its tiles alone; loops end with
    // the keys.
    request.in_bounds = matches!(variant.shader, "attention/tiled" | "attention/rows");
    for (name, value) in variant.consts {
        request = request.with(*name, *value);
    }
    if variant.name == "tiled" {
        request = request
            .with("QUERIES", ConstValue::U32(TILE.0 as u32))
            .with("KEYS", ConstValue::U32(TILE.1 as u32));
    }
    let wanted = [
        (half, "half"),
        (op.causal, "causal"),
        (op.window.is_some(), "window"),
        (op.softcap.is_some(), "softcap"),
        (mask, "masked"),
        (split, "split"),
        (sinks, "sinks"),
    ];
    let wanted = wanted.iter().filter(|(on, _)| *on).map(|(_, name)| *name);
    variant.features.iter().copied().chain(wanted).fold(request, ShaderRequest::feature)
}

/// Computes [`Attention`]: inputs q, k, v, past, mask and sinks.
#[derive(Debug, Clone, Copy)]
pub struct AttentionKernel {
    /// What to compute.
    pub op: Attention,
}

/// A constant of a variant; 1 if it has none of that name.
fn number(variant: &Variant, name: &str) -> u64 {
    variant.constant(name).unwrap_or(1).into()
}

/// Sizes that are constants by the shape rule.
struct Heads {
    heads: u64,
    groups: u64,
    head: u64,
    value: u64,
}

impl Heads {
    /// At most how many loop iterations an invocation has for so many keys.
    fn loops(&self, variant: &Variant, keys: u64) -> u64 {
        if grouped::is_grouped(variant) {
            return grouped::loops(self, variant, keys);
        }
        if coop::is_coop(variant) {
            return coop::loops(self, variant, keys);
        }
        let (head, value) = (self.head, self.value);
        let workgroup = u64::from(variant.needs.invocations);
        match variant.name {
            // The dot product by fours, then one value after another.
            "serial" => keys * (head.div_ceil(4) + 3 + value + 1) + 2 * value,
            // A tile's loads, its dot products and its sums.
            "tiled" => keys.div_ceil(TILE.1) * (3 * head + 3 * value + 32) + head + value,
            // A key for each invocation, then each of its values for every key.
            _ => {
                let own = value.div_ceil(workgroup);
                keys.div_ceil(workgroup) * (head + own * (workgroup + 1) + 8) + 2 * own
            }
        }
    }

    /// Query heads that use one key head.
    fn share(&self) -> u64 {
        self.heads / self.groups.max(1)
    }

    /// Bytes of a query under all heads.
    fn query_bytes(&self) -> u64 {
        self.heads * self.head * 4
    }

    /// Bytes of what comes of a query under all heads.
    fn output_bytes(&self) -> u64 {
        self.heads * self.value * 4
    }
}

fn heads(q: &TensorType, k: &TensorType, v: &TensorType) -> Result<Heads> {
    let fixed = |ty: &TensorType, axis: usize| {
        let size = ty.shape.get(axis).and_then(Dim::as_const);
        size.ok_or_else(|| Error::internal(format!("attention over {ty}: a symbolic head")))
    };
    Ok(Heads { heads: fixed(q, 2)?, groups: fixed(k, 1)?, head: fixed(q, 3)?, value: fixed(v, 3)? })
}

impl AttentionKernel {
    fn variant(
        &self,
        cx: &GpuCx<'_>,
        sizes: &Heads,
        whole: bool,
        single: bool,
    ) -> Result<&'static Variant> {
        let software = cx.caps.is_software();
        let forced = cx.policy.force.contains_key(FAMILY);
        let queries = cx.bound(&cx.input(0)?.shape[1])?;
        let keys = cx.bound(&cx.input(1)?.shape[2])?;
        let tiles = single && sizes.head.max(sizes.value) <= TILED_HEAD;
        let few = queries * sizes.share() <= grouped::FEW;
        let small = queries <= SMALL.0 && keys <= SMALL.1;
        let can = |variant: &Variant| {
            let fits = match variant.name {
                "tiled" => tiles,
                _ if coop::is_coop(variant) => {
                    whole && single && coop::fits(cx.caps, sizes, variant)
                }
                _ if grouped::is_grouped(variant) => {
                    whole && single && grouped::fits(cx, sizes, variant).unwrap_or(false)
                }
                _ => true,
            };
            fits && cx.caps.loops_fit(sizes.loops(variant, keys))
        };
        let suits = |variant: &Variant| {
            forced
                || match variant.name {
                    // What SwiftShader compiles is dear.
                    "lanes_32" | "handed_32" | "handed_pairs_32" => {
                        software && !few && !small && cx.caps.max_subgroup_size > 4
                    }
                    "lanes" => software && !few && !small,
                    "pieces" => software && (few || small),
                    "pieces_wide" => !software && few,
                    "tiled" => !software && queries >= TILE.0,
                    _ if coop::is_coop(variant) => !software && queries >= TILE.0,
                    "serial" => software,
                    _ => !software,
                }
        };
        // Some devices can do nothing of what is preferred.
        cx.choose(FAMILY, VARIANTS, |variant| can(variant) && suits(variant))
            .or_else(|_| cx.choose(FAMILY, VARIANTS, can))
    }

    fn params(
        &self,
        cx: &GpuCx<'_>,
        sizes: &Heads,
        part: &Part,
    ) -> Result<Vec<(&'static str, Param)>> {
        let (q, k) = (cx.input(0)?, cx.input(1)?);
        let tokens = &q.shape[0] * &q.shape[1];
        let mut params: Vec<(&'static str, Param)> = vec![
            ("tokens", part.live(&tokens).into()),
            ("first", Param::U32(part.first as u32)),
            ("queries", (&q.shape[1]).into()),
            ("heads", Param::U32(sizes.heads as u32)),
            ("groups", Param::U32(sizes.groups as u32)),
            ("capacity", (&k.shape[2]).into()),
            ("scale", Param::F32(self.op.scale_for(sizes.head))),
        ];
        if let Some(window) = self.op.window {
            params.push(("window", Param::U32(window)));
        }
        if let Some(cap) = self.op.softcap {
            params.push(("softcap", Param::F32(cap)));
        }
        if let Some(mask) = cx.inputs.get(4).and_then(Option::as_ref) {
            for (name, stride) in MASK_STRIDES.into_iter().zip(mask_strides(mask)) {
                params.push((name, stride.into()));
            }
        }
        Ok(params)
    }
}

const MASK_STRIDES: [&str; 4] = ["mask_batch", "mask_head", "mask_query", "mask_key"];

/// How far apart neighbours of `[B, H, Q, C]` are in a mask; 0 where repeated.
fn mask_strides(mask: &TensorType) -> [Dim; 4] {
    let mut strides = [Dim::Const(0), Dim::Const(0), Dim::Const(0), Dim::Const(0)];
    let mut stride = Dim::Const(1);
    for (i, dim) in mask.shape.iter().rev().enumerate() {
        if dim.as_const() != Some(1) {
            strides[3 - i] = stride.clone();
        }
        stride = stride * dim;
    }
    strides
}

impl Kernel for AttentionKernel {
    fn name(&self) -> &str {
        "attention.online_softmax"
    }

    fn gpu(&self, cx: &GpuCx<'_>) -> Result<Vec<Dispatch>> {
        let (q, k, v) = (cx.input(0)?, cx.input(1)?, cx.input(2)?);
        let sizes = heads(q, k, v)?;
        let tokens = &q.shape[0] * &q.shape[1];
        let bounds = split::bounds(cx, &sizes)?;
        let whole = bounds.len() == 1;
        let parts = split::queries(cx, &sizes, whole)?;
        let variant = self.variant(cx, &sizes, whole, parts.len() == 1)?;
        if grouped::is_grouped(variant) {
            return grouped::dispatches(self, cx, &sizes, variant, &bounds, &parts);
        }
        if coop::is_coop(variant) {
            return coop::dispatches(self, cx, &sizes, variant, &bounds, &parts);
        }
        let has = |input: usize| cx.inputs.get(input).is_some_and(Option::is_some);
        let flags = [k.dtype == DType::F16, has(4), !whole, has(5)];
        let shader = request(variant, &self.op, flags, (sizes.head, sizes.value));
        let mut dispatches = Vec::new();
        for part in &parts {
            let live = part.live(&tokens);
            let grid = match variant.name {
                "tiled" => &q.shape[0] * q.shape[1].ceil_div(TILE.0) * sizes.heads,
                "serial" => (&live * sizes.heads).ceil_div(8u64),
                _ => &live * sizes.heads,
            };
            // The capacity bounds the keys that are there.
            let work = live * &k.shape[2] * (sizes.heads * (sizes.head + sizes.value) * 2);
            for bound in &bounds {
                let mut bindings = bound.bindings(&sizes, k.dtype.block_bytes() as u64, part);
                bindings.push(("q", part.view(Place::Input(0), sizes.query_bytes())));
                bindings.push(("y", part.view(Place::Output(0), sizes.output_bytes())));
                if has(5) {
                    bindings.push(("sinks", View::all(Place::Input(5))));
                }
                let mut params = self.params(cx, &sizes, part)?;
                params.extend(bound.params());
                dispatches.push(Dispatch {
                    shader: shader.clone(),
                    variant: format!("{FAMILY}/{}", variant.name),
                    bindings,
                    params,
                    grid: Grid::Linear(grid.clone()),
                    work: work.ceil_div(bounds.len()),
                });
            }
        }
        Ok(dispatches)
    }

    fn cpu(&self, cx: &mut CpuCx<'_>) -> Result<()> {
        cpu::run(&self.op, cx)
    }
}

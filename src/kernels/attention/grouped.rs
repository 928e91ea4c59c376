//! Attention by rows that see the same keys: the queries of a sequence under the
//! heads that share a key head. Many of them in one workgroup, or a few and a
//! piece of the keys.

use super::split::Bound;
use super::{AttentionKernel, FAMILY, Heads, number};
use crate::error::{Error, Result};
use crate::gpu::{ConstValue, ShaderRequest};
use crate::kernels::parts::Part;
use crate::kernels::{Dispatch, GpuCx, Grid, Place, Variant, View};
use crate::ops::attention::Attention;
use crate::tensor::DType;

/// Rows up to this number are better divided by keys than among workgroups.
pub(super) const FEW: u64 = 8;

/// The largest head whose queries fit workgroup memory in the `lanes` variant.
const LANES_HEAD: u64 = 128;
/// The same of the others.
const PIECES_HEAD: u64 = 256;

/// Rows of a workgroup that works on a piece of the keys.
const PIECE_ROWS: u64 = 4;
/// Invocations of a workgroup that puts pieces together.
const JOINING: u32 = 64;

/// Whether the variant is one of this module.
pub(super) fn is_grouped(variant: &Variant) -> bool {
    is_lanes(variant) || matches!(variant.name, "pieces" | "pieces_wide")
}

/// Whether a workgroup has many rows and goes through all their keys.
fn is_lanes(variant: &Variant) -> bool {
    variant.shader == "attention/lanes"
}

/// Whether heads of these sizes are read whole, by fours,
/// and there is room for the results of pieces.
///
/// # Errors
/// If a dimension cannot be computed.
pub(super) fn fits(cx: &GpuCx<'_>, sizes: &Heads, variant: &Variant) -> Result<bool> {
    let lanes = is_lanes(variant);
    let most = if lanes { LANES_HEAD } else { PIECES_HEAD };
    let room = lanes || partial_bytes(cx, sizes, variant)? <= cx.caps.max_binding();
    // By words of 64 bits keys are read by eights.
    let by = if variant.features.contains(&"pairs") { 8 } else { 4 };
    let whole = sizes.head.is_multiple_of(by) && sizes.value.is_multiple_of(4);
    Ok(whole && sizes.head <= most && room)
}

/// Bytes of the results of all pieces.
fn partial_bytes(cx: &GpuCx<'_>, sizes: &Heads, variant: &Variant) -> Result<u64> {
    let (q, capacity) = (cx.input(0)?, &cx.input(1)?.shape[2]);
    let pieces = capacity.ceil_div(number(variant, "KEYS"));
    let records = &q.shape[0] * &q.shape[1] * sizes.heads * pieces;
    cx.bound(&(records * ((sizes.value + 2) * 4)))
}

/// At most how many loop iterations an invocation has for so many keys.
pub(super) fn loops(sizes: &Heads, variant: &Variant, keys: u64) -> u64 {
    let workgroup = number(variant, "WORKGROUP");
    let (head, fours) = (sizes.head, sizes.value / 4);
    if is_lanes(variant) {
        let columns = fours.div_ceil(2 * workgroup).max(1);
        let each = 2 + workgroup / 2 * columns;
        return keys * each + keys.div_ceil(8) * (head / 4 + 1) + head + 2 * sizes.value;
    }
    let keys = keys.min(number(variant, "KEYS"));
    let columns = fours.div_ceil(workgroup);
    keys.div_ceil(workgroup) * (head / 4 + 4) + columns * keys + 2 * workgroup + head
}

fn request(
    variant: &Variant,
    op: &Attention,
    [half, mask, pieced, sinks]: [bool; 4],
    (head, value): (u64, u64),
) -> ShaderRequest {
    let mut request = ShaderRequest::new(variant.shader)
        .with("HEAD", ConstValue::U32(head as u32))
        .with("VALUE", ConstValue::U32(value as u32));
    for (name, value) in variant.consts {
        // A small head leaves room for the weights of more keys.
        let more = *name == "KEYS" && is_lanes(variant) && head <= LANES_HEAD / 2;
        request = request.with(*name, if more { ConstValue::U32(128) } else { *value });
    }
    // Where a lane has room for more elements of the values than there are.
    let short = value / 4 <= number(variant, "WORKGROUP");
    let lanes = is_lanes(variant);
    let wanted = [
        (half, "half"),
        (op.causal, "causal"),
        (op.window.is_some(), "window"),
        (op.softcap.is_some(), "softcap"),
        (mask, "masked"),
        (pieced, "pieced"),
        // Pieces are weighed against the sinks where they are put together.
        (sinks && !pieced, "sinks"),
        (lanes && short && !variant.features.contains(&"slabs"), "narrow"),
        (!lanes && !short, "many"),
    ];
    let wanted = wanted.iter().filter(|(on, _)| *on).map(|(_, name)| *name);
    variant.features.iter().copied().chain(wanted).fold(request, ShaderRequest::feature)
}

/// The shader that puts pieces together.
fn joining(variant: &Variant, op: &Attention, value: u64, sinks: bool) -> ShaderRequest {
    let request = ShaderRequest::new("attention/join")
        .with("HEAD", ConstValue::U32(1))
        .with("VALUE", ConstValue::U32(value as u32))
        .with("KEYS", ConstValue::U32(number(variant, "KEYS") as u32))
        .with("WORKGROUP", ConstValue::U32(JOINING));
    let wanted = [(op.causal, "causal"), (op.window.is_some(), "window"), (sinks, "sinks")];
    let wanted = wanted.iter().filter(|(on, _)| *on).map(|(_, name)| *name);
    wanted.fold(request, ShaderRequest::feature)
}

/// The shaders a variant is instantiated to.
pub(super) fn requests(variant: &'static Variant) -> Vec<ShaderRequest> {
    let plain = Attention { causal: false, ..Attention::default() };
    let rich = Attention { window: Some(4), softcap: Some(30.0), ..Attention::default() };
    let mut requests = Vec::new();
    for (op, mask) in [(plain, false), (rich, true), (Attention::default(), false)] {
        for sizes in [(64, 64), (24, 8), (128, 128)] {
            for half in [false, true] {
                requests.push(request(variant, &op, [half, mask, false, mask], sizes));
                if !is_lanes(variant) {
                    requests.push(request(variant, &op, [half, mask, true, false], sizes));
                }
            }
        }
        if !is_lanes(variant) {
            requests.push(joining(variant, &op, 64, mask));
        }
    }
    requests
}

/// The dispatches where everything fits a binding, so that there is one part of
/// the queries and one of the keys.
pub(super) fn dispatches(
    kernel: &AttentionKernel,
    cx: &GpuCx<'_>,
    sizes: &Heads,
    variant: &'static Variant,
    bounds: &[Bound],
    parts: &[Part],
) -> Result<Vec<Dispatch>> {
    let ([bound], [part]) = (bounds, parts) else {
        return Err(Error::internal("grouped attention over parts of its operands"));
    };
    let (q, k) = (cx.input(0)?, cx.input(1)?);
    let (batch, capacity) = (&q.shape[0], &k.shape[2]);
    let rows = &q.shape[1] * sizes.share();
    let keys = number(variant, "KEYS");
    let lanes = is_lanes(variant);
    let pieced = !lanes && cx.bound(capacity)? > keys;
    let has = |input: usize| cx.inputs.get(input).is_some_and(Option::is_some);
    let (mask, sinks) = (has(4), has(5));
    let half = k.dtype == DType::F16;
    let mut bindings = bound.bindings(sizes, k.dtype.block_bytes() as u64, part);
    bindings.push(("q", part.view(Place::Input(0), sizes.query_bytes())));
    let y = ("y", part.view(Place::Output(0), sizes.output_bytes()));
    let bytes = partial_bytes(cx, sizes, variant)?.max(4);
    let partial = ("partial", View::range(Place::Scratch(0), 0, bytes));
    bindings.push(if pieced { partial.clone() } else { y.clone() });
    let sink = sinks.then(|| ("sinks", View::all(Place::Input(5))));
    bindings.extend(sink.clone().filter(|_| !pieced));
    let rows_of_one = if lanes { 4 * number(variant, "WORKGROUP") } else { PIECE_ROWS };
    let tiles = batch * rows.ceil_div(rows_of_one) * sizes.groups;
    let name = format!("{FAMILY}/{}", variant.name);
    let work = batch * &q.shape[1] * capacity * (sizes.heads * (sizes.head + sizes.value) * 2);
    let mut dispatches = vec![Dispatch {
        shader: request(
            variant,
            &kernel.op,
            [half, mask, pieced, sinks],
            (sizes.head, sizes.value),
        ),
        variant: name.clone(),
        bindings,
        params: kernel.params(cx, sizes, part)?,
        grid: Grid::Linear(if lanes { tiles } else { tiles * capacity.ceil_div(keys) }),
        work,
    }];
    if !pieced {
        return Ok(dispatches);
    }
    let elements = batch * &q.shape[1] * (sizes.heads * sizes.value);
    let mut params = kernel.params(cx, sizes, part)?;
    params.retain(|(name, _)| !name.starts_with("mask") && *name != "softcap");
    dispatches.push(Dispatch {
        shader: joining(variant, &kernel.op, sizes.value, sinks),
        variant: name,
        bindings: [("past", View::all(Place::Input(3))), y, partial]
            .into_iter()
            .chain(sink)
            .collect(),
        params,
        grid: Grid::Linear(elements.ceil_div(u64::from(JOINING))),
        work: elements * capacity.ceil_div(keys) * 8u64,
    });
    Ok(dispatches)
}

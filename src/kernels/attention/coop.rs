//! Attention by cooperative matrices: the rows of `grouped`, in tiles of whole matrices.

use super::split::Bound;
use super::{AttentionKernel, FAMILY, Heads, number};
use crate::error::{Error, Result};
use crate::gpu::{ConstValue, DeviceCaps, ShaderRequest};
use crate::kernels::parts::Part;
use crate::kernels::{Dispatch, GpuCx, Grid, Place, Variant, View};
use crate::ops::attention::Attention;
use crate::tensor::DType;

/// Matrices that a subgroup has of its outputs, at most.
const MOST_COLUMNS: u64 = 8;

/// Whether the variant is one of this module.
pub(super) fn is_coop(variant: &Variant) -> bool {
    variant.needs.coop.is_some()
}

/// How a workgroup is laid out for heads of certain sizes.
#[derive(Debug, Clone, Copy)]
struct Layout {
    /// Rows and columns of a matrix.
    size: u64,
    /// Invocations of a subgroup.
    lanes: u64,
    /// Keys of a step.
    keys: u64,
    /// Whether two subgroups share a strip of rows.
    halved: bool,
    /// Matrices of a subgroup's outputs.
    columns: u64,
    head: u64,
    value: u64,
}

impl Layout {
    /// `None` if the heads are too large for the variant.
    fn of(variant: &Variant, lanes: u64, (head, value): (u64, u64)) -> Option<Layout> {
        if head.max(value) > number(variant, "LARGEST") {
            return None;
        }
        let (size, keys) = (number(variant, "SIZE"), number(variant, "KEYS"));
        let matrices = value.div_ceil(size);
        let halved = matrices > MOST_COLUMNS;
        let each = if halved { matrices.div_ceil(2) } else { matrices };
        let columns = [2, 4, MOST_COLUMNS].into_iter().find(|&columns| each <= columns)?;
        Some(Layout { size, lanes, keys, halved, columns, head, value })
    }

    /// Rows of a workgroup.
    fn rows(&self) -> u64 {
        if self.halved { 2 * self.size } else { 4 * self.size }
    }

    /// Invocations of a workgroup.
    fn threads(&self) -> u64 {
        4 * self.lanes
    }

    /// Bytes of workgroup memory.
    fn bytes(&self) -> u64 {
        let deep = self.head.next_multiple_of(self.size);
        let wide = if self.halved { 2 } else { 1 } * self.columns * self.size;
        // Rows of halves are an odd number of vectors of eight.
        let pitch = |halves: u64| ((halves / 8) | 1) * 8;
        let queries = 2 * self.rows() * pitch(deep);
        let tile = 2 * self.keys * pitch(deep).max(pitch(wide));
        // Scores as f32, weights as f16.
        let scores = self.rows() * (4 * self.keys + 2 * pitch(self.keys));
        queries + tile + scores + 4 * self.threads() + 4 * self.rows() + 32
    }

    /// Whether a device has room for it, and every invocation keys of a row.
    fn fits(&self, caps: &DeviceCaps) -> bool {
        let limits = &caps.limits;
        let parts = self.threads() / self.rows();
        self.head.is_multiple_of(4)
            && self.value.is_multiple_of(4)
            && parts > 0
            && self.threads().is_multiple_of(self.rows())
            && self.keys.is_multiple_of(parts)
            && self.threads() <= u64::from(limits.max_compute_invocations_per_workgroup)
            && self.threads() <= u64::from(limits.max_compute_workgroup_size_x)
            && self.bytes() <= u64::from(limits.max_compute_workgroup_storage_size)
    }

    /// Features of the shader that follow from it.
    fn features(&self) -> impl Iterator<Item = &'static str> {
        let wanted = [
            (self.halved, "halved"),
            (self.columns >= 4, "columns_4"),
            (self.columns >= 8, "columns_8"),
        ];
        wanted.into_iter().filter(|(on, _)| *on).map(|(_, name)| name)
    }
}

/// Whether heads of these sizes are computed by the variant on the device.
pub(super) fn fits(caps: &DeviceCaps, sizes: &Heads, variant: &Variant) -> bool {
    let layout = Layout::of(variant, caps.coop_lanes().into(), (sizes.head, sizes.value));
    layout.is_some_and(|layout| layout.fits(caps))
}

/// At most how many loop iterations an invocation has for so many keys.
pub(super) fn loops(sizes: &Heads, variant: &Variant, keys: u64) -> u64 {
    let each = number(variant, "KEYS");
    keys.div_ceil(each) * (2 * (sizes.head + sizes.value) + 4 * each) + sizes.head + sizes.value
}

fn request(
    variant: &Variant,
    op: &Attention,
    [half, mask, sinks]: [bool; 3],
    layout: &Layout,
) -> ShaderRequest {
    let mut request = ShaderRequest::new(variant.shader)
        .with("HEAD", ConstValue::U32(layout.head as u32))
        .with("VALUE", ConstValue::U32(layout.value as u32))
        .with("LANES", ConstValue::U32(layout.lanes as u32));
    // How large heads may be is for the choice.
    for (name, value) in variant.consts.iter().filter(|(name, _)| *name != "LARGEST") {
        request = request.with(*name, *value);
    }
    // Every element of workgroup memory is written before it is read.
    request.zero_workgroup = false;
    request.in_bounds = true;
    let eights = layout.head.is_multiple_of(8) && layout.value.is_multiple_of(8);
    let wanted = [
        (half, "half"),
        (eights, "eights"),
        (op.causal, "causal"),
        (op.window.is_some(), "window"),
        (op.softcap.is_some(), "softcap"),
        (mask, "masked"),
        (sinks, "sinks"),
    ];
    let wanted = wanted.iter().filter(|(on, _)| *on).map(|(_, name)| *name);
    let features = variant.features.iter().copied().chain(layout.features()).chain(wanted);
    features.fold(request, ShaderRequest::feature)
}

/// The shaders a variant is instantiated to.
pub(super) fn requests(variant: &'static Variant) -> Vec<ShaderRequest> {
    let plain = Attention { causal: false, ..Attention::default() };
    let rich = Attention { window: Some(4), softcap: Some(30.0), ..Attention::default() };
    let lanes = if number(variant, "SIZE") == 8 { 8 } else { 32 };
    let mut requests = Vec::new();
    for (op, mask) in [(plain, false), (rich, true), (Attention::default(), false)] {
        for sizes in [(64, 64), (20, 8), (8, 20), (128, 128), (256, 256)] {
            let Some(layout) = Layout::of(variant, lanes, sizes) else { continue };
            for half in [false, true] {
                requests.push(request(variant, &op, [half, mask, mask], &layout));
            }
        }
    }
    requests
}

/// The dispatch where everything fits a binding, so that there is one part of the
/// queries and one of the keys.
pub(super) fn dispatches(
    kernel: &AttentionKernel,
    cx: &GpuCx<'_>,
    sizes: &Heads,
    variant: &'static Variant,
    bounds: &[Bound],
    parts: &[Part],
) -> Result<Vec<Dispatch>> {
    let ([bound], [part]) = (bounds, parts) else {
        return Err(Error::internal("attention by matrices over parts of its operands"));
    };
    let layout = Layout::of(variant, cx.caps.coop_lanes().into(), (sizes.head, sizes.value))
        .ok_or_else(|| Error::internal("attention by matrices over too wide values"))?;
    let (q, k) = (cx.input(0)?, cx.input(1)?);
    let (batch, capacity) = (&q.shape[0], &k.shape[2]);
    let has = |input: usize| cx.inputs.get(input).is_some_and(Option::is_some);
    let (mask, sinks, half) = (has(4), has(5), k.dtype == DType::F16);
    let mut bindings = bound.bindings(sizes, k.dtype.block_bytes() as u64, part);
    bindings.push(("q", part.view(Place::Input(0), sizes.query_bytes())));
    bindings.push(("y", part.view(Place::Output(0), sizes.output_bytes())));
    if sinks {
        bindings.push(("sinks", View::all(Place::Input(5))));
    }
    let rows = &q.shape[1] * sizes.share();
    let tiles = batch * rows.ceil_div(layout.rows()) * sizes.groups;
    Ok(vec![Dispatch {
        shader: request(variant, &kernel.op, [half, mask, sinks], &layout),
        variant: format!("{FAMILY}/{}", variant.name),
        bindings,
        params: kernel.params(cx, sizes, part)?,
        grid: Grid::Linear(tiles),
        work: batch * &q.shape[1] * capacity * (sizes.heads * (sizes.head + sizes.value) * 2),
    }])
}

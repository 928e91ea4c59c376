//! Sums over k in several parts at once, and then the parts together: for products
//! with too few rows and columns to keep a large device busy.

use super::gpu::Product;
use super::request::Options;
use super::split::Part;
use super::variants::FAMILY;
use crate::error::Result;
use crate::gpu::{ConstValue, DeviceCaps, ShaderRequest};
use crate::graph::Dim;
use crate::kernels::{Dispatch, Grid, Place, Variant, View};
use crate::ops::elementwise::Unary;
use crate::quant::DeviceLayout;

/// Invocations of a workgroup that puts parts together.
const JOINING: u32 = 64;

/// In how many parts a variant sums over k.
pub(super) fn ways(variant: &Variant) -> u64 {
    variant.constant("SPLIT").unwrap_or(1).into()
}

/// What decides whether a product can be summed in parts.
#[derive(Debug, Clone, Copy)]
pub(super) struct Splittable {
    /// The length of the sums.
    k: u64,
    /// A part is a multiple of so many.
    unit: u64,
    /// The most parts of the result that fit a binding.
    room: u64,
    /// The most that cost little, as other calls have the memory at other times.
    cheap: u64,
}

impl Splittable {
    /// For sums of a constant length and a result of at most `elements`.
    pub(super) fn new(
        k: u64,
        layout: &DeviceLayout,
        elements: u64,
        caps: &DeviceCaps,
        cheap: u64,
    ) -> Self {
        let unit = if layout.dtype.is_quantised() { layout.block_len as u64 } else { 8 };
        let bytes = elements.saturating_mul(4).max(1);
        Splittable { k, unit, room: caps.max_binding() / bytes, cheap: cheap / bytes }
    }

    /// Whether it can be in so many parts.
    pub(super) fn goes_into(&self, ways: u64) -> bool {
        self.k > 0 && self.k.is_multiple_of(ways * self.unit) && ways <= self.room
    }

    /// Whether so many parts of the result cost little memory.
    pub(super) fn goes_cheaply_into(&self, ways: u64) -> bool {
        self.goes_into(ways) && ways <= self.cheap
    }
}

/// The shader that puts parts together.
pub(super) fn joining(ways: u64, bias: bool, activation: Option<Unary>) -> ShaderRequest {
    let mut request = ShaderRequest::new("matmul/join")
        .with("SPLIT", ConstValue::U32(ways as u32))
        .with("WORKGROUP", ConstValue::U32(JOINING));
    if bias {
        request = request.feature("bias");
    }
    if let Some(activation) = activation {
        request = request.feature("activated");
        activation.configure(&mut request);
    }
    request
}

/// The dispatches of a product that is one part of its operands: its parts along k as a
/// batch of matrices, into memory of their own, and what joins them.
///
/// # Errors
/// If a dimension cannot be computed.
pub(super) fn dispatches(product: &Product<'_>, part: &Part) -> Result<Vec<Dispatch>> {
    let ways = ways(product.variant);
    let (g, bounds) = (&product.g, product.bounds);
    let elements = &g.m * &g.n;
    let bytes = (ways * bounds.m * bounds.n * 4).max(4);
    let partial = View::range(Place::Scratch(0), 0, bytes);
    let mut first = product.dispatch(part)?;
    let options =
        Options { bias: false, activation: None, batched: true, ..product.options(part, [0, 0]) };
    first.shader = options.request(product.variant)?;
    first.bindings.retain(|(name, _)| *name != "bias");
    for (_, view) in first.bindings.iter_mut().filter(|(name, _)| *name == "c") {
        *view = partial.clone();
    }
    let each = bounds.k / ways;
    let (rows, columns) = options.tile(product.variant)?;
    let tiles = g.m.ceil_div(rows) * g.n.ceil_div(columns) * ways;
    first.params.retain(|(name, _)| !matches!(*name, "tiles" | "k" | "bias_base"));
    let zero = || Dim::Const(0);
    let a_inner = if g.trans_a { &g.m * each } else { Dim::Const(each) };
    // Between parts of a quantised weight lie as many blocks as its rows take turns for.
    let blocks = each / product.layout.block_len as u64 * product.together;
    let b_inner = if g.rows_b { Dim::Const(blocks) } else { &g.n * each };
    let counts = [
        ("tiles", tiles.clone()),
        ("k", Dim::Const(each)),
        ("z_mid", Dim::Const(1)),
        ("z_inner", Dim::Const(ways)),
        ("a_outer", zero()),
        ("a_mid", zero()),
        ("a_inner", a_inner),
        ("b_outer", zero()),
        ("b_mid", zero()),
        ("b_inner", b_inner),
        ("c_batch", elements.clone()),
    ];
    first.params.extend(counts.map(|(name, dim)| (name, dim.into())));
    first.grid = Grid::Linear(tiles);
    let mut bindings = vec![("partial", partial), ("c", View::all(Place::Output(0)))];
    if product.bias {
        bindings.push(("bias", View::all(Place::Input(2))));
    }
    let join = Dispatch {
        shader: joining(ways, product.bias, product.kernel.activation),
        variant: format!("{FAMILY}/{}", product.variant.name),
        bindings,
        params: vec![("elements", (&elements).into()), ("n", (&g.n).into())],
        grid: Grid::Linear(elements.ceil_div(u64::from(JOINING))),
        work: elements * ways,
    };
    Ok(vec![first, join])
}

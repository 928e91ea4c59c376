//! Products of whole numbers: rows of A rounded to eight bits, by quants as they are
//! (`dot4I8Packed`). A precision of its own, [`Policy::allow_int8`].
//!
//! [`Policy::allow_int8`]: crate::kernels::Policy::allow_int8

use super::gpu::Product;
use super::split::Part;
use super::variants::FAMILY;
use crate::error::Result;
use crate::gpu::{ConstValue, ShaderRequest};
use crate::graph::Dim;
use crate::kernels::{Dispatch, Grid, Place, View};

/// Elements of A that are rounded with one scale.
pub(super) const BLOCK: u64 = crate::ops::matmul::INT8_BLOCK as u64;
/// Bytes of such a block: `RECORD` of `matmul/int8_left`.
const RECORD: u64 = 44;
/// Invocations of a workgroup that rounds rows.
const ROUNDING: u32 = 64;

/// Bytes of so many rows of A of length `k`, rounded.
pub(super) fn bytes(rows: u64, k: u64) -> u64 {
    rows.saturating_mul(k / BLOCK).saturating_mul(RECORD)
}

/// The shader that rounds rows of A.
pub(super) fn rounding() -> ShaderRequest {
    ShaderRequest::new("matmul/int8_rows").with("WORKGROUP", ConstValue::U32(ROUNDING))
}

/// The dispatches of a product that is one part of its operands: its rows rounded, into
/// memory of their own, and the product.
///
/// # Errors
/// If a dimension cannot be computed.
pub(super) fn dispatches(product: &Product<'_>, part: &Part) -> Result<Vec<Dispatch>> {
    let (g, bounds) = (&product.g, product.bounds);
    let variant = format!("{FAMILY}/{}", product.variant.name);
    let rounded = View::range(Place::Scratch(0), 0, bytes(bounds.m, bounds.k).max(4));
    let mut second = product.dispatch(part)?;
    let row = |name: &str| name == "a";
    let a = second.bindings.iter().find(|(name, _)| row(name)).cloned();
    second.bindings.retain(|(name, _)| !row(name));
    second.bindings.push(("rounded", rounded.clone()));
    let in_row = &g.k / BLOCK;
    let blocks = &g.m * &in_row;
    let first = Dispatch {
        shader: rounding(),
        variant,
        bindings: a.into_iter().chain([("rounded", rounded)]).collect(),
        params: vec![
            ("blocks", (&blocks).into()),
            ("in_row", (&in_row).into()),
            ("a_base", Dim::Const(0).into()),
            ("a_stride", (&g.k).into()),
        ],
        grid: Grid::Linear(blocks.ceil_div(u64::from(ROUNDING))),
        work: &g.m * &g.k,
    };
    Ok(vec![first, second])
}

//! Cutting the outputs of a pool such that they and the planes they come from
//! fit their bindings.

use super::PoolKernel;
use crate::error::{Error, Result};
use crate::kernels::parts::too_large;
use crate::kernels::{GpuCx, Place, View};

/// Outputs that one dispatch computes.
#[derive(Debug, Clone)]
pub(super) struct Part {
    /// The first one's number, and how many at most.
    pub(super) first: u64,
    pub(super) count: u64,
    x: View,
    y: View,
    indices: View,
    /// Where plane 0 would be in the binding of x (wrapping).
    pub(super) x_base: u32,
    /// The first output's word in the binding of y.
    pub(super) y_base: u32,
    /// The first output's word in the binding of the indices.
    pub(super) i_base: u32,
}

impl Part {
    pub(super) fn bindings(&self, indexed: bool) -> Vec<(&'static str, View)> {
        let mut bindings = vec![("x", self.x.clone()), ("y", self.y.clone())];
        if indexed {
            bindings.push(("indices", self.indices.clone()));
        }
        bindings
    }
}

/// The parts of a pool whose words hold so many elements.
///
/// # Errors
/// [`Error::Limit`] if a plane, or two planes of 8-bit elements, are over the
/// limit, or if elements cannot be counted in 32 bits.
pub(super) fn parts(kernel: &PoolKernel, cx: &GpuCx<'_>, lanes: u64) -> Result<Vec<Part>> {
    let g = &kernel.geometry;
    let planes = cx.bound(&g.planes())?;
    let (size, out) = (g.plane_in() as u64, g.plane_out() as u64);
    let (limit, align) = (cx.caps.max_binding(), u64::from(cx.caps.storage_alignment()));
    let bytes = 4 / lanes;
    let (elements, total) = (planes.saturating_mul(size), planes.saturating_mul(out));
    let most = elements.max(total);
    if most > u64::from(u32::MAX) {
        let (what, limit_name) = ("elements of a pool".into(), "32-bit indices".into());
        return Err(Error::Limit { what, limit_name, needed: most, limit: u32::MAX.into() });
    }
    if total == 0 {
        return Ok(Vec::new());
    }
    let widest = if kernel.is_indexed() { 4 } else { bytes };
    if elements * bytes <= limit && total * widest <= limit {
        return Ok(vec![whole(total)]);
    }
    let over = |needed: u64| too_large("a plane of a pool", needed, limit);
    let room = limit.saturating_sub(align);
    let (fit, outputs) = (room / (size * bytes).max(1), room / widest);
    // Parts may not share a word of outputs.
    let unit = if lanes > 1 { align } else { 1 };
    let mut parts = Vec::new();
    let mut first = 0;
    while first < total {
        let by_planes = (first / out).saturating_add(fit).saturating_mul(out);
        let mut end = total.min(first + outputs).min(by_planes);
        if end < total {
            end = end / unit * unit;
        }
        if end <= first {
            return Err(over((size * bytes * if lanes > 1 { 2 } else { 1 }).saturating_add(align)));
        }
        let (plane, last) = (first / out, (end - 1) / out);
        let window = |place: Place, start: u64, end: u64| {
            let before = start % align;
            (View::range(place, start - before, end - start + before), before)
        };
        let (x_start, x_end) = (plane * size * bytes, (last + 1) * size * bytes);
        let (x, x_before) = window(Place::Input(0), x_start, x_end);
        let (y, y_before) = window(Place::Output(0), first * bytes, end * bytes);
        let (indices, i_before) = window(Place::Output(1), first * 4, end * 4);
        let x_base = (x_before / bytes) as u32;
        parts.push(Part {
            first,
            count: end - first,
            x,
            y,
            indices,
            x_base: x_base.wrapping_sub((plane * size) as u32),
            y_base: (y_before / 4) as u32,
            i_base: (i_before / 4) as u32,
        });
        first = end;
    }
    Ok(parts)
}

fn whole(total: u64) -> Part {
    Part {
        first: 0,
        count: total,
        x: View::all(Place::Input(0)),
        y: View::all(Place::Output(0)),
        indices: View::all(Place::Output(1)),
        x_base: 0,
        y_base: 0,
        i_base: 0,
    }
}

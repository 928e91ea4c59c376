//! What the dispatches of attention have bound of the operands that a query
//! reads anywhere: caches, mask and `past`.
//!
//! Over the limit, each is cut into ranges, and there is a dispatch for every
//! combination. A query's keys are in consecutive ones: the output, unscaled,
//! and the state of the softmax go from one to the next. So neither planes of
//! a cache nor their run-time extents need to fit anything.

use super::Heads;
use crate::error::Result;
use crate::graph::Dim;
use crate::kernels::parts::{self, Part};
use crate::kernels::{GpuCx, Param, Place, View};

/// Bytes of the maximum and the sum that are carried for a query and head.
const CARRIED: u64 = 8;

/// What one dispatch has bound.
#[derive(Debug, Clone, PartialEq)]
pub(super) struct Bound {
    /// Rows of the caches.
    rows: Part,
    /// Elements of the mask.
    mask: Option<Part>,
    /// Sequences of `past`.
    past: Part,
    /// Whether this is everything, so that nothing is carried.
    pub(super) whole: bool,
}

/// The dispatches for one part of the queries, in the order they must run.
///
/// # Errors
/// [`Error::Limit`](crate::Error::Limit) if a few rows of a cache are too
/// large, or there are too many to count.
pub(super) fn bounds(cx: &GpuCx<'_>, sizes: &Heads) -> Result<Vec<Bound>> {
    let (k, past) = (cx.input(1)?, cx.input(3)?);
    let bytes = k.dtype.block_bytes() as u64;
    let count = Dim::product(&k.shape[..3]);
    parts::fits_u32(cx, "rows of the key and value caches", &count)?;
    let row = [(sizes.head * bytes).into(), (sizes.value * bytes).into()];
    let rows = parts::split(cx, "a row of the key or value cache", &count, &row)?;
    let masks = match cx.inputs.get(4).and_then(Option::as_ref) {
        Some(mask) => {
            let count = mask.elements();
            parts::fits_u32(cx, "elements of the attention mask", &count)?;
            let masks = parts::split(cx, "the attention mask", &count, &[4u64.into()])?;
            masks.into_iter().map(Some).collect()
        }
        None => vec![None],
    };
    let pasts = parts::split(cx, "past of Attention", &past.shape[0], &[4u64.into()])?;
    let whole = rows.len() * masks.len() * pasts.len() == 1;
    let mut all = Vec::new();
    for past in &pasts {
        // Keys in ascending order: a dispatch has what follows its predecessor's.
        for rows in &rows {
            for mask in &masks {
                let (rows, mask, past) = (rows.clone(), mask.clone(), past.clone());
                all.push(Bound { rows, mask, past, whole });
            }
        }
    }
    Ok(all)
}

/// The parts of the queries, with what is carried for them if need be.
///
/// # Errors
/// [`Error::Limit`](crate::Error::Limit) if one query is too large.
pub(super) fn queries(cx: &GpuCx<'_>, sizes: &Heads, whole: bool) -> Result<Vec<Part>> {
    let q = cx.input(0)?;
    let tokens = &q.shape[0] * &q.shape[1];
    let mut row = vec![sizes.query_bytes().into(), sizes.output_bytes().into()];
    if !whole {
        row.push((sizes.heads * CARRIED).into());
    }
    parts::split(cx, "a query of Attention", &tokens, &row)
}

impl Bound {
    /// Views of the key cache, the value cache, `past` and what goes from one
    /// dispatch to the next.
    pub(super) fn bindings(
        &self,
        sizes: &Heads,
        element: u64,
        queries: &Part,
    ) -> Vec<(&'static str, View)> {
        let view = |part: &Part, input: usize, bytes: u64| {
            if self.whole {
                return View::all(Place::Input(input));
            }
            part.view(Place::Input(input), bytes)
        };
        let mut bindings = vec![
            ("k", view(&self.rows, 1, sizes.head * element)),
            ("v", view(&self.rows, 2, sizes.value * element)),
            ("past", view(&self.past, 3, 4)),
        ];
        if let Some(mask) = &self.mask {
            bindings.push(("mask", view(mask, 4, 4)));
        }
        if !self.whole {
            let bytes = (queries.count * sizes.heads * CARRIED).max(CARRIED);
            bindings.push(("carried", View::range(Place::Scratch(0), 0, bytes)));
        }
        bindings
    }

    /// Where the bound ranges are; nothing where they are everything.
    pub(super) fn params(&self) -> Vec<(&'static str, Param)> {
        if self.whole {
            return Vec::new();
        }
        // All of it is counted in 32 bits.
        let number = |value: u64| Param::U32(value as u32);
        let mut params = vec![
            ("first_row", number(self.rows.first)),
            ("rows", number(self.rows.count)),
            ("first_past", number(self.past.first)),
            ("pasts", number(self.past.count)),
        ];
        if let Some(mask) = &self.mask {
            params.push(("first_mask", number(mask.first)));
            params.push(("masks", number(mask.count)));
        }
        params
    }
}

//! What the dispatches of a reduction have bound: a part of x and a part of
//! the results.

use super::Spans;
use crate::error::Result;
use crate::graph::Dim;
use crate::kernels::parts::{self, Part};
use crate::kernels::{GpuCx, Param, Place, View};

/// Bytes of a result.
const WORD: u64 = 4;

/// Spans cut into pieces of a fixed length. The results are
/// `[outer, pieces, inner]`.
#[derive(Debug, Clone)]
pub(super) struct Cut {
    /// Elements of a span in a piece; as many as there are without a cut.
    pub(super) length: Dim,
    /// Pieces of a span.
    pub(super) pieces: Dim,
}

/// The part of x that one dispatch has bound, and the results it is for.
pub(super) struct Source {
    pub(super) view: View,
    /// Elements before the first span.
    pub(super) base: Dim,
    /// What is bound of a span.
    pub(super) n: Dim,
    /// The first result.
    pub(super) first: Dim,
    /// How many results there are.
    pub(super) rows: Dim,
}

impl Cut {
    /// Whole spans.
    pub(super) fn none(spans: &Spans) -> Self {
        Cut { length: spans.n.clone(), pieces: Dim::Const(1) }
    }
}

/// The parts of x, in order. Only a single span is bound in pieces.
///
/// # Errors
/// [`Error::Limit`](crate::Error::Limit) naming `what` if a span is too large.
pub(super) fn sources(
    cx: &GpuCx<'_>,
    what: &str,
    x: Place,
    spans: &Spans,
    cut: &Cut,
    bytes: u64,
) -> Result<Vec<Source>> {
    let Spans { outer, n, inner } = spans;
    let slab = n * inner;
    let per_span = &cut.pieces * inner;
    let all = cx.bound(&(outer * &slab * bytes))?;
    parts::fits_u32(cx, "elements of a reduction", &(outer * &slab))?;
    let in_pieces = outer.as_const() == Some(1)
        && cut.pieces.as_const() != Some(1)
        && all > cx.caps.max_binding();
    if !in_pieces {
        let runs = parts::runs(cx, what, outer, &slab, bytes)?;
        let source = |run: &parts::Run| Source {
            view: run.view(x),
            base: run.base.clone(),
            n: n.clone(),
            first: &run.first * &per_span,
            rows: &run.live * &per_span,
        };
        return Ok(runs.iter().map(source).collect());
    }
    let runs = parts::runs(cx, what, &cut.pieces, &(&cut.length * inner), bytes)?;
    let source = |run: &parts::Run| {
        Some(Source {
            view: run.view_within(x, all)?,
            base: run.base.clone(),
            n: n - &run.first * &cut.length,
            first: &run.first * inner,
            rows: &run.live * inner,
        })
    };
    Ok(runs.iter().filter_map(source).collect())
}

/// The parts of the results.
///
/// # Errors
/// As [`parts::split`].
pub(super) fn sinks(cx: &GpuCx<'_>, spans: &Spans, cut: &Cut) -> Result<Vec<Part>> {
    let results = spans.results() * &cut.pieces;
    parts::fits_u32(cx, "results of a reduction", &results)?;
    parts::split(cx, "results of a reduction", &results, &[WORD.into()])
}

/// A part of the results at a place.
pub(super) fn sink_view(part: &Part, place: Place) -> View {
    part.view(place, WORD)
}

/// The parameters that say where elements are and results go.
pub(super) fn params(
    source: &Source,
    sink: &Part,
    spans: &Spans,
    cut: &Cut,
) -> Vec<(&'static str, Param)> {
    vec![
        ("rows", (&source.rows).into()),
        ("base", (&source.base).into()),
        ("n", (&source.n).into()),
        ("inner", (&spans.inner).into()),
        ("length", (&cut.length).into()),
        ("pieces", (&cut.pieces).into()),
        ("first", (&source.first).into()),
        ("y_first", Param::U32(sink.first as u32)),
        ("y_count", Param::U32(sink.count as u32)),
    ]
}

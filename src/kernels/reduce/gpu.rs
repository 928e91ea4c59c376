//! The dispatches of a reduction.

use super::parts::{self, Cut};
use super::{
    Each, FAMILY, Fold, Last, ReduceKernel, Spans, VARIANTS, is_checked, is_serial, request, suits,
    workgroup,
};
use crate::error::Result;
use crate::graph::Dim;
use crate::kernels::elementwise::storage::storage;
use crate::kernels::parts::too_large;
use crate::kernels::{Dispatch, Fault, GpuCx, Grid, Param, Place, Variant, View};
use crate::tensor::DType;

const WHAT: &str = "a span of a reduction";

/// Pieces are of a multiple of so many elements, so that they start on the
/// alignment of a binding.
const GRAIN: u64 = 256;

/// Results that keep a GPU busy, and the least elements worth a piece.
const BUSY_GROUPS: (u64, u64) = (512, 4096);
const BUSY_INVOCATIONS: (u64, u64) = (16384, 256);
/// The same for adapters that are a CPU.
const BUSY_SOFTWARE: (u64, u64) = (64, 8192);

pub(super) fn dispatches(kernel: &ReduceKernel, cx: &GpuCx<'_>) -> Result<Vec<Dispatch>> {
    let (x, y) = (cx.input(0)?, cx.output(0)?);
    storage("a reduction", y.dtype)?;
    let spans = &kernel.spans;
    let variant = choose(cx, spans)?;
    let first = Stage {
        x: (Place::Input(0), x.dtype),
        y: Place::Output(0),
        each: kernel.each,
        last: kernel.last,
        count: kernel.count.clone(),
        empty: kernel.empty,
        spans: spans.clone(),
        cut: Cut::none(spans),
    };
    let Some(cut) = cut(cx, variant, spans, x.dtype)? else {
        return first.dispatches(cx, variant, kernel.fold, y.dtype);
    };
    // The results of the pieces, then the results of those.
    let partial = Place::Scratch(0);
    let spans = Spans { n: cut.pieces.clone(), ..spans.clone() };
    let second = Stage {
        x: (partial, y.dtype),
        each: Each::Plain,
        cut: Cut::none(&spans),
        spans,
        ..first.clone()
    };
    let first = Stage {
        y: partial,
        last: Last::Plain,
        count: first.spans.n.clone(),
        empty: 0.0,
        cut,
        ..first
    };
    let mut dispatches = first.dispatches(cx, variant, kernel.fold, y.dtype)?;
    dispatches.extend(second.dispatches(cx, variant, kernel.fold, y.dtype)?);
    Ok(dispatches)
}

fn choose(cx: &GpuCx<'_>, spans: &Spans) -> Result<&'static Variant> {
    let own = |variant: &Variant| !variant.name.starts_with("arg_");
    let suits = |variant: &Variant| own(variant) && suits(cx, variant, spans).unwrap_or(false);
    cx.choose(FAMILY, VARIANTS, suits).or_else(|_| cx.choose(FAMILY, VARIANTS, own))
}

/// How spans are cut: where there are too few to keep the device busy, where
/// one has more elements than an invocation may go through, and where the only
/// one is over the limit of a binding. `None` where they are not.
pub(super) fn cut(
    cx: &GpuCx<'_>,
    variant: &Variant,
    spans: &Spans,
    dtype: DType,
) -> Result<Option<Cut>> {
    let (n, inner) = (cx.bound(&spans.n)?, cx.bound(&spans.inner)?);
    let results = cx.bound(&spans.results())?;
    let serial = is_serial(variant);
    let share = if serial { 1 } else { u64::from(workgroup(variant)?) };
    let (busy, least) = match (cx.caps.is_software(), serial) {
        (true, _) => BUSY_SOFTWARE,
        (false, true) => BUSY_INVOCATIONS,
        (false, false) => BUSY_GROUPS,
    };
    let pieces = (busy / results.max(1)).min(n / least).max(1);
    let mut length = n.div_ceil(pieces);
    // Room for the loop over the rest that does not fill four lanes.
    if !cx.caps.loops_fit(length / share + 8) {
        length = 32768 * share;
    }
    let bytes = 4 / storage("a reduction", dtype)?.lanes;
    let limit = cx.caps.max_binding();
    let slab = n.saturating_mul(inner).saturating_mul(bytes);
    if slab > limit && spans.outer.as_const() == Some(1) {
        length = length.min(limit / (inner.max(1) * bytes));
        if length < GRAIN {
            return Err(too_large(WHAT, GRAIN * inner * bytes, limit));
        }
        length = length / GRAIN * GRAIN;
    }
    if length >= n {
        return Ok(None);
    }
    if length % GRAIN != 0 {
        length = length.next_multiple_of(GRAIN);
    }
    let pieces = spans.n.ceil_div(length);
    let bytes = cx.bound(&(spans.results() * &pieces * 4u64))?;
    if bytes > limit {
        return Err(too_large("partial results of a reduction", bytes, limit));
    }
    Ok(Some(Cut { length: length.into(), pieces }))
}

/// One pass over elements or over partial results.
#[derive(Debug, Clone)]
struct Stage {
    x: (Place, DType),
    y: Place,
    each: Each,
    last: Last,
    count: Dim,
    empty: f64,
    spans: Spans,
    cut: Cut,
}

impl Stage {
    fn dispatches(
        &self,
        cx: &GpuCx<'_>,
        variant: &Variant,
        fold: Fold,
        accumulator: DType,
    ) -> Result<Vec<Dispatch>> {
        let (place, dtype) = self.x;
        let bytes = 4 / storage("a reduction", dtype)?.lanes;
        let shader = request(variant, dtype, fold, self.each, self.last)?;
        let shifted = self.each == Each::Exp || self.last == Last::LogPlus;
        let size = workgroup(variant)?;
        let sinks = parts::sinks(cx, &self.spans, &self.cut)?;
        let mut dispatches = Vec::new();
        for source in &parts::sources(cx, WHAT, place, &self.spans, &self.cut, bytes)? {
            for sink in &sinks {
                let mut bindings =
                    vec![("x", source.view.clone()), ("y", parts::sink_view(sink, self.y))];
                if shifted && sinks.len() > 1 {
                    bindings.push(("shift", parts::sink_view(sink, Place::Input(1))));
                } else if shifted {
                    bindings.push(("shift", View::all(Place::Input(1))));
                }
                let mut params = parts::params(source, sink, &self.spans, &self.cut);
                params.push(("count", (&self.count).into()));
                params.push(("empty", Param::U32(bits(accumulator, self.empty))));
                if is_checked(dtype, fold) {
                    bindings.push(("status", View::all(Place::Status)));
                    params.push(("status_code", Param::Status(Fault::Overflow)));
                }
                let grid = match is_serial(variant) {
                    true => source.rows.ceil_div(size),
                    false => source.rows.clone(),
                };
                dispatches.push(Dispatch {
                    shader: shader.clone(),
                    variant: format!("{FAMILY}/{}", variant.name),
                    bindings,
                    params,
                    grid: Grid::Linear(grid),
                    work: &source.rows * (&self.cut.length + 1u64) * 4u64,
                });
            }
        }
        Ok(dispatches)
    }
}

/// A number as the device stores it. 64-bit integers have 32 bits there.
fn bits(dtype: DType, value: f64) -> u32 {
    match dtype {
        DType::F32 => (value as f32).to_bits(),
        DType::U32 | DType::U64 => value as u32,
        _ => (value as i32) as u32,
    }
}

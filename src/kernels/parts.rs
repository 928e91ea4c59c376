//! Splitting operands by rows where a device's limit on bindings demands it.

use super::{GpuCx, Place, View};
use crate::error::{Error, Result};
use crate::graph::{Dim, gcd};

/// Consecutive rows of one or more operands that have the same number of rows.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Part {
    /// The first row.
    pub(crate) first: u64,
    /// How many rows there are at most: fewer at run time where the part
    /// reaches past the run-time number of rows.
    pub(crate) count: u64,
}

impl Part {
    /// How many of the rows exist at run time, when there are `rows` in all.
    pub(crate) fn live(&self, rows: &Dim) -> Dim {
        (rows - self.first).min(self.count)
    }

    /// The part of a buffer with so many bytes in a row.
    pub(crate) fn view(&self, place: Place, row_bytes: u64) -> View {
        View::range(place, self.first * row_bytes, self.count * row_bytes)
    }
}

/// Splits `rows` rows so that each part fits a binding in every operand;
/// `row_bytes` has the bytes of a row in each of them. One part where all fits.
///
/// # Errors
/// [`Error::Limit`] naming `what` if one row is too large, or if the operand
/// must be split and its rows have no fixed size.
pub(crate) fn split(
    cx: &GpuCx<'_>,
    what: &str,
    rows: &Dim,
    row_bytes: &[Dim],
) -> Result<Vec<Part>> {
    let rows = cx.bound(rows)?;
    let limit = cx.caps.max_binding();
    let align = u64::from(cx.caps.storage_alignment());
    // A part starts at a multiple of `step` rows and has at most `count`.
    let (mut step, mut count) = (1u64, rows);
    let mut widest = 0;
    for bytes in row_bytes {
        let fixed = bytes.as_const().is_some();
        let bytes = cx.bound(bytes)?;
        if bytes == 0 || bytes.checked_mul(rows).is_some_and(|all| all <= limit) {
            continue;
        }
        if !fixed {
            return Err(too_large(what, bytes.saturating_mul(rows), limit));
        }
        widest = widest.max(bytes);
        step = lcm(step, step_of(align, bytes));
        count = count.min(limit / bytes);
    }
    if count == rows {
        return Ok(vec![Part { first: 0, count: rows }]);
    }
    // Splitting gives the other operands offsets as well.
    for bytes in row_bytes {
        let Some(bytes) = bytes.as_const() else {
            return Err(too_large(what, widest.saturating_mul(rows), limit));
        };
        if bytes > 0 {
            step = lcm(step, step_of(align, bytes));
        }
    }
    let count = count / step * step;
    if count == 0 {
        return Err(too_large(what, widest.saturating_mul(step), limit));
    }
    Ok((0..rows.div_ceil(count))
        .map(|i| Part { first: i * count, count: count.min(rows - i * count) })
        .collect())
}

/// Consecutive rows whose length may vary at run time, and the part of a buffer
/// that has them wherever they are then.
#[derive(Debug, Clone, PartialEq)]
pub(crate) struct Run {
    /// The first row.
    pub(crate) first: Dim,
    /// How many rows there are at run time.
    pub(crate) live: Dim,
    /// Elements of the part before the first row.
    pub(crate) base: Dim,
    offset: u64,
    bytes: u64,
}

impl Run {
    /// Rows of a fixed number of bytes.
    pub(crate) fn fixed(part: &Part, rows: &Dim, row_bytes: u64) -> Self {
        Run {
            first: part.first.into(),
            live: part.live(rows),
            base: Dim::Const(0),
            offset: part.first * row_bytes,
            bytes: part.count * row_bytes,
        }
    }

    /// The part of a buffer that has the rows.
    pub(crate) fn view(&self, place: Place) -> View {
        View::range(place, self.offset, self.bytes)
    }

    /// The same of a buffer of so many bytes, which may end within the last row;
    /// `None` past its end.
    pub(crate) fn view_within(&self, place: Place, bytes: u64) -> Option<View> {
        let left = bytes.checked_sub(self.offset).filter(|&left| left > 0)?;
        Some(View::range(place, self.offset, self.bytes.min(left)))
    }
}

/// Splits `rows` rows of `width` elements of so many bytes such that each part
/// fits a binding. Where the width varies at run time, or few rows do not end on
/// the alignment of a binding's offset, parts overlap by the longest row, and a
/// row belongs to the part in whose beginning it starts.
///
/// # Errors
/// [`Error::Limit`] naming `what` if one row is too large.
pub(crate) fn runs(
    cx: &GpuCx<'_>,
    what: &str,
    rows: &Dim,
    width: &Dim,
    element: u64,
) -> Result<Vec<Run>> {
    let row = cx.bound(&(width * element))?;
    let all = cx.bound(&(rows * width * element))?;
    let limit = cx.caps.max_binding();
    // So many rows may be needed to end on the alignment that they fit no binding.
    let steps = step_of(u64::from(cx.caps.storage_alignment()), row).saturating_mul(row) <= limit;
    if all <= limit || (width.as_const().is_some() && steps) {
        let parts = split(cx, what, rows, &[width * element])?;
        return Ok(parts.iter().map(|part| Run::fixed(part, rows, row)).collect());
    }
    let align = u64::from(cx.caps.storage_alignment());
    let step = limit.saturating_sub(row) / align * align;
    if step == 0 {
        return Err(too_large(what, row.saturating_add(align), limit));
    }
    // Rows of no elements are everywhere and nowhere.
    let some = width.max(1u64);
    let starting = |offset: u64| Dim::from(offset / element).ceil_div(&some).min(rows);
    let run = |offset: u64| {
        let first = starting(offset);
        Run {
            live: starting(offset + step) - &first,
            base: &first * width - offset / element,
            first,
            offset,
            bytes: limit.min(all - offset),
        }
    };
    Ok((0..all.div_ceil(step)).map(|i| run(i * step)).collect())
}

/// Whether rows of `width` elements begin and end at multiples of eight elements.
pub(crate) fn in_eights(width: &Dim, runs: &[Run]) -> bool {
    width.is_multiple_of(8) && runs.iter().all(|run| run.base.is_multiple_of(8))
}

/// A tensor or row does not fit one binding.
pub(crate) fn too_large(what: &str, needed: u64, limit: u64) -> Error {
    Error::Limit {
        what: what.into(),
        limit_name: "maxStorageBufferBindingSize".into(),
        needed,
        limit,
    }
}

/// Numbers that shaders count in 32 bits.
///
/// # Errors
/// [`Error::Limit`] naming `what` if the largest value does not fit.
pub(crate) fn fits_u32(cx: &GpuCx<'_>, what: &str, number: &Dim) -> Result<()> {
    let (needed, limit) = (cx.bound(number)?, u64::from(u32::MAX));
    if needed <= limit {
        return Ok(());
    }
    Err(Error::Limit { what: what.into(), limit_name: "32-bit indices".into(), needed, limit })
}

/// The fewest rows of so many bytes that end on the alignment.
pub(crate) fn step_of(align: u64, bytes: u64) -> u64 {
    align / gcd(align, bytes)
}

/// The least common multiple; 0 if one is 0.
pub(crate) fn lcm(a: u64, b: u64) -> u64 {
    if a == 0 { 0 } else { (a / gcd(a, b)).saturating_mul(b) }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::gpu::DeviceCaps;
    use crate::graph::{Bindings, GraphBuilder};
    use crate::kernels::Policy;

    fn split_with(cap: u64, rows: u64, bytes: &[u64]) -> Result<Vec<Part>> {
        let caps = DeviceCaps { binding_cap: Some(cap), ..DeviceCaps::webgpu_minimum() };
        let (bounds, policy) = (Bindings::new(0), Policy::default());
        let cx = GpuCx {
            inputs: &[],
            outputs: &[],
            bounds: &bounds,
            caps: &caps,
            policy: &policy,
            room: u64::MAX,
        };
        let bytes: Vec<Dim> = bytes.iter().map(|&b| b.into()).collect();
        split(&cx, "x", &rows.into(), &bytes)
    }

    #[test]
    fn parts_cover_all_rows_and_fit_and_are_aligned() {
        for (cap, rows, bytes) in [
            (1024, 100, vec![12]),
            (4096, 1000, vec![28, 64]),
            (1 << 20, 5000, vec![512]),
            (1024, 1, vec![1024]),
            (1024, 3, vec![0]),
            (1 << 16, 999, vec![96, 6]),
            (1024, 0, vec![4]),
        ] {
            let parts = split_with(cap, rows, &bytes).unwrap();
            let mut next = 0;
            for part in &parts {
                assert_eq!(part.first, next);
                next += part.count;
                for &bytes in &bytes {
                    assert!(part.count * bytes <= cap);
                    assert_eq!(part.first * bytes % 256, 0);
                }
            }
            assert_eq!(next, rows);
        }
        assert_eq!(split_with(1 << 20, 100, &[64]).unwrap().len(), 1);
    }

    #[test]
    fn what_cannot_be_split_is_named() {
        let error = split_with(1024, 2, &[1028]).unwrap_err();
        assert!(matches!(&error, Error::Limit { what, .. } if what == "x"), "{error}");
        // 64 rows are the least that end on the alignment.
        assert!(split_with(1024, 100, &[1020]).is_err());
    }

    #[test]
    fn rows_of_any_length_are_in_one_run_each() {
        let mut graph = GraphBuilder::new();
        let (rows, width) = (graph.symbol("rows"), graph.symbol("width"));
        let caps = DeviceCaps { binding_cap: Some(4096), ..DeviceCaps::webgpu_minimum() };
        let mut bounds = Bindings::new(2);
        bounds.set(rows, 100);
        bounds.set(width, 77);
        let policy = Policy::default();
        let cx = GpuCx {
            inputs: &[],
            outputs: &[],
            bounds: &bounds,
            caps: &caps,
            policy: &policy,
            room: u64::MAX,
        };
        let runs = runs(&cx, "x", &rows.into(), &width.into(), 4).unwrap();
        for (rows_now, width_now) in [(100, 77), (99, 76), (100, 1), (1, 77), (0, 5), (37, 64)] {
            let mut now = Bindings::new(2);
            now.set(rows, rows_now);
            now.set(width, width_now);
            let mut next = 0;
            for run in &runs {
                let value = |dim: &Dim| dim.eval(&now).unwrap();
                if value(&run.live) == 0 {
                    continue;
                }
                assert_eq!(value(&run.first), next);
                assert_eq!(run.offset % 256, 0);
                assert!(run.bytes <= 4096);
                assert_eq!(run.offset + value(&run.base) * 4, next * width_now * 4);
                next += value(&run.live);
                assert!(next * width_now * 4 <= run.offset + run.bytes);
            }
            assert_eq!(next, rows_now);
        }
        let error = super::runs(&cx, "x", &rows.into(), &(Dim::from(width) * 20u64), 4);
        assert!(matches!(error, Err(Error::Limit { what, .. }) if what == "x"));
    }

    #[test]
    fn live_rows_follow_the_run_time_number() {
        let rows = Dim::from(GraphBuilder::new().symbol("rows"));
        let part = Part { first: 10, count: 10 };
        let mut graph = GraphBuilder::new();
        let symbol = graph.symbol("rows");
        for (now, live) in [(5, 0), (10, 0), (13, 3), (20, 10), (99, 10)] {
            let mut bindings = Bindings::new(1);
            bindings.set(symbol, now);
            assert_eq!(part.live(&rows).eval(&bindings).unwrap(), live);
        }
    }
}

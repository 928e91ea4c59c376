//! Cutting a product into parts whose operands fit a binding.
//!
//! A matrix over the limit is cut along its rows in memory: A and C into groups
//! of rows of C, B into groups of columns of C. A `[k, n]` B or a `[k, m]` A can
//! only be cut along k: then the parts add up, one dispatch after the other.

use crate::error::{Error, Result};
use crate::gpu::DeviceCaps;
use crate::graph::Dim;
use crate::ops::matmul::geometry::Geometry;
use crate::quant::DeviceLayout;

/// A range of rows, columns or k.
#[derive(Debug, Clone, PartialEq)]
pub(super) struct Span {
    pub(super) start: u64,
    /// How long it is at run time.
    pub(super) len: Dim,
    /// How long it is at most.
    pub(super) bound: u64,
}

/// What one dispatch computes.
#[derive(Debug, Clone, PartialEq)]
pub(super) struct Part {
    /// Which matrices of A, B and C; `None` for the whole batch.
    pub(super) matrix: Option<[u64; 3]>,
    pub(super) rows: Span,
    pub(super) columns: Span,
    pub(super) inner: Span,
    /// Whether this is all there is, so that whole buffers can be bound.
    pub(super) whole: bool,
    /// Bit 0: the first part along k. Bit 1: the last one.
    pub(super) stage: u32,
}

/// The largest extents of a product.
#[derive(Debug, Clone, Copy)]
pub(super) struct Bounds {
    pub(super) m: u64,
    pub(super) n: u64,
    pub(super) k: u64,
}

/// The most dimensions of a batch that shaders count through.
pub(super) const BATCH_DIMS: usize = 3;

/// The bytes of `elements` of B in its body and in its head.
pub(super) fn weight_bytes(layout: &DeviceLayout, elements: u64) -> (u64, u64) {
    let blocks = elements / layout.block_len as u64;
    (blocks * layout.body_bytes_per_block as u64, blocks * layout.head_bytes_per_block as u64)
}

/// Whether all operands fit a binding and one dispatch counts through the batch.
pub(super) fn fit(
    g: &Geometry,
    Bounds { m, n, k }: Bounds,
    layout: &DeviceLayout,
    caps: &DeviceCaps,
    [za, zb, zc]: [u64; 3],
) -> bool {
    let (body, head) = weight_bytes(layout, n * k);
    let largest = [za * m * k * 4, zb * body, zb * head, zc * m * n * 4];
    g.batch.len() <= BATCH_DIMS && largest.iter().all(|&bytes| bytes <= caps.max_binding())
}

/// The parts of a product, in the order they must run: `matrices` of A, B and C, and
/// how many rows of B in memory take turns.
///
/// # Errors
/// [`Error::Limit`] if a single row is over the limit, [`Error::Unsupported`]
/// if a cut would fall on an offset that is known only at run time.
pub(super) fn parts(
    g: &Geometry,
    bounds: Bounds,
    layout: &DeviceLayout,
    caps: &DeviceCaps,
    (matrices, together): ([u64; 3], u64),
) -> Result<Vec<Part>> {
    let Bounds { m, n, k } = bounds;
    let limit = caps.max_binding();
    let whole = Part {
        matrix: None,
        rows: Span { start: 0, len: g.m.clone(), bound: m },
        columns: Span { start: 0, len: g.n.clone(), bound: n },
        inner: Span { start: 0, len: g.k.clone(), bound: k },
        whole: true,
        stage: 3,
    };
    if fit(g, bounds, layout, caps, matrices) {
        return Ok(vec![whole]);
    }
    let [_, _, zc] = matrices;
    let align = u64::from(caps.storage_alignment());
    let cut = Cut { g, bounds, layout, limit, align, together };
    let steps = cut.steps()?;
    let mut parts = Vec::new();
    for matrix in cut.matrices(zc)? {
        for rows in spans(&g.m, m, steps.rows) {
            for columns in spans(&g.n, n, steps.columns) {
                let inner = spans(&g.k, k, steps.inner);
                let last = inner.len() - 1;
                for (i, inner) in inner.into_iter().enumerate() {
                    parts.push(Part {
                        matrix: Some(matrix),
                        rows: rows.clone(),
                        columns: columns.clone(),
                        inner,
                        whole: false,
                        stage: u32::from(i == 0) | u32::from(i == last) << 1,
                    });
                }
            }
        }
    }
    Ok(parts)
}

/// How long the parts are.
struct Steps {
    rows: u64,
    columns: u64,
    inner: u64,
}

struct Cut<'a> {
    g: &'a Geometry,
    bounds: Bounds,
    layout: &'a DeviceLayout,
    limit: u64,
    align: u64,
    /// Rows of B that take turns: a cut does not go through them.
    together: u64,
}

impl Cut<'_> {
    fn steps(&self) -> Result<Steps> {
        let (g, Bounds { m, n, k }) = (self.g, self.bounds);
        let size = self.layout.body_bytes_per_block as u64;
        let mut steps = Steps { rows: m, columns: n, inner: k };
        steps.rows = steps.rows.min(self.lines("a row of the result", n * 4)?);
        if g.trans_a {
            steps.inner = steps.inner.min(self.lines("a row of a", m * 4)?);
        } else {
            steps.rows = steps.rows.min(self.lines("a row of a", k * 4)?);
        }
        if g.rows_b {
            steps.columns = steps.columns.min(self.weight_rows()?);
        } else {
            steps.inner = steps.inner.min(self.lines("a row of b", n * size)?);
        }
        // Parts of k start at whole groups of eight and at whole blocks.
        let group = (self.layout.block_len as u64).max(8);
        if steps.inner < k {
            steps.inner = steps.inner / group * group;
            if steps.inner == 0 {
                return Err(self.over("a few rows of b", group * n.max(m) * 4));
            }
        }
        let cuts = [
            (steps.rows < m, "rows", [&g.n, &g.k]),
            (steps.columns < n, "columns", [&g.k, &g.k]),
            (steps.inner < k, "inner dimension", [&g.m, &g.n]),
        ];
        for (cut, what, lengths) in cuts {
            let fixed = |dim: &&Dim| match what {
                // Only the operands that are cut this way need a fixed length.
                "inner dimension" => {
                    let in_a = g.trans_a && *dim == &g.m;
                    let in_b = !g.rows_b && *dim == &g.n;
                    !(in_a || in_b) || dim.as_const().is_some()
                }
                _ => dim.as_const().is_some(),
            };
            if cut && !lengths.iter().all(fixed) {
                return Err(self.varying(what));
            }
        }
        Ok(steps)
    }

    /// How many lines of so many bytes fit, wherever the first one starts.
    fn lines(&self, what: &str, bytes: u64) -> Result<u64> {
        if bytes == 0 {
            return Ok(u64::MAX);
        }
        let room = self.limit.saturating_sub(self.align);
        match room / bytes {
            0 => Err(self.over(what, bytes + self.align)),
            lines => Ok(lines),
        }
    }

    /// How many rows of B fit such that every group of them starts, in both
    /// regions, where a binding may start.
    fn weight_rows(&self) -> Result<u64> {
        let (body, head) = weight_bytes(self.layout, self.bounds.k);
        if !self.layout.dtype.is_quantised() {
            return self.lines("a row of b", body);
        }
        let mut group = self.together;
        for bytes in [body, head] {
            if bytes > 0 {
                // The alignment is a power of two, and so is what it shares.
                let shared = 1 << bytes.trailing_zeros();
                group = group.max(self.align / self.align.min(shared));
            }
        }
        let row = body.max(head).max(1);
        match self.limit / (row * group) {
            0 => Err(self.over("a few rows of b", row * group)),
            groups => Ok(groups * group),
        }
    }

    /// The matrices of A, B and C that meet, one after the other.
    fn matrices(&self, count: u64) -> Result<Vec<[u64; 3]>> {
        let number = |dim: &Dim| dim.as_const().ok_or_else(|| self.varying("batch"));
        if count > 1 && [&self.g.m, &self.g.n, &self.g.k].iter().any(|d| d.as_const().is_none()) {
            return Err(self.varying("batch"));
        }
        let steps = self.g.steps();
        let mut all = Vec::new();
        for z in 0..count {
            let (mut rest, mut a, mut b) = (z, 0, 0);
            for (dim, (step_a, step_b)) in self.g.batch.iter().zip(&steps).rev() {
                let extent = number(&dim.extent)?;
                a += rest % extent * number(step_a)?;
                b += rest % extent * number(step_b)?;
                rest /= extent;
            }
            all.push([a, b, z]);
        }
        Ok(all)
    }

    fn over(&self, what: &str, needed: u64) -> Error {
        Error::Limit {
            what: format!("{what} of a matrix product"),
            limit_name: "max_storage_buffer_binding_size".into(),
            needed,
            limit: self.limit,
        }
    }

    fn varying(&self, what: &str) -> Error {
        let what = format!(
            "cutting the {what} of a product over the binding limit of {} bytes, \
             where other dimensions vary at run time",
            self.limit
        );
        Error::unsupported("matmul", what)
    }
}

/// Cuts a dimension into spans of at most `step`; at least one span.
fn spans(dim: &Dim, bound: u64, step: u64) -> Vec<Span> {
    if step >= bound {
        return vec![Span { start: 0, len: dim.clone(), bound }];
    }
    let starts = (0..bound).step_by(step.max(1) as usize);
    starts
        .map(|start| Span {
            start,
            len: (dim.clone() - start).min(step),
            bound: step.min(bound - start),
        })
        .collect()
}

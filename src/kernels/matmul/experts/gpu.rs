//! The GPU's way: row by row where few rows meet a matrix, else grouped first.
//!
//! Rows are cut so that A, the indices and the result fit a binding. Stacked
//! weights over the limit are cut between the rows of their matrices; a dispatch
//! computes what its part has and leaves the rest alone.

use super::{ExpertsKernel, Extents};
use crate::error::{Error, Result};
use crate::graph::Dim;
use crate::kernels::matmul::request::{Meeting, Options, grouping, meeting};
use crate::kernels::matmul::split::weight_bytes;
use crate::kernels::matmul::variants::{self, FAMILY, Shape};
use crate::kernels::parts::{self, Part};
use crate::kernels::{Dispatch, Fault, GpuCx, Grid, Param, Place, Variant, View};
use crate::quant::DeviceLayout;

/// How many rows of each matrix.
const COUNTS: Place = Place::Scratch(0);
/// The matrix of each tile, then the pair of each row.
const GROUPING: Place = Place::Scratch(1);

/// The dispatches of a product.
pub(super) fn dispatches(kernel: &ExpertsKernel, cx: &GpuCx<'_>) -> Result<Vec<Dispatch>> {
    let weight = cx.input(2)?;
    let layout = DeviceLayout::of(weight.dtype)
        .ok_or_else(|| Error::unsupported(FAMILY, format!("weights of type {}", weight.dtype)))?;
    let extents = Extents::of(&cx.input(0)?.shape, &cx.input(1)?.shape, &weight.shape)?;
    let [experts, n, k] = [&extents.experts, &extents.n, &extents.k].map(|dim| cx.bound(dim));
    let (experts, n, k) = (experts?, n?, k?);
    let pairs = cx.bound(&(&extents.rows * &extents.chosen))?;
    if experts == 0 || n == 0 {
        return Ok(Vec::new());
    }
    let shape = Shape {
        m: pairs.div_ceil(experts),
        n,
        k,
        matrices: experts.min(pairs),
        fours: extents.k.is_multiple_of(4),
        rows_b: true,
        weight: layout.dtype,
        buffers: buffers(kernel, &layout),
        grouping: Some(pairs.max(experts) + 1),
        splits: None,
        int8: false,
        int8_cheap: false,
    };
    let variant = variants::choose(cx, &shape)?;
    let options = options(kernel, cx, &layout, &extents, variant)?;
    let product = Product { kernel, variant, options, layout, extents, experts };
    let slices = slices(cx, &layout, [experts, n, k])?;
    let mut all = Vec::new();
    for rows in product.rows(cx)? {
        if options.meeting == Meeting::Grouped {
            all.extend(product.group(cx, &rows)?);
        }
        for slice in &slices {
            all.push(product.dispatch(cx, &rows, slice)?);
        }
    }
    Ok(all)
}

/// How many buffers a dispatch binds where rows are taken one by one: one more than
/// in groups, and with codebooks one more than every device has.
fn buffers(kernel: &ExpertsKernel, layout: &DeviceLayout) -> u32 {
    let weights = if kernel.gated { 2 } else { 1 };
    4 + weights * (1 + u32::from(layout.has_head())) + u32::from(layout.has_codebook())
}

fn options(
    kernel: &ExpertsKernel,
    cx: &GpuCx<'_>,
    layout: &DeviceLayout,
    extents: &Extents<Dim>,
    variant: &Variant,
) -> Result<Options> {
    let multiple = |of: u64| extents.k.as_const().is_some_and(|k| k.is_multiple_of(of));
    Ok(Options {
        weight: layout.dtype,
        activation: kernel.activation,
        gated: kernel.gated,
        meeting: meeting(variant).unwrap_or(Meeting::Each),
        bias: false,
        batched: false,
        staged: false,
        trans_a: false,
        rows_b: true,
        a_vec4: multiple(4),
        b_quads: multiple(8) && !layout.dtype.is_quantised(),
        k_tail: !multiple(8) && !layout.dtype.is_quantised(),
        // Rows that come one by one are alone in their tile.
        m: 1,
        lanes: cx.caps.coop_lanes(),
        together: cx.together(2)?,
    })
}

/// A part of the stacked weights: some columns of some matrices.
#[derive(Debug, PartialEq)]
struct Slice {
    /// The rows of the stack that are bound; `None` for all.
    bound: Option<Part>,
    /// The first matrix, and how many.
    first: u64,
    count: u64,
    /// The first column, and how many.
    column: u64,
    columns: u64,
    /// Rows of the stack that are bound before the first one used.
    skipped: u64,
}

/// Cuts weights `[experts, n, k]` into parts that fit a binding.
fn slices(cx: &GpuCx<'_>, layout: &DeviceLayout, [experts, n, k]: [u64; 3]) -> Result<Vec<Slice>> {
    let (body, head) = weight_bytes(layout, k);
    let rows = Dim::Const(experts * n);
    let parts = parts::split(cx, "weights of experts", &rows, &[body.into(), head.into()])?;
    if parts.len() == 1 {
        let all =
            Slice { bound: None, first: 0, count: experts, column: 0, columns: n, skipped: 0 };
        return Ok(vec![all]);
    }
    let mut slices = Vec::new();
    for part in parts {
        let (mut row, end) = (part.first, part.first + part.count);
        while row < end {
            let (first, column, left) = (row / n, row % n, end - row);
            // Whole matrices together, what is cut off by itself.
            let whole = if column == 0 { left / n } else { 0 };
            let (count, columns) = if whole > 0 { (whole, n) } else { (1, left.min(n - column)) };
            let skipped = row - part.first;
            slices.push(Slice {
                bound: Some(part.clone()),
                first,
                count,
                column,
                columns,
                skipped,
            });
            row += count * columns;
        }
    }
    Ok(slices)
}

/// A product on a device.
struct Product<'a> {
    kernel: &'a ExpertsKernel,
    variant: &'static Variant,
    options: Options,
    layout: DeviceLayout,
    extents: Extents<Dim>,
    experts: u64,
}

/// Some rows of A and of the indices.
struct Rows {
    part: Part,
    /// Whether these are all.
    whole: bool,
    /// Bytes of a row of A, of the indices and of the result.
    bytes: [u64; 3],
    /// Pairs of a row of A and an index, at run time and at most.
    pairs: Dim,
    bound: u64,
}

impl Rows {
    /// Their part of an operand: `number` counts A, the indices, the result.
    fn view(&self, place: Place, number: usize) -> View {
        match self.whole {
            true => View::all(place),
            false => self.part.view(place, self.bytes[number]),
        }
    }
}

impl Product<'_> {
    fn rows(&self, cx: &GpuCx<'_>) -> Result<Vec<Rows>> {
        let Extents { rows, chosen, shared, n, k, .. } = &self.extents;
        let a = if *shared { k.clone() } else { chosen * k };
        let sizes = [a * 4u64, chosen * 4u64, chosen * n * 4u64];
        let mut bytes = [0; 3];
        for (bytes, size) in bytes.iter_mut().zip(&sizes) {
            *bytes = cx.bound(size)?;
        }
        let parts = parts::split(cx, "rows of a product with experts", rows, &sizes)?;
        let per_row = cx.bound(chosen)?;
        let whole = parts.len() == 1;
        let with = |part: Part| Rows {
            pairs: part.live(rows) * chosen,
            bound: part.count * per_row,
            bytes,
            part,
            whole,
        };
        Ok(parts.into_iter().map(with).collect())
    }

    /// Tiles along the rows. Every matrix fills up its last one.
    fn row_tiles(&self, pairs: &Dim, rows: u32) -> Dim {
        match self.options.meeting {
            Meeting::Grouped => (pairs.ceil_div(rows) + self.experts).min(pairs),
            _ => pairs.clone(),
        }
    }

    /// The part of the scratch memory with the grouping.
    fn grouping(&self, rows: &Rows) -> Result<View> {
        let (height, _) = self.options.tile(self.variant)?;
        let height = u64::from(height);
        let tiles = (rows.bound.div_ceil(height) + self.experts).min(rows.bound);
        Ok(View::range(GROUPING, 0, (tiles * (height + 1) * 4).max(4)))
    }

    /// Counts the rows of each matrix and puts them together.
    fn group(&self, cx: &GpuCx<'_>, rows: &Rows) -> Result<[Dispatch; 2]> {
        let (height, _) = self.options.tile(self.variant)?;
        let tiles = self.row_tiles(&rows.pairs, height);
        parts::fits_u32(cx, "rows of experts", &(&tiles * (height + 1)))?;
        let counts = View::range(COUNTS, 0, self.experts * 4);
        let chosen = rows.view(Place::Input(1), 1);
        let dispatch = |placing: bool| -> Result<Dispatch> {
            let mut bindings = vec![("chosen", chosen.clone()), ("counts", counts.clone())];
            let mut params: Vec<(&'static str, Param)> = vec![
                ("pairs", (&rows.pairs).into()),
                ("experts", Dim::Const(self.experts).into()),
                ("rows", height.into()),
                ("row_tiles", (&tiles).into()),
            ];
            if placing {
                bindings.push(("grouping", self.grouping(rows)?));
            } else {
                bindings.push(("status", View::all(Place::Status)));
                params.push(("index_code", Param::Status(Fault::Index)));
            }
            Ok(Dispatch {
                shader: grouping(placing),
                variant: format!("{FAMILY}/{}", self.variant.name),
                bindings,
                params,
                // One more, for the tiles that are left.
                grid: Grid::Linear(
                    (rows.pairs.clone().min(1u64) * (self.experts + 1)).ceil_div(32u64),
                ),
                work: &rows.pairs * self.experts,
            })
        };
        Ok([dispatch(false)?, dispatch(true)?])
    }

    fn dispatch(&self, cx: &GpuCx<'_>, rows: &Rows, slice: &Slice) -> Result<Dispatch> {
        let grouped = self.options.meeting == Meeting::Grouped;
        let (height, width) = self.options.tile(self.variant)?;
        let row_tiles = self.row_tiles(&rows.pairs, height);
        let tiles = &row_tiles * slice.columns.div_ceil(u64::from(width));
        parts::fits_u32(cx, "tiles of a product with experts", &tiles)?;
        let Extents { chosen, shared, n, k, .. } = &self.extents;
        let stride = k / self.layout.block_len;
        let mut bindings =
            vec![("a", rows.view(Place::Input(0), 0)), ("c", rows.view(Place::Output(0), 2))];
        bindings.extend(self.weights(slice, cx.bound(k)?));
        let mut params: Vec<(&'static str, Param)> = vec![
            ("tiles", (&tiles).into()),
            ("m", (&row_tiles * height).into()),
            ("n", Dim::Const(slice.columns).into()),
            ("k", k.into()),
            ("a_base", 0u32.into()),
            ("a_stride", k.into()),
            ("b_base", (&stride * slice.skipped).into()),
            ("b_stride", (&stride).into()),
            ("b_expert", (&stride * n).into()),
            ("c_base", Dim::Const(slice.column).into()),
            ("c_stride", n.into()),
            ("first_expert", Dim::Const(slice.first).into()),
            ("experts", Dim::Const(slice.count).into()),
            ("a_share", if *shared { chosen.clone() } else { Dim::Const(1) }.into()),
        ];
        if grouped {
            bindings.push(("grouping", self.grouping(rows)?));
            params.push(("row_tiles", (&row_tiles).into()));
        } else {
            bindings.push(("chosen", rows.view(Place::Input(1), 1)));
            bindings.push(("status", View::all(Place::Status)));
            params.push(("all_experts", Dim::Const(self.experts).into()));
            params.push(("index_code", Param::Status(Fault::Index)));
        }
        let twice = if self.kernel.gated { 2u64 } else { 1 };
        Ok(Dispatch {
            shader: self.options.request(self.variant)?,
            variant: format!("{FAMILY}/{}", self.variant.name),
            bindings,
            params,
            grid: Grid::Linear(tiles),
            work: &rows.pairs * k * (slice.columns * twice),
        })
    }

    /// The bindings of a part of the weights.
    fn weights(&self, slice: &Slice, k: u64) -> Vec<(&'static str, View)> {
        let (body_bytes, head_bytes) = weight_bytes(&self.layout, k);
        let view = |place: Place, row_bytes: u64| match &slice.bound {
            None => View::all(place),
            Some(part) => part.view(place, row_bytes),
        };
        let mut bindings = Vec::new();
        let names = [(2, "w_body", "w_head"), (3, "up_body", "up_head")];
        for (input, body, head) in names.into_iter().take(if self.kernel.gated { 2 } else { 1 }) {
            bindings.push((body, view(Place::Input(input), body_bytes)));
            if self.layout.has_head() {
                bindings.push((head, view(Place::Head(input), head_bytes)));
            }
        }
        if self.layout.has_codebook() {
            bindings.push(("w_table", View::all(Place::Codebook(self.layout.dtype))));
        }
        bindings
    }
}

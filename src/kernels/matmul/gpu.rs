//! A product as dispatches.

use super::MatMulKernel;
use super::int8;
use super::ksplit::{self, Splittable};
use super::request::{Meeting, Options};
use super::split::{self, BATCH_DIMS, Bounds, Part};
use super::variants::{self, FAMILY, Shape};
use crate::error::{Error, Result};
use crate::graph::Dim;
use crate::kernels::{Dispatch, GpuCx, Grid, Param, Place, Variant, View};
use crate::ops::matmul::geometry::Geometry;
use crate::quant::DeviceLayout;

/// The dispatches of a product.
pub(super) fn dispatches(kernel: &MatMulKernel, cx: &GpuCx<'_>) -> Result<Vec<Dispatch>> {
    let (a, b) = (cx.input(0)?, cx.input(1)?);
    let g = Geometry::new(a, b, kernel.trans_a, kernel.trans_b)
        .map_err(|what| Error::rule("MatMul", what))?;
    let layout = DeviceLayout::of(b.dtype)
        .ok_or_else(|| Error::unsupported(FAMILY, format!("weights of type {}", b.dtype)))?;
    let bounds = Bounds { m: cx.bound(&g.m)?, n: cx.bound(&g.n)?, k: cx.bound(&g.k)? };
    let of = |pick: fn(&crate::ops::matmul::geometry::BatchDim) -> bool| {
        let dims = g.batch.iter().filter(|dim| pick(dim)).map(|dim| &dim.extent);
        cx.bound(&Dim::product(dims))
    };
    let matrices = [of(|dim| dim.a)?, of(|dim| dim.b)?, of(|_| true)?];
    // One matrix, whole, with sums of a known length.
    let plain = !kernel.gated && g.batch.is_empty() && g.k.as_const().is_some();
    // Rows of A in whole blocks, by one matrix.
    let whole_rows = g.batch.is_empty() && !g.trans_a && g.k.is_multiple_of(int8::BLOCK);
    let rounded = int8::bytes(bounds.m, bounds.k);
    let together = cx.together(1)?;
    let fits = split::fit(&g, bounds, &layout, cx.caps, matrices);
    let shape = Shape {
        m: bounds.m,
        n: bounds.n,
        k: bounds.k,
        matrices: matrices[2],
        fours: g.k.is_multiple_of(4),
        rows_b: g.rows_b,
        weight: layout.dtype,
        buffers: 0,
        grouping: None,
        int8: whole_rows && fits && rounded <= cx.caps.max_binding(),
        int8_cheap: rounded <= cx.room,
        splits: (plain && fits)
            .then(|| Splittable::new(bounds.k, &layout, bounds.m * bounds.n, cx.caps, cx.room)),
    };
    let product = Product {
        kernel,
        variant: variants::choose(cx, &shape)?,
        align: u64::from(cx.caps.storage_alignment()),
        bias: !kernel.gated && cx.inputs.get(2).is_some_and(Option::is_some),
        lanes: cx.caps.coop_lanes(),
        together,
        g,
        layout,
        bounds,
    };
    let parts = split::parts(&product.g, bounds, &layout, cx.caps, (matrices, product.together))?;
    match &parts[..] {
        [part] if ksplit::ways(product.variant) > 1 => return ksplit::dispatches(&product, part),
        [part] if product.variant.needs.int8 => return int8::dispatches(&product, part),
        _ => {}
    }
    parts.iter().map(|part| product.dispatch(part)).collect()
}

/// A product on a device.
pub(super) struct Product<'a> {
    pub(super) kernel: &'a MatMulKernel,
    pub(super) variant: &'static Variant,
    pub(super) g: Geometry,
    pub(super) layout: DeviceLayout,
    pub(super) bounds: Bounds,
    align: u64,
    pub(super) bias: bool,
    lanes: u32,
    pub(super) together: u64,
}

/// A part of a buffer: where the binding starts, and from there to the part.
struct Window {
    view: View,
    /// Elements from the start of the binding to the first one used.
    base: u64,
}

impl Product<'_> {
    pub(super) fn dispatch(&self, part: &Part) -> Result<Dispatch> {
        let a = self.window(part, Place::Input(0), self.span_a(part), 4);
        let c = self.window(part, Place::Output(0), self.span_c(part), 4);
        let (weights, b_base) = self.weights(part);
        let options = self.options(part, [a.base, b_base]);
        let mut bindings = vec![("a", a.view), ("c", c.view)];
        bindings.extend(weights);
        if options.bias {
            bindings.push(("bias", View::all(Place::Input(2))));
        }
        let (rows, columns) = options.tile(self.variant)?;
        let matrices = if options.batched { self.g.matrices() } else { Dim::Const(1) };
        let tiles = part.rows.len.ceil_div(rows) * part.columns.len.ceil_div(columns) * &matrices;
        let mut params: Vec<(&'static str, Param)> = vec![
            ("tiles", (&tiles).into()),
            ("m", (&part.rows.len).into()),
            ("n", (&part.columns.len).into()),
            ("k", (&part.inner.len).into()),
            ("a_base", Dim::Const(a.base).into()),
            ("a_stride", if self.g.trans_a { &self.g.m } else { &self.g.k }.into()),
            ("b_base", Dim::Const(b_base).into()),
            ("b_stride", self.weight_stride().into()),
            ("c_base", Dim::Const(c.base).into()),
            ("c_stride", (&self.g.n).into()),
        ];
        if options.bias {
            params.push(("bias_base", Dim::Const(part.columns.start).into()));
        }
        if options.staged {
            params.push(("stage", part.stage.into()));
        }
        if options.batched {
            self.batch_params(&mut params);
        }
        let twice = if self.kernel.gated { 2u64 } else { 1 };
        Ok(Dispatch {
            shader: options.request(self.variant)?,
            variant: format!("{FAMILY}/{}", self.variant.name),
            bindings,
            params,
            grid: Grid::Linear(tiles),
            work: Dim::product([&part.rows.len, &part.columns.len, &part.inner.len])
                * matrices
                * twice,
        })
    }

    /// `bases`: the first elements of A and of a plain B that are used.
    pub(super) fn options(&self, part: &Part, bases: [u64; 2]) -> Options {
        let fours = self.g.k.as_const().is_some_and(|k| k.is_multiple_of(4));
        let eights = part.inner.len.as_const().is_some_and(|k| k.is_multiple_of(8));
        Options {
            weight: self.layout.dtype,
            activation: self.kernel.activation,
            gated: self.kernel.gated,
            meeting: Meeting::Batch,
            bias: self.bias,
            batched: part.matrix.is_none() && !self.g.batch.is_empty(),
            staged: part.stage != 3,
            trans_a: self.g.trans_a,
            rows_b: self.g.rows_b,
            a_vec4: !self.g.trans_a && fours && bases[0].is_multiple_of(4),
            b_quads: self.g.rows_b
                && !self.layout.dtype.is_quantised()
                && self.g.k.is_multiple_of(8)
                && bases[1].is_multiple_of(8),
            // Blocks of a quantised weight are whole.
            k_tail: !eights && !self.layout.dtype.is_quantised(),
            m: self.bounds.m,
            lanes: self.lanes,
            together: self.together,
        }
    }

    /// The elements of A that a part reads: first, how many, and how many
    /// before the first one used.
    fn span_a(&self, part: &Part) -> (u64, u64, u64) {
        let Bounds { m, k, .. } = self.bounds;
        let start = part.matrix.map_or(0, |[a, _, _]| a * m * k);
        if self.g.trans_a {
            (start + part.inner.start * m, part.inner.bound * m, part.rows.start)
        } else {
            (start + part.rows.start * k, part.rows.bound * k, part.inner.start)
        }
    }

    fn span_c(&self, part: &Part) -> (u64, u64, u64) {
        let Bounds { m, n, .. } = self.bounds;
        let start = part.matrix.map_or(0, |[_, _, c]| c * m * n);
        (start + part.rows.start * n, part.rows.bound * n, part.columns.start)
    }

    fn span_b(&self, part: &Part) -> (u64, u64, u64) {
        let Bounds { n, k, .. } = self.bounds;
        let start = part.matrix.map_or(0, |[_, b, _]| b * n * k);
        if self.g.rows_b {
            (start + part.columns.start * k, part.columns.bound * k, part.inner.start)
        } else {
            (start + part.inner.start * n, part.inner.bound * n, part.columns.start)
        }
    }

    /// The part of a buffer of plain elements, from an aligned offset.
    fn window(&self, part: &Part, place: Place, span: (u64, u64, u64), size: u64) -> Window {
        if part.whole {
            return Window { view: View::all(place), base: 0 };
        }
        let (start, len, extra) = (span.0 * size, span.1 * size, span.2);
        let offset = start / self.align * self.align;
        let view = View::range(place, offset, start - offset + len);
        Window { view, base: (start - offset) / size + extra }
    }

    /// The bindings of B (of both, if gated), and the first element or block.
    fn weights(&self, part: &Part) -> (Vec<(&'static str, View)>, u64) {
        let mut bindings = Vec::new();
        let mut base = 0;
        let names = [(1, "w_body", "w_head"), (2, "up_body", "up_head")];
        for (input, body, head) in names.into_iter().take(if self.kernel.gated { 2 } else { 1 }) {
            if !self.layout.dtype.is_quantised() {
                let size = self.layout.body_bytes_per_block as u64;
                let window = self.window(part, Place::Input(input), self.span_b(part), size);
                bindings.push((body, window.view));
                base = window.base;
                continue;
            }
            let (start, len, extra) = self.span_b(part);
            let (body_at, head_at) = split::weight_bytes(&self.layout, start);
            let (body_len, head_len) = split::weight_bytes(&self.layout, len);
            let view = |place, at, len| match part.whole {
                true => View::all(place),
                false => View::range(place, at, len),
            };
            bindings.push((body, view(Place::Input(input), body_at, body_len)));
            if self.layout.has_head() {
                bindings.push((head, view(Place::Head(input), head_at, head_len)));
            }
            base = extra / self.layout.block_len as u64 * self.together;
        }
        if self.layout.has_codebook() {
            bindings.push(("w_table", View::all(Place::Codebook(self.layout.dtype))));
        }
        (bindings, base)
    }

    /// Elements or blocks between neighbours in memory's slower dimension of B.
    fn weight_stride(&self) -> Dim {
        match self.g.rows_b {
            true => &self.g.k / self.layout.block_len,
            false => self.g.n.clone(),
        }
    }

    fn batch_params(&self, params: &mut Vec<(&'static str, Param)>) {
        let none = (Dim::Const(0), Dim::Const(0));
        let missing = BATCH_DIMS - self.g.batch.len();
        let mut extents = vec![Dim::Const(1); missing];
        extents.extend(self.g.batch.iter().map(|dim| dim.extent.clone()));
        let mut steps = vec![none; missing];
        steps.extend(self.g.steps());
        let (a, b) = (&self.g.m * &self.g.k, &self.g.k * &self.g.n);
        params.push(("z_mid", (&extents[1]).into()));
        params.push(("z_inner", (&extents[2]).into()));
        for (name, (step, _)) in ["a_outer", "a_mid", "a_inner"].into_iter().zip(&steps) {
            params.push((name, (step * &a).into()));
        }
        for (name, (_, step)) in ["b_outer", "b_mid", "b_inner"].into_iter().zip(&steps) {
            params.push((name, (step * &b).into()));
        }
        params.push(("c_batch", (&self.g.m * &self.g.n).into()));
    }
}

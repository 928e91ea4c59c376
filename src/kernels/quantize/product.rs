//! Products of matrices of whole numbers.

use super::{FAMILY, VARIANTS, cpu, plain};
use crate::error::{Error, Result};
use crate::gpu::ShaderRequest;
use crate::graph::{Dim, TensorType};
use crate::kernels::parts::too_large;
use crate::kernels::{CpuCx, Dispatch, GpuCx, Grid, Kernel, Param, Place, Variant, View};
use crate::ops::matmul::geometry::Geometry;
use crate::tensor::DType;

/// The most dimensions of a batch that the shader counts through.
const BATCH_DIMS: usize = 3;

/// Computes [`MatMulInteger`](crate::ops::quantize::MatMulInteger).
#[derive(Debug, Clone, Copy)]
pub struct Product;

/// What the operands are, for the shader.
#[derive(Debug, Clone, Copy)]
struct Kind {
    a: DType,
    b: DType,
    zero_a: bool,
    zero_b: bool,
    batched: bool,
}

fn request(variant: &Variant, kind: Kind) -> ShaderRequest {
    let own = |dtype, wide, signed| match dtype {
        DType::I32 => Some(wide),
        DType::I8 => Some(signed),
        _ => None,
    };
    let features = [
        own(kind.a, "wide_a", "signed_a"),
        own(kind.b, "wide_b", "signed_b"),
        kind.zero_a.then_some("zero_a"),
        kind.zero_b.then_some("zero_b"),
        kind.batched.then_some("batched"),
    ];
    features.into_iter().flatten().fold(plain(variant), |request, feature| request.feature(feature))
}

/// Each pair of dtypes, with and without zero points and batch.
pub(super) fn requests(variant: &'static Variant) -> Vec<ShaderRequest> {
    let mut all = Vec::new();
    for a in [DType::U8, DType::I8, DType::I32] {
        for b in [DType::U8, DType::I8, DType::I32] {
            for (zero_a, zero_b, batched) in [
                (false, false, false),
                (true, true, true),
                (true, false, false),
                (false, true, true),
            ] {
                all.push(request(variant, Kind { a, b, zero_a, zero_b, batched }));
            }
        }
    }
    all
}

/// A range of bytes from where a binding may start, and elements before what is
/// wanted.
fn range(place: Place, align: u64, first: u64, count: u64, size: u64) -> (View, u64) {
    let offset = first * size / align * align;
    (View::range(place, offset, (first + count) * size - offset), (first * size - offset) / size)
}

/// The sizes of a product and where it is cut.
struct Cut<'a> {
    g: &'a Geometry,
    m: u64,
    n: u64,
    k: u64,
    /// Bytes of an element of A and of B.
    sizes: [u64; 2],
    rows: u64,
    inner: u64,
}

impl<'a> Cut<'a> {
    fn new(cx: &GpuCx<'_>, g: &'a Geometry, sizes: [u64; 2]) -> Result<Self> {
        let (m, n, k) = (cx.bound(&g.m)?, cx.bound(&g.n)?, cx.bound(&g.k)?);
        let limit = cx.caps.max_binding();
        let room = limit.saturating_sub(u64::from(cx.caps.storage_alignment()));
        let lines = |what: &str, bytes: u64| match room.checked_div(bytes) {
            Some(0) => Err(too_large(what, bytes, room)),
            lines => Ok(lines.unwrap_or(u64::MAX)),
        };
        let rows = lines("a row of a of MatMulInteger", k * sizes[0])?
            .min(lines("a row of the result of MatMulInteger", n * 4)?);
        let inner = lines("a row of b of MatMulInteger", n * sizes[1])?;
        Ok(Cut { g, m, n, k, sizes, rows: rows.min(m), inner: inner.min(k) })
    }

    /// Whether whole operands can be bound.
    fn is_whole(&self, cx: &GpuCx<'_>, counts: [u64; 3]) -> bool {
        let [a, b, c] = counts;
        let bytes = [a * self.sizes[0], b * self.sizes[1], c * 4];
        bytes.iter().all(|&bytes| bytes <= cx.caps.max_binding())
            && self.g.batch.len() <= BATCH_DIMS
    }
}

impl Product {
    fn geometry(cx: &GpuCx<'_>) -> Result<Geometry> {
        let (a, b) = (cx.input(0)?, cx.input(1)?);
        crate::ops::quantize::geometry(a, b).map_err(|what| Error::rule("MatMulInteger", what))
    }

    /// The dispatch of a part: matrices, rows and inner elements.
    #[allow(clippy::too_many_arguments, reason = "a part has that many ends")]
    fn dispatch(
        cx: &GpuCx<'_>,
        (variant, kind): (&Variant, Kind),
        views: [View; 3],
        mut params: Vec<(&'static str, Param)>,
        first_row: u64,
        grid: Grid,
        work: Dim,
    ) -> Result<Dispatch> {
        let [a, b, c] = views;
        let mut bindings = vec![("a", a), ("b", b), ("c", c)];
        if kind.zero_a {
            let zeros = cx.input(2)?.elements();
            params.push(("first_row", Param::U32(first_row as u32)));
            params.push(("a_zeros", zeros.into()));
            bindings.push(("a_zero", View::all(Place::Input(2))));
        }
        if kind.zero_b {
            params.push(("b_zeros", cx.input(3)?.elements().into()));
            bindings.push(("b_zero", View::all(Place::Input(3))));
        }
        Ok(Dispatch {
            shader: request(variant, kind),
            variant: format!("{FAMILY}/{}", variant.name),
            bindings,
            params,
            grid,
            work,
        })
    }

    /// One dispatch for everything.
    fn whole(cx: &GpuCx<'_>, g: &Geometry, variant: &Variant, kind: Kind) -> Result<Dispatch> {
        let tile = tile(variant);
        let mut params: Vec<(&'static str, Param)> = vec![
            ("m", (&g.m).into()),
            ("n", (&g.n).into()),
            ("k", (&g.k).into()),
            ("pitch", (&g.k).into()),
            ("a_base", Param::U32(0)),
            ("b_base", Param::U32(0)),
            ("c_base", Param::U32(0)),
            ("more", Param::U32(0)),
        ];
        if kind.batched {
            let none = || (Dim::Const(1), Dim::Const(0), Dim::Const(0));
            let mut dims: Vec<(Dim, Dim, Dim)> =
                (g.batch.len()..BATCH_DIMS).map(|_| none()).collect();
            for (dim, (a, b)) in g.batch.iter().zip(g.steps()) {
                dims.push((dim.extent.clone(), a * &g.m * &g.k, b * &g.k * &g.n));
            }
            params.push(("n1", (&dims[1].0).into()));
            params.push(("n2", (&dims[2].0).into()));
            for (i, names) in [("a0", "b0"), ("a1", "b1"), ("a2", "b2")].into_iter().enumerate() {
                params.push((names.0, (&dims[i].1).into()));
                params.push((names.1, (&dims[i].2).into()));
            }
        }
        let views = [Place::Input(0), Place::Input(1), Place::Output(0)].map(View::all);
        let grid = Grid::Xyz(g.n.ceil_div(tile), g.m.ceil_div(tile), g.matrices());
        let work = g.matrices() * &g.m * &g.n * &g.k;
        Self::dispatch(cx, (variant, kind), views, params, 0, grid, work)
    }

    /// A dispatch for each matrix, group of rows and part of the inner dimension.
    fn cut(cx: &GpuCx<'_>, cut: &Cut<'_>, variant: &Variant, kind: Kind) -> Result<Vec<Dispatch>> {
        let g = cut.g;
        let fixed = [&g.m, &g.n, &g.k].iter().all(|dim| dim.as_const().is_some());
        if !fixed || g.batch.iter().any(|dim| dim.extent.as_const().is_none()) {
            let what = "cutting a product whose extents vary at run time to fit bindings";
            return Err(Error::unsupported("MatMulInteger", what));
        }
        let kind = Kind { batched: false, ..kind };
        let align = u64::from(cx.caps.storage_alignment()).max(4);
        let (tile, matrices, steps) = (tile(variant), cx.bound(&g.matrices())?, g.steps());
        let mut dispatches = Vec::new();
        for z in 0..matrices {
            let (mut rest, mut za, mut zb) = (z, 0, 0);
            for (dim, (a, b)) in g.batch.iter().zip(&steps).rev() {
                let extent = cx.bound(&dim.extent)?.max(1);
                za += rest % extent * cx.bound(a)?;
                zb += rest % extent * cx.bound(b)?;
                rest /= extent;
            }
            for row in (0..cut.m).step_by(cut.rows.max(1) as usize) {
                let rows = cut.rows.min(cut.m - row);
                let first_a = (za * cut.m + row) * cut.k;
                let (a, a_base) =
                    range(Place::Input(0), align, first_a, rows * cut.k, cut.sizes[0]);
                let first_c = (z * cut.m + row) * cut.n;
                let (c, c_base) = range(Place::Output(0), align, first_c, rows * cut.n, 4);
                let mut start = 0;
                // Without inner elements the sums are still to be written.
                loop {
                    let inner = cut.inner.min(cut.k - start);
                    let first_b = (zb * cut.k + start) * cut.n;
                    let (b, b_base) =
                        range(Place::Input(1), align, first_b, inner * cut.n, cut.sizes[1]);
                    let numbers = [
                        ("m", rows),
                        ("n", cut.n),
                        ("k", inner),
                        ("pitch", cut.k),
                        ("a_base", a_base + start),
                        ("b_base", b_base),
                        ("c_base", c_base),
                        ("more", u64::from(start > 0)),
                    ];
                    let params = numbers.map(|(name, n)| (name, Param::Dim(n.into()))).to_vec();
                    let grid = Grid::Xyz(
                        cut.n.div_ceil(tile).into(),
                        rows.div_ceil(tile).into(),
                        1u64.into(),
                    );
                    let views = [a.clone(), b, c.clone()];
                    let work = Dim::from(rows) * cut.n * inner;
                    let part = (variant, kind);
                    dispatches.push(Self::dispatch(cx, part, views, params, row, grid, work)?);
                    start += inner;
                    if start >= cut.k {
                        break;
                    }
                }
            }
        }
        Ok(dispatches)
    }
}

/// Rows and columns of a workgroup's square.
fn tile(variant: &Variant) -> u64 {
    if variant.name == "product_64" { 64 } else { 32 }
}

impl Kernel for Product {
    fn name(&self) -> &str {
        "quantize.product"
    }

    fn gpu(&self, cx: &GpuCx<'_>) -> Result<Vec<Dispatch>> {
        let g = Self::geometry(cx)?;
        let (a, b): (&TensorType, &TensorType) = (cx.input(0)?, cx.input(1)?);
        let sizes = [a.dtype, b.dtype].map(|dtype| dtype.device_block_bytes() as u64);
        let given = |i: usize| cx.inputs.get(i).is_some_and(Option::is_some);
        let kind = Kind {
            a: a.dtype,
            b: b.dtype,
            zero_a: given(2),
            zero_b: given(3),
            batched: !g.batch.is_empty(),
        };
        let cut = Cut::new(cx, &g, sizes)?;
        let small = cut.m.max(cut.n) <= 32 || cx.caps.is_software();
        let first = if small { "product_32" } else { "product_64" };
        let variant = cx
            .choose(FAMILY, VARIANTS, |variant| variant.name == first)
            .or_else(|_| cx.choose(FAMILY, VARIANTS, |v| v.name.starts_with("product")))?;
        let counts = [a.elements(), b.elements(), cx.output(0)?.elements()];
        let mut sized = [0; 3];
        for (sized, count) in sized.iter_mut().zip(&counts) {
            crate::kernels::parts::fits_u32(cx, "elements of MatMulInteger", count)?;
            *sized = cx.bound(count)?;
        }
        // A step of 16 takes so many iterations of a loop at most.
        let loops = cx.caps.loops_fit(cut.k.div_ceil(16) * 34 + 8);
        if loops && cut.is_whole(cx, sized) {
            return Ok(vec![Self::whole(cx, &g, variant, kind)?]);
        }
        let mut cut = cut;
        while cut.inner > 16 && !cx.caps.loops_fit(cut.inner.div_ceil(16) * 34 + 8) {
            cut.inner = cut.inner.div_ceil(2);
        }
        Self::cut(cx, &cut, variant, kind)
    }

    fn cpu(&self, cx: &mut CpuCx<'_>) -> Result<()> {
        cpu::product(cx)
    }
}

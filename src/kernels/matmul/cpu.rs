//! Matrix products on the CPU.
//!
//! F32 operands go to the `gemm` crate as they are. Other weights are decoded a
//! few rows at a time, next to their use, and never as a whole. Few rows of A
//! are inner products with each decoded row of B, or with each encoded one.

use super::MatMulKernel;
use super::dot::{SIDE_BY_SIDE, dot, dot_encoded, dots, has_dots};
use super::dot_coded::{Row, gains};
use crate::error::{Error, Result};
use crate::graph::{Dim, TensorType};
use crate::kernels::{CpuCx, CpuTensor};
use crate::ops::elementwise::Unary;
use crate::ops::matmul::geometry::Geometry;
use crate::quant;
use crate::tensor::DType;
use gemm::Parallelism;
use rayon::prelude::*;
use std::ops::Range;

/// Products below this many multiplications are not worth a second thread.
const SERIAL: usize = 1 << 16;
/// At most so many rows of A are computed as inner products.
const FEW: usize = 4;
/// At most so many are computed beside each other with each two decoded rows of B, while A
/// has at most [`NEAR`] elements, which are read again for each two.
const SOME: usize = 48;
/// 512 KiB.
const NEAR: usize = 128 << 10;
/// Decoded elements a task keeps at once: 256 KiB, to stay in its cache.
const TILE: usize = 64 << 10;

/// Computes a [`MatMulKernel`].
pub(super) fn run(kernel: &MatMulKernel, cx: &mut CpuCx<'_>) -> Result<()> {
    let (a, b) = (cx.input(0)?, cx.input(1)?);
    let (third, allow_int8) = (cx.optional(2), cx.allow_int8);
    let out = cx.output(0)?;
    let c = out.write::<f32>()?;
    let product = Product::new(kernel, &a, &b, allow_int8)?;
    product.compute(&b, c)?;
    if kernel.gated {
        let up =
            third.ok_or_else(|| Error::internal("a gated product without its second weight"))?;
        let mut ups = vec![0f32; c.len()];
        product.compute(&up, &mut ups)?;
        gate(c, &ups, kernel.activation);
        return Ok(());
    }
    let bias = third.as_ref().map(CpuTensor::read::<f32>);
    finish(c, product.n, bias.as_deref(), kernel.activation);
    Ok(())
}

/// `c = x · wᵀ` of rows `x` `[m, k]` and `w` `[n, k]`, for kernels of other
/// families that multiply on the way; `c` is `[m, n]`.
pub(in crate::kernels) fn rows_product(x: &[f32], w: &[f32], c: &mut [f32], n: usize) {
    let (m, k) = (c.len() / n.max(1), w.len() / n.max(1));
    if m * n == 0 || x.len() != m * k || w.len() != n * k || k == 0 {
        return c.fill(0.0);
    }
    let parallel = m * n * k >= SERIAL;
    if m == 1 {
        let one = |(c, w): (&mut f32, &[f32])| *c = dot(x, w);
        if parallel {
            c.par_iter_mut().zip(w.par_chunks(k)).with_min_len(8).for_each(one);
        } else {
            c.iter_mut().zip(w.chunks(k)).for_each(one);
        }
        return;
    }
    let threads = if parallel { Parallelism::Rayon(0) } else { Parallelism::None };
    let left = Left { data: x, row: k as isize, column: 1 };
    let to = Target { c: c.as_mut_ptr(), stride: n as isize };
    // SAFETY: the lengths were checked above, and nobody else has `c`.
    unsafe { to.add_product(left, m, w, 1, k as isize, n, k, false, threads) };
}

/// `c = activation(c + bias)`, a row of `n` at a time.
pub(super) fn finish(c: &mut [f32], n: usize, bias: Option<&[f32]>, activation: Option<Unary>) {
    if (bias.is_none() && activation.is_none()) || n == 0 {
        return;
    }
    let row = |row: &mut [f32]| {
        if let Some(bias) = bias {
            row.iter_mut().zip(bias).for_each(|(c, b)| *c += b);
        }
        if let Some(f) = activation {
            row.iter_mut().for_each(|c| *c = f.eval_f32(*c));
        }
    };
    if c.len() * 16 < SERIAL {
        c.chunks_mut(n).for_each(row);
    } else {
        c.par_chunks_mut(n).for_each(row);
    }
}

/// `c = activation(c) * up`.
pub(super) fn gate(c: &mut [f32], up: &[f32], activation: Option<Unary>) {
    let f = activation.unwrap_or(Unary::Identity);
    let pairs = |(c, up): (&mut [f32], &[f32])| {
        c.iter_mut().zip(up).for_each(|(c, up)| *c = f.eval_f32(*c) * up);
    };
    const CHUNK: usize = 4096;
    c.par_chunks_mut(CHUNK).zip(up.par_chunks(CHUNK)).for_each(pairs);
}

/// A product with run-time extents.
pub(super) struct Product<'a> {
    g: Geometry,
    m: usize,
    n: usize,
    k: usize,
    a: std::borrow::Cow<'a, [f32]>,
    allow_int8: bool,
}

/// The matrix of A in one product: `[m, k]`, or `[k, m]` if transposed.
#[derive(Clone, Copy)]
pub(in crate::kernels) struct Left<'a> {
    pub(in crate::kernels) data: &'a [f32],
    /// The distance between neighbouring rows.
    pub(in crate::kernels) row: isize,
    /// The distance between neighbouring columns.
    pub(in crate::kernels) column: isize,
}

/// A plain or encoded matrix of B, `elements` from its start.
#[derive(Clone, Copy)]
struct Right<'a> {
    dtype: DType,
    bytes: &'a [u8],
}

impl Right<'_> {
    /// Decodes elements from `start`, both multiples of the block length.
    fn decode(&self, start: usize, out: &mut [f32]) -> Result<()> {
        quant::decode(self.dtype, self.part(start, out.len())?, out)
    }

    /// The bytes of elements from `start`.
    fn part(&self, start: usize, count: usize) -> Result<&[u8]> {
        let (len, size) = (self.dtype.block_len(), self.dtype.block_bytes());
        let bytes = self.bytes.get(start / len * size..(start + count) / len * size);
        bytes.ok_or_else(|| Error::internal("a weight shorter than its shape"))
    }
}

/// How a product with encoded rows of B is computed.
enum Way<'a> {
    /// Rows of A by encoded ones.
    Coded(Vec<Row<'a>>),
    /// Rows of A one by one with each row of B.
    Each,
    /// Rows of A beside each other with two decoded ones.
    SideBySide,
    /// By the library, with a few decoded rows at a time.
    Library,
}

impl<'a> Product<'a> {
    pub(super) fn new(
        kernel: &MatMulKernel,
        a: &CpuTensor<'a>,
        b: &CpuTensor<'a>,
        allow_int8: bool,
    ) -> Result<Self> {
        let ty = |tensor: &CpuTensor<'_>| {
            let shape: Vec<Dim> = tensor.extents.iter().map(|&n| n.into()).collect();
            TensorType::new(tensor.dtype, shape)
        };
        let g = Geometry::new(&ty(a), &ty(b), kernel.trans_a, kernel.trans_b)
            .map_err(|what| Error::rule("MatMul", what))?;
        let (m, n, k) = (number(&g.m)?, number(&g.n)?, number(&g.k)?);
        Ok(Product { g, m, n, k, a: a.read::<f32>(), allow_int8 })
    }

    /// Writes `a · b` to `c`, matrix by matrix.
    pub(super) fn compute(&self, b: &CpuTensor<'_>, c: &mut [f32]) -> Result<()> {
        let (m, n, k) = (self.m, self.n, self.k);
        if m * n == 0 {
            return Ok(());
        }
        if k == 0 {
            c.fill(0.0);
            return Ok(());
        }
        let floats = (b.dtype == DType::F32).then(|| b.read::<f32>());
        let starts = self.starts()?;
        let (row, column) = if self.g.trans_a { (1, m as isize) } else { (k as isize, 1) };
        // Many small matrices are spread over threads, large ones are split.
        let spread = starts.len() > 1 && m * n * k < 16 * SERIAL;
        let parallel = !spread && m * n * k >= SERIAL;
        let one = |(c, &(za, zb)): (&mut [f32], &(usize, usize))| {
            let left = Left { data: &self.a[za * m * k..(za + 1) * m * k], row, column };
            match &floats {
                Some(b) => {
                    self.plain(left, &b[zb * k * n..(zb + 1) * k * n], c, parallel);
                    Ok(())
                }
                None => {
                    let block = b.dtype.block_len();
                    let bytes = k * n / block * b.dtype.block_bytes();
                    let right =
                        Right { dtype: b.dtype, bytes: &b.bytes[zb * bytes..(zb + 1) * bytes] };
                    self.encoded(left, right, c, parallel)
                }
            }
        };
        if spread && starts.len() * m * n * k >= SERIAL {
            c.par_chunks_mut(m * n).zip(&starts).try_for_each(one)
        } else {
            c.chunks_mut(m * n).zip(&starts).try_for_each(one)
        }
    }

    /// Which matrices of A and B meet, in the order of the matrices of C.
    fn starts(&self) -> Result<Vec<(usize, usize)>> {
        let mut starts = vec![(0, 0)];
        for (dim, (a, b)) in self.g.batch.iter().zip(self.g.steps()) {
            let (extent, a, b) = (number(&dim.extent)?, number(&a)?, number(&b)?);
            let along =
                |(za, zb): (usize, usize)| (0..extent).map(move |i| (za + i * a, zb + i * b));
            starts = starts.into_iter().flat_map(along).collect();
        }
        Ok(starts)
    }

    /// A product with F32 weights.
    fn plain(&self, a: Left<'_>, b: &[f32], c: &mut [f32], parallel: bool) {
        let (n, k) = (self.n, self.k);
        if self.m == 1 && self.g.rows_b && a.column == 1 {
            let one = |(c, w): (&mut f32, &[f32])| *c = dot(a.data, w);
            if parallel {
                c.par_iter_mut().zip(b.par_chunks(k)).with_min_len(8).for_each(one);
            } else {
                c.iter_mut().zip(b.chunks(k)).for_each(one);
            }
            return;
        }
        let (b_row, b_column) = if self.g.rows_b { (1, k as isize) } else { (n as isize, 1) };
        let threads = if parallel { Parallelism::Rayon(0) } else { Parallelism::None };
        let to = Target { c: c.as_mut_ptr(), stride: n as isize };
        // SAFETY: `c` has m rows of n, `a` and `b` are whole matrices with the
        // strides of their layouts, and nobody else has `c`.
        unsafe { to.add_product(a, self.m, b, b_row, b_column, n, k, false, threads) };
    }

    /// A product with weights that are decoded on the way.
    fn encoded(&self, a: Left<'_>, b: Right<'_>, c: &mut [f32], parallel: bool) -> Result<()> {
        if !self.g.rows_b {
            return self.encoded_columns(a, b, c, parallel);
        }
        let (n, k) = (self.n, self.k);
        let tasks = if parallel { 4 * rayon::current_num_threads() } else { 1 };
        // Whole multiples of 16 rows, so that no vectors of C are shared.
        let most = (TILE / k).max(16) / 16 * 16;
        let rows = n.div_ceil(tasks).next_multiple_of(16).min(most);
        let target = Target { c: c.as_mut_ptr(), stride: n as isize };
        let way = self.way(a, b.dtype);
        let task = |scratch: &mut Vec<f32>, first: usize| {
            let columns = first..n.min(first + rows);
            // SAFETY: tasks have different columns of `c`, all below n, and A has m rows as
            // C has.
            unsafe { self.columns(&way, (a, b), target, columns, scratch) }
        };
        if parallel {
            let firsts = (0..n.div_ceil(rows)).into_par_iter();
            firsts.try_for_each_init(Vec::new, |scratch, i| task(scratch, i * rows))
        } else {
            let mut scratch = Vec::new();
            (0..n).step_by(rows).try_for_each(|first| task(&mut scratch, first))
        }
    }

    /// The way for so many rows and a type of weights.
    fn way<'x>(&self, a: Left<'x>, dtype: DType) -> Way<'x> {
        let k = self.k;
        let few = self.m <= FEW && a.column == 1;
        // Encoded weights are taken apart for each row.
        if few && (self.m == 1 || self.allow_int8) {
            let rows = a.data.chunks(k).map(|x| Row::new(x, dtype, self.allow_int8));
            if let Some(rows) = rows.collect() {
                return Way::Coded(rows);
            }
        }
        let near = a.column == 1 && self.m <= SOME && self.m * k <= NEAR;
        // A row of another type is the same to the last bit beside three others as alone.
        let beside = !few || (self.m > 1 && gains(dtype));
        match () {
            () if near && beside && has_dots(k) => Way::SideBySide,
            () if few => Way::Each,
            () => Way::Library,
        }
    }

    /// Some columns of a product.
    ///
    /// # Safety
    /// C has m rows of at least as many columns, and nobody else uses those of `columns`.
    unsafe fn columns(
        &self,
        way: &Way<'_>,
        (a, b): (Left<'_>, Right<'_>),
        to: Target,
        columns: Range<usize>,
        scratch: &mut Vec<f32>,
    ) -> Result<()> {
        let (n, k) = (self.n, self.k);
        // SAFETY: the caller's promise, for rows below m and columns of these.
        let write = |row: usize, column: usize, sum| unsafe {
            to.at(row * n + column).c.write(sum);
        };
        match way {
            Way::Coded(rows) => {
                for column in columns {
                    let w = b.part(column * k, k)?;
                    rows.iter()
                        .enumerate()
                        .for_each(|(row, x)| write(row, column, x.dot(b.dtype, w)));
                }
            }
            Way::Each => {
                scratch.resize(k, 0.0);
                for column in columns {
                    if self.m == 1
                        && let Some(sum) = dot_encoded(a.data, b.dtype, b.part(column * k, k)?)
                    {
                        write(0, column, sum);
                        continue;
                    }
                    b.decode(column * k, scratch)?;
                    let rows = a.data.chunks(k).enumerate();
                    rows.for_each(|(row, x)| write(row, column, dot(x, scratch)));
                }
            }
            Way::SideBySide => {
                for column in columns.clone().step_by(SIDE_BY_SIDE[1]) {
                    let count = SIDE_BY_SIDE[1].min(columns.end - column);
                    scratch.resize(count * k, 0.0);
                    b.decode(column * k, scratch)?;
                    dots(a.data, scratch, k, |row, own, sum| write(row, column + own, sum));
                }
            }
            Way::Library => {
                let count = columns.len();
                scratch.resize(count * k, 0.0);
                b.decode(columns.start * k, scratch)?;
                // SAFETY: the caller's promise; the weights are `count` rows of k.
                unsafe {
                    let to = to.at(columns.start);
                    let one = Parallelism::None;
                    to.add_product(a, self.m, scratch, 1, k as isize, count, k, false, one);
                }
            }
        }
        Ok(())
    }

    /// As [`Product::encoded`] with B as `[k, n]`: a few rows of it at a time
    /// are decoded and added.
    fn encoded_columns(
        &self,
        a: Left<'_>,
        b: Right<'_>,
        c: &mut [f32],
        parallel: bool,
    ) -> Result<()> {
        let (n, k) = (self.n, self.k);
        let threads = if parallel { Parallelism::Rayon(0) } else { Parallelism::None };
        let step = (TILE / n).clamp(8, 256);
        let mut scratch = Vec::new();
        for first in (0..k).step_by(step) {
            let count = step.min(k - first);
            scratch.resize(count * n, 0.0);
            b.decode(first * n, &mut scratch)?;
            let part = Left { data: &a.data[first * a.column as usize..], ..a };
            let to = Target { c: c.as_mut_ptr(), stride: n as isize };
            // SAFETY: as in `plain`; the part of A has `count` columns left.
            unsafe {
                to.add_product(part, self.m, &scratch, n as isize, 1, n, count, first > 0, threads);
            }
        }
        Ok(())
    }
}

/// Rows of the result, `stride` apart, that several tasks write to.
#[derive(Clone, Copy)]
pub(in crate::kernels) struct Target {
    pub(in crate::kernels) c: *mut f32,
    pub(in crate::kernels) stride: isize,
}

// SAFETY: tasks that share a target write to different elements.
unsafe impl Send for Target {}
// SAFETY: as above.
unsafe impl Sync for Target {}

impl Target {
    /// The target that starts `offset` elements on.
    ///
    /// # Safety
    /// The element must exist.
    unsafe fn at(self, offset: usize) -> Self {
        // SAFETY: the caller's promise.
        Target { c: unsafe { self.c.add(offset) }, ..self }
    }

    /// `c = a · b`, or `c += a · b` if `add`, for `m` rows and `n` columns.
    ///
    /// # Safety
    /// `c` has `m` rows of at least `n` elements that nobody else uses; `a` and
    /// `b` hold `m` by `k` and `k` by `n` elements at their strides.
    #[allow(clippy::too_many_arguments, reason = "a product has that many parts")]
    pub(in crate::kernels) unsafe fn add_product(
        self,
        a: Left<'_>,
        m: usize,
        b: &[f32],
        b_row: isize,
        b_column: isize,
        n: usize,
        k: usize,
        add: bool,
        threads: Parallelism,
    ) {
        // SAFETY: the caller's promise.
        unsafe {
            gemm::gemm(
                m,
                n,
                k,
                self.c,
                1,
                self.stride,
                add,
                a.data.as_ptr(),
                a.column,
                a.row,
                b.as_ptr(),
                b_column,
                b_row,
                1.0f32,
                1.0f32,
                false,
                false,
                false,
                threads,
            );
        }
    }
}

fn number(dim: &Dim) -> Result<usize> {
    let value = dim.as_const().and_then(|n| usize::try_from(n).ok());
    value.ok_or_else(|| Error::internal(format!("a CPU kernel needs numbers, got {dim}")))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::graph::Bindings;
    use crate::kernels::{CpuTensorMut, Kernel};
    use crate::quant::random::{Scales, random_blocks};

    /// A product of `m` rows by 33 of a Q4_K weight.
    fn product(m: usize, allow_int8: bool) -> Vec<f32> {
        let (k, n) = (512, 33);
        let a: Vec<f32> = (0..m * k).map(|i| (i * 37 % 1013) as f32 * 0.002 - 1.0).collect();
        let w = random_blocks(DType::Q4_K, n * k / 256, 9, Scales::Unit).unwrap();
        let mut c = vec![f32::NAN; m * n];
        let input = |dtype, extents: [usize; 2], bytes| {
            Some(CpuTensor { dtype, extents: extents.to_vec(), bytes })
        };
        let output = CpuTensorMut {
            dtype: DType::F32,
            extents: vec![m, n],
            bytes: bytemuck::cast_slice_mut(&mut c),
        };
        let kernel = MatMulKernel { trans_a: false, trans_b: true, activation: None, gated: false };
        let inputs = vec![
            input(DType::F32, [m, k], bytemuck::cast_slice(&a)),
            input(DType::Q4_K, [n, k], &w),
        ];
        let bindings = Bindings::new(0);
        let mut cx = CpuCx { inputs, outputs: vec![output], bindings: &bindings, allow_int8 };
        kernel.cpu(&mut cx).unwrap();
        c
    }

    /// Few rows are rounded where that was asked for, on processors that gain by it, and
    /// others never. The judge of the conformance suite says how far off they may be.
    #[test]
    fn only_what_was_asked_for_is_rounded() {
        for m in [1, 2, FEW] {
            let (exact, rounded) = (product(m, false), product(m, true));
            let differ = exact.iter().zip(&rounded).filter(|(a, b)| a != b).count();
            let rounds = Row::new(&[1.0; 32], DType::Q4_K, true).is_some();
            assert_eq!(differ > exact.len() / 2, rounds, "{m}: {differ} of {}", exact.len());
            assert!(rounded.iter().all(|c| c.is_finite()));
        }
        assert_eq!(product(FEW + 1, false), product(FEW + 1, true));
    }

    /// However many rows there are, the first ones are the same but for roundings.
    #[test]
    fn rows_do_not_depend_on_how_many_there_are() {
        let most = product(2 * SOME, false);
        let size = most.iter().fold(0.0f32, |size, c| size.max(c.abs()));
        for m in [1, FEW, FEW + 1, 18, SOME, SOME + 1] {
            for (i, (c, of_most)) in product(m, false).iter().zip(&most).enumerate() {
                assert!((c - of_most).abs() < 1e-5 * size, "{m} rows, {i}: {c} for {of_most}");
            }
        }
    }
}

//! Reductions on the CPU. Real numbers are put together in f64, whole numbers
//! in i64, of which the low bits are kept.

use super::{Each, Fold, Last, ReduceKernel};
use crate::error::{Error, Result};
use crate::kernels::{CpuCx, CpuTensor};
use crate::tensor::DType;
use crate::threads::pieces;
use bytemuck::Pod;
use half::{bf16, f16};

/// Elements that one thread puts together at a time.
const BLOCK: usize = 1 << 15;

/// The sizes at run time.
struct Sizes {
    outer: usize,
    n: usize,
    inner: usize,
    count: usize,
}

pub(super) fn reduce(kernel: &ReduceKernel, cx: &mut CpuCx<'_>) -> Result<()> {
    let x = cx.input(0)?;
    match x.dtype {
        DType::F32 => reals::<f32>(kernel, cx, &x, f64::from),
        DType::F16 => reals::<f16>(kernel, cx, &x, f64::from),
        DType::BF16 => reals::<bf16>(kernel, cx, &x, f64::from),
        DType::F64 => reals::<f64>(kernel, cx, &x, |v| v),
        DType::I8 => whole::<i8, i64>(kernel, cx, &x, i64::from),
        DType::U8 | DType::Bool => whole::<u8, i64>(kernel, cx, &x, i64::from),
        DType::I16 => whole::<i16, i64>(kernel, cx, &x, i64::from),
        DType::U16 => whole::<u16, i64>(kernel, cx, &x, i64::from),
        DType::I32 => whole::<i32, i64>(kernel, cx, &x, i64::from),
        DType::U32 => whole::<u32, i64>(kernel, cx, &x, i64::from),
        DType::I64 => whole::<i64, i64>(kernel, cx, &x, |v| v),
        DType::U64 => whole::<u64, u64>(kernel, cx, &x, |v| v),
        other => Err(Error::unsupported("a reduction", format!("{other} on the CPU"))),
    }
}

fn sizes(kernel: &ReduceKernel, cx: &CpuCx<'_>) -> Result<Sizes> {
    let size = |dim: &crate::graph::Dim| Ok(dim.eval(cx.bindings)? as usize);
    Ok(Sizes {
        outer: size(&kernel.spans.outer)?,
        n: size(&kernel.spans.n)?,
        inner: size(&kernel.spans.inner)?,
        count: size(&kernel.count)?,
    })
}

fn reals<T: Pod + Send + Sync>(
    kernel: &ReduceKernel,
    cx: &mut CpuCx<'_>,
    x: &CpuTensor<'_>,
    read: fn(T) -> f64,
) -> Result<()> {
    let sizes = sizes(kernel, cx)?;
    let shifts: Option<Vec<f64>> = cx.optional(1).map(|t| match t.dtype {
        DType::F64 => t.read::<f64>().into_owned(),
        _ => t.read::<f32>().iter().map(|&v| f64::from(v)).collect(),
    });
    // Finite, so that distances from it are.
    let shift = |i: usize| shifts.as_ref().map_or(0.0, |all| all[i].clamp(f64::MIN, f64::MAX));
    let values = x.read::<T>();
    let each = |v: T, i: usize| match kernel.each {
        Each::Plain => read(v),
        Each::Abs => read(v).abs(),
        Each::Square => read(v) * read(v),
        Each::Exp => (read(v) - shift(i)).exp(),
    };
    let all = match kernel.fold {
        Fold::Sum => fold(&values, &sizes, each, |a, b| a + b, 0.0),
        Fold::Prod => fold(&values, &sizes, each, |a, b| a * b, 1.0),
        Fold::Max => fold(&values, &sizes, each, f64::max, f64::NEG_INFINITY),
        Fold::Min => fold(&values, &sizes, each, f64::min, f64::INFINITY),
    };
    let finish = |(i, all): (usize, f64)| match kernel.last {
        _ if sizes.count == 0 => kernel.empty,
        Last::Plain => all,
        Last::Mean => all / sizes.count as f64,
        Last::Sqrt => all.sqrt(),
        Last::Log => all.ln(),
        Last::LogPlus => all.ln() + shift(i),
    };
    let all = all.into_iter().enumerate().map(finish);
    let y = cx.output(0)?;
    match y.dtype {
        DType::F64 => y.write::<f64>()?.iter_mut().zip(all).for_each(|(y, all)| *y = all),
        _ => y.write::<f32>()?.iter_mut().zip(all).for_each(|(y, all)| *y = all as f32),
    }
    Ok(())
}

/// What whole numbers are put together in.
trait Whole: Copy + Send + Sync {
    const ZERO: Self;
    const ONE: Self;
    const ENDS: [Self; 2];
    fn add(self, other: Self) -> Self;
    fn mul(self, other: Self) -> Self;
    fn most(self, other: Self) -> Self;
    fn least(self, other: Self) -> Self;
    fn size(self) -> Self;
    fn bits(self) -> i64;
}

macro_rules! whole {
    ($ty:ty, $size:expr) => {
        impl Whole for $ty {
            const ZERO: Self = 0;
            const ONE: Self = 1;
            const ENDS: [Self; 2] = [<$ty>::MIN, <$ty>::MAX];
            fn add(self, other: Self) -> Self {
                self.wrapping_add(other)
            }
            fn mul(self, other: Self) -> Self {
                self.wrapping_mul(other)
            }
            fn most(self, other: Self) -> Self {
                self.max(other)
            }
            fn least(self, other: Self) -> Self {
                self.min(other)
            }
            fn size(self) -> Self {
                $size(self)
            }
            fn bits(self) -> i64 {
                self as i64
            }
        }
    };
}
whole!(i64, i64::wrapping_abs);
whole!(u64, std::convert::identity);

fn whole<T: Pod + Send + Sync, A: Whole>(
    kernel: &ReduceKernel,
    cx: &mut CpuCx<'_>,
    x: &CpuTensor<'_>,
    read: fn(T) -> A,
) -> Result<()> {
    if matches!(kernel.last, Last::Sqrt | Last::Log | Last::LogPlus) || kernel.each == Each::Exp {
        let what = format!("roots and logarithms of {}", x.dtype);
        return Err(Error::unsupported("a reduction", what));
    }
    let sizes = sizes(kernel, cx)?;
    let values = x.read::<T>();
    let each = |v: T, _: usize| match kernel.each {
        Each::Abs => read(v).size(),
        Each::Square => read(v).mul(read(v)),
        Each::Plain | Each::Exp => read(v),
    };
    let all = match kernel.fold {
        Fold::Sum => fold(&values, &sizes, each, A::add, A::ZERO),
        Fold::Prod => fold(&values, &sizes, each, A::mul, A::ONE),
        Fold::Max => fold(&values, &sizes, each, A::most, A::ENDS[0]),
        Fold::Min => fold(&values, &sizes, each, A::least, A::ENDS[1]),
    };
    let (count, mean) = (sizes.count as i128, kernel.last == Last::Mean);
    let y = cx.output(0)?;
    macro_rules! finish {
        ($ty:ty) => {
            for (y, all) in y.write::<$ty>()?.iter_mut().zip(all) {
                let all = all.bits() as $ty;
                *y = match count {
                    0 => kernel.empty as $ty,
                    count if mean => (i128::from(all) / count) as $ty,
                    _ => all,
                };
            }
        };
    }
    match y.dtype {
        DType::I64 => finish!(i64),
        DType::U64 => finish!(u64),
        DType::U32 => finish!(u32),
        _ => finish!(i32),
    }
    Ok(())
}

/// Puts together the elements behind every result; `each` is told which result
/// an element is for.
fn fold<T: Copy + Send + Sync, A: Copy + Send + Sync>(
    x: &[T],
    sizes: &Sizes,
    each: impl Fn(T, usize) -> A + Sync,
    join: impl Fn(A, A) -> A + Sync,
    zero: A,
) -> Vec<A> {
    let &Sizes { outer, n, inner, .. } = sizes;
    if x.is_empty() {
        return vec![zero; outer * inner];
    }
    if inner == 1 {
        let block = |part: &[T], i: usize| {
            let mut lanes = [zero; 8];
            let (eights, rest) = part.as_chunks::<8>();
            for eight in eights {
                for (lane, &v) in lanes.iter_mut().zip(eight) {
                    *lane = join(*lane, each(v, i));
                }
            }
            let all = rest.iter().fold(zero, |all, &v| join(all, each(v, i)));
            lanes.into_iter().fold(all, &join)
        };
        // One sum for each block of a span, put together in order.
        let blocks = n.div_ceil(BLOCK);
        let mut sums = vec![zero; outer * blocks];
        pieces(&mut sums, 1, (BLOCK / n).max(1), &|at, sum| {
            let (i, b) = (at / blocks, at % blocks);
            let span = &x[i * n..(i + 1) * n];
            sum[0] = block(&span[b * BLOCK..n.min((b + 1) * BLOCK)], i);
        });
        return sums.chunks(blocks).map(|sums| all_of(sums, &join, zero)).collect();
    }
    // One row of sums for some rows of a slab.
    let rows = (BLOCK / inner).max(1);
    let blocks = n.div_ceil(rows);
    let mut sums = vec![zero; outer * blocks * inner];
    pieces(&mut sums, inner, 1, &|at, sums| {
        let (o, b) = (at / blocks, at % blocks);
        let slab = &x[o * n * inner..(o + 1) * n * inner];
        for row in slab[b * rows * inner..].chunks(inner).take(rows) {
            for (i, (all, &v)) in sums.iter_mut().zip(row).enumerate() {
                *all = join(*all, each(v, o * inner + i));
            }
        }
    });
    let result = |i: usize| {
        let at = i / inner * blocks * inner + i % inner;
        (0..blocks).fold(zero, |all, b| join(all, sums[at + b * inner]))
    };
    (0..outer * inner).map(result).collect()
}

fn all_of<A: Copy>(sums: &[A], join: impl Fn(A, A) -> A, zero: A) -> A {
    sums.iter().fold(zero, |all, &sum| join(all, sum))
}

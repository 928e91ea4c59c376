//! Elementwise operations on the CPU: loops over contiguous runs that the
//! compiler vectorises, spread over threads where there is enough to do.

use super::access::Layout;
use crate::error::{Error, Result};
use crate::graph::Dim;
use crate::kernels::{CpuTensor, CpuTensorMut};
use crate::ops::elementwise::{Binary, Test, Unary, Whole};
use crate::tensor::{DType, small_float};
use crate::threads::{PARALLEL, pieces};
use bytemuck::Pod;
use half::{bf16, f16};

/// A real storage type, computed in f32.
trait Real: Pod + Send + Sync {
    fn get(self) -> f32;
    fn put(value: f32) -> Self;
}

impl Real for f32 {
    fn get(self) -> f32 {
        self
    }
    fn put(value: f32) -> Self {
        value
    }
}

impl Real for f16 {
    fn get(self) -> f32 {
        self.to_f32()
    }
    fn put(value: f32) -> Self {
        f16::from_f32(value)
    }
}

impl Real for bf16 {
    fn get(self) -> f32 {
        self.to_f32()
    }
    fn put(value: f32) -> Self {
        bf16::from_f32(value)
    }
}

/// A whole-number storage type.
trait Integer: Pod + Send + Sync + PartialOrd {
    fn combine(op: Binary, a: Self, b: Self) -> Self;
    /// Any operation, slower.
    fn eval(op: Binary, dtype: DType, a: Self, b: Self) -> Self;
}

macro_rules! whole {
    ($($ty:ty)*) => {$(
        impl Integer for $ty {
            #[inline(always)]
            fn combine(op: Binary, a: Self, b: Self) -> Self {
                match op {
                    Binary::Add => a.wrapping_add(b),
                    Binary::Sub => a.wrapping_sub(b),
                    Binary::Mul => a.wrapping_mul(b),
                    Binary::Div if b == 0 => a,
                    Binary::Div => a.wrapping_div(b),
                    Binary::Min => a.min(b),
                    Binary::Max => a.max(b),
                    Binary::And | Binary::BitwiseAnd => a & b,
                    Binary::Or | Binary::BitwiseOr => a | b,
                    Binary::Xor | Binary::BitwiseXor => a ^ b,
                    _ => 0,
                }
            }
            fn eval(op: Binary, dtype: DType, a: Self, b: Self) -> Self {
                op.eval(dtype, a as i64, b as i64) as Self
            }
        }
    )*};
}
whole!(i8 u8 i16 u16 i32 u32 i64 u64);

pub(super) fn map1<A: Pod + Sync, Y: Pod + Send>(
    x: &CpuTensor<'_>,
    y: &mut CpuTensorMut<'_>,
    f: impl Fn(A) -> Y + Sync,
) -> Result<()> {
    let (x, y) = (x.read::<A>(), y.write::<Y>()?);
    if x.len() != y.len() {
        return Err(Error::internal("elementwise operands of different lengths"));
    }
    pieces(y, PARALLEL / 4, 4, &|piece, y| {
        let x = &x[piece * (PARALLEL / 4)..][..y.len()];
        for (y, x) in y.iter_mut().zip(x) {
            *y = f(*x);
        }
    });
    Ok(())
}

/// A run of an operand along the fastest dimension.
#[derive(Clone, Copy)]
enum Run<'a, T> {
    Along(&'a [T]),
    Same(T),
}

/// Calls `f` with each run of the output and the place where operands' runs
/// start, over threads.
fn runs<Y: Pod + Send>(
    y: &mut [Y],
    layout: &Layout,
    f: &(dyn Fn(&mut [Y], &[usize]) + Sync),
) -> Result<()> {
    let dims: Vec<usize> =
        layout.dims.iter().filter_map(|dim| dim.as_const().map(|n| n as usize)).collect();
    let strides: Vec<Vec<usize>> = (0..layout.has.len())
        .map(|i| {
            layout.strides(i).iter().filter_map(|s| s.as_const().map(|n| n as usize)).collect()
        })
        .collect();
    let (&inner, outer) = dims.split_last().ok_or_else(|| Error::internal("no dimensions"))?;
    if y.len() != dims.iter().product::<usize>() {
        return Err(Error::internal("an output of a wrong length"));
    }
    if y.is_empty() {
        return Ok(());
    }
    // Long runs are cut so that threads can share them.
    let piece = inner.min(PARALLEL / 4);
    let body = |row: usize, run: &mut [Y]| {
        let mut at = [0; 3];
        let mut left = row;
        for (i, &n) in outer.iter().enumerate().rev() {
            let coordinate = left % n;
            left /= n;
            for (at, strides) in at.iter_mut().zip(&strides) {
                *at += coordinate * strides[i];
            }
        }
        for (p, run) in run.chunks_mut(piece).enumerate() {
            let mut start = at;
            for (start, strides) in start.iter_mut().zip(&strides) {
                *start += p * piece * strides[outer.len()];
            }
            f(run, &start[..strides.len()]);
        }
    };
    if y.len() >= PARALLEL && inner > piece && outer.is_empty() {
        let along: Vec<usize> = strides.iter().map(|s| s[0]).collect();
        pieces(y, piece, 1, &|p, run| {
            let start: Vec<usize> = along.iter().map(|s| p * piece * s).collect();
            f(run, &start);
        });
    } else {
        let few = y.len() < PARALLEL;
        let least = if few { usize::MAX } else { (PARALLEL / 4).div_ceil(inner) };
        pieces(y, inner, least, &body);
    }
    Ok(())
}

pub(super) fn layout(y: &CpuTensorMut<'_>, operands: &[&CpuTensor<'_>]) -> Layout {
    let dims = |extents: &[usize]| extents.iter().map(|&n| n.into()).collect::<Vec<Dim>>();
    let shapes: Vec<Vec<Dim>> = operands.iter().map(|t| dims(&t.extents)).collect();
    let shapes: Vec<&[Dim]> = shapes.iter().map(Vec::as_slice).collect();
    Layout::new(&dims(&y.extents), &shapes)
}

fn run_of<'a, T: Pod>(data: &'a [T], layout: &Layout, i: usize, at: usize, n: usize) -> Run<'a, T> {
    match layout.has[i].last() {
        Some(true) => Run::Along(&data[at..at + n]),
        _ => Run::Same(data[at]),
    }
}

fn map2<A: Pod + Sync, B: Pod + Sync, Y: Pod + Send>(
    a: &CpuTensor<'_>,
    b: &CpuTensor<'_>,
    y: &mut CpuTensorMut<'_>,
    f: impl Fn(A, B) -> Y + Sync,
) -> Result<()> {
    let layout = layout(y, &[a, b]);
    let (a, b) = (a.read::<A>(), b.read::<B>());
    runs(y.write::<Y>()?, &layout, &|y, at| {
        let n = y.len();
        match (run_of(&a, &layout, 0, at[0], n), run_of(&b, &layout, 1, at[1], n)) {
            (Run::Along(a), Run::Along(b)) => {
                y.iter_mut().zip(a).zip(b).for_each(|((y, a), b)| *y = f(*a, *b));
            }
            (Run::Along(a), Run::Same(b)) => y.iter_mut().zip(a).for_each(|(y, a)| *y = f(*a, b)),
            (Run::Same(a), Run::Along(b)) => y.iter_mut().zip(b).for_each(|(y, b)| *y = f(a, *b)),
            (Run::Same(a), Run::Same(b)) => y.fill(f(a, b)),
        }
    })
}

/// Evaluates `$call` with `$g` a function known at compile time, so that each
/// loop contains one function only.
macro_rules! each_function {
    ($f:ident, |$g:ident| $call:expr, [$($plain:ident)*], [$($with:ident { $($field:ident),* })*]) => {
        match $f {
            $(Unary::$plain => {
                let $g = |x: f32| Unary::$plain.eval_f32(x);
                $call
            })*
            $(Unary::$with { $($field),* } => {
                let $g = move |x: f32| Unary::$with { $($field),* }.eval_f32(x);
                $call
            })*
        }
    };
    ($f:ident, |$g:ident| $call:expr) => {
        each_function!(
            $f,
            |$g| $call,
            [Identity Neg Abs Sign Exp Log Sqrt Reciprocal Sigmoid Tanh Relu Selu Softplus
             Softsign HardSwish Silu Mish Gelu GeluTanh Erf Floor Ceil Round Sin Cos Tan Asin Acos
             Atan Sinh Cosh Asinh Acosh Atanh],
            [LeakyRelu { alpha } Elu { alpha } HardSigmoid { alpha, beta } Clip { min, max }
             Celu { alpha } ThresholdedRelu { alpha } Shrink { lambd, bias }]
        )
    };
}

/// A function of each element.
pub(super) fn unary(f: Unary, x: &CpuTensor<'_>, y: &mut CpuTensorMut<'_>) -> Result<()> {
    match x.dtype {
        DType::F32 => each_function!(f, |g| map1(x, y, g)),
        DType::F16 => map1(x, y, |x: f16| f16::put(f.eval_f32(x.get()))),
        DType::BF16 => map1(x, y, |x: bf16| bf16::put(f.eval_f32(x.get()))),
        DType::F64 => map1(x, y, |x: f64| f.eval(x)),
        other => Err(Error::internal(format!("{} of {other}", f.name()))),
    }
}

/// A function of each whole number.
pub(super) fn whole_unary(f: Whole, x: &CpuTensor<'_>, y: &mut CpuTensorMut<'_>) -> Result<()> {
    macro_rules! of {
        ($ty:ty) => {
            map1(x, y, |v: $ty| f.eval(x.dtype, v as i64) as $ty)
        };
    }
    match x.dtype {
        DType::I8 | DType::I4 | DType::I2 => of!(i8),
        DType::U8 | DType::U4 | DType::U2 | DType::Bool => of!(u8),
        DType::I16 => of!(i16),
        DType::U16 => of!(u16),
        DType::I32 => of!(i32),
        DType::U32 => of!(u32),
        DType::I64 => of!(i64),
        DType::U64 => of!(u64),
        other => Err(Error::internal(format!("{f:?} of {other}"))),
    }
}

/// A question about each real number.
pub(super) fn test(t: Test, x: &CpuTensor<'_>, y: &mut CpuTensorMut<'_>) -> Result<()> {
    match x.dtype {
        DType::F32 => map1(x, y, |v: f32| u8::from(t.eval(v.into()))),
        DType::F16 => map1(x, y, |v: f16| u8::from(t.eval(v.into()))),
        DType::BF16 => map1(x, y, |v: bf16| u8::from(t.eval(v.into()))),
        DType::F64 => map1(x, y, |v: f64| u8::from(t.eval(v))),
        small => map1(x, y, |v: u8| u8::from(t.eval(small_float(small, v)))),
    }
}

/// A function of each element of the first times the second.
pub(super) fn gated(
    f: Unary,
    a: &CpuTensor<'_>,
    b: &CpuTensor<'_>,
    y: &mut CpuTensorMut<'_>,
) -> Result<()> {
    match a.dtype {
        DType::F32 => each_function!(f, |g| map2(a, b, y, |a: f32, b: f32| g(a) * b)),
        DType::F16 => map2(a, b, y, |a: f16, b: f16| f16::put(f.eval_f32(a.get()) * b.get())),
        DType::BF16 => map2(a, b, y, |a: bf16, b: bf16| bf16::put(f.eval_f32(a.get()) * b.get())),
        DType::F64 => map2(a, b, y, |a: f64, b: f64| f.eval(a) * b),
        other => Err(Error::internal(format!("a gate of {other}"))),
    }
}

/// An operation on two tensors.
pub(super) fn binary(
    op: Binary,
    a: &CpuTensor<'_>,
    b: &CpuTensor<'_>,
    y: &mut CpuTensorMut<'_>,
) -> Result<()> {
    match a.dtype {
        DType::F32 => real::<f32>(op, a, b, y),
        DType::F64 if op.is_comparison() => map2(a, b, y, |a: f64, b: f64| compare(op, a, b)),
        DType::F64 => map2(a, b, y, |a: f64, b: f64| op.real(a, b)),
        DType::I4 | DType::I2 => {
            map2(a, b, y, |p: i8, q: i8| op.eval(a.dtype, p.into(), q.into()) as i8)
        }
        DType::U4 | DType::U2 => {
            map2(a, b, y, |p: u8, q: u8| op.eval(a.dtype, p.into(), q.into()) as u8)
        }
        DType::F16 => real::<f16>(op, a, b, y),
        DType::BF16 => real::<bf16>(op, a, b, y),
        DType::I8 => whole::<i8>(op, a, b, y),
        DType::U8 | DType::Bool => whole::<u8>(op, a, b, y),
        DType::I32 => whole::<i32>(op, a, b, y),
        DType::U32 => whole::<u32>(op, a, b, y),
        DType::I64 => whole::<i64>(op, a, b, y),
        DType::U64 => whole::<u64>(op, a, b, y),
        DType::I16 => whole::<i16>(op, a, b, y),
        DType::U16 => whole::<u16>(op, a, b, y),
        other => Err(Error::internal(format!("{op:?} of {other}"))),
    }
}

fn real<T: Real>(
    op: Binary,
    a: &CpuTensor<'_>,
    b: &CpuTensor<'_>,
    y: &mut CpuTensorMut<'_>,
) -> Result<()> {
    macro_rules! with {
        ($f:expr) => {
            map2(a, b, y, |a: T, b: T| T::put($f(a.get(), b.get())))
        };
    }
    match op {
        Binary::Add => with!(|a: f32, b: f32| a + b),
        Binary::Sub => with!(|a: f32, b: f32| a - b),
        Binary::Mul => with!(|a: f32, b: f32| a * b),
        Binary::Div => with!(|a: f32, b: f32| a / b),
        Binary::Pow => with!(f32::powf),
        Binary::Min => with!(|a: f32, b: f32| if b < a || b.is_nan() { b } else { a }),
        Binary::Max => with!(|a: f32, b: f32| if b > a || b.is_nan() { b } else { a }),
        Binary::PRelu => with!(|a: f32, b: f32| if a < 0.0 { a * b } else { a }),
        Binary::Fmod => with!(|a: f32, b: f32| a % b),
        Binary::Mod => with!(|a: f32, b: f32| op.real(a.into(), b.into()) as f32),
        op if op.is_comparison() => map2(a, b, y, |a: T, b: T| compare(op, a.get(), b.get())),
        _ => Err(Error::internal(format!("{op:?} of real numbers"))),
    }
}

fn whole<T: Integer>(
    op: Binary,
    a: &CpuTensor<'_>,
    b: &CpuTensor<'_>,
    y: &mut CpuTensorMut<'_>,
) -> Result<()> {
    match op {
        Binary::Add => map2(a, b, y, |a: T, b: T| T::combine(Binary::Add, a, b)),
        Binary::Mul => map2(a, b, y, |a: T, b: T| T::combine(Binary::Mul, a, b)),
        op if op.is_comparison() => map2(a, b, y, |a: T, b: T| compare(op, a, b)),
        Binary::Pow
        | Binary::PRelu
        | Binary::Mod
        | Binary::Fmod
        | Binary::ShiftLeft
        | Binary::ShiftRight => map2(a, b, y, |p: T, q: T| T::eval(op, a.dtype, p, q)),
        op => map2(a, b, y, |a: T, b: T| T::combine(op, a, b)),
    }
}

#[inline(always)]
fn compare<T: PartialOrd>(op: Binary, a: T, b: T) -> u8 {
    u8::from(match op {
        Binary::Equal => a == b,
        Binary::Less => a < b,
        Binary::LessOrEqual => a <= b,
        Binary::Greater => a > b,
        _ => a >= b,
    })
}

/// The second or third operand, as the first says. Values are moved as bits.
pub(super) fn select(
    c: &CpuTensor<'_>,
    a: &CpuTensor<'_>,
    b: &CpuTensor<'_>,
    y: &mut CpuTensorMut<'_>,
) -> Result<()> {
    match y.dtype.block_bytes() {
        1 => select_bits::<u8>(c, a, b, y),
        2 => select_bits::<u16>(c, a, b, y),
        4 => select_bits::<u32>(c, a, b, y),
        _ => select_bits::<u64>(c, a, b, y),
    }
}

fn select_bits<T: Pod + Send + Sync>(
    c: &CpuTensor<'_>,
    a: &CpuTensor<'_>,
    b: &CpuTensor<'_>,
    y: &mut CpuTensorMut<'_>,
) -> Result<()> {
    let layout = layout(y, &[c, a, b]);
    let (c, a, b) = (c.read::<u8>(), a.read::<T>(), b.read::<T>());
    let step = |i: usize| usize::from(layout.has[i].last() == Some(&true));
    let steps = [step(0), step(1), step(2)];
    runs(y.write::<T>()?, &layout, &|y, at| {
        for (i, y) in y.iter_mut().enumerate() {
            let yes = c[at[0] + i * steps[0]] != 0;
            *y = if yes { a[at[1] + i * steps[1]] } else { b[at[2] + i * steps[2]] };
        }
    })
}

//! Reductions over axes, and the places of extrema.

mod arg;
mod cases;
mod onnx;
mod runs;

pub use arg::ArgReduce;
pub(crate) use cases::{arg_cases, reduce_cases};
pub(crate) use onnx::{ONNX, reduced};

use super::elementwise::wrap;
use super::rules::Rules;
use super::{BoundCx, Lowering, Operator, RefData, RefTensor};
use crate::error::{Error, Result};
use crate::graph::{Dim, GraphBuilder, TensorType, ValueId};
use crate::kernels::elementwise::Map;
use crate::kernels::reduce::{Each, Fold, Last, ReduceKernel, Spans, accumulator};
use crate::tensor::{DType, SmallRounding};
use crate::validate::error_model::{gamma, smallest_normal};
use runs::{Layout, runs};

/// What becomes of the elements behind a result.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Reduction {
    /// Their sum.
    Sum,
    /// Their mean; of whole numbers rounded towards zero.
    Mean,
    /// The largest.
    Max,
    /// The smallest.
    Min,
    /// Their product.
    Prod,
    /// The sum of their magnitudes.
    L1,
    /// The root of the sum of their squares.
    L2,
    /// The sum of their squares.
    SumSquare,
    /// The natural logarithm of their sum.
    LogSum,
    /// The natural logarithm of the sum of their exponentials.
    LogSumExp,
}

/// ONNX `ReduceSum`, `ReduceMean` and the other reductions (opset 18; their
/// axes are known when the graph is built).
///
/// | Input | Type |
/// |---|---|
/// | x | real numbers; for all but `L2`, `LogSum` and `LogSumExp` also whole ones of 8 bits and more; for `Max` and `Min` also Bool |
///
/// The output has x's dtype and x's shape without the axes, or with 1 in their
/// place. Sums and products of whole numbers keep the low bits. Of no elements
/// a sum is 0, a product 1, an extremum the far end of the dtype, a logarithm
/// -∞ and a real mean no number. Without axes each element is a result.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Reduce {
    /// What becomes of the elements.
    pub reduction: Reduction,
    /// The axes, from the end where negative.
    pub axes: Vec<i64>,
    /// Whether the axes stay, with one element.
    pub keepdims: bool,
}

use Reduction::*;

impl Reduction {
    /// Every reduction.
    pub const ALL: [Reduction; 10] =
        [Sum, Mean, Max, Min, Prod, L1, L2, SumSquare, LogSum, LogSumExp];

    /// The ONNX name.
    pub fn name(self) -> &'static str {
        match self {
            Sum => "ReduceSum",
            Mean => "ReduceMean",
            Max => "ReduceMax",
            Min => "ReduceMin",
            Prod => "ReduceProd",
            L1 => "ReduceL1",
            L2 => "ReduceL2",
            SumSquare => "ReduceSumSquare",
            LogSum => "ReduceLogSum",
            LogSumExp => "ReduceLogSumExp",
        }
    }

    /// Whether it takes elements of the dtype.
    pub fn takes(self, dtype: DType) -> bool {
        use DType::*;
        let whole = matches!(dtype, I8 | U8 | I16 | U16 | I32 | U32 | I64 | U64);
        match self {
            _ if dtype.is_float() => true,
            Self::Max | Self::Min => whole || dtype == Bool,
            Self::L2 | Self::LogSum | Self::LogSumExp => false,
            _ => whole,
        }
    }

    fn kernel(self) -> (Fold, Each, Last) {
        match self {
            Sum => (Fold::Sum, Each::Plain, Last::Plain),
            Mean => (Fold::Sum, Each::Plain, Last::Mean),
            Max => (Fold::Max, Each::Plain, Last::Plain),
            Min => (Fold::Min, Each::Plain, Last::Plain),
            Prod => (Fold::Prod, Each::Plain, Last::Plain),
            L1 => (Fold::Sum, Each::Abs, Last::Plain),
            L2 => (Fold::Sum, Each::Square, Last::Sqrt),
            SumSquare => (Fold::Sum, Each::Square, Last::Plain),
            LogSum => (Fold::Sum, Each::Plain, Last::Log),
            LogSumExp => (Fold::Sum, Each::Exp, Last::LogPlus),
        }
    }

    /// The result of no elements.
    fn empty(self, dtype: DType) -> f64 {
        match (self, dtype.is_float()) {
            (Prod, _) => 1.0,
            (Mean, true) => f64::NAN,
            (Max | LogSum | LogSumExp, true) => f64::NEG_INFINITY,
            (Min, true) => f64::INFINITY,
            (Min, false) if dtype == DType::U64 => u64::MAX as f64,
            (Max, false) => ends(dtype).0 as f64,
            (Min, false) => ends(dtype).1 as f64,
            _ => 0.0,
        }
    }

    fn real(self, x: &[f64], dtype: DType) -> f64 {
        let count = x.len() as f64;
        if x.is_empty() {
            return self.empty(dtype);
        }
        match self {
            Sum => x.iter().sum(),
            Mean => x.iter().sum::<f64>() / count,
            Max => x.iter().copied().fold(f64::NEG_INFINITY, f64::max),
            Min => x.iter().copied().fold(f64::INFINITY, f64::min),
            Prod => x.iter().product(),
            L1 => x.iter().map(|v| v.abs()).sum(),
            L2 => x.iter().map(|v| v * v).sum::<f64>().sqrt(),
            SumSquare => x.iter().map(|v| v * v).sum(),
            LogSum => x.iter().sum::<f64>().ln(),
            LogSumExp => {
                let max = x.iter().copied().fold(f64::NEG_INFINITY, f64::max);
                if max.is_infinite() {
                    return max;
                }
                max + x.iter().map(|v| (v - max).exp()).sum::<f64>().ln()
            }
        }
    }

    /// [`DType::U64`] beyond 2^63 is a negative number of the same bits.
    fn whole(self, x: &[i64], dtype: DType) -> i64 {
        let unsigned = || x.iter().map(|&v| v as u64);
        match self {
            Max if dtype == DType::U64 => return unsigned().max().unwrap_or(u64::MIN) as i64,
            Min if dtype == DType::U64 => return unsigned().min().unwrap_or(u64::MAX) as i64,
            Mean if dtype == DType::U64 => {
                let sum = unsigned().fold(0u64, u64::wrapping_add);
                return sum.checked_div(x.len() as u64).unwrap_or(0) as i64;
            }
            _ => {}
        }
        let sum = |each: fn(i64) -> i64| x.iter().fold(0i64, |all, &v| all.wrapping_add(each(v)));
        let all = match self {
            Max => x.iter().copied().max().unwrap_or(ends(dtype).0),
            Min => x.iter().copied().min().unwrap_or(ends(dtype).1),
            Prod => x.iter().fold(1i64, |all, &v| all.wrapping_mul(v)),
            L1 if !dtype.is_unsigned_integer() => sum(i64::wrapping_abs),
            SumSquare => sum(|v| v.wrapping_mul(v)),
            _ => sum(|v| v),
        };
        let all = wrap(accumulator(dtype), all);
        let all = if self == Mean { all.checked_div(x.len() as i64).unwrap_or(0) } else { all };
        wrap(dtype, all)
    }

    /// How far a result may be off, for the elements behind it and the number
    /// of times that results are reduced again.
    ///
    /// - A sum of n terms: `gamma(n)` of the sum of their magnitudes (Higham,
    ///   Accuracy and Stability, 4.2), a product that of its magnitude; squares
    ///   are rounded once each. Terms below the smallest normal number may be
    ///   flushed.
    /// - A quotient has 2.5 units in the last place, a root 4.5 (WGSL, "Accuracy
    ///   of built-in functions") and half the relative error of its argument.
    /// - A sum off by the part `r` moves its logarithm by at most `r / (1 - r)`;
    ///   the logarithm itself is off by 2^-21 (8 units) around 1 and by 3 units
    ///   in the last place beyond.
    /// - `ln Σ exp`: exponentials are off as in Softmax by `u(6 + 5d)` at a
    ///   distance d from the largest, on average in the sum, whose largest term
    ///   is 1. Each time results are reduced again their errors go into the next
    ///   undiminished (the function is 1-Lipschitz), and distances are at most
    ///   those of all elements.
    fn error(self, x: &[f64], result: f64, levels: usize, unit: f64) -> f64 {
        let (n, tiny) = (x.len(), smallest_normal(DType::F32));
        if n == 0 || matches!(self, Max | Min) {
            return 0.0;
        }
        let squares = matches!(self, L2 | SumSquare);
        let size: f64 = x.iter().map(|v| if squares { v * v } else { v.abs() }).sum();
        let sum_error = (gamma(n, unit) + 2.0 * unit) * size + n as f64 * tiny;
        let log_error = |log: f64| unit * f64::max(8.0, 6.0 * log.abs());
        match self {
            Mean => sum_error / n as f64 + 5.0 * unit * result.abs() + tiny,
            Prod => gamma(n, unit) * result.abs() + tiny,
            L2 => {
                let root = size.sqrt().max(tiny);
                sum_error / (2.0 * root) + 9.0 * unit * root + tiny.sqrt()
            }
            LogSum => {
                let sum: f64 = x.iter().sum();
                let relative = sum_error / sum.abs();
                let moved = relative / (1.0 - relative).max(unit);
                moved + log_error(result.abs() + moved) + tiny
            }
            LogSumExp => {
                let max = x.iter().copied().fold(f64::NEG_INFINITY, f64::max);
                if max.is_infinite() {
                    return 0.0;
                }
                let terms = x.iter().map(|v| v - max);
                let sum: f64 = terms.clone().map(f64::exp).sum();
                let each = |d: f64| unit * (6.0 - 5.0 * d);
                let mean = terms.clone().map(|d| d.exp() * each(d)).sum::<f64>() / sum;
                let farthest = terms.fold(0.0, f64::min) - (n as f64).ln();
                let each = if levels > 1 { each(farthest) } else { mean };
                let relative = each + gamma(n, unit) + n as f64 * tiny;
                let moved = relative / (1.0 - relative).max(unit);
                let level = moved + log_error(sum.ln() + moved) + 2.0 * unit * result.abs();
                level * levels as f64
            }
            _ => sum_error,
        }
    }
}

/// The ends of a dtype of whole numbers. On a device 64-bit integers have 32
/// bits, whose ends stand for theirs there.
fn ends(dtype: DType) -> (i64, i64) {
    match dtype {
        DType::I8 => (i8::MIN.into(), i8::MAX.into()),
        DType::U8 => (0, u8::MAX.into()),
        DType::I16 => (i16::MIN.into(), i16::MAX.into()),
        DType::U16 => (0, u16::MAX.into()),
        DType::I32 => (i32::MIN.into(), i32::MAX.into()),
        DType::U32 => (0, u32::MAX.into()),
        DType::Bool => (0, 1),
        _ => (i64::MIN, i64::MAX),
    }
}

impl Reduce {
    /// Which axes are reduced.
    fn reduced(&self, rank: usize) -> Result<Vec<bool>> {
        runs::flags(self.name(), &self.axes, rank)
    }
}

/// A shape without the reduced axes, or with `one` in their place.
pub(super) fn left<T: Clone>(shape: &[T], reduced: &[bool], keepdims: bool, one: T) -> Vec<T> {
    let pairs = shape.iter().zip(reduced);
    let kept = pairs.filter(|(_, reduced)| keepdims || !**reduced);
    kept.map(|(dim, reduced)| if *reduced { one.clone() } else { dim.clone() }).collect()
}

pub(super) fn only<'a>(op: &str, inputs: &[Option<&'a RefTensor>]) -> Result<&'a RefTensor> {
    let x = inputs.first().copied().flatten();
    x.ok_or_else(|| Error::internal(format!("{op} without input")))
}

impl Operator for Reduce {
    fn name(&self) -> &str {
        self.reduction.name()
    }

    fn infer(&self, inputs: &[Option<&TensorType>]) -> Result<Vec<TensorType>> {
        let rules = Rules::new(self.name(), &["x"], 1, inputs)?;
        let x = rules.input(0)?;
        if !self.reduction.takes(x.dtype) {
            return rules.broken(format!("does not take {x}"));
        }
        let shape = left(&x.shape, &self.reduced(x.rank())?, self.keepdims, Dim::Const(1));
        Ok(vec![TensorType::new(x.dtype, shape)])
    }

    fn reference(&self, inputs: &[Option<&RefTensor>]) -> Result<Vec<RefTensor>> {
        let x = only(self.name(), inputs)?;
        let reduced = self.reduced(x.extents.len())?;
        let extents = left(&x.extents, &reduced, self.keepdims, 1);
        let layout = Layout::new(&x.extents, &reduced);
        let data = match &x.data {
            RefData::Real(data) => {
                let groups = layout.groups(data);
                RefData::Real(groups.iter().map(|g| self.reduction.real(g, x.dtype)).collect())
            }
            RefData::Int(data) => {
                let groups = layout.groups(data);
                RefData::Int(groups.iter().map(|g| self.reduction.whole(g, x.dtype)).collect())
            }
        };
        Ok(vec![RefTensor { dtype: x.dtype, extents, data }])
    }

    fn bound(&self, cx: &BoundCx<'_>) -> Result<Vec<Vec<f64>>> {
        let y = cx.outputs.first().ok_or_else(|| Error::internal("a reduction without output"))?;
        let x = cx.input(0)?;
        let RefData::Real(data) = &x.data else { return Ok(vec![vec![0.0; y.len()]]) };
        let reduced = self.reduced(x.extents.len())?;
        let levels = runs(&reduced, |_| false).len();
        let groups = Layout::new(&x.extents, &reduced).groups(data);
        let error = |(group, result): (&Vec<f64>, &f64)| {
            self.reduction.error(group, *result, levels, cx.arithmetic.unit())
        };
        Ok(vec![groups.iter().zip(y.reals()?).map(error).collect()])
    }

    /// Axes side by side are one; those that are apart are reduced one after
    /// another, the last ones first, so that nothing needs to be transposed.
    fn lower(&self, cx: &mut Lowering<'_>) -> Result<()> {
        let (x, y) = (cx.input(0)?, cx.output(0)?);
        let reduced = self.reduced(x.ty.rank())?;
        let (fold, each, last) = self.reduction.kernel();
        let dtype = accumulator(x.ty.dtype);
        let axes = x.ty.shape.iter().zip(&reduced).filter(|(_, reduced)| **reduced);
        let count = Dim::product(axes.map(|(dim, _)| dim));
        let runs = runs(&reduced, |axis| x.ty.shape.get(axis) == Some(&Dim::Const(1)));
        let empty = self.reduction.empty(x.ty.dtype);
        let (mut from, mut shape) = (x.clone(), x.ty.shape.clone());
        for (i, run) in runs.iter().enumerate().rev() {
            let spans = Spans::of(&shape, run.start, run.end);
            shape[run.clone()].fill(Dim::Const(1));
            let (first, end) = (i + 1 == runs.len(), i == 0);
            let to = match end {
                true if dtype == y.ty.dtype => y.clone(),
                true => cx.temporary(TensorType::new(dtype, y.ty.shape.clone())),
                false => cx.temporary(TensorType::new(dtype, shape.clone())),
            };
            let kernel = |fold, each, last| ReduceKernel {
                fold,
                each,
                last,
                spans: spans.clone(),
                count: if end { count.clone() } else { spans.n.clone() },
                empty: if end { empty } else { identity(fold, last) },
            };
            if self.reduction == LogSumExp {
                let max = cx.temporary(TensorType::new(dtype, shape.clone()));
                let largest = kernel(Fold::Max, Each::Plain, Last::Plain);
                cx.call(largest, &[Some(from.clone())], std::slice::from_ref(&max));
                cx.call(
                    kernel(fold, each, last),
                    &[Some(from), Some(max)],
                    std::slice::from_ref(&to),
                );
            } else {
                let each = if first { each } else { Each::Plain };
                let last = if end { last } else { Last::Plain };
                cx.call(kernel(fold, each, last), &[Some(from)], std::slice::from_ref(&to));
            }
            from = to;
        }
        if from.ty.dtype != y.ty.dtype {
            cx.call(Map::Cast(SmallRounding::default()), &[Some(from)], &[y]);
        }
        Ok(())
    }
}

/// The result of no elements in a step on the way.
fn identity(fold: Fold, last: Last) -> f64 {
    match (fold, last) {
        (_, Last::Log | Last::LogPlus) | (Fold::Max, _) => f64::NEG_INFINITY,
        (Fold::Sum, _) => 0.0,
        (Fold::Prod, _) => 1.0,
        (Fold::Min, _) => f64::INFINITY,
    }
}

impl GraphBuilder {
    /// Reduces `x` over axes, which stay with one element if `keepdims`; see
    /// [`Reduce`].
    ///
    /// # Errors
    /// If the dtype does not suit the reduction or an axis does not exist.
    pub fn reduce(
        &mut self,
        reduction: Reduction,
        x: ValueId,
        axes: &[i64],
        keepdims: bool,
    ) -> Result<ValueId> {
        self.op1(Reduce { reduction, axes: axes.to_vec(), keepdims }, &[x])
    }
}

//! Operators that read their input with other strides.

use super::{exact, fixed, picked, present, strides};
use crate::error::{Error, Result};
use crate::graph::{Dim, TensorType};
use crate::kernels::movement::{Step, StridedCopy};
use crate::ops::rules::Rules;
use crate::ops::rules::front_axis;
use crate::ops::{BoundCx, Lowering, Operator, RefTensor};

fn plain<'a>(op: &'static str, inputs: &'a [Option<&'a TensorType>]) -> Result<&'a TensorType> {
    let x = Rules::new(op, &["x"], 1, inputs)?.input(0)?;
    if x.dtype.is_quantised() {
        return Err(Error::rule(op, format!("'x' must have a plain dtype, got {x}")));
    }
    Ok(x)
}

fn dim_strides(shape: &[Dim]) -> Vec<Dim> {
    strides(shape, Dim::Const(1), |a, b| a * b)
}

/// ONNX `Transpose`: any plain dtype.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Transpose {
    /// Dimension `i` of the result is dimension `permutation[i]` of the input.
    pub permutation: Vec<usize>,
}

const TRANSPOSE: &str = "Transpose";

impl Operator for Transpose {
    fn name(&self) -> &str {
        TRANSPOSE
    }

    fn infer(&self, inputs: &[Option<&TensorType>]) -> Result<Vec<TensorType>> {
        let x = plain(TRANSPOSE, inputs)?;
        let mut sorted = self.permutation.clone();
        sorted.sort_unstable();
        if !sorted.iter().copied().eq(0..x.rank()) {
            let what = format!("{:?} is no permutation of the dimensions of {x}", self.permutation);
            return Err(Error::rule(TRANSPOSE, what));
        }
        let shape: Vec<_> = self.permutation.iter().map(|&axis| x.shape[axis].clone()).collect();
        Ok(vec![TensorType::new(x.dtype, shape)])
    }

    fn reference(&self, inputs: &[Option<&RefTensor>]) -> Result<Vec<RefTensor>> {
        let x = present(TRANSPOSE, inputs, 0)?;
        let from = strides(&x.extents, 1, |a, b| a * b);
        let extents: Vec<_> = self.permutation.iter().map(|&axis| x.extents[axis]).collect();
        let source = |index: &[usize]| {
            self.permutation.iter().zip(index).map(|(&axis, &i)| i * from[axis]).sum()
        };
        Ok(vec![picked(x, &extents, source)?])
    }

    fn bound(&self, cx: &BoundCx<'_>) -> Result<Vec<Vec<f64>>> {
        Ok(exact(cx.outputs))
    }

    fn lower(&self, cx: &mut Lowering<'_>) -> Result<()> {
        let (x, y) = (cx.input(0)?, cx.output(0)?);
        let from = dim_strides(&x.ty.shape);
        let steps = self.permutation.iter().map(|&axis| Step::forward(from[axis].clone()));
        let copy = StridedCopy { start: Dim::Const(0), steps: steps.collect() };
        cx.call(copy, &[Some(x)], &[y]);
        Ok(())
    }
}

/// A range of one axis, as ONNX counts: negative positions from the end,
/// positions past an end clipped to it. (Unlike in NumPy, a first position
/// before the front is clipped to the front for negative steps as well.)
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct SliceRange {
    /// The axis, from the end where negative.
    pub axis: i64,
    /// The first position.
    pub start: i64,
    /// The position to stop before; `i64::MAX` for all, `i64::MIN` for all
    /// with a negative step.
    pub end: i64,
    /// The distance between positions; not 0.
    pub step: i64,
}

/// ONNX `Slice` with ranges known when the graph is built: any plain dtype. An
/// axis with a symbol takes step 1 only.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Slice {
    /// At most one range for each axis.
    pub ranges: Vec<SliceRange>,
}

const SLICE: &str = "Slice";

/// What a slice takes of one axis.
#[derive(Debug, Clone)]
struct Taken {
    first: Dim,
    step: i64,
    count: Dim,
}

impl SliceRange {
    fn of_const(&self, n: i64) -> (i64, i64) {
        if n == 0 {
            return (0, 0);
        }
        let clip = |position: i64, low: i64, high: i64| {
            let position = if position < 0 { position.saturating_add(n) } else { position };
            position.clamp(low, high)
        };
        let (start, end) = if self.step > 0 {
            (clip(self.start, 0, n), clip(self.end, 0, n))
        } else {
            (clip(self.start, 0, n - 1), clip(self.end, -1, n - 1))
        };
        let span = if self.step > 0 { end - start } else { start - end };
        let step = self.step.unsigned_abs().min(i64::MAX as u64) as i64;
        (start, (span.max(0) + step - 1) / step)
    }

    fn of(&self, n: &Dim) -> Result<Taken> {
        if self.step == 0 {
            return Err(Error::rule(SLICE, "step 0"));
        }
        if let Some(n) = n.as_const() {
            let (first, count) = self.of_const(i64::try_from(n).unwrap_or(i64::MAX));
            let first = if count == 0 { 0 } else { first };
            return Ok(Taken {
                first: (first as u64).into(),
                step: self.step,
                count: (count as u64).into(),
            });
        }
        if self.step != 1 {
            let what = format!("step {} along an axis of symbolic size {n}", self.step);
            return Err(Error::unsupported(SLICE, what));
        }
        let clip = |position: i64| match position {
            i64::MAX => n.clone(),
            0.. => Dim::from(position as u64).min(n),
            _ => n - position.unsigned_abs(),
        };
        let (first, end) = (clip(self.start), clip(self.end));
        Ok(Taken { count: &end - &first, first, step: 1 })
    }
}

impl Slice {
    fn taken(&self, shape: &[Dim]) -> Result<Vec<Taken>> {
        let all = |n: &Dim| Taken { first: Dim::Const(0), step: 1, count: n.clone() };
        let mut taken: Vec<_> = shape.iter().map(all).collect();
        let mut seen = vec![false; shape.len()];
        for range in &self.ranges {
            let axis = front_axis(SLICE, range.axis, shape.len())?;
            if std::mem::replace(&mut seen[axis], true) {
                return Err(Error::rule(SLICE, format!("two ranges for axis {axis}")));
            }
            taken[axis] = range.of(&shape[axis])?;
        }
        Ok(taken)
    }
}

impl Operator for Slice {
    fn name(&self) -> &str {
        SLICE
    }

    fn infer(&self, inputs: &[Option<&TensorType>]) -> Result<Vec<TensorType>> {
        let x = plain(SLICE, inputs)?;
        let shape: Vec<_> = self.taken(&x.shape)?.into_iter().map(|taken| taken.count).collect();
        Ok(vec![TensorType::new(x.dtype, shape)])
    }

    fn reference(&self, inputs: &[Option<&RefTensor>]) -> Result<Vec<RefTensor>> {
        let x = present(SLICE, inputs, 0)?;
        let shape: Vec<Dim> = x.extents.iter().map(|&n| n.into()).collect();
        let taken = self.taken(&shape)?;
        let extents = fixed(SLICE, &taken.iter().map(|t| t.count.clone()).collect::<Vec<_>>())?;
        let first = fixed(SLICE, &taken.iter().map(|t| t.first.clone()).collect::<Vec<_>>())?;
        let from = strides(&x.extents, 1, |a, b| a * b);
        let source = |index: &[usize]| {
            let at = |axis: usize| first[axis] as i64 + index[axis] as i64 * taken[axis].step;
            (0..index.len()).map(|axis| at(axis) as usize * from[axis]).sum()
        };
        Ok(vec![picked(x, &extents, source)?])
    }

    fn bound(&self, cx: &BoundCx<'_>) -> Result<Vec<Vec<f64>>> {
        Ok(exact(cx.outputs))
    }

    fn lower(&self, cx: &mut Lowering<'_>) -> Result<()> {
        let (x, y) = (cx.input(0)?, cx.output(0)?);
        let from = dim_strides(&x.ty.shape);
        let (mut start, mut steps) = (Dim::Const(0), Vec::new());
        for (taken, stride) in self.taken(&x.ty.shape)?.iter().zip(&from) {
            start = start + &taken.first * stride;
            let stride = stride * taken.step.unsigned_abs();
            steps.push(Step { stride, backward: taken.step < 0 });
        }
        cx.call(StridedCopy { start, steps }, &[Some(x)], &[y]);
        Ok(())
    }
}

/// ONNX `Expand` to a shape known when the graph is built: any plain dtype.
/// Dimensions of 1 are repeated; new dimensions are put before.
#[derive(Debug, Clone, PartialEq)]
pub struct Expand {
    /// The shape to broadcast with: 1 keeps the input's dimension.
    pub shape: Vec<Dim>,
}

const EXPAND: &str = "Expand";

impl Expand {
    /// The result's shape, and for each of its dimensions whether it repeats.
    fn broadcast(&self, x: &[Dim]) -> Result<Vec<(Dim, bool)>> {
        let rank = x.len().max(self.shape.len());
        let one = Dim::Const(1);
        let padded = |shape: &[Dim]| {
            let missing = rank - shape.len();
            (0..missing).map(|_| one.clone()).chain(shape.iter().cloned()).collect::<Vec<_>>()
        };
        let pairs = padded(x).into_iter().zip(padded(&self.shape));
        pairs
            .map(|(from, to)| match (from == one, to == one) {
                (true, true) => Ok((one.clone(), false)),
                (true, false) => Ok((to, true)),
                (false, true) => Ok((from, false)),
                (false, false) if from == to => Ok((from, false)),
                _ => Err(Error::rule(EXPAND, format!("{from} does not broadcast to {to}"))),
            })
            .collect()
    }
}

impl Operator for Expand {
    fn name(&self) -> &str {
        EXPAND
    }

    fn infer(&self, inputs: &[Option<&TensorType>]) -> Result<Vec<TensorType>> {
        let x = plain(EXPAND, inputs)?;
        let shape: Vec<_> = self.broadcast(&x.shape)?.into_iter().map(|(dim, _)| dim).collect();
        Ok(vec![TensorType::new(x.dtype, shape)])
    }

    fn reference(&self, inputs: &[Option<&RefTensor>]) -> Result<Vec<RefTensor>> {
        let x = present(EXPAND, inputs, 0)?;
        let shape: Vec<Dim> = x.extents.iter().map(|&n| n.into()).collect();
        let result: Vec<_> = self.broadcast(&shape)?.into_iter().map(|(dim, _)| dim).collect();
        self.reference_sized(inputs, &[fixed(EXPAND, &result)?])
    }

    fn reference_sized(
        &self,
        inputs: &[Option<&RefTensor>],
        extents: &[Vec<usize>],
    ) -> Result<Vec<RefTensor>> {
        let x = present(EXPAND, inputs, 0)?;
        let extents = extents.first().cloned().unwrap_or_default();
        let from = strides(&x.extents, 1, |a, b| a * b);
        let new = extents.len() - x.extents.len();
        let source = |index: &[usize]| {
            let at = |axis: usize| if x.extents[axis] == 1 { 0 } else { index[new + axis] };
            (0..from.len()).map(|axis| at(axis) * from[axis]).sum()
        };
        Ok(vec![picked(x, &extents, source)?])
    }

    fn bound(&self, cx: &BoundCx<'_>) -> Result<Vec<Vec<f64>>> {
        Ok(exact(cx.outputs))
    }

    fn lower(&self, cx: &mut Lowering<'_>) -> Result<()> {
        let (x, y) = (cx.input(0)?, cx.output(0)?);
        let mut from = dim_strides(&x.ty.shape);
        let result = self.broadcast(&x.ty.shape)?;
        let new = result.len() - from.len();
        from.splice(0..0, (0..new).map(|_| Dim::Const(0)));
        let step = |(stride, (_, repeats)): (Dim, (Dim, bool))| {
            Step::forward(if repeats { Dim::Const(0) } else { stride })
        };
        let steps = from.into_iter().zip(result).map(step).collect();
        cx.call(StridedCopy { start: Dim::Const(0), steps }, &[Some(x)], &[y]);
        Ok(())
    }
}

//! Writing elements to places that indices say.

mod cases;
mod onnx;

pub(crate) use cases::{elements_cases, nd_cases};
pub(crate) use onnx::ONNX;

use super::gather::Places;
use super::rules::{Rules, front_axis};
use super::{BoundCx, Lowering, Operator, RefData, RefTensor};
use crate::error::{Error, Result};
use crate::graph::{Dim, GraphBuilder, TensorType, ValueId};
use crate::kernels::movement::{Step, StridedCopy};
use crate::kernels::scatter::ScatterKernel;
use crate::ops::movement::strides;
use crate::tensor::DType;
use crate::validate::error_model::gamma;

/// What becomes of an element that is there and an update of it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Reduction {
    /// The update takes its place. Of several updates of one element it is
    /// undefined which one stays (ONNX forbids them).
    None,
    /// Their sum.
    Add,
    /// Their product.
    Mul,
    /// The larger.
    Max,
    /// The smaller.
    Min,
}

impl Reduction {
    /// Every reduction.
    pub const ALL: [Reduction; 5] =
        [Reduction::None, Reduction::Add, Reduction::Mul, Reduction::Max, Reduction::Min];

    /// Whether elements of the dtype can be reduced so.
    pub(crate) fn takes(self, dtype: DType) -> bool {
        match self {
            Reduction::None => !dtype.is_quantised(),
            _ => matches!(dtype, DType::F32 | DType::I32 | DType::U32 | DType::I64),
        }
    }

    fn real(self, old: f64, update: f64) -> f64 {
        match self {
            Reduction::None => update,
            Reduction::Add => old + update,
            Reduction::Mul => old * update,
            Reduction::Max => old.max(update),
            Reduction::Min => old.min(update),
        }
    }

    fn whole(self, dtype: DType, old: i64, update: i64) -> i64 {
        let wide = match self {
            Reduction::None => update,
            Reduction::Add => old.wrapping_add(update),
            Reduction::Mul => old.wrapping_mul(update),
            Reduction::Max => old.max(update),
            Reduction::Min => old.min(update),
        };
        match dtype {
            DType::I32 => (wide as i32).into(),
            DType::U32 => (wide as u32).into(),
            _ => wide,
        }
    }
}

/// ONNX `ScatterElements` (opset 18): `data` with `updates[i, j, k]` put at
/// `[i, indices[i, j, k], k]` for axis 1 of three, and so on.
///
/// | Input | Type |
/// |---|---|
/// | data | any plain dtype; F32, I32, U32 or I64 with a reduction |
/// | indices | I32 or I64, data's rank; no dimension but the axis longer than data's |
/// | updates | data's dtype, indices' shape |
///
/// Negative indices count from the end; one out of range is an error of the
/// run. Whole numbers of 32 bits wrap around.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct ScatterElements {
    /// The axis, from the end where negative.
    pub axis: i64,
    /// How updates meet what is there.
    pub reduction: Reduction,
}

/// ONNX `ScatterND` (opset 18): `data` with `updates` put at the positions that
/// the rows of `indices` say.
///
/// | Input | Type |
/// |---|---|
/// | data | any plain dtype, rank R; F32, I32, U32 or I64 with a reduction |
/// | indices | I32 or I64 `[..., K]`, K at most R |
/// | updates | data's dtype, `indices.shape[..-1] + data.shape[K..]` |
///
/// Indices are as for [`ScatterElements`].
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct ScatterND {
    /// How updates meet what is there.
    pub reduction: Reduction,
}

const INPUTS: &[&str] = &["data", "indices", "updates"];

impl ScatterElements {
    fn places(&self, rank: usize) -> Result<Places> {
        Ok(Places::Elements { axis: front_axis("ScatterElements", self.axis, rank)? })
    }
}

impl ScatterND {
    fn places(&self, _rank: usize) -> Result<Places> {
        Ok(Places::Tuples { batch_dims: 0 })
    }
}

fn infer(
    op: &'static str,
    places: impl Fn(usize) -> Result<Places>,
    reduction: Reduction,
    inputs: &[Option<&TensorType>],
) -> Result<Vec<TensorType>> {
    let rules = Rules::new(op, INPUTS, 3, inputs)?;
    let (data, updates) = (rules.input(0)?, rules.input(2)?);
    let shape = places(data.rank())?.shape(&rules)?;
    if updates.dtype != data.dtype || updates.shape != shape {
        let wanted = TensorType::new(data.dtype, shape);
        return rules.broken(format!("'updates' must be {wanted}, got {updates}"));
    }
    if !reduction.takes(data.dtype) {
        return rules.broken(format!("{reduction:?} of {}", data.dtype));
    }
    Ok(vec![data.clone()])
}

/// Calls `visit` with every place of the result that is updated, and the update.
fn updated(
    places: Places,
    inputs: &[Option<&RefTensor>],
    mut visit: impl FnMut(usize, usize),
) -> Result<()> {
    let &[Some(data), Some(indices), Some(_)] = inputs else {
        return Err(Error::internal("a scatter without its inputs"));
    };
    let rows = places.rows(&data.extents, &indices.extents, indices.ints()?)?;
    for (row, start) in rows.starts.iter().enumerate() {
        (0..rows.inner).for_each(|i| visit(start + i, row * rows.inner + i));
    }
    Ok(())
}

fn reference(
    places: Places,
    reduction: Reduction,
    inputs: &[Option<&RefTensor>],
) -> Result<Vec<RefTensor>> {
    let (data, updates) = (input(inputs, 0)?, input(inputs, 2)?);
    let mut result = data.clone();
    match (&mut result.data, &updates.data) {
        (RefData::Real(out), RefData::Real(updates)) => updated(places, inputs, |at, from| {
            out[at] = reduction.real(out[at], updates[from]);
        })?,
        (RefData::Int(out), RefData::Int(updates)) => updated(places, inputs, |at, from| {
            out[at] = reduction.whole(data.dtype, out[at], updates[from]);
        })?,
        _ => return Err(Error::internal("updates of another kind of numbers")),
    }
    Ok(vec![result])
}

/// Each update costs a rounding of what is there so far. In whatever order they
/// come, partial sums are no larger than the sum of the magnitudes; products
/// have a relative error. Without a reduction any update of an element may stay:
/// see [`spread`].
fn bound(places: Places, reduction: Reduction, cx: &BoundCx<'_>) -> Result<Vec<Vec<f64>>> {
    let (data, updates) = (input(cx.inputs, 0)?, input(cx.inputs, 2)?);
    if reduction == Reduction::None {
        return Ok(vec![spread(places, cx.inputs, data.len(), updates)?]);
    }
    let mut bound = vec![0.0; data.len()];
    let (RefData::Real(data), RefData::Real(updates)) = (&data.data, &updates.data) else {
        return Ok(vec![bound]);
    };
    if !matches!(reduction, Reduction::Add | Reduction::Mul) {
        return Ok(vec![bound]);
    }
    let mut magnitudes: Vec<f64> = data.iter().map(|value| value.abs()).collect();
    let mut counts = vec![0; data.len()];
    updated(places, cx.inputs, |at, from| {
        magnitudes[at] = reduction.real(magnitudes[at], updates[from].abs());
        counts[at] += 1;
    })?;
    for (bound, (magnitude, count)) in bound.iter_mut().zip(magnitudes.iter().zip(counts)) {
        *bound = magnitude * gamma(count, cx.arithmetic.unit());
    }
    Ok(vec![bound])
}

/// How far apart the updates of each element of a result of length `len` are: 0 for
/// one that has a single update or none. The reference keeps the last one and a
/// device any of them, as its invocations come.
fn spread(
    places: Places,
    inputs: &[Option<&RefTensor>],
    len: usize,
    updates: &RefTensor,
) -> Result<Vec<f64>> {
    let mut ends = vec![(f64::INFINITY, f64::NEG_INFINITY); len];
    updated(places, inputs, |at, from| {
        let update = match &updates.data {
            RefData::Real(values) => values[from],
            RefData::Int(values) => values[from] as f64,
        };
        let (low, high) = ends[at];
        ends[at] = (low.min(update), high.max(update));
    })?;
    let width = |(low, high): (f64, f64)| high - low;
    // No update at all leaves minus infinity, and a bound must be finite.
    Ok(ends.into_iter().map(width).map(|w| if w.is_finite() { w } else { 0.0 }).collect())
}

fn input<'a>(inputs: &[Option<&'a RefTensor>], index: usize) -> Result<&'a RefTensor> {
    let input = inputs.get(index).copied().flatten();
    input.ok_or_else(|| Error::internal(format!("a scatter without input {index}")))
}

/// Data is copied to the result, and the updates then go there.
fn lower(places: Places, reduction: Reduction, cx: &mut Lowering<'_>) -> Result<()> {
    let (data, indices, updates) = (cx.input(0)?, cx.input(1)?, cx.input(2)?);
    let y = cx.output(0)?;
    let steps = strides(&data.ty.shape, Dim::Const(1), |a, b| a * b);
    let steps = steps.into_iter().map(Step::forward).collect();
    cx.call(StridedCopy { start: Dim::Const(0), steps }, &[Some(data)], std::slice::from_ref(&y));
    cx.call(ScatterKernel { places, reduction }, &[Some(indices), Some(updates)], &[y]);
    Ok(())
}

macro_rules! operator {
    ($op:ident) => {
        impl Operator for $op {
            fn name(&self) -> &str {
                stringify!($op)
            }

            fn infer(&self, inputs: &[Option<&TensorType>]) -> Result<Vec<TensorType>> {
                infer(stringify!($op), |rank| self.places(rank), self.reduction, inputs)
            }

            fn reference(&self, inputs: &[Option<&RefTensor>]) -> Result<Vec<RefTensor>> {
                let places = self.places(input(inputs, 0)?.extents.len())?;
                reference(places, self.reduction, inputs)
            }

            /// See [`bound`].
            fn bound(&self, cx: &BoundCx<'_>) -> Result<Vec<Vec<f64>>> {
                bound(self.places(cx.input(0)?.extents.len())?, self.reduction, cx)
            }

            fn lower(&self, cx: &mut Lowering<'_>) -> Result<()> {
                lower(self.places(cx.input(0)?.ty.rank())?, self.reduction, cx)
            }
        }
    };
}

operator!(ScatterElements);
operator!(ScatterND);

impl GraphBuilder {
    /// `data` with an element for each index replaced or reduced; see
    /// [`ScatterElements`].
    ///
    /// # Errors
    /// If types or shapes do not fit.
    pub fn scatter_elements(
        &mut self,
        [data, indices, updates]: [ValueId; 3],
        axis: i64,
        reduction: Reduction,
    ) -> Result<ValueId> {
        self.op1(ScatterElements { axis, reduction }, &[data, indices, updates])
    }

    /// `data` with what is at given positions replaced or reduced; see
    /// [`ScatterND`].
    ///
    /// # Errors
    /// If types or shapes do not fit.
    pub fn scatter_nd(
        &mut self,
        [data, indices, updates]: [ValueId; 3],
        reduction: Reduction,
    ) -> Result<ValueId> {
        self.op1(ScatterND { reduction }, &[data, indices, updates])
    }
}

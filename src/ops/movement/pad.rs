//! Padding at both ends of any dimension, which with wrapping also repeats
//! whole tensors.

use super::{exact, present, strides};
use crate::error::{Error, Result};
use crate::graph::{Dim, GraphBuilder, TensorType, ValueId};
use crate::kernels::movement::{PadKernel, Padded};
use crate::ops::rules::Rules;
use crate::ops::{BoundCx, Lowering, Operator, RefData, RefTensor};

/// What stands at positions outside of the tensor.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum PadMode {
    /// A given value.
    Constant,
    /// The nearest element.
    Edge,
    /// The tensor mirrored at its first and last element, again and again.
    Reflect,
    /// The tensor over and over.
    Wrap,
}

impl PadMode {
    /// Every mode.
    pub const ALL: [PadMode; 4] =
        [PadMode::Constant, PadMode::Edge, PadMode::Reflect, PadMode::Wrap];

    /// Where in a dimension of `extent` the element at `position` of the result
    /// comes from, when `before` elements were put in front; `None` for the
    /// given value.
    pub(crate) fn source(self, position: usize, before: usize, extent: usize) -> Option<usize> {
        let ahead = position as i128 - before as i128;
        let n = extent as i128;
        let source = match self {
            _ if extent == 0 => return None,
            PadMode::Constant => return (0..n).contains(&ahead).then_some(ahead as usize),
            PadMode::Edge => ahead.clamp(0, n - 1),
            PadMode::Wrap => ahead.rem_euclid(n),
            PadMode::Reflect => {
                let round = ahead.rem_euclid((2 * n - 2).max(1));
                round.min(2 * n - 2 - round)
            }
        };
        Some(source as usize)
    }
}

/// ONNX `Pad` with amounts known when the graph is built.
///
/// | Input | Type |
/// |---|---|
/// | x | any plain dtype |
/// | value | optional, x's dtype, one element; 0 if absent; for `Constant` only |
///
/// A negative amount takes elements away, before anything is put there.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Pad {
    /// What to put there.
    pub mode: PadMode,
    /// For each dimension, how many elements to put before and after.
    pub pads: Vec<[i64; 2]>,
}

const NAME: &str = "Pad";

/// What becomes of one dimension.
#[derive(Debug, Clone)]
struct Change {
    /// Elements taken away in front.
    skipped: u64,
    /// Elements that stay.
    kept: Dim,
    /// Elements put before them.
    before: u64,
    /// The dimension of the result.
    total: Dim,
}

impl Pad {
    fn changes(&self, shape: &[Dim]) -> Result<Vec<Change>> {
        if shape.len() != self.pads.len() {
            let what = format!("pads for {} dimensions, x has {}", self.pads.len(), shape.len());
            return Err(Error::rule(NAME, what));
        }
        self.pads.iter().zip(shape).map(|(pads, n)| self.change(pads, n)).collect()
    }

    fn change(&self, pads: &[i64; 2], n: &Dim) -> Result<Change> {
        let taken = pads.map(|pad| pad.min(0).unsigned_abs());
        let put = pads.map(|pad| pad.max(0).unsigned_abs());
        let all_taken = taken[0].saturating_add(taken[1]);
        if n.as_const().is_some_and(|n| n < all_taken) {
            return Err(Error::rule(NAME, format!("takes {all_taken} elements away from {n}")));
        }
        let kept = n - all_taken;
        if put != [0, 0] && self.mode != PadMode::Constant && kept.as_const() == Some(0) {
            return Err(Error::rule(NAME, "has no elements to pad an empty dimension with"));
        }
        let total = &kept + put[0] + put[1];
        Ok(Change { skipped: taken[0], kept, before: put[0], total })
    }
}

impl Operator for Pad {
    fn name(&self) -> &str {
        NAME
    }

    fn infer(&self, inputs: &[Option<&TensorType>]) -> Result<Vec<TensorType>> {
        let rules = Rules::new(NAME, &["x", "value"], 1, inputs)?;
        let x = rules.input(0)?;
        if x.dtype.is_quantised() {
            return rules.broken(format!("'x' must have a plain dtype, got {x}"));
        }
        if let Some(value) = rules.optional(1) {
            let fits = value.dtype == x.dtype && value.elements().as_const() == Some(1);
            if !fits || self.mode != PadMode::Constant {
                return rules.broken(format!("{:?} does not take the value {value}", self.mode));
            }
        }
        let shape: Vec<_> = self.changes(&x.shape)?.into_iter().map(|c| c.total).collect();
        Ok(vec![TensorType::new(x.dtype, shape)])
    }

    fn reference(&self, inputs: &[Option<&RefTensor>]) -> Result<Vec<RefTensor>> {
        let x = present(NAME, inputs, 0)?;
        let value = inputs.get(1).copied().flatten();
        let shape: Vec<Dim> = x.extents.iter().map(|&n| n.into()).collect();
        let changes = self.changes(&shape)?;
        let extents =
            super::fixed(NAME, &changes.iter().map(|c| c.total.clone()).collect::<Vec<_>>())?;
        let kept = super::fixed(NAME, &changes.iter().map(|c| c.kept.clone()).collect::<Vec<_>>())?;
        let from = strides(&x.extents, 1, |a, b| a * b);
        let source = |index: &[usize]| {
            index.iter().enumerate().try_fold(0, |at, (axis, &i)| {
                let change = &changes[axis];
                let own = self.mode.source(i, change.before as usize, kept[axis])?;
                Some(at + (own + change.skipped as usize) * from[axis])
            })
        };
        let places = super::places(&extents, source);
        let data = match &x.data {
            RefData::Real(data) => {
                let fill = value.map_or(Ok(0.0), |value| first(value.reals()?))?;
                RefData::Real(places.map(|at| at.map_or(fill, |at| data[at])).collect())
            }
            RefData::Int(data) => {
                let fill = value.map_or(Ok(0), |value| first(value.ints()?))?;
                RefData::Int(places.map(|at| at.map_or(fill, |at| data[at])).collect())
            }
        };
        Ok(vec![RefTensor { dtype: x.dtype, extents, data }])
    }

    fn bound(&self, cx: &BoundCx<'_>) -> Result<Vec<Vec<f64>>> {
        Ok(exact(cx.outputs))
    }

    /// Neighbouring dimensions to which nothing is done are one to the kernel.
    fn lower(&self, cx: &mut Lowering<'_>) -> Result<()> {
        let (x, y) = (cx.input(0)?, cx.output(0)?);
        let from = strides(&x.ty.shape, Dim::Const(1), |a, b| a * b);
        let mut start = Dim::Const(0);
        let mut dims: Vec<Padded> = Vec::new();
        let mut joins = false;
        for ((change, stride), pads) in
            self.changes(&x.ty.shape)?.into_iter().zip(from).zip(&self.pads)
        {
            start = start + &stride * change.skipped;
            let same = *pads == [0, 0];
            match dims.last_mut() {
                Some(last) if same && joins => {
                    last.kept = &last.kept * &change.kept;
                    last.total = &last.total * &change.total;
                    last.stride = stride;
                }
                _ => dims.push(Padded {
                    before: change.before,
                    kept: change.kept,
                    total: change.total,
                    stride,
                }),
            }
            joins = same;
        }
        let kernel = PadKernel { mode: self.mode, start, dims };
        cx.call(kernel, &[Some(x), cx.optional(1)], &[y]);
        Ok(())
    }
}

fn first<T: Copy>(data: &[T]) -> Result<T> {
    data.first().copied().ok_or_else(|| Error::internal(format!("{NAME} with an empty value")))
}

impl GraphBuilder {
    /// `x` with elements put before and after each dimension, or taken away;
    /// see [`Pad`]. `value` is for [`PadMode::Constant`].
    ///
    /// # Errors
    /// If the number of pads or the value does not fit.
    pub fn pad(
        &mut self,
        x: ValueId,
        mode: PadMode,
        pads: &[[i64; 2]],
        value: Option<ValueId>,
    ) -> Result<ValueId> {
        let outputs = self.op(Pad { mode, pads: pads.to_vec() }, &[Some(x), value])?;
        outputs.first().copied().ok_or_else(|| Error::internal("Pad without output"))
    }
}

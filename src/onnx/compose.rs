//! What rows put operators together with.

use super::NodeCx;
use crate::error::Result;
use crate::graph::ValueId;
use crate::ops::elementwise::{Binary, Unary};
use crate::ops::movement::{self, Expand, Transpose};
use crate::tensor::{DType, Tensor};

impl NodeCx<'_> {
    /// An F32 scalar.
    pub(crate) fn scalar_f32(&mut self, value: f32) -> Result<ValueId> {
        self.constant(Tensor::from_f32(&[], &[value])?)
    }

    /// A function of each element.
    pub(crate) fn map1(&mut self, function: Unary, x: ValueId) -> Result<ValueId> {
        self.op1(function, &[x])
    }

    /// An operation on two values, broadcast.
    pub(crate) fn map2(&mut self, op: Binary, a: ValueId, b: ValueId) -> Result<ValueId> {
        self.op1(op, &[a, b])
    }

    /// An operation on a value and a number; the value itself where the number
    /// changes nothing.
    pub(crate) fn map2_f32(&mut self, op: Binary, a: ValueId, b: f32) -> Result<ValueId> {
        let nothing = match op {
            Binary::Add | Binary::Sub => b == 0.0,
            Binary::Mul | Binary::Div => b == 1.0,
            _ => false,
        };
        if nothing {
            return Ok(a);
        }
        let b = self.scalar_f32(b)?;
        self.map2(op, a, b)
    }

    /// The value under another shape; itself where that is its own.
    pub(crate) fn reshaped(&mut self, x: ValueId, extents: &[usize]) -> Result<ValueId> {
        movement::reshaped(self, x, extents)
    }

    /// The value broadcast to a shape; itself where that is its own.
    pub(crate) fn expanded(&mut self, x: ValueId, extents: &[usize]) -> Result<ValueId> {
        if self.extents_of(x)? == extents {
            return Ok(x);
        }
        let shape = extents.iter().map(|&n| n.into()).collect();
        self.op1(Expand { shape }, &[x])
    }

    /// The value with its dimensions in another order; where only dimensions of
    /// one element move it is the same memory.
    pub(crate) fn transposed(&mut self, x: ValueId, permutation: &[usize]) -> Result<ValueId> {
        let extents = self.extents_of(x)?;
        let long = |&axis: &usize| extents.get(axis).is_none_or(|&n| n != 1);
        if permutation.iter().copied().filter(long).is_sorted() {
            let moved: Option<Vec<usize>> =
                permutation.iter().map(|&axis| extents.get(axis).copied()).collect();
            if let Some(moved) = moved {
                return self.reshaped(x, &moved);
            }
        }
        self.op1(Transpose { permutation: permutation.to_vec() }, &[x])
    }

    /// Says what an output is, in a dtype.
    pub(crate) fn output_as(&mut self, index: usize, x: ValueId, dtype: DType) -> Result<()> {
        let x = self.cast(x, dtype)?;
        self.output(index, x);
        Ok(())
    }
}

//! Functions applied element by element, with NumPy broadcasting.

mod binary;
pub(crate) mod broadcast;
mod cases;
mod cast;
mod chain;
mod contrib;
mod gated;
pub mod math;
mod onnx;
mod select;
mod test;
mod training;
mod unary;
mod whole;

pub use binary::Binary;
pub use cast::{BitCast, Cast, CastSmall};
pub use chain::{Arg, Chain, Step};
pub(crate) use contrib::{CONTRIB, fused_activation};
pub use gated::GatedActivation;
pub use select::Where;
pub use test::Test;
pub(crate) use training::TRAINING;
pub use unary::{Unary, exp_error};
pub use whole::Whole;

pub(crate) use binary::wrap;
pub(crate) use cases::*;
pub(crate) use cast::byte_of;
pub(crate) use onnx::ONNX;

use crate::error::Result;
use crate::graph::{GraphBuilder, ValueId};
use crate::tensor::DType;

impl GraphBuilder {
    /// A function of each element of a real tensor.
    ///
    /// # Errors
    /// If the dtype is not a floating-point one.
    pub fn unary(&mut self, function: Unary, x: ValueId) -> Result<ValueId> {
        self.op1(function, &[x])
    }

    /// An operation on two tensors, broadcast to a common shape.
    ///
    /// # Errors
    /// If the dtypes differ or do not suit the operation, or the shapes cannot
    /// be broadcast.
    pub fn binary(&mut self, operation: Binary, a: ValueId, b: ValueId) -> Result<ValueId> {
        self.op1(operation, &[a, b])
    }

    /// a + b, broadcast.
    ///
    /// # Errors
    /// As [`GraphBuilder::binary`].
    pub fn add(&mut self, a: ValueId, b: ValueId) -> Result<ValueId> {
        self.binary(Binary::Add, a, b)
    }

    /// a - b, broadcast.
    ///
    /// # Errors
    /// As [`GraphBuilder::binary`].
    pub fn sub(&mut self, a: ValueId, b: ValueId) -> Result<ValueId> {
        self.binary(Binary::Sub, a, b)
    }

    /// a b, element by element, broadcast.
    ///
    /// # Errors
    /// As [`GraphBuilder::binary`].
    pub fn mul(&mut self, a: ValueId, b: ValueId) -> Result<ValueId> {
        self.binary(Binary::Mul, a, b)
    }

    /// a / b, element by element, broadcast.
    ///
    /// # Errors
    /// As [`GraphBuilder::binary`].
    pub fn div(&mut self, a: ValueId, b: ValueId) -> Result<ValueId> {
        self.binary(Binary::Div, a, b)
    }

    /// `act(gate) * up`, broadcast.
    ///
    /// # Errors
    /// If the dtypes differ or are not floating-point ones, or the shapes
    /// cannot be broadcast.
    pub fn gated(&mut self, act: Unary, gate: ValueId, up: ValueId) -> Result<ValueId> {
        self.op1(GatedActivation { act }, &[gate, up])
    }

    /// The same numbers in another plain dtype; see [`Cast`].
    ///
    /// # Errors
    /// If one of the dtypes is quantised.
    pub fn cast(&mut self, x: ValueId, to: DType) -> Result<ValueId> {
        self.op1(Cast { to }, &[x])
    }

    /// `a` where `condition` (Bool) is set, `b` elsewhere, broadcast.
    ///
    /// # Errors
    /// If `condition` is not Bool, the dtypes of `a` and `b` differ, or the
    /// shapes cannot be broadcast.
    pub fn select(&mut self, condition: ValueId, a: ValueId, b: ValueId) -> Result<ValueId> {
        self.op1(Where, &[condition, a, b])
    }
}

//! The interface every operator implements, built-in or an application's own.

use super::RefTensor;
use crate::error::{Error, Result};
use crate::graph::{Shape, TensorType};
use crate::kernels::Kernel;
use crate::plan::{Operand, PlanBuilder};
use std::any::Any;
use std::fmt;

/// What an operator means: its shape rule, its value, how far an executor may
/// be off, and the kernels that compute it.
pub trait Operator: fmt::Debug + Send + Sync + Any {
    /// The operator's name, the ONNX one where it has one.
    fn name(&self) -> &str;

    /// The types of the outputs for given types of the inputs.
    ///
    /// # Errors
    /// [`Error::Graph`] if the number, dtypes or shapes of the inputs are not
    /// what the operator takes. The node's name is filled in by the caller.
    fn infer(&self, inputs: &[Option<&TensorType>]) -> Result<Vec<TensorType>>;

    /// The value, in f64, element by element, in the plainest way there is.
    ///
    /// # Errors
    /// If the values of the inputs are out of the operator's domain.
    fn reference(&self, inputs: &[Option<&RefTensor>]) -> Result<Vec<RefTensor>>;

    /// As [`Operator::reference`], for operators whose output extents are not
    /// determined by their inputs alone but by symbols in an attribute
    /// (`Reshape`, `Expand`): they are told the extents that the shape rule
    /// promised. Executors call this one.
    ///
    /// # Errors
    /// As [`Operator::reference`].
    fn reference_sized(
        &self,
        inputs: &[Option<&RefTensor>],
        extents: &[Vec<usize>],
    ) -> Result<Vec<RefTensor>> {
        let _ = extents;
        self.reference(inputs)
    }

    /// For each output element, how far a correct executor may be from
    /// [`Operator::reference`] before the result is rounded to its storage
    /// dtype, in absolute terms. Derived from the arithmetic's unit round-off,
    /// the reduction length and the condition of the data, never from what an
    /// executor happens to give.
    ///
    /// # Errors
    /// As [`Operator::reference`].
    fn bound(&self, cx: &BoundCx<'_>) -> Result<Vec<Vec<f64>>>;

    /// Emits the kernel calls that compute the operator.
    ///
    /// # Errors
    /// [`Error::Unsupported`] if no kernel covers these operands.
    fn lower(&self, cx: &mut Lowering<'_>) -> Result<()>;

    /// `(input, output)` of each input that the operator updates in place and returns
    /// as an output.
    fn updates(&self) -> &[(usize, usize)] {
        &[]
    }

    /// Whether the reference takes many steps for each element of the result, as for
    /// a product. On known inputs such an operator is computed while a graph is made
    /// only if these are very small; larger ones are left to the executors.
    fn heavy(&self) -> bool {
        false
    }
}

/// The arithmetic an executor computes in, which sets the unit round-off.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Arithmetic {
    /// binary32 throughout.
    F32,
    /// Operands rounded to binary16, products and sums in binary32.
    F16In,
    /// The first operand of products rounded to whole numbers of eight bits, 32 neighbours
    /// with one scale; sums in binary32.
    Int8In,
    /// binary16 for operands and elementwise work.
    F16,
}

impl Arithmetic {
    /// The unit round-off: half the distance from 1 to the next number.
    pub fn unit(self) -> f64 {
        match self {
            // Only operands of products are rounded to less.
            Arithmetic::F32 | Arithmetic::Int8In => f64::powi(2.0, -24),
            Arithmetic::F16In | Arithmetic::F16 => f64::powi(2.0, -11),
        }
    }
}

/// What an error bound is derived from.
#[derive(Debug)]
pub struct BoundCx<'a> {
    /// The inputs, exact.
    pub inputs: &'a [Option<&'a RefTensor>],
    /// The reference's outputs.
    pub outputs: &'a [RefTensor],
    /// The executor's arithmetic.
    pub arithmetic: Arithmetic,
}

impl<'a> BoundCx<'a> {
    /// An input that must be present.
    ///
    /// # Errors
    /// If it is absent.
    pub fn input(&self, index: usize) -> Result<&'a RefTensor> {
        self.inputs
            .get(index)
            .copied()
            .flatten()
            .ok_or_else(|| Error::internal(format!("input {index} is absent")))
    }
}

/// Where an operator's kernel calls go; see [`Operator::lower`].
#[derive(Debug)]
pub struct Lowering<'a> {
    pub(crate) plan: &'a mut PlanBuilder,
    pub(crate) inputs: &'a [Option<Operand>],
    pub(crate) outputs: &'a [Operand],
    pub(crate) node: &'a str,
    pub(crate) op: &'a str,
}

impl Lowering<'_> {
    /// An input that must be present.
    ///
    /// # Errors
    /// If it is absent.
    pub fn input(&self, index: usize) -> Result<Operand> {
        self.optional(index).ok_or_else(|| {
            Error::rule(self.op, format!("input {index} is missing")).at_node(self.node)
        })
    }

    /// An input that may be absent.
    pub fn optional(&self, index: usize) -> Option<Operand> {
        self.inputs.get(index).cloned().flatten()
    }

    /// An output.
    ///
    /// # Errors
    /// If the operator has no such output.
    pub fn output(&self, index: usize) -> Result<Operand> {
        self.outputs.get(index).cloned().ok_or_else(|| {
            Error::internal(format!("node '{}' ({}) has no output {index}", self.node, self.op))
        })
    }

    /// A temporary value that lives from its first to its last kernel call.
    pub fn temporary(&mut self, ty: TensorType) -> Operand {
        self.plan.temporary(ty)
    }

    /// An operand's memory under another shape of as many elements.
    ///
    /// # Errors
    /// Never, as the view is new.
    pub fn reshaped(&mut self, operand: &Operand, shape: impl Into<Shape>) -> Result<Operand> {
        let view = self.plan.temporary(TensorType::new(operand.ty.dtype, shape));
        self.plan.alias(&view, operand)?;
        Ok(view)
    }

    /// Calls a kernel.
    pub fn call(&mut self, kernel: impl Kernel, inputs: &[Option<Operand>], outputs: &[Operand]) {
        self.plan.call(Box::new(kernel), inputs, outputs, (self.node, self.op));
    }

    /// Makes an output the same memory as an input (of the same byte size):
    /// a reshape, or an update in place of a state.
    ///
    /// # Errors
    /// If the output is already computed.
    pub fn alias(&mut self, output: usize, input: usize) -> Result<()> {
        let (output, input) = (self.output(output)?, self.input(input)?);
        self.plan.alias(&output, &input)
    }

    /// Whether an operand is the content of a state.
    pub fn is_state(&self, operand: &Operand) -> bool {
        self.plan.is_state(operand)
    }
}

//! Recurrent networks: RNN, LSTM and GRU.

mod activation;
mod cases;
mod onnx;
mod quantized;
mod steps;

pub use activation::{Activation, Function};
pub(crate) use cases::{gru_cases, lstm_cases, rnn_cases};
pub(crate) use onnx::ONNX;
pub(crate) use steps::checked_length;

use super::rules::Rules;
use super::{BoundCx, Lowering, Operator, RefTensor};
use crate::error::{Error, Result};
use crate::graph::{Dim, GraphBuilder, TensorType, ValueId};
use crate::kernels::matmul::MatMulKernel;
use crate::kernels::recurrent::RecurrentKernel;
use crate::tensor::DType;
use steps::Steps;

/// What a cell does.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Cell {
    /// `h' = f(x Wᵀ + h Rᵀ + Wb + Rb)`.
    Rnn,
    /// Gates i, o, f, c; see [`Recurrent`].
    Lstm {
        /// The forget gate is 1 less the input gate.
        input_forget: bool,
    },
    /// Gates z, r, h; see [`Recurrent`].
    Gru {
        /// The reset gate multiplies the product of the state, not the state.
        linear_before_reset: bool,
    },
}

/// Which way sequences are read.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Direction {
    /// From their beginning.
    Forward,
    /// From their end.
    Reverse,
    /// Both, each with weights of its own.
    Bidirectional,
}

/// ONNX `RNN`, `LSTM` and `GRU` (opset 14, layout 0; layout 1 is two
/// transpositions around it).
///
/// | Input | Type |
/// |---|---|
/// | x | F32 `[S, B, I]` |
/// | w | F32 `[D, N H, I]`, N gates |
/// | r | F32 `[D, N H, H]` |
/// | b (optional) | F32 `[D, 2 N H]`: Wb, then Rb |
/// | sequence_lens (optional) | I32 `[B]`, each in `0..=S` |
/// | initial_h (optional) | F32 `[D, B, H]` |
/// | initial_c (optional, LSTM) | F32 `[D, B, H]` |
/// | p (optional, LSTM) | F32 `[D, 3 H]`: peepholes of i, o, f |
///
/// Outputs: every hidden state F32 `[S, D, B, H]`, the last one `[D, B, H]`,
/// and an LSTM's last cell `[D, B, H]`. Past the end of a sequence the first is
/// 0; the others are those at its end, the initial ones for a length of 0.
///
/// The LSTM (S. Hochreiter, J. Schmidhuber 1997; with peepholes F. Gers 2000):
///
/// ```text
/// i = f(x Wiᵀ + h Riᵀ + Pi c + Wbi + Rbi)      c' = f c + i g(x Wcᵀ + h Rcᵀ + Wbc + Rbc)
/// f = f(x Wfᵀ + h Rfᵀ + Pf c + Wbf + Rbf)      h' = o h(c')
/// o = f(x Woᵀ + h Roᵀ + Po c' + Wbo + Rbo)
/// ```
///
/// The GRU (K. Cho 2014):
///
/// ```text
/// z = f(x Wzᵀ + h Rzᵀ + Wbz + Rbz)      n = g(x Whᵀ + (r h) Rhᵀ + Rbh + Wbh)
/// r = f(x Wrᵀ + h Rrᵀ + Wbr + Rbr)      h' = (1 - z) n + z h
/// ```
///
/// and with `linear_before_reset` `n = g(x Whᵀ + r (h Rhᵀ + Rbh) + Wbh)`.
///
/// A length out of range is an error on the CPU; on the GPU the nearest valid
/// one is taken, since a shader has no way to report it.
#[derive(Debug, Clone, PartialEq)]
pub struct Recurrent {
    /// What a cell does.
    pub cell: Cell,
    /// Which way sequences are read.
    pub direction: Direction,
    /// The functions of each direction: f, then g (LSTM, GRU), then h (LSTM).
    pub activations: Vec<Activation>,
    /// What the arguments of f and g are clamped to, either side of 0.
    pub clip: Option<f32>,
}

const INPUTS: &[&str] =
    &["x", "w", "r", "b", "sequence_lens", "initial_h", "initial_c", "peepholes"];

impl Cell {
    /// How many gates there are.
    pub(crate) fn gates(self) -> usize {
        match self {
            Cell::Rnn => 1,
            Cell::Lstm { .. } => 4,
            Cell::Gru { .. } => 3,
        }
    }

    /// How many functions each direction has.
    pub(crate) fn functions(self) -> usize {
        match self {
            Cell::Rnn => 1,
            Cell::Lstm { .. } => 3,
            Cell::Gru { .. } => 2,
        }
    }

    /// The functions of a direction where nothing else is said.
    pub(crate) fn defaults(self) -> &'static [Function] {
        match self {
            Cell::Rnn => &[Function::Tanh],
            Cell::Lstm { .. } => &[Function::Sigmoid, Function::Tanh, Function::Tanh],
            Cell::Gru { .. } => &[Function::Sigmoid, Function::Tanh],
        }
    }

    fn is_lstm(self) -> bool {
        matches!(self, Cell::Lstm { .. })
    }
}

impl Direction {
    /// How many directions that is.
    pub(crate) fn count(self) -> usize {
        if self == Direction::Bidirectional { 2 } else { 1 }
    }

    /// The first direction that goes backwards.
    pub(crate) fn backward(self) -> usize {
        usize::from(self != Direction::Reverse)
    }
}

impl Recurrent {
    /// With the default functions and no clip.
    pub fn new(cell: Cell, direction: Direction) -> Self {
        let all = (0..direction.count()).flat_map(|_| cell.defaults());
        let activations = all.map(|&function| function.into()).collect();
        Recurrent { cell, direction, activations, clip: None }
    }

    /// The functions f, g and h of a direction; f where there are fewer.
    pub(crate) fn functions(&self, direction: usize) -> [Activation; 3] {
        let count = self.cell.functions();
        let own = self.activations.get(direction * count..).unwrap_or_default();
        let first = own.first().copied().unwrap_or(Function::Tanh.into());
        let at = |i: usize| own.get(i).copied().filter(|_| i < count).unwrap_or(first);
        [first, at(1), at(2)]
    }

    fn op(&self) -> &'static str {
        match self.cell {
            Cell::Rnn => "RNN",
            Cell::Lstm { .. } => "LSTM",
            Cell::Gru { .. } => "GRU",
        }
    }

    fn check_attributes(&self, rules: &Rules<'_>) -> Result<()> {
        let functions = self.direction.count() * self.cell.functions();
        if self.activations.len() != functions {
            let got = self.activations.len();
            return rules.broken(format!("takes {functions} activations, got {got}"));
        }
        let finite = |a: &Activation| a.alpha.is_finite() && a.beta.is_finite();
        if !self.activations.iter().all(finite) {
            return rules.broken("the parameters of activations must be finite");
        }
        if self.clip.is_some_and(|clip| !(clip.is_finite() && clip > 0.0)) {
            return rules.broken("clip must be above 0 and finite");
        }
        Ok(())
    }
}

impl Operator for Recurrent {
    fn heavy(&self) -> bool {
        true
    }

    fn name(&self) -> &str {
        self.op()
    }

    fn infer(&self, inputs: &[Option<&TensorType>]) -> Result<Vec<TensorType>> {
        let names = if self.cell.is_lstm() { INPUTS } else { &INPUTS[..6] };
        let rules = Rules::new(self.op(), names, 3, inputs)?;
        self.check_attributes(&rules)?;
        for index in 0..3 {
            rules.typed(index, &[DType::F32], 3)?;
        }
        let (x, r) = (rules.input(0)?, rules.input(2)?);
        let Some(hidden) = r.shape[2].as_const().filter(|&n| n > 0) else {
            return rules.broken(format!("the hidden size must be a constant above 0, got {r}"));
        };
        let (steps, batch) = (&x.shape[0], &x.shape[1]);
        let directions = Dim::from(self.direction.count());
        let width = Dim::from(self.cell.gates()) * hidden;
        rules.dim(1, 0, &directions)?;
        rules.dim(1, 1, &width)?;
        rules.dim(1, 2, &x.shape[2])?;
        rules.dim(2, 0, &directions)?;
        rules.dim(2, 1, &width)?;
        let state = [directions.clone(), batch.clone(), hidden.into()];
        let vectors = [directions.clone(), &width * 2u64];
        let thirds = [directions.clone(), Dim::from(3 * hidden)];
        let lengths = [batch.clone()];
        let optional: [(usize, DType, &[Dim]); 5] = [
            (3, DType::F32, &vectors),
            (4, DType::I32, &lengths),
            (5, DType::F32, &state),
            (6, DType::F32, &state),
            (7, DType::F32, &thirds),
        ];
        for (index, dtype, shape) in optional {
            if rules.optional(index).is_some() {
                rules.typed(index, &[dtype], shape.len())?;
                for (axis, dim) in shape.iter().enumerate() {
                    rules.dim(index, axis, dim)?;
                }
            }
        }
        let all = [steps.clone(), directions, batch.clone(), hidden.into()];
        let mut outputs = vec![TensorType::new(DType::F32, all)];
        let last = TensorType::new(DType::F32, state);
        outputs.resize(if self.cell.is_lstm() { 3 } else { 2 }, last);
        Ok(outputs)
    }

    fn reference(&self, inputs: &[Option<&RefTensor>]) -> Result<Vec<RefTensor>> {
        let steps = Steps::new(self, inputs, None)?;
        let run = steps.run()?;
        let [s, d, b, h] = steps.extents();
        let mut outputs = vec![
            RefTensor::real(DType::F32, &[s, d, b, h], run.y.value),
            RefTensor::real(DType::F32, &[d, b, h], run.h.value),
        ];
        if self.cell.is_lstm() {
            outputs.push(RefTensor::real(DType::F32, &[d, b, h], run.c.value));
        }
        Ok(outputs)
    }

    fn bound(&self, cx: &BoundCx<'_>) -> Result<Vec<Vec<f64>>> {
        let run = Steps::new(self, cx.inputs, Some(cx.arithmetic))?.run()?;
        let mut bounds = vec![run.y.error, run.h.error];
        if self.cell.is_lstm() {
            bounds.push(run.c.error);
        }
        Ok(bounds)
    }

    /// The products of all inputs first, then the steps.
    fn lower(&self, cx: &mut Lowering<'_>) -> Result<()> {
        let (x, w) = (cx.input(0)?, cx.input(1)?);
        let [steps, batch, width] = &x.ty.shape[..] else {
            return Err(Error::internal("a recurrent network over other than rank 3"));
        };
        let rows = steps * batch;
        let rows_of = [Dim::Const(1), rows.clone(), width.clone()];
        let flat = cx.reshaped(&x, rows_of)?;
        let product = [w.ty.shape[0].clone(), rows, w.ty.shape[1].clone()];
        let gates = cx.temporary(TensorType::new(DType::F32, product));
        let kernel = MatMulKernel { trans_a: false, trans_b: true, activation: None, gated: false };
        cx.call(kernel, &[Some(flat), Some(w)], std::slice::from_ref(&gates));
        let mut inputs = vec![Some(gates)];
        inputs.extend((2..8).map(|index| cx.optional(index)));
        let count = if self.cell.is_lstm() { 3 } else { 2 };
        let outputs = (0..count).map(|i| cx.output(i)).collect::<Result<Vec<_>>>()?;
        cx.call(RecurrentKernel { op: self.clone() }, &inputs, &outputs);
        Ok(())
    }
}

impl GraphBuilder {
    /// A recurrent network over `x` `[S, B, I]`; see [`Recurrent`] for the
    /// inputs after it and for the outputs.
    ///
    /// # Errors
    /// If types or shapes do not fit.
    pub fn recurrent(&mut self, op: Recurrent, inputs: &[Option<ValueId>]) -> Result<Vec<ValueId>> {
        self.op(op, inputs)
    }
}

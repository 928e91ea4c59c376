//! The steps of a recurrent network in f64, and how far an executor may be off
//! after each.

use super::{Cell, Recurrent};
use crate::error::{Error, Result};
use crate::ops::matmul::{Product, Sum};
use crate::ops::{Arithmetic, RefTensor};
use crate::tensor::DType;
use crate::validate::error_model::{gamma, smallest_normal};

/// Values and how far each may be off.
#[derive(Debug, Clone, Default)]
pub(super) struct Inexact {
    pub(super) value: Vec<f64>,
    pub(super) error: Vec<f64>,
}

/// A value and how far it may be off.
#[derive(Debug, Clone, Copy, Default)]
struct Number {
    value: f64,
    error: f64,
}

/// What a run gives.
#[derive(Debug, Default)]
pub(super) struct Run {
    pub(super) y: Inexact,
    pub(super) h: Inexact,
    pub(super) c: Inexact,
}

/// The inputs with their roles.
///
/// The bound. Errors are carried from step to step beside the values:
///
/// - The product with an input is off by what a matrix product of that length
///   may be off.
/// - A sum `Σ r h` whose terms h are off by e is off by `Σ |r| e` and by
///   `gamma(H) Σ |r| (|h| + e)`.
/// - The up to five additions that join products, biases and peephole round
///   quantities of at most the sum of their magnitudes m, to either neighbour:
///   `10 u m`. Clamping does not enlarge an error.
/// - A function's error is its own and what its argument's error makes of it
///   ([`Activation::propagate`](super::Activation::propagate)).
/// - A product of a and b, off by e and f, is off by `|a| f + |b| e + e f` and
///   rounded, `2 u |a b|`; sums and differences likewise.
/// - What is below the smallest normal number may be flushed to 0, in each term.
pub(super) struct Steps<'a> {
    op: &'a Recurrent,
    /// `[D, S B, N H]`.
    gates: Vec<Number>,
    r: &'a [f64],
    bias: Option<&'a [f64]>,
    lengths: Option<&'a [i64]>,
    initial: [Option<&'a [f64]>; 2],
    peepholes: Option<&'a [f64]>,
    steps: usize,
    batch: usize,
    hidden: usize,
    /// Unit round-off; 0 where no bound is wanted.
    unit: f64,
    flush: f64,
}

fn required<'a>(inputs: &[Option<&'a RefTensor>], index: usize) -> Result<&'a RefTensor> {
    let input = inputs.get(index).copied().flatten();
    input.ok_or_else(|| Error::internal(format!("recurrent input {index} is absent")))
}

fn reals<'a>(inputs: &[Option<&'a RefTensor>], index: usize) -> Result<Option<&'a [f64]>> {
    inputs.get(index).copied().flatten().map(RefTensor::reals).transpose()
}

/// A sequence's length as a number of steps, or an error naming it.
pub(crate) fn checked_length(length: i64, b: usize, steps: usize) -> Result<usize> {
    usize::try_from(length)
        .ok()
        .filter(|&length| length <= steps)
        .ok_or_else(|| Error::input(format!("sequence_lens[{b}]"), format!("0 to {steps}"), length))
}

impl<'a> Steps<'a> {
    /// With `arithmetic` errors are computed too.
    pub(super) fn new(
        op: &'a Recurrent,
        inputs: &[Option<&'a RefTensor>],
        arithmetic: Option<Arithmetic>,
    ) -> Result<Self> {
        let (x, w, r) = (required(inputs, 0)?, required(inputs, 1)?, required(inputs, 2)?);
        let rows = [1, x.extents[0] * x.extents[1], x.extents[2]];
        let flat = RefTensor::real(DType::F32, &rows, x.reals()?.to_vec());
        let product = Product::new(op.op(), &flat, w, false, true)?;
        let number = |sum: &Sum| Number {
            value: sum.value,
            error: arithmetic.map_or(0.0, |arithmetic| product.error(sum, arithmetic)),
        };
        let gates = product.sums(&flat, w)?.iter().map(number).collect();
        let lengths = inputs.get(4).copied().flatten().map(RefTensor::ints).transpose()?;
        Ok(Steps {
            op,
            gates,
            r: r.reals()?,
            bias: reals(inputs, 3)?,
            lengths,
            initial: [reals(inputs, 5)?, reals(inputs, 6)?],
            peepholes: reals(inputs, 7)?,
            steps: x.extents[0],
            batch: x.extents[1],
            hidden: r.extents[2],
            // Whatever the products' operands are rounded to, the rest is in f32.
            unit: arithmetic.map_or(0.0, |_| Arithmetic::F32.unit()),
            flush: arithmetic.map_or(0.0, |_| smallest_normal(DType::F32)),
        })
    }

    /// The extents of all hidden states.
    pub(super) fn extents(&self) -> [usize; 4] {
        [self.steps, self.op.direction.count(), self.batch, self.hidden]
    }

    pub(super) fn run(&self) -> Result<Run> {
        let [steps, directions, batch, hidden] = self.extents();
        let mut run = Run::default();
        run.y.resize(steps * directions * batch * hidden);
        run.h.resize(directions * batch * hidden);
        run.c.resize(directions * batch * hidden);
        for d in 0..directions {
            for b in 0..batch {
                let length = match self.lengths {
                    Some(lengths) => checked_length(lengths[b], b, steps)?,
                    None => steps,
                };
                let first = (d * batch + b) * hidden;
                let start = |given: Option<&[f64]>| -> Vec<Number> {
                    let at = |j: usize| given.map_or(0.0, |given| given[first + j]);
                    (0..hidden).map(|j| Number { value: at(j), error: 0.0 }).collect()
                };
                let (mut h, mut c) = (start(self.initial[0]), start(self.initial[1]));
                for step in 0..length {
                    let p =
                        if d >= self.op.direction.backward() { length - 1 - step } else { step };
                    self.step(d, p * batch + b, &mut h, &mut c);
                    run.y.put(((p * directions + d) * batch + b) * hidden, &h);
                }
                run.h.put(first, &h);
                run.c.put(first, &c);
            }
        }
        Ok(run)
    }

    /// One sequence to its next step; `row` counts positions and sequences.
    fn step(&self, d: usize, row: usize, h: &mut Vec<Number>, c: &mut [Number]) {
        let [f, g, last] = self.op.functions(d);
        let apply = |function: super::Activation, x: Number| Number {
            value: function.eval(x.value),
            error: self.kept(function.propagate(x.value, x.error)),
        };
        let mut next = Vec::with_capacity(self.hidden);
        match self.op.cell {
            Cell::Rnn => {
                for j in 0..self.hidden {
                    let x = self.argument(d, row, 0, j, h, None);
                    next.push(apply(f, x));
                }
            }
            Cell::Lstm { input_forget } => {
                for (j, cell) in c.iter_mut().enumerate() {
                    let i = apply(f, self.argument(d, row, 0, j, h, Some((0, *cell))));
                    let forget = if input_forget {
                        self.sum(Number { value: 1.0, error: 0.0 }, self.negative(i))
                    } else {
                        apply(f, self.argument(d, row, 2, j, h, Some((2, *cell))))
                    };
                    let fresh = apply(g, self.argument(d, row, 3, j, h, None));
                    *cell = self.sum(self.product(forget, *cell), self.product(i, fresh));
                    let o = apply(f, self.argument(d, row, 1, j, h, Some((1, *cell))));
                    next.push(self.product(o, apply(last, *cell)));
                }
            }
            Cell::Gru { linear_before_reset } => {
                let gate =
                    |gate: usize, j: usize| apply(f, self.argument(d, row, gate, j, h, None));
                let resets: Vec<_> = (0..self.hidden).map(|j| gate(1, j)).collect();
                let reset_state: Vec<_> =
                    resets.iter().zip(h.iter()).map(|(&r, &h)| self.product(r, h)).collect();
                for j in 0..self.hidden {
                    let z = gate(0, j);
                    let x = if linear_before_reset {
                        let bias = Number { value: self.bias(d, 1, 2, j), error: 0.0 };
                        let product = self.sum(self.state_product(d, 2, j, h), bias);
                        let scaled = self.product(resets[j], product);
                        self.joined(&[self.gate(d, row, 2, j), scaled], self.bias(d, 0, 2, j), 0.0)
                    } else {
                        self.argument(d, row, 2, j, &reset_state, None)
                    };
                    let one = Number { value: 1.0, error: 0.0 };
                    let fresh = self.product(self.sum(one, self.negative(z)), apply(g, x));
                    next.push(self.sum(fresh, self.product(z, h[j])));
                }
            }
        }
        *h = next;
    }

    /// The argument of a gate's function, clamped; `peephole` is the number of
    /// the weight and the cell it multiplies.
    fn argument(
        &self,
        d: usize,
        row: usize,
        gate: usize,
        j: usize,
        state: &[Number],
        peephole: Option<(usize, Number)>,
    ) -> Number {
        let mut terms = vec![self.gate(d, row, gate, j), self.state_product(d, gate, j, state)];
        if let (Some((index, cell)), Some(weights)) = (peephole, self.peepholes) {
            let weight = weights[(d * 3 + index) * self.hidden + j];
            terms.push(self.product(Number { value: weight, error: 0.0 }, cell));
        }
        self.joined(&terms, self.bias(d, 0, gate, j), self.bias(d, 1, gate, j))
    }

    /// The sum of terms and two biases, clamped.
    fn joined(&self, terms: &[Number], first: f64, second: f64) -> Number {
        let value = terms.iter().map(|term| term.value).sum::<f64>() + first + second;
        let error: f64 = terms.iter().map(|term| term.error).sum();
        let size: f64 = terms.iter().map(|term| term.value.abs() + term.error).sum();
        let rounding = 10.0 * self.unit * (size + first.abs() + second.abs());
        let clamped = self.op.clip.map_or(value, |clip| value.clamp(-f64::from(clip), clip.into()));
        Number { value: clamped, error: error + rounding + self.flush }
    }

    fn gate(&self, d: usize, row: usize, gate: usize, j: usize) -> Number {
        let width = self.op.cell.gates() * self.hidden;
        self.gates[(d * self.steps * self.batch + row) * width + gate * self.hidden + j]
    }

    /// The product of a gate's recurrent weights with a state.
    fn state_product(&self, d: usize, gate: usize, j: usize, state: &[Number]) -> Number {
        let row = (d * self.op.cell.gates() + gate) * self.hidden + j;
        let (mut value, mut size, mut moved) = (0.0, 0.0, 0.0);
        for (r, h) in self.r[row * self.hidden..].iter().zip(state) {
            value += r * h.value;
            size += r.abs() * (h.value.abs() + h.error);
            moved += r.abs() * h.error;
        }
        let rounding = if self.unit > 0.0 { gamma(self.hidden, self.unit) * size } else { 0.0 };
        Number { value, error: moved + rounding + self.hidden as f64 * self.flush }
    }

    fn bias(&self, d: usize, which: usize, gate: usize, j: usize) -> f64 {
        let at = ((d * 2 + which) * self.op.cell.gates() + gate) * self.hidden + j;
        self.bias.map_or(0.0, |bias| bias[at])
    }

    fn product(&self, a: Number, b: Number) -> Number {
        let value = a.value * b.value;
        let moved = a.value.abs() * b.error + b.value.abs() * a.error + a.error * b.error;
        Number { value, error: moved + 2.0 * self.unit * (value.abs() + moved) + self.flush }
    }

    fn sum(&self, a: Number, b: Number) -> Number {
        let (value, moved) = (a.value + b.value, a.error + b.error);
        Number { value, error: moved + 2.0 * self.unit * (value.abs() + moved) }
    }

    fn negative(&self, a: Number) -> Number {
        Number { value: -a.value, error: a.error }
    }

    /// An error, or 0 where no bound is wanted.
    fn kept(&self, error: f64) -> f64 {
        if self.unit > 0.0 { error } else { 0.0 }
    }
}

impl Inexact {
    fn resize(&mut self, count: usize) {
        self.value.resize(count, 0.0);
        self.error.resize(count, 0.0);
    }

    fn put(&mut self, first: usize, numbers: &[Number]) {
        for (i, number) in numbers.iter().enumerate() {
            self.value[first + i] = number.value;
            self.error[first + i] = number.error;
        }
    }
}

//! Recurrent networks on the CPU: the product of each step is a matrix product,
//! the cells are spread over sequences. Directions run side by side.

use crate::error::{Error, Result};
use crate::kernels::matmul::rows_product;
use crate::kernels::{CpuCx, CpuTensor};
use crate::ops::recurrent::{Activation, Cell, Recurrent, checked_length};
use rayon::prelude::*;
use std::borrow::Cow;

/// Below so many units of a step the cells are not worth a second thread.
const SERIAL: usize = 1 << 12;

struct Net<'a> {
    op: &'a Recurrent,
    gates: Cow<'a, [f32]>,
    r: Cow<'a, [f32]>,
    bias: Option<Cow<'a, [f32]>>,
    lengths: Vec<usize>,
    initial: [Option<Cow<'a, [f32]>>; 2],
    peepholes: Option<Cow<'a, [f32]>>,
    steps: usize,
    batch: usize,
    hidden: usize,
}

/// What a direction gives: all hidden states `[S, B, H]`, the last, the last cell.
struct Given {
    y: Vec<f32>,
    h: Vec<f32>,
    c: Vec<f32>,
}

pub(super) fn run(op: &Recurrent, cx: &mut CpuCx<'_>) -> Result<()> {
    let [steps, directions, batch, hidden] = cx.output(0)?.extents[..] else {
        return Err(Error::internal("hidden states of other than rank 4"));
    };
    let lengths = match cx.optional(3) {
        None => vec![steps; batch],
        Some(tensor) => {
            let given = tensor.read::<i32>();
            let all = given.iter().enumerate();
            all.map(|(b, &n)| checked_length(n.into(), b, steps)).collect::<Result<_>>()?
        }
    };
    let net = Net {
        op,
        gates: cx.input(0)?.read(),
        r: cx.input(1)?.read(),
        bias: reals(cx.optional(2)),
        lengths,
        initial: [reals(cx.optional(4)), reals(cx.optional(5))],
        peepholes: reals(cx.optional(6)),
        steps,
        batch,
        hidden,
    };
    let given: Vec<Given> = (0..directions).into_par_iter().map(|d| net.direction(d)).collect();
    let slab = batch * hidden;
    for (d, given) in given.iter().enumerate() {
        let y = cx.output(0)?.write::<f32>()?;
        for p in 0..steps {
            y[(p * directions + d) * slab..][..slab].copy_from_slice(&given.y[p * slab..][..slab]);
        }
        cx.output(1)?.write::<f32>()?[d * slab..][..slab].copy_from_slice(&given.h);
        if let Cell::Lstm { .. } = op.cell {
            cx.output(2)?.write::<f32>()?[d * slab..][..slab].copy_from_slice(&given.c);
        }
    }
    Ok(())
}

fn reals(tensor: Option<CpuTensor<'_>>) -> Option<Cow<'_, [f32]>> {
    tensor.map(|tensor| tensor.read::<f32>())
}

impl Net<'_> {
    fn direction(&self, d: usize) -> Given {
        let (slab, width) = (self.batch * self.hidden, self.op.cell.gates() * self.hidden);
        let start = |given: &Option<Cow<'_, [f32]>>| match given {
            Some(given) => given[d * slab..][..slab].to_vec(),
            None => vec![0.0; slab],
        };
        let mut all = Given {
            y: vec![0.0; self.steps * slab],
            h: start(&self.initial[0]),
            c: start(&self.initial[1]),
        };
        let weights = &self.r[d * width * self.hidden..][..width * self.hidden];
        let cell = self.cell(d);
        let mut sums = vec![0.0; self.batch * width];
        let mut reset = vec![0.0; slab];
        for step in 0..self.steps {
            let backward = d >= self.op.direction.backward();
            let p = if backward { self.steps - 1 - step } else { step };
            let rows = (d * self.steps + p) * self.batch * width;
            let gates = &self.gates[rows..][..self.batch * width];
            if self.op.cell == (Cell::Gru { linear_before_reset: false }) {
                // The third product takes the state after its reset.
                let both = 2 * self.hidden;
                let first = &weights[..both * self.hidden];
                rows_product(&all.h, first, &mut sums[..self.batch * both], both);
                reset.par_chunks_mut(self.hidden).enumerate().for_each(|(b, reset)| {
                    let (x, s) = (&gates[b * width..], &sums[b * both..]);
                    for (j, reset) in reset.iter_mut().enumerate() {
                        let at = self.hidden + j;
                        *reset = cell.gate(1, j, x[at] + s[at]) * all.h[b * self.hidden + j];
                    }
                });
                let mut third = vec![0.0; slab];
                let last = &weights[both * self.hidden..];
                rows_product(&reset, last, &mut third, self.hidden);
                // From [B, 2 H] and [B, H] to [B, 3 H], from the last row on.
                for b in (0..self.batch).rev() {
                    sums.copy_within(b * both..(b + 1) * both, b * width);
                    sums[b * width + both..(b + 1) * width]
                        .copy_from_slice(&third[b * self.hidden..][..self.hidden]);
                }
            } else {
                rows_product(&all.h, weights, &mut sums, width);
            }
            let y = &mut all.y[p * slab..][..slab];
            let states = all.h.par_chunks_mut(self.hidden).zip(all.c.par_chunks_mut(self.hidden));
            let given = gates.par_chunks(width).zip(sums.par_chunks(width));
            let least = (SERIAL / self.hidden).max(1);
            let units = states.zip(y.par_chunks_mut(self.hidden)).zip(given).enumerate();
            units.with_min_len(least).for_each(|(b, (((h, c), y), (x, s)))| {
                if p < self.lengths[b] {
                    cell.step(x, s, h, c);
                    y.copy_from_slice(h);
                }
            });
        }
        all
    }

    fn cell(&self, d: usize) -> CellOf<'_> {
        let width = self.op.cell.gates() * self.hidden;
        CellOf {
            kind: self.op.cell,
            functions: self.op.functions(d),
            clip: self.op.clip,
            bias: self.bias.as_ref().map(|bias| bias[d * 2 * width..][..2 * width].split_at(width)),
            peepholes: self
                .peepholes
                .as_ref()
                .map(|p| &p[d * 3 * self.hidden..][..3 * self.hidden]),
            hidden: self.hidden,
        }
    }
}

/// The cells of one direction.
struct CellOf<'a> {
    kind: Cell,
    functions: [Activation; 3],
    clip: Option<f32>,
    /// Of the input's products, and of the state's.
    bias: Option<(&'a [f32], &'a [f32])>,
    peepholes: Option<&'a [f32]>,
    hidden: usize,
}

impl CellOf<'_> {
    fn clipped(&self, x: f32) -> f32 {
        self.clip.map_or(x, |clip| x.clamp(-clip, clip))
    }

    fn bias(&self, gate: usize, j: usize) -> [f32; 2] {
        let at = gate * self.hidden + j;
        self.bias.map_or([0.0, 0.0], |(input, state)| [input[at], state[at]])
    }

    /// A gate of function f with both products in its sum.
    fn gate(&self, gate: usize, j: usize, sum: f32) -> f32 {
        let [a, b] = self.bias(gate, j);
        self.functions[0].eval_f32(self.clipped(sum + (a + b)))
    }

    fn peephole(&self, gate: usize, j: usize, cell: f32) -> f32 {
        self.peepholes.map_or(0.0, |p| p[gate * self.hidden + j] * cell)
    }

    /// A sequence's hidden state and cell to their next step; `x` and `s` are the
    /// products of input and state.
    fn step(&self, x: &[f32], s: &[f32], h: &mut [f32], c: &mut [f32]) {
        let n = self.hidden;
        let [_, g, last] = self.functions;
        for (j, (h, c)) in h.iter_mut().zip(c).enumerate() {
            match self.kind {
                Cell::Rnn => *h = self.gate(0, j, x[j] + s[j]),
                Cell::Lstm { input_forget } => {
                    let sum = |gate: usize| x[gate * n + j] + s[gate * n + j];
                    let i = self.gate(0, j, sum(0) + self.peephole(0, j, *c));
                    let forget = if input_forget {
                        1.0 - i
                    } else {
                        self.gate(2, j, sum(2) + self.peephole(2, j, *c))
                    };
                    let [a, b] = self.bias(3, j);
                    *c = forget * *c + i * g.eval_f32(self.clipped(sum(3) + (a + b)));
                    let o = self.gate(1, j, sum(1) + self.peephole(1, j, *c));
                    *h = o * last.eval_f32(*c);
                }
                Cell::Gru { linear_before_reset } => {
                    let z = self.gate(0, j, x[j] + s[j]);
                    let [a, b] = self.bias(2, j);
                    let (given, product) = (x[2 * n + j], s[2 * n + j]);
                    let moved = if linear_before_reset {
                        self.gate(1, j, x[n + j] + s[n + j]) * (product + b) + a
                    } else {
                        product + (a + b)
                    };
                    let fresh = g.eval_f32(self.clipped(given + moved));
                    *h = (1.0 - z) * fresh + z * *h;
                }
            }
        }
    }
}

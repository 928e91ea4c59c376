//! ONNX Runtime's `DynamicQuantizeLSTM`: an LSTM whose weights are 8-bit integers,
//! and whose inputs and states are rounded to 8 bits before they meet them.

use super::onnx::operator;
use super::{Cell, Direction, Recurrent};
use crate::error::{Error, Result};
use crate::graph::ValueId;
use crate::onnx::NodeCx;
use crate::ops::elementwise::Where;
use crate::ops::gather::Gather;
use crate::ops::movement::{Concat, Slice, SliceRange, Transpose, reshaped};
use crate::ops::quantize::{DequantizeLinear, Granularity, ranged};
use crate::tensor::{DType, Tensor};

/// Every step is several nodes of the graph.
const MOST_STEPS: usize = 1 << 12;

/// The LSTM of inputs X, W `[D, I, 4 H]`, R `[D, H, 4 H]`, B, sequence_lens,
/// initial_h, initial_c and P, then scale and zero point of W and of R.
///
/// All inputs together have one range, and so has the state of every step: what is
/// rounded is what the products take, not what the operator gives. So a step is an
/// LSTM of one step over rounded operands, which in F32 is what the integers give.
pub(super) fn lstm(cx: &mut NodeCx<'_>) -> Result<()> {
    let input_forget = cx.int("input_forget", 0)? != 0;
    let op = operator(cx, Cell::Lstm { input_forget })?;
    let x = cx.input_f32(0)?;
    let [steps, batch, _] = cx.extents(0)?[..] else {
        return Err(cx.broken("X must have rank 3"));
    };
    let lengths = lengths(cx, steps, batch)?;
    let x = rounded(cx, x)?;
    let weights = [weights(cx, 1, 8)?, weights(cx, 2, 10)?];
    let (mut all, mut hidden, mut cells) = (Vec::new(), Vec::new(), Vec::new());
    for d in 0..op.direction.count() {
        let backward = d >= op.direction.backward();
        let order = Order { steps, batch, backward, lengths: lengths.as_deref() };
        let functions = op.cell.functions();
        let one = Recurrent {
            direction: Direction::Forward,
            activations: op.activations[d * functions..][..functions].to_vec(),
            ..op.clone()
        };
        let [y, h, c] = direction(cx, &one, d, x, weights, &order)?;
        all.push(y);
        hidden.push(h);
        cells.push(c);
    }
    for (index, (parts, axis)) in [(all, 1), (hidden, 0), (cells, 0)].into_iter().enumerate() {
        if cx.wants(index) {
            let value = joined(cx, parts, axis)?;
            cx.output(index, value);
        }
    }
    Ok(())
}

/// The lengths of the sequences, where they are not all the same.
fn lengths(cx: &mut NodeCx<'_>, steps: usize, batch: usize) -> Result<Option<Vec<usize>>> {
    if steps == 0 || batch == 0 {
        return Err(cx.unsupported(format!("{batch} sequences of {steps} steps")));
    }
    if steps > MOST_STEPS {
        return Err(cx.unsupported(format!("{steps} steps, more than {MOST_STEPS}")));
    }
    if cx.optional(4).is_none() {
        return Ok(None);
    }
    let given = cx.known_ints(4)?;
    let whole = given.iter().map(|&n| usize::try_from(n).ok().filter(|&n| n <= steps));
    let lengths = whole.collect::<Option<Vec<usize>>>().filter(|lengths| lengths.len() == batch);
    let lengths = lengths.ok_or_else(|| {
        cx.broken(format!("sequence_lens {given:?} of {batch} sequences of {steps} steps"))
    })?;
    Ok(lengths.iter().any(|&length| length != steps).then_some(lengths))
}

/// Which positions of the sequences a direction takes one after another.
struct Order<'a> {
    steps: usize,
    batch: usize,
    backward: bool,
    lengths: Option<&'a [usize]>,
}

impl Order<'_> {
    /// The position of a sequence that a step takes, which is also the step that takes
    /// a position. Behind its end a sequence goes on as it is.
    fn position(&self, step: usize, sequence: usize) -> usize {
        let length = self.lengths.map_or(self.steps, |lengths| lengths[sequence]);
        if self.backward && step < length { length - 1 - step } else { step }
    }

    /// `[S, B, N]` in the order of the steps, or back from that.
    fn turned(&self, cx: &mut NodeCx<'_>, x: ValueId, width: usize) -> Result<ValueId> {
        let (steps, batch) = (self.steps, self.batch);
        if !self.backward {
            return Ok(x);
        }
        let row = |i: usize| (self.position(i / batch, i % batch) * batch + i % batch) as i32;
        let rows: Vec<i32> = (0..steps * batch).map(row).collect();
        let rows = cx.constant(Tensor::from_i32(&[steps * batch], &rows)?)?;
        let flat = reshaped(cx, x, &[steps * batch, width])?;
        let taken = cx.op1(Gather { axis: 0, batch_dims: 0 }, &[flat, rows])?;
        reshaped(cx, taken, &[steps, batch, width])
    }

    /// What a step gives to the sequences that it is still in, `before` to the others,
    /// or zeros.
    fn kept(
        &self,
        cx: &mut NodeCx<'_>,
        step: usize,
        new: ValueId,
        before: Option<ValueId>,
    ) -> Result<ValueId> {
        let Some(lengths) = self.lengths.filter(|all| all.iter().any(|&n| n <= step)) else {
            return Ok(new);
        };
        let here: Vec<u8> = lengths.iter().map(|&length| u8::from(step < length)).collect();
        let mut extents = vec![1; cx.extents_of(new)?.len()];
        let sequences = extents.len() - 2;
        extents[sequences] = self.batch;
        let here = cx.constant(Tensor::new(DType::Bool, &extents, here)?)?;
        let before = match before {
            Some(before) => before,
            None => cx.scalar_f32(0.0)?,
        };
        cx.op1(Where, &[here, new, before])
    }
}

/// One direction: its states `[S, 1, B, H]`, the last and the last cell.
fn direction(
    cx: &mut NodeCx<'_>,
    op: &Recurrent,
    d: usize,
    x: ValueId,
    weights: [ValueId; 2],
    order: &Order<'_>,
) -> Result<[ValueId; 3]> {
    let mut own = [None; 8];
    for (index, slot) in own.iter_mut().enumerate() {
        *slot = match (index, cx.optional(index)) {
            (1 | 2, _) => Some(taken(cx, weights[index - 1], d)?),
            (0 | 4, _) | (_, None) => None,
            (_, Some(value)) => {
                let value = cx.cast(value, DType::F32)?;
                Some(taken(cx, value, d)?)
            }
        };
    }
    let [.., h, c, _] = own;
    let width = cx.extents_of(x)?.last().copied().unwrap_or(0);
    let x = order.turned(cx, x, width)?;
    let (mut state, mut ends, mut states) = ([h, c], [h, c], Vec::with_capacity(order.steps));
    for step in 0..order.steps {
        own[0] = Some(taken(cx, x, step)?);
        own[5] = state[0].map(|h| rounded(cx, h)).transpose()?;
        own[6] = state[1];
        let outputs = cx.op(op.clone(), &own)?;
        let [y, h, c] = outputs[..] else {
            return Err(Error::internal("an LSTM without three outputs"));
        };
        states.push(order.kept(cx, step, y, None)?);
        // A sequence that has ended has no part in the range that states are rounded in.
        state = [Some(order.kept(cx, step, h, None)?), Some(c)];
        ends = [Some(order.kept(cx, step, h, ends[0])?), Some(order.kept(cx, step, c, ends[1])?)];
    }
    let all = joined(cx, states, 0)?;
    let extents = cx.extents_of(all)?;
    let flat = reshaped(cx, all, &[order.steps, order.batch, extents[3]])?;
    let flat = order.turned(cx, flat, extents[3])?;
    let all = reshaped(cx, flat, &extents)?;
    match ends {
        [Some(h), Some(c)] => Ok([all, h, c]),
        _ => Err(Error::internal("an LSTM without steps")),
    }
}

/// The place of a value's first axis, which stays.
fn taken(cx: &mut NodeCx<'_>, value: ValueId, at: usize) -> Result<ValueId> {
    if cx.extents_of(value)?.first() == Some(&1) {
        return Ok(value);
    }
    let start = at as i64;
    let ranges = vec![SliceRange { axis: 0, start, end: start + 1, step: 1 }];
    cx.op1(Slice { ranges }, &[value])
}

fn joined(cx: &mut NodeCx<'_>, parts: Vec<ValueId>, axis: i64) -> Result<ValueId> {
    match parts[..] {
        [only] => Ok(only),
        _ => cx.op1(Concat { axis }, &parts),
    }
}

/// Rounded to 8 bits and back, with the range of the whole tensor.
fn rounded(cx: &mut NodeCx<'_>, x: ValueId) -> Result<ValueId> {
    let codes = ranged(cx, x)?;
    let back = DequantizeLinear { to: DType::F32, granularity: Granularity::Tensor };
    cx.op1(back, &codes)
}

/// Weights as an LSTM takes them, `[D, 4 H, inputs]` in F32. Scale and zero point
/// are one for each direction, or one for each column of a direction.
fn weights(cx: &mut NodeCx<'_>, index: usize, scale: usize) -> Result<ValueId> {
    let codes = cx.input(index)?;
    let [directions, rows, columns] = cx.extents(index)?[..] else {
        return Err(cx.broken(format!("input {index} must have rank 3")));
    };
    let given = cx.extents(scale)?;
    let (granularity, shape) = if given == [directions] {
        (Granularity::Axis(0), vec![directions])
    } else if given == [directions, columns] {
        (Granularity::Block { axis: 1, size: rows.max(1) }, vec![directions, 1, columns])
    } else {
        let what = format!("input {scale} must be [{directions}] or [{directions}, {columns}]");
        return Err(cx.broken(format!("{what}, not {given:?}")));
    };
    let factor = cx.input_f32(scale)?;
    let factor = reshaped(cx, factor, &shape)?;
    let zero = match cx.optional(scale + 1) {
        None => None,
        Some(zero) => {
            let zero = cx.cast(zero, DType::I32)?;
            Some(reshaped(cx, zero, &shape)?)
        }
    };
    let back = DequantizeLinear { to: DType::F32, granularity };
    let values = cx.op(back, &[Some(codes), Some(factor), zero])?;
    cx.op1(Transpose { permutation: vec![0, 2, 1] }, &[values[0]])
}

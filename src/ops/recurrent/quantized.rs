//! ONNX Runtime's `DynamicQuantizeLSTM`: an LSTM whose weights are 8-bit integers,
//! and whose inputs and states are rounded to 8 bits before they meet them.

use super::onnx::operator;
use super::{Cell, Direction, Recurrent};
use crate::error::{Error, Result};
use crate::graph::ValueId;
use crate::onnx::NodeCx;
use crate::ops::movement::{Concat, Slice, SliceRange, Transpose, reshaped};
use crate::ops::quantize::{DequantizeLinear, Granularity, ranged};
use crate::tensor::DType;

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
    check_steps(cx, steps, batch)?;
    let x = rounded(cx, x)?;
    let weights = [weights(cx, 1, 8)?, weights(cx, 2, 10)?];
    let (mut all, mut hidden, mut cells) = (Vec::new(), Vec::new(), Vec::new());
    for d in 0..op.direction.count() {
        let backward = d >= op.direction.backward();
        let positions: Vec<usize> =
            if backward { (0..steps).rev().collect() } else { (0..steps).collect() };
        let functions = op.cell.functions();
        let one = Recurrent {
            direction: Direction::Forward,
            activations: op.activations[d * functions..][..functions].to_vec(),
            ..op.clone()
        };
        let [y, h, c] = direction(cx, &one, d, x, weights, &positions)?;
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

/// Sequences that end early would keep a rounded state.
fn check_steps(cx: &mut NodeCx<'_>, steps: usize, batch: usize) -> Result<()> {
    if steps == 0 || batch == 0 {
        return Err(cx.unsupported(format!("{batch} sequences of {steps} steps")));
    }
    if steps > MOST_STEPS {
        return Err(cx.unsupported(format!("{steps} steps, more than {MOST_STEPS}")));
    }
    if cx.optional(4).is_some() {
        let lengths = cx.known_ints(4)?;
        if lengths.iter().any(|&length| length != steps as i64) {
            return Err(cx.unsupported(format!("sequence_lens {lengths:?} of {steps} steps")));
        }
    }
    Ok(())
}

/// One direction: its states `[S, 1, B, H]`, the last and the last cell.
fn direction(
    cx: &mut NodeCx<'_>,
    op: &Recurrent,
    d: usize,
    x: ValueId,
    weights: [ValueId; 2],
    positions: &[usize],
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
    let (mut state, mut states) = ([h, c], vec![None; positions.len()]);
    for &p in positions {
        own[0] = Some(taken(cx, x, p)?);
        own[5] = state[0].map(|h| rounded(cx, h)).transpose()?;
        own[6] = state[1];
        let outputs = cx.op(op.clone(), &own)?;
        let [y, h, c] = outputs[..] else {
            return Err(Error::internal("an LSTM without three outputs"));
        };
        states[p] = Some(y);
        state = [Some(h), Some(c)];
    }
    let all = joined(cx, states.into_iter().flatten().collect(), 0)?;
    match state {
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

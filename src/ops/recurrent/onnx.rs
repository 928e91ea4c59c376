//! The family's ONNX operators.

use super::{Activation, Cell, Direction, Function, Recurrent};
use crate::error::Result;
use crate::graph::ValueId;
use crate::onnx::{NodeCx, OnnxOperator, row};
use crate::ops::movement::Transpose;
use crate::tensor::DType;

pub(crate) const ONNX: &[OnnxOperator] = &[
    row("RNN", 7, |cx| import(cx, Cell::Rnn)),
    row("LSTM", 7, |cx| {
        let input_forget = flag(cx, "input_forget")?;
        import(cx, Cell::Lstm { input_forget })
    }),
    row("GRU", 7, |cx| {
        let linear_before_reset = flag(cx, "linear_before_reset")?;
        import(cx, Cell::Gru { linear_before_reset })
    }),
    OnnxOperator {
        domain: "com.microsoft",
        name: "DynamicQuantizeLSTM",
        since: 1,
        import: super::quantized::lstm,
    },
];

fn flag(cx: &NodeCx<'_>, name: &str) -> Result<bool> {
    Ok(cx.int(name, 0)? != 0)
}

fn import(cx: &mut NodeCx<'_>, cell: Cell) -> Result<()> {
    let dtype = cx.dtype(0)?;
    let op = operator(cx, cell)?;
    let batch_first = match cx.int("layout", 0)? {
        0 => false,
        1 => true,
        other => return Err(cx.unsupported(format!("layout {other}"))),
    };
    let hidden = cx.int("hidden_size", -1)?;
    let r = cx.extents(2)?;
    if hidden >= 0 && r.last().is_none_or(|&n| n as i64 != hidden) {
        return Err(cx.broken(format!("hidden_size is {hidden}, but R is {r:?}")));
    }
    let count = if matches!(cell, Cell::Lstm { .. }) { 8 } else { 6 };
    let mut inputs = Vec::with_capacity(count);
    for index in 0..count {
        let Some(value) = cx.optional(index) else {
            inputs.push(None);
            continue;
        };
        let to = if index == 4 { DType::I32 } else { DType::F32 };
        let value = cx.cast(value, to)?;
        // X, initial_h and initial_c.
        let turned = batch_first && matches!(index, 0 | 5 | 6);
        inputs.push(Some(if turned { turn(cx, value, vec![1, 0, 2])? } else { value }));
    }
    let outputs = cx.op(op, &inputs)?;
    for (index, value) in outputs.into_iter().enumerate() {
        if !cx.wants(index) {
            continue;
        }
        let order = if index == 0 { vec![2, 0, 1, 3] } else { vec![1, 0, 2] };
        let value = if batch_first { turn(cx, value, order)? } else { value };
        let value = cx.cast(value, dtype)?;
        cx.output(index, value);
    }
    Ok(())
}

fn turn(cx: &mut NodeCx<'_>, value: ValueId, permutation: Vec<usize>) -> Result<ValueId> {
    cx.op1(Transpose { permutation }, &[value])
}

pub(super) fn operator(cx: &NodeCx<'_>, cell: Cell) -> Result<Recurrent> {
    let direction = match cx.string("direction", "forward")? {
        "forward" => Direction::Forward,
        "reverse" => Direction::Reverse,
        "bidirectional" => Direction::Bidirectional,
        other => return Err(cx.unsupported(format!("direction '{other}'"))),
    };
    let clip = cx.attributes().float("clip")?;
    // ONNX Runtime takes 0 for none.
    let clip = clip.filter(|&clip| clip != 0.0);
    let activations = activations(cx, cell, direction)?;
    Ok(Recurrent { cell, direction, activations, clip })
}

/// The functions with their parameters, which are consumed in the order of the
/// functions by those that have them.
fn activations(cx: &NodeCx<'_>, cell: Cell, direction: Direction) -> Result<Vec<Activation>> {
    let count = direction.count() * cell.functions();
    let names = cx.attributes().strings("activations")?;
    let functions: Vec<Function> = match names {
        None => (0..direction.count()).flat_map(|_| cell.defaults()).copied().collect(),
        Some(names) => {
            let named = |name: &str| {
                Function::named(name).ok_or_else(|| cx.unsupported(format!("activation '{name}'")))
            };
            // The schema of RNN lists two functions even for one direction.
            let surplus = cell == Cell::Rnn && names.len() == 2 && count == 1;
            if names.len() != count && !surplus {
                let got = names.len();
                return Err(cx.broken(format!("takes {count} activations, got {got}")));
            }
            names.into_iter().take(count).map(named).collect::<Result<_>>()?
        }
    };
    let mut lists = ["activation_alpha", "activation_beta"].map(|name| (name, Vec::new()));
    for (name, values) in &mut lists {
        let given = cx.attributes().floats(name)?.unwrap_or_default();
        *values = given.iter().rev().copied().collect();
    }
    let mut activations = Vec::with_capacity(count);
    for function in functions {
        let mut parameters = [0.0; 2];
        for ((parameter, (name, values)), default) in
            parameters.iter_mut().zip(&mut lists).zip(function.parameters())
        {
            let Some(default) = default else { continue };
            *parameter = match values.pop().or(default) {
                Some(value) => value,
                None => return Err(cx.broken(format!("{} needs {name}", function.name()))),
            };
        }
        let [alpha, beta] = parameters;
        activations.push(Activation { function, alpha, beta });
    }
    for (name, values) in lists {
        if !values.is_empty() {
            let left = values.len();
            return Err(cx.unsupported(format!("{left} values of {name} that no function takes")));
        }
    }
    Ok(activations)
}

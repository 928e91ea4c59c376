//! The family's ONNX operators.

use super::RotaryEmbedding;
use crate::error::Result;
use crate::graph::{Dim, ValueId};
use crate::onnx::{NodeCx, OnnxOperator, row};
use crate::ops::elementwise::Binary;
use crate::ops::movement::{Reshape, Transpose};
use crate::tensor::{DType, Tensor};

pub(crate) const ONNX: &[OnnxOperator] = &[
    row("RotaryEmbedding", 23, |cx| import(cx, [1, 2, 3])),
    OnnxOperator {
        domain: "com.microsoft",
        name: "RotaryEmbedding",
        since: 1,
        import: |cx| {
            let packed = cx.int("is_packed_batching", 0)?;
            let scale = cx.float("scale", 1.0)?;
            if packed != 0 || scale != 1.0 {
                let what = format!("is_packed_batching {packed}, scale {scale}");
                return Err(cx.unsupported(what));
            }
            import(cx, [2, 3, 1])
        },
    },
];

fn reshape(cx: &mut NodeCx<'_>, value: ValueId, extents: &[usize]) -> Result<ValueId> {
    let shape = extents.iter().map(|&n| Dim::from(n)).collect();
    cx.op1(Reshape { shape }, &[value])
}

/// `inputs` has the places of the tables and of the positions.
fn import(cx: &mut NodeCx<'_>, [cos, sin, positions]: [usize; 3]) -> Result<()> {
    let (dtype, extents) = (cx.dtype(0)?, cx.extents(0)?);
    let x = cx.input_f32(0)?;
    let heads_first = extents.len() == 4;
    let x = if heads_first {
        cx.op1(Transpose { permutation: vec![0, 2, 1, 3] }, &[x])?
    } else {
        let heads = heads(cx, &extents, cos)?;
        match extents[..] {
            [batch, tokens, hidden] if hidden % heads == 0 => {
                reshape(cx, x, &[batch, tokens, heads, hidden / heads])?
            }
            _ => return Err(cx.broken(format!("{extents:?} does not have {heads} heads"))),
        }
    };
    let split = cx.extents_of(x)?;
    let rotary_dim = match cx.int("rotary_embedding_dim", 0)? {
        0 => split[3],
        n => usize::try_from(n).map_err(|_| cx.broken(format!("rotary_embedding_dim {n}")))?,
    };
    let (cos, sin, positions) = tables(cx, [cos, sin, positions], &split)?;
    let interleaved = cx.int("interleaved", 0)? != 0;
    let y = cx.op1(RotaryEmbedding { interleaved, rotary_dim }, &[x, cos, sin, positions])?;
    let y = if heads_first {
        cx.op1(Transpose { permutation: vec![0, 2, 1, 3] }, &[y])?
    } else {
        reshape(cx, y, &extents)?
    };
    let y = cx.cast(y, dtype)?;
    cx.output(0, y);
    Ok(())
}

/// The number of heads in a hidden size: as the attribute says, or as many as
/// the tables turn whole.
fn heads(cx: &NodeCx<'_>, extents: &[usize], cos: usize) -> Result<usize> {
    let given = cx.int("num_heads", 0)?;
    if given > 0 {
        return usize::try_from(given).map_err(|_| cx.broken(format!("num_heads {given}")));
    }
    let pairs = cx.extents(cos)?.last().copied().unwrap_or(0);
    let hidden = extents.last().copied().unwrap_or(0);
    let microsoft = cos == 2;
    if !microsoft || pairs == 0 || hidden == 0 || !hidden.is_multiple_of(2 * pairs) {
        return Err(cx.broken("num_heads is needed for an input of rank 3"));
    }
    Ok(hidden / (2 * pairs))
}

/// Tables `[P, pairs]` and positions I32 `[B, S]` into them.
fn tables(
    cx: &mut NodeCx<'_>,
    [cos, sin, positions]: [usize; 3],
    split: &[usize],
) -> Result<(ValueId, ValueId, ValueId)> {
    let (batch, tokens) = (split[0], split[1]);
    let extents = cx.extents(cos)?;
    let (mut cosines, mut sines) = (cx.input_f32(cos)?, cx.input_f32(sin)?);
    let order = |count: usize| -> Vec<i32> { (0..count as i32).collect() };
    let Some(given) = cx.optional(positions) else {
        // A row of the tables for each token.
        let &[b, s, pairs] = &extents[..] else {
            return Err(cx.broken(format!("tables {extents:?} without position_ids")));
        };
        if (b, s) != (batch, tokens) {
            return Err(cx.broken(format!("tables {extents:?} for {batch} by {tokens} tokens")));
        }
        cosines = reshape(cx, cosines, &[b * s, pairs])?;
        sines = reshape(cx, sines, &[b * s, pairs])?;
        let ids = cx.constant(Tensor::from_i32(&[b, s], &order(b * s))?)?;
        return Ok((cosines, sines, ids));
    };
    let given = cx.cast(given, DType::I32)?;
    let ids = cx.extents_of(given)?;
    if ids == [batch, tokens] {
        return Ok((cosines, sines, given));
    }
    if ids.iter().product::<usize>() != 1 {
        return Err(cx.broken(format!("position_ids {ids:?} for {batch} by {tokens} tokens")));
    }
    // One number: the position of the first token of every sequence.
    let first = reshape(cx, given, &[1, 1])?;
    let rows: Vec<i32> = (0..batch).flat_map(|_| order(tokens)).collect();
    let rows = cx.constant(Tensor::from_i32(&[batch, tokens], &rows)?)?;
    let ids = cx.op1(Binary::Add, &[first, rows])?;
    Ok((cosines, sines, ids))
}

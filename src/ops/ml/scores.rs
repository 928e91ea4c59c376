//! From scores to what models give: transforms, and labels of classes.

use crate::error::Result;
use crate::graph::ValueId;
use crate::onnx::NodeCx;
use crate::ops::elementwise::{Binary, Unary, Where};
use crate::ops::gather::Take;
use crate::ops::movement::{Concat, Slice, SliceRange};
use crate::ops::reduce::ArgReduce;
use crate::ops::softmax::Softmax;
use crate::tensor::{DType, Tensor};

/// What is done to the scores at the end.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(super) enum Transform {
    None,
    Softmax,
    SoftmaxZero,
    Logistic,
}

impl Transform {
    pub(super) fn of(cx: &NodeCx<'_>) -> Result<Self> {
        Self::named(cx, cx.string("post_transform", "NONE")?)
    }

    pub(super) fn named(cx: &NodeCx<'_>, name: &str) -> Result<Self> {
        Ok(match name {
            "NONE" => Transform::None,
            "SOFTMAX" => Transform::Softmax,
            "SOFTMAX_ZERO" => Transform::SoftmaxZero,
            "LOGISTIC" => Transform::Logistic,
            other => return Err(cx.unsupported(format!("post_transform '{other}'"))),
        })
    }

    /// Applies it to rows of scores.
    pub(super) fn apply(self, cx: &mut NodeCx<'_>, scores: ValueId) -> Result<ValueId> {
        match self {
            Transform::None => Ok(scores),
            Transform::Softmax => cx.op1(Softmax { axis: -1 }, &[scores]),
            Transform::Logistic => cx.map1(Unary::Sigmoid, scores),
            Transform::SoftmaxZero => {
                // Scores that are zero stay, and take no part.
                let zero = cx.scalar_f32(0.0)?;
                let far = cx.scalar_f32(-1e30)?;
                let none = cx.map2(Binary::Equal, scores, zero)?;
                let others = cx.op1(Where, &[none, far, scores])?;
                let others = cx.op1(Softmax { axis: -1 }, &[others])?;
                cx.op1(Where, &[none, zero, others])
            }
        }
    }
}

/// The labels of a classifier.
#[derive(Debug)]
pub(super) enum Labels {
    Ints(Vec<i64>),
    Words(Vec<String>),
}

impl Labels {
    /// Those of attributes, one of which is given.
    pub(super) fn of(cx: &NodeCx<'_>, words: &str, ints: &str) -> Result<Self> {
        if let Some(words) = cx.attributes().strings(words)?.filter(|words| !words.is_empty()) {
            return Ok(Labels::Words(words.into_iter().map(String::from).collect()));
        }
        match cx.ints(ints)? {
            Some(ints) if !ints.is_empty() => Ok(Labels::Ints(ints)),
            _ => Err(cx.broken("a classifier without labels")),
        }
    }

    pub(super) fn len(&self) -> usize {
        match self {
            Labels::Ints(ints) => ints.len(),
            Labels::Words(words) => words.len(),
        }
    }

    /// Says that the first output is the labels at these places (I64).
    pub(super) fn give(&self, cx: &mut NodeCx<'_>, places: ValueId) -> Result<()> {
        match self {
            Labels::Words(words) => {
                let words: Vec<&str> = words.iter().map(String::as_str).collect();
                cx.output_labels(0, places, &words)
            }
            Labels::Ints(ints) => {
                let ints = cx.constant(Tensor::from_i64(&[ints.len()], ints)?)?;
                let labels = cx.op1(Take { axis: 0, batch_dims: 0 }, &[ints, places])?;
                cx.output(0, labels);
                Ok(())
            }
        }
    }
}

/// The place of the largest score of each row; of equal ones the first.
pub(super) fn best(cx: &mut NodeCx<'_>, scores: ValueId) -> Result<ValueId> {
    let op = ArgReduce {
        largest: true,
        axis: 1,
        keepdims: false,
        select_last_index: false,
        index: DType::I64,
    };
    cx.op1(op, &[scores])
}

/// 1 where a column of scores `[rows, 1]` is above a limit, as I64 `[rows]`.
pub(super) fn above(cx: &mut NodeCx<'_>, score: ValueId, limit: f32) -> Result<ValueId> {
    let rows = cx.extents_of(score)?[0];
    let limit = cx.scalar_f32(limit)?;
    let above = cx.map2(Binary::Greater, score, limit)?;
    let above = cx.cast(above, DType::I64)?;
    cx.reshaped(above, &[rows])
}

/// One column of a matrix, `[rows, 1]`.
pub(super) fn column(cx: &mut NodeCx<'_>, x: ValueId, at: usize) -> Result<ValueId> {
    let (start, end) = (at as i64, at as i64 + 1);
    cx.op1(Slice { ranges: vec![SliceRange { axis: 1, start, end, step: 1 }] }, &[x])
}

/// Two columns side by side.
pub(super) fn pair(cx: &mut NodeCx<'_>, a: ValueId, b: ValueId) -> Result<ValueId> {
    cx.op1(Concat { axis: 1 }, &[a, b])
}

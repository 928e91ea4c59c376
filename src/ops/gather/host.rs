//! ONNX operators whose results have as many elements as the data says: they
//! are computed on the host, where the data must be known.

use super::Take;
use crate::error::Result;
use crate::onnx::{HostOperator, NodeCx, OnnxOperator, When, row};
use crate::ops::rules::front_axis;
use crate::ops::{RefData, RefTensor};
use crate::tensor::{DType, Tensor};
use std::cmp::Ordering;

pub(crate) const HOST: &[OnnxOperator] =
    &[row("Compress", 9, compress), row("NonZero", 9, non_zero), row("Unique", 11, unique)];

const fn counted(name: &'static str, since: u32) -> HostOperator {
    HostOperator { domain: "", name, since, when: When::Unknown, compute: |cx| cx.by_row() }
}

/// The same where only a run can tell what the inputs are: the results have other
/// extents then, and are otherwise values like others.
pub(crate) const COMPUTED: &[HostOperator] = &[counted("NonZero", 9), counted("Unique", 11)];

/// The positions of elements other than 0, `[rank, count]`.
fn non_zero(cx: &mut NodeCx<'_>) -> Result<()> {
    let x = RefTensor::from_tensor(&cx.known(0)?)?;
    let set: Vec<usize> = (0..x.len()).filter(|&at| !is_zero(&x, at)).collect();
    let mut places = Vec::with_capacity(x.extents.len() * set.len());
    let mut inner = x.len();
    for &n in &x.extents {
        inner /= n.max(1);
        places.extend(set.iter().map(|at| (at / inner.max(1) % n.max(1)) as i64));
    }
    let y = RefTensor::int(DType::I64, &[x.extents.len(), set.len()], places);
    let y = cx.constant(y.to_tensor()?)?;
    cx.output(0, y);
    Ok(())
}

fn is_zero(x: &RefTensor, at: usize) -> bool {
    match &x.data {
        RefData::Real(data) => data[at] == 0.0,
        RefData::Int(data) => data[at] == 0,
    }
}

/// Slices of the input that the condition, known on the host, selects.
fn compress(cx: &mut NodeCx<'_>) -> Result<()> {
    let extents = cx.extents(0)?;
    let condition = cx.known_ints(1)?;
    let chosen = condition.iter().enumerate().filter(|(_, on)| **on != 0);
    let chosen: Vec<i32> = chosen.map(|(at, _)| at as i32).collect();
    let mut x = cx.input(0)?;
    let axis = match cx.attributes().int("axis")? {
        Some(axis) => front_axis("Compress", axis, extents.len())?,
        None => {
            x = cx.reshaped(x, &[extents.iter().product()])?;
            0
        }
    };
    let n = cx.extents_of(x)?.get(axis).copied().unwrap_or(0);
    if chosen.last().is_some_and(|&last| last as usize >= n) {
        return Err(cx.broken(format!("{} conditions for {n} slices", condition.len())));
    }
    let indices = cx.constant(Tensor::from_i32(&[chosen.len()], &chosen)?)?;
    let y = cx.op1(Take { axis: axis as i64, batch_dims: 0 }, &[x, indices])?;
    cx.output(0, y);
    Ok(())
}

/// Slices along an axis of a tensor that is seen with these extents.
fn slices(x: &RefTensor, extents: &[usize], axis: usize, chosen: &[i32]) -> RefTensor {
    let n = extents[axis];
    let inner: usize = extents[axis + 1..].iter().product();
    let outer: usize = extents[..axis].iter().product();
    let mut places = Vec::new();
    for o in 0..outer {
        for &j in chosen {
            let start = (o * n + j as usize) * inner;
            places.extend(start..start + inner);
        }
    }
    let data = match &x.data {
        RefData::Real(data) => RefData::Real(places.iter().map(|&at| data[at]).collect()),
        RefData::Int(data) => RefData::Int(places.iter().map(|&at| data[at]).collect()),
    };
    let mut extents = extents.to_vec();
    extents[axis] = chosen.len();
    RefTensor { dtype: x.dtype, extents, data }
}

/// The different slices along an axis, or the different elements; where each
/// came first, which one each slice of the input is, and how often each occurs.
fn unique(cx: &mut NodeCx<'_>) -> Result<()> {
    let x = RefTensor::from_tensor(&cx.known(0)?)?;
    let (extents, axis) = match cx.attributes().int("axis")? {
        Some(axis) => (x.extents.clone(), front_axis("Unique", axis, x.extents.len())?),
        None => (vec![x.len()], 0),
    };
    let found = Found::of(&x, &extents, axis, cx.int("sorted", 1)? != 0);
    let y = slices(&x, &extents, axis, &found.first).to_tensor()?;
    let y = cx.constant(y)?;
    cx.output(0, y);
    let first = found.first.iter().map(|&at| i64::from(at)).collect();
    for (index, values) in [(1, first), (2, found.which), (3, found.counts)] {
        if cx.wants(index) {
            let values = RefTensor::int(DType::I64, &[values.len()], values);
            let values = cx.constant(values.to_tensor()?)?;
            cx.output(index, values);
        }
    }
    Ok(())
}

/// What there is of different slices.
struct Found {
    /// Where each occurs first.
    first: Vec<i32>,
    /// For each slice of the input, which of them it is.
    which: Vec<i64>,
    counts: Vec<i64>,
}

impl Found {
    fn of(x: &RefTensor, extents: &[usize], axis: usize, sorted: bool) -> Self {
        let n = extents[axis];
        let inner: usize = extents[axis + 1..].iter().product();
        let outer: usize = extents[..axis].iter().product();
        let compare = |a: usize, b: usize| {
            let places = (0..outer).flat_map(|o| (0..inner).map(move |i| (o * n, i)));
            places
                .map(|(o, i)| order(x, (o + a) * inner + i, (o + b) * inner + i))
                .find(|order| order.is_ne())
                .unwrap_or(Ordering::Equal)
        };
        let mut by_value: Vec<usize> = (0..n).collect();
        // Stable: of equal slices the first stays first.
        by_value.sort_by(|&a, &b| compare(a, b));
        let mut groups: Vec<Vec<usize>> = Vec::new();
        for at in by_value {
            match groups.last_mut() {
                Some(group) if compare(group[0], at).is_eq() => group.push(at),
                _ => groups.push(vec![at]),
            }
        }
        if !sorted {
            groups.sort_by_key(|group| group[0]);
        }
        let mut which = vec![0; n];
        for (number, group) in groups.iter().enumerate() {
            group.iter().for_each(|&at| which[at] = number as i64);
        }
        Found {
            first: groups.iter().map(|group| group[0] as i32).collect(),
            which,
            counts: groups.iter().map(|group| group.len() as i64).collect(),
        }
    }
}

/// Zeros of either sign are equal, and so is what is no number, at the end.
fn order(x: &RefTensor, a: usize, b: usize) -> Ordering {
    match &x.data {
        RefData::Int(data) => data[a].cmp(&data[b]),
        RefData::Real(data) => {
            data[a].partial_cmp(&data[b]).unwrap_or_else(|| data[a].is_nan().cmp(&data[b].is_nan()))
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn different_elements_are_found_in_either_order() {
        let x = RefTensor::int(DType::I64, &[6], vec![2, 1, 1, 3, 4, 3]);
        let found = Found::of(&x, &[6], 0, false);
        assert_eq!((found.first, found.counts), (vec![0, 1, 3, 4], vec![1, 2, 2, 1]));
        assert_eq!(found.which, [0, 1, 1, 2, 3, 2]);
        let found = Found::of(&x, &[6], 0, true);
        assert_eq!(found.first, [1, 0, 3, 4]);
    }

    #[test]
    fn different_slices_along_a_middle_axis_are_found() {
        let slab = [1.0, 1.0, 0.0, 1.0, 2.0, 1.0, 0.0, 1.0];
        let x = RefTensor::real(DType::F32, &[2, 4, 2], [slab, slab].concat());
        let found = Found::of(&x, &x.extents, 1, true);
        assert_eq!(found.first, [1, 0, 2]);
        assert_eq!((found.which, found.counts), (vec![1, 0, 2, 0], vec![2, 1, 1]));
        let y = slices(&x, &x.extents, 1, &found.first);
        assert_eq!(y.extents, [2, 3, 2]);
        assert_eq!(y.reals().unwrap()[..6], [0.0, 1.0, 1.0, 1.0, 2.0, 1.0]);
    }
}

//! States of another size: which bytes stay.

use crate::error::Result;
use crate::graph::{Bindings, StateInfo};
use crate::tensor::DType;

/// A block of a state that keeps its place relative to its row when the
/// state's growing dimension changes: byte offsets before and after, and length.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Moved {
    pub(crate) from: u64,
    pub(crate) to: u64,
    pub(crate) bytes: u64,
}

/// The blocks to copy when a state is resized: all of it if it stays as large; none if
/// it changes in more than its growing dimension. `bytes` is the size of a tensor where the state is.
///
/// # Errors
/// If a size overflows or a symbol has no value.
pub(crate) fn moves(
    state: &StateInfo,
    old: &Bindings,
    new: &Bindings,
    bytes: fn(DType, &[usize]) -> Result<usize>,
) -> Result<Vec<Moved>> {
    let (before, after) = (state.ty.extents(old)?, state.ty.extents(new)?);
    if before == after {
        let whole = bytes(state.ty.dtype, &before)? as u64;
        return Ok(vec![Moved { from: 0, to: 0, bytes: whole }]
            .into_iter()
            .filter(|m| m.bytes > 0)
            .collect());
    }
    let Some(axis) = state.growing else { return Ok(Vec::new()) };
    let others = |extents: &[usize]| {
        let mut others = extents.to_vec();
        others.remove(axis);
        others
    };
    if others(&before) != others(&after) {
        return Ok(Vec::new());
    }
    let inner = bytes(state.ty.dtype, &before[axis + 1..])? as u64;
    let outer: usize = before[..axis].iter().product();
    let (old_row, new_row) = (before[axis] as u64 * inner, after[axis] as u64 * inner);
    let block = |i: u64| Moved { from: i * old_row, to: i * new_row, bytes: old_row.min(new_row) };
    Ok((0..outer as u64).map(block).filter(|m| m.bytes > 0).collect())
}

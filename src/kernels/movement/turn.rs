//! Copies that turn rows into columns.

use super::{FAMILY, StridedCopy, VARIANTS};
use crate::error::Result;
use crate::gpu::{ConstValue, ShaderRequest};
use crate::graph::{Dim, TensorType};
use crate::kernels::{Dispatch, GpuCx, Grid, Param, Place, Variant, View};

/// Rows and columns of what a workgroup turns, by variant.
const LANES: (u64, u64) = (8, 64);
const TILE: (u64, u64) = (32, 32);

/// Fewer rows or columns than this are not worth it.
const LEAST: u64 = 4;

/// Rows of a plane that are neighbours in the source, columns that are in the
/// result, and up to two dimensions of planes.
#[derive(Debug, PartialEq, Eq)]
struct Turn {
    rows: Axis,
    columns: Axis,
    planes: [Axis; 2],
}

/// A dimension, and how far apart its elements are in the source and the result.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct Axis {
    count: u64,
    source: u64,
    target: u64,
}

const NO_AXIS: Axis = Axis { count: 1, source: 0, target: 0 };

/// The dimensions of a copy, neighbours merged where they can be; `None` where
/// something is not constant or counts down.
fn axes(copy: &StridedCopy, y: &TensorType) -> Option<Vec<Axis>> {
    let mut axes: Vec<Axis> = Vec::new();
    let mut target = 1u64;
    for (step, dim) in copy.steps.iter().zip(&y.shape).rev() {
        let (count, source) = (dim.as_const()?, step.stride.as_const()?);
        if count > 1 {
            if step.backward {
                return None;
            }
            match axes.last_mut() {
                Some(last) if last.source.checked_mul(last.count) == Some(source) => {
                    last.count = last.count.checked_mul(count)?;
                }
                _ => axes.push(Axis { count, source, target }),
            }
        }
        target = target.checked_mul(count)?;
    }
    // From the slowest to the fastest.
    axes.reverse();
    Some(axes)
}

impl Turn {
    /// A copy as one that turns rows into columns, if it is.
    fn of(copy: &StridedCopy, y: &TensorType) -> Option<Turn> {
        let mut axes = axes(copy, y)?;
        let columns = axes.pop()?;
        let at = axes.iter().position(|axis| axis.source == 1)?;
        let rows = axes.remove(at);
        if columns.source <= 1 || rows.count < LEAST || columns.count < LEAST || axes.len() > 2 {
            return None;
        }
        let mut planes = [NO_AXIS; 2];
        for (plane, axis) in planes.iter_mut().rev().zip(axes.into_iter().rev()) {
            *plane = axis;
        }
        Some(Turn { rows, columns, planes })
    }

    fn params(&self, start: &Dim) -> Vec<(&'static str, Param)> {
        let [outer, inner] = self.planes;
        // The operands' elements are counted in 32 bits, which was checked.
        let number = |value: u64| Param::U32(value as u32);
        vec![
            ("planes", number(outer.count * inner.count)),
            ("rows", number(self.rows.count)),
            ("columns", number(self.columns.count)),
            ("start", start.into()),
            ("source_column", number(self.columns.source)),
            ("target_row", number(self.rows.target)),
            ("inner", number(inner.count)),
            ("source_outer", number(outer.source)),
            ("source_inner", number(inner.source)),
            ("target_outer", number(outer.target)),
            ("target_inner", number(inner.target)),
        ]
    }
}

/// Whether the variant is one of this module.
pub(super) fn is_turn(variant: &Variant) -> bool {
    variant.name.starts_with("turn")
}

/// The shaders a variant is instantiated to.
pub(super) fn requests(variant: &'static Variant) -> Vec<ShaderRequest> {
    vec![request(variant)]
}

fn request(variant: &Variant) -> ShaderRequest {
    let mut request = ShaderRequest::new(variant.shader);
    // Rows and columns are those of the result.
    request.in_bounds = true;
    variant
        .consts
        .iter()
        .fold(request, |request, (name, value): &(_, ConstValue)| request.with(*name, *value))
}

/// The dispatch for elements of 32 bits, all of them bound; `None` where rows are
/// not turned into columns or another variant is forced.
///
/// # Errors
/// If a dimension cannot be computed.
pub(super) fn dispatch(copy: &StridedCopy, cx: &GpuCx<'_>) -> Result<Option<Dispatch>> {
    let y = cx.output(0)?;
    let Some(turn) = Turn::of(copy, y) else { return Ok(None) };
    let forced = cx.policy.force.contains_key(FAMILY);
    let preferred = if cx.caps.is_software() { "turn" } else { "turn_tile" };
    let fits = |variant: &Variant| is_turn(variant) && (forced || variant.name == preferred);
    let chosen = cx.choose(FAMILY, VARIANTS, fits);
    let Ok(variant) = chosen.or_else(|_| cx.choose(FAMILY, VARIANTS, is_turn)) else {
        return Ok(None);
    };
    let (rows, columns) = if variant.name == "turn" { LANES } else { TILE };
    let [outer, inner] = turn.planes;
    let tiles = turn.rows.count.div_ceil(rows) * turn.columns.count.div_ceil(columns);
    Ok(Some(Dispatch {
        shader: request(variant),
        variant: format!("{FAMILY}/{}", variant.name),
        bindings: vec![("x", View::all(Place::Input(0))), ("y", View::all(Place::Output(0)))],
        params: turn.params(&copy.start),
        grid: Grid::Linear(Dim::from(outer.count * inner.count * tiles)),
        work: y.elements() * 8u64,
    }))
}

#[cfg(test)]
mod tests {
    use super::super::Step;
    use super::*;
    use crate::tensor::DType;

    fn turn(extents: &[u64], strides: &[u64]) -> Option<Turn> {
        let shape: Vec<Dim> = extents.iter().map(|&n| n.into()).collect();
        let steps = strides.iter().map(|&s| Step::forward(s.into())).collect();
        let copy = StridedCopy { start: 0.into(), steps };
        Turn::of(&copy, &TensorType::new(DType::F32, shape))
    }

    #[test]
    fn planes_are_found_and_neighbours_merged() {
        let plain = turn(&[30, 20], &[1, 30]).unwrap();
        assert_eq!(plain.rows, Axis { count: 30, source: 1, target: 20 });
        assert_eq!(plain.columns, Axis { count: 20, source: 30, target: 1 });
        assert_eq!(plain.planes, [NO_AXIS; 2]);
        // Channels last: of [2, 8, 5, 7] comes [2, 5, 7, 8].
        let last = turn(&[2, 5, 7, 8], &[280, 7, 1, 35]).unwrap();
        assert_eq!(last.rows, Axis { count: 35, source: 1, target: 8 });
        assert_eq!(last.planes, [NO_AXIS, Axis { count: 2, source: 280, target: 280 }]);
    }

    #[test]
    fn other_copies_are_left_alone() {
        assert_eq!(turn(&[30, 20], &[20, 1]), None);
        assert_eq!(turn(&[30, 2], &[1, 30]), None);
        // Nothing is next to anything.
        assert_eq!(turn(&[30, 20], &[2, 60]), None);
        // Repeated.
        assert_eq!(turn(&[30, 20], &[1, 0]), None);
    }
}

//! How large the cases of shapes are.

use crate::adapters::MINIMUM_BINDING;
use wginfer::validate::{CaseFamily, CaseInput};

/// The elements of the inputs of a small case, together.
const FEW_ELEMENTS: usize = 1 << 14;

/// One shape that takes little: the one between the first and the last, or the
/// largest of those that have few elements.
pub(crate) fn small(family: &CaseFamily, mut shapes: Vec<Vec<usize>>) -> Vec<Vec<usize>> {
    if shapes.len() > 1 && is_small(family, &shapes[1]) {
        return vec![shapes.swap_remove(1)];
    }
    let largest = family.shapes.iter().filter(|shape| is_small(family, shape));
    largest.max_by_key(|shape| (elements(family, shape), *shape)).cloned().into_iter().collect()
}

/// Whether there is a case of this shape whose inputs have few elements.
pub(crate) fn is_small(family: &CaseFamily, shape: &[usize]) -> bool {
    elements(family, shape).is_some_and(|n| n > 0 && n <= FEW_ELEMENTS)
}

/// The elements of the inputs together, if there is a case of this shape.
fn elements(family: &CaseFamily, shape: &[usize]) -> Option<usize> {
    let case = (family.build)(shape)?;
    let inputs = case.inputs.iter().flatten();
    Some(inputs.map(|input| input.extents.iter().product::<usize>()).sum())
}

/// Whether an input does not fit a binding of [`Config::Minimum`](crate::adapters::Config).
pub(crate) fn is_split(family: &CaseFamily, shape: &[usize]) -> bool {
    let case = (family.build)(shape);
    let inputs = case.iter().flat_map(|case| case.inputs.iter().flatten());
    let bytes = |input: &CaseInput| input.dtype.bytes(&input.extents).unwrap_or(usize::MAX);
    inputs.map(bytes).any(|bytes| bytes > MINIMUM_BINDING as usize)
}

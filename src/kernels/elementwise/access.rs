//! How operands are read when they are broadcast: few dimensions with strides.

use crate::graph::Dim;

/// The dimensions of an output, as few as possible, and how each operand is
/// read. Neighbouring dimensions that every operand treats alike are merged.
#[derive(Debug, Clone, PartialEq)]
pub(crate) struct Layout {
    /// The merged dimensions, slowest first; at least one.
    pub(crate) dims: Vec<Dim>,
    /// For each operand, which of the merged dimensions it has; it is repeated
    /// along the others.
    pub(crate) has: Vec<Vec<bool>>,
}

/// How one operand is read.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Access {
    /// As it lies.
    Flat,
    /// One element for all.
    Scalar,
    /// Repeated along the slower dimension.
    Row,
    /// Repeated along the faster dimension.
    Column,
    /// A stride, possibly 0, for each dimension.
    Strided,
}

impl Layout {
    /// The layout of operands of given shapes within an output.
    pub(crate) fn new(output: &[Dim], operands: &[&[Dim]]) -> Self {
        let one = Dim::Const(1);
        let mut layout = Layout { dims: Vec::new(), has: vec![Vec::new(); operands.len()] };
        for (i, dim) in output.iter().enumerate() {
            if *dim == one {
                continue;
            }
            let own = |shape: &[Dim]| {
                (i + shape.len()).checked_sub(output.len()).is_some_and(|at| shape[at] != one)
            };
            let has: Vec<bool> = operands.iter().map(|shape| own(shape)).collect();
            let same = layout.has.iter().zip(&has).all(|(all, own)| all.last() == Some(own));
            match layout.dims.last_mut() {
                Some(last) if same => *last = &*last * dim,
                _ => {
                    layout.dims.push(dim.clone());
                    layout.has.iter_mut().zip(has).for_each(|(all, own)| all.push(own));
                }
            }
        }
        if layout.dims.is_empty() {
            layout.dims.push(one);
            layout.has.iter_mut().for_each(|all| all.push(true));
        }
        layout
    }

    /// How an operand is read.
    pub(crate) fn access(&self, operand: usize) -> Access {
        match self.has[operand].as_slice() {
            has if has.iter().all(|&own| own) => Access::Flat,
            has if has.iter().all(|&own| !own) => Access::Scalar,
            [false, true] => Access::Row,
            [true, false] => Access::Column,
            _ => Access::Strided,
        }
    }

    /// The operand's stride along each dimension; 0 where it is repeated.
    pub(crate) fn strides(&self, operand: usize) -> Vec<Dim> {
        let mut strides = vec![Dim::Const(0); self.dims.len()];
        let mut stride = Dim::Const(1);
        for (i, dim) in self.dims.iter().enumerate().rev() {
            if self.has[operand][i] {
                strides[i] = stride.clone();
                stride = stride * dim;
            }
        }
        strides
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn layout(output: &[u64], operands: &[&[u64]]) -> Layout {
        let dims = |shape: &[u64]| shape.iter().map(|&n| Dim::Const(n)).collect::<Vec<_>>();
        let operands: Vec<_> = operands.iter().map(|shape| dims(shape)).collect();
        let operands: Vec<_> = operands.iter().map(Vec::as_slice).collect();
        Layout::new(&dims(output), &operands)
    }

    #[test]
    fn dimensions_merge_and_patterns_are_found() {
        let l = layout(&[2, 3, 4, 5], &[&[2, 3, 4, 5], &[4, 5]]);
        assert_eq!(l.dims, [Dim::Const(6), Dim::Const(20)]);
        assert_eq!((l.access(0), l.access(1)), (Access::Flat, Access::Row));
        let l = layout(&[2, 3], &[&[2, 1], &[1, 3]]);
        assert_eq!((l.access(0), l.access(1)), (Access::Column, Access::Row));
        let l = layout(&[2, 3], &[&[], &[2, 3]]);
        assert_eq!((l.access(0), l.access(1)), (Access::Scalar, Access::Flat));
        assert_eq!(l.dims.len(), 1);
        let l = layout(&[2, 3, 4], &[&[2, 1, 4], &[2, 3, 4]]);
        assert_eq!(l.access(0), Access::Strided);
        assert_eq!(l.strides(0), [Dim::Const(4), Dim::Const(0), Dim::Const(1)]);
        let l = layout(&[], &[&[], &[1]]);
        assert_eq!((l.access(0), l.access(1)), (Access::Flat, Access::Flat));
    }
}

//! NumPy broadcasting.

use crate::error::{Error, Result};
use crate::graph::{Dim, Shape, TensorType};
use crate::ops::RefTensor;

/// The shape several operands are broadcast to. Dimensions are compared from
/// the last; each must be equal to the others or the constant 1.
///
/// # Errors
/// If two dimensions differ, or only might be equal at run time.
pub(crate) fn shape(op: &str, operands: &[&TensorType]) -> Result<Shape> {
    let rank = operands.iter().map(|ty| ty.rank()).max().unwrap_or(0);
    let mut shape = vec![Dim::Const(1); rank];
    for ty in operands {
        for (own, dim) in shape[rank - ty.rank()..].iter_mut().zip(&ty.shape) {
            if *own == Dim::Const(1) {
                *own = dim.clone();
            } else if *dim != Dim::Const(1) && dim != own {
                let all: Vec<_> = operands.iter().map(|ty| ty.to_string()).collect();
                let what = format!("{} cannot be broadcast: {own} is not {dim}", all.join(", "));
                return Err(Error::rule(op, what));
            }
        }
    }
    Ok(shape)
}

/// [`shape`] for known extents.
///
/// # Errors
/// As [`shape`].
pub(crate) fn extents(op: &str, operands: &[&RefTensor]) -> Result<Vec<usize>> {
    let types: Vec<TensorType> = operands
        .iter()
        .map(|t| TensorType::new(t.dtype, t.extents.iter().map(|&n| n.into()).collect::<Shape>()))
        .collect();
    let shape = shape(op, &types.iter().collect::<Vec<_>>())?;
    Ok(shape.iter().filter_map(Dim::as_const).map(|n| n as usize).collect())
}

/// Where element `flat` of an output finds its element of an operand.
pub(crate) fn offset(mut flat: usize, output: &[usize], operand: &[usize]) -> usize {
    let (mut at, mut stride) = (0, 1);
    for (i, &n) in output.iter().enumerate().rev() {
        let coordinate = flat % n;
        flat /= n;
        let Some(own) = (i + operand.len()).checked_sub(output.len()) else { break };
        if operand[own] != 1 {
            at += coordinate * stride;
        }
        stride *= operand[own];
    }
    at
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::graph::GraphBuilder;
    use crate::tensor::DType;

    fn ty(shape: &[u64]) -> TensorType {
        TensorType::new(DType::F32, shape.iter().map(|&n| n.into()).collect::<Shape>())
    }

    #[test]
    fn shapes_broadcast_from_the_last_dimension() {
        let (a, b) = (ty(&[2, 1, 4]), ty(&[3, 1]));
        assert_eq!(shape("Add", &[&a, &b]).unwrap(), ty(&[2, 3, 4]).shape);
        assert_eq!(shape("Add", &[&ty(&[]), &ty(&[0])]).unwrap(), ty(&[0]).shape);
        assert!(shape("Add", &[&ty(&[2]), &ty(&[3])]).is_err());
    }

    #[test]
    fn symbols_broadcast_only_with_themselves_and_one() {
        let mut g = GraphBuilder::new();
        let (n, m) = (Dim::from(g.symbol("n")), Dim::from(g.symbol("m")));
        let ty = |dim: &Dim| TensorType::new(DType::F32, [dim.clone()]);
        assert_eq!(shape("Add", &[&ty(&n), &ty(&1u64.into())]).unwrap(), std::slice::from_ref(&n));
        assert!(shape("Add", &[&ty(&n), &ty(&n)]).is_ok());
        assert!(shape("Add", &[&ty(&n), &ty(&m)]).is_err());
    }

    #[test]
    fn offsets_repeat_broadcast_dimensions() {
        let at = |flat| offset(flat, &[2, 3], &[3]);
        assert_eq!([at(0), at(2), at(3), at(5)], [0, 2, 0, 2]);
        let at = |flat| offset(flat, &[2, 3], &[2, 1]);
        assert_eq!([at(0), at(2), at(3), at(5)], [0, 0, 1, 1]);
        assert_eq!(offset(5, &[2, 3], &[]), 0);
    }
}

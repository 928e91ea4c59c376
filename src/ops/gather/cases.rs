//! What `Gather` is tried on.

use super::Gather;
use crate::quant::WEIGHT_TYPES;
use crate::tensor::{DType, Tensor};
use crate::validate::{Case, CaseFamily, CaseInput, Values};

/// An embedding table `[V, N]` of every dtype, then other axes and ranks.
pub(crate) fn cases() -> Vec<CaseFamily> {
    let mut families: Vec<_> =
        WEIGHT_TYPES.into_iter().chain([DType::I32, DType::U32]).map(table).collect();
    families.push(edges());
    families.push(many_indices());
    for dtype in [DType::F32, DType::F16, DType::I32] {
        for (axis, batch_dims) in [(0, 0), (1, 0), (-1, 0), (1, 1), (2, 1), (2, 2)] {
            families.push(ranks(dtype, axis, batch_dims));
        }
    }
    families
}

/// Shapes are `[V, blocks of N, indices]`; a block is one element for plain types.
fn table(dtype: DType) -> CaseFamily {
    let mut shapes = vec![
        vec![1, 1, 1],
        vec![37, 3, 5],
        vec![5, 1, 64],
        vec![19, 2, 0],
        vec![3, 0, 4],
        // More than one binding of 1 MiB.
        vec![1031, 2048 / dtype.block_len(), 7],
    ];
    if dtype.block_len() == 1 {
        shapes.extend([vec![11, 8, 3], vec![11, 15, 3], vec![7, 33, 700], vec![9, 576, 511]]);
    }
    CaseFamily::new(format!("Gather {dtype} table"), shapes, move |shape| {
        let &[v, blocks, picked] = shape else { return None };
        if v == 0 {
            return None;
        }
        let data = CaseInput::run(dtype, &[v, blocks * dtype.block_len()]).constant();
        Some(case(Gather { axis: 0, batch_dims: 0 }, whole(data), &[picked], v))
    })
}

/// The first and last indices of either sign.
fn edges() -> CaseFamily {
    CaseFamily::new("Gather F32 edges of the index range", [vec![2], vec![13]], |shape| {
        let &[v] = shape else { return None };
        let last = i32::try_from(v).ok()? - 1;
        let indices = Tensor::from_i32(&[4], &[0, last, -1, -last - 1]).ok()?;
        let data = CaseInput::run(DType::F32, &[v, 9]);
        Some(Case::new(Gather { axis: 0, batch_dims: 0 }, [data, CaseInput::exact(indices)]))
    })
}

/// Indices of more than one binding of 1 MiB; shapes are `[V, indices]`.
fn many_indices() -> CaseFamily {
    CaseFamily::new("Gather F32 indices over 1 MiB", [vec![5, (1 << 18) + 3]], |shape| {
        let &[v, picked] = shape else { return None };
        let data = CaseInput::run(DType::F32, &[v, 1]);
        (v > 0).then(|| case(Gather { axis: 0, batch_dims: 0 }, data, &[picked], v))
    })
}

/// Shapes are `[A, B, C, picked]`: data is `[A, B, C]`, indices are
/// `[picked, 2]` after the batch dimensions.
fn ranks(dtype: DType, axis: i64, batch_dims: usize) -> CaseFamily {
    let shapes = [[2, 3, 5, 2], [1, 1, 1, 1], [3, 7, 64, 4], [2, 5, 9, 0], [2, 0, 9, 3]];
    let label = format!("Gather {dtype} axis={axis} batch_dims={batch_dims}");
    CaseFamily::new(label, shapes.map(|s| s.to_vec()), move |shape| {
        let (&picked, data) = shape.split_last()?;
        let op = Gather { axis, batch_dims };
        let entries = *data.get(op.front_axis(data.len())?)?;
        let mut indices = data[..batch_dims].to_vec();
        indices.extend([picked, 2]);
        if entries == 0 && indices.iter().product::<usize>() > 0 {
            return None;
        }
        Some(case(op, whole(CaseInput::run(dtype, data)), &indices, entries))
    })
}

/// Integers go to the ends of their range.
fn whole(data: CaseInput) -> CaseInput {
    match data.dtype {
        DType::I32 => data.values(Values::Whole(i32::MIN.into(), 1 << 31)),
        DType::U32 => data.values(Values::Whole(0, 1 << 32)),
        _ => data,
    }
}

fn case(op: Gather, data: CaseInput, indices: &[usize], entries: usize) -> Case {
    let most = entries as i64;
    let indices = CaseInput::run(DType::I32, indices).values(Values::Whole(-most, most));
    Case::new(op, [data, indices])
}

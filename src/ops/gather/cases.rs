//! What `Gather` is tried on.

use super::{Gather, GatherElements, GatherND, Take};
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
        // Rows that take turns on software adapters (`kernels/interleave.rs`).
        vec![64, 3, 21],
        vec![32, 1, 5],
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

/// Elements of 4, 2 and 1 bytes.
const STORED: [DType; 7] =
    [DType::F32, DType::I32, DType::I64, DType::F16, DType::BF16, DType::I8, DType::Bool];

/// What is tried on every dtype, and what on a few that stand for all.
fn some<T>(dtype: DType, all: &[T]) -> &[T] {
    if matches!(dtype, DType::F32 | DType::I8) { all } else { &all[..1] }
}

fn stored(dtype: DType, extents: &[usize]) -> CaseInput {
    let input = CaseInput::run(dtype, extents);
    match dtype {
        DType::I64 | DType::I8 | DType::Bool => input.values(Values::Whole(-100, 100)),
        _ => whole(input),
    }
}

/// For 64-bit data they are 64-bit numbers as well.
fn some_indices(dtype: DType, extents: &[usize], entries: usize) -> Option<CaseInput> {
    let most = entries as i64;
    let any = extents.iter().product::<usize>() > 0;
    let values = Values::Whole(-most, most);
    let own = if dtype == DType::I64 { DType::I64 } else { DType::I32 };
    (entries > 0 || !any).then(|| CaseInput::run(own, extents).values(values))
}

/// Shapes are `[A, B, C, picked]`, as for [`ranks`].
pub(crate) fn take_cases() -> Vec<CaseFamily> {
    let shapes =
        [[2, 3, 5, 2], [1, 1, 1, 1], [3, 7, 33, 4], [2, 5, 9, 0], [2, 0, 9, 3], [2, 4, 1, 9]];
    let mut families = Vec::new();
    for dtype in STORED {
        for &(axis, batch_dims) in some(dtype, &[(1, 0), (0, 0), (-1, 0), (1, 1), (2, 1)]) {
            let label = format!("{dtype} axis={axis} batch_dims={batch_dims}");
            families.push(CaseFamily::new(label, shapes.map(Vec::from), move |shape| {
                let (&picked, data) = shape.split_last()?;
                let at = if axis < 0 { data.len() - 1 } else { axis as usize };
                let extents = [&data[..batch_dims], &[picked, 2]].concat();
                let indices = some_indices(dtype, &extents, data[at])?;
                Some(Case::new(Take { axis, batch_dims }, [stored(dtype, data), indices]))
            }));
        }
    }
    for (dtype, shape) in [(DType::F32, [5, 521, 601]), (DType::F16, [3, 1009, 701])] {
        let label = format!("{dtype} data over 1 MiB");
        families.push(CaseFamily::new(label, [shape.to_vec()], move |d| {
            let indices = some_indices(dtype, &[3], d[1])?;
            Some(Case::new(Take { axis: 1, batch_dims: 0 }, [stored(dtype, d), indices]))
        }));
    }
    families
}

/// Shapes are `[A, B, C, picked along the axis]`.
pub(crate) fn elements_cases() -> Vec<CaseFamily> {
    let shapes =
        [[2, 3, 5, 2], [1, 1, 1, 1], [3, 7, 33, 41], [2, 5, 9, 0], [0, 4, 9, 3], [4, 1, 6, 5]];
    let mut families = Vec::new();
    let case = |dtype: DType, axis: i64, shape: &[usize]| {
        let (&picked, data) = shape.split_last()?;
        let at = if axis < 0 { data.len() - 1 } else { axis as usize };
        let mut extents = data.to_vec();
        extents[at] = picked;
        let indices = some_indices(dtype, &extents, data[at])?;
        Some(Case::new(GatherElements { axis }, [stored(dtype, data), indices]))
    };
    for dtype in STORED {
        for &axis in some(dtype, &[1, 0, -1]) {
            let label = format!("{dtype} axis={axis}");
            families.push(CaseFamily::new(label, shapes.map(Vec::from), move |shape| {
                case(dtype, axis, shape)
            }));
        }
    }
    families.push(CaseFamily::new("F32 fewer indices", [vec![5, 7, 9], vec![4, 4, 4]], |d| {
        let indices = some_indices(DType::F32, &[d[0] / 2, 11, d[2] / 3], d[1])?;
        Some(Case::new(GatherElements { axis: 1 }, [stored(DType::F32, d), indices]))
    }));
    for (dtype, shape) in [(DType::F32, [3, 401, 301, 299]), (DType::F16, [2, 601, 503, 601])] {
        let label = format!("{dtype} over 1 MiB");
        families.push(CaseFamily::new(label, [shape.to_vec()], move |shape| case(dtype, 1, shape)));
    }
    families
}

/// Shapes are `[A, B, C, picked]`.
pub(crate) fn nd_cases() -> Vec<CaseFamily> {
    let shapes =
        [[2, 3, 5, 2], [1, 1, 1, 1], [3, 7, 33, 41], [2, 5, 9, 0], [3, 4, 0, 3], [4, 2, 6, 5]];
    let mut families = Vec::new();
    let case = |dtype: DType, batch_dims: usize, depth: usize, shape: &[usize]| {
        let (&picked, data) = shape.split_last()?;
        let entries = *data[batch_dims..batch_dims + depth].iter().min()?;
        let extents = [&data[..batch_dims], &[picked, depth]].concat();
        let indices = some_indices(dtype, &extents, entries)?;
        Some(Case::new(GatherND { batch_dims }, [stored(dtype, data), indices]))
    };
    for dtype in STORED {
        let kinds = [(1, 1), (0, 1), (0, 2), (0, 3), (1, 2), (2, 1)];
        for &(batch_dims, depth) in some(dtype, &kinds) {
            let label = format!("{dtype} batch_dims={batch_dims} depth={depth}");
            families.push(CaseFamily::new(label, shapes.map(Vec::from), move |shape| {
                case(dtype, batch_dims, depth, shape)
            }));
        }
    }
    for (dtype, depth, shape) in [
        (DType::F32, 1, [307, 11, 101, 200]),
        (DType::F16, 2, [9, 3, 40_001, 11]),
        (DType::F32, 3, [7, 5, 3, 150_001]),
    ] {
        let label = format!("{dtype} depth={depth} over 1 MiB");
        families.push(CaseFamily::new(label, [shape.to_vec()], move |shape| {
            case(dtype, 0, depth, shape)
        }));
    }
    families
}

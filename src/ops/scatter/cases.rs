//! What the scattering operators are tried on.

use super::{Reduction, ScatterElements, ScatterND};
use crate::tensor::{DType, Tensor};
use crate::validate::{Case, CaseFamily, CaseInput, Values};

const DTYPES: [DType; 8] = [
    DType::F32,
    DType::I32,
    DType::U32,
    DType::I64,
    DType::F16,
    DType::BF16,
    DType::U8,
    DType::Bool,
];

fn input(dtype: DType, extents: &[usize]) -> CaseInput {
    let input = CaseInput::run(dtype, extents);
    match dtype {
        DType::F32 | DType::F16 | DType::BF16 => input,
        DType::I32 => input.values(Values::Whole(-1000, 1000)),
        // Their products stay within 32 bits: a device has no more.
        DType::I64 => input.values(Values::Whole(-2, 3)),
        _ => input.values(Values::Whole(0, 100)),
    }
}

/// For 64-bit data they are 64-bit numbers as well.
fn indices(dtype: DType, extents: &[usize], entries: usize) -> CaseInput {
    let most = entries as i64;
    let own = if dtype == DType::I64 { DType::I64 } else { DType::I32 };
    CaseInput::run(own, extents).values(Values::Whole(-most, most))
}

/// Whole numbers from 0 to n - 1, each once, in a scattered order: 7919 is a
/// prime that divides no n here.
fn each_once(n: usize) -> impl Iterator<Item = i32> {
    (0..n).map(move |i| (i * 7919 % n.max(1)) as i32)
}

/// What is tried on every dtype, and what on a few that stand for all.
fn some<T>(dtype: DType, all: &[T]) -> &[T] {
    if matches!(dtype, DType::F32 | DType::U8) { all } else { &all[..1] }
}

/// Dtypes with the reductions they have.
fn combinations() -> impl Iterator<Item = (Reduction, DType)> {
    let pairs = |reduction| DTYPES.into_iter().map(move |dtype| (reduction, dtype));
    Reduction::ALL.into_iter().flat_map(pairs).filter(|(reduction, dtype)| reduction.takes(*dtype))
}

/// Shapes are `[A, B, C, updates along the axis]`.
pub(crate) fn elements_cases() -> Vec<CaseFamily> {
    let shapes =
        [[1, 1, 1, 1], [2, 3, 5, 4], [3, 7, 4, 9], [2, 5, 3, 0], [0, 2, 3, 1], [1, 31, 33, 64]];
    let mut families = Vec::new();
    for (reduction, dtype) in combinations() {
        for &axis in some(dtype, &[1, 0, -1]) {
            let label = format!("{reduction:?} {dtype} axis {axis}");
            families.push(CaseFamily::new(label, shapes.map(Vec::from), move |d| {
                elements(reduction, dtype, axis, &d[..3], d[3])
            }));
        }
    }
    let large = |reduction, shape: [usize; 4]| {
        let label = format!("{reduction:?} F32 over 1 MiB");
        CaseFamily::new(label, [shape.to_vec()], move |d| {
            elements(reduction, DType::F32, 1, &d[..3], d[3])
        })
    };
    families.push(large(Reduction::None, [3, 307, 401, 300]));
    families.push(large(Reduction::Add, [1, 9, 65_537, 11]));
    families
}

fn elements(
    reduction: Reduction,
    dtype: DType,
    axis: i64,
    data: &[usize],
    along: usize,
) -> Option<Case> {
    let at = if axis < 0 { data.len() - 1 } else { axis as usize };
    let (mut extents, n) = (data.to_vec(), data[at]);
    let unique = reduction == Reduction::None;
    extents[at] = if unique { along.min(n) } else { along };
    if n == 0 && extents.iter().product::<usize>() > 0 {
        return None;
    }
    let inputs = if unique {
        // Along the axis each index once, wherever else they are the same.
        let inner: usize = extents[at + 1..].iter().product();
        let order: Vec<i32> = each_once(n).collect();
        let count: usize = extents.iter().product();
        let own = |i: usize| order[i / inner.max(1) % extents[at].max(1)];
        let tensor = Tensor::from_i32(&extents, &(0..count).map(own).collect::<Vec<_>>()).ok()?;
        CaseInput::exact(tensor)
    } else {
        indices(dtype, &extents, n)
    };
    let op = ScatterElements { axis, reduction };
    Some(Case::new(op, [input(dtype, data), inputs, input(dtype, &extents)]))
}

/// Shapes are `[A, B, C, updates]`.
pub(crate) fn nd_cases() -> Vec<CaseFamily> {
    let shapes =
        [[1, 1, 1, 1], [4, 3, 5, 2], [3, 7, 4, 9], [5, 2, 3, 0], [2, 3, 0, 2], [13, 11, 9, 40]];
    let mut families = Vec::new();
    for (reduction, dtype) in combinations() {
        for &depth in some(dtype, &[2, 1, 3]) {
            let label = format!("{reduction:?} {dtype} depth {depth}");
            families.push(CaseFamily::new(label, shapes.map(Vec::from), move |d| {
                nd(reduction, dtype, depth, &d[..3], d[3])
            }));
        }
    }
    for (reduction, depth, shape) in [
        (Reduction::None, 1, [307, 11, 101, 205]),
        (Reduction::Add, 2, [3, 5, 23_001, 21]),
        (Reduction::Max, 3, [31, 23, 17, 100_001]),
    ] {
        let label = format!("{reduction:?} F32 depth {depth} over 1 MiB");
        families.push(CaseFamily::new(label, [shape.to_vec()], move |d| {
            nd(reduction, DType::F32, depth, &d[..3], d[3])
        }));
    }
    families
}

fn nd(
    reduction: Reduction,
    dtype: DType,
    depth: usize,
    data: &[usize],
    updates: usize,
) -> Option<Case> {
    let positions: usize = data[..depth].iter().product();
    let unique = reduction == Reduction::None;
    let updates = if unique { updates.min(positions) } else { updates };
    if positions == 0 && updates > 0 {
        return None;
    }
    let inputs = if unique {
        let mut tuples = Vec::new();
        for position in each_once(positions).take(updates) {
            let mut left = position as usize;
            let mut tuple = vec![0; depth];
            for axis in (0..depth).rev() {
                // Every other one counts from the end.
                let at = (left % data[axis]) as i32;
                tuple[axis] = if axis % 2 == 1 { at - data[axis] as i32 } else { at };
                left /= data[axis];
            }
            tuples.extend(tuple);
        }
        CaseInput::exact(Tensor::from_i32(&[updates, depth], &tuples).ok()?)
    } else {
        // In range for each of them.
        indices(dtype, &[updates, depth], *data[..depth].iter().min()?)
    };
    let mut extents = vec![updates];
    extents.extend_from_slice(&data[depth..]);
    Some(Case::new(ScatterND { reduction }, [input(dtype, data), inputs, input(dtype, &extents)]))
}

//! What reductions and the places of extrema are tried on.

use super::{ArgReduce, Reduce, Reduction};
use crate::tensor::DType;
use crate::validate::{Case, CaseFamily, CaseInput, Values};

/// The last are more than a binding of 1 MiB: with long rows, with a long
/// column, and with a span that is cut.
const ROWS: [[usize; 3]; 8] = [
    [1, 1, 1],
    [1, 1, 7],
    [3, 5, 64],
    [2, 3, 257],
    [0, 4, 5],
    [2, 3, 0],
    [1, 2, 33_001],
    [3, 3, 30_011],
];
const MIDDLES: [[usize; 3]; 6] =
    [[1, 1, 1], [2, 3, 5], [3, 37, 2], [4, 0, 3], [2, 5, 0], [1, 9_001, 31]];
const APART: [[usize; 3]; 5] = [[1, 1, 1], [2, 3, 5], [17, 2, 33], [0, 4, 3], [33, 5, 1_031]];
const ALL: [[usize; 3]; 4] = [[1, 1, 1], [2, 3, 5], [2, 0, 3], [5, 113, 503]];
const SMALL: [[usize; 3]; 3] = [[2, 3, 5], [3, 1, 41], [2, 7, 530]];

/// The places of extrema cut no spans.
const MIDDLE_ROWS: [[usize; 3]; 6] =
    [[1, 1, 1], [2, 3, 5], [3, 37, 2], [4, 0, 3], [2, 5, 0], [3, 3_001, 31]];

const NARROW: [DType; 8] =
    [DType::F16, DType::BF16, DType::I32, DType::U32, DType::I16, DType::U16, DType::I8, DType::U8];

fn shapes<const N: usize>(list: &[[usize; N]]) -> Vec<Vec<usize>> {
    list.iter().map(|shape| shape.to_vec()).collect()
}

/// Values that the reduction's bound is meaningful for: products that neither
/// vanish nor overflow, sums that have a logarithm.
fn input(reduction: Reduction, dtype: DType, extents: &[usize]) -> CaseInput {
    let count: usize = extents.iter().product();
    let near_one = 1.0 / (count.max(4) as f64).sqrt();
    let values = match (reduction, dtype) {
        (_, DType::I8) => Values::Whole(-128, 128),
        (_, DType::U8) => Values::Whole(0, 256),
        (_, DType::U32) => Values::Whole(0, 1 << 32),
        // On a device no step may leave 32 bits.
        (Reduction::Prod, DType::I64) => Values::Whole(-1, 2),
        (Reduction::Prod, DType::U64) => Values::Whole(1, 2),
        (_, DType::I64) => Values::Whole(-500, 500),
        (_, DType::U64) => Values::Whole(0, 500),
        (_, DType::I16) => Values::Whole(-(1 << 15), 1 << 15),
        (_, DType::U16) => Values::Whole(0, 1 << 16),
        (_, dtype) if dtype.is_integer() => Values::Whole(-(1 << 31), 1 << 31),
        (Reduction::Prod, _) => Values::Uniform(1.0 - near_one, 1.0 + near_one),
        (Reduction::LogSum, _) => Values::Uniform(0.5, 2.0),
        _ => Values::Normal(1.0),
    };
    CaseInput::run(dtype, extents).values(values)
}

/// A real mean of no elements is no number, which is no yardstick.
fn means_something(reduction: Reduction, reduced: &[usize]) -> bool {
    reduction != Reduction::Mean || !reduced.contains(&0)
}

pub(crate) fn reduce_cases(reduction: Reduction) -> Vec<CaseFamily> {
    let over =
        |label: &str, dtype: DType, axes: &'static [i64], keepdims, list: Vec<Vec<usize>>| {
            CaseFamily::new(format!("{dtype} {label}"), list, move |d| {
                let reduced: Vec<usize> =
                    axes.iter().map(|&axis| d[axis.rem_euclid(3) as usize]).collect();
                let op = Reduce { reduction, axes: axes.to_vec(), keepdims };
                let x = input(reduction, dtype, d);
                means_something(reduction, &reduced).then(|| Case::new(op, [x]))
            })
        };
    let real = DType::F32;
    let mut families = vec![
        over("last axis", real, &[-1], false, shapes(&ROWS)),
        over("middle axis", real, &[1], true, shapes(&MIDDLES)),
        over("axes apart", real, &[0, 2], false, shapes(&APART)),
        over("all axes", real, &[0, -2, 2], true, shapes(&ALL)),
        over("no axes", real, &[], true, shapes(&SMALL)),
    ];
    for dtype in NARROW.into_iter().chain([DType::I64, DType::U64]) {
        if reduction.takes(dtype) {
            families.push(over("last axis", dtype, &[2], true, shapes(&SMALL)));
            families.push(over("first axes", dtype, &[1, 0], false, shapes(&SMALL)));
        }
    }
    if matches!(reduction, Reduction::Max | Reduction::Min) {
        families.push(over("last axis", DType::Bool, &[2], false, shapes(&SMALL)));
    }
    if reduction == Reduction::LogSumExp {
        families.push(CaseFamily::new("spread 30", shapes(&SMALL), |d| {
            let op = Reduce { reduction: Reduction::LogSumExp, axes: vec![2], keepdims: false };
            Some(Case::new(op, [CaseInput::run(DType::F32, d).values(Values::Normal(30.0))]))
        }));
    }
    if reduction == Reduction::Sum {
        // More results than a binding of 1 MiB has, of fewer bytes.
        families.push(over("many results", DType::I8, &[1], false, shapes(&[[300, 2, 1_009]])));
    }
    families
}

pub(crate) fn arg_cases(largest: bool) -> Vec<CaseFamily> {
    let over = |label: &str, dtype: DType, axis: i64, last: bool, list: Vec<Vec<usize>>| {
        let which = if last { "last" } else { "first" };
        CaseFamily::new(format!("{dtype} {label}, {which} of equals"), list, move |d| {
            let op = ArgReduce {
                largest,
                axis,
                keepdims: last,
                select_last_index: last,
                index: if last { DType::I64 } else { DType::I32 },
            };
            let n = d[axis.rem_euclid(3) as usize];
            // Few values, so that there are equals.
            let least = if dtype.is_unsigned_integer() { 0 } else { -9 };
            let x = CaseInput::run(dtype, d).values(Values::Whole(least, 9));
            (n > 0).then(|| Case::new(op, [x]))
        })
    };
    let mut families = Vec::new();
    for last in [false, true] {
        families.push(over("last axis", DType::F32, -1, last, shapes(&ROWS)));
        families.push(over("middle axis", DType::F32, 1, last, shapes(&MIDDLE_ROWS)));
        for dtype in NARROW.into_iter().chain([DType::I64, DType::U64]) {
            families.push(over("last axis", dtype, 2, last, shapes(&SMALL)));
        }
    }
    families.push(over("many results", DType::U8, 1, false, shapes(&[[300, 2, 1_009]])));
    families
}

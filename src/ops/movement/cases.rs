//! What the operators are tried on.

use super::{Concat, Expand, Pad, PadMode, Reshape, Slice, SliceRange, Transpose, Trilu};
use crate::graph::Dim;
use crate::tensor::DType;
use crate::validate::{Case, CaseFamily, CaseInput, Values};

/// Storage widths of 4, 2 and 1 bytes, and 64-bit numbers, of which a device has 4.
const DTYPES: [DType; 6] = [DType::F32, DType::I32, DType::I64, DType::F16, DType::BF16, DType::I8];

fn input(dtype: DType, extents: &[usize]) -> CaseInput {
    let input = CaseInput::run(dtype, extents);
    if dtype.is_integer() { input.values(Values::Whole(-1000, 1000)) } else { input }
}

fn shapes<const N: usize>(list: &[[usize; N]]) -> Vec<Vec<usize>> {
    list.iter().map(|shape| shape.to_vec()).collect()
}

/// Names a family of operands over a binding of 1 MiB.
fn over(dtype: DType) -> String {
    format!("{dtype} over 1 MiB")
}

fn dims(shape: &[usize]) -> Vec<Dim> {
    shape.iter().map(|&n| n.into()).collect()
}

/// What is tried on every dtype, and what on a few that stand for all: the places
/// of elements do not depend on what they are.
fn some<T>(dtype: DType, all: &[T]) -> &[T] {
    if matches!(dtype, DType::F32 | DType::I8) { all } else { &all[..1] }
}

pub(crate) fn reshape_cases() -> Vec<CaseFamily> {
    let build = |d: &[usize]| {
        let shape = dims(&[d[2], d[0], d[1]]);
        Some(Case::new(Reshape { shape }, [input(DType::F32, &[d[0] * d[1], d[2]])]))
    };
    vec![CaseFamily::new("F32", shapes(&[[1, 1, 1], [3, 5, 7], [2, 0, 3], [13, 1, 4]]), build)]
}

pub(crate) fn transpose_cases() -> Vec<CaseFamily> {
    let mut families = Vec::new();
    for dtype in DTYPES {
        let two = shapes(&[[1, 1], [3, 5], [17, 1], [0, 4], [64, 33], [101, 7]]);
        families.push(CaseFamily::new(format!("{dtype} matrix"), two, move |d| {
            Some(Case::new(Transpose { permutation: vec![1, 0] }, [input(dtype, d)]))
        }));
        let four = shapes(&[[1, 1, 1, 1], [2, 3, 5, 7], [3, 1, 2, 9], [2, 0, 3, 4], [1, 8, 16, 5]]);
        for permutation in [[0, 2, 1, 3], [3, 2, 1, 0], [1, 3, 0, 2], [0, 1, 2, 3]] {
            let label = format!("{dtype} {permutation:?}");
            families.push(CaseFamily::new(label, four.clone(), move |d| {
                let op = Transpose { permutation: permutation.to_vec() };
                Some(Case::new(op, [input(dtype, d)]))
            }));
        }
    }
    let eight = shapes(&[[2, 1, 3, 2, 1, 2, 3, 2]]);
    for (dtype, shape) in [(DType::F32, [513, 521]), (DType::F16, [727, 731])] {
        families.push(CaseFamily::new(over(dtype), shapes(&[shape]), move |d| {
            Some(Case::new(Transpose { permutation: vec![1, 0] }, [input(dtype, d)]))
        }));
    }
    families.push(CaseFamily::new("F32 rank 8", eight, |d| {
        let op = Transpose { permutation: vec![7, 0, 6, 1, 5, 2, 4, 3] };
        Some(Case::new(op, [input(DType::F32, d)]))
    }));
    families
}

pub(crate) fn slice_cases() -> Vec<CaseFamily> {
    let range = |axis, start, end, step| SliceRange { axis, start, end, step };
    let lists = [
        vec![range(0, 1, i64::MAX, 1)],
        vec![range(1, -3, i64::MAX, 1), range(0, 0, 2, 1)],
        vec![range(-1, i64::MAX, i64::MIN, -1)],
        vec![range(1, 1, 100, 3), range(0, -1, i64::MIN, -2)],
        vec![range(0, 5, 2, 1)],
    ];
    let all = shapes(&[[1, 1], [3, 8], [7, 13], [0, 5], [31, 65]]);
    let mut families = Vec::new();
    for dtype in DTYPES {
        for ranges in &lists {
            let ranges = ranges.clone();
            let label = format!(
                "{dtype} {:?}",
                ranges.iter().map(|r| (r.axis, r.start, r.end, r.step)).collect::<Vec<_>>()
            );
            families.push(CaseFamily::new(label, all.clone(), move |d| {
                Some(Case::new(Slice { ranges: ranges.clone() }, [input(dtype, d)]))
            }));
        }
    }
    for (dtype, shape) in [(DType::F32, [3, 90_001]), (DType::F16, [531, 1009])] {
        families.push(CaseFamily::new(over(dtype), shapes(&[shape]), move |d| {
            let ranges = vec![range(0, -1, i64::MIN, -2), range(1, 5, i64::MAX, 1)];
            Some(Case::new(Slice { ranges }, [input(dtype, d)]))
        }));
    }
    families
}

pub(crate) fn expand_cases() -> Vec<CaseFamily> {
    let all = shapes(&[[1, 1, 1], [2, 3, 5], [4, 1, 7], [0, 3, 2], [3, 0, 2], [5, 17, 9]]);
    let mut families = Vec::new();
    for dtype in DTYPES {
        families.push(CaseFamily::new(format!("{dtype} middle"), all.clone(), move |d| {
            Some(Case::new(Expand { shape: dims(d) }, [input(dtype, &[d[0], 1, d[2]])]))
        }));
        families.push(CaseFamily::new(format!("{dtype} leading"), all.clone(), move |d| {
            Some(Case::new(Expand { shape: dims(&[d[0], d[1], 1]) }, [input(dtype, &[d[1], d[2]])]))
        }));
    }
    for (dtype, shape) in [(DType::F32, [1, 2, 270_001]), (DType::F16, [3, 2, 180_001])] {
        families.push(CaseFamily::new(over(dtype), shapes(&[shape]), move |d| {
            Some(Case::new(Expand { shape: dims(d) }, [input(dtype, &[d[0], 1, d[2]])]))
        }));
    }
    families
}

pub(crate) fn concat_cases() -> Vec<CaseFamily> {
    let all = shapes(&[
        [1, 1, 1, 1],
        [2, 3, 4, 5],
        [3, 1, 0, 2],
        [2, 5, 7, 3],
        [0, 2, 3, 4],
        [9, 8, 1, 31],
    ]);
    let mut families = Vec::new();
    for dtype in DTYPES {
        families.push(CaseFamily::new(format!("{dtype} middle"), all.clone(), move |d| {
            let part = |n: usize| input(dtype, &[d[0], n, d[3]]);
            Some(Case::new(Concat { axis: 1 }, [part(d[1]), part(d[2]), part(1)]))
        }));
        families.push(CaseFamily::new(format!("{dtype} last"), all.clone(), move |d| {
            let part = |n: usize| input(dtype, &[d[0], d[3], n]);
            Some(Case::new(Concat { axis: -1 }, [part(d[1]), part(d[2])]))
        }));
        families.push(CaseFamily::new(format!("{dtype} first"), all.clone(), move |d| {
            let part = |n: usize| input(dtype, &[n, d[3]]);
            Some(Case::new(Concat { axis: 0 }, [part(d[0]), part(d[1]), part(d[2])]))
        }));
    }
    // One row over the limit, then many below it.
    for (dtype, inner) in [(DType::F32, 53_001), (DType::F16, 105_001)] {
        let list = shapes(&[[1, 5, 2, inner], [11, 1, 2, inner / 11], [13, 3, 0, inner / 13]]);
        families.push(CaseFamily::new(over(dtype), list, move |d| {
            let part = |n: usize| input(dtype, &[d[0], n, d[3]]);
            Some(Case::new(Concat { axis: 1 }, [part(d[1]), part(d[2]), part(1)]))
        }));
    }
    families
}

pub(crate) fn pad_cases() -> Vec<CaseFamily> {
    let lists: [&[[i64; 2]]; 6] = [
        &[[0, 0], [1, 2], [3, 0]],
        &[[2, 1], [0, 0], [0, 0]],
        &[[-1, 3], [0, -1], [4, -2]],
        &[[0, 0], [-1, 0], [5, 7]],
        &[[1, 0], [2, 2], [0, 1]],
        &[[0, 0], [0, 0], [0, 0]],
    ];
    let all = shapes(&[[1, 1, 1], [2, 3, 5], [4, 2, 7], [3, 5, 4], [0, 3, 4], [3, 4, 0]]);
    let mut families = Vec::new();
    for mode in PadMode::ALL {
        for dtype in DTYPES.into_iter().chain([DType::Bool]) {
            for pads in some(dtype, &lists) {
                let pads = *pads;
                let label = format!("{dtype} {mode:?} {pads:?}");
                families
                    .push(CaseFamily::new(label, all.clone(), move |d| pad(mode, dtype, pads, d)));
            }
        }
        for (dtype, shape) in [(DType::F32, [3, 90_001]), (DType::F16, [531, 1009])] {
            let label = format!("{mode:?} {}", over(dtype));
            families.push(CaseFamily::new(label, shapes(&[shape]), move |d| {
                pad(mode, dtype, &[[1, 0], [3, 2]], d)
            }));
        }
    }
    let eight = shapes(&[[2, 1, 3, 2, 1, 2, 3, 2]]);
    families.push(CaseFamily::new("F32 rank 8", eight, |d| {
        pad(
            PadMode::Reflect,
            DType::F32,
            &[[1, 0], [0, 2], [1, 1], [0, 1], [1, 0], [1, 1], [0, 1], [1, 1]],
            d,
        )
    }));
    families.push(CaseFamily::new("scalar", [Vec::new()], |d| {
        pad(PadMode::Constant, DType::F32, &[], d)
    }));
    families
}

/// With a value where the mode has one and the first pad is not 0.
fn pad(mode: PadMode, dtype: DType, pads: &[[i64; 2]], extents: &[usize]) -> Option<Case> {
    let op = Pad { mode, pads: pads.to_vec() };
    for (pads, &n) in pads.iter().zip(extents) {
        let taken: u64 = pads.iter().map(|pad| pad.min(&0).unsigned_abs()).sum();
        let kept = (n as u64).checked_sub(taken)?;
        let grows = pads.iter().any(|&pad| pad > 0);
        if mode != PadMode::Constant && kept == 0 && grows {
            return None;
        }
    }
    let mut inputs = vec![input(dtype, extents)];
    if mode == PadMode::Constant && pads.first().is_some_and(|pads| pads[0] != 0) {
        inputs.push(input(dtype, &[]));
    }
    Some(Case::new(op, inputs))
}

pub(crate) fn trilu_cases() -> Vec<CaseFamily> {
    let all = shapes(&[[1, 1, 1], [2, 3, 5], [3, 7, 4], [1, 33, 31], [2, 0, 3], [2, 3, 0]]);
    let mut families = Vec::new();
    for dtype in DTYPES.into_iter().chain([DType::Bool]) {
        let kinds = [(false, 3), (true, 0), (false, 0), (true, -2), (true, i64::MAX)];
        for &(upper, k) in some(dtype, &kinds) {
            let label = format!("{dtype} upper={upper} k={k}");
            families.push(CaseFamily::new(label, all.clone(), move |d| {
                Some(Case::new(Trilu { upper, k }, [input(dtype, d)]))
            }));
        }
    }
    for (dtype, shape) in [(DType::F32, [2, 501, 307]), (DType::F16, [2, 601, 507])] {
        families.push(CaseFamily::new(over(dtype), shapes(&[shape]), move |d| {
            Some(Case::new(Trilu { upper: false, k: 5 }, [input(dtype, d)]))
        }));
    }
    families
}

//! What TopK is tried on.

use super::TopK;
use crate::tensor::DType;
use crate::validate::{Case, CaseFamily, CaseInput, Values};

/// Extents, and how many are wanted. The last of each is more than a binding of
/// 1 MiB.
const LAST: [[usize; 4]; 9] = [
    [1, 1, 1, 1],
    [1, 1, 7, 3],
    [3, 5, 64, 64],
    [0, 4, 5, 2],
    [2, 3, 4, 0],
    [1, 2, 1_031, 1_000],
    [2, 1, 2_053, 5],
    [1, 1, 33_001, 2_500],
    [3, 31, 3_011, 17],
];
const MIDDLE: [[usize; 4]; 5] =
    [[1, 1, 1, 1], [2, 5, 3, 2], [3, 37, 2, 37], [4, 3, 0, 2], [1, 1_301, 5, 40]];
const NARROW: [DType; 10] = [
    DType::F16,
    DType::BF16,
    DType::I32,
    DType::U32,
    DType::I64,
    DType::U64,
    DType::I16,
    DType::U16,
    DType::I8,
    DType::U8,
];
const SMALL: [[usize; 4]; 3] = [[1, 3, 5, 2], [2, 1, 130, 7], [1, 2, 300, 300]];

pub(crate) fn cases() -> Vec<CaseFamily> {
    let over = |label: &str, dtype: DType, axis: i64, largest: bool, list: Vec<[usize; 4]>| {
        let which = if largest { "largest" } else { "smallest" };
        let shapes = list.into_iter().map(Vec::from);
        CaseFamily::new(format!("{dtype} {which}, {label}"), shapes, move |d| {
            let (extents, k) = (&d[..3], d[3]);
            let n = extents[axis.rem_euclid(3) as usize];
            let op = TopK {
                k: k as u64,
                axis,
                largest,
                index: if largest { DType::I32 } else { DType::I64 },
            };
            // Whole numbers are few, so that there are equal ones.
            let values = match dtype {
                DType::F32 if has_reals(n) => Values::Normal(1.0),
                dtype if dtype.is_unsigned_integer() => Values::Whole(0, 40),
                _ => Values::Whole(-40, 40),
            };
            (k <= n).then(|| Case::new(op, [CaseInput::run(dtype, extents).values(values)]))
        })
    };
    let mut families = Vec::new();
    for largest in [true, false] {
        families.push(over("last axis", DType::F32, -1, largest, LAST.to_vec()));
        families.push(over("middle axis", DType::F32, 1, largest, MIDDLE.to_vec()));
        for dtype in NARROW {
            families.push(over("last axis", dtype, 2, largest, SMALL.to_vec()));
        }
    }
    families
}

/// Odd lengths have real numbers, even ones few different values.
fn has_reals(n: usize) -> bool {
    n % 2 == 1
}

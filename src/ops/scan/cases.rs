//! What CumSum and CumProd are tried on.

use super::Cumulative;
use crate::tensor::DType;
use crate::validate::{Case, CaseFamily, CaseInput, Values};

/// The last is more than a binding of 1 MiB, and its lines are cut.
const LAST: [[usize; 3]; 7] =
    [[1, 1, 1], [1, 1, 7], [3, 5, 64], [0, 4, 5], [2, 3, 0], [1, 1, 70_001], [3, 3, 30_011]];
const MIDDLE: [[usize; 3]; 6] =
    [[1, 1, 1], [2, 3, 5], [3, 37, 2], [4, 0, 3], [2, 5, 0], [3, 3_001, 31]];

pub(crate) fn cases(product: bool) -> Vec<CaseFamily> {
    let mut families = Vec::new();
    for (exclusive, reverse) in [(false, false), (true, false), (false, true), (true, true)] {
        for dtype in [DType::F32, DType::I32, DType::U32, DType::I64, DType::U64] {
            for (axis, shapes) in [(-1, LAST.to_vec()), (1, MIDDLE.to_vec())] {
                // The other dtypes differ in nothing that depends on these.
                if dtype != DType::F32 && (exclusive != reverse || axis == 1) {
                    continue;
                }
                let label = format!("{dtype} axis {axis} exclusive {exclusive} reverse {reverse}");
                let shapes = shapes.into_iter().map(Vec::from);
                families.push(CaseFamily::new(label, shapes, move |d| {
                    let op = Cumulative { product, axis, exclusive, reverse };
                    let n = d[axis.rem_euclid(3) as usize];
                    Some(Case::new(op, [input(product, dtype, d, n)]))
                }));
            }
        }
    }
    families
}

/// Products neither vanish nor overflow.
fn input(product: bool, dtype: DType, extents: &[usize], n: usize) -> CaseInput {
    let near_one = 1.0 / (n.max(4) as f64).sqrt();
    let values = match dtype {
        DType::I32 => Values::Whole(-(1 << 31), 1 << 31),
        DType::U32 => Values::Whole(0, 1 << 32),
        // On a device no step may leave 32 bits.
        DType::I64 if product => Values::Whole(-1, 2),
        DType::U64 if product => Values::Whole(0, 2),
        DType::I64 => Values::Whole(-500, 500),
        DType::U64 => Values::Whole(0, 500),
        _ if product => Values::Uniform(1.0 - near_one, 1.0 + near_one),
        _ => Values::Normal(1.0),
    };
    CaseInput::run(dtype, extents).values(values)
}

//! Functions of whole numbers and questions about real ones.

use super::{DEVICE, REALS, few_lengths};
use crate::ops::elementwise::{Test, Whole};
use crate::ops::{Operator, RefTensor};
use crate::tensor::DType;
use crate::validate::{Case, CaseFamily, CaseInput, Values};

/// Cases of one function of whole numbers.
pub(crate) fn whole_cases(function: Whole) -> Vec<CaseFamily> {
    let mut families = Vec::new();
    for dtype in DEVICE.into_iter().filter(|&dtype| function.takes(dtype)) {
        let label = format!("{} {dtype}", function.name());
        // A device has no room for the 64 bits of what comes out.
        let wide = function == Whole::BitwiseNot && dtype == DType::U64;
        let family = CaseFamily::new(label, few_lengths(), move |s| {
            let values = Values::Whole(-200, 200);
            Some(Case::new(function, [CaseInput::run(dtype, s).values(values)]))
        });
        families.push(if wide { family.on_cpu_only() } else { family });
    }
    for dtype in [DType::I8, DType::U8, DType::I16, DType::U16, DType::I32, DType::U32] {
        if !function.takes(dtype) {
            continue;
        }
        let label = format!("{} ends of {dtype}", function.name());
        families.push(CaseFamily::new(label, [vec![]], move |_| {
            let (least, most) = dtype.range()?;
            let ends = vec![least as i64, most as i64, 0, 1, most as i64 - 1];
            let ends = RefTensor::int(dtype, &[5], ends).to_tensor().ok()?;
            Some(Case::new(function, [CaseInput::exact(ends)]))
        }));
    }
    families
}

/// Cases of one question.
pub(crate) fn test_cases(tests: &[Test]) -> Vec<CaseFamily> {
    let mut families = Vec::new();
    let small = [DType::F8E4M3FN, DType::F8E4M3FNUZ, DType::F8E5M2, DType::F8E5M2FNUZ];
    for &test in tests {
        for dtype in REALS.into_iter().chain(small).chain([DType::F64]) {
            let label = format!("{test:?} {dtype}");
            let family = CaseFamily::new(label, [vec![0], vec![1], vec![130]], move |s| {
                let special = [
                    f64::NAN,
                    f64::INFINITY,
                    f64::NEG_INFINITY,
                    -f64::NAN,
                    0.0,
                    -0.0,
                    1.0,
                    -3.0,
                    100.0,
                ];
                let values = (0..s[0]).map(|i| special[(i * 7 + 5) % special.len()]).collect();
                let x = RefTensor::real(dtype, &[s[0]], values).to_tensor().ok()?;
                Some(Case::new(test, [CaseInput::exact(x)]))
            });
            families.push(if dtype == DType::F64 { family.on_cpu_only() } else { family });
        }
    }
    families
}

/// Cases of the question for infinity.
pub(crate) fn infinity_cases() -> Vec<CaseFamily> {
    let sides = [(true, true), (true, false), (false, true), (false, false)];
    test_cases(&sides.map(|(negative, positive)| Test::IsInf { negative, positive }))
}

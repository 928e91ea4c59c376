//! Conversions.

use super::{DEVICE, exact};
use crate::ops::elementwise::{BitCast, Cast, CastSmall};
use crate::tensor::{DType, PowerRounding, SmallRounding};
use crate::validate::{Case, CaseFamily, CaseInput, Values};

const SMALL: [DType; 10] = [
    DType::F8E4M3FN,
    DType::F8E4M3FNUZ,
    DType::F8E5M2,
    DType::F8E5M2FNUZ,
    DType::F8E8M0,
    DType::F4E2M1,
    DType::I4,
    DType::U4,
    DType::I2,
    DType::U2,
];

fn values(from: DType, to: DType) -> Values {
    match (from.is_integer(), to) {
        _ if from == DType::F8E8M0 => Values::Uniform(0.1, 100.0),
        (false, DType::F8E8M0) => Values::Uniform(0.01, 100.0),
        (true, DType::F8E8M0) => Values::Whole(1, 1000),
        (false, DType::F4E2M1) => Values::Normal(3.0),
        (true, to) if to.is_small_float() => Values::Whole(-500, 500),
        // Beyond the ends of the small types.
        (false, DType::I8 | DType::U8) => Values::Normal(150.0),
        (false, _) => Values::Normal(20.0),
        (true, DType::I8 | DType::U8) => Values::Whole(-1000, 1000),
        // A device cannot tell what is below 0 from a large number.
        (true, DType::U64) => Values::Whole(0, 1 << 30),
        // Within the range of halves: where all overflow, nothing is checked.
        (true, DType::F16) => Values::Whole(-30_000, 30_000),
        (true, _) => Values::Whole(-(1 << 30), 1 << 30),
    }
}

fn conversion(from: DType, to: DType) -> CaseFamily {
    let shapes = [0, 1, 2, 3, 5, 131].map(|n| vec![n]);
    let family = CaseFamily::new(format!("Cast {from} {to}"), shapes, move |s| {
        Some(Case::new(Cast { to }, [CaseInput::run(from, s).values(values(from, to))]))
    });
    let double = from == DType::F64 || to == DType::F64;
    if double { family.on_cpu_only() } else { family }
}

/// Cases of conversions.
pub(crate) fn cast_cases() -> Vec<CaseFamily> {
    let mut families = Vec::new();
    for from in DEVICE {
        families.extend(DEVICE.into_iter().map(|to| conversion(from, to)));
        families.push(conversion(from, DType::F64));
        families.push(conversion(DType::F64, from));
    }
    for small in SMALL {
        for other in [DType::F32, DType::F16, DType::I32, DType::U8, DType::F64] {
            families.push(conversion(small, other));
            families.push(conversion(other, small));
        }
    }
    for to in [DType::I32, DType::U32, DType::F16, DType::BF16, DType::Bool] {
        families.push(CaseFamily::new(format!("Cast ends to {to}"), [vec![]], move |_| {
            let ends = [
                0.0,
                -0.0,
                0.5,
                -0.5,
                -1.5,
                2.147_483_5e9,
                2.147_483_6e9,
                3e9,
                -3e9,
                5e9,
                65504.0,
                65519.0,
                2049.0,
                2051.0,
                1.0009766,
                6.2e-5,
                3.3e38,
            ];
            Some(Case::new(Cast { to }, [CaseInput::exact(exact(&[17], &ends))]))
        }));
    }
    families.extend(roundings());
    families
}

/// What conversions to small types do by attribute.
fn roundings() -> Vec<CaseFamily> {
    let mut families = Vec::new();
    for power in [PowerRounding::Up, PowerRounding::Down, PowerRounding::Nearest] {
        let label = format!("Cast to F8E8M0 {power:?}");
        families.push(CaseFamily::new(label, [vec![1], vec![131]], move |s| {
            let rounding = SmallRounding { saturate: true, power };
            let op = CastSmall { to: DType::F8E8M0, rounding };
            let values = Values::Uniform(0.01, 1000.0);
            Some(Case::new(op, [CaseInput::run(DType::F32, s).values(values)]))
        }));
    }
    families.push(CaseFamily::new("Cast to F8E5M2 without saturation", [vec![]], |_| {
        let rounding = SmallRounding { saturate: false, ..SmallRounding::default() };
        let op = CastSmall { to: DType::F8E5M2, rounding };
        let x = [1.0, 57344.0, 61439.0, 61441.0, -61441.0, 1e30, 0.0];
        Some(Case::new(op, [CaseInput::exact(exact(&[7], &x))]))
    }));
    families
}

/// Cases of bits that are taken for other numbers.
pub(crate) fn bit_cast_cases() -> Vec<CaseFamily> {
    let mut families = Vec::new();
    let ones = Values::Normal(1.0);
    let pairs = [
        (DType::F32, DType::I32, ones.clone()),
        (DType::U32, DType::F32, Values::Whole(0x3f00_0000, 0x4500_0000)),
        (DType::I32, DType::U32, Values::Whole(-(1 << 30), 1 << 30)),
        (DType::F16, DType::I16, ones.clone()),
        (DType::U16, DType::BF16, Values::Whole(0x3f00, 0x4500)),
        (DType::U8, DType::I8, Values::Whole(0, 256)),
        // -1 would be no number.
        (DType::I8, DType::F8E4M3FN, Values::Whole(-100, -1)),
        (DType::I4, DType::U4, Values::Whole(-8, 8)),
        (DType::F4E2M1, DType::I4, Values::Normal(3.0)),
        (DType::I64, DType::U64, Values::Whole(0, 1 << 30)),
        (DType::U64, DType::I64, Values::Whole(0, 1 << 30)),
    ];
    for (from, to, values) in pairs {
        let label = format!("BitCast {from} {to}");
        let family = CaseFamily::new(label, [0, 1, 5, 130].map(|n| vec![n]), move |s| {
            Some(Case::new(BitCast { to }, [CaseInput::run(from, s).values(values.clone())]))
        });
        let whole = from.is_integer() && to.is_integer();
        families.push(if whole || to.bits() >= 8 { family } else { family.on_cpu_only() });
    }
    for (from, to) in [(DType::F64, DType::I64), (DType::I64, DType::F64)] {
        let label = format!("BitCast {from} {to}");
        let family = CaseFamily::new(label, [vec![5]], move |s| {
            let values = match from {
                DType::F64 => Values::Normal(1.0),
                _ => Values::Whole(0x3ff0_0000_0000_0000, 0x4ff0_0000_0000_0000),
            };
            Some(Case::new(BitCast { to }, [CaseInput::run(from, s).values(values)]))
        });
        families.push(family.on_cpu_only());
    }
    families
}

//! What linear quantisation is tried on.

use super::{
    DequantizeLinear, Granularity, MatMulInteger, Patches, QuantizeLinear, QuantizeRange,
    Requantize,
};
use crate::ops::Operator;
use crate::tensor::{DType, Tensor};
use crate::validate::{Case, CaseFamily, CaseInput, Values};

const WHOLE: [DType; 8] =
    [DType::I8, DType::U8, DType::I16, DType::U16, DType::I4, DType::U4, DType::I2, DType::U2];
const SMALL: [DType; 5] =
    [DType::F8E4M3FN, DType::F8E4M3FNUZ, DType::F8E5M2, DType::F8E5M2FNUZ, DType::F4E2M1];

fn shapes() -> Vec<Vec<usize>> {
    vec![vec![1, 1, 1], vec![2, 3, 5], vec![3, 1, 4], vec![2, 0, 3], vec![4, 7, 67]]
}

/// x, its scales and its zero points.
fn case(
    op: impl Operator,
    granularity: Granularity,
    x: CaseInput,
    scales: Values,
    zero: Option<(i64, i64)>,
) -> Option<Case> {
    let extents: Vec<usize> = match granularity {
        Granularity::Tensor => Vec::new(),
        Granularity::Axis(axis) => vec![*x.extents.get(axis)?],
        Granularity::Block { axis, size } => {
            let mut extents = x.extents.clone();
            let extent = extents.get_mut(axis)?;
            *extent = extent.div_ceil(size);
            extents
        }
    };
    let scale = CaseInput::run(DType::F32, &extents).values(scales);
    let mut case = Case::new(op, [x, scale]);
    if let Some((from, to)) = zero {
        let zero = CaseInput::run(DType::I32, &extents).values(Values::Whole(from, to));
        case.inputs.push(Some(zero));
    }
    Some(case)
}

/// Zero points within the range of a dtype.
fn zeros(dtype: DType) -> Option<(i64, i64)> {
    dtype.range().map(|(least, most)| (least.max(-200) as i64, most.min(200) as i64))
}

const GRAINS: [Granularity; 5] = [
    Granularity::Tensor,
    Granularity::Axis(0),
    Granularity::Axis(1),
    Granularity::Block { axis: 1, size: 2 },
    Granularity::Block { axis: 2, size: 3 },
];

/// Cases of `QuantizeLinear`.
pub(crate) fn quantize_cases() -> Vec<CaseFamily> {
    let mut families = Vec::new();
    let mut add = |label: String, from: DType, to: DType, granularity, zero: bool, precision| {
        let label = format!("QuantizeLinear {label}");
        families.push(CaseFamily::new(label, shapes(), move |s| {
            let op = QuantizeLinear { to, granularity, precision, saturate: true };
            // Beyond the ends of the range on both sides.
            let reach = to.range().map_or(40.0, |(_, most)| most as f64);
            let values = match from {
                DType::I32 => Values::Whole(-(reach as i64) - 5, reach as i64 + 5),
                _ => Values::Normal(reach.min(20_000.0)),
            };
            let x = CaseInput::run(from, s.get(..3)?).values(values);
            let zero = if zero { zeros(to) } else { None };
            case(op, granularity, x, Values::Uniform(0.3, 1.5), zero)
        }));
    };
    for to in WHOLE {
        add(format!("F32 {to}"), DType::F32, to, Granularity::Tensor, true, DType::F32);
    }
    for to in SMALL {
        add(format!("F32 {to}"), DType::F32, to, Granularity::Axis(1), false, DType::F32);
    }
    for from in [DType::F16, DType::BF16, DType::I32] {
        let precision = if from == DType::I32 { DType::F32 } else { from };
        add(format!("{from} U8"), from, DType::U8, Granularity::Axis(2), true, precision);
    }
    for granularity in GRAINS {
        let label = format!("F32 I8 {granularity:?}");
        add(label, DType::F32, DType::I8, granularity, false, DType::F32);
    }
    families.push(CaseFamily::new("QuantizeLinear halves", [vec![]], |_| {
        let x = [0.5, 1.5, 2.5, -0.5, -1.5, -2.5, 126.5, 127.5, -128.5, 1e30, -1e30, 7.5, 22.5];
        let x = Tensor::from_f32(&[13], &x).ok()?;
        let op = QuantizeLinear {
            to: DType::I8,
            granularity: Granularity::Tensor,
            precision: DType::F32,
            saturate: true,
        };
        let scale = Tensor::from_f32(&[], &[1.0]).ok()?;
        Some(Case::new(op, [x, scale].map(CaseInput::exact)))
    }));
    families.push(CaseFamily::new("QuantizeLinear over 1 MiB", [vec![3, (1 << 17) + 5]], |s| {
        let granularity = Granularity::Axis(0);
        let op =
            QuantizeLinear { to: DType::I8, granularity, precision: DType::F32, saturate: true };
        let x = CaseInput::run(DType::F32, s).values(Values::Normal(50.0));
        case(op, granularity, x, Values::Uniform(0.3, 1.5), None)
    }));
    // So many blocks that their scales are over a binding as well.
    families.push(CaseFamily::new("QuantizeLinear scales over 1 MiB", [vec![700, 770]], |s| {
        let granularity = Granularity::Block { axis: 1, size: 2 };
        let op =
            QuantizeLinear { to: DType::I8, granularity, precision: DType::F32, saturate: true };
        let x = CaseInput::run(DType::F32, s).values(Values::Normal(50.0));
        case(op, granularity, x, Values::Uniform(0.3, 1.5), None)
    }));
    families
}

/// Cases of `DequantizeLinear`.
pub(crate) fn dequantize_cases() -> Vec<CaseFamily> {
    let mut families = Vec::new();
    let mut add = |label: String, from: DType, to: DType, granularity, zero: bool| {
        let label = format!("DequantizeLinear {label}");
        families.push(CaseFamily::new(label, shapes(), move |s| {
            let op = DequantizeLinear { to, granularity };
            let values = match from {
                _ if from.is_small_float() => Values::Normal(3.0),
                _ => Values::Whole(-30_000, 30_000),
            };
            let x = CaseInput::run(from, s.get(..3)?).values(values);
            let zero = if zero { zeros(from) } else { None };
            case(op, granularity, x, Values::Uniform(0.01, 0.1), zero)
        }));
    };
    for from in WHOLE {
        add(format!("{from} F32"), from, DType::F32, Granularity::Axis(1), true);
    }
    for from in SMALL.into_iter().chain([DType::I32]) {
        add(format!("{from} F32"), from, DType::F32, Granularity::Tensor, false);
    }
    for to in [DType::F16, DType::BF16] {
        add(format!("I8 {to}"), DType::I8, to, Granularity::Tensor, true);
    }
    for granularity in GRAINS {
        add(format!("U8 F32 {granularity:?}"), DType::U8, DType::F32, granularity, true);
    }
    families.push(CaseFamily::new("DequantizeLinear over 1 MiB", [vec![2, (1 << 19) + 3]], |s| {
        let op = DequantizeLinear { to: DType::F32, granularity: Granularity::Axis(0) };
        let x = CaseInput::run(DType::I8, s).values(Values::Whole(-128, 128));
        case(op, Granularity::Axis(0), x, Values::Uniform(0.01, 0.1), None)
    }));
    families
}

/// Cases of what follows a product of quantised matrices.
pub(crate) fn requantize_cases() -> Vec<CaseFamily> {
    let mut families = Vec::new();
    for to in [DType::I8, DType::U8] {
        for granularity in [Granularity::Tensor, Granularity::Axis(1), Granularity::Axis(2)] {
            let label = format!("Requantize {to} {granularity:?}");
            families.push(CaseFamily::new(label, shapes(), move |s| {
                let values = Values::Whole(-30_000, 30_000);
                let x = CaseInput::run(DType::I32, s.get(..3)?).values(values);
                let op = Requantize { to, granularity };
                case(op, granularity, x, Values::Uniform(0.002, 0.01), zeros(to))
            }));
        }
    }
    families
}

/// Cases of scales from the ends of a range.
pub(crate) fn range_cases() -> Vec<CaseFamily> {
    let ends = [(5.0f32, -3.0f32), (7.0, 2.0), (-1.0, -9.0), (0.0, 0.0), (1e-3, -1e-3)];
    vec![CaseFamily::new("QuantizeRange", (0..ends.len()).map(|i| vec![i]), move |s| {
        let (high, low) = *ends.get(*s.first()?)?;
        let end = |v: f32| Tensor::from_f32(&[], &[v]).ok().map(CaseInput::exact);
        Some(Case::new(QuantizeRange, [end(high)?, end(low)?]))
    })]
}

/// Cases of products of whole numbers.
pub(crate) fn matmul_integer_cases() -> Vec<CaseFamily> {
    let mut families = Vec::new();
    let values = |dtype: DType| match dtype {
        // Sums that wrap around.
        DType::I32 => Values::Whole(-(1 << 20), 1 << 20),
        _ => Values::Whole(-200, 300),
    };
    let shapes = vec![
        vec![1, 1, 1],
        vec![3, 5, 7],
        vec![1, 129, 33],
        vec![37, 2, 65],
        vec![0, 3, 2],
        vec![2, 3, 0],
        vec![2, 0, 3],
        vec![70, 67, 131],
    ];
    for (a, b) in [
        (DType::U8, DType::I8),
        (DType::I8, DType::I8),
        (DType::U8, DType::U8),
        (DType::I32, DType::U8),
        (DType::I8, DType::I32),
    ] {
        // No zero points, one for all, one for each line.
        for lines in 0..3 {
            let label = format!("MatMulInteger {a} {b}, zero points {lines}");
            families.push(CaseFamily::new(label, shapes.clone(), move |s| {
                let &[m, n, k] = s else { return None };
                let left = CaseInput::run(a, &[m, k]).values(values(a));
                let right = CaseInput::run(b, &[k, n]).values(values(b));
                let mut case = Case::new(MatMulInteger, [left, right]);
                for (dtype, count) in [(a, m), (b, n)] {
                    let extents = if lines == 2 { vec![count] } else { Vec::new() };
                    let zero = CaseInput::run(dtype, &extents).values(Values::Whole(-9, 40));
                    case.inputs.push((lines > 0).then_some(zero));
                }
                Some(case)
            }));
        }
    }
    type Extents = fn(&[usize]) -> (Vec<usize>, Vec<usize>);
    let batches: [(&str, Extents); 5] = [
        ("batch", |s| (vec![3, s[0], s[2]], vec![3, s[2], s[1]])),
        ("batch of a", |s| (vec![2, 3, s[0], s[2]], vec![s[2], s[1]])),
        ("batch of b", |s| (vec![s[0], s[2]], vec![2, s[2], s[1]])),
        ("batch both ways", |s| (vec![2, 1, 3, s[0], s[2]], vec![2, 1, s[2], s[1]])),
        ("vectors", |s| (vec![s[2]], vec![s[2]])),
    ];
    for (name, extents) in batches {
        let shapes = [vec![1, 1, 1], vec![3, 5, 7], vec![33, 2, 18]];
        families.push(CaseFamily::new(format!("MatMulInteger {name}"), shapes, move |s| {
            let (a, b) = extents(s.get(..3)?);
            let left = CaseInput::run(DType::U8, &a).values(Values::Whole(0, 256));
            let right = CaseInput::run(DType::I8, &b).values(Values::Whole(-128, 128));
            Some(Case::new(MatMulInteger, [left, right]))
        }));
    }
    let long = vec![vec![2, 3, 20_011], vec![3, 1200, 1000], vec![1100, 3, 1000]];
    let family = CaseFamily::new("MatMulInteger long and over 1 MiB", long, move |s| {
        let &[m, n, k] = s else { return None };
        let left = CaseInput::run(DType::U8, &[m, k]).values(Values::Whole(0, 256));
        let right = CaseInput::run(DType::I8, &[k, n]).values(Values::Whole(-128, 128));
        let zero = CaseInput::run(DType::U8, &[]).values(Values::Whole(0, 256));
        let mut case = Case::new(MatMulInteger, [left, right, zero]);
        let zero = CaseInput::run(DType::I8, &[n]).values(Values::Whole(-9, 9));
        case.inputs.push(Some(zero));
        Some(case)
    });
    families.push(family.heavy());
    families
}

/// Cases of what a window sees.
pub(crate) fn patches_cases() -> Vec<CaseFamily> {
    let mut families = Vec::new();
    let windows: [(&[usize], &[usize], &[usize]); 4] = [
        (&[3], &[1], &[1]),
        (&[3, 2], &[2, 1], &[1, 2]),
        (&[1, 1], &[1, 1], &[1, 1]),
        (&[2, 1, 3], &[1, 2, 1], &[2, 1, 1]),
    ];
    for (kernel, strides, dilations) in windows {
        for dtype in [DType::U8, DType::F32] {
            let op = Patches {
                kernel: kernel.to_vec(),
                strides: strides.to_vec(),
                dilations: dilations.to_vec(),
            };
            let shapes = [vec![1, 1, 5], vec![2, 3, 7], vec![0, 2, 6], vec![1, 5, 11]];
            let label = format!("Patches {dtype} {kernel:?} {strides:?} {dilations:?}");
            families.push(CaseFamily::new(label, shapes, move |s| {
                let &[n, c, extent] = s else { return None };
                let mut extents = vec![n, c];
                extents.extend((0..op.kernel.len()).map(|i| extent + i));
                let x = CaseInput::run(dtype, &extents).values(Values::Whole(0, 200));
                Some(Case::new(op.clone(), [x]))
            }));
        }
    }
    families
}

//! What the elementwise operators are tried on.

mod cast;
mod chain;
mod whole;

pub(crate) use cast::{bit_cast_cases, cast_cases};
pub(crate) use chain::chain_cases;
pub(crate) use whole::{infinity_cases, test_cases, whole_cases};

use super::{Binary, GatedActivation, Unary, Where};
use crate::tensor::{DType, Tensor};
use crate::validate::{Case, CaseFamily, CaseInput, Values};

/// The dtypes that a device computes with.
const DEVICE: [DType; 12] = [
    DType::F32,
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
    DType::Bool,
];

const REALS: [DType; 3] = [DType::F32, DType::F16, DType::BF16];

/// Lengths of a flat tensor: nothing, one, odd, prime, longer than a workgroup
/// of every variant.
fn lengths() -> Vec<Vec<usize>> {
    [0, 1, 2, 3, 7, 64, 1009, 5003, 40_000].map(|n| vec![n]).to_vec()
}

fn few_lengths() -> Vec<Vec<usize>> {
    [0, 1, 5, 130].map(|n| vec![n]).to_vec()
}

/// Values in a function's domain, away from overflow of halves.
fn domain(function: Unary) -> Values {
    match function {
        Unary::Log | Unary::Sqrt => Values::Uniform(1e-3, 60.0),
        Unary::Reciprocal => Values::Uniform(0.05, 9.0),
        Unary::Exp | Unary::Sinh | Unary::Cosh => Values::Uniform(-9.0, 9.0),
        Unary::Asin | Unary::Acos => Values::Uniform(-1.0, 1.0),
        Unary::Atanh => Values::Uniform(-0.99, 0.99),
        Unary::Acosh => Values::Uniform(1.0, 60.0),
        // Away from the poles, where nothing can be said.
        Unary::Tan => Values::Uniform(-1.5, 1.5),
        _ => Values::Normal(4.0),
    }
}

/// Large, small and special arguments in the function's domain.
fn extremes(function: Unary) -> Tensor {
    let sizes =
        [1e-30, 1e-6, 0.499, 0.5, 1.0, 1.5, 2.5, 9.99, 10.1, 80.0, 89.5, 3000.0, 1e10, 3e37];
    let both = sizes.iter().flat_map(|&v| [v, -v]).chain([0.0]);
    let fits = |v: &f32| match function {
        Unary::Log => *v > 0.0,
        Unary::Sqrt => *v >= 0.0,
        Unary::Reciprocal => *v != 0.0,
        Unary::Exp => *v <= 80.0,
        Unary::Sinh | Unary::Cosh => v.abs() <= 80.0,
        Unary::Asin | Unary::Acos => v.abs() <= 1.0,
        Unary::Atanh => v.abs() < 1.0,
        Unary::Acosh => *v >= 1.0,
        Unary::Tan => v.abs() <= 3000.0,
        // Beyond 8192 the error grows until it says nothing.
        Unary::Sin | Unary::Cos => v.abs() <= 3000.0,
        _ => true,
    };
    let values: Vec<f32> = both.filter(fits).collect();
    exact(&[values.len()], &values)
}

fn exact(extents: &[usize], values: &[f32]) -> Tensor {
    let bytes = bytemuck::cast_slice(values).to_vec();
    // Only lengths that fit are given here.
    Tensor::new(DType::F32, extents, bytes).unwrap_or_else(|_| empty())
}

fn whole(values: &[i32]) -> CaseInput {
    let bytes = bytemuck::cast_slice(values).to_vec();
    CaseInput::exact(Tensor::new(DType::I32, &[values.len()], bytes).unwrap_or_else(|_| empty()))
}

fn empty() -> Tensor {
    Tensor::from_f32(&[0], &[]).unwrap_or_else(|_| unreachable!("an empty tensor is a tensor"))
}

/// Cases of one function.
pub(crate) fn unary_cases(function: Unary) -> Vec<CaseFamily> {
    let mut families = Vec::new();
    for dtype in REALS {
        let shapes = if dtype == DType::F32 { lengths() } else { few_lengths() };
        let label = format!("{} {dtype}", function.name());
        families.push(CaseFamily::new(label, shapes, move |s| {
            Some(Case::new(function, [CaseInput::run(dtype, s).values(domain(function))]))
        }));
    }
    let label = format!("{} F64", function.name());
    let doubles = CaseFamily::new(label, few_lengths(), move |s| {
        Some(Case::new(function, [CaseInput::run(DType::F64, s).values(domain(function))]))
    });
    families.push(doubles.on_cpu_only());
    families.extend(function.whole().map(whole_cases).unwrap_or_default());
    let label = format!("{} extremes", function.name());
    families.push(CaseFamily::new(label, [vec![]], move |_| {
        Some(Case::new(function, [CaseInput::exact(extremes(function))]))
    }));
    let label = format!("{} of ranks 0 to 8", function.name());
    families.push(CaseFamily::new(label, [vec![], vec![2; 8]], move |s| {
        let input = CaseInput::run(DType::F32, s).values(domain(function));
        Some(Case::new(function, [input]))
    }));
    families
}

pub(crate) fn clip_cases() -> Vec<CaseFamily> {
    let mut families = unary_cases(Unary::Clip { min: -1.0, max: 6.0 });
    families.push(CaseFamily::new("Clip, min above max", few_lengths(), |s| {
        let crossed = Unary::Clip { min: 2.0, max: 1.0 };
        Some(Case::new(crossed, [CaseInput::run(DType::F32, s)]))
    }));
    families
}

/// Which shapes two operands get, from up to four numbers.
type Pattern = (&'static str, fn(&[usize]) -> (Vec<usize>, Vec<usize>));

const PATTERNS: [Pattern; 8] = [
    ("equal", |s| (s.to_vec(), s.to_vec())),
    ("row", |s| (s.to_vec(), s[2..].to_vec())),
    ("column", |s| (s.to_vec(), vec![s[0], s[1], 1])),
    ("scalar", |s| (vec![], s.to_vec())),
    ("middle", |s| (vec![s[0], 1, s[2]], s.to_vec())),
    ("outer product", |s| (vec![s[0], 1], vec![s[2]])),
    ("both", |s| (vec![s[0], 1, s[2]], vec![1, s[1], s[2]])),
    ("rank 8", |s| (vec![s[0], 1, s[1], 1, s[2], 1, 1, 2], vec![1, 2, s[1], 2, 1, 1, 3, 1])),
];

fn pattern_shapes() -> Vec<Vec<usize>> {
    [[1, 1, 1], [2, 3, 5], [3, 1, 4], [2, 0, 3], [4, 3, 1], [5, 7, 67], [3, 5, 16]]
        .map(|shape| shape.to_vec())
        .to_vec()
}

/// Values two operands of an operation are drawn from.
fn operands(op: Binary, dtype: DType) -> (Values, Values) {
    match (op, dtype) {
        // Small whole numbers, so that equal ones occur.
        _ if op.is_comparison() => (Values::Whole(0, 4), Values::Whole(0, 4)),
        (_, DType::Bool) => (Values::Whole(0, 2), Values::Whole(0, 2)),
        (Binary::Pow, _) if dtype.is_integer() => (Values::Whole(-4, 5), Values::Whole(-2, 7)),
        (Binary::Fmod | Binary::Mod, _) if dtype.is_float() => {
            (Values::Normal(300.0), Values::Uniform(0.1, 9.0))
        }
        // A device cannot tell a large result from one that has no room.
        (Binary::ShiftLeft, _) if dtype.is_64bit_integer() => {
            (Values::Whole(-8, 9), Values::Whole(-2, 20))
        }
        (Binary::ShiftLeft | Binary::ShiftRight, _) => {
            (Values::Whole(-120, 120), Values::Whole(-3, 40))
        }
        (Binary::Div, _) if dtype.is_float() => (Values::Normal(3.0), Values::Uniform(-9.0, -0.1)),
        (Binary::Pow, _) => (Values::Uniform(0.2, 5.0), Values::Uniform(-3.0, 3.0)),
        // Nothing below 0, which a device cannot tell from a large number.
        (Binary::Sub, DType::U64) => (Values::Whole(200, 400), Values::Whole(0, 200)),
        _ if dtype.is_unsigned_integer() => (Values::Whole(0, 200), Values::Whole(0, 200)),
        _ if dtype.is_integer() => (Values::Whole(-120, 120), Values::Whole(-120, 120)),
        _ => (Values::Normal(3.0), Values::Normal(3.0)),
    }
}

/// Cases of one operation on two tensors.
pub(crate) fn binary_cases(op: Binary) -> Vec<CaseFamily> {
    let mut families = Vec::new();
    let device = DEVICE;
    // The way of reading does not depend on the operation: two of them, one not
    // commutative, are tried with all.
    let thorough = matches!(op, Binary::Sub | Binary::Mul);
    let doubles = [DType::F64];
    for dtype in device.into_iter().chain(doubles).filter(|&dtype| op.takes(dtype)) {
        let (left, right) = operands(op, dtype);
        let all = thorough && matches!(dtype, DType::F32 | DType::F16);
        for (name, pattern) in PATTERNS.into_iter().take(if all { PATTERNS.len() } else { 2 }) {
            let label = format!("{op:?} {dtype} {name}");
            let (left, right) = (left.clone(), right.clone());
            let family = CaseFamily::new(label, pattern_shapes(), move |s| {
                let (a, b) = pattern(s.get(..3)?);
                let a = CaseInput::run(dtype, &a).values(left.clone());
                let b = CaseInput::run(dtype, &b).values(right.clone());
                Some(Case::new(op, [a, b]))
            });
            families.push(if dtype == DType::F64 { family.on_cpu_only() } else { family });
        }
    }
    if op.takes(DType::F32) {
        let (left, right) = operands(op, DType::F32);
        families.push(CaseFamily::new(format!("{op:?} long"), lengths(), move |s| {
            let a = CaseInput::run(DType::F32, s).values(left.clone());
            let b = CaseInput::run(DType::F32, s).values(right.clone()).constant();
            Some(Case::new(op, [a, b]))
        }));
    }
    families.extend(special(op));
    families.extend(over_a_binding(op));
    families
}

/// Cases of both remainders.
pub(crate) fn mod_cases() -> Vec<CaseFamily> {
    [Binary::Mod, Binary::Fmod].into_iter().flat_map(binary_cases).collect()
}

/// Cases of both directions.
pub(crate) fn shift_cases() -> Vec<CaseFamily> {
    [Binary::ShiftLeft, Binary::ShiftRight].into_iter().flat_map(binary_cases).collect()
}

/// Repeated operands over 1 MiB, with results of 1, 2 and 4 elements in a word.
fn over_a_binding(op: Binary) -> Vec<CaseFamily> {
    let (dtype, n) = match op {
        Binary::Mul => (DType::F32, (1 << 18) + 3),
        Binary::Sub | Binary::Less => (DType::F16, (1 << 19) + 3),
        _ => return Vec::new(),
    };
    let (left, right) = operands(op, dtype);
    let label = format!("{op:?} {dtype} over 1 MiB");
    // The last number says whether rows or columns are repeated.
    let family = CaseFamily::new(label, [vec![2, n, 0], vec![2, n, 1]], move |s| {
        let &[rows, n, column] = s else { return None };
        let (a, b) = if column > 0 { (vec![n, 1], vec![rows]) } else { (vec![rows, n], vec![n]) };
        let a = CaseInput::run(dtype, &a).values(left.clone());
        let b = CaseInput::run(dtype, &b).values(right.clone());
        Some(Case::new(op, [a, b]))
    });
    vec![family]
}

/// Overflow, division by zero and powers of negative numbers.
fn special(op: Binary) -> Vec<CaseFamily> {
    let ends = [i32::MAX, i32::MIN, i32::MIN, 7, -7, 7, 0, 65536];
    let others = [1, -1, 0, 0, 2, -2, 5, 65536];
    match op {
        Binary::Add
        | Binary::Sub
        | Binary::Mul
        | Binary::Div
        | Binary::Mod
        | Binary::ShiftLeft
        | Binary::ShiftRight
        | Binary::BitwiseXor => {
            vec![CaseFamily::new(format!("{op:?} I32 ends"), [vec![]], move |_| {
                Some(Case::new(op, [whole(&ends), whole(&others)]))
            })]
        }
        Binary::Fmod => vec![
            CaseFamily::new("Fmod I32 ends", [vec![]], move |_| {
                Some(Case::new(op, [whole(&ends), whole(&others)]))
            }),
            // Quotients of many bits, and such that are nearly whole.
            CaseFamily::new("Fmod far apart", [vec![]], move |_| {
                let a = [1e30, -1e30, 3e38, 1e-30, 5.3, -5.3, 9.0, 8388609.0, 1e10, 0.0];
                let b = [1e-3, 7.0, 1.5e-38, 3.0, 2.0, 2.0, -3.0, 0.1, 1e10, 2.0];
                let inputs = [a, b].map(|values| CaseInput::exact(exact(&[10], &values)));
                Some(Case::new(op, inputs))
            }),
        ],
        Binary::Pow => vec![CaseFamily::new("Pow special", [vec![]], move |_| {
            let a = [-2.0, -2.0, -3.0, -1.5, 0.0, 0.0, 5.0, -7.0, 9.0, 1.0];
            let b = [3.0, 2.0, -1.0, -2.0, 2.0, 0.0, 0.0, 0.0, 0.5, 1e6];
            let inputs = [a, b].map(|values| CaseInput::exact(exact(&[10], &values)));
            Some(Case::new(op, inputs))
        })],
        _ => Vec::new(),
    }
}

/// Cases of gated activations.
pub(crate) fn gated_cases() -> Vec<CaseFamily> {
    let mut families = Vec::new();
    for act in [Unary::Silu, Unary::Gelu, Unary::GeluTanh, Unary::Relu, Unary::Sigmoid] {
        for dtype in REALS {
            let shapes = if dtype == DType::F32 { lengths() } else { few_lengths() };
            let label = format!("GatedActivation {} {dtype}", act.name());
            families.push(CaseFamily::new(label, shapes, move |s| {
                let inputs = [CaseInput::run(dtype, s), CaseInput::run(dtype, s)];
                Some(Case::new(
                    GatedActivation { act },
                    inputs.map(|i| i.values(Values::Normal(3.0))),
                ))
            }));
        }
    }
    let shapes = vec![vec![3, 5], vec![1, 1], vec![4, 0]];
    families.push(CaseFamily::new("GatedActivation broadcast", shapes, |s| {
        let inputs = [CaseInput::run(DType::F32, s), CaseInput::run(DType::F32, &s[1..])];
        Some(Case::new(GatedActivation { act: Unary::Silu }, inputs))
    }));
    families
}

/// Cases of choices.
pub(crate) fn where_cases() -> Vec<CaseFamily> {
    let mut families = Vec::new();
    for dtype in [DType::F32, DType::F16, DType::I64, DType::I16, DType::U8] {
        for (name, pattern) in PATTERNS {
            let label = format!("Where {dtype} {name}");
            families.push(CaseFamily::new(label, pattern_shapes(), move |s| {
                let (a, b) = pattern(s.get(..3)?);
                let values = Values::Whole(0, 99);
                let condition = CaseInput::run(DType::Bool, &b).values(Values::Whole(0, 2));
                let a = CaseInput::run(dtype, &a).values(values.clone());
                let b = CaseInput::run(dtype, &[]).values(values.clone());
                Some(Case::new(Where, [condition, a, b]))
            }));
        }
    }
    families
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn no_case_is_large() {
        for (name, pattern) in PATTERNS {
            for shape in pattern_shapes() {
                let (a, b) = pattern(&shape);
                let rank = a.len().max(b.len());
                let at =
                    |s: &[usize], i: usize| (i + s.len()).checked_sub(rank).map_or(1, |i| s[i]);
                let count: usize = (0..rank).map(|i| at(&a, i).max(at(&b, i))).product();
                assert!(count <= 100_000, "{name} {shape:?} has {count} elements");
            }
        }
    }
}

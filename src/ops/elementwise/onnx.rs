//! The family's ONNX operators.

use super::{Binary, BitCast, Cast, CastSmall, Test, Unary, Where, Whole, broadcast};
use crate::error::Result;
use crate::graph::ValueId;
use crate::onnx::{NodeCx, OnnxOperator, row};
use crate::ops::Operator;
use crate::ops::movement::Reshape;
use crate::tensor::{DType, PowerRounding, SmallRounding, Tensor};

pub(crate) const ONNX: &[OnnxOperator] = &[
    row("Neg", 6, |cx| unary(cx, Unary::Neg)),
    row("Abs", 6, |cx| unary(cx, Unary::Abs)),
    row("Sign", 9, |cx| unary(cx, Unary::Sign)),
    row("Exp", 6, |cx| unary(cx, Unary::Exp)),
    row("Log", 6, |cx| unary(cx, Unary::Log)),
    row("Sqrt", 6, |cx| unary(cx, Unary::Sqrt)),
    row("Reciprocal", 6, |cx| unary(cx, Unary::Reciprocal)),
    row("Sigmoid", 6, |cx| unary(cx, Unary::Sigmoid)),
    row("Tanh", 6, |cx| unary(cx, Unary::Tanh)),
    row("Relu", 6, |cx| unary(cx, Unary::Relu)),
    row("Softplus", 1, |cx| unary(cx, Unary::Softplus)),
    row("Softsign", 1, |cx| unary(cx, Unary::Softsign)),
    row("HardSwish", 14, |cx| unary(cx, Unary::HardSwish)),
    row("Mish", 18, |cx| unary(cx, Unary::Mish)),
    row("Erf", 9, |cx| unary(cx, Unary::Erf)),
    row("Floor", 6, |cx| unary(cx, Unary::Floor)),
    row("Ceil", 6, |cx| unary(cx, Unary::Ceil)),
    row("Round", 11, |cx| unary(cx, Unary::Round)),
    row("Sin", 7, |cx| unary(cx, Unary::Sin)),
    row("Cos", 7, |cx| unary(cx, Unary::Cos)),
    row("Tan", 7, |cx| unary(cx, Unary::Tan)),
    row("Asin", 7, |cx| unary(cx, Unary::Asin)),
    row("Acos", 7, |cx| unary(cx, Unary::Acos)),
    row("Atan", 7, |cx| unary(cx, Unary::Atan)),
    row("Sinh", 9, |cx| unary(cx, Unary::Sinh)),
    row("Cosh", 9, |cx| unary(cx, Unary::Cosh)),
    row("Asinh", 9, |cx| unary(cx, Unary::Asinh)),
    row("Acosh", 9, |cx| unary(cx, Unary::Acosh)),
    row("Atanh", 9, |cx| unary(cx, Unary::Atanh)),
    row("LeakyRelu", 6, |cx| {
        let alpha = cx.float("alpha", 0.01)?;
        unary(cx, Unary::LeakyRelu { alpha })
    }),
    row("Elu", 6, |cx| {
        let alpha = cx.float("alpha", 1.0)?;
        unary(cx, Unary::Elu { alpha })
    }),
    row("Celu", 12, celu),
    row("Selu", 6, selu),
    row("Swish", 24, swish),
    row("Gelu", 20, gelu),
    row("HardSigmoid", 6, |cx| {
        let (alpha, beta) = (cx.float("alpha", 0.2)?, cx.float("beta", 0.5)?);
        unary(cx, Unary::HardSigmoid { alpha, beta })
    }),
    row("ThresholdedRelu", 10, |cx| {
        let alpha = cx.float("alpha", 1.0)?;
        unary(cx, Unary::ThresholdedRelu { alpha })
    }),
    row("Shrink", 9, shrink),
    row("Clip", 6, clip_by_attributes),
    row("Clip", 11, clip),
    row("Not", 1, |cx| unary(cx, Whole::Not)),
    row("BitwiseNot", 18, |cx| unary(cx, Whole::BitwiseNot)),
    row("IsNaN", 9, |cx| unary(cx, Test::IsNaN)),
    row("IsInf", 10, |cx| {
        let negative = cx.int("detect_negative", 1)? != 0;
        let positive = cx.int("detect_positive", 1)? != 0;
        unary(cx, Test::IsInf { negative, positive })
    }),
    row("Add", 7, |cx| binary(cx, Binary::Add)),
    row("Sub", 7, |cx| binary(cx, Binary::Sub)),
    row("Mul", 7, |cx| binary(cx, Binary::Mul)),
    row("Div", 7, |cx| binary(cx, Binary::Div)),
    row("Pow", 7, pow),
    row("Mod", 10, modulo),
    row("PRelu", 7, prelu),
    row("And", 7, |cx| binary(cx, Binary::And)),
    row("Or", 7, |cx| binary(cx, Binary::Or)),
    row("Xor", 7, |cx| binary(cx, Binary::Xor)),
    row("BitwiseAnd", 18, |cx| binary(cx, Binary::BitwiseAnd)),
    row("BitwiseOr", 18, |cx| binary(cx, Binary::BitwiseOr)),
    row("BitwiseXor", 18, |cx| binary(cx, Binary::BitwiseXor)),
    row("BitShift", 11, shift),
    row("Equal", 7, |cx| binary(cx, Binary::Equal)),
    row("Less", 7, |cx| binary(cx, Binary::Less)),
    row("LessOrEqual", 12, |cx| binary(cx, Binary::LessOrEqual)),
    row("Greater", 7, |cx| binary(cx, Binary::Greater)),
    row("GreaterOrEqual", 12, |cx| binary(cx, Binary::GreaterOrEqual)),
    row("Min", 6, |cx| variadic(cx, Binary::Min)),
    row("Max", 6, |cx| variadic(cx, Binary::Max)),
    row("Sum", 6, |cx| variadic(cx, Binary::Add)),
    row("Mean", 6, mean),
    row("Where", 9, choose),
    row("Cast", 6, cast),
    row("CastLike", 15, cast_like),
    row("BitCast", 26, bit_cast),
];

fn unary(cx: &mut NodeCx<'_>, op: impl Operator) -> Result<()> {
    let x = cx.input(0)?;
    let y = cx.op1(op, &[x])?;
    cx.output(0, y);
    Ok(())
}

fn binary(cx: &mut NodeCx<'_>, op: Binary) -> Result<()> {
    let (a, b) = (cx.input(0)?, cx.input(1)?);
    let y = cx.op1(op, &[a, b])?;
    cx.output(0, y);
    Ok(())
}

/// Any number of inputs, one after another; halves are summed up in F32.
fn folded(cx: &mut NodeCx<'_>, op: Binary) -> Result<ValueId> {
    let mut all = wide(cx, 0)?;
    for i in 1..cx.input_count() {
        let next = wide(cx, i)?;
        all = cx.op1(op, &[all, next])?;
    }
    Ok(all)
}

fn variadic(cx: &mut NodeCx<'_>, op: Binary) -> Result<()> {
    let dtype = cx.dtype(0)?;
    let y = folded(cx, op)?;
    let y = cx.cast(y, dtype)?;
    cx.output(0, y);
    Ok(())
}

fn mean(cx: &mut NodeCx<'_>) -> Result<()> {
    let (dtype, count) = (cx.dtype(0)?, cx.input_count());
    let sum = folded(cx, Binary::Add)?;
    let count = number(cx, sum, count as f32)?;
    let y = cx.op1(Binary::Div, &[sum, count])?;
    let y = cx.cast(y, dtype)?;
    cx.output(0, y);
    Ok(())
}

/// An input, halves as F32.
fn wide(cx: &mut NodeCx<'_>, index: usize) -> Result<ValueId> {
    match cx.dtype(index)? {
        DType::F16 | DType::BF16 => cx.input_f32(index),
        _ => cx.input(index),
    }
}

/// A number in the dtype of a value.
fn number(cx: &mut NodeCx<'_>, like: ValueId, value: f32) -> Result<ValueId> {
    let dtype = cx.builder().ty(like).dtype;
    let number = cx.constant(Tensor::from_f32(&[], &[value])?)?;
    cx.cast(number, dtype)
}

fn celu(cx: &mut NodeCx<'_>) -> Result<()> {
    let alpha = cx.float("alpha", 1.0)?;
    // With another sign the exponential grows where x does.
    if !(alpha > 0.0 && alpha.is_finite()) {
        return Err(cx.unsupported(format!("alpha {alpha}; a positive one is supported")));
    }
    unary(cx, Unary::Celu { alpha })
}

fn selu(cx: &mut NodeCx<'_>) -> Result<()> {
    const ALPHA: f32 = 1.673_263_2;
    const GAMMA: f32 = 1.050_701;
    let (alpha, gamma) = (cx.float("alpha", ALPHA)?, cx.float("gamma", GAMMA)?);
    if (alpha, gamma) == (ALPHA, GAMMA) {
        return unary(cx, Unary::Selu);
    }
    let (dtype, x) = (cx.dtype(0)?, wide(cx, 0)?);
    let y = cx.op1(Unary::Elu { alpha }, &[x])?;
    let gamma = number(cx, y, gamma)?;
    let y = cx.op1(Binary::Mul, &[y, gamma])?;
    let y = cx.cast(y, dtype)?;
    cx.output(0, y);
    Ok(())
}

fn swish(cx: &mut NodeCx<'_>) -> Result<()> {
    let alpha = cx.float("alpha", 1.0)?;
    if alpha == 1.0 {
        return unary(cx, Unary::Silu);
    }
    let (dtype, x) = (cx.dtype(0)?, wide(cx, 0)?);
    let alpha = number(cx, x, alpha)?;
    let y = cx.op1(Binary::Mul, &[x, alpha])?;
    let y = cx.op1(Unary::Sigmoid, &[y])?;
    let y = cx.op1(Binary::Mul, &[x, y])?;
    let y = cx.cast(y, dtype)?;
    cx.output(0, y);
    Ok(())
}

fn gelu(cx: &mut NodeCx<'_>) -> Result<()> {
    let function = match cx.string("approximate", "none")? {
        "none" => Unary::Gelu,
        "tanh" => Unary::GeluTanh,
        other => return Err(cx.unsupported(format!("approximate '{other}'"))),
    };
    unary(cx, function)
}

/// Whole numbers are shrunk as real ones, which are then cut off.
fn shrink(cx: &mut NodeCx<'_>) -> Result<()> {
    let shrink = Unary::Shrink { lambd: cx.float("lambd", 0.5)?, bias: cx.float("bias", 0.0)? };
    let dtype = cx.dtype(0)?;
    let real = match dtype {
        _ if !dtype.is_integer() => dtype,
        _ if dtype.bits() <= 16 => DType::F32,
        _ => DType::F64,
    };
    let x = cx.input(0)?;
    let x = cx.cast(x, real)?;
    let y = cx.op1(shrink, &[x])?;
    let y = cx.cast(y, dtype)?;
    cx.output(0, y);
    Ok(())
}

fn clip_by_attributes(cx: &mut NodeCx<'_>) -> Result<()> {
    let (min, max) = (cx.float("min", f32::MIN)?, cx.float("max", f32::MAX)?);
    let (min, max) = (min.max(f32::MIN), max.min(f32::MAX));
    unary(cx, Unary::Clip { min, max })
}

fn clip(cx: &mut NodeCx<'_>) -> Result<()> {
    let dtype = cx.dtype(0)?;
    if matches!(dtype, DType::F32 | DType::F16 | DType::BF16)
        && let (Some(min), Some(max)) = (known_end(cx, 1)?, known_end(cx, 2)?)
    {
        // Absent ends are the largest numbers there are.
        let (min, max) = (min.max(f32::MIN), max.min(f32::MAX));
        return unary(cx, Unary::Clip { min, max });
    }
    let mut y = cx.input(0)?;
    for (index, op) in [(1, Binary::Max), (2, Binary::Min)] {
        if let Some(end) = end(cx, index)? {
            y = cx.op1(op, &[y, end])?;
        }
    }
    let y = cx.op1(Unary::Identity, &[y])?;
    cx.output(0, y);
    Ok(())
}

/// An end of `Clip` that is known now or absent, if it is a finite number.
fn known_end(cx: &mut NodeCx<'_>, index: usize) -> Result<Option<f32>> {
    let Some(end) = cx.optional(index) else {
        return Ok(Some(if index == 1 { f32::MIN } else { f32::MAX }));
    };
    if cx.builder().known(end).is_none() {
        return Ok(None);
    }
    let value = cx.known_reals(index)?;
    Ok(value.first().map(|&v| v as f32).filter(|v| !v.is_nan()))
}

/// An end of `Clip` as a scalar; `None` where it changes nothing.
fn end(cx: &mut NodeCx<'_>, index: usize) -> Result<Option<ValueId>> {
    let Some(end) = cx.optional(index) else { return Ok(None) };
    let dtype = cx.dtype(index)?;
    if dtype.is_integer() && cx.builder().known(end).is_some() {
        // A device may have no room for the ends of 64 bits.
        let value = cx.known_ints(index)?;
        let (least, most) = match dtype {
            DType::U64 => (0, -1),
            _ => dtype.range().map_or((i64::MIN, i64::MAX), |(a, b)| (a as i64, b as i64)),
        };
        if value == [if index == 1 { least } else { most }] {
            return Ok(None);
        }
    }
    if cx.extents_of(end)?.is_empty() {
        return Ok(Some(end));
    }
    cx.op1(Reshape { shape: Vec::new() }, &[end]).map(Some)
}

fn prelu(cx: &mut NodeCx<'_>) -> Result<()> {
    let (x, slope) = (cx.ty(0)?, cx.ty(1)?);
    if broadcast::shape("PRelu", &[&x, &slope])? != x.shape {
        return Err(cx.broken(format!("slope {slope} cannot be broadcast to {x}")));
    }
    binary(cx, Binary::PRelu)
}

fn modulo(cx: &mut NodeCx<'_>) -> Result<()> {
    match cx.int("fmod", 0)? {
        // Operator sets before 28 leave real numbers without fmod open.
        0 => binary(cx, Binary::Mod),
        1 => binary(cx, Binary::Fmod),
        other => Err(cx.broken(format!("fmod {other} is neither 0 nor 1"))),
    }
}

fn shift(cx: &mut NodeCx<'_>) -> Result<()> {
    let op = match cx.string("direction", "")? {
        "LEFT" => Binary::ShiftLeft,
        "RIGHT" => Binary::ShiftRight,
        other => return Err(cx.broken(format!("direction '{other}' is neither LEFT nor RIGHT"))),
    };
    binary(cx, op)
}

/// The base's dtype is the result's; the exponent's may be another.
fn pow(cx: &mut NodeCx<'_>) -> Result<()> {
    let (dtype, exponent) = (cx.dtype(0)?, cx.dtype(1)?);
    let (a, b) = (cx.input(0)?, cx.input(1)?);
    let y = match (dtype.is_integer(), exponent.is_integer()) {
        _ if dtype == exponent => cx.op1(Binary::Pow, &[a, b])?,
        (true, true) => {
            let b = cx.cast(b, dtype)?;
            cx.op1(Binary::Pow, &[a, b])?
        }
        (true, false) => whole_pow(cx, a, b)?,
        (false, _) => {
            let real = if dtype == DType::F64 { DType::F64 } else { DType::F32 };
            let (a, b) = (cx.cast(a, real)?, cx.cast(b, real)?);
            cx.op1(Binary::Pow, &[a, b])?
        }
    };
    let y = cx.cast(y, dtype)?;
    cx.output(0, y);
    Ok(())
}

/// A whole number to a real power. Whole powers are exact: a real result just
/// below a whole one would be cut off to the one before.
fn whole_pow(cx: &mut NodeCx<'_>, a: ValueId, b: ValueId) -> Result<ValueId> {
    let dtype = cx.builder().ty(a).dtype;
    let floor = cx.op1(Unary::Floor, &[b])?;
    let whole = cx.op1(Binary::Equal, &[floor, b])?;
    let exact = cx.cast(floor, dtype)?;
    let exact = cx.op1(Binary::Pow, &[a, exact])?;
    let all = cx.builder().known(whole).is_some_and(|t| t.bytes().iter().all(|&v| v != 0));
    if all {
        return Ok(exact);
    }
    let real = cx.builder().ty(b).dtype;
    let real = if real == DType::F64 { real } else { DType::F32 };
    let (a, b) = (cx.cast(a, real)?, cx.cast(b, real)?);
    let rough = cx.op1(Binary::Pow, &[a, b])?;
    let rough = cx.cast(rough, dtype)?;
    cx.op1(Where, &[whole, exact, rough])
}

fn choose(cx: &mut NodeCx<'_>) -> Result<()> {
    let inputs = [cx.input(0)?, cx.input(1)?, cx.input(2)?];
    let y = cx.op1(Where, &inputs)?;
    cx.output(0, y);
    Ok(())
}

/// The dtype that an attribute names.
fn target(cx: &NodeCx<'_>) -> Result<DType> {
    cx.element_type("to")?.ok_or_else(|| cx.broken("attribute 'to' is missing"))
}

fn cast(cx: &mut NodeCx<'_>) -> Result<()> {
    let to = target(cx)?;
    cast_to(cx, to)
}

fn cast_like(cx: &mut NodeCx<'_>) -> Result<()> {
    let to = cx.dtype(1)?;
    cast_to(cx, to)
}

fn cast_to(cx: &mut NodeCx<'_>, to: DType) -> Result<()> {
    if cx.dtype(0)? == to {
        let x = cx.input(0)?;
        cx.output(0, x);
        return Ok(());
    }
    let saturate = cx.int("saturate", 1)? != 0;
    let power = match cx.string("round_mode", "up")? {
        "up" => PowerRounding::Up,
        "down" => PowerRounding::Down,
        "nearest" => PowerRounding::Nearest,
        other => return Err(cx.unsupported(format!("round_mode '{other}'"))),
    };
    let rounding = SmallRounding { saturate, power };
    if to.is_small_float() && rounding != SmallRounding::default() {
        return unary(cx, CastSmall { to, rounding });
    }
    unary(cx, Cast { to })
}

fn bit_cast(cx: &mut NodeCx<'_>) -> Result<()> {
    let to = target(cx)?;
    unary(cx, BitCast { to })
}

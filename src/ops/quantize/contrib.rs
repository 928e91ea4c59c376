//! Quantised operators of ONNX Runtime's domain, which its quantiser writes.

use super::onnx::{dequantize, product, qlinear_conv, quantize, requantize};
use super::{DequantizeLinear, Granularity, QuantizeLinear, QuantizeRange};
use crate::error::Result;
use crate::graph::ValueId;
use crate::onnx::{NodeCx, OnnxOperator};
use crate::ops::elementwise::{Binary, Unary, Where};
use crate::ops::movement::{Concat, reshaped};
use crate::ops::pool::{average_over, channels_last, channels_second};
use crate::ops::reduce::{Reduce, Reduction};
use crate::ops::rules::front_axis;
use crate::ops::softmax::Softmax;
use crate::tensor::DType;

const fn contrib(name: &'static str, import: fn(&mut NodeCx<'_>) -> Result<()>) -> OnnxOperator {
    OnnxOperator { domain: "com.microsoft", name, since: 1, import }
}

pub(crate) const CONTRIB: &[OnnxOperator] = &[
    contrib("QuantizeLinear", quantize),
    contrib("DequantizeLinear", dequantize),
    contrib("DynamicQuantizeMatMul", dynamic_product),
    contrib("MatMulIntegerToFloat", product_to_float),
    contrib("QLinearAdd", add),
    contrib("QLinearMul", multiply),
    contrib("QLinearSigmoid", |cx| unary(cx, Unary::Sigmoid)),
    contrib("QLinearLeakyRelu", |cx| {
        let alpha = cx.float("alpha", 0.01)?;
        unary(cx, Unary::LeakyRelu { alpha })
    }),
    contrib("QGemm", gemm),
    contrib("QLinearAveragePool", average),
    contrib("QLinearConv", conv),
    contrib("QLinearGlobalAveragePool", global_average),
    contrib("QLinearWhere", select),
    contrib("QLinearConcat", concat),
    contrib("QLinearSoftmax", softmax),
];

/// The codes of a tensor for its own range, the scale, and the zero point as I32.
pub(crate) fn ranged(cx: &mut NodeCx<'_>, x: ValueId) -> Result<[ValueId; 3]> {
    let count = cx.extents_of(x)?.iter().product();
    let flat = reshaped(cx, x, &[count])?;
    let mut ends = Vec::new();
    for reduction in [Reduction::Max, Reduction::Min] {
        let end = cx.op1(Reduce { reduction, axes: vec![0], keepdims: false }, &[flat])?;
        ends.push(Some(end));
    }
    let range = cx.op(QuantizeRange, &ends)?;
    let codes = codes(cx, x, DType::U8, range[0], Some(range[1]))?;
    Ok([codes, range[0], range[1]])
}

fn codes(
    cx: &mut NodeCx<'_>,
    x: ValueId,
    to: DType,
    scale: ValueId,
    zero: Option<ValueId>,
) -> Result<ValueId> {
    let op = QuantizeLinear {
        to,
        granularity: Granularity::Tensor,
        precision: DType::F32,
        saturate: true,
    };
    Ok(cx.op(op, &[Some(x), Some(scale), zero])?[0])
}

/// A product of codes in F32: the sums times both scales, and a bias.
fn scaled(cx: &mut NodeCx<'_>, sums: ValueId, scales: [ValueId; 2], bias: usize) -> Result<()> {
    let factor = cx.map2(Binary::Mul, scales[0], scales[1])?;
    let sums = cx.cast(sums, DType::F32)?;
    let mut y = cx.map2(Binary::Mul, sums, factor)?;
    if cx.optional(bias).is_some() {
        let bias = cx.input_f32(bias)?;
        y = cx.map2(Binary::Add, y, bias)?;
    }
    cx.output(0, y);
    Ok(())
}

/// Inputs: A in F32, the codes of B, their scale, zero point and a bias.
fn dynamic_product(cx: &mut NodeCx<'_>) -> Result<()> {
    let a = cx.input_f32(0)?;
    let [codes, scale, zero] = ranged(cx, a)?;
    let zero = cx.cast(zero, DType::U8)?;
    let sums = product(cx, [codes, cx.input(1)?], [Some(zero), cx.optional(3)])?;
    let other = cx.input_f32(2)?;
    scaled(cx, sums, [scale, other], 4)
}

/// Inputs: the codes of A and B, their scales, their zero points and a bias.
fn product_to_float(cx: &mut NodeCx<'_>) -> Result<()> {
    let sums = product(cx, [cx.input(0)?, cx.input(1)?], [cx.optional(4), cx.optional(5)])?;
    let scales = [cx.input_f32(2)?, cx.input_f32(3)?];
    scaled(cx, sums, scales, 6)
}

/// An input as a number, where it is one with dimensions of 1.
fn scalar(cx: &mut NodeCx<'_>, index: usize) -> Result<ValueId> {
    let value = cx.input(index)?;
    reshaped(cx, value, &[])
}

/// The values of codes, whose scale and zero point are the inputs after them.
fn values(cx: &mut NodeCx<'_>, index: usize) -> Result<ValueId> {
    let (codes, scale) = (cx.input(index)?, scalar(cx, index + 1)?);
    let zero = zero(cx, index + 2)?;
    let op = DequantizeLinear { to: DType::F32, granularity: Granularity::Tensor };
    Ok(cx.op(op, &[Some(codes), Some(scale), zero])?[0])
}

fn zero(cx: &mut NodeCx<'_>, index: usize) -> Result<Option<ValueId>> {
    if cx.optional(index).is_none() {
        return Ok(None);
    }
    let zero = scalar(cx, index)?;
    cx.cast(zero, DType::I32).map(Some)
}

/// The result as codes of a type, with the scale and zero point of two inputs.
fn coded(cx: &mut NodeCx<'_>, y: ValueId, to: DType, scale: usize) -> Result<()> {
    let factor = scalar(cx, scale)?;
    let zero = zero(cx, scale + 1)?;
    let y = codes(cx, y, to, factor, zero)?;
    cx.output(0, y);
    Ok(())
}

fn add(cx: &mut NodeCx<'_>) -> Result<()> {
    let to = cx.dtype(0)?;
    let (a, b) = (values(cx, 0)?, values(cx, 3)?);
    let y = cx.map2(Binary::Add, a, b)?;
    coded(cx, y, to, 6)
}

/// The products of whole numbers times one factor; ONNX Runtime rounds after it has
/// added the zero point, which decides where products lie halfway.
fn multiply(cx: &mut NodeCx<'_>) -> Result<()> {
    let to = cx.dtype(0)?;
    let (a, b) = (centred(cx, 0)?, centred(cx, 3)?);
    let (a_scale, b_scale, y_scale) = (scalar(cx, 1)?, scalar(cx, 4)?, scalar(cx, 6)?);
    let factor = cx.map2(Binary::Mul, a_scale, b_scale)?;
    let factor = cx.map2(Binary::Div, factor, y_scale)?;
    let y = cx.map2(Binary::Mul, a, b)?;
    let mut y = cx.map2(Binary::Mul, y, factor)?;
    if let Some(zero) = zero(cx, 7)? {
        let zero = cx.cast(zero, DType::F32)?;
        y = cx.map2(Binary::Add, y, zero)?;
    }
    let y = cx.map1(Unary::Round, y)?;
    let (least, most) = to.range().unwrap_or((0, 0));
    let y = cx.map1(Unary::Clip { min: least as f32, max: most as f32 }, y)?;
    cx.output_as(0, y, to)
}

/// Codes less their zero point, which is two inputs further.
fn centred(cx: &mut NodeCx<'_>, index: usize) -> Result<ValueId> {
    let codes = cx.input_f32(index)?;
    match zero(cx, index + 2)? {
        None => Ok(codes),
        Some(zero) => {
            let zero = cx.cast(zero, DType::F32)?;
            cx.map2(Binary::Sub, codes, zero)
        }
    }
}

fn unary(cx: &mut NodeCx<'_>, op: Unary) -> Result<()> {
    let to = cx.dtype(0)?;
    let x = values(cx, 0)?;
    let y = cx.map1(op, x)?;
    coded(cx, y, to, 3)
}

fn global_average(cx: &mut NodeCx<'_>) -> Result<()> {
    let (to, rank) = (cx.dtype(0)?, cx.extents(0)?.len() as i64);
    let axes = match cx.int("channels_last", 0)? {
        0 => (2..rank).collect(),
        _ => (1..rank - 1).collect(),
    };
    let x = values(cx, 0)?;
    let y = cx.op1(Reduce { reduction: Reduction::Mean, axes, keepdims: true }, &[x])?;
    coded(cx, y, to, 3)
}

/// A pool of values between codes.
fn average(cx: &mut NodeCx<'_>) -> Result<()> {
    let (to, last) = (cx.dtype(0)?, cx.int("channels_last", 0)? != 0);
    let mut x = values(cx, 0)?;
    if last {
        x = channels_second(cx, x)?;
    }
    let op = average_over(cx, &cx.extents_of(x)?)?;
    let mut y = cx.op1(op, &[x])?;
    if last {
        y = channels_last(cx, y)?;
    }
    coded(cx, y, to, 3)
}

/// ONNX's QLinearConv, or the same with the channels last.
fn conv(cx: &mut NodeCx<'_>) -> Result<()> {
    let x = cx.input(0)?;
    if cx.int("channels_last", 0)? == 0 {
        let y = qlinear_conv(cx, x)?;
        cx.output(0, y);
        return Ok(());
    }
    let x = channels_second(cx, x)?;
    let y = qlinear_conv(cx, x)?;
    let y = channels_last(cx, y)?;
    cx.output(0, y);
    Ok(())
}

/// Inputs: which, then codes, scale and zero point of both, and of the result.
fn select(cx: &mut NodeCx<'_>) -> Result<()> {
    let (to, which) = (cx.dtype(1)?, cx.input(0)?);
    let (a, b) = (values(cx, 1)?, values(cx, 4)?);
    let y = cx.op1(Where, &[which, a, b])?;
    coded(cx, y, to, 7)
}

/// `alpha A B + C` of codes; C are whole numbers in units of the product. The
/// result is in F32 where no scale is given for its codes.
fn gemm(cx: &mut NodeCx<'_>) -> Result<()> {
    let mut operands = [cx.input(0)?, cx.input(3)?];
    for (operand, name) in operands.iter_mut().zip(["transA", "transB"]) {
        if cx.extents_of(*operand)?.len() != 2 {
            return Err(cx.broken("A and B must be matrices"));
        }
        if cx.int(name, 0)? != 0 {
            *operand = cx.transposed(*operand, &[1, 0])?;
        }
    }
    let mut sums = product(cx, operands, [cx.optional(2), cx.optional(5)])?;
    if let Some(c) = cx.optional(6) {
        sums = cx.map2(Binary::Add, sums, c)?;
    }
    let (a, b) = (cx.input_f32(1)?, cx.input_f32(4)?);
    let factor = cx.map2(Binary::Mul, a, b)?;
    let factor = cx.map2_f32(Binary::Mul, factor, cx.float("alpha", 1.0)?)?;
    if cx.optional(7).is_none() {
        let sums = cx.cast(sums, DType::F32)?;
        let y = cx.map2(Binary::Mul, sums, factor)?;
        cx.output(0, y);
        return Ok(());
    }
    let scale = scalar(cx, 7)?;
    let factor = cx.map2(Binary::Div, factor, scale)?;
    let zero = scalar(cx, 8)?;
    let to = cx.dtype(8)?;
    let y = requantize(cx, sums, factor, (zero, to), 1)?;
    cx.output(0, y);
    Ok(())
}

/// Along an axis; in operator sets before 13 over all dimensions from it on.
fn softmax(cx: &mut NodeCx<'_>) -> Result<()> {
    let (to, extents, opset) = (cx.dtype(0)?, cx.extents(0)?, cx.int("opset", 13)?);
    let axis = front_axis("QLinearSoftmax", cx.int("axis", -1)?, extents.len())?;
    let mut x = values(cx, 0)?;
    if opset >= 13 {
        x = cx.op1(Softmax { axis: axis as i64 }, &[x])?;
    } else {
        let matrix = [extents[..axis].iter().product(), extents[axis..].iter().product()];
        x = reshaped(cx, x, &matrix)?;
        x = cx.op1(Softmax { axis: 1 }, &[x])?;
        x = reshaped(cx, x, &extents)?;
    }
    coded(cx, x, to, 3)
}

/// Inputs: scale and zero point of the result, then codes, scale and zero point of
/// each part.
fn concat(cx: &mut NodeCx<'_>) -> Result<()> {
    let Some(axis) = cx.attributes().int("axis")? else {
        return Err(cx.broken("without an axis"));
    };
    let count = cx.input_count();
    if count < 5 || count % 3 != 2 {
        return Err(cx.broken(format!("has {count} inputs")));
    }
    let to = cx.dtype(2)?;
    let parts: Vec<_> = (2..count).step_by(3).map(|at| values(cx, at)).collect::<Result<_>>()?;
    let y = cx.op1(Concat { axis }, &parts)?;
    coded(cx, y, to, 0)
}

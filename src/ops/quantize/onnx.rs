//! The family's ONNX operators.

use super::{DequantizeLinear, Granularity, MatMulInteger, Patches, QuantizeLinear, Requantize};
use crate::error::Result;
use crate::graph::{Dim, ValueId};
use crate::onnx::{NodeCx, OnnxOperator, row};
use crate::ops::conv::padding::Spatial;
use crate::ops::elementwise::{Binary, Unary};
use crate::ops::movement::{Pad, PadMode, Reshape};
use crate::ops::rules::front_axis;
use crate::tensor::DType;

pub(crate) const ONNX: &[OnnxOperator] = &[
    row("QuantizeLinear", 10, quantize),
    row("DequantizeLinear", 10, dequantize),
    row("DynamicQuantizeLinear", 11, dynamic),
    row("MatMulInteger", 10, matmul_integer),
    row("QLinearMatMul", 10, qlinear_matmul),
    row("ConvInteger", 10, conv_integer),
    row("QLinearConv", 10, |cx| {
        let x = cx.input(0)?;
        let y = qlinear_conv(cx, x)?;
        cx.output(0, y);
        Ok(())
    }),
];

fn dims(extents: &[usize]) -> Vec<Dim> {
    extents.iter().map(|&n| n.into()).collect()
}

fn reshape(cx: &mut NodeCx<'_>, x: ValueId, extents: &[usize]) -> Result<ValueId> {
    if cx.extents_of(x)? == extents {
        return Ok(x);
    }
    cx.op1(Reshape { shape: dims(extents) }, &[x])
}

fn dtype_of(cx: &mut NodeCx<'_>, x: ValueId) -> DType {
    cx.builder().ty(x).dtype
}

/// Which elements of the first input share a scale of the second, and the shape
/// that says so.
fn granularity(cx: &NodeCx<'_>) -> Result<(Granularity, Vec<usize>)> {
    let (x, scale) = (cx.extents(0)?, cx.extents(1)?);
    let block = cx.int("block_size", 0)?;
    let axis = || match x.len() {
        // The only axis there is, whatever the attribute's default says.
        1 => Ok(0),
        rank => front_axis("axis", cx.int("axis", 1)?, rank),
    };
    match (scale.len(), usize::try_from(block)) {
        (_, Err(_)) => Err(cx.broken(format!("block_size is {block}"))),
        (0, _) => Ok((Granularity::Tensor, Vec::new())),
        (1, Ok(0)) if scale == [1] => Ok((Granularity::Tensor, Vec::new())),
        (1, Ok(0)) => Ok((Granularity::Axis(axis()?), scale)),
        (rank, Ok(size)) if rank == x.len() && size > 0 => {
            Ok((Granularity::Block { axis: axis()?, size }, scale))
        }
        _ => Err(cx.broken(format!("x {x:?}, scale {scale:?} and block_size {block}"))),
    }
}

/// The zero points as I32, `None` where they are 0. Floating-point types have
/// none but 0.
fn zero_point(cx: &mut NodeCx<'_>, index: usize, shape: &[usize]) -> Result<Option<ValueId>> {
    let Some(zero) = cx.optional(index) else { return Ok(None) };
    let dtype = dtype_of(cx, zero);
    if !dtype.is_integer() {
        return match cx.known_reals(index)?.iter().all(|&v| v == 0.0) {
            true => Ok(None),
            false => Err(cx.unsupported(format!("a zero point of {dtype} other than 0"))),
        };
    }
    if let Some(known) = cx.builder().known(zero)
        && known.bytes().iter().all(|&byte| byte == 0)
    {
        return Ok(None);
    }
    let zero = cx.cast(zero, DType::I32)?;
    reshape(cx, zero, shape).map(Some)
}

/// A scale in F32, shaped as its granularity says.
fn scale_of(cx: &mut NodeCx<'_>, index: usize, shape: &[usize]) -> Result<ValueId> {
    let scale = cx.input_f32(index)?;
    reshape(cx, scale, shape)
}

/// A dtype attribute; 0 stands for none.
fn dtype_attribute(cx: &NodeCx<'_>, name: &str) -> Result<Option<DType>> {
    if cx.int(name, 0)? == 0 { Ok(None) } else { cx.element_type(name) }
}

pub(super) fn quantize(cx: &mut NodeCx<'_>) -> Result<()> {
    let (granularity, shape) = granularity(cx)?;
    let asked = dtype_attribute(cx, "output_dtype")?;
    let given = if cx.optional(2).is_some() { Some(cx.dtype(2)?) } else { None };
    if let (Some(asked), Some(given)) = (asked, given)
        && asked != given
    {
        return Err(cx.broken(format!("output_dtype {asked} and a zero point of {given}")));
    }
    let own = match cx.dtype(1)? {
        half @ (DType::F16 | DType::BF16) => half,
        _ => DType::F32,
    };
    let op = QuantizeLinear {
        to: given.or(asked).unwrap_or(DType::U8),
        granularity,
        precision: dtype_attribute(cx, "precision")?.unwrap_or(own),
        saturate: cx.int("saturate", 1)? != 0,
    };
    let x = cx.input(0)?;
    let scale = scale_of(cx, 1, &shape)?;
    let zero = zero_point(cx, 2, &shape)?;
    let y = cx.op(op, &[Some(x), Some(scale), zero])?;
    finish(cx, &y)
}

pub(super) fn dequantize(cx: &mut NodeCx<'_>) -> Result<()> {
    let (granularity, shape) = granularity(cx)?;
    let own = match cx.dtype(1)? {
        half @ (DType::F16 | DType::BF16) => half,
        _ => DType::F32,
    };
    let to = dtype_attribute(cx, "output_dtype")?.unwrap_or(own);
    let x = cx.input(0)?;
    let scale = scale_of(cx, 1, &shape)?;
    let zero = zero_point(cx, 2, &shape)?;
    let y = cx.op(DequantizeLinear { to, granularity }, &[Some(x), Some(scale), zero])?;
    finish(cx, &y)
}

fn finish(cx: &mut NodeCx<'_>, outputs: &[ValueId]) -> Result<()> {
    for (i, &output) in outputs.iter().enumerate() {
        cx.output(i, output);
    }
    Ok(())
}

fn dynamic(cx: &mut NodeCx<'_>) -> Result<()> {
    let x = cx.input(0)?;
    let [codes, scale, zero] = super::contrib::ranged(cx, x)?;
    let zero = cx.cast(zero, DType::U8)?;
    finish(cx, &[codes, scale, zero])
}

/// Operands of a product, with zero points that it takes: those for rows of a
/// matrix in a batch are taken off first.
pub(crate) fn product(
    cx: &mut NodeCx<'_>,
    operands: [ValueId; 2],
    zeros: [Option<ValueId>; 2],
) -> Result<ValueId> {
    let mut inputs = operands.map(Some).to_vec();
    for (i, zero) in zeros.into_iter().enumerate() {
        let Some(zero) = zero else {
            inputs.push(None);
            continue;
        };
        let extents = cx.extents_of(zero)?;
        if extents.iter().product::<usize>() == 1 {
            inputs.push(Some(reshape(cx, zero, &[])?));
        } else if extents.len() == 1 {
            inputs.push(Some(zero));
        } else {
            let wide = cx.cast(operands[i], DType::I32)?;
            let zero = cx.cast(zero, DType::I32)?;
            inputs[i] = Some(cx.op1(Binary::Sub, &[wide, zero])?);
            inputs.push(None);
        }
    }
    let y = cx.op(MatMulInteger, &inputs)?;
    Ok(y[0])
}

fn matmul_integer(cx: &mut NodeCx<'_>) -> Result<()> {
    let y = product(cx, [cx.input(0)?, cx.input(1)?], [cx.optional(2), cx.optional(3)])?;
    cx.output(0, y);
    Ok(())
}

/// `x scale / y scale` of all scales, multiplied and divided in F32.
fn factor(cx: &mut NodeCx<'_>, scales: [ValueId; 3]) -> Result<ValueId> {
    let [a, b, y] = scales;
    let product = cx.op1(Binary::Mul, &[a, b])?;
    cx.op1(Binary::Div, &[product, y])
}

/// `saturate(round(x * factor) + zero)` with a factor of any shape.
pub(super) fn requantize(
    cx: &mut NodeCx<'_>,
    x: ValueId,
    factor: ValueId,
    (zero, to): (ValueId, DType),
    axis: usize,
) -> Result<ValueId> {
    let (shape, zeros) = (cx.extents_of(factor)?, cx.extents_of(zero)?);
    let rank = cx.extents_of(x)?.len();
    let count = |extents: &[usize]| extents.iter().product::<usize>();
    let along = shape.iter().enumerate().all(|(i, &n)| n == 1 || i + rank == axis + shape.len());
    if count(&zeros) == 1 && along {
        let of_axis = count(&shape) != 1;
        let granularity = if of_axis { Granularity::Axis(axis) } else { Granularity::Tensor };
        let shape = if of_axis { vec![count(&shape)] } else { Vec::new() };
        let factor = reshape(cx, factor, &shape)?;
        let zero = cx.cast(zero, DType::I32)?;
        let zero = reshape(cx, zero, &[])?;
        let zero = cx.op1(crate::ops::movement::Expand { shape: dims(&shape) }, &[zero])?;
        let op = Requantize { to, granularity };
        return Ok(cx.op(op, &[Some(x), Some(factor), Some(zero)])?[0]);
    }
    let x = cx.cast(x, DType::F32)?;
    let y = cx.op1(Binary::Mul, &[x, factor])?;
    let y = cx.op1(Unary::Round, &[y])?;
    let zero = cx.cast(zero, DType::F32)?;
    let y = cx.op1(Binary::Add, &[y, zero])?;
    let (least, most) = to.range().unwrap_or((0, 0));
    let y = cx.op1(Unary::Clip { min: least as f32, max: most as f32 }, &[y])?;
    cx.cast(y, to)
}

/// An input that belongs to rows or columns of a matrix, as a row or a column.
fn lined(cx: &mut NodeCx<'_>, x: ValueId, column: bool) -> Result<ValueId> {
    match cx.extents_of(x)?.as_slice() {
        &[n] if column => reshape(cx, x, &[n, 1]),
        _ => Ok(x),
    }
}

fn qlinear_matmul(cx: &mut NodeCx<'_>) -> Result<()> {
    for index in [0, 3] {
        let dtype = cx.dtype(index)?;
        if !matches!(dtype, DType::I8 | DType::U8) {
            return Err(cx.unsupported(format!("operands of {dtype}; I8 and U8 are supported")));
        }
    }
    let sums = product(cx, [cx.input(0)?, cx.input(3)?], [Some(cx.input(2)?), Some(cx.input(5)?)])?;
    let (a, b, y) = (cx.input_f32(1)?, cx.input_f32(4)?, cx.input_f32(6)?);
    let a = lined(cx, a, true)?;
    let y = lined(cx, y, true)?;
    let factor = factor(cx, [a, b, y])?;
    let zero = cx.input(7)?;
    let to = dtype_of(cx, zero);
    let zero = lined(cx, zero, true)?;
    let axis = cx.extents_of(sums)?.len().saturating_sub(1);
    let y = requantize(cx, sums, factor, (zero, to), axis)?;
    cx.output(0, y);
    Ok(())
}

/// x, its zero point, the weights and theirs.
struct Convolved {
    x: ValueId,
    x_zero: Option<ValueId>,
    w: ValueId,
    w_zero: Option<ValueId>,
}

/// The sums of a convolution of whole numbers: a product of matrices with what
/// the window sees.
fn convolve(cx: &mut NodeCx<'_>, of: Convolved) -> Result<ValueId> {
    let (x, w) = (cx.extents_of(of.x)?, cx.extents_of(of.w)?);
    let group = cx.int("group", 1)?;
    let group = usize::try_from(group).ok().filter(|&group| group > 0);
    let group = group.ok_or_else(|| cx.broken("group is not positive"))?;
    let fits = x.len() == w.len()
        && (3..=5).contains(&x.len())
        && w[1].checked_mul(group) == Some(x[1])
        && w[0].is_multiple_of(group);
    if !fits {
        return Err(cx.unsupported(format!("x {x:?} and weights {w:?} in {group} groups")));
    }
    let kernel = w[2..].to_vec();
    if let Some(asked) = cx.ints("kernel_shape")?
        && !asked.iter().map(|&n| usize::try_from(n).ok()).eq(kernel.iter().map(|&n| Some(n)))
    {
        return Err(cx.broken(format!("kernel_shape {asked:?} and weights {w:?}")));
    }
    let spatial = Spatial::read(cx, kernel.len())?;
    let pads = spatial.resolved(&x[2..], &kernel);
    let padded = pad(cx, of.x, of.x_zero, &pads)?;
    let Spatial { strides, dilations, .. } = spatial;
    let patches = cx.op1(Patches { kernel: kernel.clone(), strides, dilations }, &[padded])?;
    let places = cx.extents_of(patches)?.split_off(2 + kernel.len());
    let (inner, outer) = (w[1..].iter().product(), places.iter().product());
    let patches = reshape(cx, patches, &[x[0], group, inner, outer])?;
    let (weights, w_zero) = weights(cx, of.w, of.w_zero, group)?;
    let weights = reshape(cx, weights, &[group, w[0] / group, inner])?;
    let sums = product(cx, [weights, patches], [w_zero, of.x_zero])?;
    let mut extents = vec![x[0], w[0]];
    extents.extend(places);
    reshape(cx, sums, &extents)
}

/// Padding is with what stands for 0.
fn pad(cx: &mut NodeCx<'_>, x: ValueId, zero: Option<ValueId>, pads: &[usize]) -> Result<ValueId> {
    if pads.iter().all(|&pad| pad == 0) {
        return Ok(x);
    }
    let axes = pads.len() / 2;
    let mut all = vec![[0, 0]; 2];
    all.extend((0..axes).map(|i| [pads[i] as i64, pads[axes + i] as i64]));
    let zero = zero.map(|zero| reshape(cx, zero, &[])).transpose()?;
    let y = cx.op(Pad { mode: PadMode::Constant, pads: all }, &[Some(x), zero])?;
    Ok(y[0])
}

/// Weights with a zero point that their products take: one for each of several
/// groups' channels is taken off first.
fn weights(
    cx: &mut NodeCx<'_>,
    w: ValueId,
    zero: Option<ValueId>,
    group: usize,
) -> Result<(ValueId, Option<ValueId>)> {
    let Some(zero) = zero else { return Ok((w, None)) };
    let channels = cx.extents_of(zero)?.iter().product::<usize>();
    if group == 1 || channels == 1 {
        return Ok((w, Some(zero)));
    }
    let mut shape = vec![1; cx.extents_of(w)?.len()];
    shape[0] = channels;
    let (w, zero) = (cx.cast(w, DType::I32)?, cx.cast(zero, DType::I32)?);
    let zero = reshape(cx, zero, &shape)?;
    Ok((cx.op1(Binary::Sub, &[w, zero])?, None))
}

fn conv_integer(cx: &mut NodeCx<'_>) -> Result<()> {
    let (x, w) = (cx.input(0)?, cx.input(1)?);
    let of = Convolved { x, w, x_zero: cx.optional(2), w_zero: cx.optional(3) };
    let y = convolve(cx, of)?;
    cx.output(0, y);
    Ok(())
}

/// A convolution of the codes x, which are the node's first input or made of it.
pub(super) fn qlinear_conv(cx: &mut NodeCx<'_>, x: ValueId) -> Result<ValueId> {
    let w = cx.input(3)?;
    let of = Convolved { x, w, x_zero: Some(cx.input(2)?), w_zero: Some(cx.input(5)?) };
    let mut sums = convolve(cx, of)?;
    let rank = cx.extents_of(sums)?.len();
    // One for each channel, along the second dimension.
    let channels = |cx: &mut NodeCx<'_>, x: ValueId| -> Result<ValueId> {
        let count = cx.extents_of(x)?.iter().product::<usize>();
        let mut shape = vec![1; rank - 1];
        shape[0] = count;
        reshape(cx, x, &shape)
    };
    if let Some(bias) = cx.optional(8) {
        let bias = channels(cx, bias)?;
        sums = cx.op1(Binary::Add, &[sums, bias])?;
    }
    let (a, b, y) = (cx.input_f32(1)?, cx.input_f32(4)?, cx.input_f32(6)?);
    let a = reshape(cx, a, &[])?;
    let b = channels(cx, b)?;
    let y = reshape(cx, y, &[])?;
    let factor = factor(cx, [a, b, y])?;
    let zero = cx.input(7)?;
    let to = dtype_of(cx, zero);
    requantize(cx, sums, factor, (zero, to), 1)
}

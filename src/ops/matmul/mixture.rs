//! Mixtures of experts, of ONNX Runtime's domain: `MoE`, and `QMoE` whose weights
//! are codes in a few bits.

use super::ExpertMatMul;
use super::nbits::{Weight, few};
use crate::error::Result;
use crate::graph::ValueId;
use crate::onnx::NodeCx;
use crate::ops::elementwise::{Binary, Unary};
use crate::ops::gather::Take;
use crate::ops::movement::{Slice, SliceRange};
use crate::ops::reduce::{Reduce, Reduction};
use crate::ops::softmax::Softmax;
use crate::ops::topk::TopK;
use crate::tensor::{DType, Tensor};

/// The inputs of one layer of all experts, by number.
#[derive(Clone, Copy)]
struct Layer {
    /// `[E, N, K]`, of codes with as many elements in a byte as fit.
    weight: usize,
    /// `[E, N]`
    bias: usize,
    /// Of codes: scales `[E, N]` or `[E, N, blocks]`, zero points, and the attribute
    /// that says in how many bits they are.
    codes: Option<(usize, usize, &'static str)>,
}

pub(super) fn plain(cx: &mut NodeCx<'_>) -> Result<()> {
    let layer = |weight| Layer { weight, bias: weight + 1, codes: None };
    let normal = cx.int("normalize_routing_weights", 0)? != 0;
    mixture(cx, [2, 4, 6].map(layer), normal)
}

pub(super) fn quantised(cx: &mut NodeCx<'_>) -> Result<()> {
    let kind = cx.string("quant_type", "int")?.to_string();
    if kind != "int" {
        return Err(cx.unsupported(format!("quant_type '{kind}'")));
    }
    if cx.int("weights_prepacked", -1)? == 1 {
        return Err(cx.unsupported("weights in the layout of one machine (weights_prepacked 1)"));
    }
    if let Some(index) = (14..21).find(|&index| cx.optional(index).is_some()) {
        return Err(cx.unsupported(format!("input {index}")));
    }
    let layer = |(weight, zeros, bits)| Layer {
        weight,
        bias: weight + 2,
        codes: Some((weight + 1, zeros, bits)),
    };
    let layers = [
        (2, 11, "fc1_expert_weight_bits"),
        (5, 12, "fc2_expert_weight_bits"),
        (8, 13, "fc3_expert_weight_bits"),
    ];
    // ONNX Runtime's CPU provider does so whatever the attribute says.
    let normal = true;
    mixture(cx, layers.map(layer), normal)
}

/// `sum over the k likeliest experts e of p[e] (act(x W1[e]ᵀ + b1[e]) W2[e]ᵀ + b2[e])`.
/// The shares p of an expert add up to 1 if `normal` is set.
fn mixture(cx: &mut NodeCx<'_>, [first, second, third]: [Layer; 3], normal: bool) -> Result<()> {
    for (name, harmless) in [("use_sparse_mixer", 0), ("swiglu_limit_after_activation", 0)] {
        let value = cx.int(name, harmless)?;
        if value != harmless {
            return Err(cx.unsupported(format!("{name} {value}")));
        }
    }
    let (dtype, extents) = (cx.dtype(0)?, cx.extents(0)?);
    let Some((&columns, before)) = extents.split_last().filter(|(_, before)| !before.is_empty())
    else {
        return Err(cx.broken(format!("input {extents:?} are no rows")));
    };
    let rows: usize = before.iter().product();
    let x = cx.input_f32(0)?;
    let x = cx.reshaped(x, &[rows, columns])?;
    let (chosen, shares) = chosen(cx, rows, normal)?;
    let h = first.apply(cx, x, chosen)?;
    let gate = match cx.optional(third.weight) {
        Some(_) => Some(third.apply(cx, x, chosen)?),
        None => None,
    };
    let h = activated(cx, h, gate)?;
    let y = second.apply(cx, h, chosen)?;
    let y = cx.map2(Binary::Mul, y, shares)?;
    let sum = Reduce { reduction: Reduction::Sum, axes: vec![1], keepdims: false };
    let y = cx.op1(sum, &[y])?;
    let y = cx.reshaped(y, &extents)?;
    cx.output_as(0, y, dtype)
}

/// The likeliest experts of each row, I32 `[T, k]`, and their shares `[T, k, 1]`.
fn chosen(cx: &mut NodeCx<'_>, rows: usize, normal: bool) -> Result<(ValueId, ValueId)> {
    let router = cx.extents(1)?;
    let experts = match router[..] {
        [n, experts] if n == rows => experts,
        _ => return Err(cx.broken(format!("router_probs {router:?} for {rows} rows"))),
    };
    let k = cx.int("k", 1)?;
    let Some(k) = usize::try_from(k).ok().filter(|k| (1..=experts).contains(k)) else {
        return Err(cx.broken(format!("k {k} of {experts} experts")));
    };
    let logits = cx.input_f32(1)?;
    let likely = cx.op1(Softmax { axis: -1 }, &[logits])?;
    let top = TopK { k: k as u64, axis: -1, largest: true, index: DType::I32 };
    let top = cx.op(top, &[Some(likely)])?;
    let &[mut shares, chosen] = top.as_slice() else {
        return Err(cx.broken("no choice of experts"));
    };
    if normal {
        let sum = Reduce { reduction: Reduction::Sum, axes: vec![1], keepdims: true };
        let sum = cx.op1(sum, &[shares])?;
        shares = cx.map2(Binary::Div, shares, sum)?;
    }
    Ok((chosen, cx.reshaped(shares, &[rows, k, 1])?))
}

/// The function between the layers, of `[T, k, N]`. `gate` is what a third layer
/// made of the same rows.
fn activated(cx: &mut NodeCx<'_>, h: ValueId, gate: Option<ValueId>) -> Result<ValueId> {
    let name = cx.string("activation_type", "relu")?.to_string();
    let function = match name.as_str() {
        "relu" => Some(Unary::Relu),
        // ONNX Runtime means the one with tanh.
        "gelu" => Some(Unary::GeluTanh),
        "silu" => Some(Unary::Silu),
        "identity" => None,
        "swiglu" => return gated(cx, h, gate),
        other => return Err(cx.unsupported(format!("activation_type '{other}'"))),
    };
    let h = match function {
        Some(function) => cx.map1(function, h)?,
        None => h,
    };
    match gate {
        Some(gate) => cx.map2(Binary::Mul, h, gate),
        None => Ok(h),
    }
}

/// `g sigmoid(alpha g) (l + beta)` with g at most a limit, and l between both. The
/// two lie beside each other, or one behind the other, or l is of a third layer.
fn gated(cx: &mut NodeCx<'_>, h: ValueId, third: Option<ValueId>) -> Result<ValueId> {
    let extents = cx.extents_of(h)?;
    let wide = extents.last().copied().unwrap_or(0);
    let fusion = cx.int("swiglu_fusion", 0)?;
    let (g, l) = match (fusion, third) {
        (0, Some(l)) => (h, l),
        (1, None) if wide.is_multiple_of(2) => {
            let half = [&extents[..extents.len() - 1], &[wide / 2]].concat();
            let pairs = cx.reshaped(h, &[&half[..], &[2]].concat())?;
            let mut part = |at: usize| -> Result<ValueId> {
                let part = part(cx, pairs, at, at + 1)?;
                cx.reshaped(part, &half)
            };
            (part(0)?, part(1)?)
        }
        (2, None) if wide.is_multiple_of(2) => {
            (part(cx, h, 0, wide / 2)?, part(cx, h, wide / 2, wide)?)
        }
        _ => {
            let what = format!("swiglu_fusion {fusion} of {wide} columns");
            return Err(cx.unsupported(what));
        }
    };
    let (alpha, beta) = (cx.float("activation_alpha", 1.0)?, cx.float("activation_beta", 0.0)?);
    let (mut g, mut l) = (g, l);
    if let Some(limit) = cx.attributes().float("swiglu_limit")? {
        g = cx.map1(Unary::Clip { min: f32::MIN, max: limit }, g)?;
        l = cx.map1(Unary::Clip { min: -limit, max: limit }, l)?;
    }
    let scaled = cx.map2_f32(Binary::Mul, g, alpha)?;
    let open = cx.map1(Unary::Sigmoid, scaled)?;
    let g = cx.map2(Binary::Mul, g, open)?;
    let l = cx.map2_f32(Binary::Add, l, beta)?;
    cx.map2(Binary::Mul, g, l)
}

/// Some of the last dimension.
fn part(cx: &mut NodeCx<'_>, x: ValueId, start: usize, end: usize) -> Result<ValueId> {
    let (start, end) = (start as i64, end as i64);
    cx.op1(Slice { ranges: vec![SliceRange { axis: -1, start, end, step: 1 }] }, &[x])
}

impl Layer {
    /// The rows by the chosen experts' matrices, and their biases: `[T, k, N]`.
    fn apply(&self, cx: &mut NodeCx<'_>, x: ValueId, chosen: ValueId) -> Result<ValueId> {
        let weight = match self.codes {
            None => self.real(cx)?,
            Some((scales, zeros, bits)) => {
                let columns = cx.extents_of(x)?.last().copied().unwrap_or(0);
                let weight = self.decoded(cx, columns, (scales, zeros, bits))?;
                cx.constant(weight)?
            }
        };
        let y = cx.op1(ExpertMatMul::default(), &[x, chosen, weight])?;
        if cx.optional(self.bias).is_none() {
            return Ok(y);
        }
        let bias = cx.input_f32(self.bias)?;
        let bias = cx.op1(Take { axis: 0, batch_dims: 0 }, &[bias, chosen])?;
        cx.map2(Binary::Add, y, bias)
    }

    /// Numbers of 16 bits stay as they are.
    fn real(&self, cx: &mut NodeCx<'_>) -> Result<ValueId> {
        match cx.dtype(self.weight)? {
            DType::F16 => cx.input(self.weight),
            _ => cx.input_f32(self.weight),
        }
    }

    fn decoded(
        &self,
        cx: &mut NodeCx<'_>,
        k: usize,
        (scales, zeros, own): (usize, usize, &str),
    ) -> Result<Tensor> {
        let bits = cx.int(own, cx.int("expert_weight_bits", 4)?)?;
        let Some(bits) = usize::try_from(bits).ok().filter(|bits| [2, 4, 8].contains(bits)) else {
            return Err(cx.unsupported(format!("weights of {bits} bits")));
        };
        let block = cx.int("block_size", 0)?;
        let block = match usize::try_from(block) {
            Ok(0) => k,
            Ok(block) if block.is_multiple_of(8) && k.is_multiple_of(block) => block,
            _ => return Err(cx.broken(format!("block_size {block} of {k} columns"))),
        };
        let (body, scales) = (cx.known(self.weight)?, cx.known_reals(scales)?);
        let (bytes, blocks) = (k * bits / 8, k / block.max(1));
        let [experts, n] = match *body.extents() {
            [experts, n, b] if b == bytes && (k * bits).is_multiple_of(8) => [experts, n],
            _ => return Err(cx.broken(format!("codes {:?} of {k} columns", body.extents()))),
        };
        let rows = experts * n;
        if body.dtype() != DType::U8 || scales.len() != rows * blocks {
            let what = format!("{} scales of codes {:?}", scales.len(), body.extents());
            return Err(cx.broken(what));
        }
        // Without blocks the zeros of an expert's rows share bytes.
        let shape = match block == k && cx.int("block_size", 0)? == 0 {
            true => [experts, n],
            false => [rows, blocks],
        };
        let zeros = unpacked(cx, zeros, bits, shape)?;
        let body = body.bytes().to_vec();
        let weight = Weight { n: rows, k, bits, block, body, scales, zeros, groups: None };
        let flat = weight.tensor()?;
        Tensor::new(flat.dtype(), &[experts, n, k], flat.bytes().to_vec())
    }
}

/// Zero points packed in rows of whole bytes.
fn unpacked(
    cx: &mut NodeCx<'_>,
    input: usize,
    bits: usize,
    [rows, columns]: [usize; 2],
) -> Result<Option<Vec<f64>>> {
    if cx.optional(input).is_none() {
        return Ok(None);
    }
    let tensor = cx.known(input)?;
    let row = (columns * bits).div_ceil(8);
    if tensor.dtype() != DType::U8 || tensor.len() != rows * row {
        let what = format!("zero points {:?} for {rows} rows", tensor.extents());
        return Err(cx.broken(what));
    }
    let bytes: &[u8] = tensor.bytes();
    let zero = |i: usize| f64::from(few(&bytes[i / columns * row..], bits, i % columns));
    Ok(Some((0..rows * columns).map(zero).collect()))
}

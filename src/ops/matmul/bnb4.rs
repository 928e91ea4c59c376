//! Products with weights in the four bits of bitsandbytes, of ONNX Runtime's domain.

use super::MatMul;
use crate::error::Result;
use crate::onnx::NodeCx;
use crate::tensor::Tensor;

/// What codes stand for in floating-point numbers of four bits, and in quantiles of the
/// normal distribution.
const FP4: [f32; 16] = [
    0.0,
    0.005_208_333_3,
    0.666_666_7,
    1.0,
    0.333_333_33,
    0.5,
    0.166_666_67,
    0.25,
    -0.0,
    -0.005_208_333_3,
    -0.666_666_7,
    -1.0,
    -0.333_333_33,
    -0.5,
    -0.166_666_67,
    -0.25,
];
const NF4: [f32; 16] = [
    -1.0,
    -0.696_192_8,
    -0.525_073_05,
    -0.394_917_5,
    -0.284_441_38,
    -0.184_773_43,
    -0.091_050_036,
    0.0,
    0.079_580_3,
    0.160_930_2,
    0.246_112_3,
    0.337_915_24,
    0.440_709_83,
    0.562_617,
    0.722_956_84,
    1.0,
];

/// `A Bᵀ`, B `[N, K]` known: one code after another, the first in the high bits of its
/// byte, and the largest absolute value of each block. No block type has such codes, so
/// B is expanded.
pub(super) fn import(cx: &mut NodeCx<'_>) -> Result<()> {
    let dtype = cx.dtype(0)?;
    let size = |cx: &NodeCx<'_>, name: &str, default| -> Result<usize> {
        let value = cx.int(name, default)?;
        let good = usize::try_from(value).ok().filter(|&v| v > 0);
        good.ok_or_else(|| cx.broken(format!("attribute '{name}' = {value}")))
    };
    let [n, k, block] = [size(cx, "N", 0)?, size(cx, "K", 0)?, size(cx, "block_size", 0)?];
    let table = match cx.int("quant_type", 1)? {
        0 => FP4,
        1 => NF4,
        other => return Err(cx.unsupported(format!("attribute 'quant_type' = {other}"))),
    };
    if cx.int("transB", 1)? != 1 {
        return Err(cx.unsupported("attribute 'transB' other than 1"));
    }
    let (codes, most) = (cx.known(1)?, cx.known_reals(2)?);
    let all = n.checked_mul(k).filter(|&all| codes.bytes().len() == all.div_ceil(2));
    let Some(all) = all.filter(|&all| most.len() == all.div_ceil(block)) else {
        let (bytes, blocks) = (codes.bytes().len(), most.len());
        let what = format!("{bytes} bytes of B in {blocks} blocks do not fit N = {n}, K = {k}");
        return Err(cx.broken(what));
    };
    let values = values(&table, codes.bytes(), &most, block, all);
    let b = cx.constant(Tensor::from_f32(&[n, k], &values)?)?;
    let a = cx.input_f32(0)?;
    let y = cx.op1(MatMul { trans_b: true, ..MatMul::default() }, &[a, b])?;
    cx.output_as(0, y, dtype)
}

fn values(table: &[f32; 16], codes: &[u8], most: &[f64], block: usize, all: usize) -> Vec<f32> {
    let code = |i: usize| if i.is_multiple_of(2) { codes[i / 2] >> 4 } else { codes[i / 2] & 15 };
    (0..all).map(|i| table[usize::from(code(i))] * most[i / block] as f32).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn codes_are_read_from_the_high_bits_on() {
        let got = values(&NF4, &[0xf0, 0x70], &[2.0, 3.0], 2, 3);
        assert_eq!(got, [2.0, -2.0, 0.0]);
        assert_eq!(values(&FP4, &[0x3b], &[1.5], 64, 2), [1.5, -1.5]);
    }
}

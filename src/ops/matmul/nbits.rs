//! Products with weights in a few bits, of ONNX Runtime's domain.

use super::MatMul;
use crate::error::Result;
use crate::graph::ValueId;
use crate::onnx::NodeCx;
use crate::ops::elementwise::Binary;
use crate::tensor::{DType, Tensor};
use half::f16;

/// Elements of a block of Q4_0 and Q8_0.
const BLOCK: usize = 32;

/// A weight `[n, k]` in blocks of elements along k.
pub(super) struct Weight {
    pub(super) n: usize,
    pub(super) k: usize,
    pub(super) bits: usize,
    pub(super) block: usize,
    /// `[n, blocks, block * bits / 8]`, the first element in the lowest bits.
    pub(super) body: Vec<u8>,
    /// `[n, blocks]`
    pub(super) scales: Vec<f64>,
    /// `[n, blocks]`; what stands for 0.
    pub(super) zeros: Option<Vec<f64>>,
    /// Of each column the number of the block whose scale and zero it has; where
    /// there is none, they are those of the block that it lies in.
    pub(super) groups: Option<Vec<usize>>,
}

/// `A Bᵀ + bias`, B known. Where the scales are exact in 16 bits and zero is in
/// the middle, B stays in its blocks; else it is expanded.
pub(super) fn import(cx: &mut NodeCx<'_>) -> Result<()> {
    let dtype = cx.dtype(0)?;
    let weight = Weight::of(cx)?;
    let tensor = weight.tensor()?;
    let a = cx.input_f32(0)?;
    let b = cx.constant(tensor)?;
    let y = cx.op1(MatMul { trans_b: true, ..MatMul::default() }, &[a, b])?;
    let y = biased(cx, y)?;
    cx.output_as(0, y, dtype)
}

fn biased(cx: &mut NodeCx<'_>, y: ValueId) -> Result<ValueId> {
    if cx.optional(5).is_none() {
        return Ok(y);
    }
    let bias = cx.input_f32(5)?;
    cx.map2(Binary::Add, y, bias)
}

impl Weight {
    fn of(cx: &mut NodeCx<'_>) -> Result<Self> {
        let size = |cx: &NodeCx<'_>, name: &str, default| -> Result<usize> {
            let value = cx.int(name, default)?;
            let good = usize::try_from(value).ok().filter(|&v| v > 0);
            good.ok_or_else(|| cx.broken(format!("attribute '{name}' = {value}")))
        };
        let (n, k) = (size(cx, "N", 0)?, size(cx, "K", 0)?);
        let (bits, block) = (size(cx, "bits", 4)?, size(cx, "block_size", 0)?);
        if ![2, 4, 8].contains(&bits) || !block.is_multiple_of(8) {
            let what = format!("attributes 'bits' = {bits} and 'block_size' = {block}");
            return Err(cx.unsupported(what));
        }
        let blocks = k.div_ceil(block);
        let body = cx.known(1)?;
        let scales = cx.known_reals(2)?;
        let all = n.checked_mul(blocks);
        let bytes = all.and_then(|all| all.checked_mul(block * bits / 8));
        if body.dtype() != DType::U8 || Some(body.len()) != bytes || Some(scales.len()) != all {
            let what = format!(
                "B {}{:?} with {} scales does not fit N = {n}, K = {k}",
                body.dtype(),
                body.extents(),
                scales.len()
            );
            return Err(cx.broken(what));
        }
        let zeros = Self::zeros(cx, n, blocks, bits)?;
        let groups = Self::groups(cx, k, blocks)?;
        Ok(Weight { n, k, bits, block, body: body.bytes().to_vec(), scales, zeros, groups })
    }

    /// `g_idx`, which has a number for each column, and perhaps for what the last
    /// block has beyond them.
    fn groups(cx: &mut NodeCx<'_>, k: usize, blocks: usize) -> Result<Option<Vec<usize>>> {
        if cx.optional(4).is_none() {
            return Ok(None);
        }
        let given = cx.known_ints(4)?;
        let inside = |&group: &i64| usize::try_from(group).ok().filter(|&group| group < blocks);
        let groups: Option<Vec<usize>> = given.iter().take(k).map(inside).collect();
        match groups.filter(|groups| groups.len() == k) {
            Some(groups) => Ok(Some(groups)),
            None => {
                let what = format!("'g_idx' must have {k} numbers of 0 to {blocks} - 1");
                Err(cx.broken(what))
            }
        }
    }

    /// In blocks where these can say the same, else expanded: `[n, k]`.
    pub(super) fn tensor(&self) -> Result<Tensor> {
        match self.packed()? {
            Some(tensor) => Ok(tensor),
            None => self.expanded(),
        }
    }

    /// Where the scale and the zero of an element are.
    fn group(&self, row: usize, column: usize) -> usize {
        let own = self.groups.as_ref().and_then(|groups| groups.get(column).copied());
        row * self.k.div_ceil(self.block) + own.unwrap_or(column / self.block)
    }

    /// Zero points, real or packed like the weight in rows of whole bytes.
    fn zeros(
        cx: &mut NodeCx<'_>,
        n: usize,
        blocks: usize,
        bits: usize,
    ) -> Result<Option<Vec<f64>>> {
        if cx.optional(3).is_none() {
            return Ok(None);
        }
        let tensor = cx.known(3)?;
        if tensor.dtype() != DType::U8 {
            let zeros = cx.known_reals(3)?;
            return match zeros.len() == n * blocks {
                true => Ok(Some(zeros)),
                false => Err(cx.broken(format!("{} zero points, not {n} x {blocks}", zeros.len()))),
            };
        }
        let row = (blocks * bits).div_ceil(8);
        if tensor.len() != n * row {
            return Err(cx.broken(format!(
                "{} bytes of zero points, not {}",
                tensor.len(),
                n * row
            )));
        }
        let bytes: &[u8] = tensor.bytes();
        let zero = |i: usize| f64::from(few(&bytes[i / blocks * row..], bits, i % blocks));
        Ok(Some((0..n * blocks).map(zero).collect()))
    }

    fn quant(&self, row: usize, column: usize) -> u8 {
        let blocks = self.k.div_ceil(self.block);
        let start = (row * blocks + column / self.block) * (self.block * self.bits / 8);
        few(&self.body[start..], self.bits, column % self.block)
    }

    fn scale(&self, row: usize, column: usize) -> f64 {
        self.scales[self.group(row, column)]
    }

    /// The same numbers as Q4_0 or Q8_0, whose scales are in 16 bits and whose
    /// zero is in the middle.
    fn packed(&self) -> Result<Option<Tensor>> {
        let middle = f64::from(1u32 << (self.bits - 1));
        let central = self.zeros.iter().flatten().all(|&zero| zero == middle);
        let exact = self.scales.iter().all(|&scale| f16::from_f64(scale).to_f64() == scale);
        let whole = self.k.is_multiple_of(BLOCK) && self.block.is_multiple_of(BLOCK);
        if self.bits == 2 || self.groups.is_some() || !central || !exact || !whole {
            return Ok(None);
        }
        let mut bytes = Vec::new();
        for row in 0..self.n {
            for first in (0..self.k).step_by(BLOCK) {
                let quant = |i: usize| self.quant(row, first + i);
                bytes.extend(f16::from_f64(self.scale(row, first)).to_le_bytes());
                match self.bits {
                    4 => bytes.extend((0..16).map(|i| quant(i) | (quant(i + 16) << 4))),
                    _ => bytes.extend((0..BLOCK).map(|i| quant(i) ^ 0x80)),
                }
            }
        }
        let dtype = if self.bits == 4 { DType::Q4_0 } else { DType::Q8_0 };
        Tensor::new(dtype, &[self.n, self.k], bytes).map(Some)
    }

    fn expanded(&self) -> Result<Tensor> {
        let middle = f64::from(1u32 << (self.bits - 1));
        let value = |i: usize| {
            let (row, column) = (i / self.k, i % self.k);
            let zero = self.zeros.as_ref().map_or(middle, |z| z[self.group(row, column)]);
            ((f64::from(self.quant(row, column)) - zero) * self.scale(row, column)) as f32
        };
        let values: Vec<f32> = (0..self.n * self.k).map(value).collect();
        Tensor::from_f32(&[self.n, self.k], &values)
    }
}

/// Number `i` of numbers of so many bits.
pub(super) fn few(bytes: &[u8], bits: usize, i: usize) -> u8 {
    let at = i * bits;
    let mask = ((1u16 << bits) - 1) as u8;
    (bytes[at / 8] >> (at % 8)) & mask
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::ops::RefTensor;

    fn weight(bits: usize, zeros: Option<Vec<f64>>) -> Weight {
        let body = (0..2 * 64 * bits / 8).map(|i| (i * 37 % 251) as u8).collect();
        Weight { n: 2, k: 64, bits, block: 64, body, scales: vec![0.5, -0.25], zeros, groups: None }
    }

    #[test]
    fn packed_and_expanded_weights_are_the_same_numbers() {
        for bits in [4, 8] {
            let weight = weight(bits, None);
            let packed = weight.packed().unwrap().unwrap();
            let packed = RefTensor::from_tensor(&packed).unwrap();
            let expanded = RefTensor::from_tensor(&weight.expanded().unwrap()).unwrap();
            assert_eq!(packed.reals().unwrap(), expanded.reals().unwrap());
        }
    }

    #[test]
    fn what_blocks_cannot_hold_is_expanded() {
        assert!(weight(4, Some(vec![8.0, 8.0])).packed().unwrap().is_some());
        assert!(weight(4, Some(vec![8.0, 7.0])).packed().unwrap().is_none());
        assert!(weight(2, None).packed().unwrap().is_none());
        let coarse = Weight { scales: vec![0.1, 0.5], ..weight(4, None) };
        assert!(coarse.packed().unwrap().is_none());
        assert_eq!((few(&[0xb1], 4, 0), few(&[0xb1], 4, 1), few(&[0b1101_0010], 2, 3)), (1, 11, 3));
    }
}

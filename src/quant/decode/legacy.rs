//! Types with blocks of 32: Q4_0, Q4_1, Q5_0, Q5_1, Q8_0, IQ4_NL.
//!
//! Blocks start with the f16 scale (and the f16 minimum, for the `_1` types).
//! Of a 4-bit block's 16 bytes, byte j has element j in the low nibble and
//! element j + 16 in the high one. The 5-bit types have the fifth bits before
//! that, as a little-endian u32 with bit i for element i.

use super::half_at;

/// The values of the sixteen IQ4_NL indices (ggml-common.h, `kvalues_iq4nl`).
pub(in crate::quant) const IQ4_NL_TABLE: [i8; 16] =
    [-127, -104, -83, -65, -49, -35, -22, -10, 1, 13, 25, 38, 53, 69, 89, 113];

#[inline(always)]
pub(super) fn q4_0(block: &[u8; 18], out: &mut [f32; 32]) {
    let d = half_at(block, 0);
    for j in 0..16 {
        let byte = block[2 + j];
        out[j] = d * ((byte & 0xf) as i8 - 8) as f32;
        out[j + 16] = d * ((byte >> 4) as i8 - 8) as f32;
    }
}

#[inline(always)]
pub(super) fn q4_1(block: &[u8; 20], out: &mut [f32; 32]) {
    let (d, m) = (half_at(block, 0), half_at(block, 2));
    for j in 0..16 {
        let byte = block[4 + j];
        out[j] = d * (byte & 0xf) as f32 + m;
        out[j + 16] = d * (byte >> 4) as f32 + m;
    }
}

#[inline(always)]
pub(super) fn q5_0(block: &[u8; 22], out: &mut [f32; 32]) {
    let d = half_at(block, 0);
    let high = u32::from_le_bytes([block[2], block[3], block[4], block[5]]);
    for j in 0..16 {
        let (first, second) = fives(block[6 + j], high, j);
        out[j] = d * (first - 16) as f32;
        out[j + 16] = d * (second - 16) as f32;
    }
}

#[inline(always)]
pub(super) fn q5_1(block: &[u8; 24], out: &mut [f32; 32]) {
    let (d, m) = (half_at(block, 0), half_at(block, 2));
    let high = u32::from_le_bytes([block[4], block[5], block[6], block[7]]);
    for j in 0..16 {
        let (first, second) = fives(block[8 + j], high, j);
        out[j] = d * first as f32 + m;
        out[j + 16] = d * second as f32 + m;
    }
}

/// The 5-bit quants of elements `j` and `j + 16`.
#[inline(always)]
fn fives(byte: u8, high: u32, j: usize) -> (i32, i32) {
    let first = u32::from(byte & 0xf) | ((high >> j) & 1) << 4;
    let second = u32::from(byte >> 4) | ((high >> (j + 16)) & 1) << 4;
    (first as i32, second as i32)
}

#[inline(always)]
pub(super) fn q8_0(block: &[u8; 34], out: &mut [f32; 32]) {
    let d = half_at(block, 0);
    for (to, &q) in out.iter_mut().zip(&block[2..]) {
        *to = q as i8 as f32 * d;
    }
}

#[inline(always)]
pub(super) fn iq4_nl(block: &[u8; 18], out: &mut [f32; 32]) {
    let d = half_at(block, 0);
    let table = IQ4_NL_TABLE.map(|value| d * f32::from(value));
    for j in 0..16 {
        let byte = block[2 + j];
        out[j] = table[(byte & 0xf) as usize];
        out[j + 16] = table[(byte >> 4) as usize];
    }
}

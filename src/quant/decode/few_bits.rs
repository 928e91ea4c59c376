//! Types of few bits an element, without a codebook: IQ4_XS, TQ1_0, TQ2_0, MXFP4
//! and NVFP4. The layouts are those of the `block_*` structs in ggml-common.h.

use super::half_at;
use super::legacy::IQ4_NL_TABLE;

/// The values of a 4-bit float (2 bits of exponent, 1 of mantissa), doubled.
pub(super) const FP4: [f32; 16] =
    [0.0, 1.0, 2.0, 3.0, 4.0, 6.0, 8.0, 12.0, 0.0, -1.0, -2.0, -3.0, -4.0, -6.0, -8.0, -12.0];

/// d, high bits of the scales, 4 bytes of their low bits, 128 of indices: of 16
/// bytes, byte j has element j in the low nibble and element j + 16 in the high one.
#[inline(always)]
pub(super) fn iq4_xs(block: &[u8; 136], out: &mut [f32; 256]) {
    let (d, high) = (half_at(block, 0), u16::from_le_bytes([block[2], block[3]]));
    for (group, to) in out.as_chunks_mut::<32>().0.iter_mut().enumerate() {
        let low = (block[4 + group / 2] >> (group % 2 * 4)) & 0xf;
        let scale = i32::from(low) | i32::from(high >> (2 * group) & 3) << 4;
        let scale = d * (scale - 32) as f32;
        for (j, byte) in block[8 + group * 16..][..16].iter().enumerate() {
            to[j] = scale * f32::from(IQ4_NL_TABLE[(byte & 0xf) as usize]);
            to[j + 16] = scale * f32::from(IQ4_NL_TABLE[(byte >> 4) as usize]);
        }
    }
}

/// The digit of a byte of five (or four) in base 3 that multiplying by a power of
/// three moves to the top: -1, 0 or 1.
#[inline(always)]
fn trit(byte: u8, power: u8) -> f32 {
    let top = (u16::from(byte.wrapping_mul(power)) * 3) >> 8;
    f32::from(top as i8 - 1)
}

/// 48 bytes of five elements, 4 bytes of four, d. The digits of a run of 32, 16
/// or 4 bytes are so many elements apart.
#[inline(always)]
pub(super) fn tq1_0(block: &[u8; 54], out: &mut [f32; 256]) {
    const POWERS: [u8; 5] = [1, 3, 9, 27, 81];
    let d = half_at(block, 52);
    let runs = [(0, 32, 0, 5), (32, 16, 160, 5), (48, 4, 240, 4)];
    for (at, len, first, digits) in runs {
        for (n, &power) in POWERS.iter().enumerate().take(digits) {
            for (j, &byte) in block[at..at + len].iter().enumerate() {
                out[first + n * len + j] = d * trit(byte, power);
            }
        }
    }
}

/// 64 bytes, d: of every 32 bytes, bits 2j and 2j + 1 of byte l are element
/// 32j + l of 128.
#[inline(always)]
pub(super) fn tq2_0(block: &[u8; 66], out: &mut [f32; 256]) {
    let d = half_at(block, 64);
    for (run, to) in out.as_chunks_mut::<32>().0.iter_mut().enumerate() {
        let bytes = &block[run / 4 * 32..][..32];
        for (to, byte) in to.iter_mut().zip(bytes) {
            *to = d * f32::from(((byte >> (run % 4 * 2)) & 3) as i8 - 1);
        }
    }
}

/// A byte of exponent, 16 bytes of nibbles as in Q4_0.
#[inline(always)]
pub(super) fn mxfp4(block: &[u8; 17], out: &mut [f32; 32]) {
    let d = mxfp4_scale(block[0]);
    for (j, byte) in block[1..].iter().enumerate() {
        out[j] = d * FP4[(byte & 0xf) as usize];
        out[j + 16] = d * FP4[(byte >> 4) as usize];
    }
}

/// Half of the power of two of an exponent, since the values are doubled.
#[inline(always)]
pub(super) fn mxfp4_scale(exponent: u8) -> f32 {
    let exponent = u32::from(exponent);
    let bits = if exponent < 2 { 0x0020_0000 << exponent } else { (exponent - 1) << 23 };
    f32::from_bits(bits)
}

/// Four scales, then 8 bytes of nibbles for each 16 elements: the low ones first.
#[inline(always)]
pub(super) fn nvfp4(block: &[u8; 36], out: &mut [f32; 64]) {
    for (group, to) in out.as_chunks_mut::<16>().0.iter_mut().enumerate() {
        let d = half_of_e4m3(block[group]);
        for (j, byte) in block[4 + group * 8..][..8].iter().enumerate() {
            to[j] = d * FP4[(byte & 0xf) as usize];
            to[j + 8] = d * FP4[(byte >> 4) as usize];
        }
    }
}

/// Half of a float of 4 bits of exponent and 3 of mantissa; the top bit has no
/// meaning, and what would be not a number is 0.
#[inline(always)]
pub(super) fn half_of_e4m3(bits: u8) -> f32 {
    let (exponent, mantissa) = (u32::from(bits >> 3 & 0xf), u32::from(bits & 7));
    if bits == 0x7f {
        0.0
    } else if exponent == 0 {
        mantissa as f32 * f32::from_bits((127 - 10) << 23)
    } else {
        f32::from_bits((exponent + 127 - 8) << 23 | mantissa << 20)
    }
}

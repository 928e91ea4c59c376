//! Types with blocks of 256: Q2_K, Q3_K, Q4_K, Q5_K, Q6_K.
//!
//! A block is cut into groups of 16 or 32 elements, each with a small integer
//! scale (and minimum) that multiplies the block's f16 scale. The layouts are
//! those of the `block_q*_K` structs in ggml-common.h.

use super::half_at;

/// 16 bytes of scales (low nibble) and minima (high), 64 of quants, d, dmin.
#[inline]
pub(super) fn q2_k(block: &[u8; 84], out: &mut [f32; 256]) {
    let (d, dmin) = (half_at(block, 80), half_at(block, 82));
    for group in 0..16 {
        let scale = d * (block[group] & 0xf) as f32;
        let min = dmin * (block[group] >> 4) as f32;
        let quants = two_bit_bytes(&block[16..80], group);
        let shift = group / 2 % 4 * 2;
        for (to, &byte) in out[group * 16..][..16].iter_mut().zip(quants) {
            *to = scale * ((byte >> shift) & 3) as f32 - min;
        }
    }
}

/// The bytes that have the two-bit quants of a group of 16: of every 32 bytes,
/// bits 2j and 2j + 1 of byte l are element 32j + l.
#[inline(always)]
fn two_bit_bytes(quants: &[u8], group: usize) -> &[u8] {
    &quants[group / 8 * 32 + group % 2 * 16..][..16]
}

/// 32 bytes with bit 2 of the quants, 64 with bits 0 and 1, 12 of scales, d.
#[inline]
pub(super) fn q3_k(block: &[u8; 110], out: &mut [f32; 256]) {
    let d = half_at(block, 108);
    let mut packed = [0; 12];
    packed.copy_from_slice(&block[96..108]);
    let scales = q3_k_scales(&packed);
    for group in 0..16 {
        let scale = d * scales[group] as f32;
        let low = two_bit_bytes(&block[32..96], group);
        let high = &block[group % 2 * 16..][..16];
        let (shift, bit) = (group / 2 % 4 * 2, group / 2);
        for ((to, &l), &h) in out[group * 16..][..16].iter_mut().zip(low).zip(high) {
            let q = (l >> shift) & 3 | ((h >> bit) & 1) << 2;
            *to = scale * (q as i8 - 4) as f32;
        }
    }
}

/// The sixteen signed scales of a Q3_K block. Group g has its low four bits in
/// byte g % 8 and its high two in byte 8 + g % 4.
#[inline]
fn q3_k_scales(packed: &[u8; 12]) -> [i8; 16] {
    std::array::from_fn(|g| {
        let low = (packed[g % 8] >> (g / 8 * 4)) & 0xf;
        let high = (packed[8 + g % 4] >> (g / 4 * 2)) & 3;
        (low | high << 4) as i8 - 32
    })
}

/// d, dmin, 12 bytes of scales and minima, 128 of quants.
#[inline]
pub(super) fn q4_k(block: &[u8; 144], out: &mut [f32; 256]) {
    let (scales, mins) = k_groups(block);
    for pair in 0..4 {
        let quants = &block[16 + pair * 32..][..32];
        let (first, second) = out[pair * 64..][..64].split_at_mut(32);
        let (scale, min) = (scales[pair * 2], mins[pair * 2]);
        for (to, &byte) in first.iter_mut().zip(quants) {
            *to = scale * (byte & 0xf) as f32 - min;
        }
        let (scale, min) = (scales[pair * 2 + 1], mins[pair * 2 + 1]);
        for (to, &byte) in second.iter_mut().zip(quants) {
            *to = scale * (byte >> 4) as f32 - min;
        }
    }
}

/// As Q4_K, with 32 bytes of fifth bits before the quants: bit j of byte l is
/// element 32j + l.
#[inline]
pub(super) fn q5_k(block: &[u8; 176], out: &mut [f32; 256]) {
    let (scales, mins) = k_groups(block);
    let high = &block[16..48];
    for group in 0..8 {
        let low = &block[48 + group / 2 * 32..][..32];
        let (scale, min) = (scales[group], mins[group]);
        let shift = group % 2 * 4;
        for ((to, &l), &h) in out[group * 32..][..32].iter_mut().zip(low).zip(high) {
            let q = (l >> shift) & 0xf | ((h >> group) & 1) << 4;
            *to = scale * q as f32 - min;
        }
    }
}

/// The scales and minima of the eight groups of a Q4_K or Q5_K block.
#[inline(always)]
fn k_groups(block: &[u8]) -> ([f32; 8], [f32; 8]) {
    let (d, dmin) = (half_at(block, 0), half_at(block, 2));
    let mut packed = [0; 12];
    packed.copy_from_slice(&block[4..16]);
    let (scales, mins) = k_scale_min(&packed);
    (scales.map(|s| d * s as f32), mins.map(|m| dmin * m as f32))
}

/// The 6-bit scales and minima of a Q4_K or Q5_K block. Groups 0 to 3 have the
/// scale in byte g and the minimum in byte g + 4; groups 4 to 7 have the low
/// nibbles of both in byte g + 4 and the high two bits in the top of the others.
#[inline]
fn k_scale_min(packed: &[u8; 12]) -> ([u8; 8], [u8; 8]) {
    let (mut scales, mut mins) = ([0; 8], [0; 8]);
    for g in 0..4 {
        let (a, b, c) = (packed[g], packed[g + 4], packed[g + 8]);
        scales[g] = a & 0x3f;
        mins[g] = b & 0x3f;
        scales[g + 4] = c & 0xf | (a >> 2) & 0x30;
        mins[g + 4] = c >> 4 | (b >> 2) & 0x30;
    }
    (scales, mins)
}

/// 128 bytes of low nibbles, 64 of high bit pairs, 16 signed scales, d.
#[inline]
pub(super) fn q6_k(block: &[u8; 210], out: &mut [f32; 256]) {
    let d = half_at(block, 208);
    for group in 0..16 {
        let scale = d * block[192 + group] as i8 as f32;
        // Of every 64 low bytes, byte l has elements l and l + 64; of every 32
        // high bytes, bits 2j and 2j + 1 of byte l are element 32j + l.
        let low = &block[group / 8 * 64 + group % 4 * 16..][..16];
        let high = &block[128 + group / 8 * 32 + group % 2 * 16..][..16];
        let (low_shift, high_shift) = (group / 4 % 2 * 4, group / 2 % 4 * 2);
        for ((to, &l), &h) in out[group * 16..][..16].iter_mut().zip(low).zip(high) {
            let q = (l >> low_shift) & 0xf | ((h >> high_shift) & 3) << 4;
            *to = scale * (q as i8 - 32) as f32;
        }
    }
}

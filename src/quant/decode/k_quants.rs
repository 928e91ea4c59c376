//! Types with blocks of 256: Q2_K, Q3_K, Q4_K, Q5_K, Q6_K.
//!
//! A block is cut into groups of 16 or 32 elements, each with a small integer
//! scale (and minimum) that multiplies the block's f16 scale. The layouts are
//! those of the `block_q*_K` structs in ggml-common.h.
//!
//! The types with groups of 16 unpack all quants to bytes first, in runs of 32
//! that share their shifts, and scale them afterwards: both loops then become
//! vector code (measured: 4 to 10 times faster than one loop over groups).

use super::half_at;

/// 16 bytes of scales (low nibble) and minima (high), 64 of quants, d, dmin.
#[inline(always)]
pub(super) fn q2_k(block: &[u8; 84], out: &mut [f32; 256]) {
    let (d, dmin) = (half_at(block, 80), half_at(block, 82));
    let mut quants = [0u8; 256];
    for run in 0..8 {
        let bytes = two_bit_bytes(&block[16..80], run);
        for (q, byte) in quants[run * 32..][..32].iter_mut().zip(bytes) {
            *q = (byte >> (run % 4 * 2)) & 3;
        }
    }
    let (groups, _) = quants.as_chunks::<16>();
    let (outs, _) = out.as_chunks_mut::<16>();
    for (g, (to, quants)) in outs.iter_mut().zip(groups).enumerate() {
        let scale = d * (block[g] & 0xf) as f32;
        let min = dmin * (block[g] >> 4) as f32;
        for (to, &q) in to.iter_mut().zip(quants) {
            *to = scale * q as f32 - min;
        }
    }
}

/// The bytes that have two bits of a run of 32 elements: of every 32 bytes,
/// bits 2j and 2j + 1 of byte l are element 32j + l of 128.
#[inline(always)]
fn two_bit_bytes(bytes: &[u8], run: usize) -> &[u8] {
    &bytes[run / 4 * 32..][..32]
}

/// 32 bytes with bit 2 of the quants, 64 with bits 0 and 1, 12 of scales, d.
#[inline(always)]
pub(super) fn q3_k(block: &[u8; 110], out: &mut [f32; 256]) {
    let d = half_at(block, 108);
    let mut quants = [0i8; 256];
    for run in 0..8 {
        // Bit j of byte l is element 32j + l.
        let (low, high) = (two_bit_bytes(&block[32..96], run), &block[..32]);
        for ((q, l), h) in quants[run * 32..][..32].iter_mut().zip(low).zip(high) {
            let bits = (l >> (run % 4 * 2)) & 3 | ((h >> run) & 1) << 2;
            *q = bits as i8 - 4;
        }
    }
    let mut packed = [0; 12];
    packed.copy_from_slice(&block[96..108]);
    scale_groups(d, q3_k_scales(&packed), &quants, out);
}

/// The sixteen signed scales of a Q3_K block. Group g has its low four bits in
/// byte g % 8 and its high two in byte 8 + g % 4.
#[inline(always)]
fn q3_k_scales(packed: &[u8; 12]) -> [i8; 16] {
    std::array::from_fn(|g| {
        let low = (packed[g % 8] >> (g / 8 * 4)) & 0xf;
        let high = (packed[8 + g % 4] >> (g / 4 * 2)) & 3;
        (low | high << 4) as i8 - 32
    })
}

/// Scales signed quants by the scale of their group of 16.
#[inline(always)]
fn scale_groups(d: f32, scales: [i8; 16], quants: &[i8; 256], out: &mut [f32; 256]) {
    let (groups, _) = quants.as_chunks::<16>();
    let (outs, _) = out.as_chunks_mut::<16>();
    for ((to, quants), scale) in outs.iter_mut().zip(groups).zip(scales) {
        let scale = d * scale as f32;
        for (to, &q) in to.iter_mut().zip(quants) {
            *to = scale * q as f32;
        }
    }
}

/// d, dmin, 12 bytes of scales and minima, 128 of quants.
#[inline(always)]
pub(super) fn q4_k(block: &[u8; 144], out: &mut [f32; 256]) {
    let (scales, mins) = k_groups(block);
    for group in 0..8 {
        let quants = nibble_bytes(&block[16..], group);
        let (scale, min) = (scales[group], mins[group]);
        let shift = group % 2 * 4;
        for (to, &byte) in out[group * 32..][..32].iter_mut().zip(quants) {
            *to = scale * ((byte >> shift) & 0xf) as f32 - min;
        }
    }
}

/// As Q4_K, with 32 bytes of fifth bits before the quants: bit j of byte l is
/// element 32j + l.
#[inline(always)]
pub(super) fn q5_k(block: &[u8; 176], out: &mut [f32; 256]) {
    let (scales, mins) = k_groups(block);
    let high = &block[16..48];
    for group in 0..8 {
        let low = nibble_bytes(&block[48..], group);
        let (scale, min) = (scales[group], mins[group]);
        let shift = group % 2 * 4;
        for ((to, &l), &h) in out[group * 32..][..32].iter_mut().zip(low).zip(high) {
            let q = (l >> shift) & 0xf | ((h >> group) & 1) << 4;
            *to = scale * q as f32 - min;
        }
    }
}

/// The bytes that have the four low bits of a group of 32: of every 32 bytes,
/// byte l has element l in the low nibble and element l + 32 in the high one.
#[inline(always)]
fn nibble_bytes(bytes: &[u8], group: usize) -> &[u8] {
    &bytes[group / 2 * 32..][..32]
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
#[inline(always)]
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
#[inline(always)]
pub(super) fn q6_k(block: &[u8; 210], out: &mut [f32; 256]) {
    let d = half_at(block, 208);
    let mut quants = [0i8; 256];
    for run in 0..8 {
        // Of every 64 low bytes, byte l has elements l and l + 64 of 128.
        let low = &block[run / 4 * 64 + run % 2 * 32..][..32];
        let high = two_bit_bytes(&block[128..192], run);
        for ((q, l), h) in quants[run * 32..][..32].iter_mut().zip(low).zip(high) {
            let bits = (l >> (run / 2 % 2 * 4)) & 0xf | ((h >> (run % 4 * 2)) & 3) << 4;
            *q = bits as i8 - 32;
        }
    }
    let scales = std::array::from_fn(|g| block[192 + g] as i8);
    scale_groups(d, scales, &quants, out);
}

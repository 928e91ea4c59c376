//! Types whose elements come in groups from a codebook: IQ1, IQ2 and IQ3. The
//! layouts are those of the `block_iq*` structs in ggml-common.h.

use super::half_at;
use crate::quant::codebooks;

/// Seven sign bits, and an eighth that makes their number even.
#[inline(always)]
fn even_signs(bits: u32) -> u8 {
    let seven = bits as u8 & 0x7f;
    seven | (seven.count_ones() as u8 & 1) << 7
}

#[inline(always)]
fn word_at(block: &[u8], at: usize) -> u32 {
    u32::from_le_bytes([block[at], block[at + 1], block[at + 2], block[at + 3]])
}

/// A scale of four bits.
#[inline(always)]
fn nibble(bytes: &[u8], index: usize) -> f32 {
    f32::from((bytes[index / 2] >> (index % 2 * 4)) & 0xf)
}

/// Eight elements of 8, 25 or 43, some of them negative.
#[inline(always)]
fn eight(codes: u16, signs: u8, scale: f32, out: &mut [f32; 8]) {
    const VALUES: [f32; 4] = [8.0, 25.0, 43.0, 0.0];
    for (i, to) in out.iter_mut().enumerate() {
        let value = scale * VALUES[(codes >> (2 * i) & 3) as usize];
        *to = if signs >> i & 1 == 0 { value } else { -value };
    }
}

/// Eight elements of which each half has an entry of its own.
#[inline(always)]
fn fours(codes: [u16; 2], values: &[f32; 8], signs: u8, scale: f32, out: &mut [f32; 8]) {
    for (i, to) in out.iter_mut().enumerate() {
        let value = scale * values[(codes[i / 4] >> (3 * (i % 4)) & 7) as usize];
        *to = if signs >> i & 1 == 0 { value } else { -value };
    }
}

/// d, then for each 32 elements four indices and a word of four sevens of signs
/// and the scale.
#[inline(always)]
pub(super) fn iq2_xxs(block: &[u8; 66], out: &mut [f32; 256]) {
    let d = half_at(block, 0);
    for (part, to) in out.as_chunks_mut::<8>().0.iter_mut().enumerate() {
        let at = 2 + part / 4 * 8;
        let word = word_at(block, at + 4);
        let scale = d * (0.5 + (word >> 28) as f32) * 0.25;
        let codes = codebooks::IQ2_XXS[usize::from(block[at + part % 4])];
        eight(codes, even_signs(word >> (7 * (part % 4))), scale, to);
    }
}

/// d, 32 indices of nine bits with seven signs, 16 scales.
#[inline(always)]
pub(super) fn iq2_xs(block: &[u8; 74], out: &mut [f32; 256]) {
    let d = half_at(block, 0);
    for (part, to) in out.as_chunks_mut::<8>().0.iter_mut().enumerate() {
        let q = u16::from_le_bytes([block[2 + part * 2], block[3 + part * 2]]);
        let scale = d * (0.5 + nibble(&block[66..], part / 2)) * 0.25;
        let codes = codebooks::IQ2_XS[usize::from(q & 0x1ff)];
        eight(codes, even_signs(u32::from(q >> 9)), scale, to);
    }
}

/// d, low bits of 32 indices, 32 bytes of signs, high bits, 16 scales.
#[inline(always)]
pub(super) fn iq2_s(block: &[u8; 82], out: &mut [f32; 256]) {
    let d = half_at(block, 0);
    for (part, to) in out.as_chunks_mut::<8>().0.iter_mut().enumerate() {
        let high = usize::from(block[66 + part / 4] >> (part % 4 * 2) & 3);
        let scale = d * (0.5 + nibble(&block[74..], part / 2)) * 0.25;
        let codes = codebooks::IQ2_S[usize::from(block[2 + part]) | high << 8];
        eight(codes, block[34 + part], scale, to);
    }
}

/// d, 64 indices, then for each 32 elements a word as in IQ2_XXS.
#[inline(always)]
pub(super) fn iq3_xxs(block: &[u8; 98], out: &mut [f32; 256]) {
    const VALUES: [f32; 8] = [4.0, 12.0, 20.0, 28.0, 36.0, 44.0, 52.0, 62.0];
    let d = half_at(block, 0);
    for (part, to) in out.as_chunks_mut::<8>().0.iter_mut().enumerate() {
        let word = word_at(block, 66 + part / 4 * 4);
        let scale = d * (0.5 + (word >> 28) as f32) * 0.5;
        let code = |half| codebooks::IQ3_XXS[usize::from(block[2 + part * 2 + half])];
        let signs = even_signs(word >> (7 * (part % 4)));
        fours([code(0), code(1)], &VALUES, signs, scale, to);
    }
}

/// d, low bits of 64 indices, 8 bytes of ninth bits, 32 of signs, 8 scales.
#[inline(always)]
pub(super) fn iq3_s(block: &[u8; 110], out: &mut [f32; 256]) {
    const VALUES: [f32; 8] = [1.0, 3.0, 5.0, 7.0, 9.0, 11.0, 13.0, 15.0];
    let d = half_at(block, 0);
    for (part, to) in out.as_chunks_mut::<8>().0.iter_mut().enumerate() {
        let high = usize::from(block[66 + part / 4] >> (part % 4 * 2));
        let scale = d * (1.0 + 2.0 * nibble(&block[106..], part / 4));
        let code = |half: usize| {
            codebooks::IQ3_S[usize::from(block[2 + part * 2 + half]) | (high >> half & 1) << 8]
        };
        fours([code(0), code(1)], &VALUES, block[74 + part], scale, to);
    }
}

/// Eight elements of -1, 0 or 1, each moved by an eighth.
#[inline(always)]
fn shifted(index: usize, negative: bool, scale: f32, out: &mut [f32; 8]) {
    let codes = codebooks::IQ1[index];
    let delta = if negative { -0.125 } else { 0.125 };
    for (i, to) in out.iter_mut().enumerate() {
        *to = scale * (f32::from((codes >> (2 * i) & 3) as i8 - 1) + delta);
    }
}

/// d, low bits of 32 indices, then for each 32 elements a half word of their high
/// bits, the scale and the sign of the offset.
#[inline(always)]
pub(super) fn iq1_s(block: &[u8; 50], out: &mut [f32; 256]) {
    let d = half_at(block, 0);
    for (part, to) in out.as_chunks_mut::<8>().0.iter_mut().enumerate() {
        let at = 34 + part / 4 * 2;
        let high = u16::from_le_bytes([block[at], block[at + 1]]);
        let scale = d * f32::from(2 * (high >> 12 & 7) + 1);
        let index = usize::from(block[2 + part]) | usize::from(high >> (part % 4 * 3) & 7) << 8;
        shifted(index, high & 0x8000 != 0, scale, to);
    }
}

/// Low bits of 32 indices, a nibble for each of their high bits and the sign of the
/// offset, 16 scales of three bits, of which each four have a quarter of d.
#[inline(always)]
pub(super) fn iq1_m(block: &[u8; 56], out: &mut [f32; 256]) {
    let scales: [u16; 4] =
        std::array::from_fn(|i| u16::from_le_bytes([block[48 + i * 2], block[49 + i * 2]]));
    let d = scales[0] >> 12 | scales[1] >> 8 & 0xf0 | scales[2] >> 4 & 0xf00 | scales[3] & 0xf000;
    let d = super::half_to_f32(d);
    for (part, to) in out.as_chunks_mut::<8>().0.iter_mut().enumerate() {
        let high = block[32 + part / 2] >> (part % 2 * 4);
        let group = part / 2;
        let scale = d * f32::from(2 * (scales[group / 4] >> (group % 4 * 3) & 7) + 1);
        let index = usize::from(block[part]) | usize::from(high & 7) << 8;
        shifted(index, high & 8 != 0, scale, to);
    }
}

//! Types with blocks of 32; see `decode/legacy.rs` for their bytes.

use super::{inverse, min_max, put_half, round_to, signed_max};
use crate::quant::decode::IQ4_NL_TABLE;

pub(super) fn q4_0(values: &[f32; 32], out: &mut [u8; 18]) -> Option<()> {
    let quants = signed::<8>(values, &mut out[..2])?;
    put_nibbles(&quants, &mut out[2..]);
    Some(())
}

pub(super) fn q5_0(values: &[f32; 32], out: &mut [u8; 22]) -> Option<()> {
    let quants = signed::<16>(values, &mut out[..2])?;
    put_fifth_bits(&quants, &mut out[2..6]);
    put_nibbles(&quants, &mut out[6..]);
    Some(())
}

pub(super) fn q4_1(values: &[f32; 32], out: &mut [u8; 20]) -> Option<()> {
    let quants = with_minimum::<15>(values, &mut out[..4])?;
    put_nibbles(&quants, &mut out[4..]);
    Some(())
}

pub(super) fn q5_1(values: &[f32; 32], out: &mut [u8; 24]) -> Option<()> {
    let quants = with_minimum::<31>(values, &mut out[..4])?;
    put_fifth_bits(&quants, &mut out[4..8]);
    put_nibbles(&quants, &mut out[8..]);
    Some(())
}

pub(super) fn q8_0(values: &[f32; 32], out: &mut [u8; 34]) -> Option<()> {
    let d = put_half(signed_max(values).abs() / 127.0, &mut out[..2])?;
    let scale = inverse(d);
    for (to, v) in out[2..].iter_mut().zip(values) {
        *to = round_to(v * scale, -127, 127) as i8 as u8;
    }
    Some(())
}

pub(super) fn iq4_nl(values: &[f32; 32], out: &mut [u8; 18]) -> Option<()> {
    // The table's largest magnitude is its first entry, -127.
    let d = put_half(signed_max(values) / f32::from(IQ4_NL_TABLE[0]), &mut out[..2])?;
    let scale = inverse(d);
    put_nibbles(&values.map(|v| nearest_in_table(v * scale)), &mut out[2..]);
    Some(())
}

/// The index of the table entry nearest to `value`.
fn nearest_in_table(value: f32) -> u8 {
    // The entries ascend: count the midpoints below the value.
    let below = IQ4_NL_TABLE
        .windows(2)
        .filter(|pair| value > (f32::from(pair[0]) + f32::from(pair[1])) / 2.0);
    below.count() as u8
}

/// Quants 0 to 2 * HALF - 1 standing for -HALF to HALF - 1. The scale is such
/// that the value of largest magnitude becomes -HALF exactly.
fn signed<const HALF: i32>(values: &[f32; 32], scale: &mut [u8]) -> Option<[u8; 32]> {
    let d = put_half(signed_max(values) / -(HALF as f32), scale)?;
    let scale = inverse(d);
    Some(values.map(|v| (round_to(v * scale, -HALF, HALF - 1) + HALF) as u8))
}

/// Quants 0 to MAX between the smallest and the largest value.
fn with_minimum<const MAX: i32>(values: &[f32; 32], head: &mut [u8]) -> Option<[u8; 32]> {
    let (scale, minimum) = head.split_at_mut(2);
    let (low, high) = min_max(values);
    let m = put_half(low, minimum)?;
    let d = put_half((high - m).max(0.0) / MAX as f32, scale)?;
    let scale = inverse(d);
    Some(values.map(|v| round_to((v - m) * scale, 0, MAX) as u8))
}

/// The low four bits: element j in the low nibble of byte j, j + 16 in the high.
fn put_nibbles(quants: &[u8; 32], to: &mut [u8]) {
    for (j, byte) in to.iter_mut().enumerate() {
        *byte = quants[j] & 0xf | quants[j + 16] << 4;
    }
}

/// Bit 4 of every quant, as bit i of a little-endian u32.
fn put_fifth_bits(quants: &[u8; 32], to: &mut [u8]) {
    let bits = (0..32).fold(0u32, |bits, i| bits | u32::from(quants[i] >> 4) << i);
    to.copy_from_slice(&bits.to_le_bytes());
}

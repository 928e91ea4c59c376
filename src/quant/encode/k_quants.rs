//! Types with blocks of 256; see `decode/k_quants.rs` for their bytes.

use super::{inverse, min_max, put_half, round_to, signed_max};

pub(super) fn q2_k(values: &[f32; 256], out: &mut [u8; 84]) -> Option<()> {
    let (body, head) = out.split_at_mut(80);
    let groups = with_minimum::<16>(values, 3, 15, head)?;
    for (to, (s, m)) in body.iter_mut().zip(groups.scales.iter().zip(groups.mins)) {
        *to = s | m << 4;
    }
    put_two_bits(&groups.quants, &mut body[16..]);
    Some(())
}

pub(super) fn q3_k(values: &[f32; 256], out: &mut [u8; 110]) -> Option<()> {
    let (body, head) = out.split_at_mut(108);
    let (scales, quants) = signed(values, 4, 31, head)?;
    body.fill(0);
    for (e, q) in quants.iter().enumerate() {
        body[e % 32] |= (q >> 2) << (e / 32);
    }
    put_two_bits(&quants.map(|q| q & 3), &mut body[32..96]);
    for (g, scale) in scales.iter().enumerate() {
        let stored = (scale + 32) as u8;
        body[96 + g % 8] |= (stored & 0xf) << (g / 8 * 4);
        body[104 + g % 4] |= (stored >> 4) << (g / 4 * 2);
    }
    Some(())
}

pub(super) fn q4_k(values: &[f32; 256], out: &mut [u8; 144]) -> Option<()> {
    let (head, body) = out.split_at_mut(4);
    let groups = with_minimum::<8>(values, 15, 63, head)?;
    put_k_scales(&groups, &mut body[..12]);
    put_nibbles(&groups.quants, 32, &mut body[12..]);
    Some(())
}

pub(super) fn q5_k(values: &[f32; 256], out: &mut [u8; 176]) -> Option<()> {
    let (head, body) = out.split_at_mut(4);
    let groups = with_minimum::<8>(values, 31, 63, head)?;
    put_k_scales(&groups, &mut body[..12]);
    body[12..44].fill(0);
    for (e, q) in groups.quants.iter().enumerate() {
        body[12 + e % 32] |= (q >> 4) << (e / 32);
    }
    put_nibbles(&groups.quants, 32, &mut body[44..]);
    Some(())
}

pub(super) fn q6_k(values: &[f32; 256], out: &mut [u8; 210]) -> Option<()> {
    let (body, head) = out.split_at_mut(208);
    let (scales, quants) = signed(values, 32, 127, head)?;
    put_nibbles(&quants, 64, &mut body[..128]);
    put_two_bits(&quants.map(|q| q >> 4), &mut body[128..192]);
    for (to, scale) in body[192..].iter_mut().zip(scales) {
        *to = scale as u8;
    }
    Some(())
}

/// A block of groups, each with a scale and a minimum; only the first GROUPS
/// scales and minima are used.
struct Groups {
    scales: [u8; 16],
    mins: [u8; 16],
    quants: [u8; 256],
}

/// Quants 0 to `q_max` above a minimum that is zero or negative, with group
/// scales and minima of 0 to `s_max`. Stores both halves in `head`.
fn with_minimum<const GROUPS: usize>(
    values: &[f32; 256],
    q_max: i32,
    s_max: i32,
    head: &mut [u8],
) -> Option<Groups> {
    let len = 256 / GROUPS;
    let (mut steps, mut depths) = ([0.0f32; GROUPS], [0.0f32; GROUPS]);
    for (g, group) in values.chunks_exact(len).enumerate() {
        let (low, high) = min_max(group);
        let low = low.min(0.0);
        depths[g] = -low;
        steps[g] = (high - low).max(0.0) / q_max as f32;
    }
    let (scale, minimum) = head.split_at_mut(2);
    let d = put_half(signed_max(&steps) / s_max as f32, scale)?;
    let dmin = put_half(signed_max(&depths) / s_max as f32, minimum)?;
    let (inverse_d, inverse_dmin) = (inverse(d), inverse(dmin));
    let mut groups = Groups { scales: [0; 16], mins: [0; 16], quants: [0; 256] };
    for g in 0..GROUPS {
        let s = round_to(steps[g] * inverse_d, 0, s_max);
        let m = round_to(depths[g] * inverse_dmin, 0, s_max);
        groups.scales[g] = s as u8;
        groups.mins[g] = m as u8;
        let (inverse_step, depth) = (inverse(d * s as f32), dmin * m as f32);
        let group = g * len..(g + 1) * len;
        for (to, v) in groups.quants[group.clone()].iter_mut().zip(&values[group]) {
            *to = round_to((v + depth) * inverse_step, 0, q_max) as u8;
        }
    }
    Some(groups)
}

/// Quants 0 to 2 * `half` - 1 standing for -`half` to `half` - 1, with 16 signed
/// group scales of at most `s_max`. Stores the block's scale in `head`.
fn signed(
    values: &[f32; 256],
    half: i32,
    s_max: i32,
    head: &mut [u8],
) -> Option<([i8; 16], [u8; 256])> {
    let mut steps = [0.0f32; 16];
    for (step, group) in steps.iter_mut().zip(values.chunks_exact(16)) {
        *step = signed_max(group) / -(half as f32);
    }
    let d = put_half(signed_max(&steps).abs() / s_max as f32, head)?;
    let inverse_d = inverse(d);
    let (mut scales, mut quants) = ([0i8; 16], [0u8; 256]);
    for g in 0..16 {
        let s = round_to(steps[g] * inverse_d, -s_max, s_max);
        scales[g] = s as i8;
        let inverse_step = inverse(d * s as f32);
        let group = g * 16..(g + 1) * 16;
        for (to, v) in quants[group.clone()].iter_mut().zip(&values[group]) {
            *to = (round_to(v * inverse_step, -half, half - 1) + half) as u8;
        }
    }
    Some((scales, quants))
}

/// Bits 2j and 2j + 1 of byte l of every 32 are element 32j + l of 128.
fn put_two_bits(quants: &[u8; 256], to: &mut [u8]) {
    for (bytes, quants) in to.chunks_exact_mut(32).zip(quants.chunks_exact(128)) {
        for (l, byte) in bytes.iter_mut().enumerate() {
            *byte = (0..4).fold(0, |byte, j| byte | quants[j * 32 + l] << (2 * j));
        }
    }
}

/// The low nibble of byte l of every `run` is element l of `2 * run`, the high
/// one element l + `run`.
fn put_nibbles(quants: &[u8; 256], run: usize, to: &mut [u8]) {
    for (bytes, quants) in to.chunks_exact_mut(run).zip(quants.chunks_exact(2 * run)) {
        for (l, byte) in bytes.iter_mut().enumerate() {
            *byte = quants[l] & 0xf | quants[l + run] << 4;
        }
    }
}

/// The 6-bit scales and minima of Q4_K and Q5_K; see `k_scale_min` there.
fn put_k_scales(groups: &Groups, to: &mut [u8]) {
    let (s, m) = (&groups.scales, &groups.mins);
    for g in 0..4 {
        to[g] = s[g] | (s[g + 4] >> 4) << 6;
        to[g + 4] = m[g] | (m[g + 4] >> 4) << 6;
        to[g + 8] = s[g + 4] & 0xf | m[g + 4] << 4;
    }
}

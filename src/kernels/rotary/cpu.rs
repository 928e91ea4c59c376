//! The CPU twins of `shaders/rotary`.

use crate::error::{Error, Result};
use crate::kernels::state::cpu::store_halves;
use crate::kernels::{CpuCx, CpuTensor, CpuTensorMut};
use crate::ops::rotary::scatter::{
    COS, KEY_NORM, KEYS, NEW_ROWS, POSITIONS, QUERY_NORM, QUERY_ROWS, SIN, VALUES, WRITE,
    checked_row, sources,
};
use crate::ops::rotary::{RotaryEmbedding, RotaryScatter};
use crate::tensor::DType;
use half::f16;
use rayon::prelude::*;

pub(super) fn run(op: RotaryEmbedding, cx: &mut CpuCx<'_>) -> Result<()> {
    let (x, cos, sin, ids) = (cx.input(0)?, cx.input(1)?, cx.input(2)?, cx.input(3)?);
    let (heads, width, half) = (x.extents[2], x.extents[3], op.rotary_dim / 2);
    let rows = cos.extents[0];
    let (x, cos, sin) = (x.read::<f32>(), cos.read::<f32>(), sin.read::<f32>());
    let token_len = heads * width;
    if token_len == 0 {
        return Ok(());
    }
    let out = cx.output(0)?.write::<f32>()?;
    out.par_chunks_mut(token_len)
        .zip(x.par_chunks(token_len))
        .zip(ids.read::<i32>().par_iter())
        .enumerate()
        .try_for_each(|(token, ((out, x), &id))| {
            let position = usize::try_from(id).ok().filter(|&p| p < rows).ok_or_else(|| {
                Error::input(format!("position_ids[{token}]"), format!("0 to {rows} - 1"), id)
            })?;
            let (c, s) = (&cos[position * half..][..half], &sin[position * half..][..half]);
            for (out, x) in out.chunks_exact_mut(width).zip(x.chunks_exact(width)) {
                out[2 * half..].copy_from_slice(&x[2 * half..]);
                turn(op, x, c, s, out);
            }
            Ok(())
        })
}

/// The pairs of one head.
fn turn(op: RotaryEmbedding, x: &[f32], cos: &[f32], sin: &[f32], out: &mut [f32]) {
    let half = cos.len();
    if op.interleaved {
        let (x, _) = x.as_chunks::<2>();
        let (out, _) = out.as_chunks_mut::<2>();
        for (((out, x), c), s) in out.iter_mut().zip(x).zip(cos).zip(sin) {
            *out = [x[0] * c - x[1] * s, x[0] * s + x[1] * c];
        }
    } else {
        let (x0, x1) = x[..2 * half].split_at(half);
        let (out0, out1) = out[..2 * half].split_at_mut(half);
        for i in 0..half {
            out0[i] = x0[i] * cos[i] - x1[i] * sin[i];
            out1[i] = x0[i] * sin[i] + x1[i] * cos[i];
        }
    }
}

/// Where rows stand, and the tables.
struct Turning<'a> {
    op: RotaryScatter,
    cos: &'a [f32],
    sin: &'a [f32],
    positions: Vec<usize>,
}

impl Turning<'_> {
    /// Heads `x` of `width` elements each of a row: normalised, where there is a norm,
    /// and turned by the row's position.
    fn heads(
        &self,
        row: usize,
        (width, norm): (usize, Option<&[f32]>),
        x: &[f32],
        out: &mut [f32],
    ) {
        let half = self.op.rotary.rotary_dim / 2;
        let rows = self.positions[row] * half..(self.positions[row] + 1) * half;
        let (cos, sin) = (&self.cos[rows.clone()], &self.sin[rows]);
        let mut normed = vec![0.0; if norm.is_some() { width } else { 0 }];
        for (out, x) in out.chunks_exact_mut(width).zip(x.chunks_exact(width)) {
            let x = match norm {
                Some(norm) => {
                    let square = x.iter().map(|x| x * x).sum::<f32>() / width as f32;
                    let factor = 1.0 / (square + self.op.epsilon).sqrt();
                    for ((normed, x), scale) in normed.iter_mut().zip(x).zip(norm) {
                        *normed = x * factor * scale;
                    }
                    &normed[..]
                }
                None => x,
            };
            out[2 * half..].copy_from_slice(&x[2 * half..]);
            turn(self.op.rotary, x, cos, sin, out);
        }
    }
}

/// The rows that tokens are: their own numbers, or those that an input has.
fn rows(given: Option<CpuTensor<'_>>, tokens: usize, rows: usize) -> Result<Vec<usize>> {
    match given {
        None => Ok((0..tokens).collect()),
        Some(given) => {
            given.read::<i32>().iter().map(|&row| checked_row(row.into(), rows)).collect()
        }
    }
}

/// Some columns of a token's row.
struct Columns<'a> {
    x: std::borrow::Cow<'a, [f32]>,
    row: usize,
    first: usize,
    count: usize,
}

impl<'a> Columns<'a> {
    fn new(x: &CpuTensor<'a>, first: usize, count: usize) -> Self {
        let row = x.extents[2..].iter().product();
        Columns { x: x.read::<f32>(), row, first, count }
    }

    fn of(&self, token: usize) -> &[f32] {
        &self.x[token * self.row + self.first..][..self.count]
    }
}

/// The positions, each within the table of so many rows.
fn checked(ids: &[i32], rows: usize) -> Result<Vec<usize>> {
    let position = |(token, &id): (usize, &i32)| {
        usize::try_from(id).ok().filter(|&position| position < rows).ok_or_else(|| {
            Error::input(format!("position_ids[{token}]"), format!("0 to {rows} - 1"), id)
        })
    };
    ids.iter().enumerate().map(position).collect()
}

/// [`RotaryScatter`].
pub(super) fn scatter(op: RotaryScatter, cx: &mut CpuCx<'_>) -> Result<()> {
    let (cos, sin) = (cx.input(COS)?, cx.input(SIN)?);
    let (ids, write) = (cx.input(POSITIONS)?, cx.input(WRITE)?);
    let positions = checked(&ids.read::<i32>(), cos.extents[0])?;
    let (cos, sin) = (cos.read::<f32>(), sin.read::<f32>());
    let given = positions.len();
    let turning = Turning { op, cos: &cos, sin: &sin, positions };
    let norms = [QUERY_NORM, KEY_NORM].map(|norm| cx.optional(norm));
    let [query_norm, key_norm] =
        norms.each_ref().map(|norm| norm.as_ref().map(|n| n.read::<f32>()));
    let [queries, keys, values] = sources(&cx.inputs);
    let (queries, keys, values) = (cx.input(queries)?, cx.input(keys)?, cx.input(values)?);
    let past = [cx.optional(KEYS), cx.optional(VALUES)];
    let moved = [cx.optional(QUERY_ROWS), cx.optional(NEW_ROWS)];
    let [result, key_cache, value_cache] = &mut cx.outputs[..] else {
        return Err(Error::internal("RotaryScatter of other than three results"));
    };
    let tokens = result.extents[0] * result.extents[1];
    let [query_rows, new_rows] = moved.map(|moved| rows(moved, tokens, given));
    let (query_rows, new_rows) = (query_rows?, new_rows?);
    let (groups, width) = (key_cache.extents[1], key_cache.extents[3]);
    let spans = [op.heads * width, groups * width, groups * value_cache.extents[3]];
    let slots = slots(op, &write.read::<i32>(), result.extents[1], key_cache.extents[2])?;
    let own = Columns::new(&queries, op.offsets[0], spans[0]);
    if spans[0] > 0 {
        let results = result.write::<f32>()?.par_chunks_mut(spans[0]).zip(&query_rows);
        let norm = (width, query_norm.as_deref());
        results.for_each(|(out, &row)| turning.heads(row, norm, own.of(row), out));
    }
    for (cache, past) in [&mut *key_cache, &mut *value_cache].into_iter().zip(past) {
        if let Some(past) = past {
            cache.bytes.copy_from_slice(past.bytes);
        }
    }
    let keys = Columns::new(&keys, op.offsets[1], spans[1]);
    let values = Columns::new(&values, op.offsets[2], spans[2]);
    let mut turned = vec![0.0; spans[1]];
    for (&row, slot) in new_rows.iter().zip(&slots) {
        let Some(slot) = *slot else { continue };
        if width > 0 {
            turning.heads(row, (width, key_norm.as_deref()), keys.of(row), &mut turned);
        }
        store(key_cache, slot, &turned)?;
        store(value_cache, slot, values.of(row))?;
    }
    Ok(())
}

/// A sequence and its slot for each token; `None` where it is left out.
type Slot = Option<(usize, usize)>;

/// All slots, checked before anything is written.
fn slots(op: RotaryScatter, write: &[i32], tokens: usize, capacity: usize) -> Result<Vec<Slot>> {
    let mut slots = Vec::with_capacity(write.len() * tokens);
    for (b, &first) in write.iter().enumerate() {
        for q in 0..tokens {
            let slot = op.scatter().slot(first.into(), q, capacity, b)?;
            slots.push(slot.map(|slot| (b, slot)));
        }
    }
    Ok(slots)
}

/// The heads of a token into a cache `[B, G, C, D]`.
fn store(cache: &mut CpuTensorMut<'_>, (b, slot): (usize, usize), heads: &[f32]) -> Result<()> {
    let (groups, capacity, width) = (cache.extents[1], cache.extents[2], cache.extents[3]);
    let halves = cache.dtype == DType::F16;
    for (g, head) in heads.chunks_exact(width.max(1)).enumerate() {
        let at = ((b * groups + g) * capacity + slot) * width;
        if halves {
            store_halves(head, &mut cache.write::<f16>()?[at..at + width]);
        } else {
            cache.write::<f32>()?[at..at + width].copy_from_slice(head);
        }
    }
    Ok(())
}

//! Attention on the CPU: rows of the output that read the same keys together, keys in
//! blocks.

use super::vectors::{add_weighted, exponentials};
use crate::error::{Error, Result};
use crate::kernels::matmul::dot;
use crate::kernels::{CpuCx, CpuTensor};
use crate::ops::attention::{Attention, LEAST_SCORE, checked_past};
use crate::tensor::DType;
use crate::threads;
use half::f16;
use half::slice::HalfFloatSliceExt;
use rayon::prelude::*;
use std::borrow::Cow;
use std::ops::Range;

/// Keys whose scores are computed before the output is updated.
const BLOCK: usize = 32;

/// Rows of the output, about, that share what is read of a cache.
const ROWS: usize = 24;

/// Multiplications below which keys are not worth a task of their own.
const LEAST_WORK: usize = 1 << 16;

/// A cache in either of its storage types.
enum Cache<'a> {
    F32(Cow<'a, [f32]>),
    F16(Cow<'a, [f16]>),
}

impl<'a> Cache<'a> {
    fn of(tensor: &CpuTensor<'a>) -> Self {
        match tensor.dtype {
            DType::F16 => Cache::F16(tensor.read()),
            _ => Cache::F32(tensor.read()),
        }
    }

    /// Numbers from `start` on, converted into `room` where they must be.
    fn read<'r>(&'r self, start: usize, room: &'r mut [f32]) -> &'r [f32] {
        match self {
            Cache::F32(all) => &all[start..start + room.len()],
            Cache::F16(all) => {
                all[start..start + room.len()].convert_to_f32_slice(room);
                room
            }
        }
    }
}

/// An additive mask and its strides along `[B, H, Q, C]`.
struct Mask<'a> {
    values: Cow<'a, [f32]>,
    strides: [usize; 4],
}

impl<'a> Mask<'a> {
    fn of(tensor: &CpuTensor<'a>) -> Self {
        let (mut strides, mut stride) = ([0; 4], 1);
        for (i, &n) in tensor.extents.iter().rev().enumerate() {
            if n != 1 {
                strides[3 - i] = stride;
            }
            stride *= n;
        }
        Mask { values: tensor.read(), strides }
    }

    fn at(&self, index: [usize; 4]) -> f32 {
        let at: usize = index.iter().zip(self.strides).map(|(i, stride)| i * stride).sum();
        self.values[at]
    }
}

/// The operands, with run-time extents.
struct Inputs<'a> {
    op: &'a Attention,
    q: Cow<'a, [f32]>,
    k: Cache<'a>,
    v: Cache<'a>,
    mask: Option<Mask<'a>>,
    sinks: Option<Cow<'a, [f32]>>,
    before: Vec<i64>,
    scale: f32,
    queries: usize,
    heads: usize,
    groups: usize,
    capacity: usize,
    /// Elements of a query or key, and of a value.
    head: usize,
    value: usize,
}

/// Rows of the output that share keys and values, and which of the keys.
struct Tile {
    batch: usize,
    group: usize,
    queries: Range<usize>,
    keys: Range<usize>,
}

/// What a tile's keys come to: for each row the weighted values before they are divided
/// by the sum.
struct Part {
    rows: Vec<f32>,
    online: Vec<Online>,
}

pub(super) fn run(op: &Attention, cx: &mut CpuCx<'_>) -> Result<()> {
    let (q, k, v) = (cx.input(0)?, cx.input(1)?, cx.input(2)?);
    let ([batch, queries, heads, head], [_, groups, capacity, value]) =
        (extents(&q)?, extents(&v)?);
    let past = cx.input(3)?.read::<i32>().into_owned();
    let mut before = Vec::with_capacity(batch);
    for (b, &past) in past.iter().enumerate() {
        before.push(checked_past(past.into(), b, queries, capacity)?);
    }
    let mask = cx.optional(4).map(|mask| Mask::of(&mask));
    let sinks = cx.optional(5).map(|sinks| sinks.read::<f32>());
    let (q, k, v) = (q.read::<f32>(), Cache::of(&k), Cache::of(&v));
    let scale = op.scale_for(head as u64);
    let y = cx.output(0)?.write::<f32>()?;
    if y.is_empty() {
        return Ok(());
    }
    let inputs = Inputs {
        op,
        q,
        k,
        v,
        mask,
        sinks,
        before,
        scale,
        queries,
        heads,
        groups,
        capacity,
        head,
        value,
    };
    let tiles = inputs.tiles(batch);
    let parts: Vec<Part> = tiles.par_iter().map(|tile| inputs.part(tile)).collect();
    let mut parts = tiles.iter().zip(parts).peekable();
    while let Some((tile, mut part)) = parts.next() {
        // Other keys of the same rows come behind.
        while let Some((_, more)) = parts.next_if(|(next, _)| {
            (next.batch, next.group, next.queries.start)
                == (tile.batch, tile.group, tile.queries.start)
        }) {
            part.join(&more, value);
        }
        inputs.finish(tile, part, y);
    }
    Ok(())
}

impl Inputs<'_> {
    /// Heads of the queries that have a head of the keys in common.
    fn shared(&self) -> usize {
        self.heads / self.groups
    }

    /// All tiles; those of the same rows one after another. Where there are fewer than
    /// threads want, keys are shared out as well: the last bits of a result depend on how
    /// many threads there are.
    fn tiles(&self, batch: usize) -> Vec<Tile> {
        let count = (ROWS / self.shared()).clamp(1, self.queries);
        let tiles = batch * self.groups * self.queries.div_ceil(count);
        let wanted = (2 * threads::count()).div_ceil(tiles);
        let each = count * self.shared() * (self.head + self.value);
        let least = (LEAST_WORK / each).max(BLOCK);
        let mut all = Vec::with_capacity(tiles);
        for batch in 0..batch {
            for group in 0..self.groups {
                for first in (0..self.queries).step_by(count) {
                    let queries = first..(first + count).min(self.queries);
                    let keys = self.keys(batch, &queries);
                    let size = keys.len().div_ceil(wanted).max(least);
                    // A tile without keys has rows all the same.
                    for start in keys.clone().step_by(size).chain(keys.is_empty().then_some(0)) {
                        let keys = start..keys.end.min(start + size);
                        all.push(Tile { batch, group, queries: queries.clone(), keys });
                    }
                }
            }
        }
        all
    }

    fn visible(&self, batch: usize, query: usize) -> Range<usize> {
        self.op.visible(self.before[batch], query, self.queries)
    }

    /// From the first to the last key that any of some queries sees.
    fn keys(&self, batch: usize, queries: &Range<usize>) -> Range<usize> {
        let own = queries.clone().map(|i| self.visible(batch, i)).filter(|own| !own.is_empty());
        let all = own.reduce(|a, b| a.start.min(b.start)..a.end.max(b.end));
        all.unwrap_or(0..0)
    }

    fn part(&self, tile: &Tile) -> Part {
        let (shared, head, value) = (self.shared(), self.head, self.value);
        let rows = tile.queries.len() * shared;
        let mut part = Part {
            rows: vec![0.0; rows * value],
            online: vec![Online { peak: LEAST_SCORE, sum: 0.0 }; rows],
        };
        let slab = (tile.batch * self.groups + tile.group) * self.capacity;
        let (mut key_room, mut value_room) = (vec![0.0; BLOCK * head], vec![0.0; BLOCK * value]);
        let mut scores = [0.0; BLOCK];
        for start in tile.keys.clone().step_by(BLOCK) {
            let block = start..tile.keys.end.min(start + BLOCK);
            let room = &mut key_room[..block.len() * head];
            let keys = self.k.read((slab + start) * head, room);
            let room = &mut value_room[..block.len() * value];
            let values = self.v.read((slab + start) * value, room);
            for row in 0..rows {
                let (i, h) = (tile.queries.start + row / shared, row % shared);
                let own = self.visible(tile.batch, i);
                let own = own.start.max(block.start)..own.end.min(block.end);
                if own.is_empty() {
                    continue;
                }
                let scores = &mut scores[..own.len()];
                let at = [tile.batch, tile.group * shared + h, i];
                self.score(at, own.start, &keys[(own.start - start) * head..], scores);
                let y = &mut part.rows[row * value..(row + 1) * value];
                part.online[row].rescale(scores, y);
                add_weighted(y, &values[(own.start - start) * value..], scores);
            }
        }
        part
    }

    /// Scores of the query at `[batch, head, query]` with keys from number `first` on.
    fn score(&self, [b, h, i]: [usize; 3], first: usize, keys: &[f32], scores: &mut [f32]) {
        let start = ((b * self.queries + i) * self.heads + h) * self.head;
        let query = &self.q[start..start + self.head];
        for (j, score) in scores.iter_mut().enumerate() {
            let added = self.mask.as_ref().map(|mask| mask.at([b, h, i, first + j]));
            if added == Some(f32::NEG_INFINITY) {
                *score = f32::NEG_INFINITY;
                continue;
            }
            let mut s = dot(query, &keys[j * self.head..(j + 1) * self.head]) * self.scale;
            if let Some(cap) = self.op.softcap {
                s = cap * (s / cap).tanh();
            }
            s += added.unwrap_or(0.0);
            *score = s.max(LEAST_SCORE);
        }
    }

    /// Divides the rows of a tile by their sums and puts them where they belong.
    fn finish(&self, tile: &Tile, mut part: Part, y: &mut [f32]) {
        let (shared, value) = (self.shared(), self.value);
        for (row, (from, online)) in part.rows.chunks_mut(value).zip(&mut part.online).enumerate() {
            let (i, h) = (tile.queries.start + row / shared, tile.group * shared + row % shared);
            if let Some(sinks) = &self.sinks {
                // One more score, of a key without values.
                online.rescale(&mut [sinks[h].max(LEAST_SCORE)], from);
            }
            let at = ((tile.batch * self.queries + i) * self.heads + h) * value;
            let by = if online.sum > 0.0 { online.sum } else { 1.0 };
            for (to, from) in y[at..at + value].iter_mut().zip(from) {
                *to = *from / by;
            }
        }
    }
}

impl Part {
    /// Adds what other keys of the same rows come to.
    fn join(&mut self, other: &Part, value: usize) {
        let rows = self.rows.chunks_mut(value).zip(other.rows.chunks(value));
        for ((mine, more), (own, theirs)) in rows.zip(self.online.iter_mut().zip(&other.online)) {
            let peak = own.peak.max(theirs.peak);
            let (own_factor, their_factor) = ((own.peak - peak).exp(), (theirs.peak - peak).exp());
            own.sum = own.sum * own_factor + theirs.sum * their_factor;
            own.peak = peak;
            for (mine, more) in mine.iter_mut().zip(more) {
                *mine = *mine * own_factor + more * their_factor;
            }
        }
    }
}

/// The running maximum and sum of an online softmax.
#[derive(Debug, Clone, Copy)]
struct Online {
    peak: f32,
    sum: f32,
}

impl Online {
    /// Turns a block of scores into weights and brings `y` to the new maximum.
    fn rescale(&mut self, scores: &mut [f32], y: &mut [f32]) {
        let peak = scores.iter().copied().fold(self.peak, f32::max);
        if peak > self.peak {
            let factor = (self.peak - peak).exp();
            y.iter_mut().for_each(|y| *y *= factor);
            self.sum *= factor;
            self.peak = peak;
        }
        self.sum += exponentials(scores, peak);
    }
}

fn extents(tensor: &CpuTensor<'_>) -> Result<[usize; 4]> {
    tensor.extents[..].try_into().map_err(|_| Error::internal("attention over other than rank 4"))
}

#[cfg(test)]
mod tests {
    use super::*;

    const HEAD: usize = 5;
    const KEYS: usize = 100;

    /// One head and three queries behind 97 keys, of which the mask hides some.
    fn inputs<'a>(op: &'a Attention, hidden: &Range<usize>) -> Inputs<'a> {
        let wave =
            |n: usize, by: f32| (0..n).map(|i| (i as f32 * by).sin() * 3.0).collect::<Vec<_>>();
        let mut mask = vec![0.5; 3 * KEYS];
        for row in mask.chunks_mut(KEYS) {
            row[hidden.clone()].fill(f32::NEG_INFINITY);
        }
        Inputs {
            op,
            q: wave(3 * HEAD, 0.7).into(),
            k: Cache::F32(wave(KEYS * HEAD, 1.3).into()),
            v: Cache::F32(wave(KEYS * HEAD, 0.4).into()),
            mask: Some(Mask { values: mask.into(), strides: [0, 0, KEYS, 1] }),
            sinks: None,
            before: vec![97],
            scale: 0.5,
            queries: 3,
            heads: 1,
            groups: 1,
            capacity: KEYS,
            head: HEAD,
            value: HEAD,
        }
    }

    fn part(inputs: &Inputs<'_>, keys: Range<usize>) -> Part {
        inputs.part(&Tile { batch: 0, group: 0, queries: 0..3, keys })
    }

    #[test]
    fn parts_of_the_keys_join_to_all_of_them() {
        let op = Attention { causal: true, ..Attention::default() };
        for hidden in [0..0, 0..40, 40..100, 30..50, 0..100] {
            let inputs = inputs(&op, &hidden);
            let all = part(&inputs, 0..KEYS);
            for middle in [0, 1, 40, 99, 100] {
                let mut joined = part(&inputs, 0..middle);
                joined.join(&part(&inputs, middle..KEYS), HEAD);
                for (row, (one, other)) in all.online.iter().zip(&joined.online).enumerate() {
                    assert_eq!(one.peak, other.peak, "{hidden:?} {middle} {row}");
                    let near = |a: f32, b: f32| (a - b).abs() <= 1e-5 * (1.0 + a.abs());
                    assert!(near(one.sum, other.sum), "{hidden:?} {middle} {row}");
                    let at = row * HEAD..(row + 1) * HEAD;
                    for (a, b) in all.rows[at.clone()].iter().zip(&joined.rows[at]) {
                        assert!(near(*a, *b), "{hidden:?} {middle} {row}: {a} {b}");
                    }
                }
                assert_eq!(all.online[0].sum == 0.0, hidden == (0..100));
            }
        }
    }
}

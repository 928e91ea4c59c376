//! The CPU twin of `shaders/linear_attention/scan.wgsl`.

use super::LinearAttentionKernel;
use crate::error::{Error, Result};
use crate::kernels::CpuCx;
use crate::ops::linear_attention::{Span, scale_for};
use rayon::prelude::*;

pub(super) fn run(kernel: &LinearAttentionKernel, cx: &mut CpuCx<'_>) -> Result<()> {
    let (q, k, v) = (cx.input(0)?, cx.input(1)?, cx.input(2)?);
    let (past, decay, beta) = (cx.optional(3), cx.optional(4), cx.optional(5));
    let span = cx.optional(6).map(|span| span.read::<i32>());
    let erase = cx.optional(7);
    let erase = erase.map(|erase| erase.read::<f32>());
    let [batch, tokens, hidden] = q.extents[..] else {
        return Err(Error::internal("linear attention over other than rank 3"));
    };
    let grouping = kernel.heads;
    let (heads, groups) = (grouping.outputs as usize, grouping.states as usize);
    let (keys, queries) = (grouping.keys as usize, grouping.queries() as usize);
    let (head, value) = (hidden / queries, v.extents[2] / groups);
    let widths = [&decay, &beta].map(|t| t.as_ref().map_or(1, |t| t.extents[2]));
    let (q, k, v) = (q.read::<f32>(), k.read::<f32>(), v.read::<f32>());
    let [past, decay, beta] = [past, decay, beta].map(|t| t.map(|t| t.read::<f32>()));
    let scale = scale_for(kernel.scale, head as u64);
    let share = heads / groups;
    let (outputs, states) = cx.outputs.split_at_mut(1);
    let present =
        states.first_mut().ok_or_else(|| Error::internal("no present state"))?.write::<f32>()?;
    let y = outputs[0].write::<f32>()?;
    match &past {
        Some(past) => present.copy_from_slice(past),
        // It is there.
        None if span.is_some() => (),
        None => present.fill(0.0),
    }
    let slab = |number: usize, state: &mut [f32]| -> Vec<f32> {
        let (b, g) = (number / groups, number % groups);
        let mut out = vec![0.0; tokens * share * value];
        let mut u = vec![0.0; value];
        let mut held = vec![0.0; value];
        let begin = match &span {
            Some(span) => {
                let numbers = [span[2 * b], span[2 * b + 1]].map(i64::from);
                let span = Span::new(numbers[0], numbers[1], tokens);
                if span.fresh {
                    state.fill(0.0);
                }
                span.skip
            }
            None => 0,
        };
        for t in begin..tokens {
            let token = b * tokens + t;
            let key = &k[(token * keys + grouping.key(g)) * head..][..head];
            u.copy_from_slice(&v[(token * groups + g) * value..][..value]);
            if let Some(decay) = &decay {
                let each = widths[0] == groups * head;
                for (i, row) in state.chunks_mut(value).enumerate() {
                    let at = if each { g * head + i } else { g };
                    let factor = decay[token * widths[0] + at].exp();
                    row.iter_mut().for_each(|s| *s *= factor);
                }
            }
            if let Some(erase) = &erase {
                let all = groups * head;
                let (read, write) = erase[token * 2 * all..][..2 * all].split_at(all);
                held.fill(0.0);
                for (row, read) in state.chunks(value).zip(&read[g * head..]) {
                    held.iter_mut().zip(row).for_each(|(held, s)| *held += s * read);
                }
                for (row, write) in state.chunks_mut(value).zip(&write[g * head..]) {
                    row.iter_mut().zip(&held).for_each(|(s, held)| *s += write * held);
                }
            }
            if let Some(beta) = &beta {
                let rate = beta[token * widths[1] + g.min(widths[1] - 1)];
                // Summed by itself: each partial sum of a small product taken from a
                // large value would be rounded as the value is.
                held.fill(0.0);
                for (row, key) in state.chunks(value).zip(key) {
                    held.iter_mut().zip(row).for_each(|(held, s)| *held += s * key);
                }
                u.iter_mut().zip(&held).for_each(|(u, held)| *u = (*u - held) * rate);
            }
            for (row, key) in state.chunks_mut(value).zip(key) {
                row.iter_mut().zip(&u).for_each(|(s, u)| *s += key * u);
            }
            for h in 0..share {
                let query = (token * queries + grouping.query(g * share + h)) * head;
                let query = &q[query..][..head];
                let out = &mut out[(t * share + h) * value..][..value];
                for (row, q) in state.chunks(value).zip(query) {
                    out.iter_mut().zip(row).for_each(|(out, s)| *out += q * s);
                }
                out.iter_mut().for_each(|out| *out *= scale);
            }
        }
        out
    };
    let slabs: Vec<Vec<f32>> = present
        .par_chunks_mut((head * value).max(1))
        .enumerate()
        .map(|(number, state)| slab(number, state))
        .collect();
    for (number, out) in slabs.iter().enumerate() {
        let (b, g) = (number / groups, number % groups);
        for t in 0..tokens {
            let at = ((b * tokens + t) * heads + g * share) * value;
            y[at..at + share * value].copy_from_slice(&out[t * share * value..][..share * value]);
        }
    }
    debug_assert!(slabs.len() <= batch * groups);
    Ok(())
}

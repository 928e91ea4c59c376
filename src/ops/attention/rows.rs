//! The rows of scores behind the reference and the error bound.

use super::{Attention, LEAST_SCORE, NAME, checked_past};
use crate::error::{Error, Result};
use crate::ops::{Arithmetic, RefTensor};
use crate::tensor::DType;
use crate::validate::error_model::{gamma, half_rounding, smallest_normal};
use std::ops::Range;

/// The inputs with their roles.
pub(super) struct Rows<'a> {
    op: &'a Attention,
    q: &'a [f64],
    k: &'a [f64],
    v: &'a [f64],
    past: &'a [i64],
    mask: Option<(&'a [f64], [usize; 4])>,
    sinks: Option<&'a [f64]>,
    batch: usize,
    queries: usize,
    heads: usize,
    groups: usize,
    head: usize,
    capacity: usize,
    /// Dv.
    pub(super) value: usize,
    scale: f64,
}

/// The scores of one query and head.
pub(super) struct Row {
    /// The row of the output.
    pub(super) index: usize,
    /// The keys it sees.
    pub(super) visible: Range<usize>,
    /// For each of them the softmax of its score.
    pub(super) weights: Vec<f64>,
    /// The row of the caches that has key 0.
    slab: usize,
    scores: Vec<Score>,
    /// The score of the sink and its weight.
    sink: Option<(f64, f64)>,
}

struct Score {
    value: f64,
    /// `scale * sum |q| |k|`.
    magnitude: f64,
    /// How far the score moves when queries and keys are rounded to f16.
    halved: f64,
    /// The score before the mask is added.
    capped: f64,
    mask: f64,
}

fn required<'a>(inputs: &[Option<&'a RefTensor>], index: usize) -> Result<&'a RefTensor> {
    let input = inputs.get(index).copied().flatten();
    input.ok_or_else(|| Error::internal(format!("{NAME} input {index} is absent")))
}

/// How far apart neighbours are in each of the last four dimensions; 0 where
/// the one element there is used for all.
fn broadcast_strides(extents: &[usize]) -> [usize; 4] {
    let mut strides = [0; 4];
    let mut stride = 1;
    for (to, &extent) in strides.iter_mut().rev().zip(extents.iter().rev()) {
        *to = if extent == 1 { 0 } else { stride };
        stride *= extent;
    }
    strides
}

impl Score {
    /// Whether the mask hides the key.
    fn hidden(&self) -> bool {
        self.mask == f64::NEG_INFINITY
    }
}

impl<'a> Rows<'a> {
    pub(super) fn new(op: &'a Attention, inputs: &[Option<&'a RefTensor>]) -> Result<Self> {
        let (q, k, v) = (required(inputs, 0)?, required(inputs, 1)?, required(inputs, 2)?);
        let mask = match inputs.get(4).copied().flatten() {
            Some(mask) => Some((mask.reals()?, broadcast_strides(&mask.extents))),
            None => None,
        };
        Ok(Rows {
            op,
            q: q.reals()?,
            k: k.reals()?,
            v: v.reals()?,
            past: required(inputs, 3)?.ints()?,
            mask,
            sinks: match inputs.get(5).copied().flatten() {
                Some(sinks) => Some(sinks.reals()?),
                None => None,
            },
            batch: q.extents[0],
            queries: q.extents[1],
            heads: q.extents[2],
            groups: k.extents[1],
            head: q.extents[3],
            capacity: k.extents[2],
            value: v.extents[3],
            scale: op.scale_for(q.extents[3] as u64).into(),
        })
    }

    /// The number of rows of the output.
    pub(super) fn count(&self) -> usize {
        self.batch * self.queries * self.heads
    }

    /// The extents of the output.
    pub(super) fn extents(&self) -> [usize; 4] {
        [self.batch, self.queries, self.heads, self.value]
    }

    /// The values of a key.
    pub(super) fn values_of(&self, row: &Row, key: usize) -> &'a [f64] {
        &self.v[(row.slab + key) * self.value..][..self.value]
    }

    /// Calls `visit` with every row of the output, in order.
    pub(super) fn each(&self, mut visit: impl FnMut(&Row)) -> Result<()> {
        for b in 0..self.batch {
            let past = checked_past(self.past[b], b, self.queries, self.capacity)?;
            for i in 0..self.queries {
                for h in 0..self.heads {
                    visit(&self.row(b, past, i, h));
                }
            }
        }
        Ok(())
    }

    fn row(&self, b: usize, past: i64, i: usize, h: usize) -> Row {
        let index = (b * self.queries + i) * self.heads + h;
        let slab = (b * self.groups + h / (self.heads / self.groups)) * self.capacity;
        let q = &self.q[index * self.head..][..self.head];
        let visible = self.op.visible(past, i, self.queries);
        let score = |key: usize| {
            let mask = self
                .mask
                .map_or(0.0, |(mask, s)| mask[b * s[0] + h * s[1] + i * s[2] + key * s[3]]);
            self.score(q, slab + key, mask)
        };
        let scores: Vec<Score> = visible.clone().map(score).collect();
        let sink = self.sinks.map(|sinks| sinks[h].max(LEAST_SCORE.into()));
        let most = scores.iter().map(|s| s.value).chain(sink).fold(f64::NEG_INFINITY, f64::max);
        // Where the mask hides every key there is no largest score.
        let weight = |s: &Score| if s.hidden() { 0.0 } else { (s.value - most).exp() };
        let mut weights: Vec<f64> = scores.iter().map(weight).collect();
        let taken = sink.map_or(0.0, |sink| (sink - most).exp());
        let sum = (weights.iter().sum::<f64>() + taken).max(f64::MIN_POSITIVE);
        weights.iter_mut().for_each(|w| *w /= sum);
        Row { index, visible, weights, slab, scores, sink: sink.map(|at| (at, taken / sum)) }
    }

    fn score(&self, q: &[f64], key_row: usize, mask: f64) -> Score {
        let k = &self.k[key_row * self.head..][..self.head];
        let (mut sum, mut magnitude, mut halved) = (0.0, 0.0, 0.0);
        for (q, k) in q.iter().zip(k) {
            sum += q * k;
            magnitude += (q * k).abs();
            let (dq, dk) = (half_rounding(*q), half_rounding(*k));
            halved += dq * k.abs() + q.abs() * dk + dq * dk;
        }
        let scaled = sum * self.scale;
        let capped = self.op.softcap.map_or(scaled, |cap| {
            let cap = f64::from(cap);
            cap * (scaled / cap).tanh()
        });
        let hidden = mask == f64::NEG_INFINITY;
        let value = if hidden { mask } else { (capped + mask).max(LEAST_SCORE.into()) };
        let scale = self.scale.abs();
        Score { value, magnitude: magnitude * scale, halved: halved * scale, capped, mask }
    }
}

/// `exp` of less than minus this is below the smallest normal number.
const HIDDEN: f64 = 88.0;

/// How far an executor may be off.
///
/// Scores. A dot product of length D, its scaling and the rounding of the scale
/// leave `gamma(D + 2) * scale * sum |q| |k|`. The soft cap has a slope of at
/// most 1, so it does not enlarge that; its own evaluation is allowed 32 u (an
/// exponential, a sum, a difference, a quotient). Adding a mask rounds once:
/// u (|score| + |mask|). Their sum is `d`, a row's largest `d_max`.
///
/// Weights. An executor computes exp(s - m) for a running maximum m, which it
/// lowers earlier terms to later by factors exp(m - m'). WGSL allows exp an
/// error of 3 + 2 |x| ULP, and an ULP is at most 2 u. The arguments of one
/// key's factors add up to at most `r = s_max - s_min + d_max`, so all |x|
/// parts together stay below 2 r ULP twice over. The constant parts, one for
/// each lowering (at most one for each of the n keys), and the roundings of
/// differences and products are independent, and gamma(n, 8 u) covers them.
/// The maximum itself cancels. So a weight is off by a factor 1 + t with
/// `t = exp(d + d_max) - 1 + 8 r u + gamma(n, 8 u) + 8 u`.
///
/// Output. With weights w (of sum 1) off by t, sum w v / sum w moves by at most
/// `sum w t (|v| + |o|) / (1 - t_max)` (to first order it is `sum w t (v - o)`).
/// Summing n products and n weights in any order, with as many rescalings,
/// adds `gamma(3 n) * (sum w |v| + |o|)` (Higham and Mary 2019, as `gamma`
/// says), and the division 2.5 ULP.
/// Weights and factors near the smallest normal number may be flushed, or kept
/// from getting smaller, which adds `4 n * smallest * (max |v| + |o|)`.
///
/// A sink is a key of an exact score and of values of 0.
///
/// Keys that the mask hides with minus infinity have no weight for anyone.
/// Hidden keys of finite masks. An executor's maximum is at least that of the exact scores less
/// the error `d` there. A key whose score and error together are [`HIDDEN`] below
/// that (a mask of -1e38, say) gets a weight below the smallest normal number,
/// whatever its error, and no share of `d_max` and `r`: the last term has it.
///
/// Operands in f16 ([`Arithmetic::F16In`]). Rounding queries and keys moves a score by at
/// most its `halved`, which is part of `d`. Weights are rounded once they are computed
/// against a running maximum that is no larger than the row's, so that the rounding of
/// one whose final `exp(s - m)` is normal in f16 is relative: `t` grows by 2^-11. One that
/// may be smaller may be lost: it moves the output by `w (|v| + |o|)`, and `t_max` has only
/// its `w`. Rounding a value adds `w` times what it moves.
///
/// Wherever the weights are that uncertain that t exceeds 1/2, the output is
/// only known to be a mean of the values: the bound is twice the largest.
pub(super) fn bound(
    op: &Attention,
    inputs: &[Option<&RefTensor>],
    output: &[f64],
    arithmetic: Arithmetic,
) -> Result<Vec<f64>> {
    let rows = Rows::new(op, inputs)?;
    // Operands may be halves; what is made of them is not.
    let half = arithmetic == Arithmetic::F16In;
    let unit = if half { Arithmetic::F32.unit() } else { arithmetic.unit() };
    let mut bound = vec![0.0; output.len()];
    rows.each(|row| {
        let at = row.index * rows.value;
        let wrong = weight_errors(&rows, row, (unit, half));
        row_bound(
            &rows,
            row,
            &wrong,
            (unit, half),
            &output[at..][..rows.value],
            &mut bound[at..][..rows.value],
        );
    })?;
    Ok(bound)
}

/// How far the weight of a key may be off.
#[derive(Debug, Clone, Copy)]
enum Wrong {
    /// The `t` of [`bound`].
    By(f64),
    /// All of it may be lost, and this much be wrong otherwise.
    Lost(f64),
}

impl Wrong {
    /// The share of the weight that the output may miss or have too much.
    fn share(self) -> f64 {
        match self {
            Wrong::By(t) => t,
            Wrong::Lost(t) => 1.0 + t,
        }
    }

    /// What counts towards the largest `t`.
    fn shared(self) -> f64 {
        match self {
            Wrong::By(t) | Wrong::Lost(t) => t,
        }
    }
}

/// For each visible key how far its weight may be off, then the sink's.
fn weight_errors(rows: &Rows<'_>, row: &Row, (unit, half): (f64, bool)) -> Vec<Wrong> {
    let dot = gamma(rows.head + 2, unit);
    let cap = if rows.op.softcap.is_some() { 32.0 * unit } else { 0.0 };
    let score_errors: Vec<f64> = row
        .scores
        .iter()
        .map(|s| {
            if s.hidden() {
                return 0.0;
            }
            let mask =
                if rows.mask.is_some() { unit * (s.capped.abs() + s.mask.abs()) } else { 0.0 };
            let flush = (rows.head + 3) as f64 * smallest_normal(DType::F32);
            let rounded = if half { s.halved } else { 0.0 };
            dot * (s.magnitude + rounded) + rounded + cap * s.capped.abs() + mask + flush
        })
        .collect();
    let top = row.scores.iter().zip(&score_errors).max_by(|a, b| a.0.value.total_cmp(&b.0.value));
    let sink = row.sink.map(|(score, _)| score);
    let certain = top.map(|(score, error)| score.value - error);
    let certain = certain.into_iter().chain(sink).reduce(f64::max).unwrap_or(0.0);
    let seen = |s: &Score, error: f64| s.value + error > certain - HIDDEN;
    let (mut largest, mut least, mut most) = (0.0f64, f64::INFINITY, f64::NEG_INFINITY);
    for (s, &error) in row.scores.iter().zip(&score_errors).filter(|(s, error)| seen(s, **error)) {
        largest = largest.max(error);
        (least, most) = (least.min(s.value), most.max(s.value));
    }
    if let Some(sink) = sink.filter(|sink| sink > &(certain - HIDDEN)) {
        (least, most) = (least.min(sink), most.max(sink));
    }
    // Arguments below -87 give less than the smallest normal number.
    let reach = (most - least + largest).min(87.0);
    let common = 8.0 * reach * unit + gamma(row.scores.len(), 8.0 * unit) + 8.0 * unit;
    let normal = smallest_normal(DType::F16).ln();
    let top = row.scores.iter().map(|s| s.value).fold(f64::NEG_INFINITY, f64::max);
    let wrong = |(s, &error): (&Score, &f64)| {
        if !seen(s, error) {
            return Wrong::By(0.0);
        }
        let t = (error + largest).exp_m1() + common;
        // Lost where its final weight against the largest score may be subnormal.
        match half {
            true if s.value - top - error - largest < normal => Wrong::Lost(t),
            true => Wrong::By(t + (1.0 + t) * f64::powi(2.0, -11)),
            false => Wrong::By(t),
        }
    };
    let errors = row.scores.iter().zip(&score_errors).map(wrong);
    errors.chain(sink.map(|_| Wrong::By(largest.exp_m1() + common))).collect()
}

fn row_bound(
    rows: &Rows<'_>,
    row: &Row,
    wrong: &[Wrong],
    (unit, half): (f64, bool),
    output: &[f64],
    bound: &mut [f64],
) {
    let keys = row.weights.len() + 1;
    let most_wrong = wrong.iter().map(|wrong| wrong.shared()).fold(0.0, f64::max);
    // What is lost is missing in the sum of weights as well.
    let lost = row.weights.iter().zip(wrong).filter(|(_, wrong)| matches!(wrong, Wrong::Lost(_)));
    let most_wrong = most_wrong + lost.map(|(weight, _)| weight).sum::<f64>();
    let (sums, smallest) = (gamma(3 * keys, unit), smallest_normal(DType::F32));
    for (d, (bound, out)) in bound.iter_mut().zip(output).enumerate() {
        let out = out.abs();
        let (mut moved, mut mean, mut most) = (0.0, 0.0, 0.0f64);
        if let (Some((_, weight)), Some(wrong)) = (row.sink, wrong.last()) {
            moved += weight * wrong.share() * out;
        }
        for ((key, &weight), wrong) in row.visible.clone().zip(&row.weights).zip(wrong) {
            let v = rows.values_of(row, key)[d].abs();
            let (t, rounded) = (wrong.share(), if half { half_rounding(v) } else { 0.0 });
            moved += weight * (t * (v + out) + (1.0 + t) * rounded);
            mean += weight * v;
            most = most.max(v);
        }
        let unknown = 2.0 * most;
        *bound = if most_wrong > 0.5 {
            unknown
        } else {
            let sound = moved / (1.0 - most_wrong)
                + sums * (mean + out)
                + 5.0 * unit * out
                + 4.0 * keys as f64 * smallest * (most + out + 1.0);
            sound.min(unknown)
        };
    }
}

//! The recurrence in f64, and how errors go through it.

use super::{Heads, NAME, scale_for};
use crate::error::{Error, Result};
use crate::ops::RefTensor;
use crate::ops::elementwise::exp_error;
use crate::tensor::DType;
use crate::validate::error_model::{gamma, smallest_normal};

/// The inputs with their roles; `unit` is 0 where no errors are wanted.
pub(super) struct Scan<'a> {
    query: &'a [f64],
    key: &'a [f64],
    values: &'a [f64],
    past: Option<&'a [f64]>,
    decay: Option<(&'a [f64], usize)>,
    beta: Option<(&'a [f64], usize)>,
    /// What is forgotten by one key and written at another, of all states each.
    erase: Option<&'a [f64]>,
    /// Where each sequence begins; see [`Span`].
    span: Option<&'a [i64]>,
    batch: usize,
    tokens: usize,
    heads: Heads,
    head: usize,
    value: usize,
    scale: f64,
    unit: f64,
}

/// Which of the rows of a step are tokens of a sequence, and whether they are its
/// first.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Span {
    /// So many rows at the beginning are padding.
    pub(crate) skip: usize,
    /// What came before does not count.
    pub(crate) fresh: bool,
}

impl Span {
    /// From the two numbers of a sequence: how many tokens came before, and how many
    /// of its rows are padding; of `rows` in all.
    pub(crate) fn new(before: i64, skip: i64, rows: usize) -> Self {
        let skip = usize::try_from(skip.max(0)).unwrap_or(rows).min(rows);
        Span { skip, fresh: before == 0 && skip < rows }
    }
}

/// Values and their errors.
type Inexact = (Vec<f64>, Vec<f64>);

struct Run {
    y: Inexact,
    state: Inexact,
}

impl<'a> Scan<'a> {
    /// Of the inputs of [`LinearAttention`](super::LinearAttention), and the one more
    /// that [`StatefulLinearAttention`](super::StatefulLinearAttention) has.
    pub(super) fn new(
        heads: Heads,
        scale: Option<f32>,
        inputs: &[Option<&'a RefTensor>],
        unit: f64,
    ) -> Result<Self> {
        let at = |index: usize| inputs.get(index).copied().flatten();
        let required = |index: usize| {
            at(index).ok_or_else(|| Error::internal(format!("{NAME} input {index} is absent")))
        };
        let (query, value) = (required(0)?, required(2)?);
        let wide = |index: usize| -> Result<Option<(&'a [f64], usize)>> {
            let Some(tensor) = at(index) else { return Ok(None) };
            Ok(Some((tensor.reals()?, tensor.extents[2])))
        };
        let head = query.extents[2] / heads.queries() as usize;
        Ok(Scan {
            query: query.reals()?,
            key: required(1)?.reals()?,
            values: value.reals()?,
            past: at(3).map(RefTensor::reals).transpose()?,
            decay: wide(4)?,
            beta: wide(5)?,
            erase: at(7).map(RefTensor::reals).transpose()?,
            span: at(6).map(RefTensor::ints).transpose()?,
            batch: query.extents[0],
            tokens: query.extents[1],
            heads,
            head,
            value: value.extents[2] / heads.states as usize,
            scale: scale_for(scale, head as u64).into(),
            unit,
        })
    }

    /// The outputs: values, and the state after the last token.
    pub(super) fn values(&self) -> Result<Vec<RefTensor>> {
        let run = self.run();
        let width = self.heads.outputs as usize * self.value;
        let state = [self.batch, self.heads.states as usize, self.head, self.value];
        Ok(vec![
            RefTensor::real(DType::F32, &[self.batch, self.tokens, width], run.y.0),
            RefTensor::real(DType::F32, &state, run.state.0),
        ])
    }

    /// How far each element may be off.
    pub(super) fn errors(&self) -> Result<Vec<Vec<f64>>> {
        let run = self.run();
        Ok(vec![run.y.1, run.state.1])
    }

    fn run(&self) -> Run {
        let (groups, heads) = (self.heads.states as usize, self.heads.outputs as usize);
        let states = self.batch * groups * self.head * self.value;
        let outputs = self.batch * self.tokens * heads * self.value;
        let mut run = Run {
            y: (vec![0.0; outputs], vec![0.0; outputs]),
            state: (vec![0.0; states], vec![0.0; states]),
        };
        for b in 0..self.batch {
            for g in 0..groups {
                for column in 0..self.value {
                    self.column(b, g, column, &mut run);
                }
            }
        }
        run
    }

    fn span(&self, b: usize) -> Span {
        match self.span {
            Some(span) => Span::new(span[2 * b], span[2 * b + 1], self.tokens),
            None => Span { skip: 0, fresh: false },
        }
    }

    /// A column of one state through all tokens.
    fn column(&self, b: usize, g: usize, column: usize, run: &mut Run) {
        let flush = if self.unit > 0.0 { smallest_normal(DType::F32) } else { 0.0 };
        let gamma = if self.unit > 0.0 { gamma(self.head, self.unit) } else { 0.0 };
        let round = 2.0 * self.unit;
        let (groups, heads) = (self.heads.states as usize, self.heads.outputs as usize);
        let (keys, queries) = (self.heads.keys as usize, self.heads.queries() as usize);
        let place = |i: usize| ((b * groups + g) * self.head + i) * self.value + column;
        let span = self.span(b);
        let past = self.past.filter(|_| !span.fresh);
        let start = |i: usize| past.map_or(0.0, |past| past[place(i)]);
        let mut s: Vec<f64> = (0..self.head).map(start).collect();
        let mut e = vec![0.0; self.head];
        let share = heads / groups;
        for t in span.skip..self.tokens {
            let token = b * self.tokens + t;
            let key = &self.key[(token * keys + self.heads.key(g)) * self.head..][..self.head];
            let (mut u, mut off) = (self.values[(token * groups + g) * self.value + column], 0.0);
            if let Some((decay, width)) = self.decay {
                for i in 0..self.head {
                    let each = width != groups;
                    let at = if each { g * self.head + i } else { g };
                    let exponent = decay[token * width + at];
                    let factor = exponent.exp();
                    let wrong = if self.unit > 0.0 { exp_error(exponent) + round } else { 0.0 };
                    e[i] = (e[i] + (s[i].abs() + e[i]) * wrong) * factor + flush;
                    s[i] *= factor;
                }
            }
            if let Some(erase) = self.erase {
                let all = groups * self.head;
                let [read, write] = [0, all]
                    .map(|first| &erase[token * 2 * all + first + g * self.head..][..self.head]);
                let (mut held, mut size, mut moved) = (0.0, 0.0, 0.0);
                for i in 0..self.head {
                    held += s[i] * read[i];
                    size += (s[i].abs() + e[i]) * read[i].abs();
                    moved += e[i] * read[i].abs();
                }
                let off = moved + gamma * size + self.head as f64 * flush;
                for i in 0..self.head {
                    let added = write[i] * held;
                    let wrong = write[i].abs() * off;
                    s[i] += added;
                    e[i] += wrong + round * (added.abs() + wrong + s[i].abs() + e[i]) + flush;
                }
            }
            if let Some((beta, width)) = self.beta {
                let (mut held, mut size, mut moved) = (0.0, 0.0, 0.0);
                for i in 0..self.head {
                    held += s[i] * key[i];
                    size += (s[i].abs() + e[i]) * key[i].abs();
                    moved += e[i] * key[i].abs();
                }
                let rate = beta[token * width + g.min(width - 1)];
                off = moved + gamma * size + self.head as f64 * flush;
                u -= held;
                off += round * (u.abs() + off);
                off = off * rate.abs() + round * (rate * u).abs() + flush;
                u *= rate;
            }
            for i in 0..self.head {
                let added = key[i] * u;
                let wrong = key[i].abs() * off;
                s[i] += added;
                e[i] += wrong + round * (added.abs() + wrong + s[i].abs() + e[i]) + flush;
            }
            for h in g * share..(g + 1) * share {
                let query = (token * queries + self.heads.query(h)) * self.head;
                let query = &self.query[query..][..self.head];
                let (mut sum, mut size, mut moved) = (0.0, 0.0, 0.0);
                for i in 0..self.head {
                    sum += query[i] * s[i];
                    size += query[i].abs() * (s[i].abs() + e[i]);
                    moved += query[i].abs() * e[i];
                }
                let at = (token * heads + h) * self.value + column;
                let wrong = moved + gamma * size + self.head as f64 * flush;
                run.y.0[at] = sum * self.scale;
                run.y.1[at] = (wrong + round * (sum.abs() + wrong)) * self.scale.abs() + flush;
            }
        }
        for i in 0..self.head {
            run.state.0[place(i)] = s[i];
            run.state.1[place(i)] = e[i];
        }
    }
}

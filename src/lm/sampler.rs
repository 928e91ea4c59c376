//! Choosing the next token from logits.

mod proposal;
mod repeats;
#[cfg(test)]
mod tests;

pub(super) use proposal::Proposal;
pub(super) use repeats::BREAKERS;

use crate::error::{Error, Result};
use rand_core::{RngCore, SeedableRng};
use rand_pcg::Pcg64;
use std::cmp::Ordering;

/// How the next token is chosen.
///
/// The filters apply in llama.cpp's order: penalties, DRY, top-k, typical, top-p,
/// min-p, XTC, temperature. So all of them see the probabilities at temperature 1,
/// whatever the temperature. The default is greedy.
#[derive(Debug, Clone, PartialEq)]
pub struct SamplerOptions {
    /// What logits are divided by; 0 takes the most likely token (the lowest
    /// id among equals).
    pub temperature: f32,
    /// Keep the `top_k` most likely tokens; 0 keeps all.
    pub top_k: usize,
    /// Keep the fewest most likely tokens that together have this
    /// probability, above 0 and at most 1; 1 keeps all.
    pub top_p: f32,
    /// Keep tokens at least this fraction as likely as the most likely one,
    /// from 0 to 1; 0 keeps all.
    pub min_p: f32,
    /// Tokens seen lately have positive logits divided and negative ones
    /// multiplied by this; above 1 discourages repetition, 1 does nothing.
    pub repetition_penalty: f32,
    /// Taken off the logit of a token as often as it was seen lately; below 0
    /// encourages repetition.
    pub frequency_penalty: f32,
    /// Taken off the logit of a token that was seen lately, however often.
    pub presence_penalty: f32,
    /// Keep the tokens whose surprise is closest to the expected one and that
    /// together have this probability, above 0 and at most 1; 1 keeps all
    /// (locally typical sampling, arXiv 2202.00666).
    pub typical_p: f32,
    /// How likely it is that a step leaves out the most likely tokens (XTC), from 0 to 1;
    /// 0 does nothing.
    pub xtc_probability: f32,
    /// Of the tokens with at least this probability only the least likely one stays then.
    pub xtc_threshold: f32,
    /// Taken off the logit of a token that would go on with `dry_allowed_length` tokens
    /// that were there before; 0 does nothing (DRY).
    pub dry_multiplier: f32,
    /// That is multiplied with this for each token more, from 1.
    pub dry_base: f32,
    /// So many tokens may come again before it counts.
    pub dry_allowed_length: usize,
    /// How many of the last tokens count as seen lately.
    pub repetition_window: usize,
    /// Where the random numbers start: the same seed and logits give the same
    /// tokens.
    pub seed: u64,
}

impl Default for SamplerOptions {
    fn default() -> Self {
        SamplerOptions {
            temperature: 0.0,
            top_k: 0,
            top_p: 1.0,
            min_p: 0.0,
            repetition_penalty: 1.0,
            frequency_penalty: 0.0,
            presence_penalty: 0.0,
            typical_p: 1.0,
            xtc_probability: 0.0,
            xtc_threshold: 0.1,
            dry_multiplier: 0.0,
            dry_base: 1.75,
            dry_allowed_length: 2,
            repetition_window: 64,
            seed: 0,
        }
    }
}

impl SamplerOptions {
    /// Whether logits are changed before one of the tokens is chosen, so that those of
    /// all tokens count.
    pub(super) fn changes_logits(&self) -> bool {
        self.repetition_penalty != 1.0
            || self.frequency_penalty != 0.0
            || self.presence_penalty != 0.0
            || self.dry_multiplier > 0.0
    }

    pub(super) fn check(&self) -> Result<()> {
        let checks = [
            ("temperature", self.temperature, "a finite number from 0", self.temperature >= 0.0),
            ("top_p", self.top_p, "above 0, at most 1", self.top_p > 0.0 && self.top_p <= 1.0),
            ("min_p", self.min_p, "from 0 to 1", (0.0..=1.0).contains(&self.min_p)),
            (
                "typical_p",
                self.typical_p,
                "above 0, at most 1",
                self.typical_p > 0.0 && self.typical_p <= 1.0,
            ),
            (
                "xtc_probability",
                self.xtc_probability,
                "from 0 to 1",
                (0.0..=1.0).contains(&self.xtc_probability),
            ),
            (
                "xtc_threshold",
                self.xtc_threshold,
                "from 0 to 1",
                (0.0..=1.0).contains(&self.xtc_threshold),
            ),
            ("dry_multiplier", self.dry_multiplier, "from 0", self.dry_multiplier >= 0.0),
            ("dry_base", self.dry_base, "from 1", self.dry_base >= 1.0),
            ("frequency_penalty", self.frequency_penalty, "a finite number", true),
            ("presence_penalty", self.presence_penalty, "a finite number", true),
            (
                "repetition_penalty",
                self.repetition_penalty,
                "a finite number above 0",
                self.repetition_penalty > 0.0,
            ),
        ];
        for (name, value, expected, holds) in checks {
            if !holds || !value.is_finite() {
                return Err(Error::input(name, expected, value));
            }
        }
        Ok(())
    }
}

/// Chooses tokens; it owns the random numbers and scratch memory.
#[derive(Debug, Clone)]
pub struct Sampler {
    options: SamplerOptions,
    random: Pcg64,
    kept: Vec<Candidate>,
    seen: Vec<u32>,
    /// Tokens, sorted, over which nothing counts as a repetition; set where that matters.
    pub(super) breakers: Vec<u32>,
}

/// A token that may still be chosen.
#[derive(Debug, Clone, Copy, PartialEq)]
struct Candidate {
    logit: f32,
    id: u32,
}

impl Candidate {
    /// The most likely first, the lowest id among equals: a total order, so
    /// every selection has one result.
    fn order(&self, other: &Self) -> Ordering {
        other.logit.total_cmp(&self.logit).then(self.id.cmp(&other.id))
    }
}

impl Sampler {
    /// A sampler with checked options.
    ///
    /// # Errors
    /// [`Error::Input`] naming the option that is out of its range.
    pub fn new(options: SamplerOptions) -> Result<Self> {
        options.check()?;
        let random = Pcg64::seed_from_u64(options.seed);
        Ok(Sampler { options, random, kept: Vec::new(), seen: Vec::new(), breakers: Vec::new() })
    }

    /// The options.
    pub fn options(&self) -> &SamplerOptions {
        &self.options
    }

    /// Chooses a token: an index into `logits`, one f32 for each token of the
    /// vocabulary. `history` holds the tokens so far, the latest last; only
    /// penalties use it. Minus infinity bars a token.
    ///
    /// # Errors
    /// [`Error::Input`] if a logit is NaN or plus infinity, all are minus
    /// infinity or there is none, or the history names a token without a
    /// logit.
    pub fn sample(&mut self, logits: &[f32], history: &[u32]) -> Result<u32> {
        check_logits(logits)?;
        self.start(logits, history)?;
        if self.options.temperature == 0.0 {
            // The filters always keep the most likely token.
            let best = self.kept.iter().min_by(|a, b| a.order(b));
            return best.map(|c| c.id).ok_or_else(no_token);
        }
        self.filter();
        self.draw()
    }

    /// Chooses as [`Sampler::sample`] does, of the most likely tokens in order: at least
    /// as many as the options keep by their number, and without penalties.
    ///
    /// # Errors
    /// As [`Sampler::sample`].
    pub(super) fn sample_leading(&mut self, leading: &[(u32, f32)]) -> Result<u32> {
        let candidate = |&(id, logit): &(u32, f32)| Candidate { logit: logit + 0.0, id };
        self.kept.clear();
        self.kept.extend(leading.iter().map(candidate));
        self.kept.retain(|c| c.logit > f32::NEG_INFINITY);
        if self.options.temperature == 0.0 {
            return self.kept.first().map(|c| c.id).ok_or_else(no_token);
        }
        if self.kept.is_empty() {
            return Err(no_token());
        }
        self.filter();
        self.draw()
    }

    /// Fills `kept` with every token that is not barred, penalised.
    fn start(&mut self, logits: &[f32], history: &[u32]) -> Result<()> {
        // Adding zero makes -0 and 0 one number to the total order.
        let candidate =
            |(id, &logit): (usize, &f32)| Candidate { logit: logit + 0.0, id: id as u32 };
        let all = logits.iter().enumerate().map(candidate);
        self.kept.clear();
        self.kept.extend(all);
        self.penalise(logits.len(), history)?;
        if self.options.dry_multiplier > 0.0 {
            repeats::penalise(&mut self.kept, &self.options, history, &self.breakers);
        }
        self.kept.retain(|c| c.logit > f32::NEG_INFINITY);
        if self.kept.is_empty() { Err(no_token()) } else { Ok(()) }
    }

    /// Makes what was seen lately less likely. `kept` has every token.
    fn penalise(&mut self, vocabulary: usize, history: &[u32]) -> Result<()> {
        let options = &self.options;
        let (penalty, each) = (options.repetition_penalty, options.frequency_penalty);
        let once = options.presence_penalty;
        if penalty == 1.0 && each == 0.0 && once == 0.0 {
            return Ok(());
        }
        let from = history.len().saturating_sub(options.repetition_window);
        self.seen.clear();
        self.seen.extend_from_slice(&history[from..]);
        self.seen.sort_unstable();
        for same in self.seen.chunk_by(|a, b| a == b) {
            let id = same[0];
            let Some(candidate) = self.kept.get_mut(id as usize) else {
                let expected = format!("tokens below {vocabulary}");
                return Err(Error::input("history", expected, id));
            };
            let logit = candidate.logit;
            let penalised = if logit > 0.0 { logit / penalty } else { logit * penalty };
            let penalised = penalised - each * same.len() as f32 - once;
            // Overflow keeps its sign but must not become infinite: minus
            // infinity would bar the token, plus infinity have no softmax.
            if logit.is_finite() {
                candidate.logit = penalised.clamp(f32::MIN, f32::MAX) + 0.0;
            }
        }
        Ok(())
    }

    fn filter(&mut self) {
        let SamplerOptions { top_k, top_p, min_p, typical_p, .. } = self.options;
        if top_k > 0 && top_k < self.kept.len() {
            leading(&mut self.kept, top_k);
            self.kept.truncate(top_k);
        }
        if typical_p < 1.0 {
            keep_typical(&mut self.kept, f64::from(typical_p));
        }
        if top_p < 1.0 {
            keep_top_p(&mut self.kept, f64::from(top_p));
        }
        if min_p > 0.0 {
            let least = f64::from(highest(&self.kept)) + f64::from(min_p).ln();
            self.kept.retain(|c| f64::from(c.logit) >= least);
        }
        let odds = f64::from(self.options.xtc_probability);
        if odds > 0.0 && self.uniform() < odds {
            leave_out_top(&mut self.kept, f64::from(self.options.xtc_threshold));
        }
    }

    /// Draws one of the kept tokens by its probability at the temperature.
    fn draw(&mut self) -> Result<u32> {
        let max = f64::from(highest(&self.kept));
        let temperature = f64::from(self.options.temperature);
        let weight = |c: &Candidate| ((f64::from(c.logit) - max) / temperature).exp();
        let weights: Vec<(u32, f64)> = self.kept.iter().map(|c| (c.id, weight(c))).collect();
        let uniform = self.uniform();
        draw_from(&weights, uniform)
    }

    /// 53 random bits: every multiple of 2^-53 from 0 to below 1.
    fn uniform(&mut self) -> f64 {
        (self.random.next_u64() >> 11) as f64 / (1u64 << 53) as f64
    }
}

/// The token at this part of the total weight.
fn draw_from(weights: &[(u32, f64)], uniform: f64) -> Result<u32> {
    let mut left = uniform * weights.iter().map(|(_, weight)| weight).sum::<f64>();
    let mut last = None;
    for &(id, weight) in weights {
        if weight > 0.0 {
            last = Some(id);
            left -= weight;
            if left < 0.0 {
                break;
            }
        }
    }
    // Rounding can leave a little of the total; it belongs to the last.
    last.ok_or_else(no_token)
}

fn check_logits(logits: &[f32]) -> Result<()> {
    let bad = logits.iter().position(|v| v.is_nan() || *v == f32::INFINITY);
    match bad {
        Some(id) => Err(Error::input(
            format_args!("logit of token {id}"),
            "a finite number or minus infinity",
            logits[id],
        )),
        None if u32::try_from(logits.len()).is_err() => {
            Err(Error::input("logits", "fewer than 2^32", logits.len()))
        }
        None => Ok(()),
    }
}

fn no_token() -> Error {
    Error::input("logits", "at least one above minus infinity", "none")
}

fn highest(kept: &[Candidate]) -> f32 {
    kept.iter().map(|c| c.logit).fold(f32::NEG_INFINITY, f32::max)
}

/// Moves the `n` most likely tokens to the front, in order; the rest stays
/// unsorted.
fn leading(kept: &mut [Candidate], n: usize) {
    if n < kept.len() {
        kept.select_nth_unstable_by(n, Candidate::order);
    }
    let n = n.min(kept.len());
    kept[..n].sort_unstable_by(Candidate::order);
}

/// Keeps the shortest list with probability `typical` of the tokens whose surprise,
/// `-ln p`, is closest to the expected surprise.
fn keep_typical(kept: &mut Vec<Candidate>, typical: f64) {
    let max = f64::from(highest(kept));
    let weight = |c: &Candidate| (f64::from(c.logit) - max).exp();
    let total: f64 = kept.iter().map(weight).sum();
    let surprise = |c: &Candidate| total.ln() - (f64::from(c.logit) - max);
    let expected: f64 = kept.iter().map(|c| weight(c) / total * surprise(c)).sum();
    let off = |c: &Candidate| (surprise(c) - expected).abs();
    kept.sort_unstable_by(|a, b| off(a).total_cmp(&off(b)).then(a.order(b)));
    let mut sum = 0.0;
    let reached = kept.iter().position(|c| {
        sum += weight(c);
        sum >= typical * total
    });
    kept.truncate(reached.map_or(kept.len(), |last| last + 1));
}

/// Of the tokens with at least the probability `threshold`, keeps the least likely.
fn leave_out_top(kept: &mut Vec<Candidate>, threshold: f64) {
    let max = f64::from(highest(kept));
    let weight = |c: &Candidate| (f64::from(c.logit) - max).exp();
    let least = threshold * kept.iter().map(weight).sum::<f64>();
    let Some(last) = kept.iter().filter(|c| weight(c) >= least).max_by(|a, b| a.order(b)) else {
        return;
    };
    let last = *last;
    kept.retain(|c| c.order(&last).is_ge());
}

/// Keeps the shortest list of most likely tokens with probability `top_p`.
///
/// A few tokens mostly suffice, so ever larger leading parts are sorted until
/// one does: linear in the vocabulary but for a list that long.
fn keep_top_p(kept: &mut Vec<Candidate>, top_p: f64) {
    let max = f64::from(highest(kept));
    let weight = |c: &Candidate| (f64::from(c.logit) - max).exp();
    let wanted = top_p * kept.iter().map(weight).sum::<f64>();
    let (mut sum, mut done, mut part) = (0.0, 0, 64);
    while done < kept.len() {
        leading(&mut kept[done..], part);
        let end = (done + part).min(kept.len());
        for (i, candidate) in kept[done..end].iter().enumerate() {
            sum += weight(candidate);
            if sum >= wanted {
                kept.truncate(done + i + 1);
                return;
            }
        }
        done = end;
        part *= 4;
    }
}

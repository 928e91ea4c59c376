//! Choosing the next token from logits.

use crate::error::{Error, Result};
use rand_core::{RngCore, SeedableRng};
use rand_pcg::Pcg64;
use std::cmp::Ordering;

/// How the next token is chosen.
///
/// The filters apply in llama.cpp's order: repetition penalty, top-k, top-p,
/// min-p, temperature. So top-p and min-p see the probabilities at
/// temperature 1, whatever the temperature. The default is greedy.
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
            repetition_window: 64,
            seed: 0,
        }
    }
}

impl SamplerOptions {
    pub(super) fn check(&self) -> Result<()> {
        let checks = [
            ("temperature", self.temperature, "a finite number from 0", self.temperature >= 0.0),
            ("top_p", self.top_p, "above 0, at most 1", self.top_p > 0.0 && self.top_p <= 1.0),
            ("min_p", self.min_p, "from 0 to 1", (0.0..=1.0).contains(&self.min_p)),
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
        Ok(Sampler { options, random, kept: Vec::new(), seen: Vec::new() })
    }

    /// The options.
    pub fn options(&self) -> &SamplerOptions {
        &self.options
    }

    /// Chooses a token: an index into `logits`, one f32 for each token of the
    /// vocabulary. `history` holds the tokens so far, the latest last; only
    /// the repetition penalty uses it. Minus infinity bars a token.
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

    /// Fills `kept` with every token that is not barred, penalised.
    fn start(&mut self, logits: &[f32], history: &[u32]) -> Result<()> {
        // Adding zero makes -0 and 0 one number to the total order.
        let candidate =
            |(id, &logit): (usize, &f32)| Candidate { logit: logit + 0.0, id: id as u32 };
        let all = logits.iter().enumerate().map(candidate);
        self.kept.clear();
        self.kept.extend(all);
        let penalty = self.options.repetition_penalty;
        if penalty != 1.0 {
            let from = history.len().saturating_sub(self.options.repetition_window);
            self.seen.clear();
            self.seen.extend_from_slice(&history[from..]);
            self.seen.sort_unstable();
            self.seen.dedup();
            for &id in &self.seen {
                let Some(candidate) = self.kept.get_mut(id as usize) else {
                    let expected = format!("tokens below {}", logits.len());
                    return Err(Error::input("history", expected, id));
                };
                let logit = candidate.logit;
                let penalised = if logit > 0.0 { logit / penalty } else { logit * penalty };
                // Overflow keeps its sign but must not become infinite: minus
                // infinity would bar the token, plus infinity have no softmax.
                if logit.is_finite() {
                    candidate.logit = penalised.clamp(f32::MIN, f32::MAX) + 0.0;
                }
            }
        }
        self.kept.retain(|c| c.logit > f32::NEG_INFINITY);
        if self.kept.is_empty() { Err(no_token()) } else { Ok(()) }
    }

    fn filter(&mut self) {
        let SamplerOptions { top_k, top_p, min_p, .. } = self.options;
        if top_k > 0 && top_k < self.kept.len() {
            leading(&mut self.kept, top_k);
            self.kept.truncate(top_k);
        }
        if top_p < 1.0 {
            keep_top_p(&mut self.kept, f64::from(top_p));
        }
        if min_p > 0.0 {
            let least = f64::from(highest(&self.kept)) + f64::from(min_p).ln();
            self.kept.retain(|c| f64::from(c.logit) >= least);
        }
    }

    /// Draws one of the kept tokens by its probability at the temperature.
    fn draw(&mut self) -> Result<u32> {
        let max = f64::from(highest(&self.kept));
        let temperature = f64::from(self.options.temperature);
        let weight = |c: &Candidate| ((f64::from(c.logit) - max) / temperature).exp();
        let total: f64 = self.kept.iter().map(weight).sum();
        // 53 random bits: every multiple of 2^-53 from 0 to below 1.
        let uniform = (self.random.next_u64() >> 11) as f64 / (1u64 << 53) as f64;
        let mut left = uniform * total;
        let mut last = None;
        for candidate in &self.kept {
            let weight = weight(candidate);
            if weight > 0.0 {
                last = Some(candidate.id);
                left -= weight;
                if left < 0.0 {
                    break;
                }
            }
        }
        // Rounding can leave a little of the total; it belongs to the last.
        last.ok_or_else(no_token)
    }
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

#[cfg(test)]
mod tests {
    use super::*;
    use crate::error::ErrorKind;
    use proptest::prelude::*;

    fn sampler(change: impl FnOnce(&mut SamplerOptions)) -> Sampler {
        let mut options = SamplerOptions { temperature: 1.0, ..Default::default() };
        change(&mut options);
        Sampler::new(options).unwrap()
    }

    /// The ids left by the filters, in ascending order.
    fn kept(sampler: &mut Sampler, logits: &[f32], history: &[u32]) -> Vec<u32> {
        sampler.start(logits, history).unwrap();
        sampler.filter();
        let mut ids: Vec<u32> = sampler.kept.iter().map(|c| c.id).collect();
        ids.sort_unstable();
        ids
    }

    fn logs(p: &[f32]) -> Vec<f32> {
        p.iter().map(|p| p.ln()).collect()
    }

    #[test]
    fn greedy_takes_the_highest_and_the_first_of_equals() {
        let mut s = Sampler::new(SamplerOptions::default()).unwrap();
        assert_eq!(s.sample(&[1.0, 3.0, 2.0, 3.0], &[]).unwrap(), 1);
        assert_eq!(s.sample(&[f32::NEG_INFINITY, -5.0], &[]).unwrap(), 1);
        assert_eq!(s.sample(&[-0.0, 0.0], &[]).unwrap(), 0);
    }

    #[test]
    fn filters_by_hand() {
        // Probabilities 0.5, 0.25, 0.15, 0.1, not in this order.
        let logits = logs(&[0.15, 0.5, 0.1, 0.25]);
        let keep = |change: fn(&mut SamplerOptions)| kept(&mut sampler(change), &logits, &[]);
        assert_eq!(keep(|_| ()), [0, 1, 2, 3]);
        assert_eq!(keep(|o| o.top_k = 1), [1]);
        assert_eq!(keep(|o| o.top_k = 3), [0, 1, 3]);
        assert_eq!(keep(|o| o.top_k = 99), [0, 1, 2, 3]);
        assert_eq!(keep(|o| o.top_p = 0.4), [1]);
        assert_eq!(keep(|o| o.top_p = 0.6), [1, 3]);
        assert_eq!(keep(|o| o.top_p = 0.8), [0, 1, 3]);
        assert_eq!(keep(|o| o.top_p = 1e-9), [1]);
        assert_eq!(keep(|o| o.min_p = 0.4), [1, 3]);
        assert_eq!(keep(|o| o.min_p = 0.25), [0, 1, 3]);
        assert_eq!(keep(|o| o.min_p = 1.0), [1]);
    }

    #[test]
    fn later_filters_see_what_earlier_ones_left() {
        let logits = logs(&[0.15, 0.5, 0.1, 0.25]);
        // Of 0.5 and 0.25 the first has two thirds: top-p 0.6 keeps only it,
        // though alone of all it has half.
        let mut s = sampler(|o| (o.top_k, o.top_p) = (2, 0.6));
        assert_eq!(kept(&mut s, &logits, &[]), [1]);
        // The temperature comes last: a high one does not widen top-p.
        let mut s = sampler(|o| (o.temperature, o.top_p) = (100.0, 0.6));
        assert_eq!(kept(&mut s, &logits, &[]), [1, 3]);
    }

    #[test]
    fn penalty_by_hand() {
        let mut s =
            sampler(|o| (o.temperature, o.repetition_penalty, o.repetition_window) = (0.0, 2.0, 3));
        // 4 / 2 = 2 is below 3.
        assert_eq!(s.sample(&[4.0, 3.0, -1.0], &[0]).unwrap(), 1);
        // Once however often it was seen.
        assert_eq!(s.sample(&[4.0, 1.5, -1.0], &[0, 0, 0]).unwrap(), 0);
        // Beyond the window nothing counts.
        assert_eq!(s.sample(&[4.0, 3.0, -1.0], &[0, 2, 2, 2]).unwrap(), 0);
        // A negative logit goes down, not up.
        assert_eq!(s.sample(&[-1.0, -1.5], &[0]).unwrap(), 1);
        // The largest numbers stay finite.
        assert_eq!(s.sample(&[f32::MIN, f32::NEG_INFINITY], &[0]).unwrap(), 0);
    }

    /// Draws and compares with the expected probabilities: chi-square, with
    /// the bound of probability 0.001.
    fn fits(mut s: Sampler, logits: &[f32], expected: &[f64], bound: f64) {
        const DRAWS: usize = 40_000;
        let mut counts = vec![0usize; logits.len()];
        for _ in 0..DRAWS {
            counts[s.sample(logits, &[]).unwrap() as usize] += 1;
        }
        let mut chi = 0.0;
        for (&count, &p) in counts.iter().zip(expected) {
            if p == 0.0 {
                assert_eq!(count, 0);
            } else {
                let mean = p * DRAWS as f64;
                chi += (count as f64 - mean).powi(2) / mean;
            }
        }
        assert!(chi < bound, "chi-square {chi}, counts {counts:?}");
        // The same test must refuse a wrong distribution.
        let uniform = DRAWS as f64 / expected.iter().filter(|&&p| p > 0.0).count() as f64;
        let wrong: f64 = counts
            .iter()
            .zip(expected)
            .filter(|(_, p)| **p > 0.0)
            .map(|(&c, _)| (c as f64 - uniform).powi(2) / uniform)
            .sum();
        assert!(wrong > bound, "the test cannot tell");
    }

    #[test]
    fn draws_follow_the_probabilities() {
        let p = [0.4f32, 0.3, 0.15, 0.1, 0.05];
        let logits = logs(&p);
        // 4 degrees of freedom: 18.47.
        fits(sampler(|o| o.seed = 1), &logits, &p.map(f64::from), 18.47);
        // Temperature 1/2 squares, 2 takes roots.
        for (temperature, power) in [(0.5, 2.0), (2.0, 0.5)] {
            let q = p.map(|p| f64::from(p).powf(power));
            let sum: f64 = q.iter().sum();
            let s = sampler(|o| (o.temperature, o.seed) = (temperature, 2));
            fits(s, &logits, &q.map(|q| q / sum), 18.47);
        }
        // Filters and temperature together: 2 degrees of freedom, 13.82.
        let q = [0.16, 0.09, 0.0225, 0.0, 0.0].map(|q| q / 0.2725);
        let s = sampler(|o| (o.temperature, o.top_p, o.seed) = (0.5, 0.8, 3));
        fits(s, &logits, &q, 13.82);
        let s = sampler(|o| (o.temperature, o.top_k, o.seed) = (0.5, 3, 4));
        fits(s, &logits, &q, 13.82);
    }

    #[test]
    fn a_seed_decides_everything() {
        let logits: Vec<f32> = (0..1000).map(|i| ((i * 37) % 101) as f32 * 0.05).collect();
        let run = |seed| -> Vec<u32> {
            let mut s = sampler(|o| (o.seed, o.top_p) = (seed, 0.95));
            (0..32).map(|_| s.sample(&logits, &[]).unwrap()).collect()
        };
        assert_eq!(run(7), run(7));
        assert_ne!(run(7), run(8));
    }

    #[test]
    fn a_hot_or_cold_temperature_is_no_overflow() {
        let logits = [f32::MAX, f32::MIN, 0.0];
        assert_eq!(sampler(|o| o.temperature = f32::MIN_POSITIVE).sample(&logits, &[]).unwrap(), 0);
        assert!(sampler(|o| o.temperature = f32::MAX).sample(&logits, &[]).unwrap() < 3);
    }

    #[test]
    fn bad_logits_are_errors() {
        let mut s = Sampler::new(SamplerOptions::default()).unwrap();
        let inf = f32::INFINITY;
        for bad in [&[0.0, f32::NAN][..], &[inf, 0.0], &[], &[-inf, -inf]] {
            for temperature in [0.0, 1.0] {
                s.options.temperature = temperature;
                let error = s.sample(bad, &[]).unwrap_err();
                assert_eq!(error.kind(), ErrorKind::Input);
            }
        }
        assert!(s.sample(&[0.0, f32::NAN], &[]).unwrap_err().to_string().contains("token 1"));
        let error = sampler(|o| o.repetition_penalty = 1.1).sample(&[0.0], &[1]).unwrap_err();
        assert!(error.to_string().starts_with("history"), "{error}");
    }

    #[test]
    fn bad_options_are_named() {
        const NAN: f32 = f32::NAN;
        type Row = (&'static str, fn(&mut SamplerOptions, f32), &'static [f32]);
        let table: [Row; 4] = [
            ("temperature", |o, v| o.temperature = v, &[-0.1, NAN, f32::INFINITY]),
            ("top_p", |o, v| o.top_p = v, &[0.0, 1.1, -1.0, NAN]),
            ("min_p", |o, v| o.min_p = v, &[-0.1, 1.1, NAN]),
            ("repetition_penalty", |o, v| o.repetition_penalty = v, &[0.0, -1.0, NAN]),
        ];
        for (name, set, values) in table {
            for &value in values {
                let mut options = SamplerOptions::default();
                set(&mut options, value);
                let error = Sampler::new(options).unwrap_err();
                assert_eq!(error.kind(), ErrorKind::Input);
                assert!(error.to_string().starts_with(name), "{error}");
            }
        }
    }

    proptest! {
        /// Against the plain definition: sort everything, then cut.
        #[test]
        fn filters_equal_their_definition(
            logits in prop::collection::vec(-8i8..8, 1..400),
            top_k in 0usize..50,
            top_p in 0.01f32..1.0,
            min_p in 0.0f32..0.5,
        ) {
            let logits: Vec<f32> = logits.iter().map(|&l| f32::from(l) * 0.37).collect();
            let mut all: Vec<u32> = (0..logits.len() as u32).collect();
            let logit = |id: u32| f64::from(logits[id as usize]);
            all.sort_by(|&a, &b| logit(b).total_cmp(&logit(a)));
            if top_k > 0 {
                all.truncate(top_k);
            }
            let total: f64 = all.iter().map(|&id| logit(id).exp()).sum();
            let mut sum = 0.0;
            let reached = all.iter().position(|&id| {
                sum += logit(id).exp() / total;
                // A cut within rounding of a token's edge may fall either way.
                sum >= f64::from(top_p)
            });
            prop_assume!((sum - f64::from(top_p)).abs() > 1e-9);
            all.truncate(reached.map_or(all.len(), |i| i + 1));
            let best = logit(all[0]);
            all.retain(|&id| (logit(id) - best).exp() >= f64::from(min_p));
            all.sort_unstable();

            let mut s = sampler(|o| (o.top_k, o.top_p, o.min_p) = (top_k, top_p, min_p));
            prop_assert_eq!(kept(&mut s, &logits, &[]), all);
        }
    }
}

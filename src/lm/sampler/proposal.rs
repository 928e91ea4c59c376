//! The choice between a token that a draft proposes and the model's own
//! (speculative sampling: Leviathan et al., arXiv 2211.17192).

use super::{Candidate, Sampler, check_logits, draw_from, highest};
use crate::error::Result;

/// A token that a draft proposes, and how likely it was to propose each.
#[derive(Debug, Clone, PartialEq)]
pub(in crate::lm) struct Proposal {
    /// The token.
    pub(in crate::lm) token: u32,
    /// Tokens and their probabilities, by token; others had none.
    chances: Vec<(u32, f64)>,
}

impl Sampler {
    /// Chooses a token as [`Sampler::sample`] does, and keeps how likely each was.
    ///
    /// # Errors
    /// As [`Sampler::sample`].
    pub(in crate::lm) fn propose(&mut self, logits: &[f32], history: &[u32]) -> Result<Proposal> {
        let token = self.sample(logits, history)?;
        let chances = match self.options.temperature == 0.0 {
            true => vec![(token, 1.0)],
            // What it was drawn from is still there.
            false => self.chances(),
        };
        Ok(Proposal { token, chances })
    }

    /// Chooses a token: the proposed one with the probability `min(1, p / q)`, where p
    /// is how likely it is here and q how likely it was to be proposed, else one drawn
    /// from what other tokens have more here than there. So whatever proposes, each
    /// token is as likely as by [`Sampler::sample`]; at temperature 0 it is the same.
    ///
    /// # Errors
    /// As [`Sampler::sample`].
    pub(in crate::lm) fn judge(
        &mut self,
        logits: &[f32],
        history: &[u32],
        proposal: &Proposal,
    ) -> Result<u32> {
        if self.options.temperature == 0.0 {
            return self.sample(logits, history);
        }
        check_logits(logits)?;
        self.start(logits, history)?;
        self.filter();
        let own = self.chances();
        let (here, there) =
            (chance(&own, proposal.token), chance(&proposal.chances, proposal.token));
        if self.uniform() * there < here {
            return Ok(proposal.token);
        }
        let more = |&(token, p): &(u32, f64)| (token, p - chance(&proposal.chances, token));
        let rest: Vec<(u32, f64)> = own.iter().map(more).filter(|(_, p)| *p > 0.0).collect();
        // Rounding alone can leave nothing: then both are the same.
        let uniform = self.uniform();
        draw_from(if rest.is_empty() { &own } else { &rest }, uniform)
    }

    /// How likely each of the kept tokens is at the temperature, by token.
    fn chances(&self) -> Vec<(u32, f64)> {
        let max = f64::from(highest(&self.kept));
        let temperature = f64::from(self.options.temperature);
        let weight = |c: &Candidate| ((f64::from(c.logit) - max) / temperature).exp();
        let total: f64 = self.kept.iter().map(weight).sum();
        let mut chances: Vec<(u32, f64)> =
            self.kept.iter().map(|c| (c.id, weight(c) / total)).collect();
        chances.sort_unstable_by_key(|(id, _)| *id);
        chances
    }
}

fn chance(chances: &[(u32, f64)], token: u32) -> f64 {
    chances.binary_search_by_key(&token, |(id, _)| *id).map_or(0.0, |at| chances[at].1)
}

#[cfg(test)]
mod tests {
    use super::super::SamplerOptions;
    use super::*;

    const MODEL: [f32; 6] = [1.5, 0.3, -0.7, 0.9, f32::NEG_INFINITY, 0.1];

    fn sampler(seed: u64, temperature: f32, top_k: usize) -> Sampler {
        let options = SamplerOptions { seed, temperature, top_k, ..Default::default() };
        Sampler::new(options).unwrap()
    }

    /// How often each token comes out of so many draws, and how many were proposed.
    fn drawn(draft: &[f32], count: u64, top_k: usize) -> ([f64; 6], f64) {
        let (mut seen, mut accepted) = ([0.0; 6], 0.0);
        let (mut model, mut ahead) = (sampler(1, 0.8, top_k), sampler(2, 0.8, top_k));
        for _ in 0..count {
            let proposal = ahead.propose(draft, &[]).unwrap();
            let token = model.judge(&MODEL, &[], &proposal).unwrap();
            seen[token as usize] += 1.0 / count as f64;
            accepted += f64::from(u8::from(token == proposal.token)) / count as f64;
        }
        (seen, accepted)
    }

    #[test]
    fn tokens_are_as_likely_as_without_a_draft() {
        const COUNT: u64 = 200_000;
        for top_k in [0, 3] {
            let mut alone = sampler(3, 0.8, top_k);
            alone.sample(&MODEL, &[]).unwrap();
            let own = alone.chances();
            let drafts: [[f32; 6]; 4] = [
                MODEL,
                [0.0; 6],
                // Proposes what is barred, and what hardly ever comes.
                [-2.0, 0.0, 3.0, 0.0, 3.0, 0.0],
                [9.0, f32::NEG_INFINITY, 0.0, 0.0, 0.0, 8.0],
            ];
            for draft in drafts {
                let (seen, accepted) = drawn(&draft, COUNT, top_k);
                for (token, seen) in (0..).zip(seen) {
                    let wanted = chance(&own, token);
                    let spread = (wanted * (1.0 - wanted) / COUNT as f64).sqrt();
                    assert!((seen - wanted).abs() <= 5.0 * spread, "{token}: {seen} {wanted}");
                }
                let mut ahead = sampler(4, 0.8, top_k);
                ahead.sample(&draft, &[]).unwrap();
                let there = ahead.chances();
                let both = |&(token, p): &(u32, f64)| p.min(chance(&there, token));
                let wanted: f64 = own.iter().map(both).sum();
                assert!((accepted - wanted).abs() < 0.006, "{accepted} {wanted}");
            }
        }
    }

    #[test]
    fn a_greedy_choice_is_the_model_s() {
        let mut ahead = sampler(2, 0.0, 0);
        let proposal = ahead.propose(&[0.0, 5.0, 0.0, 0.0, 0.0, 0.0], &[]).unwrap();
        assert_eq!((proposal.token, proposal.chances.len()), (1, 1));
        assert_eq!(sampler(1, 0.0, 0).judge(&MODEL, &[], &proposal).unwrap(), 0);
        // A certain proposal is taken as often as the model would choose it.
        let mut model = sampler(1, 0.8, 0);
        let taken = (0..50_000).filter(|_| model.judge(&MODEL, &[], &proposal).unwrap() == 1);
        let share = taken.count() as f64 / 50_000.0;
        let wanted = chance(&model.chances(), 1);
        assert!((share - wanted).abs() < 0.01, "{share} {wanted}");
    }
}

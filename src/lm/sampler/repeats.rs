//! Tokens that would go on with something said before (DRY): the longer it is, the less
//! likely they become. As llama.cpp's `dry` sampler has it.

use super::{Candidate, SamplerOptions};
use std::collections::BTreeMap;

/// Texts over which nothing counts as said before.
pub(in crate::lm) const BREAKERS: [&str; 4] = ["\n", ":", "\"", "*"];

/// The largest factor: what is taken off stays a number.
const MOST: f64 = 1e30;

/// Takes something off the logits of tokens that would repeat more than is allowed.
/// `kept` has every token; tokens of `breakers`, sorted, end what is repeated.
pub(super) fn penalise(
    kept: &mut [Candidate],
    options: &SamplerOptions,
    history: &[u32],
    breakers: &[u32],
) {
    let least = options.dry_allowed_length;
    for (token, length) in repeats(history, breakers) {
        let Some(candidate) = kept.get_mut(token as usize) else { continue };
        if length < least || !candidate.logit.is_finite() {
            continue;
        }
        let factor = f64::from(options.dry_base).powi((length - least) as i32).min(MOST);
        let less = f64::from(candidate.logit) - f64::from(options.dry_multiplier) * factor;
        candidate.logit = (less as f32).clamp(f32::MIN, f32::MAX);
    }
}

/// The tokens that have followed what the history ends with, and the length of the
/// longest such end for each.
fn repeats(history: &[u32], breakers: &[u32]) -> BTreeMap<u32, usize> {
    let backwards: Vec<u32> = history.iter().rev().copied().collect();
    let is_breaker = |token: &u32| breakers.binary_search(token).is_ok();
    let reach = backwards.iter().position(is_breaker).unwrap_or(backwards.len());
    let mut longest = BTreeMap::new();
    for (at, &length) in common_beginnings(&backwards).iter().enumerate().skip(1) {
        let (length, next) = (length.min(reach), backwards[at - 1]);
        if length > 0 && !is_breaker(&next) {
            let known = longest.entry(next).or_insert(0);
            *known = length.max(*known);
        }
    }
    longest
}

/// How many elements each end of a list has in common with the list (Gusfield's Z), in
/// time that grows with the list alone.
fn common_beginnings(list: &[u32]) -> Vec<usize> {
    let mut common = vec![0; list.len()];
    let (mut left, mut right) = (0, 0);
    for at in 1..list.len() {
        let mut length = if at < right { common[at - left].min(right - at) } else { 0 };
        while at + length < list.len() && list[length] == list[at + length] {
            length += 1;
        }
        common[at] = length;
        if at + length > right {
            (left, right) = (at, at + length);
        }
    }
    common
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ends_that_were_there_before_are_found() {
        for seed in 0..200u32 {
            let mut state = seed;
            let mut letter = || {
                state = state.wrapping_mul(1_664_525).wrapping_add(1_013_904_223);
                (state >> 24) % 3
            };
            let history: Vec<u32> = (0..24).map(|_| letter()).collect();
            let breakers = if seed % 2 == 0 { vec![] } else { vec![2] };
            let mut wanted = BTreeMap::new();
            for end in 1..history.len() {
                let same = history[..end].iter().rev().zip(history.iter().rev());
                let same = same.take_while(|(a, b)| a == b && !breakers.contains(a)).count();
                let next = history[end];
                if same > 0 && !breakers.contains(&next) {
                    let known: &mut usize = wanted.entry(next).or_insert(0);
                    *known = same.max(*known);
                }
            }
            assert_eq!(repeats(&history, &breakers), wanted, "{history:?}");
        }
    }

    #[test]
    fn longer_repeats_cost_more() {
        let options = SamplerOptions {
            dry_multiplier: 0.5,
            dry_base: 2.0,
            dry_allowed_length: 2,
            ..SamplerOptions::default()
        };
        let logits = |history: &[u32]| {
            let mut kept: Vec<Candidate> = (0..6).map(|id| Candidate { logit: 1.0, id }).collect();
            penalise(&mut kept, &options, history, &[]);
            kept.iter().map(|c| c.logit).collect::<Vec<f32>>()
        };
        // "1 2" came before and 3 followed; "0 1 2" came before, too, and 4 followed.
        assert_eq!(logits(&[1, 2, 3, 0, 1, 2, 4, 0, 1, 2]), [1.0, 1.0, 1.0, 0.5, 0.0, 1.0]);
        assert_eq!(logits(&[2, 3, 5, 2]), [1.0; 6]);
        let long = [7u32; 4000];
        assert!(logits(&long).iter().all(|logit| logit.is_finite()));
    }
}

//! Filters and penalties by hand, and against their definition.

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
fn typical_by_hand() {
    // The expected surprise of 0.5, 0.25, 0.15, 0.1 is 1.21 nats. Theirs are 0.69,
    // 1.39, 1.90 and 2.30: the second is closest, then the first, then the third.
    let logits = logs(&[0.5, 0.25, 0.15, 0.1]);
    let keep = |p: f32| kept(&mut sampler(|o| o.typical_p = p), &logits, &[]);
    assert_eq!(keep(0.2), [1]);
    assert_eq!(keep(0.7), [0, 1]);
    assert_eq!(keep(0.8), [0, 1, 2]);
    assert_eq!(keep(1.0), [0, 1, 2, 3]);
}

#[test]
fn penalties_of_frequency_and_presence_by_hand() {
    let mut s = sampler(|o| (o.temperature, o.frequency_penalty) = (0.0, 0.5));
    assert_eq!(s.sample(&[2.0, 1.2], &[0]).unwrap(), 0);
    assert_eq!(s.sample(&[2.0, 1.2], &[0, 0]).unwrap(), 1);
    let mut s = sampler(|o| (o.temperature, o.presence_penalty) = (0.0, 0.5));
    assert_eq!(s.sample(&[2.0, 1.2], &[0, 0, 0]).unwrap(), 0);
    assert_eq!(s.sample(&[2.0, 1.6], &[0]).unwrap(), 1);
    // Below 0 they encourage.
    let mut s = sampler(|o| (o.temperature, o.presence_penalty) = (0.0, -1.0));
    assert_eq!(s.sample(&[1.0, 0.5], &[1]).unwrap(), 1);
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

#[test]
fn the_most_likely_are_left_out() {
    let logits = [0.5f32, 0.3, 0.15, 0.05].map(f32::ln);
    let drawn = |xtc_probability, xtc_threshold| {
        let options = SamplerOptions {
            temperature: 1.0,
            xtc_probability,
            xtc_threshold,
            ..SamplerOptions::default()
        };
        let mut sampler = Sampler::new(options).unwrap();
        let mut seen = [0usize; 4];
        (0..4000).for_each(|_| seen[sampler.sample(&logits, &[]).unwrap() as usize] += 1);
        seen
    };
    // Three have at least a tenth: the least likely of them stays, and those below.
    let seen = drawn(1.0, 0.1);
    assert!(seen[..2] == [0, 0] && seen[2] > 2800 && seen[3] > 800, "{seen:?}");
    // One alone stays.
    let seen = drawn(1.0, 0.4);
    assert!(seen.iter().all(|&count| count > 0), "{seen:?}");
    // Half of the steps.
    let seen = drawn(0.5, 0.1);
    assert!((800..1200).contains(&seen[0]), "{seen:?}");
}

//! Cosine and sine tables for [`RotaryEmbedding`](super::RotaryEmbedding),
//! computed on the host in f64 and rounded once.

use crate::error::{Error, Result};
use crate::tensor::{DType, Tensor};
use std::f64::consts::TAU;

/// What the angles of a model's rotary embedding are made of.
///
/// Pair `i` of `n = rotary_dim / 2` turns by `position * base^(-i / n)`
/// radians, changed by the scaling.
#[derive(Debug, Clone, PartialEq)]
pub struct RopeSpec {
    /// Features that are turned: even and at least 2.
    pub rotary_dim: usize,
    /// The base of the frequencies: 10000 in the paper.
    pub base: f64,
    /// How the model stretches its context.
    pub scaling: RopeScaling,
}

/// How a model was made to reach beyond the context of its first training.
#[derive(Debug, Clone, PartialEq, Default)]
pub enum RopeScaling {
    /// Not at all.
    #[default]
    None,
    /// Positions divided by a factor (arXiv 2306.15595).
    Linear {
        /// The divisor.
        factor: f64,
    },
    /// Each pair's frequency divided by its own factor: `rope_freqs` of GGUF files.
    Factors {
        /// One divisor for each pair.
        factors: Vec<f64>,
    },
    /// Llama 3.1: low frequencies divided, high ones kept, a ramp between
    /// (`_compute_llama3_parameters` of Hugging Face transformers).
    Llama3 {
        /// The divisor of low frequencies.
        factor: f64,
        /// Wavelengths above `original_context / low_freq` are divided.
        low_freq: f64,
        /// Wavelengths below `original_context / high_freq` are kept.
        high_freq: f64,
        /// Context of the first training, in positions.
        original_context: usize,
    },
    /// YaRN (arXiv 2309.00071): a ramp between divided and kept frequencies,
    /// and values enlarged a little.
    Yarn {
        /// The divisor.
        factor: f64,
        /// Context of the first training, in positions.
        original_context: usize,
        /// Pairs that turn more often than this in that context are kept: 32.
        beta_fast: f64,
        /// Pairs that turn less often than this are divided: 1.
        beta_slow: f64,
        /// What cosines and sines are multiplied with; `None` for the paper's
        /// `0.1 ln(factor) + 1`.
        attention_factor: Option<f64>,
    },
    /// LongRoPE (arXiv 2402.13753): searched divisors, one set for contexts
    /// within the first training's, one for longer ones. The set is chosen by
    /// the number of positions asked for.
    LongRope {
        /// Divisors for short contexts, one for each pair.
        short: Vec<f64>,
        /// Divisors for long contexts, one for each pair.
        long: Vec<f64>,
        /// Context of the first training, in positions.
        original_context: usize,
        /// The longest context the model is made for, in positions.
        max_context: usize,
        /// What cosines and sines are multiplied with; `None` for
        /// `sqrt(1 + ln(max / original) / ln(original))`.
        attention_factor: Option<f64>,
    },
}

impl RopeSpec {
    /// Radians per position of each pair, and the factor of cosines and sines,
    /// for a context of `positions`.
    ///
    /// # Errors
    /// If a number is out of its domain, naming it.
    pub fn frequencies(&self, positions: usize) -> Result<(Vec<f64>, f64)> {
        self.check()?;
        let pairs = self.rotary_dim / 2;
        let plain: Vec<f64> =
            (0..pairs).map(|i| self.base.powf(-(i as f64) / pairs as f64)).collect();
        Ok(match &self.scaling {
            RopeScaling::None => (plain, 1.0),
            RopeScaling::Linear { factor } => (plain.iter().map(|f| f / factor).collect(), 1.0),
            RopeScaling::Factors { factors } => (divided(&plain, factors), 1.0),
            RopeScaling::Llama3 { factor, low_freq, high_freq, original_context } => {
                let context = *original_context as f64;
                let stretch = |f: &f64| llama3(*f, *factor, *low_freq, *high_freq, context);
                (plain.iter().map(stretch).collect(), 1.0)
            }
            RopeScaling::Yarn { factor, attention_factor, .. } => {
                let kept = self.yarn_kept();
                let mix = |(f, keep): (&f64, f64)| f / factor * (1.0 - keep) + f * keep;
                let gain = if *factor <= 1.0 { 1.0 } else { 0.1 * factor.ln() + 1.0 };
                (plain.iter().zip(kept).map(mix).collect(), attention_factor.unwrap_or(gain))
            }
            RopeScaling::LongRope {
                short,
                long,
                original_context,
                max_context,
                attention_factor,
            } => {
                let divisors = if positions > *original_context { long } else { short };
                let gain = long_rope_gain(*original_context as f64, *max_context as f64);
                (divided(&plain, divisors), attention_factor.unwrap_or(gain))
            }
        })
    }

    /// The tables of cosines and sines: F32 `[positions, rotary_dim / 2]`.
    ///
    /// # Errors
    /// As [`RopeSpec::frequencies`], or if the tables do not fit in memory's
    /// address space.
    pub fn tables(&self, positions: usize) -> Result<(Tensor, Tensor)> {
        let (frequencies, gain) = self.frequencies(positions)?;
        let extents = [positions, frequencies.len()];
        let bytes = DType::F32.bytes(&extents)?;
        let (mut cos, mut sin) = (table(bytes)?, table(bytes)?);
        for position in 0..positions {
            for frequency in &frequencies {
                let (s, c) = (position as f64 * frequency).sin_cos();
                cos.extend_from_slice(&((c * gain) as f32).to_ne_bytes());
                sin.extend_from_slice(&((s * gain) as f32).to_ne_bytes());
            }
        }
        // As bytes, so that the tensors take them without another copy of both.
        Ok((Tensor::new(DType::F32, &extents, cos)?, Tensor::new(DType::F32, &extents, sin)?))
    }

    /// For each pair how much of its plain frequency YaRN keeps, 0 to 1.
    /// The ends of the ramp are those of the paper's equations 17 and 18, with
    /// the rounding of its authors' code.
    fn yarn_kept(&self) -> Vec<f64> {
        let RopeScaling::Yarn { original_context, beta_fast, beta_slow, .. } = self.scaling else {
            return Vec::new();
        };
        let width = self.rotary_dim as f64;
        let pair_that_turns = |turns: f64| {
            width * (original_context as f64 / (turns * TAU)).ln() / (2.0 * self.base.ln())
        };
        let low = pair_that_turns(beta_fast).floor().max(0.0);
        let high = pair_that_turns(beta_slow).ceil().min(width - 1.0);
        let length = (high - low).max(0.001);
        (0..self.rotary_dim / 2)
            .map(|i| 1.0 - ((i as f64 - low) / length).clamp(0.0, 1.0))
            .collect()
    }

    fn check(&self) -> Result<()> {
        let pairs = self.rotary_dim / 2;
        if self.rotary_dim < 2 || !self.rotary_dim.is_multiple_of(2) {
            return Err(Error::input("rotary_dim", "an even number above 0", self.rotary_dim));
        }
        if !(self.base.is_finite() && self.base > 1.0) {
            return Err(Error::input("rope base", "a number above 1", self.base));
        }
        let positive = |name: &str, value: f64| {
            let good = value.is_finite() && value > 0.0;
            if good { Ok(()) } else { Err(Error::input(name, "a number above 0", value)) }
        };
        let context = |value: usize| positive("rope original context", value as f64);
        let divisors = |name: &str, values: &[f64]| {
            if values.len() != pairs {
                return Err(Error::input(name, format!("{pairs} numbers"), values.len()));
            }
            values.iter().try_for_each(|&v| positive(name, v))
        };
        match &self.scaling {
            RopeScaling::None => Ok(()),
            RopeScaling::Linear { factor } => positive("rope factor", *factor),
            RopeScaling::Factors { factors } => divisors("rope factors", factors),
            RopeScaling::Llama3 { factor, low_freq, high_freq, original_context } => {
                positive("rope factor", *factor)?;
                positive("rope low_freq", *low_freq)?;
                positive("rope high_freq - low_freq", high_freq - low_freq)?;
                context(*original_context)
            }
            RopeScaling::Yarn { factor, original_context, beta_fast, beta_slow, .. } => {
                positive("rope factor", *factor)?;
                positive("rope beta_fast", *beta_fast)?;
                positive("rope beta_slow", *beta_slow)?;
                context(*original_context)
            }
            RopeScaling::LongRope { short, long, original_context, max_context, .. } => {
                divisors("rope short factors", short)?;
                divisors("rope long factors", long)?;
                // Its logarithm is a divisor.
                positive("rope original context - 1", *original_context as f64 - 1.0)?;
                positive("rope maximal context", *max_context as f64)
            }
        }
    }
}

/// Room for so many bytes of F32.
fn table(bytes: usize) -> Result<Vec<u8>> {
    let mut table = Vec::new();
    table.try_reserve_exact(bytes).map_err(|_| Error::OutOfMemory {
        doing: "making rotary tables".into(),
        bytes: bytes as u64,
    })?;
    Ok(table)
}

fn divided(frequencies: &[f64], divisors: &[f64]) -> Vec<f64> {
    frequencies.iter().zip(divisors).map(|(f, d)| f / d).collect()
}

fn llama3(frequency: f64, factor: f64, low: f64, high: f64, context: f64) -> f64 {
    let turns = context * frequency / TAU;
    if turns > high {
        frequency
    } else if turns < low {
        frequency / factor
    } else {
        let keep = (turns - low) / (high - low);
        frequency / factor * (1.0 - keep) + frequency * keep
    }
}

fn long_rope_gain(original: f64, max: f64) -> f64 {
    let factor = max / original;
    if factor <= 1.0 { 1.0 } else { (1.0 + factor.ln() / original.ln()).sqrt() }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn spec(rotary_dim: usize, base: f64, scaling: RopeScaling) -> RopeSpec {
        RopeSpec { rotary_dim, base, scaling }
    }

    fn near(got: f64, want: f64) {
        assert!((got / want - 1.0).abs() < 1e-12, "{got} is not {want}");
    }

    #[test]
    fn plain_angles_are_those_of_the_paper() {
        let (cos, sin) = spec(4, 10_000.0, RopeScaling::None).tables(3).unwrap();
        assert_eq!(cos.extents(), [3, 2]);
        let (cos, sin) = (cos.to_f32().unwrap(), sin.to_f32().unwrap());
        assert_eq!((cos[0], sin[0]), (1.0, 0.0));
        assert_eq!(cos[4], 2f64.cos() as f32);
        assert_eq!(sin[5], 0.02f64.sin() as f32);
    }

    #[test]
    fn linear_and_factors_divide() {
        let linear = spec(4, 10_000.0, RopeScaling::Linear { factor: 4.0 });
        assert_eq!(linear.frequencies(9).unwrap().0, [0.25, 0.0025]);
        let factors = RopeScaling::Factors { factors: vec![2.0, 5.0] };
        assert_eq!(spec(4, 10_000.0, factors).frequencies(9).unwrap().0, [0.5, 0.002]);
    }

    #[test]
    fn llama3_keeps_high_and_divides_low_frequencies() {
        // The figures of Llama 3.1 8B.
        let scaling = RopeScaling::Llama3 {
            factor: 8.0,
            low_freq: 1.0,
            high_freq: 4.0,
            original_context: 8192,
        };
        let spec = spec(128, 500_000.0, scaling);
        let (got, gain) = spec.frequencies(100).unwrap();
        let plain = |i: f64| 500_000f64.powf(-i / 64.0);
        assert_eq!(gain, 1.0);
        near(got[0], 1.0);
        near(got[63], plain(63.0) / 8.0);
        // Pair 30 turns 8192 * 500000^(-30/64) / 2π = 2.78 times: on the ramp.
        let turns = 8192.0 * plain(30.0) / TAU;
        assert!(turns > 1.0 && turns < 4.0);
        let smooth = (turns - 1.0) / 3.0;
        near(got[30], (1.0 - smooth) * plain(30.0) / 8.0 + smooth * plain(30.0));
    }

    #[test]
    fn yarn_ramps_between_its_corrections() {
        let scaling = RopeScaling::Yarn {
            factor: 4.0,
            original_context: 32768,
            beta_fast: 32.0,
            beta_slow: 1.0,
            attention_factor: None,
        };
        let spec = spec(128, 1_000_000.0, scaling);
        let (got, gain) = spec.frequencies(100).unwrap();
        let plain = |i: f64| 1_000_000f64.powf(-i / 64.0);
        near(gain, 0.1 * 4f64.ln() + 1.0);
        // Ends of the ramp: 128 ln(32768 / (32 * 2π)) / (2 ln 1e6) = 23.59 and
        // 128 ln(32768 / 2π) / (2 ln 1e6) = 39.65, rounded outwards.
        near(got[23], plain(23.0));
        near(got[40], plain(40.0) / 4.0);
        let keep = 1.0 - 7.0 / 17.0;
        near(got[30], plain(30.0) * (keep + (1.0 - keep) / 4.0));
    }

    #[test]
    fn long_rope_chooses_by_context() {
        let scaling = |attention_factor| RopeScaling::LongRope {
            short: vec![1.0, 2.0],
            long: vec![4.0, 8.0],
            original_context: 4096,
            max_context: 131_072,
            attention_factor,
        };
        let derived = spec(4, 10_000.0, scaling(None));
        assert_eq!(derived.frequencies(4096).unwrap().0, [1.0, 0.005]);
        let (long, gain) = derived.frequencies(4097).unwrap();
        assert_eq!(long, [0.25, 0.00125]);
        near(gain, (1.0 + 32f64.ln() / 4096f64.ln()).sqrt());
        assert_eq!(spec(4, 10_000.0, scaling(Some(1.5))).frequencies(1).unwrap().1, 1.5);
    }

    #[test]
    fn nonsense_is_an_error() {
        assert!(spec(3, 10_000.0, RopeScaling::None).tables(1).is_err());
        assert!(spec(0, 10_000.0, RopeScaling::None).tables(1).is_err());
        assert!(spec(4, f64::NAN, RopeScaling::None).tables(1).is_err());
        assert!(spec(4, 1e4, RopeScaling::Linear { factor: 0.0 }).tables(1).is_err());
        let short = RopeScaling::Factors { factors: vec![1.0] };
        assert!(spec(4, 1e4, short).tables(1).is_err());
        assert!(spec(4, 1e4, RopeScaling::None).tables(usize::MAX / 8).is_err());
    }
}

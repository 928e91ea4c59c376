//! Random values. The host draws them anew whenever the stage they belong to
//! runs, and the graph takes them as inputs: so no folding can freeze them, each
//! iteration of a loop has its own, and all backends get the same.

use crate::error::{Error, Result};
use crate::tensor::{DType, Tensor};
use half::{bf16, f16};
use rand_core::{RngCore, SeedableRng};
use rand_distr::{Distribution, StandardNormal};
use rand_pcg::Pcg64Mcg;
use std::collections::HashMap;
use std::hash::{BuildHasher, RandomState};

/// What random numbers are like.
#[derive(Debug, Clone, Copy, PartialEq)]
pub enum Spread {
    /// A normal distribution.
    Normal {
        /// Its mean.
        mean: f32,
        /// Its standard deviation.
        scale: f32,
    },
    /// Equally likely from `low` to `high`, which is left out as far as the
    /// element type can tell.
    Uniform {
        /// The least.
        low: f32,
        /// The end.
        high: f32,
    },
}

/// A tensor of random values.
#[derive(Debug, Clone, PartialEq)]
pub(super) struct Draw {
    pub(super) spread: Spread,
    pub(super) dtype: DType,
    pub(super) extents: Vec<usize>,
    /// The node that wants it, so that nodes draw independently of each other.
    pub(super) node: String,
    /// The bits of the node's own seed.
    pub(super) seed: Option<u64>,
}

/// Where a session's random numbers come from.
#[derive(Debug)]
pub(super) struct Generator {
    /// The seed of the next run.
    next: u64,
    /// Whether all runs are alike.
    fixed: bool,
    /// The seed of this run.
    run: u64,
    /// How often each node has drawn in this run.
    drawn: HashMap<String, u64>,
}

impl Generator {
    /// Without a seed every session and every run draws other numbers.
    pub(super) fn new(seed: Option<u64>) -> Self {
        let next = seed.unwrap_or_else(|| RandomState::new().hash_one(0));
        Generator { next, fixed: seed.is_some(), run: next, drawn: HashMap::new() }
    }

    /// A run begins.
    pub(super) fn begin(&mut self) {
        self.run = self.next;
        if !self.fixed {
            self.next = self.next.wrapping_add(1);
        }
        self.drawn.clear();
    }

    /// Draws a tensor. A node with a seed of its own draws the same in all runs,
    /// yet not in all iterations of a loop.
    ///
    /// # Errors
    /// [`Error::Unsupported`] for a type that is not one of real numbers, and if
    /// the extents are too large.
    pub(super) fn draw(&mut self, draw: &Draw) -> Result<Tensor> {
        let times = match self.drawn.get_mut(&draw.node) {
            Some(times) => times,
            None => self.drawn.entry(draw.node.clone()).or_default(),
        };
        let (kind, seed) = match draw.seed {
            Some(seed) => (1u64, seed),
            None => (0, self.run),
        };
        let numbers = [kind, seed, *times].into_iter().flat_map(u64::to_le_bytes);
        *times += 1;
        let mut random = Pcg64Mcg::seed_from_u64(digest(numbers.chain(draw.node.bytes())));
        let size = draw.dtype.bytes(&draw.extents)?;
        let count = size / draw.dtype.block_bytes().max(1);
        let mut bytes: Vec<u8> = Vec::new();
        bytes.try_reserve_exact(size).map_err(|_| Error::Limit {
            what: format!("random values of node '{}'", draw.node),
            limit_name: "memory of the host".into(),
            needed: size as u64,
            limit: isize::MAX as u64,
        })?;
        for _ in 0..count {
            let value = draw.spread.sample(&mut random);
            match draw.dtype {
                DType::F32 => bytes.extend_from_slice(&below(value as f32, draw).to_le_bytes()),
                DType::F64 => bytes.extend_from_slice(&value.to_le_bytes()),
                DType::F16 => bytes.extend_from_slice(&f16::from_f64(value).to_le_bytes()),
                DType::BF16 => bytes.extend_from_slice(&bf16::from_f64(value).to_le_bytes()),
                other => {
                    return Err(Error::unsupported(
                        format_args!("node '{}'", draw.node),
                        format_args!("random values of type {other}"),
                    ));
                }
            }
        }
        Tensor::new(draw.dtype, &draw.extents, bytes)
    }
}

/// An F32 that rounding must not take to the end of its range: comparisons with a
/// probability of 1 rely on it.
fn below(value: f32, draw: &Draw) -> f32 {
    match draw.spread {
        Spread::Uniform { low, high } if value >= high && low < high => high.next_down(),
        _ => value,
    }
}

impl Spread {
    fn sample(self, random: &mut Pcg64Mcg) -> f64 {
        match self {
            Spread::Normal { mean, scale } => {
                let one: f64 = StandardNormal.sample(random);
                f64::from(mean) + f64::from(scale) * one
            }
            Spread::Uniform { low, high } => {
                // As many bits as an F64 has.
                let one = (random.next_u64() >> 11) as f64 / (1u64 << 53) as f64;
                f64::from(low) + (f64::from(high) - f64::from(low)) * one
            }
        }
    }
}

/// FNV-1a.
fn digest(bytes: impl Iterator<Item = u8>) -> u64 {
    bytes.fold(0xcbf2_9ce4_8422_2325, |h, b| (h ^ u64::from(b)).wrapping_mul(0x100_0000_01b3))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::ops::elementwise::math::erf64;

    const COUNT: usize = 100_000;

    fn drawn(generator: &mut Generator, spread: Spread, dtype: DType) -> Vec<f64> {
        let node = "n".to_string();
        let draw = Draw { spread, dtype, extents: vec![COUNT], node, seed: None };
        let tensor = generator.draw(&draw).unwrap();
        assert_eq!((tensor.dtype(), tensor.extents()), (dtype, &[COUNT][..]));
        let values = crate::ops::RefTensor::from_tensor(&tensor).unwrap();
        values.reals().unwrap().to_vec()
    }

    /// The statistic of Kolmogorov and Smirnov, times the square root of the
    /// count: above 1.95 once in a thousand times.
    fn kolmogorov(mut values: Vec<f64>, expected: impl Fn(f64) -> f64) -> f64 {
        values.sort_by(f64::total_cmp);
        let n = values.len() as f64;
        let off = values.iter().enumerate().map(|(i, &value)| {
            let (p, i) = (expected(value), i as f64);
            (p - i / n).abs().max((p - (i + 1.0) / n).abs())
        });
        off.fold(0.0, f64::max) * n.sqrt()
    }

    fn moments(values: &[f64]) -> (f64, f64) {
        let n = values.len() as f64;
        let mean = values.iter().sum::<f64>() / n;
        (mean, values.iter().map(|v| (v - mean).powi(2)).sum::<f64>() / n)
    }

    #[test]
    fn numbers_are_distributed_as_asked() {
        for seed in 0..4 {
            let mut generator = Generator::new(Some(seed));
            for dtype in [DType::F32, DType::F64] {
                let spread = Spread::Normal { mean: 2.0, scale: 3.0 };
                let values = drawn(&mut generator, spread, dtype);
                let (mean, variance) = moments(&values);
                // Five standard deviations of either estimate.
                assert!((mean - 2.0).abs() < 5.0 * 3.0 / (COUNT as f64).sqrt(), "{mean}");
                assert!((variance / 9.0 - 1.0).abs() < 5.0 * (2.0 / COUNT as f64).sqrt());
                let normal = |x: f64| 0.5 * (1.0 + erf64((x - 2.0) / (3.0 * 2f64.sqrt())));
                assert!(kolmogorov(values, normal) < 1.95);
                let values = drawn(&mut generator, Spread::Uniform { low: -1.0, high: 3.0 }, dtype);
                let (mean, variance) = moments(&values);
                let sigma = (16.0f64 / 12.0).sqrt();
                assert!((mean - 1.0).abs() < 5.0 * sigma / (COUNT as f64).sqrt());
                assert!((variance / (16.0 / 12.0) - 1.0).abs() < 0.02);
                assert!(values.iter().all(|v| (-1.0..3.0).contains(v)));
                assert!(kolmogorov(values, |x| (x + 1.0) / 4.0) < 1.95);
            }
        }
    }

    #[test]
    fn draws_do_not_depend_on_each_other() {
        let mut generator = Generator::new(Some(1));
        let uniform = Spread::Uniform { low: 0.0, high: 1.0 };
        let first = drawn(&mut generator, uniform, DType::F64);
        let second = drawn(&mut generator, uniform, DType::F64);
        let together: Vec<f64> = first.iter().zip(&second).map(|(a, b)| (a + b) % 1.0).collect();
        assert!(kolmogorov(together, |x| x) < 1.95);
        let products = first.iter().zip(&second).map(|(a, b)| (a - 0.5) * (b - 0.5));
        let covariance = products.sum::<f64>() / COUNT as f64;
        assert!(covariance.abs() < 5.0 / 12.0 / (COUNT as f64).sqrt(), "{covariance}");
    }

    #[test]
    fn half_precision_is_rounded_from_the_same_numbers() {
        let spread = Spread::Normal { mean: 0.0, scale: 1.0 };
        let full = drawn(&mut Generator::new(Some(7)), spread, DType::F64);
        for (dtype, unit) in [(DType::F16, f64::powi(2.0, -11)), (DType::BF16, f64::powi(2.0, -8))]
        {
            let half = drawn(&mut Generator::new(Some(7)), spread, dtype);
            let near = |(h, f): (&f64, &f64)| (h - f).abs() <= unit * f.abs() + 1e-7;
            assert!(half.iter().zip(&full).all(near), "{dtype}");
        }
    }

    #[test]
    fn only_a_seed_makes_runs_alike() {
        let spread = Spread::Uniform { low: 0.0, high: 1.0 };
        let two = |generator: &mut Generator| {
            let mut run = || {
                generator.begin();
                drawn(generator, spread, DType::F32)
            };
            (run(), run())
        };
        let (a, b) = two(&mut Generator::new(Some(3)));
        let (c, _) = two(&mut Generator::new(Some(3)));
        let (other, _) = two(&mut Generator::new(Some(4)));
        assert!(a == b && a == c && a != other);
        let (a, b) = two(&mut Generator::new(None));
        let (c, _) = two(&mut Generator::new(None));
        assert!(a != b && a != c);
        let node = |seed| {
            let node = "n".to_string();
            let draw = Draw { spread, dtype: DType::F32, extents: vec![8], node, seed };
            Generator::new(None).draw(&draw).unwrap().to_f32().unwrap()
        };
        assert_eq!(node(Some(5)), node(Some(5)));
        assert_ne!(node(Some(5)), node(Some(6)));
    }

    #[test]
    fn whole_numbers_are_not_drawn() {
        let spread = Spread::Uniform { low: 0.0, high: 1.0 };
        let draw =
            Draw { spread, dtype: DType::I32, extents: vec![2], node: "odd".into(), seed: None };
        let error = Generator::new(None).draw(&draw).unwrap_err();
        assert!(error.to_string().contains("odd"), "{error}");
    }
}

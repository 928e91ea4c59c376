//! From the vectors of a text's tokens to the text's own.

use super::dense::Dense;
use crate::error::{Error, Result};
use std::fmt;
use std::str::FromStr;

/// How the vectors of a text's tokens become one. Padding has no part in it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Pooling {
    /// The first token's vector.
    Cls,
    /// The largest value of each element.
    Max,
    /// The mean.
    Mean,
    /// The sum, divided by the square root of the number of tokens.
    MeanSqrtLen,
    /// The mean, where token i (from 0) counts i + 1 times.
    WeightedMean,
    /// The last token's vector.
    LastToken,
}

impl Pooling {
    /// Every kind, in the order in which the vectors of several kinds stand one
    /// after another, as the library Sentence Transformers has them.
    pub const ALL: [Pooling; 6] = [
        Pooling::Cls,
        Pooling::Max,
        Pooling::Mean,
        Pooling::MeanSqrtLen,
        Pooling::WeightedMean,
        Pooling::LastToken,
    ];

    /// The name in options and messages.
    pub fn name(self) -> &'static str {
        match self {
            Pooling::Cls => "cls",
            Pooling::Max => "max",
            Pooling::Mean => "mean",
            Pooling::MeanSqrtLen => "mean_sqrt_len_tokens",
            Pooling::WeightedMean => "weightedmean",
            Pooling::LastToken => "lasttoken",
        }
    }

    /// The pooled vector of `tokens`, which are rows of `width` elements, one
    /// or more. Sums are taken in f64.
    fn of(self, tokens: &[f32], width: usize) -> Vec<f64> {
        let count = tokens.len() / width;
        let row = |i: usize| tokens[i * width..][..width].iter().map(|&v| f64::from(v)).collect();
        let sum = |weight: &dyn Fn(usize) -> f64| {
            let mut sum = vec![0.0; width];
            for (i, row) in tokens.chunks_exact(width).enumerate() {
                let weight = weight(i);
                sum.iter_mut().zip(row).for_each(|(sum, &v)| *sum += weight * f64::from(v));
            }
            sum
        };
        let n = count as f64;
        match self {
            Pooling::Cls => row(0),
            Pooling::LastToken => row(count - 1),
            Pooling::Mean => sum(&|_| 1.0 / n),
            Pooling::MeanSqrtLen => sum(&|_| 1.0 / n.sqrt()),
            Pooling::WeightedMean => sum(&|i| (i + 1) as f64 / (n * (n + 1.0) / 2.0)),
            Pooling::Max => {
                let mut most = vec![f64::NEG_INFINITY; width];
                for row in tokens.chunks_exact(width) {
                    most.iter_mut().zip(row).for_each(|(most, &v)| *most = most.max(v.into()));
                }
                most
            }
        }
    }
}

impl fmt::Display for Pooling {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())
    }
}

impl FromStr for Pooling {
    type Err = Error;

    fn from_str(text: &str) -> Result<Self> {
        let found = Pooling::ALL.into_iter().find(|pooling| pooling.name() == text);
        found.ok_or_else(|| {
            let names: Vec<_> = Pooling::ALL.iter().map(|pooling| pooling.name()).collect();
            Error::input("pooling", format!("one of {}", names.join(", ")), text)
        })
    }
}

/// What stands behind an encoder: one kind of pooling or several, whose vectors
/// stand one after another, and whether the result is scaled to length 1.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Head {
    /// The kinds, at least one.
    pub pooling: Vec<Pooling>,
    /// Whether vectors are scaled to length 1.
    pub normalise: bool,
}

impl Head {
    /// The text's vector, from those of its tokens: rows of `width` elements.
    ///
    /// # Errors
    /// If there is no token.
    pub fn apply(&self, tokens: &[f32], width: usize) -> Result<Vec<f32>> {
        self.through(tokens, width, &[])
    }

    /// The same through matrices behind pooling, of which the first fits one kind.
    pub(crate) fn through(
        &self,
        tokens: &[f32],
        width: usize,
        dense: &[Dense],
    ) -> Result<Vec<f32>> {
        if tokens.is_empty() || width == 0 {
            return Err(Error::input("tokens to pool", "at least one", "none"));
        }
        let mut vector: Vec<f64> =
            self.pooling.iter().flat_map(|pooling| pooling.of(tokens, width)).collect();
        for dense in dense {
            vector = dense.apply(&vector);
        }
        if self.normalise {
            // A vector of zeros stays what it is.
            let norm = vector.iter().map(|v| v * v).sum::<f64>().sqrt().max(1e-12);
            vector.iter_mut().for_each(|v| *v /= norm);
        }
        Ok(vector.into_iter().map(|v| v as f32).collect())
    }
}

/// The cosine of the angle between two vectors: 1 for the same direction, 0
/// where one of them is all zeros.
///
/// # Errors
/// If they have different lengths.
pub fn cosine(a: &[f32], b: &[f32]) -> Result<f32> {
    if a.len() != b.len() {
        return Err(Error::input("vector", format!("{} elements", a.len()), b.len()));
    }
    let dot = |a: &[f32], b: &[f32]| -> f64 {
        a.iter().zip(b).map(|(&a, &b)| f64::from(a) * f64::from(b)).sum()
    };
    let norms = (dot(a, a) * dot(b, b)).sqrt();
    Ok(if norms > 0.0 { (dot(a, b) / norms) as f32 } else { 0.0 })
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Two tokens of three elements.
    const TOKENS: [f32; 6] = [1.0, -2.0, 3.0, 5.0, 0.0, -1.0];

    fn pooled(pooling: &[Pooling], normalise: bool) -> Vec<f32> {
        Head { pooling: pooling.to_vec(), normalise }.apply(&TOKENS, 3).unwrap()
    }

    #[test]
    fn each_kind_is_what_it_says() {
        assert_eq!(pooled(&[Pooling::Cls], false), [1.0, -2.0, 3.0]);
        assert_eq!(pooled(&[Pooling::LastToken], false), [5.0, 0.0, -1.0]);
        assert_eq!(pooled(&[Pooling::Max], false), [5.0, 0.0, 3.0]);
        assert_eq!(pooled(&[Pooling::Mean], false), [3.0, -1.0, 1.0]);
        let root = [6.0, -2.0, 2.0].map(|v: f64| (v / 2f64.sqrt()) as f32);
        assert_eq!(pooled(&[Pooling::MeanSqrtLen], false), root);
        let third = [11.0 / 3.0, -2.0 / 3.0, 1.0 / 3.0].map(|v: f64| v as f32);
        assert_eq!(pooled(&[Pooling::WeightedMean], false), third);
        let both = pooled(&[Pooling::Cls, Pooling::Mean], false);
        assert_eq!(both, [1.0, -2.0, 3.0, 3.0, -1.0, 1.0]);
    }

    #[test]
    fn normalised_vectors_have_length_1() {
        let length: f32 = pooled(&[Pooling::Mean], true).iter().map(|v| v * v).sum();
        assert!((length - 1.0).abs() < 1e-6);
        let head = Head { pooling: vec![Pooling::Mean], normalise: true };
        assert_eq!(head.apply(&[0.0, 0.0], 2).unwrap(), [0.0, 0.0]);
        assert!(head.apply(&[], 2).is_err());
    }

    #[test]
    fn names_are_read_again() {
        for pooling in Pooling::ALL {
            assert_eq!(pooling.name().parse::<Pooling>().unwrap(), pooling);
        }
        assert!("average".parse::<Pooling>().unwrap_err().to_string().contains("weightedmean"));
    }

    #[test]
    fn cosines() {
        assert_eq!(cosine(&[1.0, 2.0], &[2.0, 4.0]).unwrap(), 1.0);
        assert_eq!(cosine(&[1.0, 0.0], &[0.0, 3.0]).unwrap(), 0.0);
        assert_eq!(cosine(&[0.0, 0.0], &[0.0, 3.0]).unwrap(), 0.0);
        assert!(cosine(&[1.0], &[1.0, 2.0]).is_err());
    }
}

//! How likely tokens are.

use crate::error::{Error, Result};

/// How likely a token was, and which were the most likely ones.
///
/// Natural logarithms of the model's own probabilities: of the logits as they
/// come, before penalties, biases, filters and temperature.
#[derive(Debug, Clone, PartialEq)]
pub struct LogProbabilities {
    /// Of the token that was chosen.
    pub chosen: f32,
    /// The most likely tokens, most likely first (the lowest id among equals).
    pub top: Vec<(u32, f32)>,
}

impl LogProbabilities {
    /// Of a token, and of the `count` most likely ones.
    ///
    /// # Errors
    /// [`Error::Input`] for a token without a logit, or logits that are not
    /// numbers.
    pub fn of(logits: &[f32], chosen: u32, count: usize) -> Result<Self> {
        let Some(&logit) = logits.get(chosen as usize) else {
            return Err(Error::input("token", format!("an id below {}", logits.len()), chosen));
        };
        let highest = f64::from(logits.iter().copied().fold(f32::NEG_INFINITY, f32::max));
        let sum: f64 = logits.iter().map(|&logit| (f64::from(logit) - highest).exp()).sum();
        if !sum.is_finite() {
            return Err(Error::input("logits", "finite numbers", highest));
        }
        // In this order: large logits would swallow the logarithm of the sum.
        let value = |logit: f32| (f64::from(logit) - highest - sum.ln()) as f32;
        let top = most_likely(logits, count).into_iter();
        Ok(LogProbabilities {
            chosen: value(logit),
            top: top.map(|id| (id, value(logits[id as usize]))).collect(),
        })
    }
}

/// The ids of the `count` highest logits, in order.
fn most_likely(logits: &[f32], count: usize) -> Vec<u32> {
    let count = count.min(logits.len());
    if count == 0 {
        return Vec::new();
    }
    let order = |a: &u32, b: &u32| {
        // Zero has no sign here.
        let logit = |id: &u32| logits[*id as usize] + 0.0;
        logit(b).total_cmp(&logit(a)).then(a.cmp(b))
    };
    let mut ids: Vec<u32> = (0..logits.len() as u32).collect();
    ids.select_nth_unstable_by(count - 1, order);
    ids.truncate(count);
    ids.sort_unstable_by(order);
    ids
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn probabilities_by_hand() {
        let logits = [0.25f32, 0.5, 0.125, 0.125].map(f32::ln);
        let p = LogProbabilities::of(&logits, 2, 3).unwrap();
        assert!((p.chosen - 0.125f32.ln()).abs() < 1e-6, "{p:?}");
        let ids: Vec<u32> = p.top.iter().map(|(id, _)| *id).collect();
        assert_eq!(ids, [1, 0, 2]);
        assert!((p.top[0].1 - 0.5f32.ln()).abs() < 1e-6, "{p:?}");
        assert_eq!(LogProbabilities::of(&logits, 0, 0).unwrap().top, []);
        assert_eq!(LogProbabilities::of(&logits, 0, 99).unwrap().top.len(), 4);
    }

    #[test]
    fn large_logits_do_not_overflow() {
        let p = LogProbabilities::of(&[3e38, 3e38, f32::NEG_INFINITY], 0, 3).unwrap();
        assert!((p.chosen + 2f32.ln()).abs() < 1e-6, "{p:?}");
        assert_eq!(p.top[2], (2, f32::NEG_INFINITY));
    }

    #[test]
    fn what_is_no_probability_is_refused() {
        assert!(LogProbabilities::of(&[0.0], 1, 0).is_err());
        assert!(LogProbabilities::of(&[f32::NAN, 0.0], 1, 0).is_err());
        assert!(LogProbabilities::of(&[f32::NEG_INFINITY], 0, 0).is_err());
    }
}

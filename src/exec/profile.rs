//! What one run took, piece by piece.

use std::collections::HashMap;

/// Where the times of a [`Profile`] come from.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum TimeSource {
    /// The device's own clock, read before and after each dispatch.
    Timestamps,
    /// The host's clock, with a submission and a wait for each dispatch: short
    /// dispatches look longer than they are.
    Waits,
    /// The host's clock around each kernel call of the CPU backend.
    Calls,
}

/// One dispatch, or one kernel call on the CPU.
#[derive(Debug, Clone, PartialEq)]
pub struct Timing {
    /// The graph's node it is part of.
    pub node: String,
    /// The node's operator.
    pub op: String,
    /// `family/variant` on a GPU, the kernel's name on the CPU.
    pub kernel: String,
    /// When it began, in microseconds since the first one began.
    pub start_us: f64,
    /// How long it took, in microseconds.
    pub micros: f64,
}

/// What one run took.
#[derive(Debug, Clone, PartialEq)]
pub struct Profile {
    /// The backend or adapter.
    pub backend: String,
    /// Where the times come from.
    pub source: TimeSource,
    /// In the order they ran.
    pub timings: Vec<Timing>,
}

impl Profile {
    /// Profiles one after another: one for each backend, in the order in which
    /// the backends first worked. Each begins where the one before it ended.
    pub fn joined(profiles: Vec<Profile>) -> Vec<Profile> {
        let (mut joined, mut now): (Vec<Profile>, f64) = (Vec::new(), 0.0);
        for mut profile in profiles {
            let begin = now;
            for timing in &mut profile.timings {
                timing.start_us += begin;
                now = now.max(timing.start_us + timing.micros);
            }
            match joined.iter_mut().find(|other| other.backend == profile.backend) {
                Some(other) => other.timings.extend(profile.timings),
                None => joined.push(profile),
            }
        }
        joined
    }

    /// All of the work, without the gaps between pieces, in microseconds.
    pub fn busy_us(&self) -> f64 {
        self.timings.iter().map(|timing| timing.micros).sum()
    }

    /// For each operator: name, pieces of work, microseconds; the longest first.
    pub fn by_operator(&self) -> Vec<(String, usize, f64)> {
        let mut totals: HashMap<&str, (usize, f64)> = HashMap::new();
        for timing in &self.timings {
            let total = totals.entry(&timing.op).or_default();
            total.0 += 1;
            total.1 += timing.micros;
        }
        let mut rows: Vec<_> =
            totals.into_iter().map(|(op, (n, us))| (op.to_string(), n, us)).collect();
        rows.sort_by(|a, b| b.2.total_cmp(&a.2).then_with(|| a.0.cmp(&b.0)));
        rows
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn joined_profiles_follow_each_other_on_their_backends() {
        let one = |backend: &str| Profile {
            backend: backend.into(),
            source: TimeSource::Calls,
            timings: vec![Timing {
                node: "n".into(),
                op: "Add".into(),
                kernel: "k".into(),
                start_us: 0.0,
                micros: 2.0,
            }],
        };
        let joined = Profile::joined(vec![one("gpu"), one("cpu"), one("gpu")]);
        let starts = |profile: &Profile| -> Vec<f64> {
            profile.timings.iter().map(|timing| timing.start_us).collect()
        };
        assert_eq!(joined.iter().map(starts).collect::<Vec<_>>(), [vec![0.0, 4.0], vec![2.0]]);
    }

    #[test]
    fn operators_are_summed_and_the_longest_is_first() {
        let timing = |op: &str, micros| Timing {
            node: format!("{op} node"),
            op: op.into(),
            kernel: String::new(),
            start_us: 0.0,
            micros,
        };
        let profile = Profile {
            backend: "cpu".into(),
            source: TimeSource::Calls,
            timings: vec![timing("Add", 1.0), timing("Conv", 5.0), timing("Add", 2.0)],
        };
        assert_eq!(profile.busy_us(), 8.0);
        let rows = profile.by_operator();
        assert_eq!(rows, [("Conv".into(), 1, 5.0), ("Add".into(), 2, 3.0)]);
    }
}

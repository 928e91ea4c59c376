//! Pairs of drivers and variants that are known to be bad, as data. A probe finds
//! most of what is wrong; here is what a probe cannot risk, or finds only sometimes.

use crate::error::{Error, Result};
use crate::gpu::errors::lock;
use crate::gpu::{AdapterInfo, Gpu};
use glob::{MatchOptions, Pattern};
use serde::Deserialize;
use std::sync::{Arc, Mutex, MutexGuard};

const LIST: &str = include_str!("known_bad.json");

/// Variants that are not used with some driver. Texts but the last two are patterns
/// with `*` and `?`, and capitals do not matter.
#[derive(Debug, Clone, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct KnownBad {
    /// Names of adapters.
    pub adapter: String,
    /// Names of drivers, with their version and build behind them.
    pub driver: String,
    /// Versions and builds.
    pub versions: String,
    /// `family/variant` names.
    pub variants: Vec<String>,
    /// What goes wrong.
    pub reason: String,
    /// Where that was found out.
    pub source: String,
}

const OPTIONS: MatchOptions = MatchOptions {
    case_sensitive: false,
    require_literal_separator: false,
    require_literal_leading_dot: false,
};

fn fits(pattern: &str, text: &str) -> bool {
    Pattern::new(pattern).is_ok_and(|pattern| pattern.matches_with(text, OPTIONS))
}

/// The whole list.
///
/// # Errors
/// [`Error::Format`] if the file that is compiled in is not what it should be.
pub fn known_bad() -> Result<Vec<KnownBad>> {
    let wrong = |error: serde_json::Error| Error::Format {
        file: "src/tune/known_bad.json".into(),
        at: format!("line {}", error.line()),
        what: error.to_string(),
    };
    serde_json::from_str(LIST).map_err(wrong)
}

impl KnownBad {
    /// Whether all patterns can be read.
    ///
    /// # Errors
    /// [`Error::Input`] with the first that cannot.
    pub(super) fn check(&self) -> Result<()> {
        let named =
            [("adapter", &self.adapter), ("driver", &self.driver), ("versions", &self.versions)];
        let variants = self.variants.iter().map(|pattern| ("variants", pattern));
        for (name, pattern) in named.into_iter().chain(variants) {
            let unread = |_| {
                Error::input(format!("the pattern of {name}"), "a pattern with * and ?", pattern)
            };
            Pattern::new(pattern).map_err(unread)?;
        }
        Ok(())
    }

    /// Whether an adapter with its driver is among those meant.
    pub fn concerns(&self, info: &AdapterInfo) -> bool {
        fits(&self.adapter, &info.name)
            && fits(&self.driver, &info.driver_line())
            && fits(&self.versions, &info.driver_info)
    }

    /// Whether a variant is.
    pub fn bars(&self, variant: &str) -> bool {
        self.variants.iter().any(|pattern| fits(pattern, variant))
    }
}

/// Rows of an application, for a device and those that are opened in its place.
#[derive(Debug, Default)]
pub(super) struct Added(Mutex<Vec<KnownBad>>);

impl Added {
    /// Those of a device.
    pub(super) fn to(gpu: &Gpu) -> Arc<Added> {
        gpu.lasting(&Added::default)
    }

    pub(super) fn rows(&self) -> MutexGuard<'_, Vec<KnownBad>> {
        lock(&self.0)
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used, reason = "tests may panic")]
mod tests {
    use super::*;
    use crate::kernels::registry::FAMILIES;

    #[test]
    fn every_row_can_be_read_and_names_variants_there_are() {
        let names = FAMILIES.iter().flat_map(|family| {
            family.variants.iter().map(|variant| format!("{}/{}", family.name, variant.name))
        });
        let names: Vec<String> = names.collect();
        let rows = known_bad().unwrap();
        assert!(!rows.is_empty());
        for row in rows {
            assert!(row.source.starts_with("https://") && !row.reason.is_empty(), "{row:?}");
            for pattern in [&row.adapter, &row.driver, &row.versions] {
                Pattern::new(pattern).unwrap();
            }
            for pattern in &row.variants {
                assert!(names.iter().any(|name| fits(pattern, name)), "{pattern}: no such variant");
            }
            // A row must leave something to use.
            for family in FAMILIES {
                let free = |name: &str| !row.bars(&format!("{}/{name}", family.name));
                assert!(family.variants.iter().any(|variant| free(variant.name)), "{row:?}");
            }
        }
    }

    #[test]
    fn patterns_meet_whole_names_whatever_their_case() {
        assert!(fits("*coop_*", "matmul/coop_16") && fits("*MESA*", "Intel open-source Mesa 25"));
        assert!(!fits("coop", "matmul/coop_16") && !fits("*101.8826*", "101.8827"));
    }
}

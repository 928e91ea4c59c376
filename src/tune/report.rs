//! What came of tuning.

use super::ledger::Findings;
use std::collections::BTreeMap;

/// A class of calls and its variants.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct Row {
    /// What the class is called in the findings.
    pub class: String,
    /// A call that stands for it, for a person.
    pub label: String,
    /// The `family/variant` that is chosen without measuring.
    pub default: String,
    /// Medians in microseconds, by `family/variant`.
    pub micros: BTreeMap<String, f64>,
    /// What did not take part, and why.
    pub rejected: Vec<(String, String)>,
    /// Why nothing was measured, where the class cannot be: its operands are too large.
    pub refused: Option<String>,
}

impl Row {
    pub(super) fn new(class: &str, label: &str) -> Self {
        Row { class: class.into(), label: label.into(), ..Row::default() }
    }

    pub(super) fn reject(&mut self, variant: &str, why: &str) {
        self.rejected.push((variant.into(), why.into()));
    }

    /// The fastest variant and its time, if one was timed.
    pub fn fastest(&self) -> Option<(&str, f64)> {
        let fastest = self.micros.iter().min_by(|a, b| a.1.total_cmp(b.1))?;
        Some((fastest.0, *fastest.1))
    }
}

/// What came of tuning.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct Report {
    /// The adapter's name.
    pub adapter: String,
    /// Its driver and version.
    pub driver: String,
    /// One for each class of calls that has a choice.
    pub rows: Vec<Row>,
    /// How often the process that tries variants had to be started again.
    pub restarts: usize,
}

impl Report {
    pub(super) fn new(findings: &Findings) -> Self {
        let (adapter, driver) = (findings.adapter.clone(), findings.driver.clone());
        Report { adapter, driver, ..Report::default() }
    }
}

//! What went wrong, said once more at the very end: of a long output often just the end
//! is kept.

use libtest_mimic::{Failed, Trial};
use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

/// How many failed trials are named at the end, and with how many characters of what was
/// wrong.
const MOST_NAMED: usize = 12;
const MOST_SAID: usize = 400;

/// What was wrong, by the trials' names.
#[derive(Debug, Clone, Default)]
pub(crate) struct Failures(Arc<Mutex<BTreeMap<String, String>>>);

impl Failures {
    /// A trial that notes here how it ended, if not well.
    pub(crate) fn trial(
        &self,
        title: String,
        body: impl FnOnce() -> Result<(), Failed> + Send + 'static,
    ) -> Trial {
        let (name, failures) = (title.clone(), self.clone());
        Trial::test(title, move || {
            // Stays there if the body does not come back.
            failures.noted().insert(name.clone(), "panicked".into());
            let result = body();
            let mut noted = failures.noted();
            match &result {
                Ok(()) => noted.remove(&name),
                Err(failed) => noted.insert(name, failed.message().unwrap_or("failed").into()),
            };
            drop(noted);
            result
        })
    }

    /// Prints them, and the seed that brings them about again.
    pub(crate) fn print(&self, seed: u64) {
        let noted = self.noted();
        for (name, what) in noted.iter().take(MOST_NAMED) {
            let what: String = what.chars().take(MOST_SAID).collect();
            println!("FAILED: {name}: {what}");
        }
        if !noted.is_empty() {
            println!("FAILED: {} in all, with WGINFER_SEED={seed}", noted.len());
        }
    }

    fn noted(&self) -> MutexGuard<'_, BTreeMap<String, String>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

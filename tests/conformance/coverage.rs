//! Which variants have been executed where: measured here, and written in the
//! tables as `Variant::executed_on`. The two must agree.

use crate::adapters::Tested;
use crate::suite::Done;
use serde_json::{Map, Value, json};
use std::path::Path;
use std::sync::Arc;
use wginfer::kernels::registry::FAMILIES;

/// Where the measured coverage of all runs so far is kept.
const FILE: &str = "variant-coverage.json";

/// Compares the tables with what passed on the known adapters, and writes
/// what passed on all of them. What is wrong, if anything.
pub(crate) fn check(adapters: &[Arc<Tested>], done: &Done) -> Vec<String> {
    let mut complaints = Vec::new();
    if let Err(error) = write(adapters, done) {
        complaints.push(format!("{FILE}: {error}"));
    }
    for family in FAMILIES {
        for variant in family.variants {
            let name = format!("{}/{}", family.name, variant.name);
            for adapter in adapters {
                let Some(known) = adapter.known else { continue };
                let executed = done.variants.get(&adapter.name).is_some_and(|v| v.contains(&name));
                let claimed = variant.executed_on.contains(&known);
                if executed && !claimed {
                    complaints.push(format!("{name}: passed on {known}; add it to executed_on"));
                }
                if claimed && !executed {
                    complaints.push(format!("{name}: executed_on claims {known}, it did not run"));
                }
            }
        }
    }
    complaints
}

/// Merges this run's adapters into the file.
fn write(adapters: &[Arc<Tested>], done: &Done) -> std::io::Result<()> {
    let folder = Path::new(env!("CARGO_TARGET_TMPDIR")).parent().unwrap_or(Path::new("."));
    let path = folder.join(FILE);
    let old = std::fs::read(&path).unwrap_or_default();
    let mut all: Map<String, Value> = serde_json::from_slice(&old).unwrap_or_default();
    for adapter in adapters {
        let variants = done.variants.get(&adapter.name).cloned().unwrap_or_default();
        all.insert(adapter.name.clone(), json!(variants));
    }
    let text = serde_json::to_string_pretty(&all).map_err(std::io::Error::other)?;
    println!("executed variants: {}", path.display());
    std::fs::write(path, text + "\n")
}

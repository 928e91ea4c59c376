//! What is known of adapters, listed or forgotten.

use crate::failure::Failure;
use crate::output::{self, Fields, count_noun, safe};
use serde_json::json;
use std::io::{self, Write};
use wginfer::store::StoreChoice;
use wginfer::tune::{self, Findings};

pub(super) fn run(clear: bool, as_json: bool) -> Result<(), Failure> {
    let mut out = io::stdout().lock();
    let Some(store) = StoreChoice::User.open() else {
        return Err(Failure::Usage("there is no cache directory (HOME is not set)".into()));
    };
    if clear {
        let forgotten = tune::clear(store.as_ref());
        writeln!(out, "Forgot what was known of {}.", count_noun(forgotten, "adapter"))?;
        return Ok(out.flush()?);
    }
    let (findings, barred) = (tune::findings(store.as_ref()), tune::known_bad()?);
    if as_json {
        let barred: Vec<_> = barred
            .iter()
            .map(|row| {
                json!({
                    "adapter": row.adapter, "driver": row.driver, "versions": row.versions,
                    "variants": row.variants, "reason": row.reason, "source": row.source,
                })
            })
            .collect();
        output::json(&mut out, &json!({ "schema": 1, "adapters": findings, "known_bad": barred }))?;
        return Ok(out.flush()?);
    }
    if findings.is_empty() {
        writeln!(out, "Nothing is known of any adapter yet.")?;
    }
    for known in &findings {
        writeln!(out, "{}\n{}", safe(&known.adapter), lines(known))?;
    }
    writeln!(out, "Never used, wherever these patterns fit:")?;
    for row in &barred {
        let mut fields = Fields::indented(3);
        fields
            .add("driver", format_args!("{}, version {}", row.driver, row.versions))
            .add("variants", row.variants.join(", "))
            .add("reason", &row.reason)
            .add("source", &row.source);
        writeln!(out, "{}\n{fields}", row.adapter)?;
    }
    Ok(out.flush()?)
}

fn lines(known: &Findings) -> Fields {
    let mut fields = Fields::indented(3);
    let current = known.measured.values().filter(|measured| measured.is_current()).count();
    fields
        .add("driver", safe(&known.driver))
        .add("right", count_noun(known.right.len(), "shader"))
        .add("measured", format_args!("{} of calls", count_noun(current, "sort")));
    let others = known.measured.len() - current;
    if others > 0 {
        let what = format!("{} of calls, with other kernels: not used", count_noun(others, "sort"));
        fields.add("measured before", what);
    }
    if !known.suspects.is_empty() {
        fields.add("suspected", count_noun(known.suspects.len(), "shader"));
    }
    for rejection in known.rejected.values() {
        let what = format!("{}: {}", rejection.variant, rejection.why);
        fields.add("rejected", safe(&what));
    }
    fields
}

//! What work took, for people and for programs.

use crate::output::{Align, Table, safe, shortened};
use serde_json::{Value, json};
use wginfer::exec::{Profile, TimeSource};

/// The nodes that are told one by one.
const SLOWEST: usize = 10;

/// A profile for people: operators, then the slowest nodes.
pub(crate) fn lines(profile: &Profile) -> String {
    use Align::{Left, Right};
    let busy = profile.busy_us().max(f64::MIN_POSITIVE);
    let source = match profile.source {
        TimeSource::Timestamps => "the device's clock",
        TimeSource::Waits => "the host's clock, one submission each: short ones look longer",
        TimeSource::Calls => "the host's clock",
    };
    let mut operators =
        Table::new(2, &[("operator", Left), ("pieces", Right), ("ms", Right), ("share", Right)]);
    for (op, pieces, micros) in profile.by_operator() {
        let share = format!("{:.1}%", 100.0 * micros / busy);
        operators.row([safe(&op), pieces.to_string(), format!("{:.3}", micros / 1e3), share]);
    }
    let mut slowest: Vec<_> = profile.timings.iter().collect();
    slowest.sort_by(|a, b| b.micros.total_cmp(&a.micros));
    let mut nodes = Table::new(2, &[("ms", Right), ("kernel", Left), ("node", Left)]);
    for timing in slowest.into_iter().take(SLOWEST) {
        let kernel = shortened(&safe(&timing.kernel), 32);
        nodes.row([format!("{:.3}", timing.micros / 1e3), kernel, safe(&timing.node)]);
    }
    format!(
        "{}: {} pieces of work, {:.3} ms ({source})\n{operators}\nSlowest\n{nodes}",
        safe(&profile.backend),
        profile.timings.len(),
        busy / 1e3
    )
}

/// A profile for programs.
pub(crate) fn json(profile: &Profile) -> Value {
    let source = match profile.source {
        TimeSource::Timestamps => "timestamps",
        TimeSource::Waits => "waits",
        TimeSource::Calls => "calls",
    };
    let operators: Vec<_> = profile
        .by_operator()
        .into_iter()
        .map(|(op, pieces, micros)| json!({ "operator": op, "pieces": pieces, "us": micros }))
        .collect();
    json!({
        "backend": profile.backend,
        "source": source,
        "busy_us": profile.busy_us(),
        "operators": operators,
    })
}

/// The trace event format of Chrome: complete events (`"ph": "X"`), times in
/// microseconds. Each backend is a thread.
pub(crate) fn trace(profiles: &[Profile]) -> Value {
    let mut events = Vec::new();
    for (thread, profile) in profiles.iter().enumerate() {
        events.push(json!({
            "ph": "M", "pid": 1, "tid": thread, "name": "thread_name",
            "args": { "name": profile.backend },
        }));
        events.extend(profile.timings.iter().map(|timing| {
            json!({
                "ph": "X", "pid": 1, "tid": thread,
                "name": timing.op, "cat": timing.kernel,
                "ts": timing.start_us, "dur": timing.micros,
                "args": { "node": timing.node, "kernel": timing.kernel },
            })
        }));
    }
    json!({ "traceEvents": events, "displayTimeUnit": "ms" })
}

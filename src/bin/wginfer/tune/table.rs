//! What came of tuning, as a table and as JSON.

use crate::output::{WIDTH, safe, shortened, wrapped};
use serde_json::{Value, json};
use std::fmt::Write as _;
use wginfer::tune::{Report, Row};

/// One line for a class of calls, as soon as it is done.
pub(super) fn progress(row: &Row) -> String {
    let best = match (row.fastest(), &row.refused) {
        (Some((name, micros)), _) => format!("{name}, {}", time(micros)),
        (None, Some(why)) => format!("not measured: {why}"),
        (None, None) => "no variant is right here".into(),
    };
    format!("{}: {best}", shortened(&row.label, WIDTH / 2))
}

/// A time with three digits: `81.3 µs`, `1.25 ms`.
fn time(micros: f64) -> String {
    let (value, unit) = match micros {
        m if m < 1e3 => (m, "µs"),
        m if m < 1e6 => (m / 1e3, "ms"),
        m => (m / 1e6, "s"),
    };
    let digits = if value < 10.0 { 2 } else { usize::from(value < 100.0) };
    format!("{value:.digits$} {unit}")
}

/// All classes with all variants, the fastest first.
pub(super) fn text(report: &Report) -> String {
    let mut text = String::new();
    let _ = writeln!(text, "{}, {}", safe(&report.adapter), safe(&report.driver));
    for row in &report.rows {
        let _ = writeln!(text, "\n{}", wrapped(&safe(&row.label), WIDTH).join("\n"));
        let default = row.micros.get(&row.default).copied();
        let mut timed: Vec<(&String, &f64)> = row.micros.iter().collect();
        timed.sort_by(|a, b| a.1.total_cmp(b.1));
        for (name, micros) in timed {
            let ratio = default.map(|default| format!("{:5.2} x", default / micros));
            let mark = if *name == row.default { "  chosen without measuring" } else { "" };
            let (name, ratio) = (safe(name), ratio.unwrap_or_default());
            let _ = writeln!(text, "  {name:<28} {:>9} {ratio:>9}{mark}", time(*micros));
        }
        if let Some(why) = &row.refused {
            let lines = wrapped(&safe(&format!("not measured: {why}")), WIDTH - 2);
            for line in lines {
                let _ = writeln!(text, "  {line}");
            }
        }
        for (name, why) in &row.rejected {
            for (i, line) in wrapped(&safe(why), WIDTH - 31).iter().enumerate() {
                let name = if i == 0 { safe(name) } else { String::new() };
                let _ = writeln!(text, "  {name:<28} {line}");
            }
        }
    }
    let better = report.rows.iter().filter(|row| gain(row).is_some_and(|gain| gain > 1.05));
    let _ = writeln!(
        text,
        "\n{} of {} kinds of calls are faster than without measuring.",
        better.count(),
        report.rows.len()
    );
    if report.restarts > 0 {
        let _ = writeln!(text, "The process that tries variants ended {} times.", report.restarts);
    }
    text
}

/// How many times as fast the fastest is as what is chosen without measuring.
fn gain(row: &Row) -> Option<f64> {
    Some(row.micros.get(&row.default)? / row.fastest()?.1)
}

pub(super) fn json(report: &Report) -> Value {
    let row = |row: &Row| {
        let rejected: Vec<Value> = row
            .rejected
            .iter()
            .map(|(variant, why)| json!({ "variant": variant, "why": why }))
            .collect();
        json!({
            "class": row.class,
            "label": row.label,
            "default": row.default,
            "fastest": row.fastest().map(|(name, _)| name),
            "micros": row.micros,
            "rejected": rejected,
            "refused": row.refused,
        })
    };
    json!({
        "schema": 1,
        "adapter": report.adapter,
        "driver": report.driver,
        "restarts": report.restarts,
        "classes": report.rows.iter().map(row).collect::<Vec<_>>(),
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn times_have_three_digits() {
        let times = [0.5, 81.26, 999.4, 1250.0, 12_345.6, 2.5e6].map(time);
        assert_eq!(times, ["0.50 µs", "81.3 µs", "999 µs", "1.25 ms", "12.3 ms", "2.50 s"]);
    }

    #[test]
    fn a_table_has_times_ratios_and_what_was_rejected() {
        let mut row = Row { label: "matmul F32".into(), ..Row::default() };
        row.default = "matmul/a".into();
        row.micros = [("matmul/a".into(), 200.0), ("matmul/b".into(), 100.0)].into();
        row.rejected.push(("matmul/c".into(), "hangs".into()));
        let report = Report { rows: vec![row], ..Report::default() };
        let text = text(&report);
        let lines: Vec<&str> = text.lines().collect();
        assert!(lines[3].contains("matmul/b") && lines[3].contains("2.00 x"), "{text}");
        assert!(lines[4].contains("chosen without measuring"), "{text}");
        assert!(lines[5].contains("matmul/c") && lines[5].contains("hangs"), "{text}");
        assert!(text.contains("1 of 1 kinds"), "{text}");
        assert_eq!(json(&report)["classes"][0]["fastest"], "matmul/b");
    }
}

//! Text for people: units, wrapped fields, tables.

use std::fmt::{self, Display};
use std::io::{self, Write};

/// The width text is wrapped at.
pub(crate) const WIDTH: usize = 80;

/// Writes a line to standard error. A reader that is gone is no failure.
pub(crate) fn note(line: impl Display) {
    let _ = writeln!(io::stderr().lock(), "{line}");
}

/// Writes JSON for programs: one value and a newline.
pub(crate) fn json(out: &mut impl Write, value: &serde_json::Value) -> io::Result<()> {
    serde_json::to_writer_pretty(&mut *out, value)?;
    writeln!(out)
}

/// A size in binary units: `93.8 MiB`.
pub(crate) fn bytes(n: u64) -> String {
    const UNITS: [&str; 5] = ["KiB", "MiB", "GiB", "TiB", "PiB"];
    if n < 1024 {
        return format!("{n} B");
    }
    let mut value = n as f64 / 1024.0;
    let mut unit = 0;
    // What would be printed as 1024.0 belongs to the next unit.
    while value >= 1023.95 && unit + 1 < UNITS.len() {
        value /= 1024.0;
        unit += 1;
    }
    let text = format!("{value:.1}");
    format!("{} {}", text.strip_suffix(".0").unwrap_or(&text), UNITS[unit])
}

/// A large number, shortened: `134.5 M`.
pub(crate) fn count(n: u64) -> String {
    const UNITS: [(&str, f64); 3] = [("B", 1e9), ("M", 1e6), ("k", 1e3)];
    match UNITS.iter().find(|(_, size)| n as f64 >= *size) {
        Some((unit, size)) => format!("{:.1} {unit}", n as f64 / size),
        None => n.to_string(),
    }
}

/// A number with its noun: `1 token`, `2 tokens`.
pub(crate) fn count_noun(n: usize, noun: &str) -> String {
    format!("{n} {noun}{}", if n == 1 { "" } else { "s" })
}

/// Text from a file or a driver, made harmless for a terminal: control
/// characters are written as escapes.
pub(crate) fn safe(text: &str) -> String {
    escaped(text, |c| c.is_control())
}

/// As [`safe`], but lines and tabs stay.
pub(crate) fn safe_lines(text: &str) -> String {
    escaped(text, |c| c.is_control() && c != '\n' && c != '\t')
}

fn escaped(text: &str, bad: impl Fn(char) -> bool) -> String {
    let mut out = String::with_capacity(text.len());
    for c in text.chars() {
        if bad(c) {
            out.extend(c.escape_default());
        } else {
            out.push(c);
        }
    }
    out
}

/// At most `most` characters of a text; the rest becomes an ellipsis.
pub(crate) fn shortened(text: &str, most: usize) -> String {
    match text.char_indices().nth(most) {
        None => text.to_string(),
        Some(_) => text.chars().take(most.saturating_sub(3)).chain("...".chars()).collect(),
    }
}

/// A block of lines `label  value`, values wrapped and aligned. A no-break
/// space becomes a space at which no line is broken.
#[derive(Debug, Default)]
pub(crate) struct Fields {
    indent: usize,
    rows: Vec<(&'static str, String)>,
}

impl Fields {
    /// An empty block.
    pub(crate) fn indented(indent: usize) -> Self {
        Fields { indent, rows: Vec::new() }
    }

    /// Adds a line.
    pub(crate) fn add(&mut self, label: &'static str, value: impl Display) -> &mut Self {
        self.rows.push((label, value.to_string()));
        self
    }

    /// Adds a line where there is a value.
    pub(crate) fn maybe(&mut self, label: &'static str, value: Option<impl Display>) -> &mut Self {
        if let Some(value) = value {
            self.add(label, value);
        }
        self
    }
}

impl Display for Fields {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let label_width = self.rows.iter().map(|(label, _)| label.len()).max().unwrap_or(0);
        let start = self.indent + label_width + 2;
        for (label, value) in &self.rows {
            for (i, line) in wrapped(value, WIDTH.saturating_sub(start)).iter().enumerate() {
                let (indent, label) = (self.indent, if i == 0 { label } else { "" });
                let line = line.replace('\u{a0}', " ");
                writeln!(f, "{:indent$}{label:label_width$}  {line}", "")?;
            }
        }
        Ok(())
    }
}

/// Lines of at most `width` characters, broken at spaces. A longer word keeps
/// a line of its own.
pub(crate) fn wrapped(text: &str, width: usize) -> Vec<String> {
    let mut lines = vec![String::new()];
    let mut used = 0;
    for word in text.split(' ') {
        let length = word.chars().count();
        if used > 0 && used + 1 + length > width {
            lines.push(String::new());
            used = 0;
        }
        if let Some(line) = lines.last_mut() {
            if used > 0 {
                line.push(' ');
                used += 1;
            }
            line.push_str(word);
            used += length;
        }
    }
    lines
}

/// Where a column's text stands.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(crate) enum Align {
    Left,
    Right,
}

/// Rows of text in aligned columns. The last column is not padded.
#[derive(Debug)]
pub(crate) struct Table {
    indent: usize,
    aligns: Vec<Align>,
    rows: Vec<Vec<String>>,
}

impl Table {
    /// A table with a heading.
    pub(crate) fn new(indent: usize, columns: &[(&str, Align)]) -> Self {
        let heading = columns.iter().map(|(name, _)| (*name).to_string()).collect();
        let aligns = columns.iter().map(|(_, align)| *align).collect();
        Table { indent, aligns, rows: vec![heading] }
    }

    /// A table without a heading, of columns of text.
    pub(crate) fn plain(indent: usize, columns: usize) -> Self {
        Table { indent, aligns: vec![Align::Left; columns], rows: Vec::new() }
    }

    /// Adds a row.
    pub(crate) fn row(&mut self, cells: impl IntoIterator<Item = String>) {
        self.rows.push(cells.into_iter().collect());
    }
}

impl Display for Table {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let width = |column: usize| {
            let cells = self.rows.iter().filter_map(|row| row.get(column));
            cells.map(|cell| cell.chars().count()).max().unwrap_or(0)
        };
        let widths: Vec<usize> = (0..self.aligns.len()).map(width).collect();
        for row in &self.rows {
            let mut line = " ".repeat(self.indent);
            for (i, cell) in row.iter().enumerate() {
                if i > 0 {
                    line.push_str("  ");
                }
                let padding = " ".repeat(widths[i].saturating_sub(cell.chars().count()));
                match self.aligns[i] {
                    Align::Left => {
                        line.push_str(cell);
                        line.push_str(&padding);
                    }
                    Align::Right => {
                        line.push_str(&padding);
                        line.push_str(cell);
                    }
                }
            }
            writeln!(f, "{}", line.trim_end())?;
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sizes_are_short() {
        assert_eq!(bytes(0), "0 B");
        assert_eq!(bytes(1023), "1023 B");
        assert_eq!(bytes(1024), "1 KiB");
        assert_eq!(bytes(1536), "1.5 KiB");
        assert_eq!(bytes((1 << 31) - 4), "2 GiB");
        assert_eq!(bytes(128 << 20), "128 MiB");
        assert_eq!(bytes(u64::MAX), "16384 PiB");
        assert_eq!(count(999), "999");
        assert_eq!(count(134_515_008), "134.5 M");
    }

    #[test]
    fn terminal_escapes_are_shown_not_sent() {
        assert_eq!(safe("a\u{1b}[31mb\n"), "a\\u{1b}[31mb\\n");
        assert_eq!(safe("größer"), "größer");
        assert_eq!(safe_lines("a\tb\n\u{9b}"), "a\tb\n\\u{9b}");
    }

    #[test]
    fn long_text_is_cut_at_characters() {
        assert_eq!(shortened("ääää", 4), "ääää");
        assert_eq!(shortened("äääää", 4), "ä...");
    }

    #[test]
    fn fields_wrap_within_the_width() {
        let mut fields = Fields::indented(2);
        fields.add("short", "x").add("features", "word ".repeat(40).trim_end());
        let text = fields.to_string();
        assert!(text.lines().all(|line| line.len() <= WIDTH), "{text}");
        assert!(text.starts_with("  short     x\n  features  word"), "{text}");
        assert_eq!(text.matches("word").count(), 40);
    }

    #[test]
    fn tables_align() {
        let mut table = Table::new(1, &[("name", Align::Left), ("n", Align::Right)]);
        table.row(["a".into(), "10".into()]);
        assert_eq!(table.to_string(), " name   n\n a     10\n");
    }
}

//! What the cases came to, by backend and operator.

use crate::cases::Case;
use std::collections::BTreeMap;
use std::fmt::Write as _;

/// How many of the cases must pass on the CPU.
const CPU_BAR: usize = 1200;
/// And on a GPU, with every compute node there and at least one dispatch.
const GPU_BAR: usize = 900;

/// What a case came to.
#[derive(Debug, Clone)]
pub enum Verdict {
    Passed,
    /// Without a dispatch, though the backend is a GPU.
    PassedOnHost,
    Refused(String),
    Wrong(String),
}

#[derive(Debug, Default, Clone)]
struct Count {
    /// Of those on a GPU only the ones with a dispatch.
    passed: usize,
    host: usize,
    refused: Vec<(String, String)>,
    wrong: Vec<(String, String)>,
}

impl Count {
    fn total(&self) -> usize {
        self.passed + self.host + self.refused.len() + self.wrong.len()
    }

    fn add(&mut self, other: &Count) {
        self.passed += other.passed;
        self.host += other.host;
        self.refused.extend(other.refused.iter().cloned());
        self.wrong.extend(other.wrong.iter().cloned());
    }
}

#[derive(Debug)]
pub struct Report {
    version: String,
    /// By backend, then by operator.
    counts: BTreeMap<String, BTreeMap<String, Count>>,
    /// Cases that a GPU could run, by backend.
    eligible: BTreeMap<String, usize>,
}

impl Report {
    pub fn new(version: String) -> Self {
        Report { version, counts: BTreeMap::new(), eligible: BTreeMap::new() }
    }

    pub fn add(&mut self, backend: &str, case: &Case, verdict: Verdict) {
        let operators = self.counts.entry(backend.into()).or_default();
        let count = operators.entry(case.operator().into()).or_default();
        let name = case.name.clone();
        match verdict {
            Verdict::Passed => count.passed += 1,
            Verdict::PassedOnHost => count.host += 1,
            Verdict::Refused(why) => count.refused.push((name, why)),
            Verdict::Wrong(what) => count.wrong.push((name, what)),
        }
        *self.eligible.entry(backend.into()).or_default() += usize::from(case.eligible());
    }

    fn total(&self, backend: &str) -> Count {
        let mut total = Count::default();
        for count in self.counts.get(backend).into_iter().flat_map(BTreeMap::values) {
            total.add(count);
        }
        total
    }

    /// One line for each backend.
    pub fn summary(&self) -> String {
        let mut text = String::new();
        for backend in self.counts.keys() {
            let total = self.total(backend);
            let _ = writeln!(
                text,
                "{backend}: {} of {} node tests of onnx {} passed, {} more without a dispatch, {} \
                 refused, {} wrong; {} could run on a GPU",
                total.passed,
                total.total(),
                self.version,
                total.host,
                total.refused.len(),
                total.wrong.len(),
                self.eligible.get(backend).copied().unwrap_or(0)
            );
        }
        text
    }

    /// Whether every backend passed what it must.
    pub fn enough(&self, quick: bool) -> bool {
        self.counts.keys().all(|backend| {
            let bar = match backend.as_str() {
                "cpu" => CPU_BAR,
                _ if quick => GPU_BAR / crate::QUICK,
                _ => GPU_BAR,
            };
            let passed = self.total(backend).passed;
            if passed < bar {
                println!("{backend}: {passed} passed, at least {bar} must");
            }
            passed >= bar
        })
    }

    /// The page `docs/onnx-coverage.md`.
    pub fn markdown(&self) -> String {
        let mut text = format!(
            "# ONNX coverage\n\nWhat the {} node tests of PyPI `onnx` {} come to. Written by \
             `make onnx-coverage`.\n\n*Passed on a GPU* means that every compute node ran there, \
             with at least one dispatch. *Host* are those that passed without one: shape \
             arithmetic, results that are the input's memory under another shape, and the few \
             whose result's shape depends on data (NonZero, Unique, NonMaxSuppression and the \
             like) or that are strings, which the host computes between two parts of the graph. *Refused* means a typed \
             error that names the node or the type; nothing is wrong silently. *Could run on a GPU* \
             leaves out tests of strings and f64, which no GPU computes. Of results that are \
             random only types and extents are compared here.\n\n",
            self.counts.keys().map(|backend| self.total(backend).total()).max().unwrap_or(0),
            self.version
        );
        let _ =
            writeln!(text, "| Backend | Passed | Host | Refused | Wrong | Could run on a GPU |");
        let _ = writeln!(text, "|---|---|---|---|---|---|");
        for backend in self.counts.keys() {
            let t = self.total(backend);
            let eligible = self.eligible.get(backend).copied().unwrap_or(0);
            let (passed, refused, wrong) = (t.passed, t.refused.len(), t.wrong.len());
            let _ = writeln!(
                text,
                "| {backend} | {passed} | {} | {refused} | {wrong} | {eligible} |",
                t.host
            );
        }
        self.by_operator(&mut text);
        self.refusals(&mut text);
        text
    }

    fn by_operator(&self, text: &mut String) {
        let backends: Vec<&String> = self.counts.keys().collect();
        let operators: std::collections::BTreeSet<&String> =
            self.counts.values().flat_map(BTreeMap::keys).collect();
        let _ = write!(
            text,
            "\n## By operator\n\nPassed of all; in brackets those of the host.\n\n| Operator |"
        );
        for backend in &backends {
            let _ = write!(text, " {backend} |");
        }
        let _ = writeln!(text, "\n|---|{}", "---|".repeat(backends.len()));
        for operator in operators {
            let _ = write!(text, "| {operator} |");
            for backend in &backends {
                match self.counts[*backend].get(operator) {
                    Some(count) => {
                        let _ = write!(text, " {}/{}", count.passed + count.host, count.total());
                        if count.host > 0 {
                            let _ = write!(text, " ({})", count.host);
                        }
                        text.push_str(" |");
                    }
                    None => text.push_str(" |"),
                }
            }
            text.push('\n');
        }
    }

    /// Why the CPU, which can do the most, refuses what it refuses.
    fn refusals(&self, text: &mut String) {
        let refused = self.total("cpu").refused;
        let _ = writeln!(text, "\n## Refused on the CPU\n\n| Test | Why |\n|---|---|");
        for (name, why) in refused {
            let _ = writeln!(text, "| {name} | {} |", why.replace('|', "\\|"));
        }
    }
}

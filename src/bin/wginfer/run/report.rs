//! What a run gave and took, for people and for programs.

use crate::output::{Fields, bytes, safe};
use serde_json::{Value, json};
use std::time::Duration;
use wginfer::exec::WorkingMemory;
use wginfer::gpu::{MemoryReport, Purpose};
use wginfer::ops::{RefData, RefTensor};
use wginfer::{DType, Error, Tensor};

/// Elements of an output that are shown.
const SHOWN: usize = 8;
/// The largest values of a vector that are shown with their places.
const LARGEST: usize = 5;

/// Numbers about an output.
#[derive(Debug)]
pub(super) struct Summary {
    name: String,
    ty: String,
    extents: Vec<usize>,
    /// Whether its elements are whole numbers, which are shown without decimals.
    whole: bool,
    count: usize,
    finite: usize,
    range: Option<(f64, f64)>,
    mean: f64,
    first: Vec<f64>,
    /// Places and values of the largest elements of a single row.
    largest: Vec<(usize, f64)>,
    /// The first elements, if they are strings.
    words: Vec<String>,
}

impl Summary {
    pub(super) fn new(name: &str, tensor: &Tensor) -> Result<Self, Error> {
        if tensor.dtype() == DType::String {
            return Self::of_words(name, tensor);
        }
        let (values, whole): (Vec<f64>, bool) = match RefTensor::from_tensor(tensor)?.data {
            RefData::Real(values) => (values, false),
            RefData::Int(values) => (values.into_iter().map(|v| v as f64).collect(), true),
        };
        let finite: Vec<f64> = values.iter().copied().filter(|v| v.is_finite()).collect();
        let range = finite.iter().fold(None, |range: Option<(f64, f64)>, &v| {
            Some(range.map_or((v, v), |(low, high)| (low.min(v), high.max(v))))
        });
        let extents = tensor.extents().to_vec();
        let row = extents.last().copied().unwrap_or(0) == values.len() && values.len() > SHOWN;
        let mut largest: Vec<(usize, f64)> = Vec::new();
        if row {
            largest = values.iter().copied().enumerate().collect();
            largest.sort_by(|a, b| b.1.total_cmp(&a.1));
            largest.truncate(LARGEST);
        }
        Ok(Summary {
            name: name.into(),
            ty: tensor.dtype().to_string(),
            extents,
            whole,
            count: values.len(),
            finite: finite.len(),
            range,
            mean: finite.iter().sum::<f64>() / finite.len().max(1) as f64,
            first: values.into_iter().take(SHOWN).collect(),
            largest,
            words: Vec::new(),
        })
    }

    fn of_words(name: &str, tensor: &Tensor) -> Result<Self, Error> {
        let words = tensor.to_strings()?;
        Ok(Summary {
            name: name.into(),
            ty: tensor.dtype().to_string(),
            extents: tensor.extents().to_vec(),
            whole: false,
            count: words.len(),
            finite: words.len(),
            range: None,
            mean: 0.0,
            first: Vec::new(),
            largest: Vec::new(),
            words: words.into_iter().take(SHOWN).map(String::from).collect(),
        })
    }

    /// Lines for people.
    pub(super) fn lines(&self) -> String {
        let mut fields = Fields::indented(2);
        fields.add("type", format_args!("{}{:?}", self.ty, self.extents));
        if let Some((low, high)) = self.range {
            let mean = number(self.mean);
            let (low, high) = (self.element(low), self.element(high));
            fields.add("values", format_args!("{low} to {high}, mean {mean}"));
        }
        if self.finite < self.count {
            let wrong = self.count - self.finite;
            fields.add("not finite", format_args!("{wrong} of {}", self.count));
        }
        if !self.first.is_empty() {
            let first: Vec<_> = self.first.iter().map(|&v| self.element(v)).collect();
            let more = if self.count > SHOWN { " ..." } else { "" };
            fields.add("first", format_args!("{}{more}", first.join(" ")));
        }
        if !self.words.is_empty() {
            let words: Vec<_> =
                self.words.iter().map(|word| format!("\"{}\"", word.escape_debug())).collect();
            let more = if self.count > SHOWN { " ..." } else { "" };
            fields.add("first", safe(&format!("{}{more}", words.join(" "))));
        }
        if !self.largest.is_empty() {
            let place = |&(i, v): &(usize, f64)| format!("[{i}]\u{a0}{}", self.element(v));
            let places: Vec<_> = self.largest.iter().map(place).collect();
            fields.add("largest", places.join("  "));
        }
        format!("{}\n{fields}", safe(&self.name))
    }

    fn element(&self, value: f64) -> String {
        if self.whole { format!("{value:.0}") } else { number(value) }
    }

    /// The same, for programs. What is not finite is `null` there.
    pub(super) fn json(&self) -> Value {
        if self.ty == DType::String.name() {
            return json!({
                "name": self.name,
                "type": self.ty,
                "extents": self.extents,
                "first": self.words,
            });
        }
        json!({
            "name": self.name,
            "type": self.ty,
            "extents": self.extents,
            "min": self.range.map(|(low, _)| low),
            "max": self.range.map(|(_, high)| high),
            "mean": self.mean,
            "not_finite": self.count - self.finite,
            "first": self.first,
        })
    }
}

/// With five digits at least, however small or large it is.
fn number(value: f64) -> String {
    let size = value.abs();
    if value == value.trunc() && size < 1e9 {
        format!("{value}")
    } else if (1e-3..1e9).contains(&size) {
        format!("{value:.5}")
    } else {
        format!("{value:.4e}")
    }
}

/// What the device held at most, for people.
pub(super) fn memory_line(device: &MemoryReport) -> String {
    let weights = bytes(device.peak(Purpose::Weights));
    format!("memory: {} of the device at most, {weights} of it weights\n", bytes(device.total_peak))
}

/// The same, for programs, in bytes: beside it the working memory that there is,
/// and the most that was needed of it at one time.
pub(super) fn memory_json(working: &WorkingMemory, device: Option<&MemoryReport>) -> Value {
    let mut memory =
        json!({ "working_bytes": working.slots, "live_peak_bytes": working.live_peak });
    if let Some(device) = device {
        memory["weights_bytes"] = device.peak(Purpose::Weights).into();
        memory["staging_peak_bytes"] = device.peak(Purpose::Staging).into();
        memory["device_peak_bytes"] = device.total_peak.into();
    }
    memory
}

/// How long runs took: the first one, which plans and compiles, and the rest.
#[derive(Debug)]
pub(super) struct Times {
    pub(super) load: Duration,
    pub(super) first: Duration,
    pub(super) repeats: Vec<Duration>,
}

impl Times {
    fn milliseconds(&self) -> Option<(f64, f64, f64)> {
        let mut sorted: Vec<f64> = self.repeats.iter().map(|d| d.as_secs_f64() * 1e3).collect();
        sorted.sort_by(f64::total_cmp);
        Some((*sorted.first()?, *sorted.get(sorted.len() / 2)?, *sorted.last()?))
    }

    pub(super) fn lines(&self) -> String {
        let first = self.first.as_secs_f64() * 1e3;
        let mut text = format!(
            "load {:.0} ms, first run {first:.1} ms (with planning and compiling)",
            self.load.as_secs_f64() * 1e3
        );
        if let Some((least, median, most)) = self.milliseconds() {
            text.push_str(&format!(
                "\n{} more: median {median:.2} ms, {least:.2} to {most:.2}",
                self.repeats.len()
            ));
        }
        text
    }

    pub(super) fn json(&self) -> Value {
        let repeats = self.milliseconds();
        json!({
            "load_ms": self.load.as_secs_f64() * 1e3,
            "first_run_ms": self.first.as_secs_f64() * 1e3,
            "repeats": self.repeats.len(),
            "median_ms": repeats.map(|(_, median, _)| median),
            "min_ms": repeats.map(|(least, _, _)| least),
            "max_ms": repeats.map(|(_, _, most)| most),
        })
    }
}

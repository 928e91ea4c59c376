//! What others computed, and how close is close enough.

use libtest_mimic::Failed;
use serde_json::Value;
use std::path::PathBuf;
use wginfer::embed::Pooling;

/// Relative L2 of a vector.
pub(crate) const RELATIVE: f64 = 1e-4;
/// Difference of a cosine.
pub(crate) const COSINE: f64 = 1e-4;

/// The small models; each is of the family that it is named after.
pub(crate) const MODELS: [&str; 4] = ["bert", "roberta", "distilbert", "mpnet"];

pub(crate) fn folder(model: &str) -> PathBuf {
    PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("tests/data/embed").join(model)
}

/// Texts, how many tokens they have, and for the small models the vectors of
/// each kind of pooling.
pub(crate) struct Oracle {
    texts: Vec<String>,
    pub(crate) total: Vec<usize>,
    pub(crate) used: Vec<usize>,
    pub(crate) most: usize,
    vectors: Vec<(String, Vec<Vec<f64>>)>,
}

impl Oracle {
    pub(crate) fn read(model: &str) -> Self {
        let text = std::fs::read_to_string(folder(model).join("oracle.json")).unwrap();
        let value: Value = serde_json::from_str(&text).unwrap();
        let get = |key: &str| value[key].clone();
        let vectors = value["vectors"].as_object().cloned().unwrap_or_default();
        let vectors = vectors.into_iter().map(|(kind, rows)| (kind, from(rows)));
        Oracle {
            texts: from(get("texts")),
            total: from(get("total")),
            used: if value["used"].is_null() { Vec::new() } else { from(get("used")) },
            most: from(get("most")),
            vectors: vectors.collect(),
        }
    }

    pub(crate) fn texts(&self) -> Vec<&str> {
        self.texts.iter().map(String::as_str).collect()
    }

    pub(crate) fn vector(&self, kind: Pooling, text: usize) -> &[f64] {
        let found = self.vectors.iter().find(|(name, _)| name == kind.name());
        &found.expect("every kind is there").1[text]
    }
}

fn from<T: serde::de::DeserializeOwned>(value: Value) -> T {
    serde_json::from_value(value).unwrap()
}

/// The vectors of the sentences of all-MiniLM-L6-v2.
pub(crate) fn minilm() -> Vec<Vec<f32>> {
    let bytes = std::fs::read(folder("minilm").join("vectors.f32")).unwrap();
    let numbers: Vec<f32> =
        bytes.as_chunks::<4>().0.iter().map(|four| f32::from_le_bytes(*four)).collect();
    numbers.chunks(384).map(<[f32]>::to_vec).collect()
}

/// `|a - b| / |b|`
pub(crate) fn relative(a: &[f32], b: &[f32]) -> f64 {
    let b: Vec<f64> = b.iter().map(|&v| v.into()).collect();
    off(a, &b)
}

fn off(found: &[f32], expected: &[f64]) -> f64 {
    assert_eq!(found.len(), expected.len());
    let squares = |values: &mut dyn Iterator<Item = f64>| values.map(|v| v * v).sum::<f64>();
    let difference = squares(&mut found.iter().zip(expected).map(|(&a, b)| f64::from(a) - b));
    (difference / squares(&mut expected.iter().copied())).sqrt()
}

/// Whether a vector is close enough in length and direction.
pub(crate) fn check(found: &[f32], expected: &[f64], what: &str) -> Result<(), Failed> {
    let off = off(found, expected);
    let dot: f64 = found.iter().zip(expected).map(|(&a, b)| f64::from(a) * b).sum();
    let norm = |values: &mut dyn Iterator<Item = f64>| values.map(|v| v * v).sum::<f64>().sqrt();
    let norms = norm(&mut found.iter().map(|&v| v.into())) * norm(&mut expected.iter().copied());
    let turned = 1.0 - dot / norms;
    // Neither holds for what is not a number.
    if off <= RELATIVE && turned <= COSINE {
        return Ok(());
    }
    Err(format!("{what}: relative L2 {off:.2e}, cosine off by {turned:.2e}").into())
}

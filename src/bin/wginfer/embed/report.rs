//! What `wginfer embed` says.

use crate::output::{Align, Table, count_noun, safe, shortened};
use serde_json::{Value, json};
use std::path::Path;
use std::time::Duration;
use wginfer::embed::{Embedder, Embeddings, cosine};

/// How many elements of a vector are shown.
const SHOWN: usize = 4;
/// Characters of a text in a table with vectors, and in one with cosines.
const BESIDE_VECTOR: usize = 30;
const BESIDE_COSINES: usize = 24;

/// What was computed, and how long it took.
pub(super) struct Outcome<'a> {
    pub(super) folder: &'a Path,
    pub(super) embedder: &'a Embedder,
    pub(super) why: &'a str,
    pub(super) texts: &'a [String],
    pub(super) found: &'a Embeddings,
    pub(super) load: Duration,
    pub(super) took: Duration,
}

/// The model in a line.
pub(super) fn model(folder: &Path, embedder: &Embedder) -> String {
    let sized = |name: &str, blocks: usize, width: usize| {
        format!("{name}, {} of width {width}", count_noun(blocks, "block"))
    };
    let kind = match (embedder.spec(), embedder.gguf_spec()) {
        (Some(spec), _) => sized(&spec.model_type, spec.blocks, spec.width),
        (None, Some(spec)) => sized(&spec.architecture, spec.blocks, spec.width),
        (None, None) => "ONNX".into(),
    };
    let head = embedder.head();
    let pooling: Vec<_> = head.pooling.iter().map(ToString::to_string).collect();
    let normalised = if head.normalise { ", normalised" } else { "" };
    format!(
        "{} ({kind}), pooling {}{normalised}, at most {}",
        folder.display(),
        pooling.join("+"),
        count_noun(embedder.most_tokens(), "token")
    )
}

/// A line for each text that was cut off.
pub(super) fn cut_off(found: &Embeddings) -> Vec<String> {
    let cut = found.tokens.iter().enumerate().filter(|(_, count)| count.is_cut());
    let line = |(i, count): (usize, &wginfer::embed::TokenCount)| {
        format!("Text {i} was cut off: {} tokens, the first {} used", count.total, count.used)
    };
    cut.map(line).collect()
}

impl Outcome<'_> {
    /// A table with the beginning of each vector, or with the cosines.
    pub(super) fn lines(&self, similarity: bool) -> Result<String, wginfer::Error> {
        if similarity { self.cosine_table() } else { Ok(self.vector_table()) }
    }

    fn vector_table(&self) -> String {
        let width = self.found.vectors.first().map_or(0, Vec::len);
        let vector = match width {
            0..=SHOWN => "vector".to_string(),
            _ => format!("vector (first {SHOWN} of {width})"),
        };
        let columns = [
            ("", Align::Right),
            ("tokens", Align::Right),
            (&vector, Align::Left),
            ("text", Align::Left),
        ];
        let mut table = Table::new(0, &columns);
        for (i, vector) in self.found.vectors.iter().enumerate() {
            let numbers: Vec<_> = vector.iter().take(SHOWN).map(|v| format!("{v:8.5}")).collect();
            let tokens = self.found.tokens[i].used.to_string();
            let text = shortened(&safe(&self.texts[i]), BESIDE_VECTOR);
            table.row([i.to_string(), tokens, numbers.join(" "), text]);
        }
        table.to_string()
    }

    fn cosine_table(&self) -> Result<String, wginfer::Error> {
        let numbers: Vec<String> = (0..self.texts.len()).map(|i| i.to_string()).collect();
        let mut columns = vec![("", Align::Right), ("text", Align::Left)];
        columns.extend(numbers.iter().map(|number| (number.as_str(), Align::Right)));
        let mut table = Table::new(0, &columns);
        for (i, row) in self.cosines()?.iter().enumerate() {
            let text = shortened(&safe(&self.texts[i]), BESIDE_COSINES);
            let cosines = row.iter().map(|cosine| format!("{cosine:.3}"));
            table.row([numbers[i].clone(), text].into_iter().chain(cosines));
        }
        Ok(table.to_string())
    }

    fn cosines(&self) -> Result<Vec<Vec<f32>>, wginfer::Error> {
        let vectors = &self.found.vectors;
        vectors.iter().map(|a| vectors.iter().map(|b| cosine(a, b)).collect()).collect()
    }

    pub(super) fn json(&self, similarity: bool) -> Result<Value, wginfer::Error> {
        let one = |(i, vector): (usize, &Vec<f32>)| {
            let count = self.found.tokens[i];
            json!({
                "text": self.texts[i], "tokens": count.total, "used_tokens": count.used,
                "vector": vector,
            })
        };
        let texts: Vec<_> = self.found.vectors.iter().enumerate().map(one).collect();
        let head = self.embedder.head();
        let pooling: Vec<_> = head.pooling.iter().map(|pooling| pooling.name()).collect();
        let used: usize = self.found.tokens.iter().map(|count| count.used).sum();
        let seconds = self.took.as_secs_f64();
        Ok(json!({
            "schema": 1,
            "model": self.folder.display().to_string(),
            "why": self.why,
            "pooling": pooling,
            "normalised": head.normalise,
            "most_tokens": self.embedder.most_tokens(),
            "texts": texts,
            "similarity": if similarity { json!(self.cosines()?) } else { Value::Null },
            "load_seconds": self.load.as_secs_f64(),
            "embed_seconds": seconds,
            "tokens_per_second": if seconds > 0.0 { used as f64 / seconds } else { 0.0 },
            "plans": self.embedder.plans(),
        }))
    }
}

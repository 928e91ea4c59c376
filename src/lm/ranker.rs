//! Rankers: how well a document answers a query, from a classifier behind the vector of
//! both.
//!
//! What stands behind pooling, in what order, and the names of tensors are those of
//! llama.cpp's `build_pooling` (`llama-graph.cpp`).

use super::file::ModelFile;
use super::spec::DecoderSpec;
use super::tokenizer::EncodeOptions;
use crate::embed::{Dense, Pooling};
use crate::error::{Error, Result};
use crate::formats::gguf::GgufFile;
use crate::ops::elementwise::math::erf64;
use crate::quant::decode;

/// The key of how a query and a document make a prompt, and what stands for them in it.
const TEMPLATE: &str = "tokenizer.chat_template.rerank";
const PLACES: [&str; 2] = ["{query}", "{document}"];

/// Tensors of classifiers.
pub(super) const TENSORS: [&str; 5] =
    ["cls.weight", "cls.bias", "cls.norm.weight", "cls.output.weight", "cls.output.bias"];

/// Architectures whose scores become probabilities of labels.
const PROBABILITIES: [&str; 2] = ["qwen3", "qwen3vl"];

/// The one whose classifier has GELU between its matrices, and the mean before it.
const MODERN: &str = "modern-bert";

/// A matrix and what is added to its product.
#[derive(Debug, Clone)]
struct Layer {
    matrix: Dense,
    bias: Option<Vec<f32>>,
}

/// From the vector of a text to a number for each label.
#[derive(Debug, Clone)]
pub(crate) struct Classifier {
    hidden: Option<Layer>,
    output: Option<Layer>,
    /// Multiplies what is normalised between the two.
    norm: Option<Vec<f32>>,
    epsilon: f64,
    gelu: bool,
    probabilities: bool,
}

/// Whether a file says that it ranks texts: `pooling_type` is 4 (`llama_pooling_type` in
/// llama.cpp's `llama.h`).
///
/// # Errors
/// If the key is no number.
pub(super) fn ranks(file: &GgufFile, architecture: &str) -> Result<bool> {
    Ok(file.metadata().opt_u64(&format!("{architecture}.pooling_type"))? == Some(4))
}

/// Which token's vector a ranker judges: of a text that is seen as a whole the first, else
/// the last.
pub(super) fn pooling(spec: &DecoderSpec) -> Pooling {
    match spec.sees_behind {
        true if spec.architecture == MODERN => Pooling::Mean,
        true => Pooling::Cls,
        false => Pooling::LastToken,
    }
}

impl Classifier {
    /// The classifier of a file that ranks.
    ///
    /// # Errors
    /// [`Error::Format`] if there is none, or extents do not fit together.
    pub(super) fn open(file: &ModelFile) -> Result<Self> {
        let spec = file.spec();
        let hidden = Layer::open(file, "cls", spec.width)?;
        let inner = hidden.as_ref().map_or(spec.width, |layer| layer.matrix.outputs());
        let output = Layer::open(file, "cls.output", inner)?;
        if hidden.is_none() && output.is_none() {
            let what = "missing, and so is 'cls.weight': a ranker needs a classifier";
            return Err(Error::format(&spec.file, "tensor 'cls.output.weight'", what));
        }
        let norm = vector(file, "cls.norm.weight", inner)?;
        let architecture = spec.architecture.as_str();
        Ok(Classifier {
            hidden,
            output,
            norm,
            epsilon: f64::from(spec.norm_epsilon),
            gelu: architecture == MODERN,
            probabilities: PROBABILITIES.contains(&architecture),
        })
    }

    /// A number for each label, of which the first says how well the document answers.
    /// Computed in f64.
    pub(crate) fn scores(&self, vector: &[f32]) -> Vec<f32> {
        let mut vector: Vec<f64> = vector.iter().map(|&v| f64::from(v)).collect();
        if let Some(hidden) = &self.hidden {
            vector = hidden.apply(&vector);
            let gelu = |v: f64| 0.5 * v * (1.0 + erf64(v / std::f64::consts::SQRT_2));
            vector.iter_mut().for_each(|v| *v = if self.gelu { gelu(*v) } else { v.tanh() });
            if let Some(scale) = &self.norm {
                normalise(&mut vector, scale, self.epsilon);
            }
        }
        if let Some(output) = &self.output {
            vector = output.apply(&vector);
        }
        if self.probabilities {
            let most = vector.iter().copied().fold(f64::NEG_INFINITY, f64::max);
            vector.iter_mut().for_each(|v| *v = (*v - most).exp());
            let sum: f64 = vector.iter().sum();
            vector.iter_mut().for_each(|v| *v /= sum);
        }
        vector.into_iter().map(|v| v as f32).collect()
    }
}

impl Layer {
    /// `NAME.weight` `[outputs, inputs]` and `NAME.bias` `[outputs]`; `None` without the
    /// first.
    fn open(file: &ModelFile, name: &str, inputs: usize) -> Result<Option<Self>> {
        let name = format!("{name}.weight");
        let Some(tensor) = file.tensor(&name)? else { return Ok(None) };
        // A single label may be written as a vector.
        let outputs = tensor.len().checked_div(inputs).unwrap_or(0);
        let fits = match *tensor.extents() {
            [rows, columns] => rows == outputs && columns == inputs,
            [columns] => columns == inputs,
            _ => false,
        };
        if !fits || outputs == 0 {
            let what = format!("extents {:?} behind {inputs}", tensor.extents());
            return Err(Error::format(&file.spec().file, format!("tensor '{name}'"), what));
        }
        let mut values = vec![0.0; tensor.len()];
        decode(tensor.dtype(), tensor.bytes(), &mut values)?;
        let bias = vector(file, &name.replace(".weight", ".bias"), outputs)?;
        Ok(Some(Layer { matrix: Dense::new(values, inputs), bias }))
    }

    fn apply(&self, vector: &[f64]) -> Vec<f64> {
        let mut made = self.matrix.apply(vector);
        let bias = self.bias.iter().flatten();
        made.iter_mut().zip(bias).for_each(|(v, &bias)| *v += f64::from(bias));
        made
    }
}

/// A tensor of one dimension; `None` if there is none.
fn vector(file: &ModelFile, name: &str, size: usize) -> Result<Option<Vec<f32>>> {
    let Some(tensor) = file.tensor(name)? else { return Ok(None) };
    if tensor.extents() != [size] {
        let what = format!("extents {:?}, expected [{size}]", tensor.extents());
        return Err(Error::format(&file.spec().file, format!("tensor '{name}'"), what));
    }
    let mut values = vec![0.0; size];
    decode(tensor.dtype(), tensor.bytes(), &mut values)?;
    Ok(Some(values))
}

/// Takes the mean off, divides by the deviation, and multiplies with `scale`.
fn normalise(vector: &mut [f64], scale: &[f32], epsilon: f64) {
    let count = vector.len() as f64;
    let mean = vector.iter().sum::<f64>() / count;
    let variance = vector.iter().map(|v| (v - mean).powi(2)).sum::<f64>() / count;
    let by = 1.0 / (variance + epsilon).sqrt();
    vector.iter_mut().zip(scale).for_each(|(v, &s)| *v = (*v - mean) * by * f64::from(s));
}

impl ModelFile {
    /// Whether the file is a ranker's: it says how well a document answers a query.
    pub fn ranks(&self) -> bool {
        self.ranks
    }

    /// The tokens of a query and a document, put together as the file says: by its
    /// template for it (`tokenizer.chat_template.rerank`), else one behind the other with
    /// the tokens that end a text, and what is between two of them, as the model was
    /// trained.
    ///
    /// # Errors
    /// [`Error::Input`] if both are empty or the vocabulary cannot express them;
    /// [`Error::Unsupported`] if the file does not say how texts end.
    pub fn pair_tokens(&self, query: &str, document: &str) -> Result<Vec<u32>> {
        if query.is_empty() && document.is_empty() {
            return Err(Error::input("query and document", "some text", "nothing"));
        }
        if let Some(template) = self.gguf().metadata().opt_str(TEMPLATE)? {
            // It has all there is, also of tokens that begin and end.
            let options = EncodeOptions { special: true, ..EncodeOptions::PART };
            return self.tokenizer().encode(&filled(template, [query, document]), options);
        }
        self.tokenizer().encode_pair(query, document)
    }
}

/// A template with texts in their places. What a text says is not looked at again.
fn filled(template: &str, texts: [&str; 2]) -> String {
    let (mut made, mut rest) = (String::new(), template);
    loop {
        let next = |(place, text): (&str, &'_ str)| {
            rest.find(place).map(|at| (at, place.len(), text.to_string()))
        };
        let first = PLACES.into_iter().zip(texts).filter_map(next).min_by_key(|(at, ..)| *at);
        let Some((at, length, text)) = first else {
            made.push_str(rest);
            return made;
        };
        made.push_str(&rest[..at]);
        made.push_str(&text);
        rest = &rest[at + length..];
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn templates_are_filled_once() {
        let made = filled("<{query}|{document}> {query}", ["{document}", "d{query}"]);
        assert_eq!(made, "<{document}|d{query}> {document}");
        assert_eq!(filled("{", ["a", "b"]), "{");
    }

    #[test]
    fn classifiers_compute_what_they_say() {
        let layer = |values: &[f32], inputs, bias: &[f32]| {
            let matrix = Dense::new(values.to_vec(), inputs);
            Some(Layer { matrix, bias: Some(bias.to_vec()) })
        };
        let mut made = Classifier {
            hidden: layer(&[1.0, 0.0, 0.0, 2.0], 2, &[0.5, 0.0]),
            output: layer(&[1.0, -1.0, 0.5, 0.5], 2, &[0.0, 1.0]),
            norm: None,
            epsilon: 0.0,
            gelu: false,
            probabilities: false,
        };
        let (a, b) = (1.5f64.tanh(), (-4.0f64).tanh());
        let found = made.scores(&[1.0, -2.0]);
        assert_eq!(found, [(a - b) as f32, (0.5 * a + 0.5 * b + 1.0) as f32]);
        made.probabilities = true;
        let sum: f32 = made.scores(&[1.0, -2.0]).iter().sum();
        assert!((sum - 1.0).abs() < 1e-6);
        // Of two values one is above their mean, and one below, by the deviation.
        let two = Some(vec![3.0, 2.0]);
        made = Classifier { norm: two, output: None, probabilities: false, gelu: true, ..made };
        assert_eq!(made.scores(&[1.0, -2.0]), [3.0, -2.0]);
    }
}

//! What computes the vectors of tokens: a graph over safetensors or a GGUF file, or
//! an ONNX model.

use super::batch::{COUNTS, bounds};
use super::dense::Dense;
use super::embedder::{EmbedOptions, Weights};
use super::encoder::{self, HIDDEN, names};
use super::folder::Folder;
use super::gguf::GgufEncoder;
use super::onnx::{self, OnnxEncoder};
use super::spec::{self, CONFIG, EncoderSpec};
use super::tokens::Encoded;
use crate::backend::Backend;
use crate::error::{Error, Result};
use crate::exec::WorkingMemory;
use crate::formats::safetensors::{INDEX, SINGLE, SafetensorsModel};
use crate::onnx::{Fallback, OnnxOptions};
use crate::session::{Progress, Session, SessionOptions};
use crate::tensor::Tensor;
use std::collections::BTreeMap;

/// The most tokens of a text where no file says how many there may be.
const USUAL_MOST: usize = 512;

/// An encoder on a backend.
#[derive(Debug)]
pub(super) enum Engine {
    Graph(Box<GraphEncoder>),
    Onnx(Box<OnnxEncoder>),
    Gguf(Box<GgufEncoder>),
}

/// The graph that this crate builds, over safetensors.
#[derive(Debug)]
pub(super) struct GraphEncoder {
    session: Session,
    pub(super) spec: EncoderSpec,
}

/// An encoder, and what its tokenizer has to keep to.
#[derive(Debug)]
pub(super) struct Opened {
    pub(super) engine: Engine,
    /// The most tokens of a text, special ones included.
    pub(super) most: usize,
    /// Token ids are below this.
    pub(super) vocabulary: usize,
}

impl Engine {
    /// Opens what a folder has. `most` is what the files around the encoder say
    /// of the most tokens of a text.
    pub(super) async fn open(
        folder: &Folder,
        backend: &Backend,
        options: &EmbedOptions,
        most: Option<usize>,
        progress: Progress<'_>,
    ) -> Result<Opened> {
        let safetensors = folder.has(SINGLE) || folder.has(INDEX);
        let onnx = onnx::find(folder);
        let most = most.unwrap_or(usize::MAX);
        match (options.weights, onnx) {
            (Weights::Onnx, Some(path)) => onnx_model(folder, path, backend, options, most),
            (Weights::Auto, Some(path)) if !safetensors => {
                onnx_model(folder, path, backend, options, most)
            }
            (Weights::Onnx, None) => {
                let path = folder.file("model.onnx");
                Err(Error::Io { path, source: std::io::ErrorKind::NotFound.into() })
            }
            _ => graph(folder, backend, options, most, progress).await,
        }
    }

    /// Plans made so far.
    pub(super) fn plans(&self) -> u64 {
        match self {
            Engine::Graph(encoder) => encoder.session.counters().plans,
            Engine::Onnx(encoder) => encoder.plans(),
            Engine::Gguf(encoder) => encoder.session.counters().plans,
        }
    }

    /// Working memory, and the most of it that is needed at one time.
    pub(super) fn memory(&self) -> WorkingMemory {
        match self {
            Engine::Graph(encoder) => encoder.session.memory(),
            Engine::Onnx(encoder) => encoder.memory(),
            Engine::Gguf(encoder) => encoder.session.memory(),
        }
    }

    /// A graph of ours has none: its session is on one backend.
    pub(super) fn fallbacks(&self) -> Vec<Fallback> {
        match self {
            Engine::Graph(_) | Engine::Gguf(_) => Vec::new(),
            Engine::Onnx(encoder) => encoder.fallbacks(),
        }
    }

    /// What pooled vectors go through.
    pub(super) fn dense(&self) -> &[Dense] {
        match self {
            Engine::Gguf(encoder) => &encoder.reader.dense,
            Engine::Graph(_) | Engine::Onnx(_) => &[],
        }
    }

    /// The vectors of the tokens of texts, of which the longest has `length`:
    /// `[texts, padded length, width]`, with the last two.
    pub(super) async fn run(
        &mut self,
        texts: &[&Encoded],
        length: usize,
        most: usize,
    ) -> Result<(Vec<f32>, usize, usize)> {
        match self {
            Engine::Onnx(encoder) => encoder.run(texts, length, most).await,
            Engine::Graph(encoder) => encoder.run(texts, length).await,
            Engine::Gguf(encoder) => encoder.run(texts, length).await,
        }
    }
}

impl GraphEncoder {
    async fn run(&mut self, texts: &[&Encoded], length: usize) -> Result<(Vec<f32>, usize, usize)> {
        let inputs = inputs(&self.spec, texts, length)?;
        let inputs: Vec<_> = inputs.iter().map(|(name, tensor)| (*name, tensor)).collect();
        let outputs = self.session.run(&inputs).await?;
        let vectors = outputs.into_iter().find(|(name, _)| name == names::VECTORS);
        let (_, vectors) = vectors.ok_or_else(|| Error::internal("no vectors"))?;
        Ok((vectors.to_f32()?, length, self.spec.width))
    }
}

async fn graph(
    folder: &Folder,
    backend: &Backend,
    options: &EmbedOptions,
    most: usize,
    progress: Progress<'_>,
) -> Result<Opened> {
    let spec = EncoderSpec::read(folder)?;
    let weights = SafetensorsModel::open(&folder.0)?;
    let graph = encoder::build(&spec, &weights)?;
    let most = most.min(spec.most_tokens());
    let counts = COUNTS.iter().map(|&count| count as u64).collect();
    let buckets =
        BTreeMap::from([(names::BATCH.into(), counts), (names::LENGTH.into(), bounds(most))]);
    let session = SessionOptions { buckets, ..session_options(options) };
    let session = Session::with_progress(graph, backend, session, progress).await?;
    let vocabulary = spec.vocabulary;
    let engine = Engine::Graph(Box::new(GraphEncoder { session, spec }));
    Ok(Opened { engine, most, vocabulary })
}

fn onnx_model(
    folder: &Folder,
    path: std::path::PathBuf,
    backend: &Backend,
    options: &EmbedOptions,
    most: usize,
) -> Result<Opened> {
    let (mut pad, mut first, mut positions, mut vocabulary) = (0, 0, USUAL_MOST, usize::MAX);
    // A model computes without it; what it says of numbers holds.
    if let Some(config) = folder.settings(CONFIG)? {
        (pad, first) = spec::padding(&config)?;
        positions = config.maybe_count("max_position_embeddings")?.unwrap_or(USUAL_MOST);
        vocabulary = config.maybe_count("vocab_size")?.unwrap_or(usize::MAX);
    }
    let onnx = OnnxOptions { session: session_options(options), ..OnnxOptions::default() };
    let encoder = OnnxEncoder::open(path, backend, onnx, pad as u32, first)?;
    let most = most.min(positions.saturating_sub(first));
    Ok(Opened { engine: Engine::Onnx(Box::new(encoder)), most, vocabulary })
}

fn session_options(options: &EmbedOptions) -> SessionOptions {
    SessionOptions {
        policy: options.policy.clone(),
        disabled_passes: options.disabled_passes.clone(),
        submission_ms: options.submission_ms,
        ..SessionOptions::default()
    }
}

/// The inputs of the graph for texts padded to `length`.
fn inputs(
    spec: &EncoderSpec,
    texts: &[&Encoded],
    length: usize,
) -> Result<Vec<(&'static str, Tensor)>> {
    let size = texts.len() * length;
    let mut tokens = vec![spec.pad as i32; size];
    // Rows that padding reads; any would do, since nothing reads the result.
    let mut positions = vec![0i32; size];
    let mut mask = vec![HIDDEN; size];
    for (i, text) in texts.iter().enumerate() {
        let row = i * length..i * length + text.ids.len();
        tokens[row.clone()].iter_mut().zip(&text.ids).for_each(|(to, &id)| *to = id as i32);
        mask[row.clone()].fill(0.0);
        number(spec, &text.ids, &mut positions[row]);
    }
    let extents = [texts.len(), length];
    let mut inputs = vec![
        (names::TOKENS, Tensor::from_i32(&extents, &tokens)?),
        (names::POSITIONS, Tensor::from_i32(&extents, &positions)?),
        (names::MASK, Tensor::from_f32(&[texts.len(), 1, 1, length], &mask)?),
        (names::PAST, Tensor::from_i32(&[texts.len()], &vec![0; texts.len()])?),
    ];
    if spec.buckets > 0 {
        let buckets = encoder::buckets(length, spec.buckets);
        inputs.push((names::BUCKETS, Tensor::from_i32(&[length, length], &buckets)?));
    }
    Ok(inputs)
}

/// The positions of a text's tokens. In families that give the padding token a
/// position of its own, one that a text spells out has it too and is not counted.
fn number(spec: &EncoderSpec, ids: &[u32], positions: &mut [i32]) {
    let first = spec.first_position();
    let mut next = first;
    for (position, &id) in positions.iter_mut().zip(ids) {
        if first > 0 && id as usize == spec.pad {
            *position = spec.pad as i32;
        } else {
            *position = next as i32;
            next += 1;
        }
    }
}

//! Texts to vectors with a model from a GGUF file: an encoder, or a decoder whose file
//! says how the vectors of its tokens become one.

use super::decoder::{build_whole, names};
use super::file::ModelFile;
use super::model::ModelOptions;
use super::ranker;
use crate::backend::Backend;
use crate::embed::{Dense, Head, Pooling};
use crate::error::{Error, Result};
use crate::quant::decode;
use crate::session::{Progress, Session, SessionOptions};
use crate::tensor::Tensor;
use std::collections::BTreeMap;

/// What is added to the score of padding: so little that its weight is exactly 0 beside
/// any token, and yet a finite number.
const HIDDEN: f32 = -1e38;

/// Matrices behind pooling, in their order, and the keys that say they are there.
pub(super) const DENSE: [&str; 2] = ["dense_2.weight", "dense_3.weight"];

/// The most elements of a mask that all texts of a step have together.
const MOST_OF_MASK: usize = 1 << 25;

/// From token ids to vectors, over a session that [`Reader::session`] made.
#[derive(Debug, Clone)]
pub(crate) struct Reader {
    /// How the vectors of tokens become one.
    pub(crate) head: Head,
    /// What the pooled vector goes through.
    pub(crate) dense: Vec<Dense>,
    /// The elements of a token's vector.
    pub(crate) width: usize,
    /// The tokens that padding has.
    pad: i32,
    /// Whether there is an input for a mask.
    masked: bool,
    /// Whether padding is hidden by what precedes queries.
    hidden: bool,
    /// The heads of which each has a mask of its own; 0 without masks that grow with the
    /// square of the length.
    masks: usize,
}

impl Reader {
    /// What a file says. A ranker's vectors are those that its classifier judges.
    ///
    /// # Errors
    /// [`Error::Unsupported`] for a kind of pooling that is not known.
    pub(crate) fn open(file: &ModelFile) -> Result<Self> {
        let spec = file.spec().reader();
        let mut dense = Vec::new();
        for name in DENSE {
            if let Some(tensor) = file.tensor(name)? {
                let at = format!("tensor '{name}'");
                let inputs = dense.last().map_or(spec.width, Dense::outputs);
                let &[outputs, found] = tensor.extents() else {
                    return Err(Error::format(&spec.file, at, "expected two extents"));
                };
                if found != inputs || outputs == 0 {
                    let what = format!("extents {:?} behind {inputs}", tensor.extents());
                    return Err(Error::format(&spec.file, at, what));
                }
                let mut values = vec![0.0; tensor.len()];
                decode(tensor.dtype(), tensor.bytes(), &mut values)?;
                dense.push(Dense::new(values, inputs));
            }
        }
        let windowed = spec.layers.iter().any(|layer| layer.window.is_some());
        Ok(Reader {
            head: Head { pooling: vec![pooling(file)?], normalise: !file.ranks() },
            dense,
            width: spec.width,
            pad: file.tokenizer().padding().unwrap_or(0) as i32,
            masked: spec.sees_behind && spec.relative.is_none(),
            hidden: spec.relative.is_some(),
            // Scores by distance are the same of all texts.
            masks: match (spec.sees_behind, spec.alibi) {
                (true, Some(_)) => spec.layers.first().map_or(1, |layer| layer.heads.count),
                (true, None) => usize::from(windowed),
                (false, _) => 0,
            },
        })
    }

    /// A session over texts of at most so many tokens; `lengths` and `counts` are the
    /// bounds that plans are made for.
    ///
    /// # Errors
    /// If a weight is missing or has the wrong shape, blocks keep a state, or weights do
    /// not fit the device.
    pub(crate) async fn session(
        file: &ModelFile,
        backend: &Backend,
        options: &ModelOptions,
        (lengths, counts): (Vec<u64>, Vec<u64>),
        progress: Progress<'_>,
    ) -> Result<Session> {
        let most = lengths.last().map_or(1, |&most| most as usize);
        let spec = file.spec().reader();
        let graph = file.graph(|weights| build_whole(spec, weights, most))?;
        let buckets =
            BTreeMap::from([(names::QUERY.into(), lengths), (names::BATCH.into(), counts)]);
        let options = SessionOptions {
            buckets,
            policy: options.policy.clone(),
            disabled_passes: options.disabled_passes.clone(),
            submission_ms: options.submission_ms,
            weights: file.shared_weights(),
            ..SessionOptions::default()
        };
        Session::with_progress(graph, backend, options, progress).await
    }

    /// How many texts of a length may be computed together.
    pub(crate) fn room(&self, length: usize) -> usize {
        let each = self.masks.saturating_mul(length).saturating_mul(length);
        (MOST_OF_MASK / each.max(1)).max(1)
    }

    /// The vectors of the tokens of texts, of which none has more than `length`: F32
    /// `[texts, length, width]`.
    ///
    /// # Errors
    /// What the device fails with.
    pub(crate) async fn run(
        &self,
        session: &mut Session,
        texts: &[&[u32]],
        length: usize,
    ) -> Result<Vec<f32>> {
        let size = texts.len() * length;
        let mut tokens = vec![self.pad; size];
        let mut mask = vec![HIDDEN; size];
        for (i, text) in texts.iter().enumerate() {
            let row = i * length..i * length + text.len();
            tokens[row.clone()].iter_mut().zip(*text).for_each(|(to, &id)| *to = id as i32);
            mask[row].fill(0.0);
        }
        let positions: Vec<i32> = (0..size).map(|i| (i % length.max(1)) as i32).collect();
        let past = |text: &&[u32]| match self.hidden {
            true => text.len() as i32 - length as i32,
            false => 0,
        };
        let past: Vec<i32> = texts.iter().map(past).collect();
        let extents = [texts.len(), length];
        let mut inputs = vec![
            (names::TOKENS, Tensor::from_i32(&extents, &tokens)?),
            (names::POSITIONS, Tensor::from_i32(&extents, &positions)?),
            (names::PAST, Tensor::from_i32(&[texts.len()], &past)?),
        ];
        if self.masked {
            inputs.push((names::MASK, Tensor::from_f32(&[texts.len(), 1, 1, length], &mask)?));
        }
        let inputs: Vec<_> = inputs.iter().map(|(name, tensor)| (*name, tensor)).collect();
        let outputs = session.run(&inputs).await?;
        let vectors = outputs.into_iter().find(|(name, _)| name == names::VECTORS);
        let (_, vectors) = vectors.ok_or_else(|| Error::internal("no vectors"))?;
        vectors.to_f32()
    }
}

/// How a file says that vectors of tokens become one, with the numbers of
/// `llama_pooling_type` in llama.cpp's `llama.h`: the mean where it does not.
pub(crate) fn pooling(file: &ModelFile) -> Result<Pooling> {
    let meta = file.gguf().metadata();
    let key = format!("{}.pooling_type", file.spec().architecture);
    let at = || format!("{}: key '{key}'", file.spec().file);
    match meta.opt_u64(&key)? {
        None | Some(0) => {
            log::info!("{key} names no kind of pooling: the mean");
            Ok(Pooling::Mean)
        }
        Some(1) => Ok(Pooling::Mean),
        Some(2) => Ok(Pooling::Cls),
        Some(3) => Ok(Pooling::LastToken),
        Some(4) => Ok(ranker::pooling(file.spec())),
        Some(other) => Err(Error::unsupported(at(), format!("pooling of type {other}"))),
    }
}

//! An encoder that is an ONNX model: what it is given, and what it gives.

use super::batch::{COUNTS, bound};
use super::folder::Folder;
use super::tokens::Encoded;
use crate::backend::Backend;
use crate::error::{Error, Result};
use crate::onnx::{Fallback, Model, OnnxOptions, OnnxSession};
use crate::quant::decode;
use crate::tensor::{DType, Tensor};
use std::path::PathBuf;
use std::sync::Arc;

/// Where a folder has its model, in the order tried.
const PLACES: [&str; 2] = ["model.onnx", "onnx/model.onnx"];

const IDS: &str = "input_ids";
const MASK: &str = "attention_mask";
const TYPES: &str = "token_type_ids";
const POSITIONS: &str = "position_ids";

/// The outputs that are tokens' vectors; without one of these names it is the
/// first with three dimensions.
const VECTORS: [&str; 2] = ["last_hidden_state", "token_embeddings"];

/// An ONNX model as an encoder.
#[derive(Debug)]
pub(super) struct OnnxEncoder {
    session: OnnxSession,
    output: String,
    pad: u32,
    first_position: usize,
}

/// The model's file, if the folder has one.
pub(super) fn find(folder: &Folder) -> Option<PathBuf> {
    PLACES.iter().map(|place| folder.file(place)).find(|path| path.is_file())
}

impl OnnxEncoder {
    /// Opens a model's file.
    pub(super) fn open(
        path: PathBuf,
        backend: &Backend,
        options: OnnxOptions,
        pad: u32,
        first_position: usize,
    ) -> Result<Self> {
        let model = Model::open(path)?;
        for input in model.inputs() {
            let known = [IDS, MASK, TYPES, POSITIONS].contains(&input.name.as_str());
            if !known && model.default_of(&input.name).is_none() {
                let at = format!("{}: input '{}'", model.name(), input.name);
                let what =
                    format!("an encoder with it; known: {IDS}, {MASK}, {TYPES}, {POSITIONS}");
                return Err(Error::unsupported(at, what));
            }
        }
        let output = output(&model)?;
        let session = OnnxSession::new(model, backend, options)?;
        Ok(OnnxEncoder { session, output, pad, first_position })
    }

    /// Nodes that ran on the CPU though the backend is a GPU.
    pub(super) fn fallbacks(&self) -> Vec<Fallback> {
        self.session.report().fallbacks
    }

    /// Plans made so far.
    pub(super) fn plans(&self) -> u64 {
        self.session.counters().plans
    }

    pub(super) fn memory(&self) -> crate::exec::WorkingMemory {
        self.session.memory()
    }

    /// The vectors of the tokens of texts: `[texts, length, width]`, with the
    /// length and the width. A model is planned for numbers, not for symbols, so
    /// only a few of either are used: lengths are rounded up, and texts go in
    /// by the numbers of [`COUNTS`].
    pub(super) async fn run(
        &mut self,
        texts: &[&Encoded],
        length: usize,
        most: usize,
    ) -> Result<(Vec<f32>, usize, usize)> {
        let length = bound(length, most);
        let (mut all, mut width, mut rest) = (Vec::new(), 0, texts);
        while !rest.is_empty() {
            let count = COUNTS.into_iter().rev().find(|&n| n <= rest.len()).unwrap_or(1);
            let (part, others) = rest.split_at(count);
            let tensor = self.step(part, length).await?;
            width = match tensor.extents() {
                &[batch, tokens, width] if (batch, tokens) == (count, length) => width,
                other => {
                    let at = format!("{}: output '{}'", self.session.model().name(), self.output);
                    let what = format!("extents {other:?}; supported: [{count}, {length}, width]");
                    return Err(Error::unsupported(at, what));
                }
            };
            let start = all.len();
            all.resize(start + tensor.len(), 0.0);
            decode(tensor.dtype(), tensor.bytes(), &mut all[start..])?;
            rest = others;
        }
        Ok((all, length, width))
    }

    async fn step(&mut self, texts: &[&Encoded], length: usize) -> Result<Tensor> {
        let model = self.session.model().clone();
        let mut inputs = Vec::new();
        for info in model.inputs() {
            let value: &dyn Fn(&Encoded, usize) -> i64 = match info.name.as_str() {
                IDS => &|text, at| text.ids.get(at).map_or(self.pad.into(), |&id| id.into()),
                MASK => &|text, at| i64::from(at < text.ids.len()),
                TYPES => &|_, _| 0,
                POSITIONS => &|_, at| (self.first_position + at) as i64,
                _ => continue,
            };
            let values: Vec<i64> = texts
                .iter()
                .flat_map(|text| (0..length).map(move |at| (*text, at)))
                .map(|(text, at)| value(text, at))
                .collect();
            let extents = [texts.len(), length];
            inputs.push((info.name.as_str(), numbers(info.dtype, &extents, &values, &model)?));
        }
        let given: Vec<_> = inputs.iter().map(|(name, tensor)| (*name, tensor)).collect();
        let outputs = self.session.run(&given).await?;
        let vectors = outputs.into_iter().find(|(name, _)| *name == self.output);
        vectors.map(|(_, tensor)| tensor).ok_or_else(|| Error::internal("an output that is lost"))
    }
}

/// Which output has the tokens' vectors.
fn output(model: &Model) -> Result<String> {
    let outputs = model.outputs();
    let named = VECTORS.iter().find_map(|name| outputs.iter().find(|info| info.name == *name));
    let shaped = || outputs.iter().find(|info| info.dims.as_ref().is_some_and(|d| d.len() == 3));
    match named.or_else(shaped) {
        Some(info) => Ok(info.name.clone()),
        None => {
            let names: Vec<_> = outputs.iter().map(|info| info.name.as_str()).collect();
            let what = format!("no output with the tokens' vectors among {}", names.join(", "));
            Err(Error::unsupported(model.name(), what))
        }
    }
}

/// Whole numbers in the type that an input has.
fn numbers(
    dtype: Option<DType>,
    extents: &[usize],
    values: &[i64],
    model: &Arc<Model>,
) -> Result<Tensor> {
    match dtype {
        Some(DType::I64) => Tensor::from_i64(extents, values),
        Some(DType::I32) => {
            let values: Vec<i32> = values.iter().map(|&value| value as i32).collect();
            Tensor::from_i32(extents, &values)
        }
        other => {
            let at = format!("{}: inputs of an encoder", model.name());
            Err(Error::unsupported(at, format!("{other:?}; supported: I64, I32")))
        }
    }
}

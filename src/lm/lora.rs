//! LoRA adapters: pairs of narrow matrices whose product is added to a model's matrices
//! ([arXiv 2106.09685](https://arxiv.org/abs/2106.09685)), in files as llama.cpp has them.

use super::decoder::Weights;
use super::encoder::DENSE;
use super::file::ModelFile;
use super::ranker;
use crate::error::{Error, Result};
use crate::formats::gguf::GgufFile;
use crate::graph::{Graph, Source};
use crate::quant::{WEIGHT_TYPES, decode};
use crate::tensor::Tensor;
use std::cell::RefCell;
use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

/// What the names of the two matrices end with, behind the name of what they change.
pub(super) const ENDS: [&str; 2] = [".lora_a", ".lora_b"];

/// The table whose rows are looked up: what is added to a row is looked up as well.
pub(super) const LOOKED_UP: &str = "token_embd.weight";

/// The most columns that the narrow matrices of one adapter have.
const MOST_RANK: usize = 1 << 16;

/// An adapter's file, and how much of it is added to a model.
#[derive(Debug, Clone)]
pub struct Lora {
    file: Arc<GgufFile>,
    scale: f32,
}

impl Lora {
    /// An adapter from a parsed file; its matrices' products are added `scale` times, beside
    /// what the file says itself (`adapter.lora.alpha`, over the rank).
    ///
    /// # Errors
    /// [`Error::Unsupported`] for a file that is no LoRA adapter; [`Error::Input`] for a
    /// scale that is no finite number.
    pub fn new(file: GgufFile, scale: f32) -> Result<Self> {
        if !scale.is_finite() {
            return Err(Error::input("the scale of an adapter", "a finite number", scale));
        }
        let meta = file.metadata();
        let kinds = [("general.type", "adapter"), ("adapter.type", "lora")];
        for (key, kind) in kinds {
            let found = meta.opt_str(key)?;
            if found != Some(kind) {
                let what = format!("{key} is {}, not '{kind}'", shown(found));
                return Err(Error::unsupported(format!("{}: as an adapter", file.name()), what));
            }
        }
        let invoked = "adapter.alora.invocation_tokens";
        if meta.get(invoked).is_some() {
            let what = "an adapter that only holds behind certain tokens (aLoRA)";
            return Err(Error::unsupported(format!("{}: key '{invoked}'", file.name()), what));
        }
        Ok(Lora { file: Arc::new(file), scale })
    }

    /// The parsed file.
    pub fn gguf(&self) -> &GgufFile {
        &self.file
    }

    /// How often the products of its matrices are added.
    pub fn scale(&self) -> f32 {
        self.scale
    }

    /// The names of the tensors that it changes.
    fn changed(&self) -> Result<Vec<&str>> {
        let mut names = Vec::new();
        for info in self.file.tensors() {
            // What mergekit's adapters have beside matrices; llama.cpp passes over it too.
            if info.name().ends_with("_norm.weight") {
                let name = info.name().escape_debug();
                log::warn!("{}: tensor '{name}' is left out", self.file.name());
                continue;
            }
            let [a, b] = ENDS.map(|end| info.name().strip_suffix(end));
            let Some(name) = a.or(b) else {
                let what = "neither of the two matrices (.lora_a, .lora_b) of a change";
                return Err(self.refused(info.name(), what));
            };
            let other = format!("{name}{}", ENDS[usize::from(a.is_some())]);
            if self.file.tensor_info(&other).is_none() {
                let what = format!("missing, beside '{}'", info.name().escape_debug());
                return Err(self.wrong(&other, what));
            }
            if a.is_some() {
                names.push(name);
            }
        }
        Ok(names)
    }

    /// The two matrices of a change of a tensor with `extents`, the second one as often as
    /// it is to be added.
    fn pair(&self, name: &str, extents: &[usize]) -> Result<[Matrices; 2]> {
        let [a, b] = ENDS.map(|end| format!("{name}{end}"));
        let loaded = [self.matrices(&a)?, self.matrices(&b)?];
        let rank = loaded[1].extents.last().copied().unwrap_or(0);
        if rank == 0 || rank > MOST_RANK {
            return Err(self.wrong(&b, format!("a rank of {rank}")));
        }
        let expected = match *extents {
            [rows, width] if name == LOOKED_UP => [vec![rows, rank], vec![width, rank]],
            [outputs, inputs] => [vec![rank, inputs], vec![outputs, rank]],
            [count, outputs, inputs] => [vec![count, rank, inputs], vec![count, outputs, rank]],
            _ => return Err(self.refused(&a, "a change of what is no matrix")),
        };
        for ((name, found), expected) in [&a, &b].into_iter().zip(&loaded).zip(&expected) {
            if found.extents != *expected {
                let what = format!(
                    "extents {:?}, expected {expected:?} for a tensor of {extents:?}",
                    found.extents
                );
                return Err(self.wrong(name, what));
            }
        }
        let scale = self.scale_for(rank)?;
        let [a, mut b] = loaded;
        b.values.iter_mut().for_each(|value| *value *= scale);
        Ok([a, b])
    }

    /// How often a product of matrices of this rank is added.
    fn scale_for(&self, rank: usize) -> Result<f32> {
        let key = "adapter.lora.alpha";
        let alpha = self.file.metadata().opt_f32(key)?;
        let scale = match alpha {
            // llama.cpp takes no alpha and one of 0 for the same.
            None | Some(0.0) => self.scale,
            Some(alpha) => self.scale * alpha / rank as f32,
        };
        match scale.is_finite() {
            true => Ok(scale),
            false => {
                let what = format!("{alpha:?}, times {} over a rank of {rank}", self.scale);
                Err(self.file.metadata().error(key, what))
            }
        }
    }

    fn matrices(&self, name: &str) -> Result<Matrices> {
        let tensor = self.file.tensor(name)?;
        if !WEIGHT_TYPES.contains(&tensor.dtype()) {
            return Err(self.refused(name, &format!("a matrix of {}", tensor.dtype())));
        }
        let mut values = vec![0.0; tensor.len()];
        decode(tensor.dtype(), tensor.bytes(), &mut values)?;
        Ok(Matrices { extents: tensor.extents().to_vec(), values })
    }

    fn wrong(&self, name: &str, what: impl std::fmt::Display) -> Error {
        Error::format(self.file.name(), format!("tensor '{}'", name.escape_debug()), what)
    }

    fn refused(&self, name: &str, what: &str) -> Error {
        let at = format!("{}: tensor '{}'", self.file.name(), name.escape_debug());
        Error::unsupported(at, what)
    }
}

fn shown(value: Option<&str>) -> String {
    value.map_or("missing".into(), |value| format!("'{}'", value.escape_debug()))
}

/// One matrix, or one of each expert.
#[derive(Debug)]
struct Matrices {
    extents: Vec<usize>,
    values: Vec<f32>,
}

impl Matrices {
    /// Several beside each other along an axis, in which alone they differ.
    fn beside(parts: &[Matrices], axis: usize) -> Result<Tensor> {
        let Some(first) = parts.first() else { return Err(Error::internal("no matrices")) };
        let outer: usize = first.extents[..axis].iter().product();
        let inner: usize = first.extents[axis + 1..].iter().product();
        let mut values = Vec::with_capacity(parts.iter().map(|part| part.values.len()).sum());
        for at in 0..outer {
            for part in parts {
                let run = part.extents[axis] * inner;
                values.extend_from_slice(&part.values[at * run..(at + 1) * run]);
            }
        }
        let mut extents = first.extents.clone();
        extents[axis] = parts.iter().map(|part| part.extents[axis]).sum();
        Tensor::from_f32(&extents, &values)
    }
}

/// What adapters add to a model: for each tensor two F32 matrices, those of several adapters
/// beside each other along the rank, so that one product is the sum of theirs.
#[derive(Debug, Default)]
pub(super) struct LowRank {
    pairs: BTreeMap<String, [Tensor; 2]>,
    /// The files' names.
    files: String,
}

impl LowRank {
    /// Reads what adapters add to the model of a file.
    ///
    /// # Errors
    /// [`Error::Format`] or [`Error::Unsupported`] naming the adapter's file and the tensor
    /// or key: if it is for another architecture, changes a tensor that the model does not
    /// have, or matrices do not fit.
    pub(super) fn read(model: &GgufFile, adapters: &[Lora]) -> Result<Self> {
        let mut found: BTreeMap<String, [Vec<Matrices>; 2]> = BTreeMap::new();
        let key = "general.architecture";
        let architecture = model.metadata().opt_str(key)?;
        for adapter in adapters {
            let meta = adapter.file.metadata();
            let of = meta.opt_str(key)?;
            if of != architecture {
                let what =
                    format!("{}, but that of the model is {}", shown(of), shown(architecture));
                return Err(meta.error(key, what));
            }
            for name in adapter.changed()? {
                let info = model.tensor_info(name).ok_or_else(|| {
                    let what = format!("the model ({}) has no tensor of this name", model.name());
                    adapter.wrong(name, what)
                })?;
                let [a, b] = adapter.pair(name, info.extents())?;
                let [all_a, all_b] = found.entry(name.into()).or_default();
                all_a.push(a);
                all_b.push(b);
            }
        }
        let beside = |(name, [a, b]): (String, [Vec<Matrices>; 2])| {
            let last = a.first().map_or(0, |a| a.extents.len().saturating_sub(1));
            let axis_of_a = if name == LOOKED_UP { last } else { last.saturating_sub(1) };
            Ok((name, [Matrices::beside(&a, axis_of_a)?, Matrices::beside(&b, last)?]))
        };
        let pairs: Result<_> = found.into_iter().map(beside).collect();
        let files: Vec<_> = adapters.iter().map(|adapter| adapter.file.name()).collect();
        Ok(LowRank { pairs: pairs?, files: files.join(", ") })
    }

    /// One of the two matrices, by the name that it has in an adapter's file.
    pub(super) fn tensor(&self, name: &str) -> Option<&Tensor> {
        let of = |i: usize| Some(&self.pairs.get(name.strip_suffix(ENDS[i])?)?[i]);
        of(0).or_else(|| of(1))
    }

    /// All matrices, with the names of what they are added to.
    pub(super) fn all(&self) -> impl Iterator<Item = (&str, &Tensor)> {
        self.pairs.iter().flat_map(|(name, pair)| pair.iter().map(|tensor| (name.as_str(), tensor)))
    }

    /// Checks that a graph has all that is added to tensors which it was made of. What was not
    /// `read` for it changes nothing.
    ///
    /// # Errors
    /// [`Error::Unsupported`] naming a tensor whose change nothing would compute.
    pub(super) fn must_be_in(&self, graph: &Graph, read: &BTreeSet<String>) -> Result<()> {
        let constants = graph.values.iter().filter_map(|value| match value.source {
            Source::Constant(_) => Some(value.name.as_str()),
            _ => None,
        });
        let there: BTreeSet<&str> =
            constants.filter_map(|name| name.split('[').next()?.strip_suffix(ENDS[1])).collect();
        let mut changed = self.pairs.keys().filter(|name| read.contains(*name));
        match changed.find(|name| !there.contains(name.as_str())) {
            None => Ok(()),
            Some(name) => {
                let at = format!("{}: tensor '{}'", self.files, name.escape_debug());
                Err(Error::unsupported(at, "an adapter of a tensor that is not used as a matrix"))
            }
        }
    }
}

impl ModelFile {
    /// The same model with what LoRA adapters add to it, in the place of any before.
    ///
    /// # Errors
    /// [`Error::Format`] or [`Error::Unsupported`] naming the adapter's file, if one is for
    /// another model.
    pub fn with_loras(mut self, loras: &[Lora]) -> Result<Self> {
        self.added = LowRank::read(self.gguf(), loras)?;
        Ok(self)
    }

    /// What is made of the file's tensors, with all that adapters add to them.
    pub(super) fn graph(&self, build: impl FnOnce(Weights<'_>) -> Result<Graph>) -> Result<Graph> {
        let read = RefCell::new(BTreeSet::new());
        let graph = build(&|name| {
            let tensor = self.tensor(name)?;
            if tensor.is_some() {
                read.borrow_mut().insert(name.to_string());
            }
            Ok(tensor)
        })?;
        // The host computes with these, behind the graph.
        let mut read = read.into_inner();
        read.extend(DENSE.iter().chain(&ranker::TENSORS).map(|name| name.to_string()));
        self.added.must_be_in(&graph, &read)?;
        Ok(graph)
    }
}

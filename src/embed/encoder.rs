//! The graph of an encoder: one general block, repeated, as a family's table
//! names its weights.

use super::spec::EncoderSpec;
use crate::error::{Error, Result};
use crate::formats::safetensors::SafetensorsModel;
use crate::graph::{Dim, Graph, GraphBuilder, Symbol, ValueId};
use crate::ops::attention::{Attention, Buckets};
use crate::quant::{WEIGHT_TYPES, decode};
use crate::tensor::{DType, Tensor};

/// Names of the graph's inputs, output and symbols.
pub(super) mod names {
    /// I32 `[batch, length]`: token ids.
    pub(in crate::embed) const TOKENS: &str = "tokens";
    /// I32 `[batch, length]`: the row of the table of positions for each token.
    pub(in crate::embed) const POSITIONS: &str = "positions";
    /// F32 `[batch, 1, 1, length]`: 0 for a token, [`HIDDEN`](super::HIDDEN)
    /// for padding.
    pub(in crate::embed) const MASK: &str = "mask";
    /// I32 `[batch]`, all 0: no key comes before a text.
    pub(in crate::embed) const PAST: &str = "past";
    /// I32 `[length, length]`: the bucket of each pair of query and key. Only
    /// for families with relative positions.
    pub(in crate::embed) const BUCKETS: &str = "buckets";
    /// F32 `[batch, length, width]`: the tokens' vectors.
    pub(in crate::embed) const VECTORS: &str = "vectors";
    /// The symbol of the number of texts.
    pub(in crate::embed) const BATCH: &str = "batch";
    /// The symbol of the number of tokens, padding included.
    pub(in crate::embed) const LENGTH: &str = "length";
}

/// What is added to the score of padding: so little that its weight is exactly
/// 0 beside any token, and yet a finite number.
pub(super) const HIDDEN: f32 = -1e38;

/// Builds the graph of an encoder.
///
/// # Errors
/// If a weight is missing or has the wrong shape or type, naming it.
pub(super) fn build(spec: &EncoderSpec, weights: &SafetensorsModel) -> Result<Graph> {
    let mut g = GraphBuilder::new();
    let batch = g.symbol(names::BATCH);
    let length = g.symbol(names::LENGTH);
    let table = [batch.into(), length.into()];
    let tokens = g.input(names::TOKENS, DType::I32, table.clone())?;
    let positions = g.input(names::POSITIONS, DType::I32, table)?;
    let row: [Dim; 4] = [batch.into(), 1.into(), 1.into(), length.into()];
    let mask = g.input(names::MASK, DType::F32, row)?;
    let past = g.input(names::PAST, DType::I32, [batch.into()])?;
    let prefix = prefix(spec, weights)?;
    let mut encoder = Encoder { g, spec, weights, prefix, batch, length, mask, past };
    encoder.relative()?;
    let mut x = encoder.embed(tokens, positions)?;
    for block in 0..spec.blocks {
        x = encoder.block(block, x)?;
    }
    encoder.g.output(names::VECTORS, x)?;
    encoder.g.finish()
}

struct Encoder<'a> {
    g: GraphBuilder,
    spec: &'a EncoderSpec,
    weights: &'a SafetensorsModel,
    prefix: &'static str,
    batch: Symbol,
    length: Symbol,
    mask: ValueId,
    past: ValueId,
}

/// What the names of this file's weights begin with.
fn prefix(spec: &EncoderSpec, weights: &SafetensorsModel) -> Result<&'static str> {
    let names = &spec.family.names;
    let found = |prefix: &&&str| weights.has(&format!("{prefix}{}.weight", names.word));
    names.prefixes.iter().find(found).copied().ok_or_else(|| {
        let tried: Vec<_> = names.prefixes.iter().map(|p| format!("'{p}'")).collect();
        let at = format!("tensor '{}.weight'", names.word);
        let what = format!("missing, also with another beginning ({})", tried.join(", "));
        Error::format(weights.name(), at, what)
    })
}

impl Encoder<'_> {
    /// Adds what families with relative positions add to scores to the mask.
    fn relative(&mut self) -> Result<()> {
        let Some(name) = self.spec.family.names.relative else { return Ok(()) };
        let square = [self.length.into(), self.length.into()];
        let buckets = self.g.input(names::BUCKETS, DType::I32, square)?;
        let extents = [self.spec.buckets, self.spec.heads];
        let table = self.matrix(&format!("{}{name}.weight", self.prefix), &extents)?;
        let bias = self.g.gather(table, buckets, 0)?;
        let bias = self.g.transpose(bias, &[2, 0, 1])?;
        self.mask = self.g.add(bias, self.mask)?;
        Ok(())
    }

    fn embed(&mut self, tokens: ValueId, positions: ValueId) -> Result<ValueId> {
        let (spec, names) = (self.spec, &self.spec.family.names);
        self.g.scope("embeddings.");
        let word = self.table(names.word, spec.vocabulary)?;
        let position = self.table(names.position, spec.positions)?;
        let mut x = self.g.gather(word, tokens, 0)?;
        let y = self.g.gather(position, positions, 0)?;
        x = self.g.add(x, y)?;
        if let Some(name) = names.token_type {
            let first = self.first_row(name)?;
            x = self.g.add(x, first)?;
        }
        self.norm(&format!("{}{}", self.prefix, names.embedding_norm), x)
    }

    fn block(&mut self, block: usize, x: ValueId) -> Result<ValueId> {
        let (spec, names) = (self.spec, &self.spec.family.names);
        self.g.scope(format!("block.{block}."));
        let attended = self.attention(block, x)?;
        let x = self.g.add(attended, x)?;
        let x = self.norm(&self.name(block, names.attention_norm), x)?;
        let up = self.linear(block, names.up, x, spec.inner, spec.width)?;
        let up = self.g.unary(spec.activation, up)?;
        let down = self.linear(block, names.down, up, spec.width, spec.inner)?;
        let x = self.g.add(down, x)?;
        self.norm(&self.name(block, names.output_norm), x)
    }

    fn attention(&mut self, block: usize, x: ValueId) -> Result<ValueId> {
        let (width, names) = (self.spec.width, &self.spec.family.names);
        let q = self.heads(block, names.query, x)?;
        let k = self.heads(block, names.key, x)?;
        let v = self.heads(block, names.value, x)?;
        // Keys and values lie head by head.
        let k = self.g.transpose(k, &[0, 2, 1, 3])?;
        let v = self.g.transpose(v, &[0, 2, 1, 3])?;
        let op = Attention { causal: false, ..Attention::default() };
        let mixed = self.g.attention(op, (q, k, v), self.past, [Some(self.mask), None])?;
        let shape = [self.batch.into(), self.length.into(), width.into()];
        let mixed = self.g.reshape(mixed, &shape)?;
        self.linear(block, names.mixed, mixed, width, width)
    }

    /// A projection to heads: F32 `[batch, length, heads, size]`.
    fn heads(&mut self, block: usize, name: &str, x: ValueId) -> Result<ValueId> {
        let (width, heads) = (self.spec.width, self.spec.heads);
        let y = self.linear(block, name, x, width, width)?;
        let size = width / heads;
        let shape = [self.batch.into(), self.length.into(), heads.into(), size.into()];
        self.g.reshape(y, &shape)
    }

    fn linear(
        &mut self,
        block: usize,
        name: &str,
        x: ValueId,
        outputs: usize,
        inputs: usize,
    ) -> Result<ValueId> {
        let name = self.name(block, name);
        let matrix = self.matrix(&format!("{name}.weight"), &[outputs, inputs])?;
        let bias = self.vector(&format!("{name}.bias"), outputs)?;
        self.g.linear(x, matrix, Some(bias))
    }

    fn norm(&mut self, name: &str, x: ValueId) -> Result<ValueId> {
        // The oldest files have the names of the paper's symbols.
        let old = self.weights.has(&format!("{name}.gamma"));
        let (scale, bias) = if old { ("gamma", "beta") } else { ("weight", "bias") };
        let scale = self.vector(&format!("{name}.{scale}"), self.spec.width)?;
        let bias = self.vector(&format!("{name}.{bias}"), self.spec.width)?;
        self.g.layer_normalization(x, scale, Some(bias), self.spec.epsilon)
    }

    /// The whole name of a block's weight.
    fn name(&self, block: usize, name: &str) -> String {
        format!("{}{}", self.prefix, name.replace("{}", &block.to_string()))
    }

    fn table(&mut self, name: &str, rows: usize) -> Result<ValueId> {
        self.matrix(&format!("{}{name}.weight", self.prefix), &[rows, self.spec.width])
    }

    /// The row of a table that a single text uses, all of its tokens being of
    /// the first type.
    fn first_row(&mut self, name: &str) -> Result<ValueId> {
        let (rows, width) = (self.spec.token_types, self.spec.width);
        let name = format!("{}{name}.weight", self.prefix);
        let tensor = self.tensor(&name, &[rows, width])?;
        let values = self.plain(&name, &tensor)?;
        self.g.constant(&name, Tensor::from_f32(&[width], &values[..width])?)
    }

    fn vector(&mut self, name: &str, len: usize) -> Result<ValueId> {
        let tensor = self.tensor(name, &[len])?;
        if tensor.dtype() == DType::F32 {
            return self.g.constant(name, tensor);
        }
        let values = self.plain(name, &tensor)?;
        self.g.constant(name, Tensor::from_f32(&[len], &values)?)
    }

    fn matrix(&mut self, name: &str, extents: &[usize]) -> Result<ValueId> {
        let tensor = self.tensor(name, extents)?;
        self.check(name, tensor.dtype())?;
        self.g.constant(name, tensor)
    }

    /// The values of a small tensor in F32.
    fn plain(&self, name: &str, tensor: &Tensor) -> Result<Vec<f32>> {
        self.check(name, tensor.dtype())?;
        let mut values = vec![0.0; tensor.len()];
        decode(tensor.dtype(), tensor.bytes(), &mut values)?;
        Ok(values)
    }

    fn tensor(&self, name: &str, extents: &[usize]) -> Result<Tensor> {
        let tensor = self.weights.tensor(name)?;
        if tensor.extents() == extents {
            return Ok(tensor);
        }
        let what =
            format!("extents {:?}, but {} asks for {extents:?}", tensor.extents(), self.spec.file);
        Err(Error::format(self.weights.name(), format_args!("tensor '{name}'"), what))
    }

    /// Checked here because the graph's errors name nodes, not tensors.
    fn check(&self, name: &str, dtype: DType) -> Result<()> {
        if WEIGHT_TYPES.contains(&dtype) {
            return Ok(());
        }
        let at = format_args!("{}: tensor '{name}'", self.weights.name());
        Err(Error::unsupported(at, format_args!("{dtype} weights; supported: F32, F16, BF16")))
    }
}

/// The bucket of each pair of query and key of a text, by how far apart they are: `[length,
/// length]`, queries slowest (K. Song et al., 2020, "MPNet").
pub(super) fn buckets(length: usize, count: usize) -> Vec<i32> {
    let buckets = Buckets { count, furthest: 128, both: true };
    let place = |i: usize| (i % length) as i64 - (i / length) as i64;
    (0..length * length).map(|i| buckets.of(place(i)) as i32).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn buckets_are_those_of_each_pair() {
        let table = buckets(400, 32);
        let at = |query: usize, key: usize| table[query * 400 + key];
        assert_eq!((at(5, 5), at(5, 4), at(5, 6)), (0, 1, 17));
        assert_eq!((at(7, 0), at(8, 0), at(11, 0), at(12, 0)), (7, 8, 8, 9));
        assert_eq!((at(0, 399), at(399, 0)), (31, 15));
    }
}

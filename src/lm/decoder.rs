//! The graph of a decoder: one general block, repeated.

use super::spec::DecoderSpec;
use crate::error::{Error, Result};
use crate::graph::{Dim, Graph, GraphBuilder, Symbol, ValueId};
use crate::ops::attention::Attention;
use crate::ops::elementwise::Unary;
use crate::ops::rotary::RotaryEmbedding;
use crate::quant::WEIGHT_TYPES;
use crate::tensor::{DType, Tensor};

/// Names of the graph's inputs, outputs and symbols.
pub mod names {
    /// I32 `[batch, query]`: token ids.
    pub const TOKENS: &str = "tokens";
    /// I32 `[batch, query]`: the position of each token in its sequence.
    pub const POSITIONS: &str = "positions";
    /// I32 `[batch]`: how many tokens of each sequence are in the cache.
    pub const PAST: &str = "past";
    /// I32 `[rows]`: which of the `batch * query` tokens get logits.
    pub const ROWS: &str = "rows";
    /// F32 `[rows, vocabulary]`.
    pub const LOGITS: &str = "logits";
    /// The symbol of the number of sequences.
    pub const BATCH: &str = "batch";
    /// The symbol of the number of tokens of a step.
    pub const QUERY: &str = "query";
    /// The symbol of the number of tokens a cache has room for.
    pub const CAPACITY: &str = "capacity";
    /// The symbol of the number of rows that get logits.
    pub const ROW_COUNT: &str = "row_count";
}

/// Where weights come from: a tensor by its GGUF name, `None` if there is none.
pub type Weights<'a> = &'a dyn Fn(&str) -> Result<Option<Tensor>>;

/// How a decoder's graph is built.
#[derive(Debug, Clone, Copy)]
pub struct DecoderOptions {
    /// The element type of the key and value caches: F32 or F16.
    pub cache: DType,
    /// Positions for which rotary tables are made.
    pub positions: usize,
}

/// Builds the graph of a decoder.
///
/// # Errors
/// If a weight is missing or has the wrong shape, naming it.
pub fn build(spec: &DecoderSpec, weights: Weights<'_>, options: DecoderOptions) -> Result<Graph> {
    let mut g = GraphBuilder::new();
    let batch = g.symbol(names::BATCH);
    let query = g.symbol(names::QUERY);
    let capacity = g.symbol(names::CAPACITY);
    let row_count = g.symbol(names::ROW_COUNT);
    let tokens = g.input(names::TOKENS, DType::I32, [batch.into(), query.into()])?;
    let positions = g.input(names::POSITIONS, DType::I32, [batch.into(), query.into()])?;
    let past = g.input(names::PAST, DType::I32, [batch.into()])?;
    let rows = g.input(names::ROWS, DType::I32, [row_count.into()])?;
    let (cos, sin) = tables(&mut g, spec, options.positions)?;
    let embedding =
        weight(&mut g, spec, weights, "token_embd.weight", &[spec.vocabulary, spec.width])?;
    let mut b = Blocks {
        g,
        spec,
        weights,
        cache: options.cache,
        batch,
        query,
        capacity,
        positions,
        past,
        cos,
        sin,
    };
    let mut x = b.g.gather(embedding, tokens, 0)?;
    for block in 0..spec.blocks {
        x = b.block(block, x)?;
    }
    let mut g = b.g;
    g.scope("output.");
    // Only the rows asked for go through the head, which is the largest matrix.
    let width = Dim::from(spec.width);
    let flat = g.reshape(x, &[Dim::from(batch) * Dim::from(query), width])?;
    let x = g.gather(flat, rows, 0)?;
    let norm = weight(&mut g, spec, weights, "output_norm.weight", &[spec.width])?;
    let x = g.rms_normalization(x, norm, spec.norm_epsilon)?;
    let head = match weights("output.weight")? {
        Some(_) => weight(&mut g, spec, weights, "output.weight", &[spec.vocabulary, spec.width])?,
        None => embedding,
    };
    let logits = g.linear(x, head, None)?;
    g.output(names::LOGITS, logits)?;
    g.finish()
}

struct Blocks<'a> {
    g: GraphBuilder,
    spec: &'a DecoderSpec,
    weights: Weights<'a>,
    cache: DType,
    batch: Symbol,
    query: Symbol,
    capacity: Symbol,
    positions: ValueId,
    past: ValueId,
    cos: ValueId,
    sin: ValueId,
}

impl Blocks<'_> {
    fn block(&mut self, index: usize, x: ValueId) -> Result<ValueId> {
        self.g.scope(format!("blk.{index}."));
        let normed = self.norm(index, "attn_norm", x)?;
        let attended = self.attention(index, normed)?;
        let x = self.g.add(x, attended)?;
        let normed = self.norm(index, "ffn_norm", x)?;
        let fed = self.feed_forward(index, normed)?;
        self.g.add(x, fed)
    }

    fn norm(&mut self, block: usize, name: &str, x: ValueId) -> Result<ValueId> {
        let weight = self.weight(block, name, &[self.spec.width])?;
        self.g.rms_normalization(x, weight, self.spec.norm_epsilon)
    }

    fn attention(&mut self, block: usize, x: ValueId) -> Result<ValueId> {
        let spec = self.spec;
        let q = self.project(block, "attn_q", x, spec.heads, spec.key_size)?;
        let k = self.project(block, "attn_k", x, spec.kv_heads, spec.key_size)?;
        let v = self.project(block, "attn_v", x, spec.kv_heads, spec.value_size)?;
        let q = self.rotate(q)?;
        let k = self.rotate(k)?;
        let keys = self.append(block, "k", k, spec.key_size)?;
        let values = self.append(block, "v", v, spec.value_size)?;
        let op = Attention { causal: true, ..Attention::default() };
        let mixed = self.g.attention(op, (q, keys, values), self.past, None)?;
        let width = spec.heads * spec.value_size;
        let mixed = self.g.reshape(mixed, &[self.batch.into(), self.query.into(), width.into()])?;
        self.linear(block, "attn_output", mixed, spec.width, width)
    }

    /// A projection to heads: F32 `[batch, query, heads, size]`.
    fn project(
        &mut self,
        block: usize,
        name: &str,
        x: ValueId,
        heads: usize,
        size: usize,
    ) -> Result<ValueId> {
        let y = self.linear(block, name, x, heads * size, self.spec.width)?;
        let shape = [self.batch.into(), self.query.into(), heads.into(), size.into()];
        self.g.reshape(y, &shape)
    }

    fn rotate(&mut self, x: ValueId) -> Result<ValueId> {
        let op = RotaryEmbedding {
            interleaved: self.spec.rope_interleaved,
            rotary_dim: self.spec.rope.rotary_dim,
        };
        self.g.rotary_embedding(op, x, self.cos, self.sin, self.positions)
    }

    /// Appends to a cache at `past` and gives its content: `[batch, kv_heads,
    /// capacity, size]`.
    fn append(&mut self, block: usize, name: &str, x: ValueId, size: usize) -> Result<ValueId> {
        let name = format!("cache.{block}.{name}");
        let kv_heads = Dim::from(self.spec.kv_heads);
        let shape = [self.batch.into(), kv_heads, self.capacity.into(), size.into()];
        let cache = self.g.state(&name, self.cache, shape, Some(2))?;
        self.g.tensor_scatter(cache, x, self.past)
    }

    fn feed_forward(&mut self, block: usize, x: ValueId) -> Result<ValueId> {
        let (width, inner) = (self.spec.width, self.spec.feed_forward);
        let gate = self.linear(block, "ffn_gate", x, inner, width)?;
        let up = self.linear(block, "ffn_up", x, inner, width)?;
        let gate = self.g.unary(Unary::Silu, gate)?;
        let gated = self.g.mul(gate, up)?;
        self.linear(block, "ffn_down", gated, width, inner)
    }

    /// `x * weightᵀ`, plus a bias where the file has one.
    fn linear(
        &mut self,
        block: usize,
        name: &str,
        x: ValueId,
        outputs: usize,
        inputs: usize,
    ) -> Result<ValueId> {
        let matrix = self.weight(block, name, &[outputs, inputs])?;
        let bias = format!("blk.{block}.{name}.bias");
        let bias = match (self.weights)(&bias)? {
            Some(_) => Some(weight(&mut self.g, self.spec, self.weights, &bias, &[outputs])?),
            None => None,
        };
        self.g.linear(x, matrix, bias)
    }

    fn weight(&mut self, block: usize, name: &str, extents: &[usize]) -> Result<ValueId> {
        let name = format!("blk.{block}.{name}.weight");
        weight(&mut self.g, self.spec, self.weights, &name, extents)
    }
}

fn weight(
    g: &mut GraphBuilder,
    spec: &DecoderSpec,
    weights: Weights<'_>,
    name: &str,
    extents: &[usize],
) -> Result<ValueId> {
    let at = format!("tensor '{name}'");
    let tensor = weights(name)?.ok_or_else(|| Error::format(&spec.file, &at, "missing"))?;
    if tensor.extents() != extents {
        let what = format!("extents {:?}, expected {extents:?}", tensor.extents());
        return Err(Error::format(&spec.file, &at, what));
    }
    // Checked here because the graph's errors name nodes, not tensors.
    let known = if extents.len() == 1 { &[DType::F32] } else { &WEIGHT_TYPES[..] };
    if !known.contains(&tensor.dtype()) {
        let known: Vec<_> = known.iter().map(|dtype| dtype.name()).collect();
        let what = format!("{} here; supported: {}", tensor.dtype(), known.join(", "));
        return Err(Error::unsupported(format_args!("{}: {at}", spec.file), what));
    }
    g.constant(name, tensor)
}

fn tables(
    g: &mut GraphBuilder,
    spec: &DecoderSpec,
    positions: usize,
) -> Result<(ValueId, ValueId)> {
    let (cos, sin) = spec.rope.tables(positions)?;
    Ok((g.constant("rope.cos", cos)?, g.constant("rope.sin", sin)?))
}

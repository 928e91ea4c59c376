//! The graph of a decoder: one general block, repeated.

mod slots;

use super::spec::{DecoderSpec, Rotation};
use crate::error::{Error, Result};
use crate::graph::{Dim, Graph, GraphBuilder, Symbol, ValueId};
use crate::ops::attention::Attention;
use crate::ops::elementwise::Unary;
use crate::ops::rotary::RotaryEmbedding;
use crate::ops::rotary::tables::RopeSpec;
use crate::quant::WEIGHT_TYPES;
use crate::tensor::{DType, Tensor};
use slots::Slots;
use std::ops::Range;

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
    /// I32 `[batch, padded]`: which of the tokens are new in each slot, padded
    /// at the end. This and what follows: only with [`Layout::Slots`].
    ///
    /// [`Layout::Slots`]: super::Layout::Slots
    pub const NEW: &str = "new";
    /// I32 `[batch, padded]`: the same, padded at the front.
    pub const QUERIES: &str = "queries";
    /// I32 `[1, query]`: where each token stands in `queries`, counted through.
    pub const BACK: &str = "back";
    /// I32 `[batch]`: the place in its cache that the first of `new` takes.
    pub const WRITE: &str = "write";
    /// I32 `[state_rows]`: which of the tokens get a hidden state.
    pub const STATE_ROWS: &str = "state_rows";
    /// F32 `[state_rows, width]`: what the head would read.
    pub const HIDDEN: &str = "hidden";
    /// The symbol of the number of tokens of a slot, padded.
    pub const PADDED: &str = "padded";
    /// The symbol of the number of rows that get a hidden state.
    pub const STATE_COUNT: &str = "state_count";
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

/// How the tokens of a step lie.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub enum Layout {
    /// `[batch, query]`: as many of each sequence.
    #[default]
    Sequences,
    /// `[1, query]`: any number of each sequence, in any order; indices say
    /// whose they are. `past` is counted from the padded queries: the tokens of
    /// a slot before this step and in it, less `padded`. A slot without tokens
    /// has `past` of `-padded` and a `write` outside of its cache.
    Slots,
}

/// How a decoder's graph is built.
#[derive(Debug, Clone, Copy)]
pub struct DecoderOptions {
    /// The element type of the key and value caches: F32 or F16.
    pub cache: DType,
    /// Positions for which rotary tables are made.
    pub positions: usize,
    /// How the tokens of a step lie.
    pub layout: Layout,
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
    let slots = match options.layout {
        Layout::Sequences => None,
        Layout::Slots => Some(Slots::new(&mut g, batch, query)?),
    };
    let sequences = if slots.is_some() { Dim::from(1u64) } else { batch.into() };
    let flat = [sequences, query.into()];
    let tokens = g.input(names::TOKENS, DType::I32, flat.clone())?;
    let positions = g.input(names::POSITIONS, DType::I32, flat.clone())?;
    let past = g.input(names::PAST, DType::I32, [batch.into()])?;
    let rows = g.input(names::ROWS, DType::I32, [row_count.into()])?;
    let global = tables(&mut g, "rope", &spec.rope, options.positions)?;
    let local = match &spec.local_rope {
        Some(rope) => Some(tables(&mut g, "rope.local", rope, options.positions)?),
        None => None,
    };
    let embedding =
        weight(&mut g, spec, weights, "token_embd.weight", &[spec.vocabulary, spec.width])?;
    let mut b = Blocks {
        g,
        spec,
        weights,
        cache: options.cache,
        batch,
        flat: flat.clone(),
        capacity,
        slots,
        positions,
        past,
        global,
        local,
    };
    let mut x = b.g.gather(embedding, tokens, 0)?;
    if let Some(scale) = spec.embedding_scale {
        let scale = b.g.constant("embedding_scale", Tensor::from_f32(&[], &[scale])?)?;
        x = b.g.mul(x, scale)?;
    }
    for block in 0..spec.blocks {
        x = b.block(block, x)?;
    }
    let mut g = b.g;
    g.scope("output.");
    // Only the rows asked for go through the head, which is the largest matrix.
    let [sequences, query] = flat;
    let flat = g.reshape(x, &[sequences * query, spec.width.into()])?;
    let norm = weight(&mut g, spec, weights, "output_norm.weight", &[spec.width])?;
    if slots.is_some() {
        let count = g.symbol(names::STATE_COUNT);
        let rows = g.input(names::STATE_ROWS, DType::I32, [count.into()])?;
        let x = g.gather(flat, rows, 0)?;
        let hidden = g.rms_normalization(x, norm, spec.norm_epsilon)?;
        g.output(names::HIDDEN, hidden)?;
    }
    let x = g.gather(flat, rows, 0)?;
    let x = g.rms_normalization(x, norm, spec.norm_epsilon)?;
    let head = match weights("output.weight")? {
        Some(_) => weight(&mut g, spec, weights, "output.weight", &[spec.vocabulary, spec.width])?,
        None => embedding,
    };
    let logits = g.linear(x, head, None)?;
    let logits = softcapped(&mut g, logits, spec.final_softcap)?;
    g.output(names::LOGITS, logits)?;
    g.finish()
}

struct Blocks<'a> {
    g: GraphBuilder,
    spec: &'a DecoderSpec,
    weights: Weights<'a>,
    cache: DType,
    batch: Symbol,
    /// The extents of the tokens.
    flat: [Dim; 2],
    capacity: Symbol,
    slots: Option<Slots>,
    positions: ValueId,
    past: ValueId,
    /// Tables of cosines and sines.
    global: (ValueId, ValueId),
    local: Option<(ValueId, ValueId)>,
}

impl Blocks<'_> {
    fn block(&mut self, index: usize, x: ValueId) -> Result<ValueId> {
        self.g.scope(format!("blk.{index}."));
        let normed = self.norm(index, "attn_norm", x)?;
        let mut attended = self.attention(index, normed)?;
        if self.spec.post_norms {
            attended = self.norm(index, "post_attention_norm", attended)?;
        }
        let x = self.g.add(x, attended)?;
        let normed = self.norm(index, "ffn_norm", x)?;
        let mut fed = self.feed_forward(index, normed)?;
        if self.spec.post_norms {
            fed = self.norm(index, "post_ffw_norm", fed)?;
        }
        self.g.add(x, fed)
    }

    /// Over the last dimension, which is the width or a head.
    fn norm(&mut self, block: usize, name: &str, x: ValueId) -> Result<ValueId> {
        let size = if name.ends_with("_q_norm") || name.ends_with("_k_norm") {
            self.spec.key_size
        } else {
            self.spec.width
        };
        let weight = self.weight(block, name, &[size])?;
        self.g.rms_normalization(x, weight, self.spec.norm_epsilon)
    }

    fn attention(&mut self, block: usize, x: ValueId) -> Result<ValueId> {
        let spec = self.spec;
        let [mut q, mut k, v] = self.heads(block, x)?;
        if spec.qk_norm {
            q = self.norm(block, "attn_q_norm", q)?;
            k = self.norm(block, "attn_k_norm", k)?;
        }
        let q = self.rotate(block, q)?;
        let k = self.rotate(block, k)?;
        let keys = self.append(block, "k", k, spec.key_size)?;
        let values = self.append(block, "v", v, spec.value_size)?;
        let op = Attention {
            causal: true,
            scale: spec.attention_scale,
            window: spec.layers[block].window,
            softcap: spec.attention_softcap,
        };
        let q = match self.slots {
            Some(slots) => slots.queries(&mut self.g, q)?,
            None => q,
        };
        let mixed = self.g.attention(op, (q, keys, values), self.past, None)?;
        let width = spec.heads * spec.value_size;
        let mixed = match self.slots {
            Some(slots) => slots.back(&mut self.g, mixed)?,
            None => {
                let [sequences, query] = self.flat.clone();
                self.g.reshape(mixed, &[sequences, query, width.into()])?
            }
        };
        self.linear(block, "attn_output", mixed, spec.width, width)
    }

    /// Queries, keys and values: F32 `[batch, query, heads, size]` each.
    fn heads(&mut self, block: usize, x: ValueId) -> Result<[ValueId; 3]> {
        let spec = self.spec;
        let sizes = [
            (spec.heads, spec.key_size),
            (spec.kv_heads, spec.key_size),
            (spec.kv_heads, spec.value_size),
        ];
        let all = sizes.iter().map(|(heads, size)| heads * size).sum();
        let (mut done, mut projected) = (0, [x; 3]);
        for (i, (heads, size)) in sizes.into_iter().enumerate() {
            let rows = done..done + heads * size;
            done = rows.end;
            let y = if spec.fused_qkv {
                self.rows(block, "attn_qkv", x, rows, (all, spec.width))?
            } else {
                let name = ["attn_q", "attn_k", "attn_v"][i];
                self.linear(block, name, x, heads * size, spec.width)?
            };
            let [sequences, query] = self.flat.clone();
            let shape = [sequences, query, heads.into(), size.into()];
            projected[i] = self.g.reshape(y, &shape)?;
        }
        Ok(projected)
    }

    fn rotate(&mut self, block: usize, x: ValueId) -> Result<ValueId> {
        let tables = match self.spec.layers[block].rotation {
            Rotation::None => return Ok(x),
            Rotation::Local => self.local.unwrap_or(self.global),
            Rotation::Global => self.global,
        };
        let op = RotaryEmbedding {
            interleaved: self.spec.rope_interleaved,
            rotary_dim: self.spec.rope.rotary_dim,
        };
        self.g.rotary_embedding(op, x, tables.0, tables.1, self.positions)
    }

    /// Appends to a cache at `past` and gives its content: `[batch, kv_heads,
    /// capacity, size]`.
    fn append(&mut self, block: usize, name: &str, x: ValueId, size: usize) -> Result<ValueId> {
        let name = format!("cache.{block}.{name}");
        let kv_heads = Dim::from(self.spec.kv_heads);
        let shape = [self.batch.into(), kv_heads, self.capacity.into(), size.into()];
        let cache = self.g.state(&name, self.cache, shape, Some(2))?;
        match self.slots {
            Some(slots) => slots.append(&mut self.g, cache, x),
            None => self.g.tensor_scatter(cache, x, self.past),
        }
    }

    fn feed_forward(&mut self, block: usize, x: ValueId) -> Result<ValueId> {
        let (width, inner) = (self.spec.width, self.spec.feed_forward);
        let (gate, up) = if self.spec.fused_gate {
            let both = (2 * inner, width);
            let gate = self.rows(block, "ffn_up", x, 0..inner, both)?;
            (gate, self.rows(block, "ffn_up", x, inner..2 * inner, both)?)
        } else {
            let gate = self.linear(block, "ffn_gate", x, inner, width)?;
            (gate, self.linear(block, "ffn_up", x, inner, width)?)
        };
        let gate = self.g.unary(self.spec.activation, gate)?;
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

    /// [`Self::linear`] with some rows of a matrix of `extents`, and of its bias.
    fn rows(
        &mut self,
        block: usize,
        name: &str,
        x: ValueId,
        rows: Range<usize>,
        (outputs, inputs): (usize, usize),
    ) -> Result<ValueId> {
        let part = |name: &str| format!("{name}[{}..{}]", rows.start, rows.end);
        let matrix = format!("blk.{block}.{name}.weight");
        let tensor = checked(self.spec, self.weights, &matrix, &[outputs, inputs])?;
        let matrix = self.g.constant(&part(&matrix), tensor.rows(rows.clone())?)?;
        let bias = format!("blk.{block}.{name}.bias");
        let bias = match (self.weights)(&bias)? {
            Some(_) => {
                let tensor = checked(self.spec, self.weights, &bias, &[outputs])?;
                Some(self.g.constant(&part(&bias), tensor.rows(rows.clone())?)?)
            }
            None => None,
        };
        self.g.linear(x, matrix, bias)
    }

    fn weight(&mut self, block: usize, name: &str, extents: &[usize]) -> Result<ValueId> {
        let name = format!("blk.{block}.{name}.weight");
        weight(&mut self.g, self.spec, self.weights, &name, extents)
    }
}

/// `cap * tanh(x / cap)`.
fn softcapped(g: &mut GraphBuilder, x: ValueId, cap: Option<f32>) -> Result<ValueId> {
    let Some(cap) = cap else { return Ok(x) };
    let inverse = g.constant("softcap.inverse", Tensor::from_f32(&[], &[1.0 / cap])?)?;
    let cap = g.constant("softcap", Tensor::from_f32(&[], &[cap])?)?;
    let x = g.mul(x, inverse)?;
    let x = g.unary(Unary::Tanh, x)?;
    g.mul(x, cap)
}

fn weight(
    g: &mut GraphBuilder,
    spec: &DecoderSpec,
    weights: Weights<'_>,
    name: &str,
    extents: &[usize],
) -> Result<ValueId> {
    g.constant(name, checked(spec, weights, name, extents)?)
}

/// A weight with the extents and a dtype that the decoder can use.
fn checked(
    spec: &DecoderSpec,
    weights: Weights<'_>,
    name: &str,
    extents: &[usize],
) -> Result<Tensor> {
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
    Ok(tensor)
}

fn tables(
    g: &mut GraphBuilder,
    name: &str,
    rope: &RopeSpec,
    positions: usize,
) -> Result<(ValueId, ValueId)> {
    let (cos, sin) = rope.tables(positions)?;
    Ok((g.constant(&format!("{name}.cos"), cos)?, g.constant(&format!("{name}.sin"), sin)?))
}

//! The graph of a decoder: one general block, repeated.

mod attention;
mod channels;
mod choice;
mod convolution;
mod cross;
mod feed;
mod latent;
pub mod names;
mod recurrent;
mod relative;
mod rwkv;
mod slots;
mod streams;
mod told;
mod weights;
mod whole;

pub use choice::MOST;
pub(crate) use whole::build_whole;

use super::experts::Beside;
use super::latent::Latent;
use super::layers::{Mixer, Rotation};
use super::lora::LOOKED_UP;
use super::spec::{DecoderSpec, Norm, Part};
use crate::error::{Error, Result};
use crate::graph::{Dim, Graph, GraphBuilder, Symbol, ValueId};
use crate::ops::elementwise::Unary;
use crate::ops::rotary::tables::RopeSpec;
use crate::tensor::{DType, Tensor};
use cross::Sources;
use relative::Distances;
use slots::Slots;
use std::collections::HashMap;

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
    /// Whether there are inputs and outputs for tokens that the device chooses.
    pub chooses: bool,
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
    let slots = match options.layout {
        Layout::Sequences => None,
        Layout::Slots => Some(Slots::new(&mut g, batch, query)?),
    };
    let sequences = if slots.is_some() { Dim::from(1u64) } else { batch.into() };
    let flat = [sequences, query.into()];
    let tokens = g.input(names::TOKENS, DType::I32, flat.clone())?;
    let positions = g.input(names::POSITIONS, DType::I32, flat.clone())?;
    let past = g.input(names::PAST, DType::I32, [batch.into()])?;
    let inputs = Inputs { tokens, positions, past };
    let symbols = Symbols { batch, capacity };
    let mut b = Blocks::start(g, spec, weights, options, (inputs, symbols, flat.clone(), slots))?;
    if spec.source.is_some() {
        b.sources = Some(Sources::new(&mut b.g, batch, spec.width)?);
    }
    b.bias = b.alibi()?;
    b.chunks = b.outside_of_chunks(options.positions)?;
    let embedding = b.named(spec.embedding, &[spec.vocabulary, spec.width])?;
    let x = b.residual(tokens, embedding)?;
    b.g.scope("output.");
    // Only the rows asked for go through the head, which is the largest matrix.
    let [sequences, query] = flat;
    let flat = b.g.reshape(x, &[sequences * query, spec.width.into()])?;
    b.outputs(flat, embedding)?;
    b.g.finish()
}

/// The inputs that blocks read.
#[derive(Debug, Clone, Copy)]
struct Inputs {
    tokens: ValueId,
    positions: ValueId,
    past: ValueId,
}

/// The number of sequences, and of the keys that a query may see.
#[derive(Debug, Clone, Copy)]
struct Symbols {
    batch: Symbol,
    capacity: Symbol,
}

/// What normalisation multiplies with, and what it adds.
type Scales = (ValueId, Option<ValueId>);

/// What the blocks of a decoder are built from.
pub(super) struct Blocks<'a> {
    pub(super) g: GraphBuilder,
    pub(super) spec: &'a DecoderSpec,
    pub(super) weights: Weights<'a>,
    cache: DType,
    batch: Symbol,
    /// The extents of the tokens.
    pub(super) flat: [Dim; 2],
    capacity: Symbol,
    slots: Option<Slots>,
    positions: ValueId,
    pub(super) past: ValueId,
    /// The adapter of each token, where tokens choose one.
    pub(super) chosen_slots: Option<ValueId>,
    /// Where the tokens of each sequence begin, once a block has asked.
    span: Option<ValueId>,
    /// Tables of cosines and sines.
    global: (ValueId, ValueId),
    local: Option<(ValueId, ValueId)>,
    /// What is added to attention scores.
    bias: Option<ValueId>,
    /// The same where a query sees only its chunk.
    chunks: Option<ValueId>,
    /// The same where an encoder's query sees only a window.
    windowed: Option<ValueId>,
    /// What scores by distance are made of.
    distances: Distances,
    /// What another part has read.
    sources: Option<Sources>,
    /// What queries are multiplied with.
    temperature: Option<ValueId>,
    /// The values of the first block (RWKV-7).
    first_values: Option<ValueId>,
    /// The keys and values of the blocks so far that have some.
    caches: Vec<(ValueId, ValueId)>,
    /// How often tokens went through all blocks, or through a stack of them.
    pub(super) round: usize,
    /// The embeddings, where they are added behind each block.
    skip: Option<ValueId>,
    /// Constants that are read several times.
    shared: HashMap<String, ValueId>,
    /// Whether tokens are chosen where logits are.
    chooses: bool,
    /// Whether the tokens of a step are all there are: nothing is kept of them.
    whole: bool,
}

impl<'a> Blocks<'a> {
    /// What all graphs begin with. `flat` are the extents of the tokens.
    fn start(
        mut g: GraphBuilder,
        spec: &'a DecoderSpec,
        weights: Weights<'a>,
        options: DecoderOptions,
        (inputs, symbols, flat, slots): (Inputs, Symbols, [Dim; 2], Option<Slots>),
    ) -> Result<Self> {
        let global = tables(&mut g, "rope", &spec.rope, options.positions)?;
        let local = match &spec.local_rope {
            Some(rope) => Some(tables(&mut g, "rope.local", rope, options.positions)?),
            None => None,
        };
        let mut blocks = Blocks {
            g,
            spec,
            weights,
            cache: options.cache,
            batch: symbols.batch,
            flat,
            capacity: symbols.capacity,
            slots,
            positions: inputs.positions,
            past: inputs.past,
            chosen_slots: None,
            span: None,
            global,
            local,
            bias: None,
            chunks: None,
            windowed: None,
            distances: Distances::default(),
            sources: None,
            temperature: None,
            first_values: None,
            caches: Vec::new(),
            round: 0,
            skip: None,
            shared: HashMap::new(),
            chooses: options.chooses,
            whole: false,
        };
        blocks.temperature = blocks.temperatures()?;
        Ok(blocks)
    }

    /// From tokens to the residual stream behind the last block: `[.., query, width]`.
    fn residual(&mut self, tokens: ValueId, embedding: ValueId) -> Result<ValueId> {
        let spec = self.spec;
        let tokens = match &spec.switch {
            Some(switch) => self.switch(switch, tokens)?,
            None => tokens,
        };
        let mut x = self.g.gather(embedding, tokens, 0)?;
        if let Some([a, b]) = self.added_by_loras(LOOKED_UP, None)? {
            let narrow = self.g.gather(a, tokens, 0)?;
            let added = self.g.linear(narrow, b, None)?;
            x = self.g.add(x, added)?;
        }
        x = self.scaled("embedding_scale", x, spec.embedding_scale)?;
        // BERT's norm is behind everything that is added.
        if spec.stream_norms {
            x = self.with_type(x)?;
        }
        if spec.positions && spec.stream_norms {
            x = self.with_positions(x)?;
        }
        if spec.embedding_norm {
            x = self.normalised("token_embd_norm", x, spec.width)?;
        }
        if spec.embedding_norm_bare {
            x = self.bare_norm(x, spec.width)?;
        }
        if spec.positions && !spec.stream_norms {
            x = self.with_positions(x)?;
        }
        if let Some(cycles) = spec.cycles {
            return self.cycled(cycles, x);
        }
        self.skip = Some(x).filter(|_| spec.skips);
        if let Some(streams) = &spec.streams {
            return self.streamed(streams, x, tokens);
        }
        let inputs = match spec.told.and_then(|told| told.per_block) {
            Some(_) => Some(self.inputs_of_blocks(x, tokens)?),
            None => None,
        };
        for round in 0..spec.rounds {
            if round > 0 && spec.round_norms {
                x = self.normalised(spec.output_norm, x, spec.width)?;
            }
            self.round = round;
            for block in 0..spec.blocks {
                x = self.block(block, x)?;
                x = self.behind(block, x, inputs)?;
            }
        }
        Ok(x)
    }

    pub(super) fn block(&mut self, index: usize, x: ValueId) -> Result<ValueId> {
        let spec = self.spec;
        self.g.scope(format!("blk.{}.", self.place(index)));
        if spec.layers[index].mixer == Mixer::Nothing {
            return self.block_of_feeding(index, x);
        }
        if spec.stream_norms {
            return self.block_with_stream_norms(index, x);
        }
        // The first block of some encoders reads what was just normalised.
        let first = spec.sees_behind && spec.part == Part::Whole && index == 0;
        let done = first && !self.has(index, "attn_norm.weight")?;
        let normed = if spec.pre_norms && !done { self.norm(index, "attn_norm", x)? } else { x };
        // Some have a norm for attention beside the one that both share.
        let read = match !spec.is_rwkv() && self.has(index, "attn_norm_2.weight")? {
            true => self.norm(index, "attn_norm_2", x)?,
            false => normed,
        };
        let mut attended = self.mixed(index, read)?;
        if spec.post_norms {
            let name = self.first_there(index, ["attn_output_norm", "post_attention_norm"])?;
            attended = self.post_norm(index, name, attended)?;
        }
        let attended = self.scaled("residual_scale", attended, spec.residual_scale)?;
        let mut stream = self.g.add(x, attended)?;
        if let Some(sources) = self.sources {
            let found = self.looked_up(index, sources, stream)?;
            stream = self.g.add(stream, found)?;
        }
        if !spec.layers[index].feeds {
            return Ok(stream);
        }
        let read = match (spec.parallel, self.feed_norm(index)?) {
            (true, Some(name)) => self.norm(index, name, x)?,
            (true, None) => normed,
            (false, Some(name)) => self.norm(index, name, stream)?,
            (false, None) => stream,
        };
        let mut fed = match self.beside(index)? {
            Beside::Nothing => self.fed(index, read, x)?,
            beside => self.fed_twice(index, beside, [read, stream, x])?,
        };
        if spec.post_norms {
            let name = self.first_there(index, ["layer_output_norm", "post_ffw_norm"])?;
            fed = self.post_norm(index, name, fed)?;
        }
        let fed = self.scaled("residual_scale", fed, spec.residual_scale)?;
        self.g.add(stream, fed)
    }

    /// Which block of all rounds one is.
    fn place(&self, block: usize) -> usize {
        self.round * self.spec.blocks + block
    }

    /// A block without attention: a feed-forward layer, or nothing at all.
    fn block_of_feeding(&mut self, index: usize, x: ValueId) -> Result<ValueId> {
        if !self.spec.layers[index].feeds {
            return Ok(x);
        }
        let read = self.norm(index, "ffn_norm", x)?;
        let fed = self.fed(index, read, x)?;
        self.g.add(x, fed)
    }

    /// What is done to the residual stream behind a block.
    fn behind(&mut self, index: usize, x: ValueId, inputs: Option<ValueId>) -> Result<ValueId> {
        let mut x = x;
        if let Some(inputs) = inputs {
            let input = self.input_of(index, inputs)?;
            let told = self.told(index, x, input)?;
            x = self.g.add(x, told)?;
        }
        x = self.halved(index, x)?;
        if let Some(skip) = self.skip {
            let scale = self.weight(index, "layer_output_scale", &[1])?;
            let skipped = self.g.mul(skip, scale)?;
            return self.g.add(x, skipped);
        }
        match self.optional(index, "layer_output_scale.weight", &[1])? {
            Some(scale) => self.g.mul(x, scale),
            None => Ok(x),
        }
    }

    /// How the tokens of a block learn of each other, or what it does instead.
    fn mixed(&mut self, index: usize, x: ValueId) -> Result<ValueId> {
        let (mixer, width) = (self.spec.layers[index].mixer, self.spec.width);
        let recurrent = match self.spec.recurrent {
            Some(sizes) if matches!(mixer, Mixer::Recurrent | Mixer::Both) => {
                Some(self.recurrent(index, sizes, x)?)
            }
            _ => None,
        };
        match (mixer, recurrent) {
            (Mixer::Convolution, _) => self.convolution(index, x),
            (Mixer::FeedForward, _) => self.fed(index, x, x),
            (Mixer::Matrix, _) => self.linear(index, "attn_output", x, width, width),
            // Such a block does not come here.
            (Mixer::Nothing, _) => Ok(x),
            (Mixer::Recurrent, Some(recurrent)) => Ok(recurrent),
            (Mixer::Recurrent, None) => Err(Error::internal("a recurrent block of no sizes")),
            (Mixer::Attention | Mixer::Both, None) => self.attention(index, x),
            (Mixer::Attention | Mixer::Both, Some(recurrent)) => {
                let attended = self.attention(index, x)?;
                self.g.add(attended, recurrent)
            }
        }
    }

    /// The feed-forward layer, or the experts in its place; `input` is what the block
    /// reads.
    fn fed(&mut self, index: usize, x: ValueId, input: ValueId) -> Result<ValueId> {
        match self.has_experts(index)? {
            true => self.experts(index, x, input),
            false if self.has(index, "channel_mix_key.weight")? => self.channel_mix(index, x),
            false => self.feed_forward(index, x),
        }
    }

    /// The norm before the feed-forward layer, which has three names in files.
    fn feed_norm(&self, block: usize) -> Result<Option<&'static str>> {
        let spec = self.spec;
        let other = !spec.post_norms && self.has(block, "post_attention_norm.weight")?;
        Ok(match self.has(block, "ffn_norm.weight")? {
            true => Some("ffn_norm"),
            false if spec.is_rwkv() => Some("attn_norm_2"),
            false if self.has(block, "attn_output_norm.weight")? => Some("attn_output_norm"),
            false if other => Some("post_attention_norm"),
            false if !spec.pre_norms || spec.parallel => None,
            false => Some("ffn_norm"),
        })
    }

    /// The name of a norm that has two in files.
    fn first_there(&self, block: usize, names: [&'static str; 2]) -> Result<&'static str> {
        let [first, second] = names;
        Ok(if self.has(block, &format!("{first}.weight"))? { first } else { second })
    }

    pub(in crate::lm) fn norm(&mut self, block: usize, name: &str, x: ValueId) -> Result<ValueId> {
        self.normalised(&self.spec.part.tensor(block, name), x, self.spec.width)
    }

    /// The same of what is added to the residual stream.
    fn post_norm(&mut self, block: usize, name: &str, x: ValueId) -> Result<ValueId> {
        let scales = self.scales(&self.spec.part.tensor(block, name), self.spec.width)?;
        let epsilon = self.spec.post_epsilon.unwrap_or(self.spec.norm_epsilon);
        self.normalised_with(scales, x, epsilon)
    }

    /// Normalisation over the last dimension, of so many elements.
    pub(super) fn normalised(&mut self, name: &str, x: ValueId, size: usize) -> Result<ValueId> {
        let scales = self.scales(name, size)?;
        self.normalised_by(scales, x)
    }

    /// What normalisation multiplies with, and adds.
    fn scales(&mut self, name: &str, size: usize) -> Result<Scales> {
        let scale = match self.spec.norm {
            Norm::Bare | Norm::BareRms => self.ones(size)?,
            Norm::Rms | Norm::RmsBiased | Norm::Layer => {
                self.named(&format!("{name}.weight"), &[size])?
            }
        };
        let bias = match self.spec.norm {
            Norm::Rms | Norm::BareRms => None,
            Norm::Bare | Norm::RmsBiased | Norm::Layer => {
                self.named_if_there(&format!("{name}.bias"), &[size])?
            }
        };
        Ok((scale, bias))
    }

    fn normalised_by(&mut self, scales: Scales, x: ValueId) -> Result<ValueId> {
        self.normalised_with(scales, x, self.spec.norm_epsilon)
    }

    fn normalised_with(
        &mut self,
        (scale, bias): Scales,
        x: ValueId,
        epsilon: f32,
    ) -> Result<ValueId> {
        if !matches!(self.spec.norm, Norm::Rms | Norm::RmsBiased | Norm::BareRms) {
            return self.g.layer_normalization(x, scale, bias, epsilon);
        }
        let normed = self.g.rms_normalization(x, scale, epsilon)?;
        match bias {
            Some(bias) => self.g.add(normed, bias),
            None => Ok(normed),
        }
    }

    /// Adds the embeddings of positions.
    fn with_positions(&mut self, x: ValueId) -> Result<ValueId> {
        let spec = self.spec;
        let table = self.named("position_embd.weight", &[spec.context, spec.width])?;
        let places = self.g.gather(table, self.positions, 0)?;
        self.g.add(x, places)
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

fn tables(
    g: &mut GraphBuilder,
    name: &str,
    rope: &RopeSpec,
    positions: usize,
) -> Result<(ValueId, ValueId)> {
    let (cos, sin) = rope.tables(positions)?;
    Ok((g.constant(&format!("{name}.cos"), cos)?, g.constant(&format!("{name}.sin"), sin)?))
}

//! The graph over whole texts: no caches, vectors of tokens instead of logits, and for
//! encoders attention to what comes behind a token as well.

use super::{Blocks, DecoderOptions, Inputs, Layout, Symbols, Weights, names};
use crate::error::{Error, Result};
use crate::graph::{Dim, Graph, GraphBuilder, ValueId};
use crate::lm::layers::Mixer;
use crate::lm::spec::DecoderSpec;
use crate::ops::elementwise::{Binary, Unary};
use crate::tensor::{DType, Tensor};

/// What is added to the scores of keys outside of a window: so little that their weight
/// is exactly 0, and yet a finite number, also twice.
const OUTSIDE: f32 = -1e38;

/// Builds the graph over whole texts of at most so many tokens.
///
/// Inputs: [`names::TOKENS`] and [`names::POSITIONS`], I32 `[batch, query]`;
/// [`names::PAST`], I32 `[batch]`, all 0; and for encoders [`names::MASK`], F32 `[batch,
/// 1, 1, query]`: 0 for a token, a very low number for padding, which comes last. One with
/// scores by distance has no mask: `past` is a text's tokens less `query`, which hides as
/// much. Output: [`names::VECTORS`], F32 `[batch, query, width]`, behind the last norm.
///
/// # Errors
/// If a weight is missing or has the wrong shape, naming it; [`Error::Unsupported`] for
/// blocks that keep a state from token to token.
pub(crate) fn build_whole(
    spec: &DecoderSpec,
    weights: Weights<'_>,
    positions: usize,
) -> Result<Graph> {
    let keeps = |mixer| matches!(mixer, Mixer::Recurrent | Mixer::Both | Mixer::Convolution);
    if spec.layers.iter().any(|layer| keeps(layer.mixer) || layer.chunk.is_some()) {
        let what = format!("vectors of texts from architecture '{}'", spec.architecture);
        return Err(Error::unsupported(&spec.file, what));
    }
    let mut g = GraphBuilder::new();
    let batch = g.symbol(names::BATCH);
    let query = g.symbol(names::QUERY);
    let flat = [Dim::from(batch), Dim::from(query)];
    let inputs = Inputs {
        tokens: g.input(names::TOKENS, DType::I32, flat.clone())?,
        positions: g.input(names::POSITIONS, DType::I32, flat.clone())?,
        past: g.input(names::PAST, DType::I32, [batch.into()])?,
    };
    let symbols = Symbols { batch, capacity: query };
    let options =
        DecoderOptions { cache: DType::F32, positions, layout: Layout::Sequences, chooses: false };
    let mut b = Blocks::start(g, spec, weights, options, (inputs, symbols, flat, None))?;
    b.whole = true;
    b.bias = match (spec.sees_behind, spec.relative) {
        (true, Some(_)) => None,
        (true, None) => Some(b.mask()?),
        (false, _) => b.alibi()?,
    };
    b.windowed = b.outside_of_window()?;
    let embedding = b.named(spec.embedding, &[spec.vocabulary, spec.width])?;
    let mut x = b.residual(inputs.tokens, embedding)?;
    b.g.scope("output.");
    if !spec.stream_norms {
        x = b.normalised(spec.output_norm, x, spec.width)?;
    }
    b.g.output(names::VECTORS, x)?;
    b.g.finish()
}

impl Blocks<'_> {
    /// A block that normalises the residual stream itself.
    pub(super) fn block_with_stream_norms(&mut self, index: usize, x: ValueId) -> Result<ValueId> {
        let attended = self.mixed(index, x)?;
        let mut stream = self.g.add(attended, x)?;
        stream = self.norm(index, "attn_output_norm", stream)?;
        // Jina's model for code adds what the block reads once more.
        if self.has(index, "attn_norm_2.weight")? {
            stream = self.g.add(stream, x)?;
            stream = self.norm(index, "attn_norm_2", stream)?;
        }
        let fed = self.fed(index, stream, x)?;
        let stream = self.g.add(fed, stream)?;
        self.norm(index, "layer_output_norm", stream)
    }

    /// Adds the embedding of the first type of tokens, which all of a single text have.
    pub(super) fn with_type(&mut self, x: ValueId) -> Result<ValueId> {
        let name = "token_types.weight";
        let Some(table) = (self.weights)(name)? else { return Ok(x) };
        let extents = [table.extents().first().copied().unwrap_or(0), self.spec.width];
        let table = self.named(name, &extents)?;
        let first = self.g.constant("token_types.first", Tensor::from_i32(&[], &[0])?)?;
        let first = self.g.gather(table, first, 0)?;
        self.g.add(x, first)
    }

    /// What is added to the scores of an encoder: that of padding and, with ALiBi, a slope
    /// times how far apart query and key are.
    fn mask(&mut self) -> Result<ValueId> {
        let one = Dim::from(1u64);
        let row = [self.batch.into(), one.clone(), one, self.capacity.into()];
        let mask = self.g.input(names::MASK, DType::F32, row)?;
        let Some(exponent) = self.spec.alibi else { return Ok(mask) };
        let distances = self.distances()?;
        let slopes = self.slopes(exponent, -1.0)?;
        let bias = self.g.mul(distances, slopes)?;
        self.g.add(bias, mask)
    }

    /// The same where a query sees keys up to half of a window to either side.
    fn outside_of_window(&mut self) -> Result<Option<ValueId>> {
        let window = self.spec.layers.iter().find_map(|layer| layer.window);
        let (Some(window), Some(bias)) = (window, self.bias) else { return Ok(None) };
        if !self.spec.sees_behind {
            return Ok(None);
        }
        let distances = self.distances()?;
        let half = self.number("window.half", (window / 2) as f32)?;
        let outside = self.g.binary(Binary::Greater, distances, half)?;
        let low = self.number("window.outside", OUTSIDE)?;
        let zero = self.number("window.inside", 0.0)?;
        let outside = self.g.select(outside, low, zero)?;
        self.g.add(outside, bias).map(Some)
    }

    /// How far apart query and key are: F32 `[batch, 1, query, query]`.
    fn distances(&mut self) -> Result<ValueId> {
        let (one, query) = (Dim::from(1u64), Dim::from(self.capacity));
        let positions = self.g.cast(self.positions, DType::F32)?;
        let batch = Dim::from(self.batch);
        let column = [batch.clone(), one.clone(), query.clone(), one.clone()];
        let column = self.g.reshape(positions, &column)?;
        let row = self.g.reshape(positions, &[batch, one.clone(), one, query])?;
        let apart = self.g.sub(column, row)?;
        self.g.unary(Unary::Abs, apart)
    }
}

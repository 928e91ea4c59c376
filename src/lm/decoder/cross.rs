//! Attention to what another part of the model has read (T5).
//!
//! Keys and values of a source are made of its vectors in the step that brings them, and
//! stay in states of their own. All other steps bring no rows, which costs nothing.

use super::{Blocks, names};
use crate::error::Result;
use crate::graph::{Dim, GraphBuilder, Symbol, ValueId};
use crate::lm::heads::Heads;
use crate::ops::attention::Attention;
use crate::tensor::DType;

/// The inputs that tell of sources.
#[derive(Debug, Clone, Copy)]
pub(super) struct Sources {
    count: Symbol,
    /// The vectors of one source.
    read: ValueId,
    /// Whose it is: where its rows go in the caches of each sequence.
    place: ValueId,
    /// What the queries of each sequence see.
    seen: ValueId,
}

impl Sources {
    pub(super) fn new(g: &mut GraphBuilder, batch: Symbol, width: usize) -> Result<Self> {
        let count = g.symbol(names::READ_COUNT);
        let rows = [Dim::from(1u64), count.into(), width.into()];
        Ok(Sources {
            count,
            read: g.input(names::READ, DType::F32, rows)?,
            place: g.input(names::READ_PLACE, DType::I32, [batch.into()])?,
            seen: g.input(names::SEEN, DType::I32, [batch.into()])?,
        })
    }
}

impl Blocks<'_> {
    /// What a block finds in the source, `[.., width]`, by the residual stream.
    pub(super) fn looked_up(
        &mut self,
        block: usize,
        sources: Sources,
        x: ValueId,
    ) -> Result<ValueId> {
        let Heads { count, kv_count, key_size, value_size } = self.heads_of(block);
        let width = self.spec.width;
        let x = self.norm(block, "cross_attn_norm", x)?;
        let q = self.linear(block, "cross_attn_q", x, count * key_size, width)?;
        let q = self.as_heads(q, count, key_size)?;
        let q = match self.slots {
            Some(slots) => slots.queries(&mut self.g, q)?,
            None => q,
        };
        let keys = self.remembered_source(block, sources, ("k", kv_count, key_size))?;
        let values = self.remembered_source(block, sources, ("v", kv_count, value_size))?;
        let op = Attention {
            causal: false,
            scale: self.spec.attention_scale,
            window: None,
            softcap: None,
        };
        let found = self.g.attention(op, (q, keys, values), sources.seen, [None, None])?;
        let found = self.gathered(found, count * value_size)?;
        self.linear(block, "cross_attn_o", found, width, count * value_size)
    }

    /// Keys or values of all sources, `[batch, heads, capacity, size]`, with those of the
    /// one that this step brings.
    fn remembered_source(
        &mut self,
        block: usize,
        sources: Sources,
        (letter, heads, size): (&str, usize, usize),
    ) -> Result<ValueId> {
        let name = format!("cross_attn_{letter}");
        let rows = self.linear(block, &name, sources.read, heads * size, self.spec.width)?;
        let extents = [Dim::from(sources.count), heads.into(), size.into()];
        let one = [Dim::from(1u64)].into_iter().chain(extents.clone());
        let rows = self.g.reshape(rows, &one.collect::<Vec<_>>())?;
        // Of the others they fall behind the cache.
        let each = [Dim::from(self.batch)].into_iter().chain(extents);
        let rows = self.g.expand(rows, &each.collect::<Vec<_>>())?;
        let shape = [self.batch.into(), Dim::from(heads), self.capacity.into(), size.into()];
        let name = format!("source.{block}.{letter}");
        let cache = self.g.state(&name, self.cache, shape, Some(2))?;
        self.g.tensor_scatter_inside(cache, rows, sources.place)
    }
}

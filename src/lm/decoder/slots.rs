//! Many sequences in one step: tokens of all of them in one row, spread over
//! the slots of the caches only where attention needs them apart.

use super::names;
use crate::error::Result;
use crate::graph::{Dim, GraphBuilder, Symbol, ValueId};
use crate::tensor::DType;

/// The inputs that say which token is whose.
#[derive(Debug, Clone, Copy)]
pub(super) struct Slots {
    batch: Symbol,
    padded: Symbol,
    /// Tokens of each slot, padded at the end: what goes into the caches.
    new: ValueId,
    /// Tokens of each slot, padded at the front: the queries.
    queries: ValueId,
    /// Where each token stands among the queries.
    back: ValueId,
    /// The place in its cache that the first token of each slot takes.
    write: ValueId,
}

impl Slots {
    pub(super) fn new(g: &mut GraphBuilder, batch: Symbol, query: Symbol) -> Result<Self> {
        let padded = g.symbol(names::PADDED);
        let spread = [batch.into(), padded.into()];
        Ok(Slots {
            batch,
            padded,
            new: g.input(names::NEW, DType::I32, spread.clone())?,
            queries: g.input(names::QUERIES, DType::I32, spread)?,
            back: g.input(names::BACK, DType::I32, [Dim::from(1u64), query.into()])?,
            write: g.input(names::WRITE, DType::I32, [batch.into()])?,
        })
    }

    /// Queries `[1, query, heads, size]` to `[batch, padded, heads, size]`.
    pub(super) fn queries(&self, g: &mut GraphBuilder, x: ValueId) -> Result<ValueId> {
        self.spread(g, x, self.queries)
    }

    /// How many tokens of each slot came before this step; for one that takes no part,
    /// the capacity.
    pub(super) fn write(&self) -> ValueId {
        self.write
    }

    /// Appends keys or values `[1, query, heads, size]` to a cache.
    pub(super) fn append(
        &self,
        g: &mut GraphBuilder,
        cache: ValueId,
        x: ValueId,
    ) -> Result<ValueId> {
        let x = self.spread(g, x, self.new)?;
        // Padding may reach behind the end of a cache that is full.
        g.tensor_scatter_inside(cache, x, self.write)
    }

    /// What attention gives, `[batch, padded, heads, size]`, to `[1, query,
    /// heads * size]`.
    pub(super) fn back(&self, g: &mut GraphBuilder, x: ValueId) -> Result<ValueId> {
        let width = Dim::product(&g.ty(x).shape[2..]);
        let rows = Dim::from(self.batch) * Dim::from(self.padded);
        let x = g.reshape(x, &[rows, width])?;
        g.gather(x, self.back, 0)
    }

    /// `[1, query, heads, size]` to `[batch, padded, heads, size]`.
    fn spread(&self, g: &mut GraphBuilder, x: ValueId, rows: ValueId) -> Result<ValueId> {
        let shape = g.ty(x).shape.clone();
        let x = g.reshape(x, &[shape[1].clone(), Dim::product(&shape[2..])])?;
        let x = g.gather(x, rows, 0)?;
        let (heads, size) = (shape[2].clone(), shape[3].clone());
        g.reshape(x, &[self.batch.into(), self.padded.into(), heads, size])
    }
}

//! What is added to scores by how far a key is from its query.

use super::Blocks;
use super::weights::checked;
use crate::error::{Error, Result};
use crate::graph::{Dim, ValueId};
use crate::lm::relative::FURTHEST;
use crate::lm::spec::Relative;
use crate::ops::elementwise::Unary;
use crate::quant::decode;
use crate::tensor::{DType, Tensor};

/// A block's table of scores, `[buckets, heads]`.
const TABLE: &str = "attn_rel_b.weight";

/// What blocks have in common of it.
#[derive(Debug, Clone, Copy, Default)]
pub(super) struct Distances {
    /// The column of each key in a table by distance: I32 `[query, keys]` or `[batch,
    /// query, keys]`.
    columns: Option<ValueId>,
    /// The scores of the first block, which those without a table have, too.
    first: Option<ValueId>,
}

impl Blocks<'_> {
    /// The scores of a block: F32 `[1, heads, query, keys]`, or `[batch, heads, query,
    /// keys]` where keys are in caches. `None` for models without such scores.
    ///
    /// # Errors
    /// If the first block has no table, or one has another shape, naming it.
    pub(super) fn by_distance(&mut self, block: usize) -> Result<Option<ValueId>> {
        let Some(relative) = self.spec.relative else { return Ok(None) };
        match self.distances.first {
            Some(first) if !self.has(block, TABLE)? => Ok(Some(first)),
            first => {
                let scores = self.scores(block, relative)?;
                self.distances.first = first.or(Some(scores));
                Ok(Some(scores))
            }
        }
    }

    fn scores(&mut self, block: usize, relative: Relative) -> Result<ValueId> {
        let columns = match self.distances.columns {
            Some(columns) => columns,
            None => self.columns(relative)?,
        };
        self.distances.columns = Some(columns);
        let heads = self.heads_of(block).count;
        let name = self.spec.part.tensor(block, TABLE);
        let table = checked(self.spec, self.weights, &name, &[relative.buckets, heads])?;
        let mut values = vec![0.0; table.len()];
        decode(table.dtype(), table.bytes(), &mut values)?;
        let values = relative.by_distance(&values, heads);
        let table = Tensor::from_f32(&[heads, relative.distances()], &values)?;
        let table = self.g.constant(&format!("{name}.by_distance"), table)?;
        let scores = self.g.gather(table, columns, 1)?;
        let shape = self.g.ty(scores).shape.clone();
        match &shape[..] {
            [heads, query, keys] => {
                let shape = [Dim::from(1u64), heads.clone(), query.clone(), keys.clone()];
                self.g.reshape(scores, &shape)
            }
            [_, _, _, _] => self.g.transpose(scores, &[1, 0, 2, 3]),
            _ => Err(Error::internal("scores by distance of no shape")),
        }
    }

    fn columns(&mut self, relative: Relative) -> Result<ValueId> {
        let one = || Dim::from(1u64);
        let furthest = FURTHEST as f32;
        let places = match relative.both {
            true => {
                // Of all texts the same.
                let first = self.g.constant("distances.text", Tensor::from_i32(&[], &[0])?)?;
                let positions = self.g.gather(self.positions, first, 0)?;
                let positions = self.g.cast(positions, DType::F32)?;
                let length = Dim::from(self.capacity);
                let keys = self.g.reshape(positions, &[one(), length.clone()])?;
                let queries = self.g.reshape(positions, &[length, one()])?;
                let places = self.g.sub(keys, queries)?;
                let clip = Unary::Clip { min: -furthest, max: furthest };
                let places = self.g.unary(clip, places)?;
                let least = self.number("distances.furthest", furthest)?;
                self.g.add(places, least)?
            }
            false => {
                let kept = self.kept_positions()?;
                let shape = [Dim::from(self.batch), one(), Dim::from(self.capacity)];
                let keys = self.g.reshape(kept, &shape)?;
                let own = self.own_positions()?;
                let own = self.g.cast(own, DType::F32)?;
                let shape = self.g.ty(own).shape.clone();
                let shape = [shape[0].clone(), shape[1].clone(), one()];
                let queries = self.g.reshape(own, &shape)?;
                let places = self.g.sub(queries, keys)?;
                // What is behind a query is hidden from it.
                self.g.unary(Unary::Clip { min: 0.0, max: furthest }, places)?
            }
        };
        self.g.cast(places, DType::I32)
    }
}

//! Attention of a block: heads, rotation, caches.

use super::{Blocks, Norm, Rotation};
use crate::error::{Error, Result};
use crate::graph::{Dim, ValueId};
use crate::lm::heads::Heads;
use crate::ops::attention::Attention;
use crate::ops::elementwise::{Binary, Unary};
use crate::ops::rotary::RotaryEmbedding;
use crate::tensor::{DType, Tensor};

/// What is added to the scores of keys that a query does not see.
const OUTSIDE: f32 = -1e30;

/// Queries, keys and values: F32 `[batch, query, heads, size]` each; and what the
/// result is multiplied with, where there is something: `[.., heads * size]`.
struct Projected {
    q: ValueId,
    k: ValueId,
    v: ValueId,
    gate: Option<ValueId>,
}

impl Blocks<'_> {
    /// The heads of a block.
    pub(super) fn heads_of(&self, block: usize) -> Heads {
        self.spec.layers[block].heads
    }

    pub(super) fn attention(&mut self, block: usize, x: ValueId) -> Result<ValueId> {
        let spec = self.spec;
        let sizes = self.heads_of(block);
        let mut gate = None;
        let (q, keys, values) = match self.shared_caches(block)? {
            Some((keys, values)) => (self.turned_queries(block, x)?, keys, values),
            None => {
                let [q, k, v] = match &spec.latent {
                    Some(latent) => {
                        let [q, k, v] = self.latent_heads(block, latent, x)?;
                        [self.tempered(block, q)?, k, v]
                    }
                    None => {
                        let heads = self.heads(block, x)?;
                        gate = heads.gate;
                        self.turned_heads(block, heads)?
                    }
                };
                let keys = self.append(block, "k", k, sizes.key_size)?;
                let values = self.append(block, "v", v, sizes.value_size)?;
                self.caches.push((keys, values));
                (q, keys, values)
            }
        };
        let op = Attention {
            causal: !spec.sees_behind,
            scale: spec.attention_scale,
            // An encoder's reaches to both sides, and is in the mask.
            window: spec.layers[block].window.filter(|_| !spec.sees_behind),
            softcap: spec.attention_softcap,
        };
        let q = self.spread_queries(q)?;
        let sinks = self.optional(block, "attn_sinks.weight", &[sizes.count])?;
        let by_distance = self.by_distance(block)?;
        let mask = match spec.layers[block].chunk {
            _ if by_distance.is_some() => by_distance,
            Some(_) => self.chunks,
            None if spec.layers[block].window.is_some() && self.windowed.is_some() => self.windowed,
            None => self.bias,
        };
        let extra = [mask, sinks];
        let mixed = self.g.attention(op, (q, keys, values), self.past, extra)?;
        let mixed = self.gathered(mixed, sizes.count * sizes.value_size)?;
        match &spec.latent {
            Some(latent) => self.out_of_latent(block, latent, mixed, x),
            None => {
                let width = sizes.count * sizes.value_size;
                let mixed = match gate {
                    Some(gate) => self.g.mul(mixed, gate)?,
                    None => self.behind_gate(block, mixed, x, sizes.value_size)?,
                };
                let mixed = self.sub_norm(block, "attn_sub_norm", mixed, width)?;
                let out = self.linear(block, "attn_output", mixed, spec.width, width)?;
                self.scaled("attended_scale", out, spec.attended_scale)
            }
        }
    }

    /// Queries of each sequence by themselves, where tokens of all lie beside each other.
    pub(in crate::lm) fn spread_queries(&mut self, q: ValueId) -> Result<ValueId> {
        match self.slots {
            Some(slots) => slots.queries(&mut self.g, q),
            None => Ok(q),
        }
    }

    /// What attention gives, times a gate made of what the block reads, where it has one:
    /// a number for each element or for each head.
    pub(super) fn behind_gate(
        &mut self,
        block: usize,
        mixed: ValueId,
        x: ValueId,
        value_size: usize,
    ) -> Result<ValueId> {
        const GATE: &str = "attn_gate.weight";
        if !self.spec.needs_gate && !self.has(block, GATE)? {
            return Ok(mixed);
        }
        let count = self.heads_of(block).count;
        let rows = match self.inner_size(block, GATE, 0)? {
            rows if rows == count => count,
            _ => count * value_size,
        };
        let gate = self.linear(block, "attn_gate", x, rows, self.spec.width)?;
        let gate = self.g.unary(self.spec.gate, gate)?;
        if rows != count {
            return self.g.mul(mixed, gate);
        }
        let mixed = self.as_heads(mixed, count, value_size)?;
        let gate = self.as_heads(gate, count, 1)?;
        let mixed = self.g.mul(mixed, gate)?;
        self.flattened(mixed, count * value_size)
    }

    /// The keys and values of another block that this one reads: those of the last one
    /// with some of its own that sees as much.
    fn shared_caches(&self, block: usize) -> Result<Option<(ValueId, ValueId)>> {
        let spec = self.spec;
        let Some(own) = spec.told.map(|told| told.own_caches) else {
            return Ok(None);
        };
        if block < own {
            return Ok(None);
        }
        let sees = |other: &usize| spec.layers[*other].window == spec.layers[block].window;
        let last = (0..own).rev().find(sees);
        let found = last.and_then(|last| self.caches.get(last).copied());
        found.map(Some).ok_or_else(|| {
            let what = format!("no block before {own} has keys and values for block {block}");
            Error::unsupported(&spec.file, what)
        })
    }

    /// Queries alone, normalised and rotated.
    fn turned_queries(&mut self, block: usize, x: ValueId) -> Result<ValueId> {
        let Heads { count, key_size, .. } = self.heads_of(block);
        let q = self.linear(block, "attn_q", x, count * key_size, self.spec.width)?;
        let q = self.as_heads(q, count, key_size)?;
        let q = self.head_norm(block, "attn_q_norm", q, count)?;
        self.rotate(block, q)
    }

    /// A norm before the last matrix of a layer, where a file has one.
    pub(super) fn sub_norm(
        &mut self,
        block: usize,
        name: &str,
        x: ValueId,
        size: usize,
    ) -> Result<ValueId> {
        match self.has(block, &format!("{name}.weight"))? {
            true => self.normalised(&format!("blk.{block}.{name}"), x, size),
            false => Ok(x),
        }
    }

    /// What is computed for each sequence, `[batch, query, heads, size]`, as the
    /// tokens lie: `[.., heads * size]`.
    pub(in crate::lm) fn gathered(&mut self, mixed: ValueId, width: usize) -> Result<ValueId> {
        match self.slots {
            Some(slots) => slots.back(&mut self.g, mixed),
            None => {
                let [sequences, query] = self.flat.clone();
                self.g.reshape(mixed, &[sequences, query, width.into()])
            }
        }
    }

    /// Queries, keys and values, the first two normalised and rotated.
    fn turned_heads(&mut self, block: usize, heads: Projected) -> Result<[ValueId; 3]> {
        let spec = self.spec;
        let Projected { mut q, mut k, mut v, .. } = heads;
        let sizes = self.heads_of(block);
        if spec.values_normed {
            v = self.bare_norm(v, sizes.value_size)?;
        }
        if spec.qk_norm_rotated {
            (q, k) = (self.rotate(block, q)?, self.rotate(block, k)?);
        }
        if spec.qk_norm_bare {
            if spec.layers[block].rotation != Rotation::None {
                (q, k) = (self.bare_norm(q, sizes.key_size)?, self.bare_norm(k, sizes.key_size)?);
            }
        } else if spec.qk_norm {
            q = self.head_norm(block, "attn_q_norm", q, sizes.count)?;
            k = self.head_norm(block, "attn_k_norm", k, sizes.kv_count)?;
        }
        if !spec.qk_norm_rotated {
            (q, k) = (self.rotate(block, q)?, self.rotate(block, k)?);
        }
        Ok([self.tempered(block, q)?, k, v])
    }

    /// Queries, times what their scores grow by.
    fn tempered(&mut self, block: usize, q: ValueId) -> Result<ValueId> {
        let unrotated = self.spec.temperature.is_some_and(|temperature| temperature.unrotated);
        match self.temperature {
            Some(_) if unrotated && self.spec.layers[block].rotation != Rotation::None => Ok(q),
            Some(temperature) => self.g.mul(q, temperature),
            None => Ok(q),
        }
    }

    /// Normalises by the root of the mean square of so many elements alone.
    pub(in crate::lm) fn bare_norm(&mut self, x: ValueId, size: usize) -> Result<ValueId> {
        let ones = self.ones(size)?;
        self.g.rms_normalization(x, ones, self.spec.norm_epsilon)
    }

    /// What queries are multiplied with where their scores grow with their position:
    /// F32 `[.., 1, 1]`; see [`Temperature`](crate::lm::spec::Temperature).
    pub(super) fn temperatures(&mut self) -> Result<Option<ValueId>> {
        let Some(temperature) = self.spec.temperature else { return Ok(None) };
        let positions = self.g.cast(self.positions, DType::F32)?;
        let [sequences, query] = self.flat.clone();
        let one = Dim::from(1u64);
        let positions = self.g.reshape(positions, &[sequences, query, one.clone(), one])?;
        let length = self.number("temperature.length", temperature.length as f32)?;
        let positions = match temperature.ahead {
            0 => positions,
            ahead => {
                let ahead = self.number("temperature.ahead", ahead as f32)?;
                self.g.add(positions, ahead)?
            }
        };
        let periods = self.g.div(positions, length)?;
        let periods = self.g.unary(Unary::Floor, periods)?;
        let one = self.number("temperature.one", 1.0)?;
        let periods = self.g.add(periods, one)?;
        let growth = self.g.unary(Unary::Log, periods)?;
        let growth = self.scaled("temperature.scale", growth, Some(temperature.scale))?;
        self.g.add(growth, one).map(Some)
    }

    /// Normalises heads `[batch, query, heads, key_size]`: each by itself, with
    /// weights that all share or that each has, or all of a token together.
    fn head_norm(&mut self, block: usize, name: &str, x: ValueId, heads: usize) -> Result<ValueId> {
        let size = self.heads_of(block).key_size;
        if self.spec.norm == Norm::BareRms {
            let x = self.bare_norm(x, size)?;
            // Queries have a factor for each head.
            return match name {
                "attn_q_norm" => {
                    let factors = self.weight(block, name, &[heads, 1])?;
                    self.g.mul(x, factors)
                }
                _ => Ok(x),
            };
        }
        let name = format!("blk.{block}.{name}");
        let weight = (self.weights)(&format!("{name}.weight"))?;
        let extents = weight.map(|weight| weight.extents().to_vec()).unwrap_or_default();
        if extents == [heads * size] && heads > 1 {
            let [sequences, query] = self.flat.clone();
            let shape = [sequences.clone(), query.clone(), Dim::from(heads * size)];
            let joined = self.g.reshape(x, &shape)?;
            let joined = self.normalised(&name, joined, heads * size)?;
            return self.g.reshape(joined, &[sequences, query, heads.into(), size.into()]);
        }
        if extents == [heads, size] {
            let weight = self.named(&format!("{name}.weight"), &[heads, size])?;
            if self.spec.norm != Norm::Layer {
                let x = self.bare_norm(x, size)?;
                return self.g.mul(x, weight);
            }
            let ones = self.ones(size)?;
            let x = self.g.layer_normalization(x, ones, None, self.spec.norm_epsilon)?;
            return self.g.mul(x, weight);
        }
        self.normalised(&name, x, size)
    }

    /// What attention is computed of; each head of queries may have a gate behind it.
    fn heads(&mut self, block: usize, x: ValueId) -> Result<Projected> {
        let spec = self.spec;
        let Heads { count, kv_count, key_size, value_size } = self.heads_of(block);
        let query = if spec.gated_attention { 2 * key_size } else { key_size };
        let sizes = [(count, query), (kv_count, key_size), (kv_count, value_size)];
        let all = sizes.iter().map(|(heads, size)| heads * size).sum();
        let (mut done, mut projected) = (0, [x; 3]);
        for (i, (heads, size)) in sizes.into_iter().enumerate() {
            let rows = done..done + heads * size;
            done = rows.end;
            let name = ["attn_q", "attn_k", "attn_v"][i];
            let y = if spec.fused_qkv {
                let y = self.rows(block, "attn_qkv", x, rows, (all, spec.width))?;
                self.switched(block, name, x, y, [heads * size, spec.width])?
            } else if i == 2 && spec.values_normed && !self.has(block, "attn_v.weight")? {
                // Values may be the keys, as they are before their norm.
                projected[1]
            } else {
                self.linear(block, name, x, heads * size, spec.width)?
            };
            let y = match spec.clamp_qkv {
                Some(most) => self.g.unary(Unary::Clip { min: -most, max: most }, y)?,
                None => y,
            };
            let [sequences, query] = self.flat.clone();
            let shape = [sequences, query, heads.into(), size.into()];
            projected[i] = self.g.reshape(y, &shape)?;
        }
        let [q, k, v] = projected;
        if !spec.gated_attention {
            return Ok(Projected { q, k, v, gate: None });
        }
        let gate = self.part(q, key_size..query)?;
        let gate = self.g.unary(Unary::Sigmoid, gate)?;
        let gate = self.flattened(gate, count * key_size)?;
        let q = self.part(q, 0..key_size)?;
        Ok(Projected { q, k, v, gate: Some(gate) })
    }

    pub(super) fn rotate(&mut self, block: usize, x: ValueId) -> Result<ValueId> {
        let tables = match self.spec.layers[block].rotation {
            Rotation::None => return Ok(x),
            Rotation::Local => self.local.unwrap_or(self.global),
            Rotation::Global => self.global,
        };
        let rotary_dim = match (self.spec.layers[block].rotation, &self.spec.local_rope) {
            (Rotation::Local, Some(rope)) => rope.rotary_dim,
            _ => self.spec.rope.rotary_dim,
        };
        let op = RotaryEmbedding { interleaved: self.spec.rope_interleaved, rotary_dim };
        self.g.rotary_embedding(op, x, tables.0, tables.1, self.positions)
    }

    /// Appends keys or values to a cache; see [`Self::append_as`].
    fn append(&mut self, block: usize, name: &str, x: ValueId, size: usize) -> Result<ValueId> {
        let extents = [self.heads_of(block).kv_count, size];
        self.append_as(&format!("cache.{}.{name}", self.place(block)), self.cache, x, extents)
    }

    /// Appends `[.., heads, size]` to a state at `past` and gives its content:
    /// `[batch, heads, capacity, size]`. Over whole texts that is all there is.
    pub(in crate::lm) fn append_as(
        &mut self,
        name: &str,
        dtype: DType,
        x: ValueId,
        [heads, size]: [usize; 2],
    ) -> Result<ValueId> {
        if self.whole {
            return self.g.transpose(x, &[0, 2, 1, 3]);
        }
        let shape = [self.batch.into(), Dim::from(heads), self.capacity.into(), size.into()];
        let cache = self.g.state(name, dtype, shape, Some(2))?;
        match self.slots {
            Some(slots) => slots.append(&mut self.g, cache, x),
            None => self.g.tensor_scatter(cache, x, self.past),
        }
    }

    /// What is added to scores where a model takes off something for each key
    /// further back (ALiBi, arXiv 2108.12409): `[batch, heads, 1, capacity]`.
    ///
    /// A slope times the key's own position does: what all keys of a query have in
    /// common is nothing to a softmax. The positions are in a state like the keys.
    pub(super) fn alibi(&mut self) -> Result<Option<ValueId>> {
        let Some(exponent) = self.spec.alibi else { return Ok(None) };
        let slopes = self.slopes(exponent, 1.0)?;
        let kept = self.kept_positions()?;
        self.g.mul(kept, slopes).map(Some)
    }

    /// The slope of each head, times a sign: F32 `[1, heads, 1, 1]`.
    pub(super) fn slopes(&mut self, exponent: f32, sign: f32) -> Result<ValueId> {
        let heads = self.spec.layers.first().map_or(0, |layer| layer.heads.count);
        let slopes: Vec<f32> =
            slopes(heads, exponent.into()).iter().map(|slope| slope * sign).collect();
        self.g.constant("alibi.slopes", Tensor::from_f32(&[1, heads, 1, 1], &slopes)?)
    }

    /// The positions of the keys of each sequence, which are in a state like them: F32
    /// `[batch, 1, 1, capacity]`.
    pub(super) fn kept_positions(&mut self) -> Result<ValueId> {
        let positions = self.g.cast(self.positions, DType::F32)?;
        let positions = self.as_heads(positions, 1, 1)?;
        let kept = self.append_as("cache.positions", DType::F32, positions, [1, 1])?;
        let one = Dim::from(1u64);
        let shape = [self.batch.into(), one.clone(), one, self.capacity.into()];
        self.g.reshape(kept, &shape)
    }

    /// What is added to scores where a query sees only the chunk that it is in: very low
    /// numbers for keys before it, `[batch, 1, query, capacity]`. `None` if there are no
    /// chunks, or no more `positions` than one has.
    pub(super) fn outside_of_chunks(&mut self, positions: usize) -> Result<Option<ValueId>> {
        let chunk = self.spec.layers.iter().find_map(|layer| layer.chunk);
        let Some(chunk) = chunk.filter(|&chunk| positions > chunk as usize) else {
            return Ok(None);
        };
        let kept = self.kept_positions()?;
        let own = self.own_positions()?;
        let shape = self.g.ty(own).shape.clone();
        let one = Dim::from(1u64);
        let own = self.g.reshape(own, &[shape[0].clone(), one.clone(), shape[1].clone(), one])?;
        let own = self.g.cast(own, DType::F32)?;
        let size = self.number("chunks.size", chunk as f32)?;
        let begun = self.g.div(own, size)?;
        let begun = self.g.unary(Unary::Floor, begun)?;
        let start = self.g.mul(begun, size)?;
        let outside = self.g.binary(Binary::Less, kept, start)?;
        let low = self.number("chunks.outside", OUTSIDE)?;
        let zero = self.number("chunks.inside", 0.0)?;
        self.g.select(outside, low, zero).map(Some)
    }
}

/// The slope of each head: powers of two, those in between for heads beyond a power
/// of two.
fn slopes(heads: usize, exponent: f64) -> Vec<f32> {
    let whole = 1usize << heads.max(1).ilog2();
    let slope = |head: usize| {
        let (power, of) = match head.checked_sub(whole) {
            None => (head + 1, whole),
            Some(further) => (2 * further + 1, 2 * whole),
        };
        (-exponent * power as f64 / of as f64).exp2() as f32
    };
    (0..heads).map(slope).collect()
}

//! Attention of a block: heads, rotation, caches.

use super::{Blocks, Norm, Rotation};
use crate::error::{Error, Result};
use crate::graph::{Dim, ValueId};
use crate::ops::attention::Attention;
use crate::ops::elementwise::Unary;
use crate::ops::rotary::RotaryEmbedding;
use crate::tensor::{DType, Tensor};

/// Queries, keys and values: F32 `[batch, query, heads, size]` each; and what the
/// result is multiplied with, where there is something: `[.., heads * size]`.
struct Heads {
    q: ValueId,
    k: ValueId,
    v: ValueId,
    gate: Option<ValueId>,
}

impl Blocks<'_> {
    pub(super) fn attention(&mut self, block: usize, x: ValueId) -> Result<ValueId> {
        let spec = self.spec;
        let mut gate = None;
        let (q, keys, values) = match self.shared_caches(block)? {
            Some((keys, values)) => (self.turned_queries(block, x)?, keys, values),
            None => {
                let [q, k, v] = match &spec.latent {
                    Some(latent) => self.latent_heads(block, latent, x)?,
                    None => {
                        let heads = self.heads(block, x)?;
                        gate = heads.gate;
                        self.turned_heads(block, heads)?
                    }
                };
                let keys = self.append(block, "k", k, spec.key_size)?;
                let values = self.append(block, "v", v, spec.value_size)?;
                self.caches.push((keys, values));
                (q, keys, values)
            }
        };
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
        let sinks = self.optional(block, "attn_sinks.weight", &[spec.heads])?;
        let extra = [self.bias, sinks];
        let mixed = self.g.attention(op, (q, keys, values), self.past, extra)?;
        let mixed = self.gathered(mixed, spec.heads * spec.value_size)?;
        match &spec.latent {
            Some(latent) => self.out_of_latent(block, latent, mixed),
            None => {
                let width = spec.heads * spec.value_size;
                let mixed = match gate {
                    Some(gate) => self.g.mul(mixed, gate)?,
                    None => mixed,
                };
                let mixed = self.sub_norm(block, "attn_sub_norm", mixed, width)?;
                self.linear(block, "attn_output", mixed, spec.width, width)
            }
        }
    }

    /// The keys and values of another block that this one reads: those of the last one
    /// with some of its own that sees as much.
    fn shared_caches(&self, block: usize) -> Result<Option<(ValueId, ValueId)>> {
        let spec = self.spec;
        let Some(own) = spec.streams.as_ref().map(|streams| streams.own_caches) else {
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
        let spec = self.spec;
        let q = self.linear(block, "attn_q", x, spec.heads * spec.key_size, spec.width)?;
        let q = self.as_heads(q, spec.heads, spec.key_size)?;
        let q = self.head_norm(block, "attn_q_norm", q, spec.heads)?;
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
    pub(super) fn gathered(&mut self, mixed: ValueId, width: usize) -> Result<ValueId> {
        match self.slots {
            Some(slots) => slots.back(&mut self.g, mixed),
            None => {
                let [sequences, query] = self.flat.clone();
                self.g.reshape(mixed, &[sequences, query, width.into()])
            }
        }
    }

    /// Queries, keys and values, the first two normalised and rotated.
    fn turned_heads(&mut self, block: usize, heads: Heads) -> Result<[ValueId; 3]> {
        let spec = self.spec;
        let Heads { mut q, mut k, mut v, .. } = heads;
        if spec.streams.is_some() {
            v = self.bare_norm(v)?;
        }
        if spec.qk_norm_rotated {
            (q, k) = (self.rotate(block, q)?, self.rotate(block, k)?);
        }
        if spec.qk_norm_bare {
            if spec.layers[block].rotation != Rotation::None {
                (q, k) = (self.bare_norm(q)?, self.bare_norm(k)?);
            }
        } else if spec.qk_norm {
            q = self.head_norm(block, "attn_q_norm", q, spec.heads)?;
            k = self.head_norm(block, "attn_k_norm", k, spec.kv_heads)?;
        }
        if !spec.qk_norm_rotated {
            (q, k) = (self.rotate(block, q)?, self.rotate(block, k)?);
        }
        if let Some(temperature) = self.temperature {
            q = self.g.mul(q, temperature)?;
        }
        Ok([q, k, v])
    }

    /// Normalises heads by the root of their mean square alone.
    fn bare_norm(&mut self, x: ValueId) -> Result<ValueId> {
        let size = self.spec.key_size;
        let ones = self.g.constant("norm.ones", Tensor::from_f32(&[size], &vec![1.0; size])?)?;
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
        let (size, name) = (self.spec.key_size, format!("blk.{block}.{name}"));
        let weight = (self.weights)(&format!("{name}.weight"))?;
        let extents = weight.map(|weight| weight.extents().to_vec()).unwrap_or_default();
        if extents == [heads * size] && heads > 1 {
            let [sequences, query] = self.flat.clone();
            let shape = [sequences.clone(), query.clone(), Dim::from(heads * size)];
            let joined = self.g.reshape(x, &shape)?;
            let joined = self.normalised(&name, joined, heads * size)?;
            return self.g.reshape(joined, &[sequences, query, heads.into(), size.into()]);
        }
        if extents == [heads, size] && self.spec.norm == Norm::Layer {
            let weight = self.named(&format!("{name}.weight"), &[heads, size])?;
            let ones =
                self.g.constant("norm.ones", Tensor::from_f32(&[size], &vec![1.0; size])?)?;
            let x = self.g.layer_normalization(x, ones, None, self.spec.norm_epsilon)?;
            return self.g.mul(x, weight);
        }
        self.normalised(&name, x, size)
    }

    /// What attention is computed of; each head of queries may have a gate behind it.
    fn heads(&mut self, block: usize, x: ValueId) -> Result<Heads> {
        let spec = self.spec;
        let query = if spec.gated_attention { 2 * spec.key_size } else { spec.key_size };
        let sizes =
            [(spec.heads, query), (spec.kv_heads, spec.key_size), (spec.kv_heads, spec.value_size)];
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
            return Ok(Heads { q, k, v, gate: None });
        }
        let gate = self.part(q, spec.key_size..query)?;
        let gate = self.g.unary(Unary::Sigmoid, gate)?;
        let gate = self.flattened(gate, spec.heads * spec.key_size)?;
        let q = self.part(q, 0..spec.key_size)?;
        Ok(Heads { q, k, v, gate: Some(gate) })
    }

    pub(super) fn rotate(&mut self, block: usize, x: ValueId) -> Result<ValueId> {
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

    /// Appends keys or values to a cache; see [`Self::append_as`].
    fn append(&mut self, block: usize, name: &str, x: ValueId, size: usize) -> Result<ValueId> {
        let extents = [self.spec.kv_heads, size];
        self.append_as(&format!("cache.{block}.{name}"), self.cache, x, extents)
    }

    /// Appends `[.., heads, size]` to a state at `past` and gives its content:
    /// `[batch, heads, capacity, size]`.
    pub(super) fn append_as(
        &mut self,
        name: &str,
        dtype: DType,
        x: ValueId,
        [heads, size]: [usize; 2],
    ) -> Result<ValueId> {
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
        let heads = self.spec.heads;
        let slopes = Tensor::from_f32(&[1, heads, 1, 1], &slopes(heads, exponent.into()))?;
        let slopes = self.g.constant("alibi.slopes", slopes)?;
        let positions = self.g.cast(self.positions, DType::F32)?;
        let [sequences, query] = self.flat.clone();
        let one = Dim::from(1u64);
        let positions = self.g.reshape(positions, &[sequences, query, one.clone(), one.clone()])?;
        let kept = self.append_as("cache.positions", DType::F32, positions, [1, 1])?;
        let shape = [self.batch.into(), one.clone(), one, self.capacity.into()];
        let kept = self.g.reshape(kept, &shape)?;
        self.g.mul(kept, slopes).map(Some)
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

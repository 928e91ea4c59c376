//! Adapters within a model, of which some tokens choose one for all behind them (Granite
//! Switch).

use super::decoder::Blocks;
use super::keys::Keys;
use crate::error::Result;
use crate::graph::{Dim, ValueId};
use crate::ops::attention::Attention;
use crate::ops::elementwise::Unary;
use crate::tensor::{DType, Tensor};

/// Low-rank matrices beside those of each block: `x·Wᵀ + (x·Aₛᵀ)·Bₛᵀ`, with `s` the slot of
/// the token. The formulas are those of llama.cpp's `granite-switch.cpp`.
///
/// A token's slot is found by attention of one head: a key is the gain for a token that
/// chooses and its negative for others, a value the slot that it chooses or 0. So it is that
/// of the token that chose, 0 before there is one, and between them where several did.
#[derive(Debug, Clone, PartialEq)]
pub struct Switch {
    /// For each slot from 1 on, the token that chooses it and the one whose embedding is
    /// taken for that. Slot 0 is the model as it is.
    pub tokens: Vec<[u32; 2]>,
    /// The rank of the matrices.
    pub rank: usize,
    /// How large keys are.
    pub gain: f32,
}

/// The matrices of a block that have adapters beside them.
pub(super) const SWITCHED: [&str; 7] =
    ["attn_q", "attn_k", "attn_v", "attn_output", "ffn_gate", "ffn_up", "ffn_down"];

/// The most adapters, and the largest rank, as in llama.cpp.
const MOST: u64 = 1 << 12;

/// Elements of a key and of a value, of which one says something.
const SIZE: usize = 4;

/// The gain of files without one.
const GAIN: f32 = 15.0;

impl Switch {
    /// From a file's keys.
    ///
    /// # Errors
    /// [`Error::Format`](crate::Error::Format) naming the key that is missing or impossible.
    pub(super) fn read(keys: &Keys<'_>, vocabulary: usize) -> Result<Self> {
        let count = keys.size("adapters.count", MOST)?;
        let tokens = |name: &str| -> Result<Vec<u32>> {
            let key = keys.key(name);
            let ids: Vec<i64> = keys.meta.i64s_of(&key)?.collect();
            let known = |&id: &i64| u32::try_from(id).ok().filter(|&id| (id as usize) < vocabulary);
            let found: Option<Vec<u32>> = ids.iter().map(known).collect();
            found
                .filter(|found| found.len() == count)
                .ok_or_else(|| keys.meta.error(&key, format!("not {count} of {vocabulary} tokens")))
        };
        let chosen = tokens("adapters.token_ids_activate")?;
        let taken = tokens("adapters.token_ids_substitute")?;
        let name = "adapters.router_gain";
        let gain = match keys.meta.opt_f32(&keys.key(name))? {
            None => keys.default(name, GAIN),
            Some(gain) if gain.is_finite() => gain,
            Some(gain) => return Err(keys.wrong(name, format!("is {gain}"))),
        };
        Ok(Switch {
            tokens: chosen.into_iter().zip(taken).map(|(chosen, taken)| [chosen, taken]).collect(),
            rank: keys.size("adapters.lora_rank", MOST)?,
            gain,
        })
    }

    fn slots(&self) -> usize {
        self.tokens.len() + 1
    }
}

impl Blocks<'_> {
    /// The tokens whose embeddings are taken, after the slots of all were found.
    ///
    /// # Errors
    /// None that a file could cause.
    pub(super) fn switch(&mut self, switch: &Switch, tokens: ValueId) -> Result<ValueId> {
        let vocabulary = self.spec.vocabulary;
        let mut keys = vec![0.0; vocabulary * SIZE];
        keys.iter_mut().step_by(SIZE).for_each(|key| *key = -switch.gain);
        let mut values = vec![0.0; vocabulary * SIZE];
        let mut taken: Vec<i32> = (0..vocabulary as i32).collect();
        for (i, &[chosen, other]) in switch.tokens.iter().enumerate() {
            let chosen = chosen as usize;
            keys[chosen * SIZE] = switch.gain;
            values[chosen * SIZE] = (i + 1) as f32;
            taken[chosen] = other as i32;
        }
        let table = |values: &[f32]| Tensor::from_f32(&[vocabulary, SIZE], values);
        let keys = self.g.constant("switch.keys", table(&keys)?)?;
        let values = self.g.constant("switch.values", table(&values)?)?;
        let slots = self.slots_of(switch, tokens, [keys, values])?;
        self.chosen_slots = Some(slots);
        let taken = self.g.constant("switch.taken", Tensor::from_i32(&[vocabulary], &taken)?)?;
        self.g.gather(taken, tokens, 0)
    }

    /// The slot of each token: I32 `[tokens, 1]`.
    fn slots_of(
        &mut self,
        switch: &Switch,
        tokens: ValueId,
        [keys, values]: [ValueId; 2],
    ) -> Result<ValueId> {
        let [sequences, query] = self.flat.clone();
        let mut caches = [keys; 2];
        for ((cache, table), name) in caches.iter_mut().zip([keys, values]).zip(["k", "v"]) {
            let each = self.g.gather(table, tokens, 0)?;
            let each = self.as_heads(each, 1, SIZE)?;
            let name = format!("cache.switch.{name}");
            *cache = self.append_as(&name, DType::F32, each, [1, SIZE])?;
        }
        let one = Tensor::from_f32(&[1, 1, 1, SIZE], &[1.0, 0.0, 0.0, 0.0])?;
        let one = self.g.constant("switch.query", one)?;
        let shape = [sequences.clone(), query.clone(), 1u64.into(), SIZE.into()];
        let queries = self.g.expand(one, &shape)?;
        let found = self.attended(queries, caches)?;
        let found = self.part(found, 0..1)?;
        let half = self.number("switch.half", 0.5)?;
        let found = self.g.add(found, half)?;
        let found = self.g.unary(Unary::Floor, found)?;
        let most = switch.tokens.len() as f32;
        let found = self.g.unary(Unary::Clip { min: 0.0, max: most }, found)?;
        let found = self.g.cast(found, DType::I32)?;
        self.g.reshape(found, &[sequences * query, Dim::from(1u64)])
    }

    /// What queries of one head find in keys and values: `[.., SIZE]`.
    fn attended(&mut self, queries: ValueId, [keys, values]: [ValueId; 2]) -> Result<ValueId> {
        let op = Attention { causal: true, scale: Some(1.0), window: None, softcap: None };
        let queries = self.spread_queries(queries)?;
        let found = self.g.attention(op, (queries, keys, values), self.past, [None; 2])?;
        self.gathered(found, SIZE)
    }

    /// `y`, which a matrix gives of `x`, plus what the adapter of each token gives.
    ///
    /// # Errors
    /// [`Error::Format`](crate::Error::Format) if a tensor is missing or has other extents.
    pub(super) fn switched(
        &mut self,
        block: usize,
        name: &str,
        x: ValueId,
        y: ValueId,
        [outputs, inputs]: [usize; 2],
    ) -> Result<ValueId> {
        let spec = self.spec;
        let (Some(switch), Some(slots)) = (&spec.switch, self.chosen_slots) else { return Ok(y) };
        if !SWITCHED.contains(&name) {
            return Ok(y);
        }
        let mut given = x;
        for (end, rows, columns) in [("a", switch.rank, inputs), ("b", outputs, switch.rank)] {
            let name = spec.part.tensor(block, &format!("{name}.lora_{end}"));
            let matrices = self.named(&name, &[switch.slots(), rows, columns])?;
            let tokens = self.flat.clone().into_iter().reduce(|a, b| a * b);
            let shape = [tokens.unwrap_or(Dim::from(1u64)), 1u64.into(), columns.into()];
            let each = self.g.reshape(given, &shape)?;
            given = self.g.expert_matmul(each, slots, matrices, None)?;
        }
        let shape = self.g.ty(y).shape.to_vec();
        let given = self.g.reshape(given, &shape)?;
        self.g.add(y, given)
    }
}

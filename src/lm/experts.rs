//! Mixtures of experts: feed-forward networks of which a router chooses a few for
//! each token.

use super::architecture::Architecture;
use super::companions::Companions;
use super::decoder::Blocks;
use super::keys::Keys;
use crate::error::{Error, Result};
use crate::formats::gguf::GgufFile;
use crate::graph::{Dim, ValueId};
use crate::ops::elementwise::{Binary, Unary};
use crate::ops::gather::GatherElements;
use crate::ops::reduce::Reduction;

/// The experts of a model.
#[derive(Debug, Clone, PartialEq)]
pub struct Experts {
    /// How many a block has.
    pub count: usize,
    /// How many of them each token goes through.
    pub used: usize,
    /// From the router's numbers to the weights of experts.
    pub gate: Gate,
    /// Whether the weights of those used are made to add up to 1.
    pub normalised: bool,
    /// Whether what experts read is multiplied with the weights, not what they give.
    pub weighs_inputs: bool,
    /// Whether the router reads what the block reads, before any norm.
    pub early: bool,
    /// What is beside them.
    pub beside: Beside,
    /// Whether the sum of those chosen and of the one that all share is halved.
    pub shared_halved: bool,
    /// What the weights are multiplied with.
    pub scale: Option<f32>,
    /// Groups of experts, of which some are chosen first.
    pub groups: Option<Groups>,
    /// A second stage behind those chosen.
    pub companions: Option<Companions>,
}

/// What a block with experts has beside them.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Beside {
    /// At most an expert that all tokens share.
    Nothing,
    /// A feed-forward layer. Both have norms of their own, and the router reads what is
    /// not normalised with weights (Gemma 4).
    Normed,
    /// A feed-forward layer. The experts read what the block reads, in a norm of their
    /// own (Arctic).
    OfInput,
    /// A feed-forward layer that reads the same, where the file has one; the sum is
    /// multiplied with the root of a half (Grok).
    Halved,
}

/// What a router says of each token.
struct Routed {
    /// Of all experts: F32 `[tokens, experts]`.
    scores: ValueId,
    /// Of those used: F32 `[tokens, used]`.
    weights: ValueId,
    /// Which these are, I32.
    chosen: ValueId,
}

/// Groups of experts: only those of the best groups are chosen from.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Groups {
    /// How many there are.
    pub count: usize,
    /// How many of them a token's experts come from.
    pub used: usize,
}

/// From the router's numbers to the weights of experts.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Gate {
    /// Their softmax.
    Softmax,
    /// The sigmoid of each.
    Sigmoid,
    /// The softmax of those that are used.
    SoftmaxOfUsed,
}

/// The most experts of a block that are read; models in use stay below 600.
const MOST: u64 = 1 << 14;

impl Experts {
    /// From a file's keys; `None` if it has no experts.
    ///
    /// # Errors
    /// [`Error::Format`] naming the key that is impossible, [`Error::Unsupported`]
    /// for a way to choose that is not known.
    pub(super) fn read(
        keys: &Keys<'_>,
        file: &GgufFile,
        architecture: &Architecture,
    ) -> Result<Option<Self>> {
        let number = |name: &str| keys.meta.opt_u64(&keys.key(name));
        let unsupported = |name: &str, what: String| {
            let at = format!("{}: key '{}'", file.name(), keys.key(name));
            Err(Error::unsupported(at, what))
        };
        let count = match number("expert_count")? {
            None | Some(0) => return Ok(None),
            Some(_) => keys.size("expert_count", MOST)?,
        };
        let Some(routing) = architecture.routing else {
            return unsupported("expert_count", format!("{count} experts in this architecture"));
        };
        let groups = match number("expert_group_count")? {
            None | Some(0 | 1) => None,
            Some(_) => Some(groups(keys, count)?),
        };
        let gate = match number("expert_gating_func")? {
            None | Some(0) => routing.gate,
            Some(1) => Gate::Softmax,
            Some(2) => Gate::Sigmoid,
            Some(3) => Gate::SoftmaxOfUsed,
            Some(other) => return unsupported("expert_gating_func", format!("function {other}")),
        };
        let normalised = keys.meta.opt_bool(&keys.key("expert_weights_norm"))?;
        let used = keys.size("expert_used_count", count as u64)?;
        Ok(Some(Experts {
            count,
            used,
            gate,
            normalised: normalised.unwrap_or(routing.normalised),
            weighs_inputs: routing.weighs_inputs,
            early: architecture.early_router,
            beside: architecture.beside,
            shared_halved: architecture.shared_halved,
            scale: keys.scale("expert_weights_scale")?,
            groups,
            companions: match architecture.companions {
                true => Companions::read(keys, count, used)?,
                false => None,
            },
        }))
    }
}

fn groups(keys: &Keys<'_>, experts: usize) -> Result<Groups> {
    let count = keys.size("expert_group_count", experts as u64)?;
    // The groups are told apart by their two best experts.
    if !experts.is_multiple_of(count) || experts / count < 2 {
        let what = format!("{count} groups of {experts} experts");
        return Err(keys.wrong("expert_group_count", what));
    }
    Ok(Groups { count, used: keys.size("expert_group_used_count", count as u64)? })
}

/// What experts of other groups have for a score.
const OUT_OF_GROUP: f32 = -1e30;

/// Its extents: so many experts, width, inner.
const DOWN: &str = "ffn_down_exps.weight";
const NARROW: &str = "ffn_latent_down.weight";
const SHARED_INNER: &str = "ffn_up_shexp.weight";

/// What experts' first matrices may have beside them, so that they are more than products.
const BESIDE: [&str; 5] = [
    "ffn_gate_exps.bias",
    "ffn_gate_exps.scale",
    "ffn_up_exps.scale",
    "ffn_gate_exps.weight.lora_a",
    "ffn_up_exps.weight.lora_a",
];

/// Below this no sum of weights is divided by, as in llama.cpp.
const LEAST_SUM: f32 = 6.103_515_6e-5;

impl Blocks<'_> {
    /// Whether a block has experts: the first ones may be without.
    pub(super) fn has_experts(&self, block: usize) -> Result<bool> {
        Ok(self.spec.experts.is_some() && self.has(block, "ffn_gate_inp.weight")?)
    }

    /// What the experts that a router chooses give, and the one that all share:
    /// F32 `[batch, query, width]`. `input` is what the block reads.
    pub(super) fn experts(&mut self, block: usize, x: ValueId, input: ValueId) -> Result<ValueId> {
        let early = self.spec.experts.as_ref().is_some_and(|experts| experts.early);
        self.experts_chosen_by(block, x, if early { input } else { x })
    }

    /// What a block has beside its experts.
    pub(super) fn beside(&self, block: usize) -> Result<Beside> {
        let beside = self.spec.experts.as_ref().map_or(Beside::Nothing, |experts| experts.beside);
        let there = match beside {
            Beside::Halved => self.has(block, "ffn_up.weight")?,
            _ => true,
        };
        Ok(if there && self.has_experts(block)? { beside } else { Beside::Nothing })
    }

    /// A feed-forward layer and experts side by side: the layer reads `x`, which is the
    /// residual `stream` normalised; `input` is what the block reads.
    pub(super) fn fed_twice(
        &mut self,
        block: usize,
        beside: Beside,
        [x, stream, input]: [ValueId; 3],
    ) -> Result<ValueId> {
        let fed = self.feed_forward(block, x)?;
        match beside {
            Beside::Normed => {
                let fed = self.norm(block, "post_ffw_norm_1", fed)?;
                let chosen = self.chosen_of_stream(block, stream)?;
                self.g.add(fed, chosen)
            }
            Beside::OfInput => {
                let read = self.norm(block, "ffn_norm_exps", input)?;
                let chosen = self.experts_chosen_by(block, read, read)?;
                self.g.add(fed, chosen)
            }
            Beside::Halved | Beside::Nothing => {
                let chosen = self.experts_chosen_by(block, x, x)?;
                let sum = self.g.add(fed, chosen)?;
                self.scaled("root_of_half", sum, Some(std::f32::consts::FRAC_1_SQRT_2))
            }
        }
    }

    /// What experts give of the residual stream, and their router, each with norms of
    /// its own ([`Beside::Normed`]).
    fn chosen_of_stream(&mut self, block: usize, stream: ValueId) -> Result<ValueId> {
        let width = self.spec.width;
        let read = self.norm(block, "pre_ffw_norm_2", stream)?;
        let router = self.bare_norm(stream, width)?;
        let router = self.scaled("router.width", router, Some(1.0 / (width as f32).sqrt()))?;
        let scale = self.named(&format!("blk.{block}.ffn_gate_inp.scale"), &[width])?;
        let router = self.g.mul(router, scale)?;
        let chosen = self.experts_chosen_by(block, read, router)?;
        self.norm(block, "post_ffw_norm_2", chosen)
    }

    /// [`Self::experts`], whose router reads something else.
    fn experts_chosen_by(&mut self, block: usize, x: ValueId, router: ValueId) -> Result<ValueId> {
        let Some(experts) = self.spec.experts.clone() else {
            return Err(Error::internal("experts of a model without"));
        };
        let width = self.spec.width;
        let [sequences, query] = self.flat.clone();
        let tokens = sequences * query;
        let flat = self.g.reshape(x, &[tokens.clone(), width.into()])?;
        let router = match router == x {
            true => flat,
            false => self.g.reshape(router, &[tokens.clone(), width.into()])?,
        };
        let Routed { scores, weights, chosen } = self.route(block, &experts, router)?;
        let inner = self.inner_size(block, DOWN, 2)?;
        // Experts may be of a smaller width than the residual stream.
        let (given, narrow) = (flat, self.narrow(block)?);
        let own = narrow.unwrap_or(width);
        let flat = match narrow {
            Some(own) => self.linear(block, "ffn_latent_down", flat, own, width)?,
            None => flat,
        };
        let down = self.weight(block, "ffn_down_exps", &[experts.count, own, inner])?;
        let shape = [tokens.clone(), experts.used.into(), 1u64.into()];
        let weights = self.g.reshape(weights, &shape)?;
        let read = match experts.weighs_inputs {
            true => {
                let each = self.g.reshape(flat, &[tokens, 1u64.into(), own.into()])?;
                self.g.mul(each, weights)?
            }
            false => flat,
        };
        let fed = self.inner_values(block, (read, chosen), [experts.count, inner, own])?;
        let mut fed = self.biased(block, "ffn_down_exps", (fed, chosen), down)?;
        if !experts.weighs_inputs {
            fed = self.g.mul(fed, weights)?;
        }
        let mut sum = self.g.reduce(Reduction::Sum, fed, &[1], false)?;
        if let Some(own) = narrow {
            sum = self.linear(block, "ffn_latent_up", sum, width, own)?;
        }
        sum = self.accompanied(block, &experts, [scores, chosen, sum])?;
        if self.has(block, SHARED_INNER)? {
            let shared = self.shared_expert(block, given)?;
            sum = self.g.add(sum, shared)?;
            if experts.shared_halved {
                sum = self.scaled("half", sum, Some(0.5))?;
            }
        }
        let [sequences, query] = self.flat.clone();
        let shape = [sequences, query, width.into()];
        self.g.reshape(sum, &shape)
    }

    /// The width of a block's experts, where it is another than that of the stream.
    fn narrow(&self, block: usize) -> Result<Option<usize>> {
        match self.has(block, NARROW)? {
            true => self.inner_size(block, NARROW, 0).map(Some),
            false => Ok(None),
        }
    }

    /// What stands between the two halves of the chosen experts: `[tokens, used,
    /// inner]`. A file has the gate and `up` apart, or in one tensor.
    fn inner_values(
        &mut self,
        block: usize,
        (x, chosen): (ValueId, ValueId),
        [count, inner, width]: [usize; 3],
    ) -> Result<ValueId> {
        let both = [count, 2 * inner, width];
        let limit = self.limits(block).experts;
        if let Some(both) = self.optional(block, "ffn_gate_up_exps.weight", &both)? {
            let both = self.biased(block, "ffn_gate_up_exps", (x, chosen), both)?;
            let gate = self.part(both, 0..inner)?;
            let up = self.part(both, inner..2 * inner)?;
            return self.bounded_gate(gate, up, limit);
        }
        if !self.spec.gated {
            let up = self.weight(block, "ffn_up_exps", &[count, inner, width])?;
            let up = self.biased(block, "ffn_up_exps", (x, chosen), up)?;
            return self.activated(up);
        }
        let gate = self.weight(block, "ffn_gate_exps", &[count, inner, width])?;
        let up = self.weight(block, "ffn_up_exps", &[count, inner, width])?;
        let mut bare = self.spec.clamp.is_none() && limit.is_none();
        for beside in BESIDE {
            bare &= !self.has(block, beside)?;
        }
        if bare {
            return self.gated(x, chosen, [gate, up], self.spec.activation);
        }
        let gate = self.biased(block, "ffn_gate_exps", (x, chosen), gate)?;
        let up = self.biased(block, "ffn_up_exps", (x, chosen), up)?;
        self.bounded_gate(gate, up, limit)
    }

    /// Rows times the matrices of the chosen experts, times their factors and plus
    /// their biases where the file has some: `[tokens, used, outputs]`.
    fn biased(
        &mut self,
        block: usize,
        name: &str,
        (x, chosen): (ValueId, ValueId),
        matrices: ValueId,
    ) -> Result<ValueId> {
        let mut y = self.g.expert_matmul(x, chosen, matrices, None)?;
        let adapted = self.spec.part.tensor(block, &format!("{name}.weight"));
        let adapters = self.added_by_loras(&adapted, None)?;
        let shape = self.g.ty(matrices).shape.clone();
        let fixed = |axis: usize| shape.get(axis).and_then(Dim::as_const).unwrap_or(0) as usize;
        let scales = format!("{name}.scale");
        if let Some(scales) = self.optional(block, &scales, &[fixed(0)])? {
            let scales = self.g.gather(scales, chosen, 0)?;
            let mut each = self.g.ty(scales).shape.clone();
            each.push(1u64.into());
            let scales = self.g.reshape(scales, &each)?;
            y = self.g.mul(y, scales)?;
        }
        if let Some([a, b]) = adapters {
            let narrow = self.g.expert_matmul(x, chosen, a, None)?;
            let added = self.g.expert_matmul(narrow, chosen, b, None)?;
            y = self.g.add(y, added)?;
        }
        let bias = format!("{name}.bias");
        match self.optional(block, &bias, &[fixed(0), fixed(1)])? {
            Some(bias) => {
                let bias = self.g.gather(bias, chosen, 0)?;
                self.g.add(y, bias)
            }
            None => Ok(y),
        }
    }

    /// `activation(gate) * up` of the chosen experts. Files of many types may have
    /// one of another type than the other.
    pub(super) fn gated(
        &mut self,
        x: ValueId,
        chosen: ValueId,
        [gate, up]: [ValueId; 2],
        activation: Unary,
    ) -> Result<ValueId> {
        if self.g.ty(gate) == self.g.ty(up) {
            return self.g.gated_expert_matmul((x, chosen), gate, up, activation);
        }
        let gate = self.g.expert_matmul(x, chosen, gate, Some(activation))?;
        let up = self.g.expert_matmul(x, chosen, up, None)?;
        self.g.mul(gate, up)
    }

    fn route(&mut self, block: usize, experts: &Experts, x: ValueId) -> Result<Routed> {
        let (count, width) = (experts.count, self.spec.width);
        let scores = match experts.beside {
            // What a file calls a scale there is of another kind.
            Beside::Normed => {
                let matrix = self.weight(block, "ffn_gate_inp", &[count, width])?;
                self.g.linear(x, matrix, None)?
            }
            _ => self.linear(block, "ffn_gate_inp", x, count, width)?,
        };
        let scores = match experts.gate {
            Gate::Softmax => self.g.softmax(scores, -1)?,
            Gate::Sigmoid => self.g.unary(Unary::Sigmoid, scores)?,
            Gate::SoftmaxOfUsed => scores,
        };
        // Biases and groups have a say in the choice alone.
        let mut choice = scores;
        if let Some(bias) = self.optional(block, "exp_probs_b.bias", &[count])? {
            choice = self.g.add(choice, bias)?;
        }
        if let Some(groups) = experts.groups {
            choice = self.of_best_groups(choice, experts, groups)?;
        }
        let (mut weights, chosen) = self.g.top_k(choice, experts.used as u64, -1)?;
        if choice != scores {
            weights = self.g.op1(GatherElements { axis: -1 }, &[scores, chosen])?;
        }
        if experts.gate == Gate::SoftmaxOfUsed {
            weights = self.g.softmax(weights, -1)?;
        }
        let weights = self.weighed(experts, weights)?;
        Ok(Routed { scores, weights, chosen })
    }

    /// Weights `[tokens, used]` of experts, made to add up to 1 and multiplied with a
    /// factor where the model does so.
    pub(super) fn weighed(&mut self, experts: &Experts, mut weights: ValueId) -> Result<ValueId> {
        if experts.normalised {
            let sum = self.g.reduce(Reduction::Sum, weights, &[-1], true)?;
            let least = self.number("least_sum", LEAST_SUM)?;
            let sum = self.g.binary(Binary::Max, sum, least)?;
            weights = self.g.div(weights, sum)?;
        }
        if let Some(scale) = experts.scale {
            weights = self.scaled("expert_scale", weights, Some(scale))?;
        }
        Ok(weights)
    }

    /// Scores `[tokens, experts]`, very low ones outside of the best groups. A group
    /// is as good as its best expert or, where each expert has a score of its own,
    /// its two best.
    fn of_best_groups(&mut self, x: ValueId, experts: &Experts, groups: Groups) -> Result<ValueId> {
        let [sequences, query] = self.flat.clone();
        let tokens = sequences * query;
        let (count, size) = (Dim::from(groups.count), Dim::from(experts.count / groups.count));
        let grouped = self.g.reshape(x, &[tokens.clone(), count.clone(), size])?;
        let good = match experts.gate {
            Gate::Sigmoid => {
                let (best, _) = self.g.top_k(grouped, 2, -1)?;
                self.g.reduce(Reduction::Sum, best, &[-1], false)?
            }
            _ => self.g.reduce(Reduction::Max, grouped, &[-1], false)?,
        };
        let (best, _) = self.g.top_k(good, groups.used as u64, -1)?;
        let least = self.g.reduce(Reduction::Min, best, &[-1], true)?;
        let out = self.g.binary(Binary::Less, good, least)?;
        let out = self.g.reshape(out, &[tokens.clone(), count, 1u64.into()])?;
        let low = self.number("out_of_group", OUT_OF_GROUP)?;
        let kept = self.g.select(out, low, grouped)?;
        self.g.reshape(kept, &[tokens, experts.count.into()])
    }

    /// The expert that every token goes through: F32 `[tokens, width]`.
    fn shared_expert(&mut self, block: usize, x: ValueId) -> Result<ValueId> {
        let (width, inner) = (self.spec.width, self.inner_size(block, SHARED_INNER, 0)?);
        let up = self.linear(block, "ffn_up_shexp", x, inner, width)?;
        let gated = if self.spec.gated {
            let gate = self.linear(block, "ffn_gate_shexp", x, inner, width)?;
            match self.limits(block).shared {
                Some(limit) => self.limited_gate(gate, up, limit)?,
                None => {
                    let gate = self.g.unary(self.spec.activation, gate)?;
                    self.g.mul(gate, up)?
                }
            }
        } else {
            self.activated(up)?
        };
        let fed = self.linear(block, "ffn_down_shexp", gated, width, inner)?;
        // Some have a gate of one number for all of it.
        let Some(weight) = self.optional(block, "ffn_gate_inp_shexp.weight", &[width])? else {
            return Ok(fed);
        };
        let share = self.g.matmul(x, weight)?;
        let [sequences, query] = self.flat.clone();
        let tokens = sequences * query;
        let share = self.g.reshape(share, &[tokens, 1u64.into()])?;
        let share = self.g.unary(Unary::Sigmoid, share)?;
        self.g.mul(fed, share)
    }

    /// The inner width of experts: keys of different names give it, the tensors
    /// have it.
    pub(super) fn inner_size(&self, block: usize, name: &str, axis: usize) -> Result<usize> {
        let name = self.spec.part.tensor(block, name);
        let at = format!("tensor '{name}'");
        let tensor = (self.weights)(&name)?;
        let tensor = tensor.ok_or_else(|| Error::format(&self.spec.file, &at, "missing"))?;
        tensor.extents().get(axis).copied().ok_or_else(|| {
            let what = format!("extents {:?}", tensor.extents());
            Error::format(&self.spec.file, at, what)
        })
    }
}

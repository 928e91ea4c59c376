//! One node of a graph by itself, with values drawn for it: what kernels are tried
//! and timed on.

use crate::error::{Error, Result};
use crate::graph::{Bindings, Dim, Graph, GraphBuilder, Node, Source, StateId, ValueId};
use crate::ops::{Operator, RefData, RefTensor};
use crate::tensor::{DType, Tensor};
use crate::validate::{CaseInput, Values, generate, mix};
use std::collections::HashSet;
use std::sync::Arc;

/// A node of a graph that is planned for these bounds.
#[derive(Debug, Clone, Copy)]
pub(super) struct At<'a> {
    pub(super) graph: &'a Graph,
    pub(super) node: &'a Node,
    pub(super) bounds: &'a Bindings,
}

/// How much smaller than in the graph a node's constants are.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Cut {
    /// Every extent that is not small.
    All,
    /// Those from the third axis on: groups of channels stay whole.
    Inner,
    /// All but the last of each operand: sums stay as long as they are.
    Outer,
    /// Only the very large ones.
    Large,
    /// Nothing.
    Nothing,
}

/// What is the same for all operands of a node.
#[derive(Debug, Clone, Copy)]
struct Grain {
    /// The longest block of its quantised operands, 1 without any.
    block: u64,
    /// Whether an operand has four dimensions or more: the work grows with all of them.
    many: bool,
}

impl Cut {
    pub(super) const ALL: [Cut; 5] = [Cut::All, Cut::Inner, Cut::Outer, Cut::Large, Cut::Nothing];

    /// The extent in the place of `extent`. Equal ones stay equal, and what decides
    /// about vectors, blocks and remainders stays: divisibility by 4, by 8 and by the
    /// length of a block.
    fn extent(self, extent: u64, (axis, axes): (usize, usize), grain: Grain) -> u64 {
        let kept = match self {
            Cut::All => false,
            Cut::Inner => axis < 2,
            Cut::Outer => axis + 1 == axes,
            Cut::Large => extent < 2048,
            Cut::Nothing => true,
        };
        // Above 64 there is more than one tile of most kernels.
        let [eights, fours, odd]: [u64; 3] = if grain.many { [24, 20, 19] } else { [72, 68, 67] };
        let smaller = match extent {
            n if grain.block > 1 && n.is_multiple_of(grain.block) => {
                eights.next_multiple_of(grain.block)
            }
            n if n.is_multiple_of(8) => eights,
            n if n.is_multiple_of(4) => fours,
            _ => odd,
        };
        if kept { extent } else { smaller.min(extent) }
    }
}

/// Run-time values of symbols: small, odd, and not all the same.
const FEW: [u64; 4] = [5, 3, 7, 9];

/// The most elements of all operands together where something is cut.
const SMALL: usize = 1 << 21;
/// The same where nothing can be.
const MOST: usize = 1 << 26;
/// The most bytes of all operands together where there is no reference to compute: a
/// vocabulary of 128 Ki by 4096 in F16.
const LARGE: usize = 1 << 30;
/// The most elements of a constant of the graph that is taken as it is.
const AS_IT_IS: usize = 1 << 12;

/// A graph of one node, and what it is run on.
#[derive(Debug)]
pub(super) struct Alone {
    pub(super) graph: Arc<Graph>,
    pub(super) bounds: Bindings,
    /// The run-time values of its symbols.
    pub(super) values: Bindings,
    /// What the graph's inputs get, in order.
    pub(super) inputs: Vec<Tensor>,
    /// What its states hold before.
    pub(super) states: Vec<(StateId, Tensor)>,
    /// The operator's inputs.
    pub(super) operands: Vec<Option<Tensor>>,
    /// Where its results are: an output, or a state that is updated.
    pub(super) results: Vec<Place>,
}

/// Where a result is.
#[derive(Debug, Clone, Copy)]
pub(super) enum Place {
    Output(usize),
    State(StateId),
}

/// How values are drawn. Some operators are defined for few numbers only.
#[derive(Debug, Clone, Copy)]
pub(super) struct Draw {
    reals: (f64, f64),
    whole: i64,
    blank: bool,
    /// Whether each operand's real numbers are above those of the next, so that
    /// differences are above zero.
    falling: bool,
}

/// What is above the operands whose numbers fall.
const TOP: usize = 16;

impl Draw {
    /// In the order to try them; no ends stand for the normal distribution.
    pub(super) const ALL: [Draw; 6] = [
        Draw::of((0.0, 0.0), 2),
        Draw::of((0.1, 0.9), 2),
        Draw::of((0.0, 0.0), 1),
        Draw::of((1.1, 1.9), 2),
        Draw::of((0.1, 0.9), 1),
        Draw { falling: true, ..Draw::of((0.1, 0.9), 2) },
    ];
    /// What is timed: whole numbers that are right whatever the extents are.
    pub(super) const TIMED: Draw = Draw::of((0.0, 0.0), 1);
    /// Zeros, where only types and extents matter.
    pub(super) const BLANK: Draw = Draw { blank: true, ..Draw::of((0.0, 0.0), 1) };

    const fn of(reals: (f64, f64), whole: i64) -> Self {
        Draw { reals, whole, blank: false, falling: false }
    }

    /// For the operand of this number.
    fn values(self, integer: bool, number: usize) -> Values {
        let above = if self.falling { TOP.saturating_sub(number) as f64 } else { 0.0 };
        match self.reals {
            _ if integer => Values::Whole(0, self.whole),
            (0.0, 0.0) => Values::Normal(1.0),
            (from, to) => Values::Uniform(from + above, to + above),
        }
    }
}

impl At<'_> {
    /// The node by itself. `full` gives symbols the values of their bounds.
    ///
    /// # Errors
    /// If the operator does not take what is left of its operands, or they are too
    /// large to be tried.
    pub(super) fn alone(&self, cut: Cut, draw: Draw, full: bool) -> Result<Alone> {
        self.made(cut, draw, full, false)
    }

    /// The same for a node that is planned or timed, at its own size: nothing computes
    /// what it should give, so it may be larger.
    ///
    /// # Errors
    /// If the operands are larger than what can be timed.
    pub(super) fn alone_large(&self, draw: Draw, full: bool) -> Result<Alone> {
        self.made(Cut::Nothing, draw, full, true)
    }

    fn made(&self, cut: Cut, draw: Draw, full: bool, large: bool) -> Result<Alone> {
        let node = self.node;
        let mut g = GraphBuilder::new();
        for symbol in self.graph.symbols() {
            g.symbol(&symbol.name);
        }
        let values = self.values(node, full)?;
        let filled = if full { self.half_of_a_state(node, &values)? } else { None };
        let types = node.inputs.iter().flatten().map(|&id| self.graph.ty(id));
        let blocks = types.clone().filter(|ty| ty.dtype.is_quantised());
        let block = blocks.map(|ty| ty.dtype.block_len() as u64).max().unwrap_or(1);
        let grain = Grain { block, many: types.clone().any(|ty| ty.rank() > 3) };
        let taken = Taken { large, elements: 0, bytes: 0 };
        let mut made = Making { at: *self, cut, grain, draw, values: &values, taken, filled };
        let (mut inputs, mut states, mut operands) = (Vec::new(), Vec::new(), Vec::new());
        let mut ids = Vec::new();
        for (i, input) in node.inputs.iter().enumerate() {
            let Some(id) = *input else {
                ids.push(None);
                operands.push(None);
                continue;
            };
            let value = self.graph.value(id);
            let shape = made.shape(id);
            let tensor = made.tensor(id, &shape, i)?;
            ids.push(Some(match &value.source {
                Source::Constant(_) => g.constant(&format!("c{i}"), tensor.clone())?,
                _ if self.is_state(node, i, id) => {
                    states.push((StateId(states.len() as u32), tensor.clone()));
                    g.state(&format!("s{i}"), value.ty.dtype, shape, None)?
                }
                _ => {
                    inputs.push(tensor.clone());
                    g.input(&format!("x{i}"), value.ty.dtype, shape)?
                }
            }));
            operands.push(Some(tensor));
        }
        let outputs = g.node("node", node.op.clone(), &ids)?;
        let mut results = Vec::new();
        let updated = node.op.updates().iter().filter_map(|&(input, output)| {
            let number = node.inputs[..input].iter().enumerate();
            let before = number.filter(|(i, id)| id.is_some_and(|id| self.is_state(node, *i, id)));
            let state = self.is_state(node, input, node.inputs.get(input).copied().flatten()?);
            state.then_some((output, StateId(before.count() as u32)))
        });
        let updated: Vec<_> = updated.collect();
        let mut outs = 0;
        for (o, &output) in outputs.iter().enumerate() {
            match updated.iter().find(|(number, _)| *number == o) {
                Some(&(_, state)) => results.push(Place::State(state)),
                None => {
                    g.output(&format!("y{o}"), output)?;
                    results.push(Place::Output(outs));
                    outs += 1;
                }
            }
        }
        let bounds = self.smaller_bounds(cut, &values);
        let graph = Arc::new(g.finish()?);
        Ok(Alone { graph, bounds, values, inputs, states, operands, results })
    }

    /// Whether an operand is memory that the operator updates, or reads as a state.
    fn is_state(&self, node: &Node, input: usize, id: ValueId) -> bool {
        let updated = node.op.updates().iter().any(|&(updated, _)| updated == input);
        let version = self.graph.states().iter().any(|state| state.last == id);
        updated || version || matches!(self.graph.value(id).source, Source::State(_))
    }

    /// Memory is sized by bounds, and a trial should take little of it. From this bound
    /// on no kernel looks different.
    fn smaller_bounds(&self, cut: Cut, values: &Bindings) -> Bindings {
        const ENOUGH: u64 = 16;
        let mut bounds = self.bounds.clone();
        for number in 0..self.graph.symbols().len() {
            let symbol = crate::graph::Symbol(number as u32);
            if let (Some(bound), Some(value)) = (bounds.get(symbol), values.get(symbol))
                && cut != Cut::Nothing
            {
                bounds.set(symbol, bound.min(ENOUGH).max(value));
            }
        }
        bounds
    }

    /// Half of what the states of a node have room for. Whole numbers beside states say
    /// how much of them is filled, and what is timed should not be an empty cache.
    fn half_of_a_state(&self, node: &Node, values: &Bindings) -> Result<Option<i64>> {
        let mut most = None;
        for (i, id) in node.inputs.iter().enumerate() {
            if let Some(id) = id.filter(|id| self.is_state(node, i, *id)) {
                most = most.max(self.graph.ty(id).extents(values)?.into_iter().max());
            }
        }
        Ok(most.map(|most| most as i64 / 2))
    }

    /// Values for the symbols. Those of states are what they are bound to: states
    /// have one size.
    fn values(&self, node: &Node, full: bool) -> Result<Bindings> {
        let mut fixed = HashSet::new();
        for (i, id) in node.inputs.iter().enumerate() {
            if let Some(id) = id.filter(|id| self.is_state(node, i, *id)) {
                self.graph.ty(id).shape.iter().for_each(|dim| symbols(dim, &mut fixed));
            }
        }
        let mut values = Bindings::new(self.graph.symbols().len());
        for number in 0..self.graph.symbols().len() {
            let symbol = crate::graph::Symbol(number as u32);
            if let Some(bound) = self.bounds.get(symbol) {
                let few = FEW[number % FEW.len()].min(bound);
                values.set(symbol, if full || fixed.contains(&number) { bound } else { few });
            }
        }
        Ok(values)
    }
}

fn symbols(dim: &Dim, found: &mut HashSet<usize>) {
    match dim {
        Dim::Const(_) => {}
        Dim::Sym(symbol) => {
            found.insert(symbol.index());
        }
        Dim::Expr(expr) => {
            symbols(&expr.left, found);
            symbols(&expr.right, found);
        }
    }
}

/// How much operands are so far.
struct Taken {
    /// Whether bytes are limited, and not elements.
    large: bool,
    elements: usize,
    bytes: usize,
}

impl Taken {
    fn add(&mut self, cut: Cut, elements: usize, bytes: usize, node: &str) -> Result<()> {
        self.elements = self.elements.saturating_add(elements);
        self.bytes = self.bytes.saturating_add(bytes);
        let (name, needed, limit) = match (self.large, cut) {
            (true, _) => ("bytes", self.bytes, LARGE),
            (false, Cut::Nothing) => ("elements", self.elements, MOST),
            (false, _) => ("elements", self.elements, SMALL),
        };
        if needed <= limit {
            return Ok(());
        }
        let what = format!("a trial of node '{node}'");
        let (needed, limit) = (needed as u64, limit as u64);
        Err(Error::Limit { what, limit_name: name.into(), needed, limit })
    }
}

/// Makes operands.
struct Making<'a> {
    at: At<'a>,
    cut: Cut,
    grain: Grain,
    draw: Draw,
    values: &'a Bindings,
    taken: Taken,
    /// What whole numbers of the run are, where that is given.
    filled: Option<i64>,
}

impl Making<'_> {
    fn shape(&self, id: ValueId) -> Vec<Dim> {
        let shape = &self.at.graph.ty(id).shape;
        let axes = shape.len();
        let cut = |(axis, dim): (usize, &Dim)| match dim {
            Dim::Const(extent) => Dim::Const(self.cut.extent(*extent, (axis, axes), self.grain)),
            other => other.clone(),
        };
        shape.iter().enumerate().map(cut).collect()
    }

    fn tensor(&mut self, id: ValueId, shape: &[Dim], number: usize) -> Result<Tensor> {
        let value = self.at.graph.value(id);
        let eval = |dim: &Dim| Ok(dim.eval(self.values)? as usize);
        let extents = shape.iter().map(eval).collect::<Result<Vec<usize>>>()?;
        let count = extents.iter().fold(1usize, |count, &n| count.saturating_mul(n));
        let bytes = value.ty.dtype.bytes(&extents)?;
        self.taken.add(self.cut, count, bytes, &self.at.node.name)?;
        if let Some(known) = self.at.graph.constant(id)
            && known.extents() == extents
            && (count <= AS_IT_IS || (known.dtype().is_integer() && count <= SMALL))
        {
            return Ok(known.clone());
        }
        if self.draw.blank {
            return Tensor::new(value.ty.dtype, &extents, vec![0; bytes]);
        }
        let whole = value.ty.dtype.is_integer();
        let values = match self.filled.filter(|_| whole && value.ty.dtype != DType::Bool) {
            Some(filled) => Values::Whole(filled, filled + 1),
            None => self.draw.values(whole, number),
        };
        generate(&CaseInput::run(value.ty.dtype, &extents).values(values), mix(SEED, number as u64))
    }
}

/// Trials are the same on every machine.
const SEED: u64 = 0x7769_6e66;

impl Alone {
    /// The reference's answer, and the operands exactly.
    ///
    /// # Errors
    /// If the values are out of the operator's domain.
    pub(super) fn reference(&self, op: &dyn Operator) -> Result<Answer> {
        let exact = |tensor: &Option<Tensor>| tensor.as_ref().map(RefTensor::from_tensor);
        let operands: Vec<Option<RefTensor>> =
            self.operands.iter().map(|t| exact(t).transpose()).collect::<Result<_>>()?;
        let inputs: Vec<Option<&RefTensor>> = operands.iter().map(Option::as_ref).collect();
        let node = self.graph.nodes().first().ok_or_else(|| Error::internal("no node"))?;
        let extents = node.outputs.iter().map(|id| self.graph.ty(*id).extents(&self.values));
        let results = op.reference_sized(&inputs, &extents.collect::<Result<Vec<_>>>()?)?;
        Ok(Answer { operands, results })
    }
}

/// What a run should give.
#[derive(Debug)]
pub(super) struct Answer {
    pub(super) operands: Vec<Option<RefTensor>>,
    pub(super) results: Vec<RefTensor>,
}

impl Answer {
    /// Whether all of it is finite, and whole numbers have the 32 bits of a device:
    /// other values prove little.
    pub(super) fn is_finite(&self) -> bool {
        const HELD: std::ops::RangeInclusive<i64> = i32::MIN as i64..=u32::MAX as i64;
        self.results.iter().all(|result| match &result.data {
            RefData::Real(values) => values.iter().all(|value| value.is_finite()),
            RefData::Int(values) => values.iter().all(|value| HELD.contains(value)),
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_timed_is_limited_by_its_bytes() {
        let add = |large, cut, elements, bytes| {
            Taken { large, elements: 0, bytes: 0 }.add(cut, elements, bytes, "n").is_ok()
        };
        assert!(add(true, Cut::Nothing, MOST + 1, LARGE) && !add(true, Cut::Nothing, 1, LARGE + 1));
        assert!(add(false, Cut::Nothing, MOST, LARGE + 1));
        assert!(!add(false, Cut::Nothing, MOST + 1, 1) && !add(false, Cut::All, SMALL + 1, 1));
    }

    #[test]
    fn what_is_cut_keeps_what_shaders_ask_about() {
        for (block, many) in [(1, false), (1, true), (32, false), (256, false)] {
            let grain = Grain { block, many };
            for extent in [1, 3, 24, 40, 41, 44, 48, 576, 1000, 1536, 49152, 30_522] {
                let cut = Cut::All.extent(extent, (0, 2), grain);
                assert!(cut <= extent);
                for factor in [4, 8, block] {
                    let same = extent.is_multiple_of(factor) == cut.is_multiple_of(factor);
                    assert!(same, "{extent} {cut} {factor}");
                }
            }
        }
        let grain = Grain { block: 1, many: true };
        assert_eq!(Cut::All.extent(576, (3, 4), grain), 24);
        assert_eq!(Cut::Outer.extent(576, (3, 4), grain), 576);
        assert_eq!(Cut::Inner.extent(576, (1, 4), grain), 576);
        assert_eq!(Cut::Large.extent(576, (0, 4), grain), 576);
        assert_eq!(Cut::Large.extent(49152, (0, 4), grain), 24);
        assert_eq!(Cut::Nothing.extent(49152, (0, 4), grain), 49152);
    }
}

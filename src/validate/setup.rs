//! From a case to a graph of one node and the tensors to run it with.

use super::case::Case;
use crate::error::{Error, Result};
use crate::exec::gpu::scratch_sizes;
use crate::gpu::DeviceCaps;
use crate::graph::{Bindings, Dim, Graph, GraphBuilder, Shape, Symbol, TensorType};
use crate::kernels::{Dispatch, GpuCx, Policy};
use crate::ops::Operator;
use crate::plan::{Call, Plan, Room};
use crate::tensor::{DType, Tensor};

/// How the graph knows the extents of its inputs.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Extents {
    /// As constants.
    Fixed,
    /// As symbols with a bound above the run-time value, wherever the operator
    /// accepts that. Proves that kernels use run-time extents.
    Symbolic,
}

/// A case made ready to run.
#[derive(Debug)]
pub struct Setup {
    /// One node.
    pub graph: Graph,
    /// What the graph's inputs get.
    pub inputs: Vec<(String, Tensor)>,
    /// What the graph's states hold before the run.
    pub states: Vec<(String, Tensor)>,
    /// Where to find each output of the operator.
    pub results: Vec<ResultAt>,
    /// The bounds of the graph's symbols.
    pub bounds: Bindings,
    /// The run-time values of the graph's symbols.
    pub values: Bindings,
}

/// Where a result of the operator is found after a run.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum ResultAt {
    /// Among the outputs, under this name.
    Output(String),
    /// In the state of this name.
    State(String),
}

impl ResultAt {
    /// The output's or state's name.
    pub fn name(&self) -> &str {
        match self {
            ResultAt::Output(name) | ResultAt::State(name) => name,
        }
    }
}

/// A further symbol must keep a graph's values within this at their bounds...
const BOUND_BYTES: usize = 4 << 20;
/// ...or within this multiple of what they take without symbols.
const BOUND_GROWTH: usize = 4;

/// A dimension of an input: `(input, axis)`.
type Axis = (usize, usize);

/// Which dimensions are which symbol.
#[derive(Debug, Clone, Default, PartialEq)]
struct Symbols(Vec<Vec<Axis>>);

impl Setup {
    /// Builds the graph of a case around values drawn for it.
    ///
    /// `accepts` says whether symbolic dimensions can be planned; it is asked
    /// about each further symbol and never with [`Extents::Fixed`].
    ///
    /// # Errors
    /// If the operator refuses the inputs.
    pub fn new(
        case: &Case,
        operands: &[Option<Tensor>],
        extents: Extents,
        accepts: impl Fn(&Setup) -> bool,
    ) -> Result<Self> {
        let fixed = build(case, operands, &Symbols::default())?;
        if extents == Extents::Fixed {
            return Ok(fixed);
        }
        let most = fixed.bytes_at_bounds().saturating_mul(BOUND_GROWTH).max(BOUND_BYTES);
        let mut best = fixed;
        let mut symbols = Symbols::default();
        for group in groups(case) {
            if group.iter().any(|axis| symbols.0.iter().any(|taken| taken.contains(axis))) {
                continue;
            }
            let mut more = symbols.clone();
            more.0.push(group);
            if let Ok(setup) = build(case, operands, &more)
                && setup.same_results(&best)
                && setup.bytes_at_bounds() <= most
                && accepts(&setup)
            {
                (best, symbols) = (setup, more);
            }
        }
        Ok(best)
    }

    /// The number of symbols.
    pub fn symbols(&self) -> usize {
        self.graph.symbols().len()
    }

    /// What all values of the graph take together at the symbols' bounds. With
    /// eight symbolic dimensions the bounds of a small tensor fill any memory.
    fn bytes_at_bounds(&self) -> usize {
        let nodes = self.graph.nodes().iter().flat_map(|node| &node.outputs);
        let ids = nodes.chain(self.graph.inputs());
        let bytes = ids.map(|&id| self.graph.ty(id).bytes(&self.bounds).unwrap_or(usize::MAX));
        bytes.fold(0, usize::saturating_add)
    }

    /// Whether the results have the same run-time extents. A symbol that
    /// changes them (by broadcasting, say) has changed the meaning.
    fn same_results(&self, other: &Setup) -> bool {
        let all = |setup: &Setup| -> Result<Vec<(DType, Vec<usize>)>> {
            let outputs = setup.graph.nodes().iter().flat_map(|node| &node.outputs);
            let types = outputs.map(|&id| setup.graph.ty(id));
            types.map(|ty| Ok((ty.dtype, ty.extents(&setup.values)?))).collect()
        };
        matches!((all(self), all(other)), (Ok(a), Ok(b)) if a == b)
    }
}

/// Sets of dimensions to make one symbol of, in the order to try them: every
/// dimension alone, then those of the same extent on the same axis, then all
/// of the same extent.
fn groups(case: &Case) -> Vec<Vec<Axis>> {
    let mut axes: Vec<(Axis, usize)> = Vec::new();
    for (i, input) in case.inputs.iter().enumerate() {
        let Some(input) = input.as_ref().filter(|input| !input.constant && !input.state) else {
            continue;
        };
        // Rows of blocks cannot end within a block.
        let last = input.extents.len() - usize::from(input.dtype.is_quantised());
        axes.extend(input.extents[..last].iter().enumerate().map(|(a, &n)| ((i, a), n)));
    }
    let mut groups: Vec<Vec<Axis>> = axes.iter().map(|&(axis, _)| vec![axis]).collect();
    let alike = |same: &dyn Fn(Axis, Axis) -> bool| -> Vec<Vec<Axis>> {
        let group = |&(axis, n): &(Axis, usize)| -> Vec<Axis> {
            let members = axes.iter().filter(|&&(other, m)| m == n && same(axis, other));
            members.map(|&(other, _)| other).collect()
        };
        axes.iter().map(group).filter(|group| group.len() > 1).collect()
    };
    groups.extend(alike(&|a, b| a.1 == b.1));
    groups.extend(alike(&|_, _| true));
    groups.dedup();
    groups
}

fn build(case: &Case, operands: &[Option<Tensor>], symbols: &Symbols) -> Result<Setup> {
    let mut g = GraphBuilder::new();
    let (mut bounds, mut values) = (Bindings::new(0), Bindings::new(0));
    let (mut inputs, mut states, mut ids) = (Vec::new(), Vec::new(), Vec::new());
    let mut state_of = vec![None; operands.len()];
    for (i, (input, tensor)) in case.inputs.iter().zip(operands).enumerate() {
        let (Some(input), Some(tensor)) = (input, tensor) else {
            ids.push(None);
            continue;
        };
        let id = if input.constant {
            g.constant(&format!("c{i}"), tensor.clone())?
        } else if input.state {
            let name = format!("s{i}");
            let shape: Shape = input.extents.iter().map(|&n| n.into()).collect();
            states.push((name.clone(), tensor.clone()));
            state_of[i] = Some(name.clone());
            g.state(&name, input.dtype, shape, None)?
        } else {
            let name = format!("x{i}");
            let mut dim = |(axis, &extent): (usize, &usize)| -> Dim {
                match symbols.0.iter().position(|group| group.contains(&(i, axis))) {
                    None => extent.into(),
                    Some(number) => {
                        let symbol: Symbol = g.symbol(&format!("n{number}"));
                        values.set(symbol, extent as u64);
                        // Several symbols multiply: large extents grow by little.
                        bounds.set(symbol, extent as u64 + extent as u64 / 4 + 3);
                        symbol.into()
                    }
                }
            };
            let shape: Shape = input.extents.iter().enumerate().map(&mut dim).collect();
            inputs.push((name.clone(), tensor.clone()));
            g.input(&name, input.dtype, shape)?
        };
        ids.push(Some(id));
    }
    let outputs = g.node("node", case.op.clone(), &ids)?;
    let mut results = Vec::new();
    for (o, &output) in outputs.iter().enumerate() {
        let updated = case.op.updates().iter().find(|(_, updated)| *updated == o);
        match updated.and_then(|&(i, _)| state_of.get(i).cloned().flatten()) {
            Some(state) => results.push(ResultAt::State(state)),
            None => {
                g.output(&format!("y{o}"), output)?;
                results.push(ResultAt::Output(format!("y{o}")));
            }
        }
    }
    let graph = g.finish()?;
    Ok(Setup { graph, inputs, states, results, bounds, values })
}

/// The dispatches of every call of a plan, as a device of these capabilities
/// would get them: with as much scratch memory as takes little more than the plan
/// takes without.
///
/// # Errors
/// Whatever a kernel finds wrong, naming its node.
pub fn dispatches<'a>(
    plan: &'a Plan,
    caps: &DeviceCaps,
    policy: &Policy,
) -> Result<Vec<(&'a Call, Vec<Dispatch>)>> {
    let mut chosen = Vec::new();
    for room in Room::ALL {
        chosen = dispatches_in(plan, caps, policy, room)?;
        let sizes = chosen.iter().map(|(_, dispatches)| scratch_sizes(dispatches));
        if plan.is_tight(&plan.places(&sizes.collect::<Result<Vec<_>>>()?)?) {
            break;
        }
    }
    Ok(chosen)
}

fn dispatches_in<'a>(
    plan: &'a Plan,
    caps: &DeviceCaps,
    policy: &Policy,
    room: Room,
) -> Result<Vec<(&'a Call, Vec<Dispatch>)>> {
    let ty = |id: &crate::plan::OperandId| plan.operands[id.index()].ty.clone();
    let describe = |(at, call): (usize, &'a Call)| {
        let inputs: Vec<Option<TensorType>> =
            call.inputs.iter().map(|id| id.as_ref().map(ty)).collect();
        let outputs: Vec<TensorType> = call.outputs.iter().map(ty).collect();
        let cx = GpuCx {
            inputs: &inputs,
            outputs: &outputs,
            bounds: &plan.bounds,
            caps,
            policy,
            room: plan.room(at, room),
        };
        let dispatches = cx.dispatches(call.kernel.as_ref()).map_err(|e| e.at_node(&call.node))?;
        Ok((call, dispatches))
    };
    plan.calls().enumerate().map(describe).collect()
}

/// The types of an operator's results for the case's extents as constants.
///
/// # Errors
/// If the operator refuses the inputs.
pub(super) fn infer(op: &dyn Operator, operands: &[Option<Tensor>]) -> Result<Vec<TensorType>> {
    let ty = |tensor: &Tensor| {
        let shape: Shape = tensor.extents().iter().map(|&n| n.into()).collect();
        TensorType::new(tensor.dtype(), shape)
    };
    let types: Vec<Option<TensorType>> =
        operands.iter().map(|tensor| tensor.as_ref().map(ty)).collect();
    let types: Vec<Option<&TensorType>> = types.iter().map(Option::as_ref).collect();
    let inferred = op.infer(&types)?;
    if inferred.is_empty() {
        return Err(Error::rule(op.name(), "has no results"));
    }
    Ok(inferred)
}

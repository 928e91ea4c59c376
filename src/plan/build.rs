//! From a graph to kernel calls.

use super::memory::{Lifetime, MemoryPlan, live_peak};
use super::packing::{Packing, Rules};
use super::places::Needs;
use super::{Call, Home, InputHome, Operand, OperandId, PlacedOperand, Plan};
use crate::error::{Error, Result};
use crate::graph::{Bindings, Graph, Node, Source, TensorType, ValueId};
use crate::kernels::Kernel;
use crate::ops::Lowering;
use std::collections::BTreeSet;

/// Judges a kernel on operands of these types.
pub(crate) type Judge<'a> =
    &'a mut dyn FnMut(&dyn Kernel, &[Option<TensorType>], &[TensorType]) -> Result<()>;

/// A plan in the making: operands without memory, calls in order.
#[derive(Debug, Default)]
pub struct PlanBuilder {
    operands: Vec<Entry>,
    calls: Vec<Call>,
}

#[derive(Debug)]
struct Entry {
    ty: TensorType,
    origin: Origin,
}

#[derive(Debug, Clone, Copy, PartialEq)]
enum Origin {
    Given(Home),
    Computed,
    Alias(OperandId),
}

/// How operands are laid out on the CPU.
pub(super) type Slots = fn(&[Option<Lifetime>]) -> MemoryPlan;
/// How they are on a device.
pub(super) type Packer = fn(&[Option<Lifetime>], &Rules) -> Packing;

impl PlanBuilder {
    /// Lowers every node of a graph. Operand `i` is value `i` of the graph;
    /// temporaries follow.
    pub(super) fn lower(graph: &Graph) -> Result<Self> {
        let mut plan = Self::values(graph);
        graph.nodes.iter().try_for_each(|node| plan.lower_node(graph, node))?;
        Ok(plan)
    }

    /// Lowers every node of a graph and has its kernel calls judged: what is
    /// wrong with each node.
    pub(crate) fn judge(graph: &Graph, judge: Judge<'_>) -> Vec<Result<()>> {
        let mut plan = Self::values(graph);
        let verdict = |node| {
            let first = plan.calls.len();
            plan.lower_node(graph, node)?;
            let ty = |id: &OperandId| plan.operands[id.index()].ty.clone();
            for call in &plan.calls[first..] {
                let inputs: Vec<_> = call.inputs.iter().map(|id| id.as_ref().map(ty)).collect();
                let outputs: Vec<_> = call.outputs.iter().map(ty).collect();
                judge(&*call.kernel, &inputs, &outputs).map_err(|e| e.at_node(&call.node))?;
            }
            Ok(())
        };
        graph.nodes.iter().map(verdict).collect()
    }

    /// The graph's values as operands.
    fn values(graph: &Graph) -> Self {
        let mut plan = PlanBuilder::default();
        for (i, value) in graph.values.iter().enumerate() {
            let id = ValueId(i as u32);
            let input = || graph.inputs.iter().position(|&other| other == id).unwrap_or(usize::MAX);
            let origin = match &value.source {
                Source::Constant(_) => Origin::Given(Home::Constant(id)),
                Source::State(state) => Origin::Given(Home::State(*state)),
                Source::Input => Origin::Given(Home::Input(input())),
                Source::Node => Origin::Computed,
            };
            plan.operands.push(Entry { ty: value.ty.clone(), origin });
        }
        plan
    }

    fn lower_node(&mut self, graph: &Graph, node: &Node) -> Result<()> {
        let operand = |id: &ValueId| Operand { id: OperandId(id.0), ty: graph.ty(*id).clone() };
        let inputs: Vec<_> = node.inputs.iter().map(|id| id.as_ref().map(operand)).collect();
        let outputs: Vec<_> = node.outputs.iter().map(operand).collect();
        let mut lowering = Lowering {
            plan: self,
            inputs: &inputs,
            outputs: &outputs,
            node: &node.name,
            op: node.op.name(),
        };
        node.op.lower(&mut lowering).map_err(|e| e.at_node(&node.name))
    }

    pub(crate) fn temporary(&mut self, ty: TensorType) -> Operand {
        self.operands.push(Entry { ty: ty.clone(), origin: Origin::Computed });
        Operand { id: OperandId(self.operands.len() as u32 - 1), ty }
    }

    pub(crate) fn call(
        &mut self,
        kernel: Box<dyn Kernel>,
        inputs: &[Option<Operand>],
        outputs: &[Operand],
        (node, op): (&str, &str),
    ) {
        self.calls.push(Call {
            kernel,
            inputs: inputs.iter().map(|operand| operand.as_ref().map(|o| o.id)).collect(),
            outputs: outputs.iter().map(|operand| operand.id).collect(),
            node: node.into(),
            op: op.into(),
        });
    }

    pub(crate) fn alias(&mut self, output: &Operand, input: &Operand) -> Result<()> {
        let entry = &mut self.operands[output.id.index()];
        if entry.origin != Origin::Computed {
            return Err(Error::internal(format!("{} already has memory", entry.ty)));
        }
        entry.origin = Origin::Alias(input.id);
        Ok(())
    }

    pub(crate) fn is_state(&self, operand: &Operand) -> bool {
        let root = self.root(operand.id);
        matches!(self.operands[root.index()].origin, Origin::Given(Home::State(_)))
    }

    fn root(&self, mut id: OperandId) -> OperandId {
        while let Origin::Alias(of) = self.operands[id.index()].origin {
            id = of;
        }
        id
    }

    /// Lays out memory for given bounds; on a device also for inputs that are with it.
    pub(super) fn finish(
        self,
        graph: &Graph,
        bounds: &Bindings,
        (layout, pack): (Slots, Packer),
        homes: &[InputHome],
    ) -> Result<Plan> {
        let roots: Vec<_> =
            (0..self.operands.len() as u32).map(|i| self.root(OperandId(i))).collect();
        let lifetimes =
            self.lifetimes(&roots, graph, bounds, &|origin| origin == Origin::Computed)?;
        let memory = layout(&lifetimes);
        let lifetimes = self.with_inputs(lifetimes, &roots, graph, bounds, homes)?;
        let weights = weights(graph, bounds)?;
        let mut rules = Rules { weights, ..self.rules(&roots, graph) };
        for (id, home) in graph.inputs.iter().zip(homes) {
            let alone = *home == InputHome::Own && lifetimes[id.index()].is_some();
            rules.alone[id.index()] |= alone;
            rules.given[id.index()] = alone;
        }
        let device_live_peak = live_peak(&lifetimes, &|life| life.device_bytes);
        let home = |id: OperandId| match self.operands[id.index()].origin {
            Origin::Given(home) => home,
            _ => memory.slot_of[id.index()].map_or(Home::Unused, Home::Slot),
        };
        let operands = self
            .operands
            .iter()
            .zip(&roots)
            .map(|(entry, &root)| PlacedOperand { ty: entry.ty.clone(), home: home(root), root })
            .collect();
        let outputs =
            graph.outputs.iter().map(|(name, id)| (name.clone(), OperandId(id.0))).collect();
        Ok(Plan {
            bounds: bounds.clone(),
            operands,
            calls: self.calls,
            slots: memory.slots,
            outputs,
            live_peak: memory.live_peak,
            device_live_peak,
            needs: Needs { lifetimes, rules, pack },
        })
    }

    /// What a device asks of places: what a call writes is in another buffer than what
    /// else it writes, and better in another one than what it reads; results have
    /// their own.
    fn rules(&self, roots: &[OperandId], graph: &Graph) -> Rules {
        let mut rules = Rules {
            apart: vec![BTreeSet::new(); self.operands.len()],
            wary: vec![BTreeSet::new(); self.operands.len()],
            alone: vec![false; self.operands.len()],
            given: vec![false; self.operands.len()],
            weights: 0,
        };
        for call in &self.calls {
            let root = |id: &OperandId| roots[id.index()].index();
            let written: Vec<usize> = call.outputs.iter().map(root).collect();
            let read: Vec<usize> = call.inputs.iter().flatten().map(root).collect();
            for &one in &written {
                for &other in written.iter().filter(|&&other| other != one) {
                    rules.apart[one].insert(other);
                }
                for &other in read.iter().filter(|&&other| other != one) {
                    // WebGPU lets no two writable bindings overlap, so what is read
                    // twice cannot be bound as writable.
                    let twice = read.iter().filter(|&&again| again == other).count() > 1;
                    let pairs = if twice { &mut rules.apart } else { &mut rules.wary };
                    pairs[one].insert(other);
                    pairs[other].insert(one);
                }
            }
        }
        for (_, id) in &graph.outputs {
            rules.alone[roots[id.index()].index()] = true;
        }
        rules
    }

    /// The lifetimes with those of inputs, which begin before the first call. Inputs
    /// that are results as well are left out: they have to last.
    fn with_inputs(
        &self,
        mut lifetimes: Vec<Option<Lifetime>>,
        roots: &[OperandId],
        graph: &Graph,
        bounds: &Bindings,
        homes: &[InputHome],
    ) -> Result<Vec<Option<Lifetime>>> {
        let wanted = |origin| {
            let Origin::Given(Home::Input(number)) = origin else { return false };
            homes.get(number).is_some_and(|home| *home != InputHome::Apart)
        };
        let inputs = self.lifetimes(roots, graph, bounds, &wanted)?;
        for (life, input) in lifetimes.iter_mut().zip(inputs) {
            let passing = input.filter(|input| input.last < self.calls.len());
            *life = life.or(passing.map(|input| Lifetime { first: 0, ..input }));
        }
        Ok(lifetimes)
    }

    /// When each operand of the wanted origins is first written and last read, by call.
    fn lifetimes(
        &self,
        roots: &[OperandId],
        graph: &Graph,
        bounds: &Bindings,
        wanted: &dyn Fn(Origin) -> bool,
    ) -> Result<Vec<Option<Lifetime>>> {
        let mut lifetimes: Vec<Option<Lifetime>> = vec![None; self.operands.len()];
        let mut touch = |id: OperandId, at: usize| -> Result<()> {
            let root = roots[id.index()];
            let entry = &self.operands[root.index()];
            if wanted(entry.origin) {
                let life = lifetimes[root.index()].get_or_insert(Lifetime {
                    bytes: entry.ty.bytes(bounds)? as u64,
                    device_bytes: entry.ty.device_bytes(bounds)? as u64,
                    first: at,
                    last: at,
                });
                life.last = at;
            }
            Ok(())
        };
        for (at, call) in self.calls.iter().enumerate() {
            for &id in call.inputs.iter().flatten().chain(&call.outputs) {
                touch(id, at).map_err(|error| named(error, &call.node))?;
            }
        }
        for (_, id) in &graph.outputs {
            touch(OperandId(id.0), self.calls.len())?;
        }
        Ok(lifetimes)
    }
}

/// Bytes of a graph's constants on a device.
fn weights(graph: &Graph, bounds: &Bindings) -> Result<u64> {
    let constants = graph.values.iter().filter(|v| matches!(v.source, Source::Constant(_)));
    let bytes = |sum: u64, ty: &TensorType| Ok(sum.saturating_add(ty.device_bytes(bounds)? as u64));
    constants.map(|value| &value.ty).try_fold(0, bytes)
}

/// Names the node whose values an error is about.
fn named(error: Error, node: &str) -> Error {
    match error {
        Error::Input { name, expected, got } => {
            Error::Input { name: format!("node '{node}': {name}"), expected, got }
        }
        other => other.at_node(node),
    }
}

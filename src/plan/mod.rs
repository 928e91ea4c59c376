//! Plans: a graph lowered to kernel calls, with memory laid out. A plan knows
//! nothing of a device: the CPU executes it as it is, the GPU executor
//! compiles it once to pipelines and bind groups.

mod build;
mod memory;
mod packing;
mod places;

pub use build::PlanBuilder;
pub use memory::MemoryPlan;
pub(crate) use places::{Places, Room};

use crate::error::Result;
use crate::graph::{Bindings, Graph, StateId, TensorType, ValueId};
use crate::kernels::Kernel;

/// Names an operand of a plan.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct OperandId(pub(crate) u32);

impl OperandId {
    /// The operand's position in [`Plan::operands`].
    pub fn index(self) -> usize {
        self.0 as usize
    }
}

/// An operand as kernels and lowering see it.
#[derive(Debug, Clone, PartialEq)]
pub struct Operand {
    /// Which operand.
    pub id: OperandId,
    /// Its type.
    pub ty: TensorType,
}

/// Where an operand's memory is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Home {
    /// A constant of the graph.
    Constant(ValueId),
    /// A state of the session.
    State(StateId),
    /// The graph's input with this index.
    Input(usize),
    /// Working memory: a slot of the memory plan on the CPU; a device has other places.
    Slot(usize),
    /// Nowhere: nothing writes or reads it.
    Unused,
}

/// Where an input is on a device.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum InputHome {
    /// In a buffer that a plan does not write to.
    Apart,
    /// Among computed values, which take its place once it has been read.
    Packed,
    /// In a buffer of its size, which computed values get once it has been read.
    Own,
}

/// An operand with its place in memory.
#[derive(Debug, Clone)]
pub struct PlacedOperand {
    /// Its type.
    pub ty: TensorType,
    /// Its memory.
    pub home: Home,
    /// The operand that this one is another name of, or itself.
    pub root: OperandId,
}

/// A kernel applied to operands.
#[derive(Debug)]
pub struct Call {
    /// What to compute.
    pub kernel: Box<dyn Kernel>,
    /// Operands read; `None` where an optional one is absent.
    pub inputs: Vec<Option<OperandId>>,
    /// Operands written.
    pub outputs: Vec<OperandId>,
    /// The graph's node this came from, for messages and profiles. Several nodes may
    /// have one name: those that a file's node has become.
    pub node: String,
    /// That node's operator.
    pub op: String,
}

/// A graph lowered for given symbol bounds.
#[derive(Debug)]
pub struct Plan {
    /// The bounds it was made for.
    pub bounds: Bindings,
    /// Every operand.
    pub operands: Vec<PlacedOperand>,
    /// The work, in order. The host takes no part in it: where it has to, a
    /// graph ends (`onnx/` cuts models into such stages).
    pub calls: Vec<Call>,
    /// Bytes of each slot.
    pub slots: Vec<u64>,
    /// The results: name and operand.
    pub outputs: Vec<(String, OperandId)>,
    /// The most bytes of computed operands alive at one time: what no memory
    /// plan can go below.
    pub live_peak: u64,
    /// The same on a device, and of inputs that are with the working memory.
    pub device_live_peak: u64,
    needs: places::Needs,
}

impl Plan {
    /// Lowers a graph for given bounds of its symbols.
    ///
    /// # Errors
    /// If an operator cannot be lowered or a size overflows.
    pub fn new(graph: &Graph, bounds: &Bindings) -> Result<Self> {
        Self::with_inputs(graph, bounds, &[])
    }

    /// As [`Plan::new`]. Some inputs are with the working memory of a device: a run
    /// overwrites them.
    ///
    /// # Errors
    /// As [`Plan::new`].
    pub(crate) fn with_inputs(
        graph: &Graph,
        bounds: &Bindings,
        homes: &[InputHome],
    ) -> Result<Self> {
        let layout = (memory::plan as build::Slots, packing::pack as build::Packer);
        PlanBuilder::lower(graph)?.finish(graph, bounds, layout, homes)
    }

    /// As [`Plan::new`], with memory of its own for each computed operand.
    ///
    /// # Errors
    /// As [`Plan::new`].
    pub fn unshared(graph: &Graph, bounds: &Bindings) -> Result<Self> {
        let layout = (memory::apart as build::Slots, memory::unpacked as build::Packer);
        PlanBuilder::lower(graph)?.finish(graph, bounds, layout, &[])
    }

    /// The node that makes the largest value of a slot.
    pub(crate) fn filler(&self, slot: usize) -> &str {
        let bytes = |id: &OperandId| self.operands[id.index()].ty.bytes(&self.bounds).unwrap_or(0);
        let makes = |call: &'_ Call| {
            let here = |id: &&OperandId| self.operands[id.index()].home == Home::Slot(slot);
            call.outputs.iter().filter(here).map(bytes).max()
        };
        let made = self.calls.iter().filter_map(|call| Some((makes(call)?, call.node.as_str())));
        made.max_by_key(|(bytes, _)| *bytes).map_or("", |(_, node)| node)
    }

    /// The calls, in order.
    pub fn calls(&self) -> impl Iterator<Item = &Call> {
        self.calls.iter()
    }
}

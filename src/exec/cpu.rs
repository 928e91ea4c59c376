//! Executes plans on the CPU: the fallback a user lives with.

use super::profile::Timing;
use crate::error::{Error, Result};
use crate::exec::resize::moves;
use crate::graph::{Bindings, Graph, StateId, StateInfo};
use crate::kernels::{CpuCx, CpuTensor, CpuTensorMut};
use crate::plan::{Call, Home, OperandId, Plan};
use crate::tensor::{DType, Tensor};
use crate::threads;
use std::collections::HashSet;
use std::sync::Arc;
use web_time::Instant;

/// Bytes aligned for every element type and for vector loads.
#[derive(Debug, Default, Clone)]
pub(crate) struct Aligned {
    words: Vec<u128>,
    len: usize,
}

impl Aligned {
    /// `what` completes "while allocating" where there is no memory.
    pub(crate) fn zeroed(len: usize, what: impl FnOnce() -> String) -> Result<Self> {
        match bytemuck::try_zeroed_vec(len.div_ceil(16)) {
            Ok(words) => Ok(Aligned { words, len }),
            Err(()) => Err(Error::OutOfMemory {
                doing: format!("allocating {}", what()),
                bytes: len as u64,
            }),
        }
    }

    pub(crate) fn bytes(&self) -> &[u8] {
        &bytemuck::cast_slice(&self.words)[..self.len]
    }

    pub(crate) fn bytes_mut(&mut self) -> &mut [u8] {
        &mut bytemuck::cast_slice_mut(&mut self.words)[..self.len]
    }
}

/// Bytes of weights and of working memory: a plan with as many is taken to have loops that
/// are spread over threads, and is made by one of these.
const LARGE: u64 = 1 << 20;

/// What a run gives, by name.
type Results = Vec<(String, Tensor)>;

/// States and working memory on the CPU.
#[derive(Debug)]
pub(crate) struct CpuEngine {
    graph: Arc<Graph>,
    states: Vec<Aligned>,
    slots: Vec<Aligned>,
    poison: bool,
    allow_int8: bool,
    pub(crate) calls: u64,
}

impl CpuEngine {
    pub(crate) fn new(graph: Arc<Graph>, fixed: &Bindings, poison: bool) -> Result<Self> {
        let states = zeroed_states(&graph, fixed)?;
        let slots = Vec::new();
        Ok(CpuEngine { graph, states, slots, poison, allow_int8: false, calls: 0 })
    }

    /// With what [`CpuCx::allow_int8`] says.
    pub(crate) fn rounding(self, allow_int8: bool) -> Self {
        CpuEngine { allow_int8, ..self }
    }

    pub(crate) fn state(&self, id: StateId) -> &[u8] {
        self.states[id.index()].bytes()
    }

    /// Replaces the content of a state; `bytes` are as many as it has.
    pub(crate) fn set_state(&mut self, id: StateId, bytes: &[u8]) {
        self.states[id.index()].bytes_mut().copy_from_slice(bytes);
    }

    pub(crate) fn clear_states(&mut self) {
        for state in &mut self.states {
            state.bytes_mut().fill(0);
        }
    }

    /// Gives states new sizes, keeping their content: all of them or, on an
    /// error, none.
    pub(crate) fn resize_states(&mut self, old: &Bindings, new: &Bindings) -> Result<()> {
        let mut states = zeroed_states(&self.graph, new)?;
        for ((info, before), after) in self.graph.states().iter().zip(&self.states).zip(&mut states)
        {
            for m in moves(info, old, new, DType::bytes)? {
                let (from, to, n) = (m.from as usize, m.to as usize, m.bytes as usize);
                after.bytes_mut()[to..to + n].copy_from_slice(&before.bytes()[from..from + n]);
            }
        }
        self.states = states;
        Ok(())
    }

    /// Bytes of states and of working memory.
    pub(crate) fn memory(&self) -> (u64, u64) {
        let sum = |buffers: &[Aligned]| buffers.iter().map(|b| b.len as u64).sum();
        (sum(&self.states), sum(&self.slots))
    }

    /// Runs a plan once.
    pub(crate) fn run(
        &mut self,
        plan: &Plan,
        inputs: &[&Tensor],
        bindings: &Bindings,
    ) -> Result<Vec<(String, Tensor)>> {
        self.compute(plan, inputs, bindings)?;
        self.results(plan, inputs, bindings)
    }

    /// As [`CpuEngine::run`], with the time of each call.
    pub(crate) fn profile(
        &mut self,
        plan: &Plan,
        inputs: &[&Tensor],
        bindings: &Bindings,
    ) -> Result<(Results, Vec<Timing>)> {
        let begun = Instant::now();
        let mut timings = Vec::new();
        self.each_call(plan, inputs, bindings, |call, start, micros| {
            timings.push(Timing {
                node: call.node.clone(),
                op: call.op.clone(),
                kernel: call.kernel.name().to_string(),
                start_us: start.duration_since(begun).as_secs_f64() * 1e6,
                micros,
            });
        })?;
        Ok((self.results(plan, inputs, bindings)?, timings))
    }

    fn results(
        &self,
        plan: &Plan,
        inputs: &[&Tensor],
        bindings: &Bindings,
    ) -> Result<Vec<(String, Tensor)>> {
        let mut results = Vec::with_capacity(plan.outputs.len());
        for (name, id) in &plan.outputs {
            let view = self.view(plan, *id, inputs, bindings)?;
            let tensor = Tensor::new(view.dtype, &view.extents, view.bytes.to_vec())?;
            results.push((name.clone(), tensor));
        }
        Ok(results)
    }

    /// Makes a plan's calls; its outputs stay where they are.
    pub(crate) fn compute(
        &mut self,
        plan: &Plan,
        inputs: &[&Tensor],
        bindings: &Bindings,
    ) -> Result<()> {
        self.each_call(plan, inputs, bindings, |_, _, _| {})
    }

    /// Makes a plan's calls and tells of each when it began and how many
    /// microseconds it took.
    fn each_call(
        &mut self,
        plan: &Plan,
        inputs: &[&Tensor],
        bindings: &Bindings,
        tell: impl FnMut(&Call, Instant, f64) + Send,
    ) -> Result<()> {
        if !self.is_large(plan) {
            return self.each_call_here(plan, inputs, bindings, tell);
        }
        threads::among(|| self.each_call_here(plan, inputs, bindings, tell))
    }

    /// Whether a plan has [`LARGE`] weights and working memory.
    fn is_large(&self, plan: &Plan) -> bool {
        let weight = |home: Home| match home {
            Home::Constant(value) => {
                self.graph.constant(value).map_or(0, |t| t.bytes().len() as u64)
            }
            _ => 0,
        };
        let weights = plan.operands.iter().map(|operand| weight(operand.home));
        let mut sum = 0u64;
        plan.slots.iter().copied().chain(weights).any(|bytes| {
            sum = sum.saturating_add(bytes);
            sum >= LARGE
        })
    }

    /// [`CpuEngine::each_call`] on this thread.
    fn each_call_here(
        &mut self,
        plan: &Plan,
        inputs: &[&Tensor],
        bindings: &Bindings,
        mut tell: impl FnMut(&Call, Instant, f64),
    ) -> Result<()> {
        self.reserve(plan)?;
        let mut written = HashSet::new();
        for call in plan.calls() {
            if self.poison {
                self.poison(plan, call, &mut written)?;
            }
            let begun = Instant::now();
            self.call(plan, call, inputs, bindings).map_err(|e| e.at_node(&call.node))?;
            self.calls += 1;
            tell(call, begun, begun.elapsed().as_secs_f64() * 1e6);
        }
        Ok(())
    }

    fn reserve(&mut self, plan: &Plan) -> Result<()> {
        if self.slots.len() < plan.slots.len() {
            self.slots.resize_with(plan.slots.len(), Aligned::default);
        }
        for (number, (slot, &bytes)) in self.slots.iter_mut().zip(&plan.slots).enumerate() {
            if (slot.len as u64) < bytes {
                let what = || format!("memory for what node '{}' gives", plan.filler(number));
                *slot = Aligned::zeroed(bytes as usize, what)?;
            }
        }
        Ok(())
    }

    /// Poisons the outputs that this call is the first to write in this run.
    fn poison(&mut self, plan: &Plan, call: &Call, written: &mut HashSet<OperandId>) -> Result<()> {
        for id in &call.outputs {
            let operand = &plan.operands[id.index()];
            if matches!(operand.home, Home::Slot(_)) && written.insert(operand.root) {
                self.buffer(operand.home)?.bytes_mut().fill(0xff);
            }
        }
        Ok(())
    }

    fn call(
        &mut self,
        plan: &Plan,
        call: &Call,
        inputs: &[&Tensor],
        bindings: &Bindings,
    ) -> Result<()> {
        // The buffers written are taken out while the others are lent, so that
        // an operand updated in place is seen only as an output.
        let mut taken: Vec<(Home, Aligned)> = Vec::with_capacity(call.outputs.len());
        for id in &call.outputs {
            let home = plan.operands[id.index()].home;
            taken.push((home, std::mem::take(self.buffer(home)?)));
        }
        let result = self.lend(plan, call, inputs, bindings, &mut taken);
        for (home, buffer) in taken {
            *self.buffer(home)? = buffer;
        }
        result
    }

    fn lend(
        &self,
        plan: &Plan,
        call: &Call,
        inputs: &[&Tensor],
        bindings: &Bindings,
        taken: &mut [(Home, Aligned)],
    ) -> Result<()> {
        let mut read = Vec::with_capacity(call.inputs.len());
        for id in &call.inputs {
            let written = |id: OperandId| {
                taken.iter().any(|(home, _)| *home == plan.operands[id.index()].home)
            };
            read.push(match id {
                Some(id) if !written(*id) => Some(self.view(plan, *id, inputs, bindings)?),
                _ => None,
            });
        }
        let mut write = Vec::with_capacity(call.outputs.len());
        for (id, (_, buffer)) in call.outputs.iter().zip(taken) {
            let ty = &plan.operands[id.index()].ty;
            let extents = ty.extents(bindings)?;
            let bytes = ty.dtype.bytes(&extents)?;
            let bytes = buffer.bytes_mut().get_mut(..bytes).ok_or_else(|| outgrown(&call.node))?;
            write.push(CpuTensorMut { dtype: ty.dtype, extents, bytes });
        }
        call.kernel.cpu(&mut CpuCx {
            inputs: read,
            outputs: write,
            bindings,
            allow_int8: self.allow_int8,
        })
    }

    fn buffer(&mut self, home: Home) -> Result<&mut Aligned> {
        let buffer = match home {
            Home::State(id) => self.states.get_mut(id.index()),
            Home::Slot(slot) => self.slots.get_mut(slot),
            _ => None,
        };
        buffer.ok_or_else(|| Error::internal(format!("a kernel writes to {home:?}")))
    }

    fn view<'a>(
        &'a self,
        plan: &Plan,
        id: OperandId,
        inputs: &'a [&Tensor],
        bindings: &Bindings,
    ) -> Result<CpuTensor<'a>> {
        let operand = &plan.operands[id.index()];
        let all: &[u8] = match operand.home {
            Home::Constant(value) => match self.graph.constant(value) {
                Some(tensor) => tensor.bytes(),
                None => return Err(Error::internal("a constant without content")),
            },
            Home::State(state) => self.states[state.index()].bytes(),
            Home::Input(index) => inputs[index].bytes(),
            Home::Slot(slot) => self.slots[slot].bytes(),
            Home::Unused => &[],
        };
        let extents = operand.ty.extents(bindings)?;
        let bytes = operand.ty.dtype.bytes(&extents)?;
        let bytes = all.get(..bytes).ok_or_else(|| outgrown(&operand.ty.to_string()))?;
        Ok(CpuTensor { dtype: operand.ty.dtype, extents, bytes })
    }
}

fn zeroed_states(graph: &Graph, fixed: &Bindings) -> Result<Vec<Aligned>> {
    let zeroed = |state: &StateInfo| {
        Aligned::zeroed(state.ty.bytes(fixed)?, || format!("state '{}'", state.name))
    };
    graph.states().iter().map(zeroed).collect()
}

fn outgrown(what: &str) -> Error {
    Error::internal(format!("{what}: run-time extents exceed the plan's bounds"))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::graph::{GraphBuilder, TensorType};
    use crate::kernels::{Dispatch, GpuCx, Kernel};
    use crate::ops::{BoundCx, Lowering, Operator, RefTensor};
    use crate::tensor::DType;

    /// Copies its input in several calls, each of which writes two elements.
    #[derive(Debug)]
    struct Pairs {
        starts: Vec<usize>,
    }

    /// Copies two elements.
    #[derive(Debug)]
    struct Pair(usize);

    impl Operator for Pairs {
        fn name(&self) -> &str {
            "Pairs"
        }

        fn infer(&self, inputs: &[Option<&TensorType>]) -> Result<Vec<TensorType>> {
            Ok(inputs.iter().flatten().map(|ty| (*ty).clone()).collect())
        }

        fn reference(&self, inputs: &[Option<&RefTensor>]) -> Result<Vec<RefTensor>> {
            Ok(inputs.iter().flatten().map(|x| (*x).clone()).collect())
        }

        fn bound(&self, cx: &BoundCx<'_>) -> Result<Vec<Vec<f64>>> {
            Ok(cx.outputs.iter().map(|y| vec![0.0; y.len()]).collect())
        }

        fn lower(&self, cx: &mut Lowering<'_>) -> Result<()> {
            for &start in &self.starts {
                let (x, y) = (cx.input(0)?, cx.output(0)?);
                cx.call(Pair(start), &[Some(x)], &[y]);
            }
            Ok(())
        }
    }

    impl Kernel for Pair {
        fn name(&self) -> &str {
            "test.pair"
        }

        fn gpu(&self, _: &GpuCx<'_>) -> Result<Vec<Dispatch>> {
            Err(Error::unsupported("test.pair", "a GPU"))
        }

        fn cpu(&self, cx: &mut CpuCx<'_>) -> Result<()> {
            let x = cx.input(0)?.read::<f32>().into_owned();
            let range = self.0..self.0 + 2;
            cx.output(0)?.write::<f32>()?[range.clone()].copy_from_slice(&x[range]);
            Ok(())
        }
    }

    fn copied(starts: &[usize]) -> Vec<f32> {
        let mut g = GraphBuilder::new();
        let x = g.input("x", DType::F32, [6.into()]).unwrap();
        let y = g.op1(Pairs { starts: starts.to_vec() }, &[x]).unwrap();
        g.output("y", y).unwrap();
        let (graph, none) = (Arc::new(g.finish().unwrap()), Bindings::new(0));
        let plan = Plan::new(&graph, &none).unwrap();
        let mut engine = CpuEngine::new(graph, &none, true).unwrap();
        let x = Tensor::from_f32(&[6], &[1.0, 2.0, 3.0, 4.0, 5.0, 6.0]).unwrap();
        // Twice: what a run leaves behind is not taken for what the next one writes.
        engine.run(&plan, &[&x], &none).unwrap();
        engine.run(&plan, &[&x], &none).unwrap()[0].1.to_f32().unwrap()
    }

    #[test]
    fn an_output_is_poisoned_once_before_its_first_writer() {
        assert_eq!(copied(&[0, 2, 4]), [1.0, 2.0, 3.0, 4.0, 5.0, 6.0]);
        let partly = copied(&[4, 0]);
        assert_eq!((&partly[..2], &partly[4..]), (&[1.0, 2.0][..], &[5.0, 6.0][..]));
        assert!(partly[2..4].iter().all(|v| v.is_nan()), "{partly:?}");
    }
}

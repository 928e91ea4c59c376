//! From kernel calls to pipelines, bind groups and a table of parameters.

use super::params::{Params, Table};
use super::{Given, GpuEngine, arena};
use crate::error::{Error, Result};
use crate::gpu::errors::lock;
use crate::gpu::{BindGroup, Buffer, BufferBinding, Pipeline, Purpose};
use crate::graph::{Dim, ValueId};
use crate::kernels::{Dispatch, Fault, Grid, Param, Place, View};
use crate::plan::{Call, Home, OperandId, Places, Plan, Room};
use crate::quant::DeviceLayout;
use std::sync::Arc;

/// A plan, and what it has on the device.
#[derive(Debug)]
pub(super) struct Compiled {
    pub(super) plan: Arc<Plan>,
    pub(super) place: arena::Place,
    /// Where it has its operands, for so much scratch memory of each call.
    places: Option<(Vec<Vec<u64>>, Arc<Places>)>,
    /// Which [`Room`] it has.
    room: usize,
}

/// What calls become, and where their values and scratch memory are.
type Chosen<'a> = (Vec<(&'a Call, Vec<Dispatch>)>, Arc<Places>);

impl Compiled {
    pub(super) fn new(plan: Plan, place: arena::Place) -> Self {
        Compiled { plan: Arc::new(plan), place, places: None, room: 0 }
    }
}

/// A plan's pipelines, buffers and bind groups.
#[derive(Debug)]
pub(super) struct Bound {
    pub(super) steps: Vec<Step>,
    pub(super) places: Arc<Places>,
    pub(super) slots: Vec<Buffer>,
    pub(super) inputs: Vec<InputPlace>,
    pub(super) params: Params,
    /// What kernels may find wrong while they run, and in which node; see
    /// [`Place::Status`].
    pub(super) faults: Vec<(Fault, String)>,
}

/// Where an input is.
#[derive(Debug)]
pub(super) struct InputPlace {
    pub(super) buffer: Buffer,
    pub(super) offset: u64,
    /// Among the plan's computed values, which take its place once it has been read.
    pub(super) packed: bool,
}

impl InputPlace {
    fn own(buffer: Buffer) -> Self {
        InputPlace { buffer, offset: 0, packed: false }
    }
}

/// The value of the status word where a fault is met. Of several the largest
/// stays, which is the first in the plan.
fn status_code(number: usize) -> u32 {
    u32::MAX - number as u32
}

impl Bound {
    /// Whether a buffer of working memory is among its own.
    pub(super) fn uses(&self, buffer: &Buffer) -> bool {
        let inputs = self.inputs.iter().map(|input| &input.buffer);
        self.slots.iter().chain(inputs).any(|own| own.same(buffer))
    }

    /// The error that the status word tells of, if any.
    pub(super) fn status(&self, word: u32) -> Result<()> {
        if word == 0 {
            return Ok(());
        }
        let fault = self.faults.get((u32::MAX - word) as usize);
        let (fault, node) = fault.ok_or_else(|| Error::internal(format!("status {word:#x}")))?;
        Err(fault.error(node))
    }
}

/// One dispatch, ready to be encoded.
#[derive(Debug)]
pub(super) struct Step {
    pub(super) pipeline: Arc<Pipeline>,
    pub(super) group: BindGroup,
    pub(super) grid: Grid,
    pub(super) work: Dim,
    pub(super) variant: String,
    /// The graph's node, for messages.
    pub(super) node: String,
    /// Its operator.
    pub(super) op: String,
}

impl GpuEngine {
    /// What the plan of this number has on the device, made anew if others have
    /// taken its buffers. Inputs that are on the device then are used where they are.
    pub(super) async fn bound(&mut self, index: usize, given: &[Given<'_>]) -> Result<Arc<Bound>> {
        let place = self.plans[index].place.clone();
        let there = lock(&place).clone();
        if let Some(bound) = there {
            return Ok(bound);
        }
        let plan = self.plans[index].plan.clone();
        let bound = Arc::new(self.bind(index, &plan, given).await?);
        self.variants.extend(bound.steps.iter().map(|step| step.variant.clone()));
        *lock(&place) = Some(bound.clone());
        Ok(bound)
    }

    async fn bind(&mut self, index: usize, plan: &Plan, given: &[Given<'_>]) -> Result<Bound> {
        // Before there is working memory, since kernels may be tried.
        let (mut calls, places) = self.chosen(index, plan).await?;
        if self.poisoned {
            self.prepare_poison().await?;
        }
        let (slots, inputs) = self.buffers(plan, &places, given).await?;
        for (call, dispatches) in &mut calls {
            dispatches.iter_mut().for_each(|dispatch| share_buffers(plan, &places, call, dispatch));
            self.reserve(dispatches).await?;
        }
        let (mut steps, mut layout, mut faults) = (Vec::new(), Vec::new(), Vec::new());
        let mut table = Table::new(self.gpu.caps().uniform_alignment());
        for (number, (call, dispatches)) in calls.into_iter().enumerate() {
            for mut dispatch in dispatches {
                watch(&mut dispatch, &call.node, &mut faults);
                let pipeline = self.gpu.pipeline(&dispatch.shader)?;
                let given = std::mem::take(&mut dispatch.params);
                let part = table.add(&pipeline, given, &call.node);
                let part = part.map_err(|error| error.at_node(&call.node))?;
                layout.push(((number, call), dispatch, pipeline, part));
            }
        }
        let params = table.on(&self.gpu)?;
        for ((number, call), dispatch, pipeline, part) in layout {
            let (places, slots, inputs) = (&places, &slots, &inputs);
            let place = Binder { engine: self, plan, places, number, call, slots, inputs };
            let step = place.step(dispatch, pipeline, &params.buffer, part);
            steps.push(step.map_err(|e| e.at_node(&call.node))?);
        }
        self.gpu.keep();
        Ok(Bound { steps, places, slots, inputs, params, faults })
    }

    /// Buffers for a plan's slots and inputs. In shared memory the inputs, which
    /// are written at each run, are with the slots.
    async fn buffers(
        &self,
        plan: &Plan,
        places: &Places,
        given: &[Given<'_>],
    ) -> Result<(Vec<Buffer>, Vec<InputPlace>)> {
        let bytes = |id: &ValueId| Ok(self.graph.ty(*id).device_bytes(&plan.bounds)? as u64);
        let inputs: Vec<u64> = self.graph.inputs().iter().map(bytes).collect::<Result<_>>()?;
        if self.arena.shared {
            return self.shared_buffers(places, &inputs, given).await;
        }
        let slots = self.arena.take(&self.gpu, &places.buffers)?;
        let make = |(bytes, id): (u64, &ValueId)| {
            let name = &self.graph.value(*id).name;
            self.gpu.alloc(Purpose::Inputs, bytes, Purpose::Inputs.usage(), name)
        };
        let inputs = inputs.into_iter().zip(self.graph.inputs()).map(make);
        let inputs = inputs.map(|buffer| buffer.map(InputPlace::own));
        Ok((slots, inputs.collect::<Result<_>>()?))
    }

    /// Buffers of shared memory for slots, and for inputs of so many bytes that neither
    /// are in the slots nor can be used where they are.
    async fn shared_buffers(
        &self,
        places: &Places,
        inputs: &[u64],
        given: &[Given<'_>],
    ) -> Result<(Vec<Buffer>, Vec<InputPlace>)> {
        let ids = self.graph.inputs().iter();
        let packed: Vec<_> = ids.map(|id| places.of(OperandId(id.0))).collect();
        let last = |(given, packed): (&Given<'_>, &Option<(usize, u64)>)| match (given, packed) {
            (Given::Last(_), Some((slot, 0))) => Some(*slot),
            _ => None,
        };
        let taken: Vec<usize> = given.iter().zip(&packed).filter_map(last).collect();
        let others = places.buffers.iter().enumerate().filter(|(slot, _)| !taken.contains(slot));
        let others: Vec<u64> = others.map(|(_, &bytes)| bytes).collect();
        self.arena.compact(&self.gpu, &others).await?;
        let mut there: Vec<Option<Buffer>> = vec![None; places.buffers.len()];
        for (given, packed) in given.iter().zip(&packed) {
            if let (Given::Last(tensor), Some((slot, 0))) = (given, packed)
                && let buffer = tensor.buffer()
                && buffer.len() >= places.buffers[*slot]
                && !there.iter().flatten().any(|other| other.same(&buffer))
            {
                there[*slot] = Some(buffer);
            }
        }
        let given = given.iter().zip(&packed);
        let free = given.map(|(given, packed)| packed.is_none().then_some(*given));
        let here = in_place(inputs.len(), &free.collect::<Vec<_>>());
        let elsewhere = inputs.iter().zip(&packed).zip(&here);
        let elsewhere = elsewhere.filter(|((_, packed), here)| packed.is_none() && here.is_none());
        let new = places.buffers.iter().zip(&there).filter(|(_, there)| there.is_none());
        let sizes = new.map(|(bytes, _)| bytes).chain(elsewhere.map(|((bytes, _), _)| bytes));
        let sizes: Vec<u64> = sizes.copied().collect();
        let mut others = self.arena.take(&self.gpu, &sizes)?.into_iter();
        let slots = there.into_iter().filter_map(|there| there.or_else(|| others.next()));
        let slots: Vec<Buffer> = slots.collect();
        let place = |(packed, here): (&Option<(usize, u64)>, Option<Buffer>)| match packed {
            Some((slot, offset)) => {
                let buffer = slots[*slot].clone();
                Some(InputPlace { buffer, offset: *offset, packed: true })
            }
            None => here.or_else(|| others.next()).map(InputPlace::own),
        };
        let inputs = packed.iter().zip(here).filter_map(place).collect();
        Ok((slots, inputs))
    }

    /// What working memory is filled with, piece by piece.
    async fn prepare_poison(&mut self) -> Result<()> {
        const BYTES: u64 = 64 << 10;
        if self.poison.is_none() {
            let usage = Purpose::Scratch.usage();
            let buffer = self.gpu.alloc(Purpose::Scratch, BYTES, usage, "poison")?;
            self.gpu.upload(&buffer, 0, &vec![0xff; BYTES as usize]).await?;
            self.poison = Some(buffer);
        }
        Ok(())
    }

    /// Has what dispatches bind beside operands and scratch memory: codebooks, and the
    /// status word.
    async fn reserve(&mut self, dispatches: &[Dispatch]) -> Result<()> {
        for (_, view) in dispatches.iter().flat_map(|dispatch| &dispatch.bindings) {
            match view.place {
                Place::Status if self.status.is_none() => {
                    let usage = Purpose::Scratch.usage();
                    self.status = Some(self.gpu.alloc(Purpose::Scratch, 4, usage, "status")?);
                }
                Place::Codebook(dtype) if !self.codebooks.contains_key(&dtype) => {
                    let layout = DeviceLayout::of(dtype)
                        .ok_or_else(|| Error::internal(format!("a codebook of {dtype}")))?;
                    let bytes: &[u8] = bytemuck::cast_slice(layout.codebook());
                    let (purpose, size) = (Purpose::Weights, bytes.len() as u64);
                    let buffer = self.gpu.alloc(purpose, size, purpose.usage(), "codebook")?;
                    self.gpu.upload(&buffer, 0, bytes).await?;
                    self.codebooks.insert(dtype, buffer);
                }
                _ => {}
            }
        }
        Ok(())
    }

    /// What a plan's calls become, and the places of a plan with their scratch memory:
    /// with so much that it adds little.
    async fn chosen<'a>(&mut self, index: usize, plan: &'a Plan) -> Result<Chosen<'a>> {
        let tried = self.plans[index].room;
        for (number, room) in Room::ALL.into_iter().enumerate().skip(tried) {
            let chosen = self.chooser.chosen(plan, room).await?.into_iter();
            let calls: Vec<_> = chosen.map(|chosen| (chosen.call, chosen.dispatches)).collect();
            let places = self.places(index, plan, &calls)?;
            if number + 1 == Room::ALL.len() || plan.is_tight(&places) {
                self.plans[index].room = number;
                return Ok((calls, places));
            }
        }
        Err(Error::internal("no room for scratch memory"))
    }

    /// The places of a plan with the scratch memory that these dispatches have.
    fn places(
        &mut self,
        index: usize,
        plan: &Plan,
        calls: &[(&Call, Vec<Dispatch>)],
    ) -> Result<Arc<Places>> {
        let sizes = calls.iter().map(|(_, dispatches)| scratch_sizes(dispatches));
        let sizes = sizes.collect::<Result<Vec<_>>>()?;
        let known = &mut self.plans[index].places;
        if let Some((_, places)) = known.as_ref().filter(|(of, _)| *of == sizes) {
            return Ok(places.clone());
        }
        let places = Arc::new(plan.places(&sizes)?);
        *known = Some((sizes, places.clone()));
        Ok(places)
    }
}

/// Bytes of scratch memory that a call has, by number.
pub(crate) fn scratch_sizes(dispatches: &[Dispatch]) -> Result<Vec<u64>> {
    let mut sizes: Vec<u64> = Vec::new();
    for (_, view) in dispatches.iter().flat_map(|dispatch| &dispatch.bindings) {
        let Place::Scratch(number) = view.place else { continue };
        let size = view.size.ok_or_else(|| Error::internal("scratch memory without a size"))?;
        sizes.resize(sizes.len().max(number + 1), 0);
        sizes[number] = sizes[number].max(view.offset + size);
    }
    Ok(sizes)
}

/// Resolves the places of one call.
struct Binder<'a> {
    engine: &'a GpuEngine,
    plan: &'a Plan,
    places: &'a Places,
    /// The call's number.
    number: usize,
    call: &'a Call,
    slots: &'a [Buffer],
    inputs: &'a [InputPlace],
}

impl Binder<'_> {
    fn step(
        &self,
        dispatch: Dispatch,
        pipeline: Arc<Pipeline>,
        params: &Buffer,
        (at, size): (usize, usize),
    ) -> Result<Step> {
        let mut bindings: Vec<(&str, BufferBinding<'_>)> = Vec::new();
        for (name, view) in &dispatch.bindings {
            bindings.push((name, self.binding(view)?));
        }
        if size > 0 {
            let (offset, size) = (at as u64, size as u64);
            bindings.push(("params", BufferBinding { buffer: params, offset, size }));
        }
        let group = self.engine.gpu.bind(&pipeline, &bindings)?;
        Ok(Step {
            pipeline,
            group,
            grid: dispatch.grid,
            work: dispatch.work,
            variant: dispatch.variant,
            node: self.call.node.clone(),
            op: self.call.op.clone(),
        })
    }

    fn binding(&self, view: &View) -> Result<BufferBinding<'_>> {
        let (buffer, start, length) = self.region(view.place)?;
        let left = length.checked_sub(view.offset);
        let size = view.size.or(left);
        match (left, size) {
            (Some(left), Some(size)) if size <= left => {
                Ok(BufferBinding { buffer, offset: start + view.offset, size })
            }
            _ => Err(Error::internal(format!("{view:?} is outside a region of {length} bytes"))),
        }
    }

    /// The buffer behind a place: where its region starts, and its bytes.
    fn region(&self, place: Place) -> Result<(&Buffer, u64, u64)> {
        let missing = || Error::internal(format!("{place:?} does not exist"));
        let id = match place {
            Place::Scratch(number) => {
                let piece = self.places.scratch(self.number, number).ok_or_else(missing)?;
                return Ok((&self.slots[piece.buffer], piece.offset, piece.bytes));
            }
            Place::Status => {
                let buffer = self.engine.status.as_ref().ok_or_else(missing)?;
                return Ok((buffer, 0, buffer.len()));
            }
            Place::Codebook(dtype) => {
                let buffer = self.engine.codebooks.get(&dtype).ok_or_else(missing)?;
                return Ok((buffer, 0, buffer.len()));
            }
            Place::Input(i) | Place::Head(i) => self.call.inputs.get(i).copied().flatten(),
            Place::Output(i) => self.call.outputs.get(i).copied(),
        };
        let operand = &self.plan.operands[id.ok_or_else(missing)?.index()];
        let bytes = || operand.ty.device_bytes(&self.plan.bounds).map(|bytes| bytes as u64);
        match (operand.home, place) {
            (Home::Constant(value), _) => {
                let weight = self.engine.weights.get(value).ok_or_else(missing)?;
                let head = matches!(place, Place::Head(_));
                let (start, length) = if head { weight.head } else { weight.body };
                Ok((&weight.buffer, start, length))
            }
            (_, Place::Head(_)) => Err(missing()),
            (Home::State(state), _) => Ok((&self.engine.states[state.index()], 0, bytes()?)),
            (Home::Input(index), _) => {
                let place = &self.inputs[index];
                Ok((&place.buffer, place.offset, bytes()?))
            }
            (Home::Slot(_), _) => {
                let (buffer, start) = self.places.of(operand.root).ok_or_else(missing)?;
                Ok((&self.slots[buffer], start, bytes()?))
            }
            (Home::Unused, _) => Err(missing()),
        }
    }
}

/// The buffers of inputs that are on the device, of those that are given. No two inputs have the same one:
/// the next run may have other values for one of them.
fn in_place(count: usize, given: &[Option<Given<'_>>]) -> Vec<Option<Buffer>> {
    let mut places: Vec<Option<Buffer>> = Vec::with_capacity(count);
    for number in 0..count {
        let place = match given.get(number) {
            Some(Some(given)) => given.on_device().map(|tensor| tensor.buffer()),
            _ => None,
        };
        let taken = |place: &Buffer| places.iter().flatten().any(|other| other.same(place));
        let place = place.filter(|place| !taken(place));
        places.push(place);
    }
    places
}

/// Lets a dispatch read in a buffer that it writes in: all that it has there is bound
/// as writable, since `wgpu` tracks usage per whole buffer.
fn share_buffers(plan: &Plan, places: &Places, call: &Call, dispatch: &mut Dispatch) {
    let buffer = |view: &View| {
        let id = match view.place {
            Place::Input(i) => call.inputs.get(i).copied().flatten(),
            Place::Output(i) => call.outputs.get(i).copied(),
            _ => None,
        };
        places.of(plan.operands[id?.index()].root).map(|(buffer, _)| buffer)
    };
    let is_output = |view: &View| matches!(view.place, Place::Output(_));
    let written: Vec<_> = dispatch.bindings.iter().filter(|(_, view)| is_output(view)).collect();
    let written: Vec<_> = written.into_iter().filter_map(|(_, view)| buffer(view)).collect();
    let read = dispatch.bindings.iter().filter(|(_, view)| !is_output(view));
    let shared: Vec<_> = read.filter_map(|(_, view)| buffer(view)).collect();
    for (name, view) in &dispatch.bindings {
        let both = |buffer| written.contains(&buffer) && shared.contains(&buffer);
        if buffer(view).is_some_and(both) {
            dispatch.shader.writable.push((*name).into());
        }
    }
}

/// Writes down what the kernel may find wrong, and gives its parameter the value
/// that says so.
fn watch(dispatch: &mut Dispatch, node: &str, faults: &mut Vec<(Fault, String)>) {
    for (_, param) in &mut dispatch.params {
        let Param::Status(fault) = *param else { continue };
        let known = faults.iter().position(|(other, at)| *other == fault && at == node);
        let number = known.unwrap_or_else(|| {
            faults.push((fault, node.into()));
            faults.len() - 1
        });
        *param = Param::U32(status_code(number));
    }
}

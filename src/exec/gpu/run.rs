//! One run of a compiled plan.

use super::GpuEngine;
use super::compile::{Bound, Step};
use super::kept::{DeviceTensor, Given, Kept};
use super::narrow::{to_device, to_host};
use crate::error::{Error, Result};
use crate::gpu::Buffer;
use crate::graph::{Bindings, Graph};
use crate::kernels::Grid;
use crate::plan::Home;
use crate::tensor::{Bytes, Tensor};
use std::sync::Arc;
use web_time::Instant;

/// How fast the device has been, to cut work into submissions that no watchdog
/// kills.
#[derive(Debug)]
pub(super) struct Pace {
    budget_ms: f64,
    /// Scalar operations per millisecond, measured as soon as there is
    /// something to measure.
    rate: f64,
}

impl Pace {
    /// The first guess is low: a submission that is too short costs little.
    pub(super) fn new(software: bool, budget_ms: f64) -> Self {
        Pace { budget_ms, rate: if software { 2e6 } else { 1e8 } }
    }

    pub(super) fn budget(&self) -> f64 {
        self.rate * self.budget_ms
    }

    /// Takes a measurement in. A slower one counts at once, a faster one by half.
    fn measured(&mut self, work: f64, ms: f64) {
        if work < 1e6 || ms < 1.0 {
            return;
        }
        let rate = work / ms;
        self.rate = if rate < self.rate { rate } else { (rate + self.rate) / 2.0 };
    }
}

/// Work that is encoded and not yet submitted.
struct LastPart {
    bound: Arc<Bound>,
    /// What is in front of the encoder's.
    finished: Vec<wgpu::CommandBuffer>,
    encoder: wgpu::CommandEncoder,
    work: f64,
    begun: Instant,
}

/// The dispatches of a whole run, encoded while the device was at the run before. Where
/// steps follow one another, as in decoding, encoding them takes none of the time
/// between a result and the step made of it.
#[derive(Debug)]
pub(super) struct Ahead {
    index: usize,
    bindings: Bindings,
    bound: Arc<Bound>,
    dispatches: u64,
    work: f64,
    commands: wgpu::CommandBuffer,
}

/// A dispatch with its run-time size.
#[derive(Clone, Copy)]
pub(super) struct Sized<'a> {
    pub(super) step: &'a Step,
    groups: [u32; 3],
    work: f64,
}

impl Sized<'_> {
    pub(super) fn encode(&self, pass: &mut wgpu::ComputePass<'_>) {
        pass.set_pipeline(&self.step.pipeline.raw);
        pass.set_bind_group(0, self.step.group.raw(), &[]);
        let [x, y, z] = self.groups;
        pass.dispatch_workgroups(x, y, z);
    }
}

impl GpuEngine {
    /// Runs a plan: its results, of which those that `keep` names stay on the
    /// device.
    pub(crate) async fn run(
        &mut self,
        index: usize,
        inputs: &[Given<'_>],
        bindings: &Bindings,
        one_submission: bool,
        keep: &[bool],
    ) -> Result<Vec<(String, Kept)>> {
        let last = self.start(index, inputs, bindings, one_submission, 1).await?;
        let encoded = (last.finished, last.encoder);
        let (results, waited) =
            self.read_outputs((index, &last.bound), encoded, inputs, bindings, keep).await?;
        last.bound.params.are_for(bindings);
        if waited {
            self.pace.measured(last.work, last.begun.elapsed().as_secs_f64() * 1e3);
        }
        self.submissions += 1;
        Ok(results)
    }

    /// Runs a plan over and over and waits, without reading results.
    pub(crate) async fn repeat(
        &mut self,
        index: usize,
        inputs: &[Given<'_>],
        bindings: &Bindings,
        times: usize,
    ) -> Result<()> {
        let bound = self.bound(index, inputs).await?;
        if times > 1 && bound.inputs.iter().any(|place| place.packed) {
            return Err(Error::internal("repeating a plan that overwrites its inputs"));
        }
        let last = self.start(index, inputs, bindings, false, times).await?;
        let submission = self.gpu.submit_behind("running a plan", last.finished, last.encoder)?;
        self.gpu.wait("running a plan", submission).await?;
        if let (Some(status), false) = (&self.status, last.bound.faults.is_empty()) {
            let word = self.gpu.read(status, 0, 4).await?;
            last.bound.status(word_of(&word)?)?;
        }
        last.bound.params.are_for(bindings);
        self.pace.measured(last.work, last.begun.elapsed().as_secs_f64() * 1e3);
        self.submissions += 1;
        Ok(())
    }

    /// Submits all of the work but the last part, which is encoded.
    async fn start(
        &mut self,
        index: usize,
        inputs: &[Given<'_>],
        bindings: &Bindings,
        one_submission: bool,
        times: usize,
    ) -> Result<LastPart> {
        // A loss since the last run shows up when the device is polled.
        self.gpu.tick();
        self.gpu.check("running a plan")?;
        self.intact()?;
        // What is not used goes before memory is asked for.
        let fits =
            |ahead: &Ahead| times == 1 && ahead.index == index && ahead.bindings == *bindings;
        let ahead = self.ahead.take().filter(fits);
        let held = self.bound(index, inputs).await?;
        let bound = &*held;
        let live = self.arena.live(&self.plans[index].plan, inputs);
        self.live_peak = self.live_peak.max(live);
        let most = self.gpu.caps().limits.max_compute_workgroups_per_dimension;
        self.writer.limit(self.staging());
        self.crossed.0 += write_inputs(&mut self.writer, &self.graph, bound, inputs)?;
        bound.params.write(&mut self.writer, bindings)?;
        let budget = if one_submission { f64::INFINITY } else { self.pace.budget() };
        let ahead = ahead.filter(|a| Arc::ptr_eq(&a.bound, &held) && a.work <= budget);
        let sized = match ahead {
            Some(_) => Vec::new(),
            None => sized(bound, bindings, most)?.repeat(times),
        };
        let parts = cut(&sized, budget);
        let mut encoder = self.gpu.encoder("run");
        self.arena.evict(&self.gpu, &mut encoder, bound, inputs)?;
        if let Some(poison) = &self.poison {
            let given: Vec<_> = inputs.iter().filter_map(Given::on_device).collect();
            let is_given = |slot: &&Buffer| given.iter().any(|tensor| tensor.buffer().same(slot));
            for slot in bound.slots.iter().filter(|slot| !is_given(slot)) {
                for at in (0..slot.size()).step_by(poison.len() as usize) {
                    let bytes = poison.len().min(slot.size() - at);
                    encoder.copy_buffer_to_buffer(poison.raw(), 0, slot.raw(), at, bytes);
                }
            }
        }
        self.writer.record(&mut encoder).await?;
        copy_inputs(&mut encoder, bound, inputs);
        if let (Some(status), false) = (&self.status, bound.faults.is_empty()) {
            encoder.clear_buffer(status.raw(), 0, None);
        }
        let mut begun = Instant::now();
        if let Some(ahead) = ahead {
            let finished = vec![self.gpu.finish("running a plan", encoder)?, ahead.commands];
            self.dispatches += ahead.dispatches;
            let encoder = self.gpu.encoder("run");
            return Ok(LastPart { finished, encoder, work: ahead.work, begun, bound: ahead.bound });
        }
        for (i, part) in parts.iter().enumerate() {
            encode(&mut encoder, part);
            self.dispatches += part.len() as u64;
            if i + 1 == parts.len() {
                break;
            }
            let next = self.gpu.encoder("run");
            let full = std::mem::replace(&mut encoder, next);
            let submission = self.gpu.submit("running a plan", full)?;
            self.submissions += 1;
            self.gpu.wait("running a plan", submission).await?;
            let work = part.iter().map(|sized| sized.work).sum();
            self.pace.measured(work, begun.elapsed().as_secs_f64() * 1e3);
            begun = Instant::now();
        }
        let work = parts.last().map_or(0.0, |part| part.iter().map(|sized| sized.work).sum());
        drop(parts);
        drop(sized);
        Ok(LastPart { bound: held, finished: Vec::new(), encoder, work, begun })
    }

    /// Encodes the dispatches of a run that is as the last one was, if that was as the
    /// one before it. Where sessions share memory nothing is held for a run that may
    /// not come.
    fn encode_ahead(
        &self,
        index: usize,
        bound: &Arc<Bound>,
        bindings: &Bindings,
    ) -> Result<Option<Ahead>> {
        let again = self.latest.as_ref().is_some_and(|(i, b)| *i == index && b == bindings);
        if !again || self.arena.shared {
            return Ok(None);
        }
        let most = self.gpu.caps().limits.max_compute_workgroups_per_dimension;
        let sized = sized(bound, bindings, most)?;
        let mut encoder = self.gpu.encoder("run");
        encode(&mut encoder, &sized);
        Ok(Some(Ahead {
            index,
            bindings: bindings.clone(),
            bound: bound.clone(),
            dispatches: sized.len() as u64,
            work: sized.iter().map(|sized| sized.work).sum(),
            commands: self.gpu.finish("running a plan", encoder)?,
        }))
    }

    /// Submits what is encoded, with copies of the results behind it: the results,
    /// and whether the device was waited for.
    pub(super) async fn read_outputs(
        &mut self,
        (index, bound): (usize, &Arc<Bound>),
        encoded: (Vec<wgpu::CommandBuffer>, wgpu::CommandEncoder),
        inputs: &[Given<'_>],
        bindings: &Bindings,
        keep: &[bool],
    ) -> Result<(Vec<(String, Kept)>, bool)> {
        let compiled = &self.plans[index];
        let mut results: Vec<Option<Kept>> = Vec::new();
        let mut ranges = Vec::new();
        for (number, (name, id)) in compiled.plan.outputs.iter().enumerate() {
            let operand = &compiled.plan.operands[id.index()];
            let bytes = operand.ty.device_bytes(bindings)? as u64;
            let stays = keep.get(number).copied().unwrap_or(false);
            let buffer = match operand.home {
                Home::Constant(value) => {
                    let tensor = self.graph.constant(value);
                    let shaped = |tensor: &Tensor| {
                        let extents = operand.ty.extents(bindings)?;
                        Tensor::new(operand.ty.dtype, &extents, tensor.bytes().clone())
                    };
                    results.push(tensor.map(shaped).transpose()?.map(Kept::Host));
                    continue;
                }
                Home::Input(input) if let Given::Host(tensor) = inputs[input] => {
                    let (dtype, extents) = (operand.ty.dtype, operand.ty.extents(bindings)?);
                    let tensor = Tensor::new(dtype, &extents, tensor.bytes().clone())?;
                    results.push(Some(Kept::Host(tensor)));
                    continue;
                }
                Home::Input(input) => &bound.inputs[input].buffer,
                Home::State(state) => &self.states[state.index()],
                // Results begin where their buffer does.
                Home::Slot(_) => match bound.places.of(operand.root) {
                    Some((buffer, 0)) => &bound.slots[buffer],
                    _ => return Err(Error::internal(format!("output '{name}' has no buffer"))),
                },
                Home::Unused => {
                    return Err(Error::internal(format!("output '{name}' is not computed")));
                }
            };
            if stays && !matches!(operand.home, Home::State(_)) {
                let kind = (operand.ty.dtype, operand.ty.extents(bindings)?);
                let place = (buffer.clone(), bytes, self.staging());
                let kept = DeviceTensor::new(self.gpu.clone(), place, kind);
                self.arena.lend(&kept);
                results.push(Some(Kept::Device(kept)));
                continue;
            }
            self.crossed.1 += bytes;
            results.push(None);
            ranges.push((buffer, 0, bytes));
        }
        let watched = self.status.as_ref().filter(|_| !bound.faults.is_empty());
        ranges.extend(watched.map(|status| (status, 0, 4)));
        let waits = !ranges.is_empty();
        let (doing, most) = ("running a plan", self.staging());
        let mut ahead = None;
        let meanwhile = || {
            ahead = self.encode_ahead(index, bound, bindings)?;
            Ok(())
        };
        let read = self.gpu.submit_and_read(doing, encoded, &ranges, most, meanwhile).await;
        let mut parts = read?;
        self.gpu.check("running a plan")?;
        if watched.is_some() {
            let word = parts.pop().unwrap_or_default();
            bound.status(word_of(&word)?)?;
        }
        let mut parts = parts.into_iter();
        let mut tensors = Vec::with_capacity(results.len());
        for ((name, id), known) in compiled.plan.outputs.iter().zip(results) {
            let ty = &compiled.plan.operands[id.index()].ty;
            let kept = match known {
                Some(kept) => kept,
                None => {
                    let part = parts.next().ok_or_else(|| Error::internal("a lost output"))?;
                    let bytes = Bytes::from(to_host(ty.dtype, part));
                    Kept::Host(Tensor::new(ty.dtype, &ty.extents(bindings)?, bytes)?)
                }
            };
            tensors.push((name.clone(), kept));
        }
        self.ahead = ahead;
        self.latest = Some((index, bindings.clone()));
        Ok((tensors, waits))
    }
}

/// The status word.
fn word_of(bytes: &[u8]) -> Result<u32> {
    let word = bytes.first_chunk().ok_or_else(|| Error::internal("a lost status word"))?;
    Ok(u32::from_le_bytes(*word))
}

/// The dispatches of a plan that have something to do.
pub(super) fn sized<'a>(
    bound: &'a Bound,
    bindings: &Bindings,
    most: u32,
) -> Result<Vec<Sized<'a>>> {
    let mut sized = Vec::with_capacity(bound.steps.len());
    for step in &bound.steps {
        let groups = workgroups(&step.grid, bindings, most).map_err(|e| e.at_node(&step.node))?;
        if groups.contains(&0) {
            continue;
        }
        sized.push(Sized { step, groups, work: step.work.eval(bindings)? as f64 });
    }
    Ok(sized)
}

/// Writes the inputs that are on the host; says how many bytes they are.
pub(super) fn write_inputs(
    writer: &mut crate::gpu::StepWriter,
    graph: &Graph,
    bound: &Bound,
    inputs: &[Given<'_>],
) -> Result<u64> {
    let named = graph.inputs().iter().map(|&id| &graph.value(id).name);
    let mut crossed = 0;
    for ((place, given), name) in bound.inputs.iter().zip(inputs).zip(named) {
        let Given::Host(tensor) = given else { continue };
        let (buffer, start) = (&place.buffer, place.offset);
        let bytes = to_device(&format!("input '{name}'"), tensor.dtype(), tensor.bytes());
        let bytes = match bytes {
            Ok(bytes) => bytes,
            Err(error) => {
                writer.clear();
                return Err(error);
            }
        };
        // Copies move whole words; a run may use only a part of the buffer.
        crossed += bytes.len() as u64;
        let whole = bytes.len() / 4 * 4;
        writer.write(buffer, start, &bytes[..whole])?;
        if whole < bytes.len() {
            let mut word = [0u8; 4];
            word[..bytes.len() - whole].copy_from_slice(&bytes[whole..]);
            let at = start + whole as u64;
            let room = buffer.len().saturating_sub(at).min(4) as usize;
            writer.write(buffer, at, &word[..room])?;
        }
    }
    Ok(crossed)
}

/// Copies the inputs that are elsewhere on the device.
pub(super) fn copy_inputs(encoder: &mut wgpu::CommandEncoder, bound: &Bound, inputs: &[Given<'_>]) {
    for (place, given) in bound.inputs.iter().zip(inputs) {
        if let Some(tensor) = given.on_device() {
            let (from, bytes) = (tensor.buffer(), tensor.bytes().next_multiple_of(4));
            let to = &place.buffer;
            if !from.same(to) {
                encoder.copy_buffer_to_buffer(from.raw(), 0, to.raw(), place.offset, bytes);
            }
        }
    }
}

/// The workgroups of a dispatch within the device's limit per dimension.
pub(crate) fn workgroups(grid: &Grid, bindings: &Bindings, most: u32) -> Result<[u32; 3]> {
    let over = |count: u64, limit: u64| Error::Limit {
        what: "a dispatch".into(),
        limit_name: "max_compute_workgroups_per_dimension".into(),
        needed: count,
        limit,
    };
    match grid {
        Grid::Linear(count) => {
            let count = count.eval(bindings)?;
            let most = u64::from(most);
            if count <= most {
                return Ok([count as u32, 1, 1]);
            }
            let rows = count.div_ceil(most);
            if rows > most {
                return Err(over(count, most * most));
            }
            Ok([count.div_ceil(rows) as u32, rows as u32, 1])
        }
        Grid::Xyz(x, y, z) => {
            let mut groups = [0; 3];
            for (group, dim) in groups.iter_mut().zip([x, y, z]) {
                let count = dim.eval(bindings)?;
                if count > u64::from(most) {
                    return Err(over(count, u64::from(most)));
                }
                *group = count as u32;
            }
            Ok(groups)
        }
    }
}

/// Cuts dispatches into runs of at most `budget` work, each of at least one.
pub(super) fn cut<'s, 'a>(sized: &'s [Sized<'a>], budget: f64) -> Vec<&'s [Sized<'a>]> {
    let (mut parts, mut start, mut work) = (Vec::new(), 0, 0.0);
    for (i, next) in sized.iter().enumerate() {
        if i > start && work + next.work > budget {
            parts.push(&sized[start..i]);
            (start, work) = (i, 0.0);
        }
        work += next.work;
    }
    parts.push(&sized[start..]);
    parts
}

pub(super) fn encode(encoder: &mut wgpu::CommandEncoder, part: &[Sized<'_>]) {
    let mut pass = encoder.begin_compute_pass(&wgpu::ComputePassDescriptor::default());
    for sized in part {
        sized.encode(&mut pass);
    }
}

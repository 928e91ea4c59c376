//! One run of a compiled plan.

use super::GpuEngine;
use super::compile::{Compiled, Step};
use super::narrow::{to_device, to_host};
use crate::error::{Error, Result};
use crate::graph::{Bindings, Dim, Graph};
use crate::kernels::{Grid, Param};
use crate::plan::Home;
use crate::tensor::{Bytes, Tensor};
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
    encoder: wgpu::CommandEncoder,
    work: f64,
    begun: Instant,
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
    pub(crate) async fn run(
        &mut self,
        index: usize,
        inputs: &[&Tensor],
        bindings: &Bindings,
        one_submission: bool,
    ) -> Result<Vec<(String, Tensor)>> {
        let last = self.start(index, inputs, bindings, one_submission, 1).await?;
        let results = self.read_outputs(index, last.encoder, inputs, bindings).await?;
        self.pace.measured(last.work, last.begun.elapsed().as_secs_f64() * 1e3);
        self.submissions += 1;
        Ok(results)
    }

    /// Runs a plan over and over and waits, without reading results.
    pub(crate) async fn repeat(
        &mut self,
        index: usize,
        inputs: &[&Tensor],
        bindings: &Bindings,
        times: usize,
    ) -> Result<()> {
        let last = self.start(index, inputs, bindings, false, times).await?;
        let submission = self.gpu.submit("running a plan", last.encoder)?;
        self.gpu.wait("running a plan", submission).await?;
        if let (Some(status), false) = (&self.status, self.plans[index].faults.is_empty()) {
            let word = self.gpu.read(status, 0, 4).await?;
            self.plans[index].status(word_of(&word)?)?;
        }
        self.pace.measured(last.work, last.begun.elapsed().as_secs_f64() * 1e3);
        self.submissions += 1;
        Ok(())
    }

    /// Submits all of the work but the last part, which is encoded.
    async fn start(
        &mut self,
        index: usize,
        inputs: &[&Tensor],
        bindings: &Bindings,
        one_submission: bool,
        times: usize,
    ) -> Result<LastPart> {
        // A loss since the last run shows up when the device is polled.
        self.gpu.tick();
        self.gpu.check("running a plan")?;
        self.intact()?;
        let compiled = &self.plans[index];
        let most = self.gpu.caps().limits.max_compute_workgroups_per_dimension;
        write_inputs(&mut self.writer, &self.graph, compiled, inputs)?;
        write_params(&mut self.writer, compiled, bindings)?;
        let sized = sized(compiled, bindings, most)?.repeat(times);
        let budget = if one_submission { f64::INFINITY } else { self.pace.budget() };
        let parts = cut(&sized, budget);
        let mut encoder = self.gpu.encoder("run");
        self.writer.record(&mut encoder).await?;
        if let (Some(status), false) = (&self.status, compiled.faults.is_empty()) {
            encoder.clear_buffer(status.raw(), 0, None);
        }
        if let Some(poison) = &self.poison {
            for slot in &compiled.slots {
                let bytes = slot.size().min(poison.len());
                encoder.copy_buffer_to_buffer(poison.raw(), 0, slot.raw(), 0, bytes);
            }
        }
        let mut begun = Instant::now();
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
        Ok(LastPart { encoder, work, begun })
    }

    /// Submits what is encoded, with copies of the results behind it.
    pub(super) async fn read_outputs(
        &self,
        index: usize,
        mut encoder: wgpu::CommandEncoder,
        inputs: &[&Tensor],
        bindings: &Bindings,
    ) -> Result<Vec<(String, Tensor)>> {
        let compiled = &self.plans[index];
        let mut results: Vec<Option<Bytes>> = Vec::new();
        let mut ranges = Vec::new();
        for (name, id) in &compiled.plan.outputs {
            let operand = &compiled.plan.operands[id.index()];
            let bytes = operand.ty.device_bytes(bindings)? as u64;
            let buffer = match operand.home {
                Home::Constant(value) => {
                    results.push(self.graph.constant(value).map(|tensor| tensor.bytes().clone()));
                    continue;
                }
                Home::Input(input) => {
                    results.push(Some(inputs[input].bytes().clone()));
                    continue;
                }
                Home::State(state) => &self.states[state.index()],
                Home::Slot(slot) => &compiled.slots[slot],
                Home::Unused => {
                    return Err(Error::internal(format!("output '{name}' is not computed")));
                }
            };
            results.push(None);
            ranges.push((buffer, 0, bytes));
        }
        let watched = self.status.as_ref().filter(|_| !compiled.faults.is_empty());
        ranges.extend(watched.map(|status| (status, 0, 4)));
        let read = self.gpu.record_read(&mut encoder, &ranges)?;
        let submission = self.gpu.submit("running a plan", encoder)?;
        let mut parts = read.bytes(submission).await?;
        self.gpu.check("running a plan")?;
        if watched.is_some() {
            let word = parts.pop().unwrap_or_default();
            compiled.status(word_of(&word)?)?;
        }
        let mut parts = parts.into_iter();
        let mut tensors = Vec::with_capacity(results.len());
        for ((name, id), known) in compiled.plan.outputs.iter().zip(results) {
            let ty = &compiled.plan.operands[id.index()].ty;
            let read = || parts.next().map(|part| Bytes::from(to_host(ty.dtype, part)));
            let bytes = known.or_else(read);
            let bytes = bytes.ok_or_else(|| Error::internal("a lost output"))?;
            tensors.push((name.clone(), Tensor::new(ty.dtype, &ty.extents(bindings)?, bytes)?));
        }
        Ok(tensors)
    }
}

/// The status word.
fn word_of(bytes: &[u8]) -> Result<u32> {
    let word = bytes.first_chunk().ok_or_else(|| Error::internal("a lost status word"))?;
    Ok(u32::from_le_bytes(*word))
}

/// The dispatches of a plan that have something to do.
pub(super) fn sized<'a>(
    compiled: &'a Compiled,
    bindings: &Bindings,
    most: u32,
) -> Result<Vec<Sized<'a>>> {
    let mut sized = Vec::with_capacity(compiled.steps.len());
    for step in &compiled.steps {
        let groups = workgroups(&step.grid, bindings, most).map_err(|e| e.at_node(&step.node))?;
        if groups.contains(&0) {
            continue;
        }
        sized.push(Sized { step, groups, work: step.work.eval(bindings)? as f64 });
    }
    Ok(sized)
}

pub(super) fn write_inputs(
    writer: &mut crate::gpu::StepWriter,
    graph: &Graph,
    compiled: &Compiled,
    inputs: &[&Tensor],
) -> Result<()> {
    let named = graph.inputs().iter().map(|&id| &graph.value(id).name);
    for ((buffer, tensor), name) in compiled.inputs.iter().zip(inputs).zip(named) {
        let bytes = to_device(&format!("input '{name}'"), tensor.dtype(), tensor.bytes());
        let bytes = match bytes {
            Ok(bytes) => bytes,
            Err(error) => {
                writer.clear();
                return Err(error);
            }
        };
        // Copies move whole words; a run may use only a part of the buffer.
        let whole = bytes.len() / 4 * 4;
        writer.write(buffer, 0, &bytes[..whole])?;
        if whole < bytes.len() {
            let mut word = [0u8; 4];
            word[..bytes.len() - whole].copy_from_slice(&bytes[whole..]);
            let room = (buffer.len() as usize - whole).min(4);
            writer.write(buffer, whole as u64, &word[..room])?;
        }
    }
    Ok(())
}

pub(super) fn write_params(
    writer: &mut crate::gpu::StepWriter,
    compiled: &Compiled,
    bindings: &Bindings,
) -> Result<()> {
    let mut failure = None;
    writer.write_with(&compiled.params, 0, compiled.param_bytes, |bytes| {
        for step in &compiled.steps {
            if let Err(error) = fill_params(step, bindings, bytes) {
                failure = Some(error.at_node(&step.node));
                return;
            }
        }
    })?;
    failure.map_or(Ok(()), Err)
}

fn fill_params(step: &Step, bindings: &Bindings, bytes: &mut [u8]) -> Result<()> {
    for (at, param) in &step.params {
        let word = match param {
            Param::Dim(dim) => u32_of(dim, bindings)?.to_le_bytes(),
            Param::U32(value) => value.to_le_bytes(),
            Param::Status(_) => return Err(Error::internal("a status code without a number")),
            Param::I32(value) => value.to_le_bytes(),
            Param::F32(value) => value.to_le_bytes(),
        };
        let room = bytes.get_mut(*at..*at + 4);
        room.ok_or_else(|| Error::internal("a parameter outside its table"))?
            .copy_from_slice(&word);
    }
    Ok(())
}

fn u32_of(dim: &Dim, bindings: &Bindings) -> Result<u32> {
    let value = dim.eval(bindings)?;
    u32::try_from(value).map_err(|_| Error::Limit {
        what: format!("the quantity {dim}"),
        limit_name: "32-bit shader integers".into(),
        needed: value,
        limit: u64::from(u32::MAX),
    })
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

//! States of another size on a device.

use super::{GpuEngine, allocate_state};
use crate::error::{Error, Result};
use crate::exec::resize::{Moved, moves};
use crate::gpu::Buffer;
use crate::graph::Bindings;
use crate::tensor::DType;

/// A state that gets another size, in bytes, and what it keeps.
#[derive(Debug)]
struct Change {
    state: usize,
    before: u64,
    after: u64,
    kept: Vec<Moved>,
}

impl GpuEngine {
    /// Gives states new sizes, keeping their content: all of them or, on an
    /// error, none. Compiled plans are dropped in any case, since they keep the
    /// buffers they are bound to alive.
    ///
    /// The states change one after another, so that little more memory is taken
    /// than they have before and after: the one under way has both its buffers,
    /// and one old buffer more is kept for the way back.
    pub(crate) async fn resize_states(&mut self, old: &Bindings, new: &Bindings) -> Result<()> {
        self.intact()?;
        let changes = self.changes(old, new)?;
        let loses = |change: &Change| {
            change.kept.iter().map(|moved| moved.bytes).sum::<u64>() < change.before
        };
        let lossy = changes.iter().any(loses);
        self.plans.clear();
        (self.ahead, self.latest) = (None, None);
        // Until the end, so that a future dropped in between is noticed too.
        self.resizing = true;
        let mut held = Vec::new();
        for (done, change) in changes.iter().enumerate() {
            match self.replace(change).await {
                // What was dropped from a state is only in its old buffer.
                Ok(before) if lossy => held.push(before),
                Ok(before) => held = vec![before],
                Err(error) => {
                    match self.restore(&changes[..done], held).await {
                        Ok(()) => self.resizing = false,
                        Err(second) => log::error!("states are lost: {second}"),
                    }
                    return Err(error);
                }
            }
        }
        self.resizing = false;
        Ok(())
    }

    /// Fails if the states are neither of one size nor of the other.
    pub(super) fn intact(&self) -> Result<()> {
        if !self.resizing {
            return Ok(());
        }
        let message = "a change of their size was cut short; make the session again".into();
        Err(Error::Device { doing: "using the states".into(), message })
    }

    /// The states whose size changes. Those that were small come first: the new
    /// buffer of a later one, once freed, has room for the old one of any before.
    fn changes(&self, old: &Bindings, new: &Bindings) -> Result<Vec<Change>> {
        let mut changes = Vec::new();
        for (state, info) in self.graph.states().iter().enumerate() {
            let bytes = |at: &Bindings| info.ty.device_bytes(at).map(|bytes| bytes as u64);
            let (before, after) = (bytes(old)?, bytes(new)?);
            if before == after {
                continue;
            }
            let kept = moves(info, old, new, DType::device_bytes)?;
            if kept.iter().any(|m| [m.from, m.to, m.bytes].iter().any(|n| n % 4 != 0)) {
                let what = "resizing a state whose rows are not whole 4-byte words";
                return Err(Error::unsupported(format!("state '{}'", info.name), what));
            }
            changes.push(Change { state, before, after, kept });
        }
        changes.sort_by_key(|change| change.before);
        Ok(changes)
    }

    /// Gives one state its new buffer; returns the old one.
    async fn replace(&mut self, change: &Change) -> Result<Buffer> {
        let buffer = self.state_buffer(change.state, change.after)?;
        self.move_state(change.state, &buffer, &change.kept).await?;
        Ok(std::mem::replace(&mut self.states[change.state], buffer))
    }

    /// Takes changes back, the last one first. `held` are the old buffers of the
    /// last ones, in order.
    async fn restore(&mut self, changes: &[Change], mut held: Vec<Buffer>) -> Result<()> {
        for change in changes.iter().rev() {
            let buffer = match held.pop() {
                // Nobody has written to it since.
                Some(buffer) => buffer,
                None => {
                    let buffer = self.state_buffer(change.state, change.before)?;
                    let back = |m: &Moved| Moved { from: m.to, to: m.from, bytes: m.bytes };
                    let back: Vec<Moved> = change.kept.iter().map(back).collect();
                    self.move_state(change.state, &buffer, &back).await?;
                    buffer
                }
            };
            self.states[change.state] = buffer;
        }
        Ok(())
    }

    fn state_buffer(&self, state: usize, bytes: u64) -> Result<Buffer> {
        allocate_state(&self.gpu, &self.graph.states()[state].name, bytes)
    }

    /// Copies and waits, so that the buffer copied from can be freed at once.
    async fn move_state(&self, state: usize, to: &Buffer, moves: &[Moved]) -> Result<()> {
        let mut encoder = self.gpu.encoder("resize a state");
        for m in moves {
            let from = self.states[state].raw();
            encoder.copy_buffer_to_buffer(from, m.from, to.raw(), m.to, m.bytes);
        }
        let submission = self.gpu.submit("resizing states", encoder)?;
        self.gpu.wait("resizing states", submission).await
    }
}

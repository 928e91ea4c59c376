//! A few mapped staging buffers that go round: filled, copied from, mapped again.

use crate::error::{Error, Result};
use crate::gpu::errors::{lock, one_line};
use crate::gpu::{Buffer, Gpu};
use std::future::Future;
use std::pin::Pin;
use std::sync::{Arc, Mutex};
use std::task::{Context, Poll, Waker};

#[derive(Debug)]
struct RingState {
    /// Mapped buffers, ready to be filled.
    free: Vec<Buffer>,
    /// All buffers, the ones under way included.
    live: usize,
    /// How many there may be; fewer than were asked for where memory is short.
    most: usize,
    wakers: Vec<Waker>,
}

/// A few mapped staging buffers of one size.
#[derive(Debug)]
pub(super) struct Ring {
    pub(super) size: u64,
    state: Mutex<RingState>,
}

impl Ring {
    pub(super) fn new(size: u64, most: usize) -> Arc<Self> {
        let state = RingState { free: Vec::new(), live: 0, most, wakers: Vec::new() };
        Arc::new(Ring { size, state: Mutex::new(state) })
    }

    /// A mapped buffer; waits for the device when all are under way.
    pub(super) async fn take(self: &Arc<Self>, gpu: &Gpu) -> Result<Slot> {
        loop {
            // A lost device destroys the mapped buffers too.
            gpu.faults.loss("uploading")?;
            let room = {
                let mut state = lock(&self.state);
                if let Some(buffer) = state.free.pop() {
                    return Ok(Slot { ring: self.clone(), buffer: Some(buffer) });
                }
                let room = state.live < state.most;
                state.live += usize::from(room);
                room
            };
            if room {
                match gpu.alloc_mapped(self.size, "upload") {
                    Ok(made) => return Ok(Slot { ring: self.clone(), buffer: Some(made) }),
                    // There is no memory for one more: those there are must do.
                    Err(error) if self.forget() == 0 => return Err(error),
                    Err(_) => self.stay(),
                }
            }
            Freed { ring: self, gpu }.await?;
        }
    }

    /// A buffer is mapped again.
    fn give(&self, buffer: Buffer) {
        let mut state = lock(&self.state);
        state.free.push(buffer);
        Self::wake(state.wakers.drain(..).collect());
    }

    /// A buffer will not come back; returns how many there are without it.
    fn forget(&self) -> usize {
        let mut state = lock(&self.state);
        state.live -= 1;
        Self::wake(state.wakers.drain(..).collect());
        state.live
    }

    /// Makes no more buffers than there are now.
    fn stay(&self) {
        let mut state = lock(&self.state);
        state.most = state.live.max(1);
    }

    fn wake(wakers: Vec<Waker>) {
        wakers.into_iter().for_each(Waker::wake);
    }
}

/// Resolves when a ring may have a buffer or room for one.
struct Freed<'a> {
    ring: &'a Ring,
    gpu: &'a Gpu,
}

impl Future for Freed<'_> {
    type Output = Result<()>;

    fn poll(self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<Result<()>> {
        self.gpu.poll(wgpu::PollType::Poll);
        if let Err(lost) = self.gpu.faults.loss("uploading") {
            return Poll::Ready(Err(lost));
        }
        let mut state = lock(&self.ring.state);
        if !state.free.is_empty() || state.live < state.most {
            return Poll::Ready(Ok(()));
        }
        state.wakers.push(context.waker().clone());
        Poll::Pending
    }
}

/// A mapped buffer taken from a ring. Dropped unused, it goes back as it is.
pub(super) struct Slot {
    ring: Arc<Ring>,
    buffer: Option<Buffer>,
}

impl Slot {
    /// Writes through the mapping, `len` bytes padded to whole words.
    pub(super) fn fill(
        &self,
        len: u64,
        write: impl FnOnce(wgpu::WriteOnly<'_, [u8]>),
    ) -> Result<()> {
        let Some(buffer) = &self.buffer else {
            return Err(Error::internal("a staging buffer was used twice"));
        };
        let mapped = buffer.raw().get_mapped_range_mut(0..len.next_multiple_of(4));
        let mut view = mapped.map_err(|e| Error::Device {
            doing: "writing staging memory".into(),
            message: one_line(&e.to_string()),
        })?;
        write(view.slice(..));
        Ok(())
    }

    /// Unmaps it for the copies that `record` adds to `encoder`. It comes
    /// back to the ring, mapped, when the submission is done.
    pub(super) fn send(
        mut self,
        encoder: &mut wgpu::CommandEncoder,
        record: impl FnOnce(&mut wgpu::CommandEncoder, &wgpu::Buffer),
    ) {
        let Some(buffer) = self.buffer.take() else { return };
        buffer.raw().unmap();
        record(encoder, buffer.raw());
        let raw = buffer.raw().clone();
        let back = Returning { ring: self.ring.clone(), buffer: Some(buffer) };
        encoder.map_buffer_on_submit(&raw, wgpu::MapMode::Write, .., move |mapped| {
            if mapped.is_ok() {
                back.arrive();
            }
        });
    }
}

impl Drop for Slot {
    fn drop(&mut self) {
        if let Some(buffer) = self.buffer.take() {
            self.ring.give(buffer);
        }
    }
}

/// Held by the callback; dropped unheard (an encoder never submitted, a
/// mapping refused) it makes room for a new buffer.
struct Returning {
    ring: Arc<Ring>,
    buffer: Option<Buffer>,
}

impl Returning {
    fn arrive(mut self) {
        if let Some(buffer) = self.buffer.take() {
            self.ring.give(buffer);
        }
    }
}

impl Drop for Returning {
    fn drop(&mut self) {
        if self.buffer.take().is_some() {
            self.ring.forget();
        }
    }
}

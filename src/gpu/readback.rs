//! Reading device memory back, without blocking anyone but the edge.
//!
//! A read records a copy into a mappable staging buffer and resolves when
//! the device has done it. The futures poll the device when they are polled.
//! On native nothing else wakes them: drive them with [`Gpu::block_on`], or
//! call [`Gpu::tick`] from the event loop. A browser drives them by itself.

use std::future::Future;
use std::pin::Pin;
use std::sync::{Arc, Mutex};
use std::task::{Context, Poll, Waker};
#[cfg(not(target_arch = "wasm32"))]
use std::{
    sync::atomic::{AtomicBool, Ordering},
    task::Wake,
};

use super::Gpu;
use super::errors::{lock, one_line};
use super::memory::{Buffer, Purpose};
use crate::error::{Error, Result};

/// The most one staging buffer of [`Gpu::read_into`] holds.
const READ_CHUNK: u64 = 16 << 20;

/// Staging buffers that are not in use.
#[derive(Debug, Default)]
pub(crate) struct ReadPool(Mutex<Vec<Buffer>>);

impl ReadPool {
    /// The smallest free buffer that holds `size` bytes. If there is none, those that
    /// are free go, as a larger one takes their place.
    fn take(&self, size: u64) -> Option<Buffer> {
        let mut free = lock(&self.0);
        let fits = free.iter().enumerate().filter(|(_, b)| b.size() >= size);
        match fits.min_by_key(|(_, b)| b.size()) {
            Some((position, _)) => Some(free.swap_remove(position)),
            None => {
                free.clear();
                None
            }
        }
    }

    fn give(&self, buffer: Buffer) {
        let mut free = lock(&self.0);
        free.push(buffer);
        // Two reads may be under way at one time; more than this is left over.
        if free.len() > 2 {
            free.remove(0);
        }
    }

    pub(crate) fn trim(&self) {
        lock(&self.0).clear();
    }
}

/// A value set once by a callback, and the task waiting for it.
#[derive(Debug)]
pub(crate) struct Signal<T>(Mutex<(Option<T>, Option<Waker>)>);

impl<T> Signal<T> {
    pub(crate) fn new() -> Arc<Self> {
        Arc::new(Signal(Mutex::new((None, None))))
    }

    pub(crate) fn set(&self, value: T) {
        let waker = {
            let mut state = lock(&self.0);
            state.0 = Some(value);
            state.1.take()
        };
        if let Some(waker) = waker {
            waker.wake();
        }
    }

    fn take(&self, context: &mut Context<'_>) -> Poll<T> {
        let mut state = lock(&self.0);
        match state.0.take() {
            Some(value) => Poll::Ready(value),
            None => {
                state.1 = Some(context.waker().clone());
                Poll::Pending
            }
        }
    }
}

type Mapped = Result<(), wgpu::BufferAsyncError>;

/// Sets a [`Signal`] when a mapping ends. Dropped unheard (the encoder was
/// never submitted) it reports failure.
struct MapEnd(Option<Arc<Signal<Mapped>>>);

impl MapEnd {
    fn finish(mut self, result: Mapped) {
        if let Some(signal) = self.0.take() {
            signal.set(result);
        }
    }
}

impl Drop for MapEnd {
    fn drop(&mut self) {
        if let Some(signal) = self.0.take() {
            signal.set(Err(wgpu::BufferAsyncError));
        }
    }
}

/// Resolves when `signal` is set, or fails when the device is lost.
pub(crate) struct Wait<'a, T> {
    pub(crate) gpu: &'a Gpu,
    pub(crate) signal: Arc<Signal<T>>,
    pub(crate) submission: Option<wgpu::SubmissionIndex>,
    pub(crate) doing: &'a str,
}

impl<T> Future for Wait<'_, T> {
    type Output = Result<T>;

    fn poll(self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<Result<T>> {
        if let Poll::Ready(value) = self.signal.take(context) {
            return Poll::Ready(Ok(value));
        }
        self.gpu.poll(wgpu::PollType::Poll);
        if let Poll::Ready(value) = self.signal.take(context) {
            return Poll::Ready(Ok(value));
        }
        if let Err(lost) = self.gpu.faults.loss(self.doing) {
            return Poll::Ready(Err(lost));
        }
        *lock(&self.gpu.awaited) = self.submission.clone();
        Poll::Pending
    }
}

/// A copy into staging memory that has been recorded; see [`Gpu::record_read`].
#[derive(Debug)]
pub struct Readback {
    /// `None` when nothing is read or the buffer was handed back.
    staging: Option<Buffer>,
    /// Bytes of it that are read.
    total: u64,
    parts: Vec<(u64, u64)>,
    mapped: Arc<Signal<Mapped>>,
    gpu: Arc<Gpu>,
}

impl Drop for Readback {
    fn drop(&mut self) {
        if let Some(staging) = self.staging.take() {
            // Also ends a mapping that is still pending; the copy itself is
            // ordered before whatever uses the buffer next.
            staging.raw().unmap();
            self.gpu.reads.give(staging);
        }
    }
}

impl Readback {
    /// Waits for the bytes and hands one slice per recorded range to `f`.
    ///
    /// `submission` is what [`Gpu::submit`] returned for the encoder.
    ///
    /// # Errors
    /// `DeviceLost`, or `Device` when the encoder was never submitted or the
    /// mapping failed.
    pub async fn with<T>(
        self,
        submission: wgpu::SubmissionIndex,
        f: impl FnOnce(&[&[u8]]) -> T,
    ) -> Result<T> {
        let Some(staging) = &self.staging else {
            let empty: Vec<&[u8]> = self.parts.iter().map(|_| [].as_slice()).collect();
            return Ok(f(&empty));
        };
        let wait = Wait {
            gpu: &self.gpu,
            signal: self.mapped.clone(),
            submission: Some(submission),
            doing: "reading back",
        };
        let mapped = wait.await?;
        // A loss shows up as a failed mapping or as a vanished range.
        let view = match mapped.is_ok().then(|| staging.raw().get_mapped_range(..self.total)) {
            Some(Ok(view)) => view,
            failure => {
                self.gpu.check("reading back")?;
                return Err(match failure {
                    Some(Err(error)) => failed(one_line(&error.to_string())),
                    _ => failed("the mapping was refused"),
                });
            }
        };
        let slices: Vec<&[u8]> = self
            .parts
            .iter()
            .map(|&(start, len)| &view[start as usize..(start + len) as usize])
            .collect();
        Ok(f(&slices))
    }

    /// Waits for the bytes, one vector per recorded range.
    ///
    /// # Errors
    /// As [`Readback::with`].
    pub async fn bytes(self, submission: wgpu::SubmissionIndex) -> Result<Vec<Vec<u8>>> {
        self.with(submission, |parts| parts.iter().map(|p| p.to_vec()).collect()).await
    }
}

fn failed(message: impl std::fmt::Display) -> Error {
    Error::Device { doing: "reading back".into(), message: message.to_string() }
}

/// Checks that `offset..offset + len` lies in `buffer` and starts on a word.
pub(crate) fn check_range(name: &str, buffer: &Buffer, offset: u64, len: u64) -> Result<()> {
    if !offset.is_multiple_of(wgpu::COPY_BUFFER_ALIGNMENT) {
        return Err(Error::input(name, "an offset that is a multiple of 4", offset));
    }
    match offset.checked_add(len) {
        Some(end) if end <= buffer.len() => Ok(()),
        _ => Err(Error::input(
            name,
            format_args!("a range inside the buffer's {} bytes", buffer.len()),
            format_args!("{len} bytes at {offset}"),
        )),
    }
}

impl Gpu {
    /// Records copies of `(buffer, offset, len)` ranges into one staging
    /// buffer, so that a step and its read-back are one submission.
    ///
    /// Offsets are multiples of 4; lengths are any number of bytes. The
    /// buffers need `COPY_SRC`.
    ///
    /// # Errors
    /// `Input` for a range outside its buffer, else as [`Gpu::alloc`].
    pub fn record_read(
        self: &Arc<Self>,
        encoder: &mut wgpu::CommandEncoder,
        ranges: &[(&Buffer, u64, u64)],
    ) -> Result<Readback> {
        let mut total = 0u64;
        let mut parts = Vec::with_capacity(ranges.len());
        for &(buffer, offset, len) in ranges {
            check_range("read-back", buffer, offset, len)?;
            parts.push((total, len));
            total += len.next_multiple_of(16);
        }
        let mapped = Signal::new();
        let mut read = Readback { staging: None, total, parts, mapped, gpu: self.clone() };
        if total == 0 {
            return Ok(read);
        }
        let staging = match self.reads.take(total) {
            Some(buffer) => buffer,
            None => {
                let usage = wgpu::BufferUsages::MAP_READ | wgpu::BufferUsages::COPY_DST;
                self.alloc(Purpose::Staging, total, usage, "read-back")?
            }
        };
        for (&(buffer, offset, len), &(start, _)) in ranges.iter().zip(&read.parts) {
            if len > 0 {
                // Allocations are padded, so whole words can be copied.
                let words = len.next_multiple_of(wgpu::COPY_BUFFER_ALIGNMENT);
                encoder.copy_buffer_to_buffer(buffer.raw(), offset, staging.raw(), start, words);
            }
        }
        let end = MapEnd(Some(read.mapped.clone()));
        encoder.map_buffer_on_submit(staging.raw(), wgpu::MapMode::Read, ..total, move |r| {
            end.finish(r);
        });
        read.staging = Some(staging);
        Ok(read)
    }

    /// Submits `encoder`, behind what is finished already, and reads ranges as they are
    /// behind it, in pieces of at most `most` bytes: one vector for each range. While the
    /// device works, `meanwhile` is called.
    ///
    /// # Errors
    /// As [`Gpu::record_read`] and [`Readback::with`].
    pub(crate) async fn submit_and_read(
        self: &Arc<Self>,
        doing: &str,
        (mut finished, encoder): (Vec<wgpu::CommandBuffer>, wgpu::CommandEncoder),
        ranges: &[(&Buffer, u64, u64)],
        most: u64,
        meanwhile: impl FnOnce() -> Result<()>,
    ) -> Result<Vec<Vec<u8>>> {
        let mut out = vec![Vec::new(); ranges.len()];
        let (mut first, mut meanwhile) = (Some(encoder), Some(meanwhile));
        let lens: Vec<u64> = ranges.iter().map(|&(_, _, len)| len).collect();
        for batch in batches(&lens, most) {
            let mut encoder = first.take().unwrap_or_else(|| self.encoder("read-back"));
            let piece = |&(number, at, len): &Piece| {
                let (buffer, offset, _) = ranges[number];
                (buffer, offset.saturating_add(at), len)
            };
            let pieces: Vec<_> = batch.iter().map(piece).collect();
            let read = self.record_read(&mut encoder, &pieces)?;
            let before = std::mem::take(&mut finished);
            let submission = self.submit_behind(doing, before, encoder)?;
            if let Some(meanwhile) = meanwhile.take() {
                meanwhile()?;
            }
            let add = |parts: &[&[u8]]| {
                for (part, &(range, ..)) in parts.iter().zip(&batch) {
                    out[range].extend_from_slice(part);
                }
            };
            read.with(submission, add).await?;
        }
        Ok(out)
    }

    /// Reads `len` bytes at `offset` of `buffer`.
    ///
    /// # Errors
    /// As [`Gpu::read_into`].
    pub async fn read(self: &Arc<Self>, buffer: &Buffer, offset: u64, len: u64) -> Result<Vec<u8>> {
        check_range("read-back", buffer, offset, len)?;
        let mut out = vec![0; usize::try_from(len).map_err(|_| failed("too many bytes"))?];
        self.read_into(buffer, offset, &mut out).await?;
        Ok(out)
    }

    /// Reads `out.len()` bytes at `offset` (a multiple of 4) of `buffer`, in
    /// chunks, so that staging memory stays small.
    ///
    /// # Errors
    /// `Input` for a range outside the buffer, `DeviceLost`, `Device`,
    /// `OutOfMemory`.
    pub async fn read_into(
        self: &Arc<Self>,
        buffer: &Buffer,
        offset: u64,
        out: &mut [u8],
    ) -> Result<()> {
        check_range("read-back", buffer, offset, out.len() as u64)?;
        let mut at = offset;
        for chunk in out.chunks_mut(READ_CHUNK as usize) {
            let len = chunk.len() as u64;
            let mut encoder = self.encoder("read-back");
            let read = self.record_read(&mut encoder, &[(buffer, at, len)])?;
            let submission = self.submit("reading back", encoder)?;
            read.with(submission, |parts| chunk.copy_from_slice(parts[0])).await?;
            at += len;
        }
        Ok(())
    }

    /// Resolves when all work submitted so far is done.
    ///
    /// # Errors
    /// `DeviceLost`, or an error nobody caught.
    pub async fn wait(&self, doing: &str, submission: wgpu::SubmissionIndex) -> Result<()> {
        let signal = Signal::new();
        let done = signal.clone();
        self.queue.on_submitted_work_done(move || done.set(()));
        Wait { gpu: self, signal, submission: Some(submission), doing }.await?;
        self.check(doing)
    }

    /// Runs the callbacks that are due. An event loop on native that awaits
    /// reads calls this now and then; a browser does it by itself.
    pub fn tick(&self) {
        self.poll(wgpu::PollType::Poll);
    }

    /// Drives a future to its end, sleeping in the driver while the device
    /// works: the blocking edge of this room, for native callers.
    #[cfg(not(target_arch = "wasm32"))]
    pub fn block_on<F: Future>(&self, future: F) -> F::Output {
        let mut future = std::pin::pin!(future);
        let thread = Arc::new(Unpark(std::thread::current(), AtomicBool::new(false)));
        let waker = Waker::from(thread.clone());
        let mut context = Context::from_waker(&waker);
        let mut idle = 0;
        loop {
            thread.1.store(false, Ordering::Release);
            if let Poll::Ready(value) = future.as_mut().poll(&mut context) {
                return value;
            }
            // First the submission the future named, then all of them.
            let submission_index = lock(&self.awaited).take().filter(|_| idle == 0);
            self.poll(wgpu::PollType::Wait { submission_index, timeout: None });
            if thread.1.load(Ordering::Acquire) {
                idle = 0;
                continue;
            }
            idle += 1;
            if idle < 3 {
                continue;
            }
            // The device is idle, so the future waits for something else.
            while !thread.1.load(Ordering::Acquire) {
                std::thread::park();
            }
            idle = 0;
        }
    }
}

/// A piece of one of several ranges: which range, where in it, and its bytes.
type Piece = (usize, u64, u64);

/// Ranges of these lengths cut into pieces, in batches of at most `most` bytes (each
/// piece padded to 16): one batch at least.
fn batches(lens: &[u64], most: u64) -> Vec<Vec<Piece>> {
    let most = (most / 16 * 16).max(16);
    let (mut batches, mut batch, mut left) = (Vec::new(), Vec::new(), most);
    for (number, &len) in lens.iter().enumerate() {
        let mut done = 0;
        loop {
            if left == 0 {
                batches.push(std::mem::take(&mut batch));
                left = most;
            }
            let piece = (len - done).min(left);
            batch.push((number, done, piece));
            left -= piece.next_multiple_of(16);
            done += piece;
            if done >= len {
                break;
            }
        }
    }
    batches.push(batch);
    batches
}

/// Wakes the thread inside [`Gpu::block_on`], and notes that it did.
#[cfg(not(target_arch = "wasm32"))]
struct Unpark(std::thread::Thread, AtomicBool);

#[cfg(not(target_arch = "wasm32"))]
impl Wake for Unpark {
    fn wake(self: Arc<Self>) {
        self.1.store(true, Ordering::Release);
        self.0.unpark();
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn pieces_cover_every_range_within_the_bytes_of_a_batch() {
        let lens = [5, 0, 100, 16, 1];
        for most in [1, 16, 40, 64, 1000] {
            let batches = batches(&lens, most);
            let mut read = [0; 5];
            for batch in &batches {
                let bytes: u64 = batch.iter().map(|(.., len)| len.next_multiple_of(16)).sum();
                assert!(bytes <= most.max(16), "{bytes} of {most}");
                for &(range, at, len) in batch {
                    assert_eq!(read[range], at);
                    read[range] += len;
                }
            }
            assert_eq!(read, lens);
            assert!(
                lens.iter().enumerate().all(|(i, _)| batches.iter().flatten().any(|p| p.0 == i))
            );
        }
        assert_eq!(batches(&lens, 1000).len(), 1);
        // What there is nothing of is submitted as well.
        assert_eq!(batches(&[], 16), [vec![]]);
    }
}

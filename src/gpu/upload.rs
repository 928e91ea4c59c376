//! Moving host bytes to the device through small, reused staging buffers.
//!
//! [`Uploader`] is for weights: chunk after chunk, so neither heap nor
//! staging memory grows with the tensor. [`StepWriter`] is for the inputs
//! and parameters of each step: one copy of all writes, no new buffer once
//! it is warm.

mod ring;

use std::ops::Range;
use std::sync::{Arc, Mutex};

use super::Gpu;
use super::errors::lock;
use super::memory::{Buffer, Purpose};
use crate::error::{Error, Result};
use ring::{Ring, Slot};

/// The chunk size that suits most uploads, in bytes.
pub const UPLOAD_CHUNK: u64 = 8 << 20;

/// How many staging buffers a ring has: one filled while others are copied.
const RING: usize = 3;

/// A step that writes more than so many bytes does it in pieces, one after another, so
/// that staging memory stays small beside what large inputs need. In bytes.
const LEAST_PIECE: u64 = 256 << 10;

/// The most pieces.
const PIECES: u64 = 8;

/// How many staging buffers there are for pieces.
const PIECE_RING: usize = 2;

/// Checks a write of `len` bytes at `offset`. Copies move whole words, so a
/// write that ends inside a word must end where the buffer does: the rest of
/// that word is padding.
fn check_write(buffer: &Buffer, offset: u64, len: u64) -> Result<()> {
    super::readback::check_range("upload", buffer, offset, len)?;
    let end = offset + len;
    if end.is_multiple_of(4) || end == buffer.len() {
        return Ok(());
    }
    Err(Error::input(
        "upload",
        "an end that is a multiple of 4 or the buffer's end",
        format_args!("{end} of {}", buffer.len()),
    ))
}

/// Uploads large tensors in chunks. Drop it when loading is done; it holds
/// at most three staging buffers of one chunk, and one chunk of heap.
#[derive(Debug)]
pub struct Uploader {
    gpu: Arc<Gpu>,
    ring: Arc<Ring>,
    scratch: Vec<u8>,
    /// The last copy that is under way.
    last: Option<wgpu::SubmissionIndex>,
}

impl Uploader {
    /// `chunk` is in bytes and is rounded up to a multiple of 16; see [`UPLOAD_CHUNK`].
    pub fn new(gpu: &Arc<Gpu>, chunk: u64) -> Self {
        let most = gpu.caps.limits.max_buffer_size / 16 * 16;
        let chunk = chunk.clamp(16, 1 << 30).next_multiple_of(16).min(most);
        Uploader { gpu: gpu.clone(), ring: Ring::new(chunk, RING), scratch: Vec::new(), last: None }
    }

    /// Waits until everything is on the device, which frees the staging buffers.
    ///
    /// # Errors
    /// `Device`, `DeviceLost`.
    pub async fn finish(mut self) -> Result<()> {
        match self.last.take() {
            Some(last) => self.gpu.wait("uploading", last).await,
            None => Ok(()),
        }
    }

    /// Copies `bytes` to `offset` (a multiple of 4) of `buffer`.
    ///
    /// # Errors
    /// `Input` for a range outside the buffer or an end inside a word that
    /// is not the buffer's last; `OutOfMemory`, `Device`, `DeviceLost`.
    pub async fn upload(&mut self, buffer: &Buffer, offset: u64, bytes: &[u8]) -> Result<()> {
        check_write(buffer, offset, bytes.len() as u64)?;
        let total = bytes.len() as u64;
        for range in chunks(total, self.ring.size) {
            let part = &bytes[range.start as usize..range.end as usize];
            let slot = self.ring.take(&self.gpu).await?;
            slot.fill(part.len() as u64, |view| copy_padded(view, part))?;
            self.send(slot, buffer, offset, &range)?;
        }
        Ok(())
    }

    /// Uploads `total` bytes that `fill` produces chunk by chunk.
    ///
    /// `fill` gets the range of the whole it is to write (starting on a
    /// multiple of 16) and the bytes to write it into; what they held before
    /// is unspecified. `progress` gets the bytes done and the total after
    /// each chunk; its error cancels the upload.
    ///
    /// # Errors
    /// As [`Uploader::upload`], and whatever `fill` and `progress` return.
    pub async fn upload_with(
        &mut self,
        buffer: &Buffer,
        offset: u64,
        total: u64,
        mut fill: impl FnMut(Range<u64>, &mut [u8]) -> Result<()>,
        mut progress: impl FnMut(u64, u64) -> Result<()>,
    ) -> Result<()> {
        check_write(buffer, offset, total)?;
        for range in chunks(total, self.ring.size) {
            // Mapped memory may be slow to read and partial writes to it slow
            // too, so the chunk is made in ordinary memory first.
            self.scratch.resize((range.end - range.start) as usize, 0);
            fill(range.clone(), &mut self.scratch)?;
            let slot = self.ring.take(&self.gpu).await?;
            slot.fill(self.scratch.len() as u64, |view| copy_padded(view, &self.scratch))?;
            self.send(slot, buffer, offset, &range)?;
            progress(range.end, total)?;
        }
        Ok(())
    }

    fn send(&mut self, slot: Slot, buffer: &Buffer, offset: u64, range: &Range<u64>) -> Result<()> {
        let mut encoder = self.gpu.encoder("upload");
        let words = (range.end - range.start).next_multiple_of(4);
        slot.send(&mut encoder, |encoder, staging| {
            encoder.copy_buffer_to_buffer(staging, 0, buffer.raw(), offset + range.start, words);
        });
        self.last = Some(self.gpu.submit("uploading", encoder)?);
        Ok(())
    }
}

/// Consecutive ranges of at most `size` that cover `0..total`.
fn chunks(total: u64, size: u64) -> impl Iterator<Item = Range<u64>> {
    (0..total.div_ceil(size)).map(move |i| i * size..((i + 1) * size).min(total))
}

/// Copies `bytes` and zeroes the rest of the last word.
fn copy_padded(view: wgpu::WriteOnly<'_, [u8]>, bytes: &[u8]) {
    let (mut body, mut rest) = view.split_at(bytes.len());
    body.copy_from_slice(bytes);
    rest.fill(0);
}

/// The staging buffers of steps. Writers that take turns share them.
#[derive(Debug, Clone)]
pub(crate) struct StepRing(Arc<Mutex<Arc<Ring>>>);

impl StepRing {
    /// Buffers of `capacity` bytes to start with.
    pub(crate) fn new(capacity: u64) -> Self {
        let size = capacity.max(1).next_multiple_of(super::memory::SIZE_STEP);
        StepRing(Arc::new(Mutex::new(Ring::new(size, RING))))
    }

    /// Buffers for steps of `total` bytes, of at least `piece` and at most `most`.
    fn of(&self, piece: u64, total: u64, most: u64) -> Arc<Ring> {
        let mut ring = lock(&self.0);
        if piece > ring.size {
            // An eighth more at most, so that steps that grow bit by bit do not each
            // make new buffers.
            let grain = piece.checked_next_power_of_two().unwrap_or(piece) / 8;
            let size = piece.next_multiple_of(grain.max(super::memory::SIZE_STEP));
            let count = if piece < total { PIECE_RING } else { RING };
            *ring = Ring::new(size.min(most), count);
        }
        ring.clone()
    }
}

/// The small writes of a step: inputs and parameters, gathered on the host
/// and copied with one staging buffer in the step's own submission.
#[derive(Debug)]
pub struct StepWriter {
    gpu: Arc<Gpu>,
    ring: StepRing,
    /// The most bytes of a staging buffer.
    most: u64,
    bytes: Vec<u8>,
    copies: Vec<(Buffer, u64, Range<u64>)>,
}

impl StepWriter {
    /// `capacity` is the bytes of a step to start with; it grows when a step
    /// has more, which costs new staging buffers once.
    pub fn new(gpu: &Arc<Gpu>, capacity: u64) -> Self {
        StepWriter::sharing(gpu, StepRing::new(capacity))
    }

    /// As [`StepWriter::new`], with staging buffers that others have as well.
    pub(crate) fn sharing(gpu: &Arc<Gpu>, ring: StepRing) -> Self {
        let most = gpu.caps.limits.max_buffer_size;
        StepWriter { gpu: gpu.clone(), ring, most, bytes: Vec::new(), copies: Vec::new() }
    }

    /// From now on staging buffers have at most `bytes`, those that there are apart:
    /// what is more goes in pieces.
    pub fn limit(&mut self, bytes: u64) {
        let most = self.gpu.caps.limits.max_buffer_size;
        self.most = bytes.next_multiple_of(super::memory::SIZE_STEP).clamp(16, most);
    }

    /// Adds `bytes` for `offset` (a multiple of 4) of `buffer` to the step.
    ///
    /// # Errors
    /// `Input` as in [`Uploader::upload`].
    pub fn write(&mut self, buffer: &Buffer, offset: u64, bytes: &[u8]) -> Result<()> {
        self.write_with(buffer, offset, bytes.len(), |room| room.copy_from_slice(bytes))
    }

    /// Adds `len` bytes that `fill` writes; they are zero before.
    ///
    /// # Errors
    /// As [`StepWriter::write`].
    pub fn write_with(
        &mut self,
        buffer: &Buffer,
        offset: u64,
        len: usize,
        fill: impl FnOnce(&mut [u8]),
    ) -> Result<()> {
        check_write(buffer, offset, len as u64)?;
        if len == 0 {
            return Ok(());
        }
        let start = self.bytes.len();
        self.bytes.resize(start + len.next_multiple_of(4), 0);
        fill(&mut self.bytes[start..start + len]);
        let source = start as u64..self.bytes.len() as u64;
        // Writes that continue each other become one copy.
        if let Some((last, at, range)) = self.copies.last_mut()
            && last.same(buffer)
            && *at + (range.end - range.start) == offset
        {
            range.end = source.end;
        } else {
            self.copies.push((buffer.clone(), offset, source));
        }
        Ok(())
    }

    /// Records the copies of all writes since the last call at this point of
    /// `encoder`, and starts the next step. Waits only when three earlier
    /// steps are still under way, or when there is much to write: that goes in pieces,
    /// for which `encoder` is submitted and begun anew.
    ///
    /// # Errors
    /// `OutOfMemory`, `Device`, `DeviceLost`.
    pub async fn record(&mut self, encoder: &mut wgpu::CommandEncoder) -> Result<()> {
        let recorded = self.record_all(encoder).await;
        self.clear();
        recorded
    }

    /// Forgets the writes of a step that is given up.
    pub fn clear(&mut self) {
        self.bytes.clear();
        self.copies.clear();
    }

    async fn record_all(&mut self, encoder: &mut wgpu::CommandEncoder) -> Result<()> {
        if self.copies.is_empty() {
            return Ok(());
        }
        let total = self.bytes.len() as u64;
        let piece = total.min(total.div_ceil(PIECES).max(LEAST_PIECE)).min(self.most);
        let ring = self.ring.of(piece, total, self.most);
        for piece in chunks(total, ring.size) {
            let slot = ring.take(&self.gpu).await?;
            let bytes = &self.bytes[piece.start as usize..piece.end as usize];
            slot.fill(bytes.len() as u64, |mut view| view.slice(..).copy_from_slice(bytes))?;
            slot.send(encoder, |encoder, staging| self.copy_piece(encoder, staging, &piece));
            if piece.end < total {
                let full = std::mem::replace(encoder, self.gpu.encoder("inputs"));
                self.gpu.submit("writing inputs", full)?;
            }
        }
        Ok(())
    }

    /// Records the copies of what lies in a piece of the step's bytes.
    fn copy_piece(
        &self,
        encoder: &mut wgpu::CommandEncoder,
        staging: &wgpu::Buffer,
        piece: &Range<u64>,
    ) {
        for (buffer, at, range) in &self.copies {
            let (start, end) = (range.start.max(piece.start), range.end.min(piece.end));
            if start < end {
                let (from, to) = (start - piece.start, at + (start - range.start));
                encoder.copy_buffer_to_buffer(staging, from, buffer.raw(), to, end - start);
            }
        }
    }
}

impl Gpu {
    /// Uploads `bytes` to `offset` of `buffer`; for many or large tensors
    /// keep an [`Uploader`].
    ///
    /// # Errors
    /// As [`Uploader::upload`].
    pub async fn upload(
        self: &Arc<Self>,
        buffer: &Buffer,
        offset: u64,
        bytes: &[u8],
    ) -> Result<()> {
        let chunk = UPLOAD_CHUNK.min(bytes.len() as u64);
        Uploader::new(self, chunk).upload(buffer, offset, bytes).await
    }

    fn alloc_mapped(&self, size: u64, label: &str) -> Result<Buffer> {
        self.alloc_as(Purpose::Staging, size, Purpose::Staging.usage(), label, true)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn chunks_cover_everything_once() {
        let all: Vec<_> = chunks(10, 4).collect();
        assert_eq!(all, [0..4, 4..8, 8..10]);
        assert_eq!(chunks(0, 4).count(), 0);
        assert_eq!(chunks(8, 4).collect::<Vec<_>>(), [0..4, 4..8]);
    }
}

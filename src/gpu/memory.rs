//! Device memory: buffers that account for themselves, and a pool for reuse.
//!
//! Every buffer has a [`Purpose`]. Short-lived ones go back to a pool when
//! dropped; weights and state are freed. A buffer from the pool is at most
//! 5 % larger than asked, and pooled bytes count towards the total, so the
//! peak is what the device really held.

use std::collections::BTreeMap;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex};

use super::Gpu;
use super::device::DeviceOptions;
use super::errors::lock;
use crate::error::{Error, Result};

/// What a buffer is for.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Purpose {
    /// Constants of the model.
    Weights,
    /// Values kept between steps, such as a KV cache.
    State,
    /// Values inside one step.
    Activations,
    /// Values the caller hands in.
    Inputs,
    /// Values the caller takes out.
    Outputs,
    /// Kernel parameters.
    Parameters,
    /// Buffers the host maps, for upload and read-back.
    Staging,
    /// Everything else that lives shortly.
    Scratch,
}

impl Purpose {
    /// All purposes, in the order of reports.
    pub const ALL: [Purpose; 8] = [
        Purpose::Weights,
        Purpose::State,
        Purpose::Activations,
        Purpose::Inputs,
        Purpose::Outputs,
        Purpose::Parameters,
        Purpose::Staging,
        Purpose::Scratch,
    ];

    /// The usage a buffer of this purpose normally has.
    pub fn usage(self) -> wgpu::BufferUsages {
        use wgpu::BufferUsages as U;
        match self {
            Purpose::Parameters => U::UNIFORM | U::COPY_DST,
            Purpose::Staging => U::MAP_WRITE | U::COPY_SRC,
            _ => U::STORAGE | U::COPY_SRC | U::COPY_DST,
        }
    }

    /// Whether freed buffers are kept for reuse. Weights and state are large
    /// and live long; staging buffers have their own rings.
    fn pooled(self) -> bool {
        !matches!(self, Purpose::Weights | Purpose::State | Purpose::Staging)
    }
}

/// Sizes are rounded up to this many bytes: enough for any offset alignment
/// and any vector load, and small beside a tensor.
pub const SIZE_STEP: u64 = 256;

const DEFAULT_POOL_BYTES: u64 = 32 << 20;

/// Device objects made so far. In a steady state none of these grows.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Counters {
    /// Buffers created on the device.
    pub buffers: u64,
    /// Allocations served from the pool instead.
    pub buffers_reused: u64,
    /// Bind groups created.
    pub bind_groups: u64,
    /// Pipelines compiled.
    pub pipelines: u64,
}

#[derive(Debug, Default)]
pub(crate) struct Counts {
    pub(crate) buffers: AtomicU64,
    pub(crate) buffers_reused: AtomicU64,
    pub(crate) bind_groups: AtomicU64,
    pub(crate) pipelines: AtomicU64,
}

/// Counts one more.
pub(crate) fn bump(count: &AtomicU64) {
    count.fetch_add(1, Ordering::Relaxed);
}

/// Bytes of device memory held, now and at most.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct MemoryReport {
    current: [u64; 8],
    asked: [u64; 8],
    peak: [u64; 8],
    /// Bytes of freed buffers kept for reuse.
    pub pooled: u64,
    /// All bytes held now, pooled ones included.
    pub total: u64,
    /// The most that `total` has been.
    pub total_peak: u64,
}

impl MemoryReport {
    /// Bytes in use for `purpose` now.
    pub fn current(&self, purpose: Purpose) -> u64 {
        self.current[purpose as usize]
    }

    /// As [`MemoryReport::current`], without what buffers have above the bytes that
    /// were asked for.
    pub fn asked(&self, purpose: Purpose) -> u64 {
        self.asked[purpose as usize]
    }

    /// The most bytes in use for `purpose` at any time.
    pub fn peak(&self, purpose: Purpose) -> u64 {
        self.peak[purpose as usize]
    }

    /// Bytes in use for all purposes now, without pooled ones.
    pub fn in_use(&self) -> u64 {
        self.current.iter().sum()
    }
}

#[derive(Debug, Default)]
struct Books {
    report: MemoryReport,
    /// Freed buffers by usage and size, both of which a new owner must match.
    free: BTreeMap<(u32, u64), Vec<wgpu::Buffer>>,
}

impl Books {
    fn take(&mut self, purpose: Purpose, size: u64) {
        let r = &mut self.report;
        let p = purpose as usize;
        r.current[p] += size;
        r.peak[p] = r.peak[p].max(r.current[p]);
        r.total += size;
        r.total_peak = r.total_peak.max(r.total);
    }

    fn give(&mut self, purpose: Purpose, size: u64) {
        let r = &mut self.report;
        r.current[purpose as usize] = r.current[purpose as usize].saturating_sub(size);
        r.total = r.total.saturating_sub(size);
    }

    /// A freed buffer of at least `size` and at most 5 % more.
    fn reuse(&mut self, usage: wgpu::BufferUsages, size: u64) -> Option<wgpu::Buffer> {
        let most = size.saturating_add(size / 20);
        let fits = (usage.bits(), size)..=(usage.bits(), most);
        let (key, list) = self.free.range_mut(fits).next()?;
        let key = *key;
        let buffer = list.pop();
        if list.is_empty() {
            self.free.remove(&key);
        }
        let freed = buffer.as_ref().map_or(0, wgpu::Buffer::size);
        self.report.pooled = self.report.pooled.saturating_sub(freed);
        self.report.total = self.report.total.saturating_sub(freed);
        buffer
    }

    fn trim(&mut self) {
        self.free.clear();
        self.report.total = self.report.total.saturating_sub(self.report.pooled);
        self.report.pooled = 0;
    }
}

/// The books of one device. Buffers hold it, so it outlives the [`Gpu`] if need be.
#[derive(Debug)]
pub(crate) struct Memory {
    books: Mutex<Books>,
    pool_bytes: u64,
    budget: Option<u64>,
}

impl Memory {
    pub(crate) fn new(options: &DeviceOptions) -> Arc<Self> {
        Arc::new(Memory {
            books: Mutex::default(),
            pool_bytes: options.pool_bytes.unwrap_or(DEFAULT_POOL_BYTES),
            budget: options.memory_budget,
        })
    }

    /// Enters `size` bytes into the books, freeing the pool first if the
    /// budget needs it.
    fn reserve(&self, purpose: Purpose, size: u64, what: impl FnOnce() -> String) -> Result<()> {
        let mut books = lock(&self.books);
        if let Some(budget) = self.budget {
            if books.report.total.saturating_add(size) > budget {
                books.trim();
            }
            let needed = books.report.total.saturating_add(size);
            if needed > budget {
                return Err(Error::Limit {
                    what: what(),
                    limit_name: "memory_budget".into(),
                    needed,
                    limit: budget,
                });
            }
        }
        books.take(purpose, size);
        Ok(())
    }

    fn release(&self, purpose: Purpose, usage: wgpu::BufferUsages, raw: &wgpu::Buffer, len: u64) {
        let size = raw.size();
        let mut books = lock(&self.books);
        books.give(purpose, size);
        let asked = &mut books.report.asked[purpose as usize];
        *asked = asked.saturating_sub(len);
        let room = self.pool_bytes.saturating_sub(books.report.pooled);
        if purpose.pooled() && size <= room {
            books.free.entry((usage.bits(), size)).or_default().push(raw.clone());
            books.report.pooled += size;
            books.report.total += size;
        }
    }
}

#[derive(Debug)]
struct Owned {
    raw: wgpu::Buffer,
    len: u64,
    purpose: Purpose,
    usage: wgpu::BufferUsages,
    memory: Arc<Memory>,
}

impl Drop for Owned {
    fn drop(&mut self) {
        self.memory.release(self.purpose, self.usage, &self.raw, self.len);
    }
}

/// A device buffer. Clones share it; the last one dropped returns the memory.
#[derive(Debug, Clone)]
pub struct Buffer(Arc<Owned>);

impl Buffer {
    /// The bytes asked for.
    #[allow(clippy::len_without_is_empty, reason = "no caller asks whether a buffer is empty")]
    pub fn len(&self) -> u64 {
        self.0.len
    }

    /// The bytes allocated: [`len`](Self::len) rounded up, or a little more from the pool.
    pub fn size(&self) -> u64 {
        self.0.raw.size()
    }

    /// What it is for.
    pub fn purpose(&self) -> Purpose {
        self.0.purpose
    }

    /// The `wgpu` buffer, for recording commands.
    pub fn raw(&self) -> &wgpu::Buffer {
        &self.0.raw
    }

    /// Whether both are the same memory.
    pub fn same(&self, other: &Buffer) -> bool {
        Arc::ptr_eq(&self.0, &other.0)
    }

    /// The same for buffers that are [`Buffer::same`], another one for others that are
    /// there at the same time.
    pub(crate) fn address(&self) -> usize {
        Arc::as_ptr(&self.0) as usize
    }
}

impl Gpu {
    /// Allocates a buffer of `bytes` (0 is allowed) for `purpose`.
    ///
    /// Its contents are zero when it is new and *unspecified* when it comes
    /// from the pool; only weights and state are never pooled.
    ///
    /// # Errors
    /// `Limit` over `max_buffer_size` or the memory budget, `OutOfMemory`
    /// when the device has no more, after freeing the pool.
    pub fn alloc(
        &self,
        purpose: Purpose,
        bytes: u64,
        usage: wgpu::BufferUsages,
        label: &str,
    ) -> Result<Buffer> {
        self.alloc_as(purpose, bytes, usage, label, false)
    }

    /// [`Gpu::alloc`], mapped for writing from the start if `mapped`.
    pub(crate) fn alloc_as(
        &self,
        purpose: Purpose,
        bytes: u64,
        usage: wgpu::BufferUsages,
        label: &str,
        mapped: bool,
    ) -> Result<Buffer> {
        let what = || format!("buffer '{label}'");
        let size = self.buffer_size(bytes, what)?;
        if purpose.pooled() {
            let mut books = lock(&self.memory.books);
            let reused = books.reuse(usage, size);
            reused.iter().for_each(|raw| books.take(purpose, raw.size()));
            drop(books);
            if let Some(raw) = reused {
                bump(&self.counts.buffers_reused);
                return Ok(self.own(raw, bytes, purpose, usage));
            }
        }
        if self.memory.reserve(purpose, size, what).is_err() {
            self.settle();
            self.memory.reserve(purpose, size, what)?;
        }
        let made = match self.create(size, usage, label, mapped) {
            Err(Error::OutOfMemory { .. }) => {
                self.trim();
                self.settle();
                self.create(size, usage, label, mapped)
            }
            other => other,
        };
        match made {
            Ok(raw) => Ok(self.own(raw, bytes, purpose, usage)),
            Err(error) => {
                lock(&self.memory.books).give(purpose, size);
                Err(error)
            }
        }
    }

    /// Lets go of what submissions under way still hold: staging buffers return
    /// and freed buffers are destroyed when the device is polled. Waits where
    /// waiting is possible, a little.
    fn settle(&self) {
        let timeout = Some(std::time::Duration::from_secs(10));
        self.poll(wgpu::PollType::Wait { submission_index: None, timeout });
    }

    /// Fails if `bytes` more than are in use now cannot fit: over the memory
    /// budget, or over all the memory the driver says there is. What fits here
    /// may still fail to be allocated: others use the device too.
    ///
    /// # Errors
    /// `Limit`, with `what` as the thing that needs it.
    pub fn check_room(&self, what: impl std::fmt::Display, bytes: u64) -> Result<()> {
        let needed = self.memory().in_use().saturating_add(bytes);
        let budget = self.options.memory_budget.map(|limit| ("memory_budget (bytes)", limit));
        let device = device_memory(&self.device).map(|limit| ("device memory (bytes)", limit));
        match budget.into_iter().chain(device).find(|(_, limit)| needed > *limit) {
            None => Ok(()),
            Some((name, limit)) => {
                Err(Error::Limit { what: what.to_string(), limit_name: name.into(), needed, limit })
            }
        }
    }

    /// `bytes` rounded up to an allocation size.
    fn buffer_size(&self, bytes: u64, what: impl FnOnce() -> String) -> Result<u64> {
        let limit = self.caps.limits.max_buffer_size;
        let rounded =
            |step: u64| bytes.max(4).checked_next_multiple_of(step).filter(|s| *s <= limit);
        rounded(SIZE_STEP).or_else(|| rounded(4)).ok_or_else(|| Error::Limit {
            what: what(),
            limit_name: "max_buffer_size".into(),
            needed: bytes,
            limit,
        })
    }

    fn create(
        &self,
        size: u64,
        usage: wgpu::BufferUsages,
        label: &str,
        mapped: bool,
    ) -> Result<wgpu::Buffer> {
        let raw = self.scope(format_args!("allocating buffer '{label}'"), size, |device| {
            device.create_buffer(&wgpu::BufferDescriptor {
                label: Some(label),
                size,
                usage,
                mapped_at_creation: mapped,
            })
        })?;
        bump(&self.counts.buffers);
        Ok(raw)
    }

    fn own(
        &self,
        raw: wgpu::Buffer,
        len: u64,
        purpose: Purpose,
        usage: wgpu::BufferUsages,
    ) -> Buffer {
        lock(&self.memory.books).report.asked[purpose as usize] += len;
        Buffer(Arc::new(Owned { raw, len, purpose, usage, memory: self.memory.clone() }))
    }

    /// Frees the pool, and the read-back buffers not in use.
    pub fn trim(&self) {
        self.reads.trim();
        lock(&self.memory.books).trim();
    }

    /// How much device memory is held, and was at most.
    pub fn memory(&self) -> MemoryReport {
        lock(&self.memory.books).report
    }

    /// Makes the peaks of [`memory`](Self::memory) start from now.
    pub fn reset_peaks(&self) {
        let report = &mut lock(&self.memory.books).report;
        report.peak = report.current;
        report.total_peak = report.total;
    }

    /// How many device objects were made so far.
    pub fn counters(&self) -> Counters {
        let c = &self.counts;
        let get = |n: &AtomicU64| n.load(Ordering::Relaxed);
        Counters {
            buffers: get(&c.buffers),
            buffers_reused: get(&c.buffers_reused),
            bind_groups: get(&c.bind_groups),
            pipelines: get(&c.pipelines),
        }
    }
}

/// Bytes of all memory that a device can use, its own and the host's. Only Vulkan
/// is asked: WebGPU has no such question.
#[cfg(any(target_os = "linux", target_os = "android", target_os = "windows"))]
fn device_memory(device: &wgpu::Device) -> Option<u64> {
    // SAFETY: the handles below are only asked questions, while the guard lives.
    let device = unsafe { device.as_hal::<wgpu::hal::api::Vulkan>() }?;
    let instance = device.shared_instance().raw_instance();
    let adapter = device.raw_physical_device();
    // SAFETY: the adapter is one of this instance's.
    let memory = unsafe { instance.get_physical_device_memory_properties(adapter) };
    let heaps = memory.memory_heaps.get(..memory.memory_heap_count as usize)?;
    Some(heaps.iter().fold(0, |sum: u64, heap| sum.saturating_add(heap.size)))
}

#[cfg(not(any(target_os = "linux", target_os = "android", target_os = "windows")))]
fn device_memory(_: &wgpu::Device) -> Option<u64> {
    None
}

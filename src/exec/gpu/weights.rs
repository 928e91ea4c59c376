//! Constants of a graph on a device, in the layout the shaders read.

use super::narrow::narrow;
use crate::error::{Error, Result};
use crate::exec::Progress;
use crate::gpu::{Buffer, Gpu, Purpose, UPLOAD_CHUNK, Uploader};
use crate::graph::{Graph, Source, ValueId};
use crate::kernels::interleave::{block_at, together};
use crate::quant::DeviceLayout;
use crate::tensor::{Bytes, Identity, Tensor};
use std::borrow::Cow;
use std::collections::{HashMap, HashSet};
use std::ops::Range;
use std::sync::{Arc, Mutex, PoisonError, Weak};

/// A constant on the device: one buffer with one or two regions, in bytes.
#[derive(Debug)]
pub(super) struct Weight {
    /// Keeps the host's bytes where they are: they tell weights apart.
    _source: Tensor,
    pub(super) buffer: Buffer,
    pub(super) body: (u64, u64),
    pub(super) head: (u64, u64),
}

/// The constants that nodes or outputs of a graph read.
#[derive(Debug, Default)]
pub(super) struct Weights {
    by_value: HashMap<ValueId, Arc<Weight>>,
    bytes: u64,
}

/// Constants smaller than this are not worth sharing. In bytes.
const LEAST_SHARED: usize = 1 << 10;

/// Constants on devices that sessions share: one that several graphs have (the
/// same memory on the host) is uploaded once, and freed when the last session
/// that uses it goes.
#[derive(Debug, Clone, Default)]
pub struct SharedWeights(Arc<Mutex<Uploaded>>);

/// By device and tensor.
type Uploaded = HashMap<(usize, Identity), Weak<Weight>>;

impl SharedWeights {
    fn find(&self, gpu: &Arc<Gpu>, tensor: &Tensor) -> Option<Arc<Weight>> {
        let shared = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        shared.get(&key(gpu, tensor)).and_then(Weak::upgrade)
    }

    fn keep(&self, gpu: &Arc<Gpu>, tensor: &Tensor, weight: &Arc<Weight>) {
        let mut shared = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        shared.retain(|_, weight| weight.strong_count() > 0);
        shared.insert(key(gpu, tensor), Arc::downgrade(weight));
    }
}

fn key(gpu: &Arc<Gpu>, tensor: &Tensor) -> (usize, Identity) {
    (Arc::as_ptr(gpu) as usize, Identity::of(tensor))
}

impl Weights {
    pub(super) fn get(&self, id: ValueId) -> Option<&Weight> {
        self.by_value.get(&id).map(Arc::as_ref)
    }

    /// Bytes of all buffers, those that other graphs have as well included.
    pub(super) fn device_bytes(&self) -> u64 {
        self.bytes
    }

    /// The bytes that [`Weights::upload`] will allocate for a graph.
    pub(super) fn bytes(
        gpu: &Arc<Gpu>,
        graph: &Graph,
        shared: Option<&SharedWeights>,
    ) -> Result<u64> {
        let mut sum = 0u64;
        for (_, _, tensor) in constants(graph) {
            if shared.is_some_and(|shared| shared.find(gpu, tensor).is_some()) {
                continue;
            }
            sum = sum.saturating_add(Regions::of(gpu, tensor)?.bytes());
        }
        Ok(sum)
    }

    /// Uploads all constants in bounded chunks.
    pub(super) async fn upload(
        gpu: &Arc<Gpu>,
        graph: &Graph,
        shared: Option<&SharedWeights>,
        progress: Progress<'_>,
    ) -> Result<Self> {
        let constants = constants(graph);
        let total: u64 = constants.iter().map(|(_, _, tensor)| tensor.bytes().len() as u64).sum();
        let mut uploader = Uploader::new(gpu, chunk(total));
        let (mut weights, mut done) = (Weights::default(), 0);
        for (id, name, tensor) in constants {
            let shared = shared.filter(|_| tensor.bytes().len() >= LEAST_SHARED);
            let weight = match shared.and_then(|shared| shared.find(gpu, tensor)) {
                Some(weight) => weight,
                None => {
                    let weight = Arc::new(upload_one(gpu, &mut uploader, name, tensor).await?);
                    if let Some(shared) = shared {
                        shared.keep(gpu, tensor, &weight);
                    }
                    weight
                }
            };
            weights.bytes += weight.buffer.size();
            weights.by_value.insert(id, weight);
            done += tensor.bytes().len() as u64;
            progress(done, total);
        }
        // The first run finds the memory that staging took.
        uploader.finish().await?;
        Ok(weights)
    }
}

/// The constants that nodes of a graph read.
fn constants(graph: &Graph) -> Vec<(ValueId, &str, &Tensor)> {
    let used: HashSet<ValueId> =
        graph.nodes().iter().flat_map(|node| node.inputs.iter().flatten().copied()).collect();
    let mut constants = Vec::new();
    for (i, value) in graph.values.iter().enumerate() {
        let id = ValueId(i as u32);
        if let Source::Constant(tensor) = &value.source
            && used.contains(&id)
        {
            constants.push((id, value.name.as_str(), tensor));
        }
    }
    constants
}

/// Where the regions of a constant lie in its buffer: start and length in bytes.
#[derive(Debug, Clone, Copy)]
struct Regions {
    body: (u64, u64),
    head: (u64, u64),
}

impl Regions {
    fn of(gpu: &Gpu, tensor: &Tensor) -> Result<Self> {
        let Some(layout) = split(tensor) else {
            let bytes = tensor.dtype().device_bytes(tensor.extents())? as u64;
            return Ok(Regions { body: (0, bytes), head: (0, 0) });
        };
        let blocks = tensor.len() / tensor.dtype().block_len();
        let (body, head) = (layout.body_bytes(blocks)? as u64, layout.head_bytes(blocks)? as u64);
        let align = u64::from(gpu.caps().storage_alignment()).max(256);
        Ok(Regions { body: (0, body), head: (body.next_multiple_of(align), head) })
    }

    fn bytes(&self) -> u64 {
        (self.body.0 + self.body.1).max(self.head.0 + self.head.1)
    }
}

/// The layout of a constant that is stored in two regions.
fn split(tensor: &Tensor) -> Option<DeviceLayout> {
    DeviceLayout::of(tensor.dtype()).filter(|_| tensor.dtype().is_quantised())
}

/// Bytes of one of the three staging buffers for so many bytes of weights: all
/// three together stay near a twentieth of them, very small models apart.
fn chunk(total: u64) -> u64 {
    const LEAST: u64 = 1 << 14;
    (total / 64).clamp(LEAST, UPLOAD_CHUNK).min(total)
}

async fn upload_one(
    gpu: &Arc<Gpu>,
    uploader: &mut Uploader,
    name: &str,
    tensor: &Tensor,
) -> Result<Weight> {
    let regions = Regions::of(gpu, tensor)?;
    let buffer = allocate(gpu, name, regions.bytes())?;
    if let Some(layout) = split(tensor) {
        let (body, head) = (layout.body_bytes_per_block, layout.head_bytes_per_block);
        let blocks = Blocks::of(gpu, tensor);
        repack(uploader, &buffer, regions.body, &blocks, body, &|from, to| {
            layout.repack_body(from, to)
        })
        .await?;
        repack(uploader, &buffer, regions.head, &blocks, head, &|from, to| {
            layout.repack_head(from, to)
        })
        .await?;
    } else if tensor.dtype().is_64bit_integer() {
        upload_narrowed(uploader, &buffer, name, tensor).await?;
    } else {
        upload_plain(uploader, &buffer, tensor.bytes()).await?;
    }
    Ok(Weight { _source: tensor.clone(), buffer, body: regions.body, head: regions.head })
}

/// Uploads bytes as they are, which may lie in pieces.
async fn upload_plain(uploader: &mut Uploader, buffer: &Buffer, bytes: &Bytes) -> Result<()> {
    if let Some(bytes) = bytes.in_one_piece() {
        return uploader.upload(buffer, 0, bytes).await;
    }
    let fill = |range: Range<u64>, out: &mut [u8]| {
        let end = (range.end as usize).min(bytes.len());
        let from = bytes.get(range.start as usize..end);
        let from = from.ok_or_else(|| Error::internal("uploading past the end of a constant"))?;
        let (now, rest) = out.split_at_mut(from.len());
        now.copy_from_slice(&from);
        rest.fill(0);
        Ok(())
    };
    let words = (bytes.len() as u64).next_multiple_of(4);
    uploader.upload_with(buffer, 0, words, fill, |_, _| Ok(())).await
}

/// Uploads 64-bit integers as the 32 bits that a device has of them.
async fn upload_narrowed(
    uploader: &mut Uploader,
    buffer: &Buffer,
    name: &str,
    tensor: &Tensor,
) -> Result<()> {
    let source: &[u8] = tensor.bytes();
    let fill = |range: Range<u64>, out: &mut [u8]| {
        let from = source.get(range.start as usize * 2..range.end as usize * 2);
        let from = from.ok_or_else(|| Error::internal("narrowing past the end of a constant"))?;
        narrow(&format!("constant '{name}'"), tensor.dtype(), from, out)
    };
    let bytes = source.len() as u64 / 2;
    uploader.upload_with(buffer, 0, bytes, fill, |_, _| Ok(())).await
}

/// From whole blocks of a file to a region's part of them.
type Convert<'a> = dyn Fn(&[u8], &mut [u8]) -> Result<()> + Sync + 'a;

/// The blocks of a weight in the order of the device.
struct Blocks<'a> {
    source: &'a Bytes,
    /// Bytes of one.
    size: usize,
    count: usize,
    /// How many rows take turns, and the blocks of a row.
    together: u64,
    per_row: u64,
}

impl<'a> Blocks<'a> {
    fn of(gpu: &Gpu, tensor: &'a Tensor) -> Self {
        let (dtype, extents) = (tensor.dtype(), tensor.extents());
        let source = tensor.bytes();
        let width = extents.last().copied().unwrap_or(1);
        let extents: Vec<u64> = extents.iter().map(|&extent| extent as u64).collect();
        Blocks {
            source,
            size: dtype.block_bytes(),
            count: source.len() / dtype.block_bytes(),
            together: together(gpu.caps(), dtype, &extents),
            per_row: (width / dtype.block_len()) as u64,
        }
    }

    /// A run of blocks. `ordered` is where those are put together that are not so in the
    /// file.
    fn run<'b>(&'b self, run: Range<usize>, ordered: &'b mut Vec<u8>) -> Option<Cow<'b, [u8]>> {
        if self.together == 1 {
            return self.source.get(run.start * self.size..run.end * self.size);
        }
        ordered.clear();
        for at in run {
            let block = block_at(at as u64, self.together, self.per_row) as usize;
            let block = self.source.get(block * self.size..(block + 1) * self.size)?;
            ordered.extend_from_slice(&block);
        }
        Some(Cow::Borrowed(ordered))
    }
}

/// Uploads one region: `per_block` bytes of it come from each block. Chunks may
/// start inside a block, so whole blocks are repacked and the part cut out.
async fn repack(
    uploader: &mut Uploader,
    buffer: &Buffer,
    (offset, bytes): (u64, u64),
    blocks: &Blocks<'_>,
    per_block: usize,
    convert: &Convert<'_>,
) -> Result<()> {
    // Where 2-byte heads share words, the last one may stand alone: regions are
    // whole words.
    let region = |blocks: usize| (blocks * per_block).next_multiple_of(4);
    let (mut whole, mut ordered) = (Vec::new(), Vec::new());
    let mut fill = |range: Range<u64>, out: &mut [u8]| {
        let first = range.start as usize / per_block;
        let last = (range.end as usize).div_ceil(per_block).min(blocks.count);
        let from = blocks.run(first..last, &mut ordered);
        let from = from.ok_or_else(|| Error::internal("repacking past the end of a weight"))?;
        whole.clear();
        whole.resize(region(last - first), 0);
        convert(&from, &mut whole)?;
        let skip = range.start as usize - first * per_block;
        let available = (whole.len() - skip).min(out.len());
        out[..available].copy_from_slice(&whole[skip..skip + available]);
        out[available..].fill(0);
        Ok(())
    };
    uploader.upload_with(buffer, offset, bytes, &mut fill, &mut |_, _| Ok(())).await
}

fn allocate(gpu: &Arc<Gpu>, name: &str, bytes: u64) -> Result<Buffer> {
    gpu.alloc(Purpose::Weights, bytes, Purpose::Weights.usage(), name)
}

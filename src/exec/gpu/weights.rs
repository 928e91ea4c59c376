//! Constants of a graph on a device, in the layout the shaders read.

use super::narrow::narrow;
use crate::error::{Error, Result};
use crate::exec::Progress;
use crate::gpu::{Buffer, Gpu, Purpose, UPLOAD_CHUNK, Uploader};
use crate::graph::{Graph, Source, ValueId};
use crate::quant::DeviceLayout;
use crate::tensor::Tensor;
use std::collections::{HashMap, HashSet};
use std::sync::Arc;

/// A constant on the device: one buffer with one or two regions, in bytes.
#[derive(Debug)]
pub(super) struct Weight {
    pub(super) buffer: Buffer,
    pub(super) body: (u64, u64),
    pub(super) head: (u64, u64),
}

/// The constants that nodes or outputs of a graph read.
#[derive(Debug, Default)]
pub(super) struct Weights {
    by_value: HashMap<ValueId, Weight>,
}

impl Weights {
    pub(super) fn get(&self, id: ValueId) -> Option<&Weight> {
        self.by_value.get(&id)
    }

    /// Uploads all constants in bounded chunks.
    pub(super) async fn upload(
        gpu: &Arc<Gpu>,
        graph: &Graph,
        progress: Progress<'_>,
    ) -> Result<Self> {
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
        let total: u64 = constants.iter().map(|(_, _, tensor)| tensor.bytes().len() as u64).sum();
        let mut uploader = Uploader::new(gpu, chunk(total));
        let (mut weights, mut done) = (Weights::default(), 0);
        for (id, name, tensor) in constants {
            let weight = upload_one(gpu, &mut uploader, name, tensor).await?;
            weights.by_value.insert(id, weight);
            done += tensor.bytes().len() as u64;
            progress(done, total);
        }
        Ok(weights)
    }
}

/// Bytes of one of the three staging buffers for so many bytes of weights: all
/// three together stay near a twentieth of them, small models apart.
fn chunk(total: u64) -> u64 {
    const LEAST: u64 = 1 << 20;
    (total / 64).clamp(LEAST, UPLOAD_CHUNK).min(total)
}

async fn upload_one(
    gpu: &Arc<Gpu>,
    uploader: &mut Uploader,
    name: &str,
    tensor: &Tensor,
) -> Result<Weight> {
    let Some(layout) = DeviceLayout::of(tensor.dtype()).filter(|_| tensor.dtype().is_quantised())
    else {
        let bytes = tensor.dtype().device_bytes(tensor.extents())? as u64;
        let buffer = allocate(gpu, name, bytes)?;
        if tensor.dtype().is_64bit_integer() {
            upload_narrowed(uploader, &buffer, name, tensor).await?;
        } else {
            uploader.upload(&buffer, 0, tensor.bytes()).await?;
        }
        return Ok(Weight { buffer, body: (0, bytes), head: (0, 0) });
    };
    let blocks = tensor.len() / tensor.dtype().block_len();
    let (body, head) = (layout.body_bytes(blocks)? as u64, layout.head_bytes(blocks)? as u64);
    let align = u64::from(gpu.caps().storage_alignment()).max(256);
    let head_start = body.next_multiple_of(align);
    let buffer = allocate(gpu, name, head_start + head)?;
    let source: &[u8] = tensor.bytes();
    repack(
        uploader,
        &buffer,
        (0, body),
        source,
        tensor,
        layout.body_bytes_per_block,
        &|from, to| layout.repack_body(from, to),
    )
    .await?;
    let per_block = layout.head_bytes_per_block;
    repack(uploader, &buffer, (head_start, head), source, tensor, per_block, &|from, to| {
        layout.repack_head(from, to)
    })
    .await?;
    Ok(Weight { buffer, body: (0, body), head: (head_start, head) })
}

/// Uploads 64-bit integers as the 32 bits that a device has of them.
async fn upload_narrowed(
    uploader: &mut Uploader,
    buffer: &Buffer,
    name: &str,
    tensor: &Tensor,
) -> Result<()> {
    let source: &[u8] = tensor.bytes();
    let fill = |range: std::ops::Range<u64>, out: &mut [u8]| {
        let from = source.get(range.start as usize * 2..range.end as usize * 2);
        let from = from.ok_or_else(|| Error::internal("narrowing past the end of a constant"))?;
        narrow(&format!("constant '{name}'"), tensor.dtype(), from, out)
    };
    let bytes = source.len() as u64 / 2;
    uploader.upload_with(buffer, 0, bytes, fill, |_, _| Ok(())).await
}

/// From whole blocks of a file to a region's part of them.
type Convert<'a> = dyn Fn(&[u8], &mut [u8]) -> Result<()> + Sync + 'a;

/// Uploads one region: `per_block` bytes of it come from each block. Chunks may
/// start inside a block, so whole blocks are repacked and the part cut out.
async fn repack(
    uploader: &mut Uploader,
    buffer: &Buffer,
    (offset, bytes): (u64, u64),
    source: &[u8],
    tensor: &Tensor,
    per_block: usize,
    convert: &Convert<'_>,
) -> Result<()> {
    let block_bytes = tensor.dtype().block_bytes();
    let blocks = source.len() / block_bytes;
    // Where 2-byte heads share words, the last one may stand alone: regions are
    // whole words.
    let region = |blocks: usize| (blocks * per_block).next_multiple_of(4);
    let mut whole = Vec::new();
    let mut fill = |range: std::ops::Range<u64>, out: &mut [u8]| {
        let first = range.start as usize / per_block;
        let last = (range.end as usize).div_ceil(per_block).min(blocks);
        let from = source.get(first * block_bytes..last * block_bytes);
        let from = from.ok_or_else(|| Error::internal("repacking past the end of a weight"))?;
        whole.clear();
        whole.resize(region(last - first), 0);
        convert(from, &mut whole)?;
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

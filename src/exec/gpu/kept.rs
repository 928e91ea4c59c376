//! Values that stay on the device from one run to the next.

use super::narrow::to_host;
use crate::error::Result;
use crate::gpu::errors::lock;
use crate::gpu::{Buffer, Gpu};
use crate::tensor::{DType, Tensor};
use std::sync::{Arc, Mutex};

/// A tensor on a device, as dense as one on the host. It has the buffer that it
/// was computed in for as long as no other run needs that: then it moves.
#[derive(Debug, Clone)]
pub(crate) struct DeviceTensor(Arc<Tenant>);

/// What is behind all clones of a [`DeviceTensor`].
#[derive(Debug)]
pub(super) struct Tenant {
    gpu: Arc<Gpu>,
    buffer: Mutex<Buffer>,
    bytes: u64,
    /// Bytes of staging memory that reading it may take.
    staging: u64,
    dtype: DType,
    extents: Vec<usize>,
}

impl DeviceTensor {
    /// A tensor in the first `bytes` of a buffer, which is read through so much staging
    /// memory.
    pub(super) fn new(
        gpu: Arc<Gpu>,
        (buffer, bytes, staging): (Buffer, u64, u64),
        (dtype, extents): (DType, Vec<usize>),
    ) -> Self {
        let buffer = Mutex::new(buffer);
        DeviceTensor(Arc::new(Tenant { gpu, buffer, bytes, staging, dtype, extents }))
    }

    pub(super) fn tenant(&self) -> &Arc<Tenant> {
        &self.0
    }

    /// Whether both are in the same memory.
    pub(crate) fn shares(&self, other: &DeviceTensor) -> bool {
        self.buffer().same(&other.buffer())
    }

    /// Bytes on the device.
    pub(crate) fn bytes(&self) -> u64 {
        self.0.bytes
    }

    pub(super) fn buffer(&self) -> Buffer {
        self.0.buffer()
    }

    /// The tensor on the host.
    ///
    /// # Errors
    /// If the device fails.
    pub(crate) async fn read(&self) -> Result<Tensor> {
        let Tenant { gpu, bytes, staging, dtype, extents, .. } = &*self.0;
        let (buffer, encoder) = (self.buffer(), gpu.encoder("read-back"));
        let ranges = [(&buffer, 0, *bytes)];
        let read = gpu
            .submit_and_read("reading back", (Vec::new(), encoder), &ranges, *staging, || Ok(()))
            .await?;
        let read = read.into_iter().next().unwrap_or_default();
        Tensor::new(*dtype, extents, to_host(*dtype, read))
    }
}

impl Tenant {
    pub(super) fn buffer(&self) -> Buffer {
        lock(&self.buffer).clone()
    }

    /// Records a copy to another buffer, which is the tensor's from then on.
    pub(super) fn move_to(&self, encoder: &mut wgpu::CommandEncoder, to: Buffer) {
        let mut buffer = lock(&self.buffer);
        let bytes = self.bytes.next_multiple_of(4);
        encoder.copy_buffer_to_buffer(buffer.raw(), 0, to.raw(), 0, bytes);
        *buffer = to;
    }

    pub(super) fn bytes(&self) -> u64 {
        self.bytes
    }
}

/// An input of a run.
#[derive(Debug, Clone, Copy)]
pub(crate) enum Given<'a> {
    /// On the host.
    Host(&'a Tensor),
    /// On the session's device.
    Device(&'a DeviceTensor),
    /// The same, and no later run reads it.
    Last(&'a DeviceTensor),
}

impl<'a> Given<'a> {
    /// The tensor, if it is on the device.
    pub(crate) fn on_device(&self) -> Option<&'a DeviceTensor> {
        match self {
            Given::Host(_) => None,
            Given::Device(tensor) | Given::Last(tensor) => Some(tensor),
        }
    }

    /// The same for a run that is not the last one.
    pub(crate) fn lasting(self) -> Self {
        match self {
            Given::Last(tensor) => Given::Device(tensor),
            other => other,
        }
    }
    /// Element type and extents.
    pub(crate) fn kind(&self) -> (DType, &[usize]) {
        match self {
            Given::Host(tensor) => (tensor.dtype(), tensor.extents()),
            Given::Device(tensor) | Given::Last(tensor) => (tensor.0.dtype, &tensor.0.extents),
        }
    }
}

/// A result of a run, where it was asked to be.
#[derive(Debug, Clone)]
pub(crate) enum Kept {
    /// On the host.
    Host(Tensor),
    /// On the session's device.
    Device(DeviceTensor),
}

impl Kept {
    /// The same as an input.
    pub(crate) fn given(&self) -> Given<'_> {
        match self {
            Kept::Host(tensor) => Given::Host(tensor),
            Kept::Device(tensor) => Given::Device(tensor),
        }
    }
}

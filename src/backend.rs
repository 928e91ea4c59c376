//! What computes: a device or the CPU.

use crate::error::{Error, Result};
use crate::gpu::{AdapterChoice, DeviceOptions, Gpu};
use std::str::FromStr;
use std::sync::Arc;

/// What computes.
#[derive(Debug, Clone)]
pub enum Backend {
    /// The CPU kernels of this crate.
    Cpu,
    /// An opened device.
    Gpu(Arc<Gpu>),
}

/// Which backend to use.
#[derive(Debug, Clone, Default)]
pub enum BackendChoice {
    /// `WGPU_ADAPTER_NAME` if it is set; else a discrete GPU, an integrated
    /// one, the CPU. Never a software adapter.
    #[default]
    Auto,
    /// The CPU kernels of this crate.
    Cpu,
    /// The adapter of this name or index.
    Adapter(AdapterChoice),
}

impl FromStr for BackendChoice {
    type Err = Error;

    /// `cpu`, `auto`, an adapter's index, or a part of its name.
    fn from_str(text: &str) -> Result<Self> {
        Ok(match text.trim() {
            "" => {
                return Err(Error::input(
                    "adapter",
                    "'cpu', 'auto', an index or a name",
                    "nothing",
                ));
            }
            "auto" => BackendChoice::Auto,
            "cpu" => BackendChoice::Cpu,
            other => BackendChoice::Adapter(match other.parse() {
                Ok(index) => AdapterChoice::Index(index),
                Err(_) => AdapterChoice::Name(other.into()),
            }),
        })
    }
}

impl Backend {
    /// Picks and opens a backend; the text says which one and why.
    ///
    /// # Errors
    /// [`Error::NoAdapter`] if an adapter is asked for that does not exist,
    /// or [`Error::Device`] if the driver does not open it.
    pub async fn open(choice: &BackendChoice, options: DeviceOptions) -> Result<(Self, String)> {
        let adapter = match choice {
            BackendChoice::Cpu => return Ok((Backend::Cpu, "CPU backend: asked for".into())),
            BackendChoice::Auto => AdapterChoice::Auto,
            BackendChoice::Adapter(adapter) => adapter.clone(),
        };
        let (gpu, why) = Gpu::open_picked(adapter, options).await?;
        Ok((gpu.map_or(Backend::Cpu, Backend::Gpu), why))
    }

    /// As [`Backend::open`], waiting for it.
    ///
    /// # Errors
    /// As [`Backend::open`].
    pub fn open_blocking(choice: &BackendChoice, options: DeviceOptions) -> Result<(Self, String)> {
        pollster::block_on(Self::open(choice, options))
    }

    /// Opens the same device again, the way back after it was lost; the CPU
    /// stays the CPU.
    ///
    /// # Errors
    /// [`Error::NoAdapter`] if the adapter is gone, or [`Error::Device`].
    pub async fn reopen(&self) -> Result<Self> {
        Ok(match self {
            Backend::Cpu => Backend::Cpu,
            Backend::Gpu(gpu) => Backend::Gpu(gpu.reopen().await?),
        })
    }

    /// The adapter's name, or `cpu`.
    pub fn name(&self) -> String {
        match self {
            Backend::Cpu => "cpu".into(),
            Backend::Gpu(gpu) => gpu.caps().name.clone(),
        }
    }

    /// Drives a future to its end: the blocking edge of the crate. The device
    /// is waited for where there is one.
    pub fn block_on<T>(&self, future: impl Future<Output = T>) -> T {
        match self {
            Backend::Cpu => pollster::block_on(future),
            Backend::Gpu(gpu) => gpu.block_on(future),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn choices_are_read() {
        let read = |text: &str| text.parse::<BackendChoice>();
        assert!(matches!(read("auto"), Ok(BackendChoice::Auto)));
        assert!(matches!(read("cpu"), Ok(BackendChoice::Cpu)));
        let index = read(" 3 ");
        assert!(matches!(index, Ok(BackendChoice::Adapter(AdapterChoice::Index(3)))), "{index:?}");
        let Ok(BackendChoice::Adapter(AdapterChoice::Name(name))) = read("RTX") else {
            panic!("a name is expected")
        };
        assert_eq!(name, "RTX");
        assert!(read(" ").is_err());
    }
}

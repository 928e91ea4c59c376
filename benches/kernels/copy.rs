//! The ceiling of memory: copies within the device.

use rayon::prelude::*;
use std::sync::Arc;
use std::time::{Duration, Instant};
use wginfer::Backend;
use wginfer::gpu::{Buffer, Gpu, Purpose};

/// One that fits many a cache, and one that fits few.
pub const SIZES: [(&str, u64); 2] = [("1MiB", 1 << 20), ("64MiB", 64 << 20)];

/// What copying so many bytes moves: each is read and written.
pub fn moved(bytes: u64) -> u64 {
    2 * bytes
}

/// Two pieces of memory on the device.
pub enum Copy {
    Cpu(Vec<u8>, Vec<u8>),
    Gpu(Arc<Gpu>, Buffer, Buffer),
}

impl Copy {
    /// Checked once: afterwards both hold the same bytes.
    pub fn new(backend: &Backend, bytes: u64) -> Self {
        let pattern: Vec<u8> = (0..bytes).map(|i| (i ^ i >> 8 ^ i >> 16) as u8).collect();
        let mut copy = match backend {
            Backend::Cpu => Copy::Cpu(pattern.clone(), vec![0; pattern.len()]),
            Backend::Gpu(gpu) => {
                let buffer = |name: &str| {
                    let usage = Purpose::Scratch.usage();
                    gpu.alloc(Purpose::Scratch, bytes, usage, name).expect("memory")
                };
                let (from, to) = (buffer("copy from"), buffer("copy to"));
                gpu.block_on(gpu.upload(&from, 0, &pattern)).expect("uploads");
                let zeros = vec![0; pattern.len()];
                gpu.block_on(gpu.upload(&to, 0, &zeros)).expect("uploads");
                Copy::Gpu(gpu.clone(), from, to)
            }
        };
        copy.run(1);
        assert!(copy.result() == pattern, "a copy within the device is wrong");
        copy
    }

    pub fn run(&mut self, times: u64) -> Duration {
        let begun = Instant::now();
        match self {
            Copy::Cpu(from, to) => {
                const PART: usize = 256 << 10;
                for _ in 0..times {
                    let parts = to.par_chunks_mut(PART).zip(from.par_chunks(PART));
                    parts.for_each(|(to, from)| to.copy_from_slice(from));
                    std::hint::black_box(&to);
                }
            }
            Copy::Gpu(gpu, from, to) => {
                let mut encoder = gpu.encoder("copy");
                for _ in 0..times {
                    let (from, to) = (from.raw(), to.raw());
                    encoder.copy_buffer_to_buffer(from, 0, to, 0, from.size());
                }
                let submission = gpu.submit("copying", encoder).expect("submits");
                gpu.block_on(gpu.wait("copying", submission)).expect("copies");
            }
        }
        begun.elapsed()
    }

    fn result(&self) -> Vec<u8> {
        match self {
            Copy::Cpu(_, to) => to.clone(),
            Copy::Gpu(gpu, _, to) => gpu.block_on(gpu.read(to, 0, to.len())).expect("reads"),
        }
    }
}

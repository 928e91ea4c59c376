//! The GPU room on every adapter of this machine: opening, limits, memory,
//! transfers, shaders, errors and recovery. Without an adapter there is
//! nothing to test, and one test says so by failing.

#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    reason = "a test that cannot go on fails"
)]

#[path = "../support/adapters.rs"]
mod found;
mod kernels;
mod open;
mod transfer;

use std::sync::{Arc, PoisonError, RwLock};

use wginfer::gpu::{
    Adapter, Buffer, DeviceOptions, Gpu, Purpose, ShaderRequest, StepWriter, adapters,
};
use wginfer::{Error, ErrorKind};

/// Held exclusively by the test that takes all memory, shared by the others.
static MEMORY: RwLock<()> = RwLock::new(());

#[test]
fn adapters_expected_are_here() {
    found::expected().unwrap_or_else(|what| panic!("{what}"));
}

#[test]
fn a_missing_adapter_is_a_failure() {
    let judge = |titles: &[&str], wanted, ci, none_allowed| {
        let titles: Vec<String> = titles.iter().map(ToString::to_string).collect();
        found::judge(&titles, wanted, ci, none_allowed).is_ok()
    };
    let both = ["llvmpipe (Vulkan, software)", "SwiftShader Device (Vulkan, software)"];
    assert!(judge(&both, "", false, false) && judge(&both, "llvmpipe, swiftshader", true, false));
    assert!(!judge(&both, "", true, false) && !judge(&both, "llvmpipe,RTX", false, false));
    assert!(!judge(&[], "", false, false) && judge(&[], "", false, true));
    assert!(!judge(&[], "llvmpipe", false, true));
}

/// Runs `test` on a device of every adapter, opened with `options`.
fn each(options: &DeviceOptions, test: impl Fn(&Adapter, Arc<Gpu>)) {
    let _shared = MEMORY.read().unwrap_or_else(PoisonError::into_inner);
    each_alone(options, test);
}

fn each_alone(options: &DeviceOptions, test: impl Fn(&Adapter, Arc<Gpu>)) {
    for adapter in &found::all() {
        eprintln!("on {}", adapter.info.title());
        let gpu = Gpu::open_blocking(adapter, options.clone()).unwrap();
        test(adapter, gpu);
    }
}

fn all() -> DeviceOptions {
    DeviceOptions::default()
}

fn storage(gpu: &Gpu, bytes: u64) -> Buffer {
    gpu.alloc(Purpose::Activations, bytes, Purpose::Activations.usage(), "test").unwrap()
}

/// `bytes` numbers that repeat with no period a chunk could hide.
fn pattern(bytes: usize) -> Vec<u8> {
    (0..bytes).map(|i| (i * 7 + i / 251) as u8).collect()
}

fn kind<T>(result: Result<T, Error>) -> ErrorKind {
    match result {
        Ok(_) => panic!("an error was expected"),
        Err(error) => {
            eprintln!("  {error}");
            error.kind()
        }
    }
}

const AFFINE: &str = "
struct Params { count: u32, scale: f32, shift: f32 }
@group(0) @binding(0) var<uniform> params: Params;
@group(0) @binding(1) var<storage, read> x: array<f32>;
@group(0) @binding(2) var<storage, read_write> y: array<f32>;
@compute @workgroup_size(64)
fn main(@builtin(global_invocation_id) id: vec3<u32>) {
    if id.x < params.count { y[id.x] = x[id.x] * params.scale + params.shift; }
}";

/// A model of one dispatch: everything a steady step reuses.
struct Affine {
    gpu: Arc<Gpu>,
    x: Buffer,
    y: Buffer,
    params: Buffer,
    pipeline: Arc<wginfer::gpu::Pipeline>,
    group: wginfer::gpu::BindGroup,
    writer: StepWriter,
    count: usize,
}

impl Affine {
    fn new(gpu: &Arc<Gpu>, count: usize) -> Self {
        let bytes = 4 * count as u64;
        let buffer = |purpose: Purpose| gpu.alloc(purpose, bytes, purpose.usage(), "xy").unwrap();
        let (x, y) = (buffer(Purpose::Inputs), buffer(Purpose::Outputs));
        let pipeline = gpu.pipeline(&ShaderRequest::from_source("test/affine", AFFINE)).unwrap();
        let params = gpu.params_buffer(&pipeline).unwrap();
        let named = [("x", (&x).into()), ("y", (&y).into()), ("params", (&params).into())];
        let group = gpu.bind(&pipeline, &named).unwrap();
        let writer = StepWriter::new(gpu, bytes + 16);
        Affine { gpu: gpu.clone(), x, y, params, pipeline, group, writer, count }
    }

    async fn step(&mut self, input: &[f32], scale: f32, shift: f32) -> Result<Vec<f32>, Error> {
        let gpu = self.gpu.clone();
        let members = &self.pipeline.reflection().params().unwrap().members;
        let offset = |name| members.iter().find(|m| m.name == name).unwrap().offset as usize;
        let (at_scale, at_shift) = (offset("scale"), offset("shift"));
        let count = self.count as u32;
        self.writer.write(&self.x, 0, bytemuck::cast_slice(input))?;
        self.writer.write_with(&self.params, 0, 12, |room| {
            room[..4].copy_from_slice(&count.to_le_bytes());
            room[at_scale..at_scale + 4].copy_from_slice(&scale.to_le_bytes());
            room[at_shift..at_shift + 4].copy_from_slice(&shift.to_le_bytes());
        })?;
        let mut encoder = gpu.encoder("step");
        self.writer.record(&mut encoder).await?;
        {
            let mut pass = encoder.begin_compute_pass(&Default::default());
            pass.set_pipeline(&self.pipeline.raw);
            pass.set_bind_group(0, self.group.raw(), &[]);
            pass.dispatch_workgroups(count.div_ceil(64), 1, 1);
        }
        let read = gpu.record_read(&mut encoder, &[(&self.y, 0, 4 * self.count as u64)])?;
        let submission = gpu.submit("running a step", encoder)?;
        let bytes = read.bytes(submission).await?.remove(0);
        Ok(bytemuck::pod_collect_to_vec(&bytes))
    }

    fn check(&mut self, scale: f32, shift: f32) {
        let input: Vec<f32> = (0..self.count).map(|i| i as f32 - 5.0).collect();
        let gpu = self.gpu.clone();
        let got = gpu.block_on(self.step(&input, scale, shift)).unwrap();
        // Small integers: exact whether or not the driver fuses.
        let expected: Vec<f32> = input.iter().map(|x| x * scale + shift).collect();
        assert_eq!(got, expected);
    }
}

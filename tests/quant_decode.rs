//! The weight decoders of `shaders/weights/`, run alone on every adapter,
//! give the bits that PyPI `gguf` gives (`scripts/make_quant_fixtures.py`).
//!
//! Each type is decoded every way its interface offers, and the parts of the
//! interface that fused kernels use put together again.

#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    reason = "a failure of the harness fails the test"
)]

#[path = "support/adapters.rs"]
mod adapters;
mod quant_fixtures;

use naga::valid::{Capabilities, ValidationFlags, Validator};
use quant_fixtures::{Fixture, compile, f32_bits};
use wginfer::DType;
use wginfer::quant::{DeviceLayout, WEIGHT_TYPES, decode};
use wgpu::util::DeviceExt;

/// Decodes one element in five ways. `n_elements` need not be a multiple of 8.
const KERNEL: &str = "
import package::weight::{BLOCK_LEN, GROUP_LEN, affine, decode8, decode8_at, element, quants8};
import package::common::eight::eight_element;

@group(0) @binding(0) var<storage, read_write> by_part: array<f32>;
@group(0) @binding(1) var<storage, read_write> by_index: array<f32>;
@group(0) @binding(2) var<storage, read_write> by_element: array<f32>;
@group(0) @binding(3) var<storage, read_write> by_quants: array<f32>;
@group(0) @binding(4) var<storage, read_write> by_packed: array<f32>;
@group(0) @binding(5) var<uniform> n_elements: u32;
@group(0) @binding(6) var<uniform> start: u32;

@compute @workgroup_size(64)
fn main(@builtin(global_invocation_id) id: vec3<u32>) {
    let i = id.x;
    if i >= n_elements {
        return;
    }
    let block = i / BLOCK_LEN;
    let part = (i % BLOCK_LEN) / 8u;
    by_part[i] = eight_element(decode8(block, part), i % 8u);
    by_element[i] = element(i);
    if i >= start {
        let first = start + (i - start) / 8u * 8u;
        by_index[i] = eight_element(decode8_at(first), (i - start) % 8u);
    } else {
        by_index[i] = element(i);
    }
    // The scale and offset of the group's first part serve the whole group.
    let first_part = part / (GROUP_LEN / 8u) * (GROUP_LEN / 8u);
    let scale = affine(block, first_part);
    let quant = eight_element(quants8(block, part), i % 8u);
    by_quants[i] = quant * scale.x + scale.y;
    @if(packed) {
        let bytes = package::weight::packed8(block, part);
        let word = select(bytes.x, bytes.y, (i & 4u) != 0u);
        by_packed[i] = f32(unpack4xI8(word)[i & 3u]) * scale.x + scale.y;
    }
    @else {
        by_packed[i] = by_quants[i];
    }
}
";

/// What the kernel's outputs are, in the order of its bindings.
const WAYS: [&str; 5] =
    ["decode8", "decode8_at", "element", "quants8 and affine", "packed8 and affine"];

struct Harness {
    device: wgpu::Device,
    queue: wgpu::Queue,
}

impl Harness {
    fn open(adapter: &wgpu::Adapter) -> Self {
        let (device, queue) =
            pollster::block_on(adapter.request_device(&wgpu::DeviceDescriptor::default())).unwrap();
        Harness { device, queue }
    }

    fn upload(&self, bytes: &[u8], usage: wgpu::BufferUsages) -> wgpu::Buffer {
        // An absent head still needs a buffer for the binding.
        let contents = if bytes.is_empty() { &[0; 4] } else { bytes };
        self.device.create_buffer_init(&wgpu::util::BufferInitDescriptor {
            label: None,
            contents,
            usage,
        })
    }

    /// Runs the kernel for one type; the bits of what it writes, in each of [`WAYS`].
    fn decode(&self, fixture: &Fixture, start: u32) -> [Vec<u32>; 5] {
        let layout = DeviceLayout::of(fixture.dtype).unwrap();
        let blocks = fixture.bytes.len() / fixture.dtype.block_bytes();
        let mut body = vec![0; layout.body_bytes(blocks).unwrap()];
        let mut head = vec![0; layout.head_bytes(blocks).unwrap()];
        layout.repack_body(&fixture.bytes, &mut body).unwrap();
        layout.repack_head(&fixture.bytes, &mut head).unwrap();

        let n = fixture.values.len();
        let storage = wgpu::BufferUsages::STORAGE;
        let outputs: [wgpu::Buffer; 5] = std::array::from_fn(|_| {
            self.upload(&vec![0xff; n * 4], storage | wgpu::BufferUsages::COPY_SRC)
        });
        let mut buffers: Vec<(u32, wgpu::Buffer)> = vec![
            (5, self.upload(&(n as u32).to_le_bytes(), wgpu::BufferUsages::UNIFORM)),
            (6, self.upload(&start.to_le_bytes(), wgpu::BufferUsages::UNIFORM)),
            (20, self.upload(&body, storage)),
        ];
        if layout.has_head() {
            buffers.push((21, self.upload(&head, storage)));
        }
        if layout.has_codebook() {
            buffers.push((24, self.upload(bytemuck::cast_slice(layout.codebook()), storage)));
        }
        let source = compile(&layout, KERNEL);
        let module = self.device.create_shader_module(wgpu::ShaderModuleDescriptor {
            label: Some(fixture.dtype.name()),
            source: wgpu::ShaderSource::Wgsl(source.into()),
        });
        let pipeline = self.device.create_compute_pipeline(&wgpu::ComputePipelineDescriptor {
            label: None,
            layout: None,
            module: &module,
            entry_point: Some("main"),
            compilation_options: Default::default(),
            cache: None,
        });
        let outputs_at = outputs.iter().zip(0u32..).map(|(b, i)| (i, b));
        let entries: Vec<_> = outputs_at
            .chain(buffers.iter().map(|(i, b)| (*i, b)))
            .map(|(binding, b)| wgpu::BindGroupEntry { binding, resource: b.as_entire_binding() })
            .collect();
        let group = self.device.create_bind_group(&wgpu::BindGroupDescriptor {
            label: None,
            layout: &pipeline.get_bind_group_layout(0),
            entries: &entries,
        });
        let mut encoder = self.device.create_command_encoder(&Default::default());
        {
            let mut pass = encoder.begin_compute_pass(&Default::default());
            pass.set_pipeline(&pipeline);
            pass.set_bind_group(0, &group, &[]);
            pass.dispatch_workgroups((n as u32).div_ceil(64), 1, 1);
        }
        self.queue.submit([encoder.finish()]);
        outputs.map(|b| self.read(&b))
    }

    fn read(&self, buffer: &wgpu::Buffer) -> Vec<u32> {
        let staging = self.device.create_buffer(&wgpu::BufferDescriptor {
            label: None,
            size: buffer.size(),
            usage: wgpu::BufferUsages::MAP_READ | wgpu::BufferUsages::COPY_DST,
            mapped_at_creation: false,
        });
        let mut encoder = self.device.create_command_encoder(&Default::default());
        encoder.copy_buffer_to_buffer(buffer, 0, &staging, 0, buffer.size());
        self.queue.submit([encoder.finish()]);
        staging.slice(..).map_async(wgpu::MapMode::Read, |result| result.unwrap());
        self.device.poll(wgpu::PollType::wait_indefinitely()).unwrap();
        bytemuck::pod_collect_to_vec(&staging.slice(..).get_mapped_range().unwrap())
    }
}

#[test]
fn the_host_decodes_every_type_exactly() {
    for dtype in WEIGHT_TYPES {
        let fixture = Fixture::read(dtype);
        let mut values = vec![f32::NAN; fixture.values.len()];
        decode(dtype, &fixture.bytes, &mut values).unwrap();
        assert_same(dtype, "decode", "the host", &f32_bits(&values), &f32_bits(&fixture.values));
    }
}

#[test]
fn every_decoder_is_valid_wgsl_with_its_own_bindings() {
    for dtype in WEIGHT_TYPES {
        let layout = DeviceLayout::of(dtype).unwrap();
        let source = compile(&layout, KERNEL);
        let module = naga::front::wgsl::parse_str(&source)
            .unwrap_or_else(|e| panic!("{dtype}: {}", e.emit_to_string(&source)));
        let mut validator = Validator::new(ValidationFlags::all(), Capabilities::empty());
        let info = validator.validate(&module).unwrap_or_else(|e| panic!("{dtype}: {e:?}"));
        let bound = |name: &str| {
            module.global_variables.iter().any(|(_, v)| v.name.as_deref() == Some(name))
        };
        assert!(bound("w_body"), "{dtype}");
        assert_eq!(bound("w_head"), layout.has_head(), "{dtype}");
        assert_eq!(bound("w_table"), layout.has_codebook(), "{dtype}");
        let constant = |name: &str| {
            module.constants.iter().any(|(_, c)| {
                c.name.as_deref() == Some(name)
                    && module.global_expressions[c.init]
                        == naga::Expression::Literal(naga::Literal::U32(
                            layout.shader_block_len() as u32
                        ))
            })
        };
        assert!(constant("BLOCK_LEN"), "{dtype}");
        translate(&module, &info);
    }
}

/// Translates to the languages of Vulkan, Metal and Direct3D.
fn translate(module: &naga::Module, info: &naga::valid::ModuleInfo) {
    use naga::back::{hlsl, msl, spv};
    spv::write_vec(module, info, &spv::Options::default(), None).unwrap();
    let options =
        msl::Options { lang_version: (2, 4), fake_missing_bindings: true, ..Default::default() };
    msl::write_string(module, info, &options, &Default::default()).unwrap();
    let mut text = String::new();
    let options = hlsl::Options { fake_missing_bindings: true, ..Default::default() };
    let pipeline = hlsl::PipelineOptions::default();
    hlsl::Writer::new(&mut text, &options, &pipeline).write(module, info, None).unwrap();
}

#[test]
fn every_adapter_decodes_every_type_exactly() {
    adapters::expected().unwrap_or_else(|what| panic!("{what}"));
    let instance = wgpu::Instance::new(wgpu::InstanceDescriptor::new_without_display_handle());
    let backends = wgpu::Backends::from_env().unwrap_or(wgpu::Backends::PRIMARY);
    let adapters = pollster::block_on(instance.enumerate_adapters(backends));
    for adapter in adapters {
        let info = adapter.get_info();
        eprintln!("{} ({}, {})", info.name, info.driver, info.driver_info);
        let harness = Harness::open(&adapter);
        for dtype in WEIGHT_TYPES {
            let fixture = Fixture::read(dtype);
            let expected = f32_bits(&fixture.values);
            // Plain types decode eight elements from any start.
            let starts = if dtype.is_quantised() { 0..1 } else { 0..4 };
            for start in starts {
                let outputs = harness.decode(&fixture, start);
                for (how, mut got) in WAYS.iter().zip(outputs) {
                    if how.ends_with("affine") {
                        // Adding an offset of 0 loses the sign of a zero.
                        keep_sign_of_zeros(&mut got, &expected);
                    }
                    assert_same(dtype, how, &info.name, &got, &expected);
                }
            }
        }
    }
}

/// Makes +0 of `got` -0 where that is expected.
fn keep_sign_of_zeros(got: &mut [u32], expected: &[u32]) {
    for (g, &e) in got.iter_mut().zip(expected) {
        if *g == 0 && e == 1 << 31 {
            *g = e;
        }
    }
}

fn assert_same(dtype: DType, how: &str, adapter: &str, got: &[u32], expected: &[u32]) {
    assert_eq!(got.len(), expected.len());
    let wrong: Vec<usize> = (0..got.len()).filter(|&i| got[i] != expected[i]).collect();
    if let Some(&i) = wrong.first() {
        panic!(
            "{dtype} {how} on {adapter}: {} of {} elements differ, the first at {i}: {} ({:#010x}) instead of {} ({:#010x})",
            wrong.len(),
            got.len(),
            f32::from_bits(got[i]),
            got[i],
            f32::from_bits(expected[i]),
            expected[i],
        );
    }
}

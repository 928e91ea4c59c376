//! Opening devices, picking adapters, errors and recovery.

use wginfer::gpu::{AdapterChoice, Picked, parse_features, pick};

use super::*;

#[test]
fn a_device_opens_with_all_the_adapter_has_and_computes() {
    each(&all(), |adapter, gpu| {
        let (info, caps) = (&adapter.info, gpu.caps());
        use wgpu::Features as F;
        assert_eq!(caps.limits, info.limits);
        assert_eq!(caps.f16, info.features.contains(F::SHADER_F16));
        assert_eq!(caps.subgroups, info.features.contains(F::SUBGROUP));
        assert_eq!(caps.coop, info.coop_shapes);
        assert!(caps.max_binding() >= 1 << 20 && caps.max_binding() < 1 << 31);
        assert!(caps.min_subgroup_size <= caps.max_subgroup_size);
        // `make test-narrow` asks lavapipe for vectors of 128 bits, with which it lists
        // matrices and refuses them.
        let narrow = std::env::var("LP_NATIVE_VECTOR_WIDTH").is_ok_and(|bits| bits == "128");
        if narrow && info.name.contains("llvmpipe") {
            assert_eq!(caps.max_subgroup_size, 4);
            assert!(!info.features.contains(F::EXPERIMENTAL_COOPERATIVE_MATRIX));
            assert!(caps.coop.is_empty());
        }
        Affine::new(&gpu, 1000).check(2.0, 3.0);
    });
}

#[test]
fn masked_features_are_absent_and_refused() {
    let half = "enable f16;
        @group(0) @binding(0) var<storage, read_write> y: array<f32>;
        @compute @workgroup_size(1) fn main() { y[0] = f32(f16(y[1])); }";
    let mask_features = parse_features("f16,subgroups,coop,timestamps").unwrap();
    each(&DeviceOptions { mask_features, ..all() }, |adapter, gpu| {
        let caps = gpu.caps();
        assert!(!caps.f16 && !caps.subgroups && !caps.timestamps && caps.coop.is_empty());
        assert!(!gpu.device().features().contains(wgpu::Features::SHADER_F16));
        let request = ShaderRequest::from_source("test/half", half);
        assert_eq!(kind(gpu.pipeline(&request)), ErrorKind::Unsupported);
        Affine::new(&gpu, 65).check(-1.0, 0.0);
        if adapter.info.features.contains(wgpu::Features::SHADER_F16) {
            let open = Gpu::open_blocking(adapter, all()).unwrap();
            assert!(open.pipeline(&request).is_ok());
        }
    });
}

#[test]
fn webgpu_minimum_limits_hold_and_higher_ones_are_refused() {
    each(&DeviceOptions::webgpu_minimum(), |adapter, gpu| {
        assert_eq!(gpu.caps().limits, wgpu::Limits::defaults());
        Affine::new(&gpu, 300).check(4.0, -2.0);
        let wide = "@group(0) @binding(0) var<storage, read_write> y: array<f32>;
            @compute @workgroup_size(257) fn main() { y[0] = 1.0; }";
        let error = gpu.pipeline(&ShaderRequest::from_source("test/wide", wide)).unwrap_err();
        assert_eq!(error.kind(), ErrorKind::Limit);
        assert!(error.to_string().contains("workgroup_size_x"), "{error}");
        let tile = "@group(0) @binding(0) var<storage, read_write> y: array<f32>;
            var<workgroup> tile: array<f32, 5000>;
            @compute @workgroup_size(64) fn main(@builtin(local_invocation_index) i: u32) {
                tile[i] = y[i]; workgroupBarrier(); y[i] = tile[63u - i]; }";
        let error = gpu.pipeline(&ShaderRequest::from_source("test/tile", tile)).unwrap_err();
        assert!(
            matches!(&error, Error::Limit { limit_name, needed: 20000, limit: 16384, .. }
                if limit_name == "max_compute_workgroup_storage_size"),
            "{error}"
        );

        let mut limits = adapter.info.limits.clone();
        limits.max_buffer_size += 1;
        let options = DeviceOptions { limits: Some(limits), ..all() };
        assert_eq!(kind(Gpu::open_blocking(adapter, options)), ErrorKind::Limit);
    });
}

#[test]
fn a_lost_device_is_typed_and_opens_again() {
    each(&all(), |_, gpu| {
        let mut affine = Affine::new(&gpu, 100);
        affine.check(2.0, 1.0);
        let y = affine.y.clone();
        gpu.lose_for_test();
        assert!(gpu.is_lost());
        let lost = ErrorKind::DeviceLost;
        assert_eq!(kind(gpu.check("looking")), lost);
        let usage = Purpose::State.usage();
        assert_eq!(kind(gpu.alloc(Purpose::State, 4, usage, "late")), lost);
        assert_eq!(kind(gpu.block_on(gpu.upload(&y, 0, &[1, 2, 3, 4]))), lost);
        assert_eq!(kind(gpu.block_on(gpu.read(&y, 0, 4))), lost);
        assert_eq!(kind(gpu.block_on(affine.step(&[0.0; 100], 1.0, 1.0))), lost);
        let other = ShaderRequest::from_source("test/affine2", AFFINE);
        assert_eq!(kind(gpu.pipeline(&other)), lost);

        let again = pollster::block_on(gpu.reopen()).unwrap();
        assert!(!again.is_lost());
        Affine::new(&again, 100).check(2.0, 1.0);
    });
}

#[test]
fn a_loss_while_reading_ends_the_wait() {
    each(&all(), |_, gpu| {
        let buffer = storage(&gpu, 1 << 20);
        let mut encoder = gpu.encoder("read");
        let read = gpu.record_read(&mut encoder, &[(&buffer, 0, 1 << 20)]).unwrap();
        let submission = gpu.submit("reading", encoder).unwrap();
        gpu.device().destroy();
        // Either the copy was done in time or the loss is reported; it never hangs.
        match gpu.block_on(read.bytes(submission)) {
            Ok(parts) => assert_eq!(parts[0].len(), 1 << 20),
            Err(error) => assert_eq!(error.kind(), ErrorKind::DeviceLost, "{error}"),
        }
        assert!(gpu.is_lost());
    });
}

#[test]
fn uncaught_errors_surface_at_the_next_check_once() {
    each(&all(), |_, gpu| {
        let buffer = storage(&gpu, 16);
        let mut encoder = gpu.encoder("bad copy");
        encoder.copy_buffer_to_buffer(buffer.raw(), 0, buffer.raw(), 0, 1 << 20);
        // Outside a scope: nobody catches what finishing reports.
        drop(encoder.finish());
        let error = gpu.check("running").unwrap_err();
        assert_eq!(error.kind(), ErrorKind::Device);
        assert!(error.to_string().contains("while running"), "{error}");
        gpu.check("running").unwrap();
        let mut encoder = gpu.encoder("bad copy");
        encoder.copy_buffer_to_buffer(buffer.raw(), 0, buffer.raw(), 0, 1 << 20);
        assert_eq!(kind(gpu.submit("copying", encoder)), ErrorKind::Device);
        gpu.check("running").unwrap();
    });
}

#[test]
fn software_adapters_are_picked_only_when_asked_for() {
    let all = pollster::block_on(adapters()).unwrap();
    for adapter in &all {
        let picked = pollster::block_on(pick(AdapterChoice::Index(adapter.info.index))).unwrap();
        let Picked::Gpu { adapter: got, why } = picked else { panic!("the CPU was picked") };
        assert_eq!(got.info.name, adapter.info.name);
        assert!(why.contains("asked for"), "{why}");
    }
    let none = pollster::block_on(pick(AdapterChoice::Name("no such adapter".into())));
    assert_eq!(kind(none), ErrorKind::NoAdapter);
    if std::env::var("WGPU_ADAPTER_NAME").is_err() && all.iter().all(|a| a.info.is_software) {
        let picked = pollster::block_on(pick(AdapterChoice::Auto)).unwrap();
        assert!(matches!(picked, Picked::Cpu { .. }));
    }
}

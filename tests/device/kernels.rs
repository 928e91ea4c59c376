//! Shaders and pipelines on a device, and bindings by name.

use wginfer::gpu::{BufferBinding, CoopScalar};

use super::*;

#[test]
fn bad_shaders_are_shader_errors_and_harmless() {
    each(&all(), |_, gpu| {
        let bad = ShaderRequest::from_source("test/bad", "@compute fn main() { x = 1; }");
        assert_eq!(kind(gpu.pipeline(&bad)), ErrorKind::Shader);
        assert_eq!(kind(gpu.pipeline(&ShaderRequest::new("no/such"))), ErrorKind::Shader);
        assert_eq!(gpu.counters().pipelines, 0);
        Affine::new(&gpu, 10).check(3.0, 0.0);
    });
}

#[test]
fn binding_by_name_is_checked() {
    let capped = DeviceOptions { max_binding: Some(1 << 20), ..all() };
    each(&capped, |_, gpu| {
        let pipeline = gpu.pipeline(&ShaderRequest::from_source("test/affine", AFFINE)).unwrap();
        let params = gpu.params_buffer(&pipeline).unwrap();
        let (x, y) = (storage(&gpu, 4096), storage(&gpu, 4096));
        let big = storage(&gpu, (1 << 20) + 4);
        assert_eq!(gpu.caps().max_binding(), 1 << 20);
        let bind = |x: BufferBinding<'_>, y: BufferBinding<'_>| {
            gpu.bind(&pipeline, &[("x", x), ("y", y), ("params", (&params).into())])
        };
        let part = |buffer, offset, size| BufferBinding { buffer, offset, size };
        bind((&x).into(), (&y).into()).unwrap();
        bind(part(&x, 256, 3), part(&y, 0, 0)).unwrap();
        bind(part(&big, 0, 1 << 20), (&y).into()).unwrap();
        assert_eq!(kind(bind((&big).into(), (&y).into())), ErrorKind::Limit);
        assert_eq!(kind(bind(part(&x, 4, 16), (&y).into())), ErrorKind::Input);
        assert_eq!(kind(bind(part(&x, 4096, 4), (&y).into())), ErrorKind::Input);
        assert_eq!(kind(bind(part(&x, 256, u64::MAX), (&y).into())), ErrorKind::Input);
        assert_eq!(kind(bind(part(&x, 0, 256), part(&x, 2048, 256))), ErrorKind::Shader);

        let named = |names: &[&str]| {
            let parts: Vec<_> = names.iter().map(|n| (*n, (&x).into())).collect();
            gpu.bind(&pipeline, &parts).unwrap_err()
        };
        for (names, part) in [
            (["x", "params"].as_slice(), "nothing is bound to 'y'"),
            (&["x", "y", "params", "z"], "no binding 'z'; there are params, x, y"),
            (&["x", "x", "y", "params"], "'x' is given twice"),
        ] {
            let error = named(names);
            assert!(error.to_string().contains(part), "{error}");
        }
        gpu.check("binding").unwrap();
    });
}

#[test]
fn a_shader_reads_where_it_writes_if_asked() {
    let source = "
@group(0) @binding(0) var<storage, read> x: array<f32>;
@group(0) @binding(1) var<storage, read_write> y: array<f32>;
@compute @workgroup_size(1) fn main(@builtin(global_invocation_id) id: vec3<u32>) {
    y[id.x] = 2.0 * x[id.x];
}";
    each(&all(), |_, gpu| {
        let mut request = ShaderRequest::from_source("test/double", source);
        request.writable = vec!["x".into()];
        let pipeline = gpu.pipeline(&request).unwrap();
        let both = storage(&gpu, 512);
        let values: Vec<f32> = (0..64).map(|i| i as f32).collect();
        gpu.block_on(gpu.upload(&both, 0, bytemuck::cast_slice(&values))).unwrap();
        let part = |offset| BufferBinding { buffer: &both, offset, size: 256 };
        let group = gpu.bind(&pipeline, &[("x", part(0)), ("y", part(256))]).unwrap();
        let mut encoder = gpu.encoder("double");
        {
            let mut pass = encoder.begin_compute_pass(&Default::default());
            pass.set_pipeline(&pipeline.raw);
            pass.set_bind_group(0, group.raw(), &[]);
            pass.dispatch_workgroups(64, 1, 1);
        }
        gpu.submit("doubling", encoder).unwrap();
        let bytes = gpu.block_on(gpu.read(&both, 256, 256)).unwrap();
        let doubled: Vec<f32> = values.iter().map(|v| 2.0 * v).collect();
        assert_eq!(bytemuck::pod_collect_to_vec::<u8, f32>(&bytes), doubled);
        assert!(gpu.bind(&pipeline, &[("x", part(0)), ("y", part(0))]).is_err());
        request.writable = vec!["z".into()];
        assert!(gpu.pipeline(&request).unwrap_err().to_string().contains("'z'"));
    });
}

#[test]
fn short_and_ragged_tensors_bind_to_vector_arrays() {
    let source = "
@group(0) @binding(0) var<storage, read> x: array<vec4<f32>>;
@group(0) @binding(1) var<storage, read_write> y: array<f32>;
@compute @workgroup_size(1) fn main() {
    y[0] = x[0].x; y[1] = x[arrayLength(&x) - 1u].x; y[2] = f32(arrayLength(&x));
}";
    each(&all(), |_, gpu| {
        let pipeline = gpu.pipeline(&ShaderRequest::from_source("test/ragged", source)).unwrap();
        let y = storage(&gpu, 12);
        for count in [1u32, 5, 64, 65] {
            let x = storage(&gpu, 4 * u64::from(count));
            let values: Vec<f32> = (0..count).map(|i| i as f32 + 1.0).collect();
            gpu.block_on(gpu.upload(&x, 0, bytemuck::cast_slice(&values))).unwrap();
            let group = gpu.bind(&pipeline, &[("x", (&x).into()), ("y", (&y).into())]).unwrap();
            let mut encoder = gpu.encoder("ragged");
            {
                let mut pass = encoder.begin_compute_pass(&Default::default());
                pass.set_pipeline(&pipeline.raw);
                pass.set_bind_group(0, group.raw(), &[]);
                pass.dispatch_workgroups(1, 1, 1);
            }
            gpu.submit("running", encoder).unwrap();
            let got = gpu.block_on(gpu.read(&y, 0, 12)).unwrap();
            let vectors = count.div_ceil(4);
            let expected = [1.0, (4 * (vectors - 1) + 1) as f32, vectors as f32];
            assert_eq!(bytemuck::pod_collect_to_vec::<u8, f32>(&got), expected);
        }
    });
}

#[test]
fn optional_features_run_where_the_adapter_has_them() {
    each(&all(), |_, gpu| {
        let caps = gpu.caps().clone();
        if caps.coop_shape(8, 8, 8, CoopScalar::F16, CoopScalar::F32).is_some() {
            cooperative_product(&gpu);
        }
        if caps.immediates {
            immediates(&gpu);
        }
    });
}

/// C = A * B with 8x8 tiles; A is a shift, so the answer is B's rows moved.
fn cooperative_product(gpu: &Arc<Gpu>) {
    let source = "
enable f16;
enable wgpu_cooperative_matrix;
@group(0) @binding(0) var<storage, read> a: array<f16>;
@group(0) @binding(1) var<storage, read> b: array<f16>;
@group(0) @binding(2) var<storage, read_write> c: array<f32>;
@compute @workgroup_size(32) fn main() {
    let x = coopLoadT<coop_mat8x8<f16, A>>(&a[0], 8u);
    let y = coopLoadT<coop_mat8x8<f16, B>>(&b[0], 8u);
    var z = coopLoadT<coop_mat8x8<f32, C>>(&c[0], 8u);
    z = coopMultiplyAdd(x, y, z);
    coopStoreT(z, &c[0], 8u);
}";
    let size = gpu.caps().max_subgroup_size;
    let source = source.replace("workgroup_size(32)", &format!("workgroup_size({size})"));
    let pipeline = gpu.pipeline(&ShaderRequest::from_source("test/coop", source)).unwrap();
    let half = |v: f32| half::f16::from_f32(v).to_le_bytes();
    let cells = || (0..8).flat_map(|r| (0..8).map(move |c| (r, c)));
    let shift: Vec<u8> =
        cells().flat_map(|(r, c)| half(f32::from(u8::from(c == (r + 1) % 8)))).collect();
    let values: Vec<u8> = cells().flat_map(|(r, c)| half((8 * r + c) as f32)).collect();
    let (a, b, c) = (storage(gpu, 128), storage(gpu, 128), storage(gpu, 256));
    gpu.block_on(gpu.upload(&a, 0, &shift)).unwrap();
    gpu.block_on(gpu.upload(&b, 0, &values)).unwrap();
    gpu.block_on(gpu.upload(&c, 0, &[0; 256])).unwrap();
    let named = [("a", (&a).into()), ("b", (&b).into()), ("c", (&c).into())];
    let group = gpu.bind(&pipeline, &named).unwrap();
    let mut encoder = gpu.encoder("coop");
    {
        let mut pass = encoder.begin_compute_pass(&Default::default());
        pass.set_pipeline(&pipeline.raw);
        pass.set_bind_group(0, group.raw(), &[]);
        pass.dispatch_workgroups(1, 1, 1);
    }
    gpu.submit("multiplying", encoder).unwrap();
    let got = gpu.block_on(gpu.read(&c, 0, 256)).unwrap();
    let expected: Vec<f32> = cells().map(|(r, c)| (8 * ((r + 1) % 8) + c) as f32).collect();
    assert_eq!(bytemuck::pod_collect_to_vec::<u8, f32>(&got), expected);
}

fn immediates(gpu: &Arc<Gpu>) {
    let source = "
struct Step { value: f32, index: u32 }
var<immediate> step: Step;
@group(0) @binding(0) var<storage, read_write> y: array<f32>;
@compute @workgroup_size(1) fn main() { y[step.index] = step.value; }";
    let pipeline = gpu.pipeline(&ShaderRequest::from_source("test/immediate", source)).unwrap();
    assert_eq!(pipeline.reflection().immediates[1].offset, 4);
    let y = storage(gpu, 16);
    let group = gpu.bind(&pipeline, &[("y", (&y).into())]).unwrap();
    let mut encoder = gpu.encoder("immediates");
    {
        let mut pass = encoder.begin_compute_pass(&Default::default());
        pass.set_pipeline(&pipeline.raw);
        pass.set_bind_group(0, group.raw(), &[]);
        for index in 0..4u32 {
            let mut bytes = [0; 8];
            bytes[..4].copy_from_slice(&(10.0 * index as f32).to_le_bytes());
            bytes[4..].copy_from_slice(&index.to_le_bytes());
            pass.set_immediates(0, &bytes);
            pass.dispatch_workgroups(1, 1, 1);
        }
    }
    gpu.submit("running", encoder).unwrap();
    let got = gpu.block_on(gpu.read(&y, 0, 16)).unwrap();
    assert_eq!(bytemuck::pod_collect_to_vec::<u8, f32>(&got), [0.0, 10.0, 20.0, 30.0]);
}

#[test]
fn every_half_is_widened_exactly_in_both_ways() {
    let source = "
import package::common::f16::{half_to_f32, half2_to_f32, half4_to_f32, word_to_half2, words_to_half4};
@group(0) @binding(0) var<storage, read> x: array<u32>;
@group(0) @binding(1) var<storage, read_write> y: array<f32>;
@compute @workgroup_size(64) fn main(@builtin(global_invocation_id) id: vec3<u32>) {
    let word = x[id.x];
    let lo = word & 0xffffu;
    let hi = word >> 16u;
    let pair = word_to_half2(word);
    let four = words_to_half4(vec2(word, word));
    let two = half2_to_f32(vec2(lo, hi));
    let each = half4_to_f32(vec4(lo, hi, hi, lo));
    let all = array<f32, 12>(
        half_to_f32(lo), half_to_f32(hi), pair.x, pair.y, four.x, four.y,
        four.z, four.w, two.x, two.y, each.x, each.y,
    );
    for (var i = 0u; i < 12u; i++) {
        y[id.x * 12u + i] = all[i];
    }
}";
    let words: Vec<u32> = (0..1 << 15).map(|i| (2 * i) | ((2 * i + 1) << 16)).collect();
    let wanted: Vec<f32> = (0..=u16::MAX).map(|bits| half::f16::from_bits(bits).to_f32()).collect();
    for portable_halves in [false, true] {
        each(&DeviceOptions { portable_halves, ..all() }, |adapter, gpu| {
            let name = adapter.info.title();
            let request = ShaderRequest::from_source("test/halves", source);
            let wgsl = &gpu.program(&request).unwrap().wgsl;
            // None of the software adapters flushes halves; a GPU may.
            if portable_halves || adapter.info.is_software {
                assert_eq!(wgsl.contains("unpack2x16float"), !portable_halves, "{name}");
            }
            let pipeline = gpu.pipeline(&request).unwrap();
            let bytes = 4 * words.len() as u64;
            let (x, y) = (storage(&gpu, bytes), storage(&gpu, 12 * bytes));
            gpu.block_on(gpu.upload(&x, 0, bytemuck::cast_slice(&words))).unwrap();
            let group = gpu.bind(&pipeline, &[("x", (&x).into()), ("y", (&y).into())]).unwrap();
            let mut encoder = gpu.encoder("halves");
            {
                let mut pass = encoder.begin_compute_pass(&Default::default());
                pass.set_pipeline(&pipeline.raw);
                pass.set_bind_group(0, group.raw(), &[]);
                pass.dispatch_workgroups(words.len() as u32 / 64, 1, 1);
            }
            gpu.submit("widening", encoder).unwrap();
            let got = gpu.block_on(gpu.read(&y, 0, 12 * bytes)).unwrap();
            let got: Vec<f32> = bytemuck::pod_collect_to_vec(&got);
            for (i, pair) in got.chunks(2).enumerate() {
                for (got, wanted) in pair.iter().zip(&wanted[i / 6 * 2..]) {
                    let same = got.to_bits() == wanted.to_bits() || got.is_nan() && wanted.is_nan();
                    assert!(same, "{name}: {got} for {wanted}, the {}th way", i % 6);
                }
            }
        });
    }
}

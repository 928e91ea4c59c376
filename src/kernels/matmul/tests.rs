//! Choice and planning without a device.

use super::*;
use crate::gpu::{CoopScalar, CoopShape, DeviceCaps, compile};
use crate::graph::{Bindings, Dim, Symbol, TensorType};
use crate::kernels::{Param, Place, Policy, View};
use crate::quant::{DeviceLayout, WEIGHT_TYPES};
use crate::tensor::DType;

const LINEAR: MatMulKernel =
    MatMulKernel { trans_a: false, trans_b: true, activation: None, gated: false };

fn ty(dtype: DType, shape: &[u64]) -> TensorType {
    TensorType::new(dtype, shape.iter().map(|&n| Dim::Const(n)).collect::<Vec<_>>())
}

fn small() -> DeviceCaps {
    DeviceCaps { binding_cap: Some(1 << 20), ..DeviceCaps::webgpu_minimum() }
}

fn plan(
    kernel: MatMulKernel,
    a: &TensorType,
    b: &TensorType,
    c: &[u64],
    caps: &DeviceCaps,
    bounds: &Bindings,
) -> Result<Vec<Dispatch>> {
    let third = kernel.gated.then(|| b.clone());
    kernel.gpu(&GpuCx {
        inputs: &[Some(a.clone()), Some(b.clone()), third],
        outputs: &[ty(DType::F32, c)],
        bounds,
        caps,
        policy: &Policy::default(),
        room: u64::MAX,
    })
}

fn fixed(kernel: MatMulKernel, a: &TensorType, b: &TensorType, caps: &DeviceCaps) -> Vec<Dispatch> {
    plan(kernel, a, b, &[1], caps, &Bindings::new(0)).unwrap()
}

fn value(dispatch: &Dispatch, name: &str, bounds: &Bindings) -> u64 {
    match dispatch.params.iter().find(|(other, _)| *other == name).map(|(_, param)| param) {
        Some(Param::Dim(dim)) => dim.eval(bounds).unwrap(),
        Some(Param::U32(value)) => (*value).into(),
        other => panic!("{name}: {other:?}"),
    }
}

fn view<'a>(dispatch: &'a Dispatch, name: &str) -> &'a View {
    &dispatch.bindings.iter().find(|(other, _)| *other == name).unwrap().1
}

/// Every binding and parameter of a dispatch is one the shader has.
fn fits_its_shader(dispatch: &Dispatch) {
    let reflection = compile(&dispatch.shader).unwrap().reflection;
    let mut given: Vec<&str> = dispatch.bindings.iter().map(|(name, _)| *name).collect();
    given.push("params");
    given.sort_unstable();
    let mut there: Vec<&str> = reflection.bindings.iter().map(|b| b.name.as_str()).collect();
    there.sort_unstable();
    assert_eq!(given, there, "{}", dispatch.shader);
    let mut given: Vec<&str> = dispatch.params.iter().map(|(name, _)| *name).collect();
    given.sort_unstable();
    let params = reflection.params().unwrap();
    let mut there: Vec<&str> = params.members.iter().map(|m| m.name.as_str()).collect();
    there.sort_unstable();
    assert_eq!(given, there, "{}", dispatch.shader);
}

#[test]
fn every_weight_type_is_cut_at_offsets_a_binding_may_have() {
    let caps = small();
    let (align, limit) = (u64::from(caps.storage_alignment()), caps.max_binding());
    for dtype in WEIGHT_TYPES {
        for gated in [false, true] {
            // An odd number of blocks in a row, so that offsets do not fit by luck.
            let k = if dtype.block_len() == 256 { 768 } else { 576 };
            let n = 20_011;
            let kernel = MatMulKernel { gated, activation: Some(Unary::Silu), ..LINEAR };
            let dispatches = fixed(kernel, &ty(DType::F32, &[3, k]), &ty(dtype, &[n, k]), &caps);
            assert!(dispatches.len() > 1, "{dtype}");
            fits_its_shader(&dispatches[0]);
            let layout = DeviceLayout::of(dtype).unwrap();
            let row = k / layout.block_len as u64 * layout.body_bytes_per_block as u64;
            let (mut rows, none) = (0, Bindings::new(0));
            for dispatch in &dispatches {
                for (name, view) in &dispatch.bindings {
                    assert_eq!(view.offset % align, 0, "{dtype} {name}");
                    // A codebook is bound whole, and small.
                    let small = matches!(view.place, Place::Codebook(..));
                    assert!(view.size.map_or(small, |size| size <= limit), "{dtype} {name}");
                }
                let body = view(dispatch, "w_body");
                let base = value(dispatch, "b_base", &none);
                let size = layout.body_bytes_per_block as u64;
                assert_eq!(body.offset + base * size, rows * row, "{dtype}");
                assert_eq!(view(dispatch, "c").place, Place::Output(0));
                rows += value(dispatch, "n", &none);
            }
            assert_eq!(rows, n, "{dtype}");
        }
    }
}

#[test]
fn a_gpu_reads_few_rows_of_quants_four_words_at_a_time() {
    let mut caps = DeviceCaps::webgpu_minimum();
    caps.limits.max_compute_workgroup_storage_size = 32 << 10;
    let chosen = |m, k, dtype| {
        let dispatches = fixed(LINEAR, &ty(DType::F32, &[m, k]), &ty(dtype, &[640, k]), &caps);
        fits_its_shader(&dispatches[0]);
        dispatches[0].variant.clone()
    };
    assert_eq!(chosen(1, 4096, DType::Q4_K), "matmul/strips_64");
    assert_eq!(chosen(2, 4096, DType::Q6_K), "matmul/strips_64");
    assert_eq!(chosen(1, 576, DType::Q8_0), "matmul/strips_32");
    assert_eq!(chosen(3, 4096, DType::Q4_K), "matmul/matvec_workgroup");
    assert_eq!(chosen(1, 4096, DType::Q3_K), "matmul/matvec_workgroup");
    caps.limits.max_compute_workgroup_storage_size = 16 << 10;
    let dispatches =
        fixed(LINEAR, &ty(DType::F32, &[1, 4096]), &ty(DType::Q4_K, &[640, 4096]), &caps);
    assert_eq!(dispatches[0].variant, "matmul/matvec_workgroup");
}

#[test]
fn rows_known_at_run_time_are_cut_by_their_bound() {
    let (caps, rows) = (small(), Dim::Sym(Symbol(0)));
    let a = TensorType::new(DType::F32, vec![rows, Dim::Const(576)]);
    let b = ty(DType::Q8_0, &[64, 576]);
    let mut bounds = Bindings::new(1);
    bounds.set(Symbol(0), 1000);
    let dispatches = plan(LINEAR, &a, &b, &[1000, 64], &caps, &bounds).unwrap();
    assert_eq!(dispatches.len(), 3);
    // 455 rows of 576 floats fit beside the alignment.
    let at = |run: u64| {
        let mut bindings = Bindings::new(1);
        bindings.set(Symbol(0), run);
        dispatches.iter().map(|d| value(d, "m", &bindings)).collect::<Vec<_>>()
    };
    assert_eq!(at(1000), [455, 455, 90]);
    assert_eq!(at(500), [455, 45, 0]);
    assert_eq!(at(0), [0, 0, 0]);
    let second = &dispatches[1];
    let base = value(second, "a_base", &bounds);
    assert_eq!(view(second, "a").offset + base * 4, 455 * 576 * 4);
}

#[test]
fn a_matrix_stored_by_k_is_cut_along_k_in_order() {
    let caps = small();
    let kernel = MatMulKernel { trans_b: false, ..LINEAR };
    let (a, b) = (ty(DType::F32, &[5, 3000]), ty(DType::F32, &[3000, 200]));
    let dispatches = fixed(kernel, &a, &b, &caps);
    let none = Bindings::new(0);
    let stages: Vec<_> = dispatches.iter().map(|d| value(d, "stage", &none)).collect();
    assert_eq!(stages, [1, 0, 2]);
    let mut k = 0;
    for dispatch in &dispatches {
        fits_its_shader(dispatch);
        assert_eq!(value(dispatch, "a_base", &none), k);
        let base = value(dispatch, "b_base", &none);
        assert_eq!(view(dispatch, "w_body").offset + base * 4, k * 200 * 4);
        k += value(dispatch, "k", &none);
    }
    assert_eq!(k, 3000);
}

#[test]
fn batches_over_the_limit_go_one_by_one() {
    let caps = small();
    let kernel = MatMulKernel { trans_b: false, ..LINEAR };
    let (a, b) = (ty(DType::F32, &[6, 1, 201, 65]), ty(DType::F32, &[6, 2, 65, 203]));
    let dispatches = fixed(kernel, &a, &b, &caps);
    assert_eq!(dispatches.len(), 12);
    let none = Bindings::new(0);
    for (z, dispatch) in dispatches.iter().enumerate() {
        fits_its_shader(dispatch);
        let z = z as u64;
        let first = |name, base| view(dispatch, name).offset + value(dispatch, base, &none) * 4;
        assert_eq!(first("a", "a_base"), z / 2 * 201 * 65 * 4);
        assert_eq!(first("w_body", "b_base"), z * 65 * 203 * 4);
        assert_eq!(first("c", "c_base"), z * 201 * 203 * 4);
    }
    // Within the limits they are one dispatch, which counts matrices itself.
    let caps = DeviceCaps::webgpu_minimum();
    let dispatches = fixed(kernel, &a, &b, &caps);
    assert_eq!(dispatches.len(), 1);
    fits_its_shader(&dispatches[0]);
    assert_eq!(value(&dispatches[0], "a_inner", &none), 0);
    assert_eq!(value(&dispatches[0], "b_inner", &none), 65 * 203);
}

#[test]
fn what_cannot_be_cut_is_a_limit() {
    let caps = small();
    let wide = ty(DType::F32, &[2, 300_000]);
    let error =
        plan(LINEAR, &wide, &ty(DType::F32, &[2, 300_000]), &[2, 2], &caps, &Bindings::new(0));
    assert!(matches!(error, Err(crate::Error::Limit { .. })), "{error:?}");
    // The length of a row of the result is known only at run time.
    let mut bounds = Bindings::new(1);
    bounds.set(Symbol(0), 4000);
    let b = TensorType::new(DType::F32, vec![Dim::Const(8), Dim::Sym(Symbol(0))]);
    let kernel = MatMulKernel { trans_b: false, ..LINEAR };
    let error = plan(kernel, &ty(DType::F32, &[4000, 8]), &b, &[4000, 4000], &caps, &bounds);
    assert!(matches!(error, Err(crate::Error::Unsupported { .. })), "{error:?}");
}

#[test]
fn the_choice_follows_rows_device_and_policy() {
    let chosen = |m: u64, n: u64, caps: &DeviceCaps, half: bool, force: Option<&str>| {
        let mut policy = Policy { allow_f16: half, ..Policy::default() };
        policy.force.extend(force.map(|name| (FAMILY.into(), name.into())));
        let inputs = [Some(ty(DType::F32, &[m, 64])), Some(ty(DType::Q4_1, &[n, 64])), None];
        let outputs = [ty(DType::F32, &[m, n])];
        let bounds = &Bindings::new(0);
        let cx = GpuCx {
            inputs: &inputs,
            outputs: &outputs,
            bounds,
            caps,
            policy: &policy,
            room: u64::MAX,
        };
        LINEAR.gpu(&cx).map(|dispatches| dispatches[0].variant.clone())
    };
    let gpu =
        DeviceCaps { device_type: wgpu::DeviceType::DiscreteGpu, ..DeviceCaps::webgpu_minimum() };
    let rich = DeviceCaps { subgroups: true, f16: true, ..gpu.clone() };
    let soft = DeviceCaps { software: true, ..rich.clone() };
    let name = |result: Result<String>| result.unwrap();
    assert_eq!(name(chosen(1, 512, &gpu, false, None)), "matmul/matvec_workgroup");
    assert_eq!(name(chosen(1, 512, &rich, false, None)), "matmul/matvec_subgroup");
    assert_eq!(name(chosen(1, 512, &soft, false, None)), "matmul/blocks_1x4");
    assert_eq!(name(chosen(16, 512, &soft, false, None)), "matmul/direct_8x4");
    assert_eq!(name(chosen(128, 1536, &soft, false, None)), "matmul/direct_8x4");
    assert_eq!(name(chosen(129, 256, &soft, false, None)), "matmul/direct_8x8");
    assert_eq!(name(chosen(512, 1536, &soft, false, None)), "matmul/direct_32x4");
    let pairs = DeviceCaps { int64: true, ..soft.clone() };
    assert_eq!(name(chosen(1, 512, &pairs, false, None)), "matmul/blocks_pairs_1x4");
    assert_eq!(name(chosen(16, 512, &pairs, false, None)), "matmul/direct_pairs_8x4");
    let eight =
        DeviceCaps { min_subgroup_size: 8, max_subgroup_size: 8, int64: true, ..soft.clone() };
    assert_eq!(name(chosen(1, 512, &eight, false, None)), "matmul/blocks_lanes_pairs_1x4");
    assert_eq!(name(chosen(16, 512, &eight, false, None)), "matmul/lanes_pairs_8x4");
    assert_eq!(name(chosen(128, 512, &eight, false, None)), "matmul/lanes_pairs_16x4");
    assert_eq!(name(chosen(512, 1536, &eight, false, None)), "matmul/lanes_pairs_16x4");
    let gathers = DeviceCaps { gathers: true, ..eight.clone() };
    assert_eq!(name(chosen(1, 512, &gathers, false, None)), "matmul/blocks_lanes_1x4");
    assert_eq!(name(chosen(16, 512, &gathers, false, None)), "matmul/direct_8x8");
    assert_eq!(name(chosen(128, 64, &gathers, false, None)), "matmul/direct_8x8");
    assert_eq!(name(chosen(128, 1536, &gathers, false, None)), "matmul/quads_32x8");
    // What the variants for such a processor need may be masked.
    for masked in [&soft, &pairs] {
        let caps = DeviceCaps { gathers: true, ..masked.clone() };
        for rows in [1, 16, 128, 512] {
            let [got, wanted] = [&caps, masked].map(|c| name(chosen(rows, 1536, c, false, None)));
            assert_eq!(got, wanted);
        }
    }
    assert!(chosen(16, 512, &pairs, false, Some("lanes_8x4")).is_err());
    let narrow = DeviceCaps { max_subgroup_size: 4, ..soft.clone() };
    assert_eq!(name(chosen(16, 512, &narrow, false, None)), "matmul/direct_8x8");
    assert_eq!(name(chosen(128, 1536, &narrow, false, None)), "matmul/quads_32x8");
    assert_eq!(name(chosen(512, 512, &rich, false, None)), "matmul/tiled_64");
    assert_eq!(name(chosen(512, 512, &rich, true, None)), "matmul/tiled_64_f16");
    assert_eq!(name(chosen(16, 512, &rich, false, None)), "matmul/tiled_32");
    assert_eq!(name(chosen(512, 512, &soft, false, Some("tiled_64"))), "matmul/tiled_64");
    assert!(chosen(512, 512, &gpu, true, Some("coop_8")).is_err());
    // Where larger matrices multiply at once. No adapter of the tests has it; a session
    // tries it before it is used, as any other.
    let shape = |size, ab, cr| CoopShape { m: size, n: size, k: size, ab, cr, saturating: false };
    let mut large =
        DeviceCaps { coop: vec![shape(16, CoopScalar::F16, CoopScalar::F32)], ..rich.clone() };
    (large.min_subgroup_size, large.max_subgroup_size) = (32, 32);
    large.limits.max_compute_workgroup_storage_size = 1 << 15;
    assert_eq!(name(chosen(512, 512, &large, true, None)), "matmul/coop_16");
    assert_eq!(name(chosen(512, 512, &large, false, None)), "matmul/tiled_64");
}

#[test]
fn the_choice_follows_how_many_tiles_there_are() {
    let chosen = |[m, k, n]: [u64; 3], caps: &DeviceCaps, half: bool, room: u64| {
        let policy = Policy { allow_f16: half, ..Policy::default() };
        let inputs = [Some(ty(DType::F32, &[m, k])), Some(ty(DType::F32, &[n, k])), None];
        let outputs = [ty(DType::F32, &[m, n])];
        let bounds = &Bindings::new(0);
        let cx = GpuCx { inputs: &inputs, outputs: &outputs, bounds, caps, policy: &policy, room };
        let dispatches = LINEAR.gpu(&cx).unwrap();
        (dispatches[0].variant.clone(), dispatches.len())
    };
    let is = |name: &str, dispatches: usize| (format!("matmul/{name}"), dispatches);
    let gpu =
        DeviceCaps { device_type: wgpu::DeviceType::DiscreteGpu, ..DeviceCaps::webgpu_minimum() };
    assert_eq!(chosen([2048, 64, 2048], &gpu, false, 0), is("tiled_128", 1));
    assert_eq!(chosen([512, 64, 512], &gpu, false, 0), is("tiled_64", 1));
    // Long sums of few tiles are in parts, where there is room for what they leave.
    assert_eq!(chosen([16, 4096, 512], &gpu, false, u64::MAX), is("tiled_32_split", 2));
    assert_eq!(chosen([16, 4096, 512], &gpu, false, 1000), is("tiled_32", 1));
    assert_eq!(chosen([16, 4100, 512], &gpu, false, u64::MAX), is("tiled_32", 1));
    assert_eq!(chosen([16, 512, 512], &gpu, false, u64::MAX), is("tiled_32", 1));
    let coop = CoopShape {
        m: 16,
        n: 16,
        k: 16,
        ab: CoopScalar::F16,
        cr: CoopScalar::F32,
        saturating: false,
    };
    let mut large = DeviceCaps { subgroups: true, f16: true, coop: vec![coop], ..gpu.clone() };
    (large.min_subgroup_size, large.max_subgroup_size) = (32, 32);
    large.limits.max_compute_workgroup_storage_size = 48 << 10;
    assert_eq!(chosen([2048, 64, 2048], &large, true, 0), is("coop_wide_16", 1));
    assert_eq!(chosen([512, 64, 512], &large, true, 0), is("coop_16", 1));
    assert_eq!(chosen([64, 4096, 512], &large, true, u64::MAX), is("coop_16_split", 2));
    assert_eq!(chosen([64, 4096, 512], &large, false, u64::MAX), is("tiled_32_split", 2));
}

#[test]
fn eight_bits_are_used_only_where_they_are_asked_for() {
    let chosen = |m: u64, weight: DType, caps: &DeviceCaps, [half, eight]: [bool; 2], room: u64| {
        let policy = Policy { allow_f16: half, allow_int8: eight, ..Policy::default() };
        let inputs = [Some(ty(DType::F32, &[m, 256])), Some(ty(weight, &[512, 256])), None];
        let outputs = [ty(DType::F32, &[m, 512])];
        let bounds = &Bindings::new(0);
        let cx = GpuCx { inputs: &inputs, outputs: &outputs, bounds, caps, policy: &policy, room };
        let variant = LINEAR.gpu(&cx).unwrap()[0].variant.clone();
        variant.strip_prefix("matmul/").unwrap().to_string()
    };
    let gpu = DeviceCaps {
        device_type: wgpu::DeviceType::DiscreteGpu,
        subgroups: true,
        f16: true,
        ..DeviceCaps::webgpu_minimum()
    };
    let asked = [false, true];
    assert_eq!(chosen(64, DType::Q4_K, &gpu, asked, u64::MAX), "int8_32");
    assert_eq!(chosen(512, DType::Q4_K, &gpu, asked, u64::MAX), "int8_64");
    assert_eq!(chosen(64, DType::Q4_K, &gpu, [false, false], u64::MAX), "tiled_32");
    // Nothing is rounded for a few rows, where there is no room, where weights are no whole
    // numbers or where their offsets change within sixteen.
    assert_eq!(chosen(4, DType::Q4_K, &gpu, asked, u64::MAX), "matvec_subgroup");
    assert_eq!(chosen(64, DType::Q4_K, &gpu, asked, 1000), "tiled_32");
    assert_eq!(chosen(64, DType::F16, &gpu, asked, u64::MAX), "tiled_32");
    assert_eq!(chosen(64, DType::IQ1_M, &gpu, asked, u64::MAX), "tiled_32");
    let soft = DeviceCaps { software: true, ..gpu.clone() };
    assert!(!chosen(64, DType::Q4_K, &soft, asked, u64::MAX).starts_with("int8"));
    let matrices = |size| CoopShape {
        m: size,
        n: size,
        k: size,
        ab: CoopScalar::F16,
        cr: CoopScalar::F32,
        saturating: false,
    };
    let coop = DeviceCaps { coop: vec![matrices(8)], max_subgroup_size: 32, ..gpu };
    assert_eq!(chosen(512, DType::Q4_K, &coop, [true, true], u64::MAX), "coop_wide_8");
}

#[test]
fn what_is_forbidden_is_not_chosen() {
    let caps = DeviceCaps::webgpu_minimum();
    let chosen = |policy: &Policy| {
        policy.choose(FAMILY, VARIANTS, &caps, |_| true).map(|variant| variant.name)
    };
    let free = chosen(&Policy::default()).unwrap();
    let forbid = |names: &mut dyn Iterator<Item = &str>| Policy {
        forbid: names.map(|name| format!("{FAMILY}/{name}")).collect(),
        ..Policy::default()
    };
    assert_ne!(chosen(&forbid(&mut [free].into_iter())).unwrap(), free);
    let error = chosen(&forbid(&mut VARIANTS.iter().map(|v| v.name))).unwrap_err().to_string();
    assert!(error.contains(&format!("{free}: forbidden")), "{error}");
}

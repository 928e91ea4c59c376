//! Linking, reflection and messages, without a device.

use super::*;
use crate::gpu::{BindingKind, Member, Scalar};

const ROOT: &str = "
import package::config::{TILE, SCALE, BIAS, FAST};
import package::weight::load;
import package::common::params::params;
@if(f16) enable f16;

@group(0) @binding(2) var<storage, read_write> out: array<f32>;
var<workgroup> shared_tile: array<vec3<f32>, 3>;

fn helper(x: f32) -> f32 { return x * SCALE + f32(BIAS); }

@if(f16) fn last(x: f32) -> f32 { return f32(f16(x)); }
@else fn last(x: f32) -> f32 { return select(x, 0.0, FAST); }

@compute @workgroup_size(TILE, 2)
fn main(@builtin(global_invocation_id) id: vec3<u32>) {
shared_tile[0] = vec3<f32>(helper(load(id.x)));
workgroupBarrier();
if id.x < params.count { out[id.x] = last(shared_tile[0].x); }
}
";

const PARAMS: &str = "
struct Inner { a: i32, b: vec2<f32> }
struct Params { count: u32, scale: f32, @align(16) inner: Inner, dims: array<vec4<u32>, 2> }
@group(0) @binding(0) var<uniform> params: Params;
";

const PLAIN: &str = "
@group(0) @binding(1) var<storage, read> weights: array<vec4<f32>>;
fn helper(i: u32) -> f32 { return weights[i / 4u][i % 4u]; }
fn load(i: u32) -> f32 { return helper(i); }
";

const TWICE: &str = "
import package::weights::plain::load as inner_load;
fn helper(i: u32) -> f32 { return 2.0 * inner_load(i); }
fn load(i: u32) -> f32 { return helper(i); }
";

const FILES: &[(&str, &str)] = &[
    ("common/params", PARAMS),
    ("test/root", ROOT),
    ("weights/plain", PLAIN),
    ("weights/twice", TWICE),
];

fn request() -> ShaderRequest {
    ShaderRequest::new("test/root")
        .with("TILE", 8u32)
        .with("SCALE", 0.1f32)
        .with("BIAS", i32::MIN)
        .with("FAST", true)
        .module("weight", "weights/plain")
}

fn program(request: &ShaderRequest) -> ShaderProgram {
    compile_with(FILES, request).unwrap()
}

fn message(request: &ShaderRequest) -> String {
    let error = compile_with(FILES, request).unwrap_err();
    assert_eq!(error.kind(), crate::ErrorKind::Shader);
    error.to_string()
}

#[test]
fn a_shader_is_linked_and_reflected() {
    let r = program(&request()).reflection;
    assert_eq!((r.entry.as_str(), r.workgroup_size), ("main", [8, 2, 1]));
    // Three vec3<f32> with a stride of 16.
    assert_eq!(r.workgroup_bytes, 48);
    assert_eq!(r.uses, Default::default());
    let names: Vec<_> = r.bindings.iter().map(|b| (b.name.as_str(), b.kind)).collect();
    assert_eq!(
        names,
        [
            ("params", BindingKind::Uniform),
            ("weights", BindingKind::Read),
            ("out", BindingKind::ReadWrite)
        ]
    );
    let weights = r.binding("weights").unwrap();
    assert_eq!((weights.binding, weights.min_size, weights.stride), (1, 16, 16));
    let params = r.params().unwrap();
    assert_eq!(params.min_size, 64);
    let member = |name: &str, offset, scalar, count| Member {
        name: name.into(),
        offset,
        scalar,
        count,
        size: 4 * count,
    };
    assert_eq!(
        params.members,
        [
            member("count", 0, Scalar::U32, 1),
            member("scale", 4, Scalar::F32, 1),
            member("inner.a", 16, Scalar::I32, 1),
            member("inner.b", 24, Scalar::F32, 2),
            member("dims", 32, Scalar::U32, 8),
        ]
    );
}

#[test]
fn private_helpers_of_the_same_name_do_not_clash() {
    let nested = program(&ShaderRequest {
        modules: vec![("weight".into(), "weights/twice".into())],
        ..request()
    });
    assert_eq!(nested.wgsl.matches("fn helper(").count(), 1, "{}", nested.wgsl);
    assert_eq!(nested.wgsl.matches("helper(").count(), 6, "{}", nested.wgsl);
    // The binding two imports deep keeps its name.
    assert_eq!(nested.reflection.binding("weights").unwrap().binding, 1);
}

#[test]
fn features_choose_code_and_are_reported_as_used() {
    let with = program(&ShaderRequest { ..request() }.feature("f16"));
    assert!(with.reflection.uses.f16 && with.wgsl.contains("enable f16;"), "{}", with.wgsl);
    let subgroups = ShaderRequest::from_source(
        "user/sum",
        "@group(0) @binding(0) var<storage, read_write> x: array<f32>;
         @compute @workgroup_size(64) fn main(@builtin(local_invocation_index) i: u32) {
             let sum = subgroupAdd(x[i]); if i == 0u { x[0] = sum; } }",
    );
    let uses = program(&subgroups).reflection.uses;
    assert!(uses.subgroups && !uses.f16 && !uses.coop && !uses.immediates);
}

#[test]
fn cooperative_matrices_and_immediates_pass_through() {
    let source = "
enable f16;
enable wgpu_cooperative_matrix;
struct Step { rows: u32, scale: f32 }
var<immediate> step: Step;
@group(0) @binding(0) var<storage, read> a: array<f16>;
@group(0) @binding(1) var<storage, read> b: array<f16>;
@group(0) @binding(2) var<storage, read_write> c: array<f32>;
@compute @workgroup_size(32) fn main() {
let x = coopLoad<coop_mat8x8<f16, A>>(&a[step.rows], 8u);
let y = coopLoad<coop_mat8x8<f16, B>>(&b[0], 8u);
var z = coopLoad<coop_mat8x8<f32, C>>(&c[0], 8u);
z = coopMultiplyAdd(x, y, z);
coopStore(z, &c[0], 8u);
}";
    let r = program(&ShaderRequest::from_source("user/coop", source)).reflection;
    assert!(r.uses.coop && r.uses.f16 && r.uses.immediates);
    assert_eq!(r.immediate_bytes, 8);
    assert_eq!(r.immediates[1].name, "scale");
}

#[test]
fn misspellings_are_errors() {
    for (bad, part) in [
        (ShaderRequest::new("test/rot"), "no shader file 'test/rot'"),
        (ShaderRequest::new("../etc"), "not a module name"),
        (request().with("TIEL", 1u32), "constant 'TIEL' is not used"),
        (request().with("TILE", 1u32), "constant 'TILE' is given twice"),
        (request().feature("f61"), "feature 'f61' is not used"),
        (request().module("other", "weights/plain"), "module 'other' is not used"),
        (request().module("other", "weights/q9"), "no shader file 'weights/q9'"),
        (request().with("NAN", f32::NAN), "only finite"),
        (ShaderRequest { consts: vec![], ..request() }, "`package::config` has no declaration"),
        (ShaderRequest { modules: vec![], ..request() }, "weight"),
    ] {
        let message = message(&bad);
        assert!(message.contains(part), "{message}");
    }
}

#[test]
fn errors_show_the_line() {
    let bad = |source: &str| message(&ShaderRequest::from_source("user/bad", source));
    let syntax = bad("fn main() {}\nfn broken( {}\n");
    assert!(syntax.contains("line 2: fn broken( {}"), "{syntax}");
    let types = bad("@compute @workgroup_size(1) fn main() { let oops: u32 = 1.5; }");
    assert!(types.contains("oops") && types.contains("user/bad"), "{types}");
    assert!(!types.contains('\u{1b}'), "{types}");
    let import = bad("import package::nowhere::f;\n@compute @workgroup_size(1) fn main() { f(); }");
    assert!(import.contains("nowhere"), "{import}");
    let none = bad("fn f() {}");
    assert!(none.contains("one compute entry point"), "{none}");
    let group = bad("@group(1) @binding(0) var<storage, read_write> x: array<f32>;
         @compute @workgroup_size(1) fn main() { x[0] = 1.0; }");
    assert!(group.contains("'x' must have @group(0)"), "{group}");
}

#[test]
fn requests_are_keys() {
    assert_eq!(request(), request());
    assert_ne!(request(), request().feature("f16"));
    assert_ne!(ConstValue::F32(0.0), ConstValue::F32(-0.0));
    assert_eq!(ConstValue::F32(f32::NAN), ConstValue::F32(f32::NAN));
    assert_ne!(ConstValue::U32(1), ConstValue::Bool(true));
    assert_eq!(
        request().feature("f16").to_string(),
        "test/root [TILE=8 SCALE=0.1 BIAS=-2147483648 FAST=true weight=weights/plain +f16]"
    );
}

#[test]
fn the_same_request_gives_the_same_text() {
    // Drivers cache by text, so hash-map order must not reach it.
    let first = program(&request()).wgsl;
    assert!((0..16).all(|_| program(&request()).wgsl == first));
}

#[test]
fn names_are_matched_as_whole_words() {
    assert!(mentions("x = TILE;", "TILE") && mentions("TILE", "TILE"));
    assert!(!mentions("x = TILE_K;", "TILE") && !mentions("MTILE", "TILE"));
}

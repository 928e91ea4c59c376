//! From a [`ShaderRequest`] to plain WGSL and its [`Reflection`].
//!
//! Shaders are WGSL files with WESL imports. `shaders/matmul/tiled.wgsl` is
//! the module `package::matmul::tiled`. In a file imports come first, then
//! `enable`, then declarations:
//!
//! ```wgsl
//! import package::config::TILE;           // a constant of the request
//! import package::weight::load;           // a module the request substitutes
//! import package::common::math::gelu;
//! @if(f16) enable f16;                    // a feature of the request
//! ```
//!
//! Names of imported declarations are made unique, so private helpers of two
//! modules never clash; bindings keep the name their file gives them, for the
//! host. The entry point stands in the requested file.

use std::borrow::Cow;
use std::collections::HashMap;
use std::fmt;
use std::hash::{Hash, Hasher};
use std::sync::{Arc, Mutex};

use super::errors::lock;
use super::reflect::{Reflection, reflect};
use crate::error::{Error, Result};

/// All shaders of this crate: module (`family/file`) and source, sorted.
pub static SHADERS: &[(&str, &str)] = include!(concat!(env!("OUT_DIR"), "/shaders.rs"));

/// The value of a shader constant.
#[derive(Debug, Clone, Copy)]
pub enum ConstValue {
    /// `u32`.
    U32(u32),
    /// `i32`.
    I32(i32),
    /// `f32`; must be finite.
    F32(f32),
    /// `bool`.
    Bool(bool),
}

impl ConstValue {
    /// Kind and bits: floats are the same constant only if their bits are.
    fn key(self) -> (u8, u32) {
        match self {
            ConstValue::U32(v) => (0, v),
            ConstValue::I32(v) => (1, v as u32),
            ConstValue::F32(v) => (2, v.to_bits()),
            ConstValue::Bool(v) => (3, u32::from(v)),
        }
    }

    fn declaration(self, name: &str) -> String {
        match self {
            ConstValue::U32(v) => format!("const {name}: u32 = {v}u;\n"),
            ConstValue::I32(v) => format!("const {name}: i32 = i32({v});\n"),
            ConstValue::F32(v) => format!("const {name}: f32 = f32({v:?});\n"),
            ConstValue::Bool(v) => format!("const {name}: bool = {v};\n"),
        }
    }
}

impl PartialEq for ConstValue {
    fn eq(&self, other: &Self) -> bool {
        self.key() == other.key()
    }
}

impl Eq for ConstValue {}

impl Hash for ConstValue {
    fn hash<H: Hasher>(&self, state: &mut H) {
        self.key().hash(state);
    }
}

impl fmt::Display for ConstValue {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            ConstValue::U32(v) => v.fmt(f),
            ConstValue::I32(v) => v.fmt(f),
            ConstValue::F32(v) => v.fmt(f),
            ConstValue::Bool(v) => v.fmt(f),
        }
    }
}

macro_rules! from_value {
    ($($ty:ty => $variant:ident),*) => {$(
        impl From<$ty> for ConstValue {
            fn from(v: $ty) -> Self {
                ConstValue::$variant(v)
            }
        }
    )*};
}
from_value!(u32 => U32, i32 => I32, f32 => F32, bool => Bool);

/// A shader and everything that makes it this variant and no other; the key
/// of the pipeline cache.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct ShaderRequest {
    /// The file under `shaders/`, without extension: `matmul/tiled`.
    pub file: Cow<'static, str>,
    /// The constants of the module `package::config`.
    pub consts: Vec<(Cow<'static, str>, ConstValue)>,
    /// The features that are on in `@if(...)`; all others are off.
    pub features: Vec<Cow<'static, str>>,
    /// Substituted modules: alias (`weight`) and file (`weights/q4_1`).
    pub modules: Vec<(Cow<'static, str>, Cow<'static, str>)>,
    /// The source, for operators of an application; `file` is then only its name.
    pub source_override: Option<Arc<str>>,
    /// Whether workgroup memory starts as zeros, as WebGPU says. A shader
    /// that writes every element before it reads it may turn this off.
    pub zero_workgroup: bool,
}

impl ShaderRequest {
    /// The file as it is, without constants, features or substitutions.
    pub fn new(file: impl Into<Cow<'static, str>>) -> Self {
        ShaderRequest {
            file: file.into(),
            consts: Vec::new(),
            features: Vec::new(),
            modules: Vec::new(),
            source_override: None,
            zero_workgroup: true,
        }
    }

    /// A shader of an application, with its own source; it can import the
    /// modules of this crate.
    pub fn from_source(name: impl Into<Cow<'static, str>>, source: impl Into<Arc<str>>) -> Self {
        ShaderRequest { source_override: Some(source.into()), ..Self::new(name) }
    }

    /// Adds a constant.
    #[must_use]
    pub fn with(
        mut self,
        name: impl Into<Cow<'static, str>>,
        value: impl Into<ConstValue>,
    ) -> Self {
        self.consts.push((name.into(), value.into()));
        self
    }

    /// Turns a feature on.
    #[must_use]
    pub fn feature(mut self, name: impl Into<Cow<'static, str>>) -> Self {
        self.features.push(name.into());
        self
    }

    /// Lets `package::alias` be the module in `file`.
    #[must_use]
    pub fn module(
        mut self,
        alias: impl Into<Cow<'static, str>>,
        file: impl Into<Cow<'static, str>>,
    ) -> Self {
        self.modules.push((alias.into(), file.into()));
        self
    }
}

impl fmt::Display for ShaderRequest {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.file)?;
        let mut parts: Vec<String> =
            self.consts.iter().map(|(name, value)| format!("{name}={value}")).collect();
        parts.extend(self.modules.iter().map(|(alias, file)| format!("{alias}={file}")));
        parts.extend(self.features.iter().map(|name| format!("+{name}")));
        if parts.is_empty() { Ok(()) } else { write!(f, " [{}]", parts.join(" ")) }
    }
}

/// Compiled WGSL and what the host needs to know of it.
#[derive(Debug, Clone, PartialEq)]
pub struct ShaderProgram {
    /// One self-contained WGSL module.
    pub wgsl: String,
    /// Bindings, parameters, workgroup, features used.
    pub reflection: Reflection,
}

/// Compiles and validates a shader; no device is needed.
///
/// # Errors
/// `Shader` with the offending line: an unknown file, constant, feature or
/// module, an import that does not resolve, WGSL that does not validate, or
/// bindings that break the rules of this crate.
pub fn compile(request: &ShaderRequest) -> Result<ShaderProgram> {
    compile_with(SHADERS, request)
}

/// [`compile`] against another set of files.
pub(crate) fn compile_with(
    library: &[(&str, &str)],
    request: &ShaderRequest,
) -> Result<ShaderProgram> {
    build(library, request).map_err(|what| Error::Shader { shader: request.to_string(), what })
}

fn build(library: &[(&str, &str)], request: &ShaderRequest) -> Result<ShaderProgram, String> {
    let root = module_path(&request.file)?;
    let resolver = resolver(library, request, &root)?;
    let names = Renamer::default();
    let mut compiler = wesl::Wesl::new_barebones().set_custom_resolver(&resolver);
    compiler
        .set_custom_mangler(names.clone())
        .use_imports(true)
        .use_condcomp(true)
        .use_stripping(true);
    for feature in &request.features {
        compiler.set_feature(feature, true);
    }
    let mut compiled = compiler.compile(&root).map_err(|e| wesl_message(e, &resolver))?;
    check_used(request, &compiled.modules, &resolver)?;
    // The linker's order follows a hash map, while drivers cache by text: put
    // the modules in a fixed order. WGSL does not care.
    compiled.syntax.global_directives.sort_by_cached_key(|directive| directive.to_string());
    compiled.syntax.global_directives.dedup();
    compiled.syntax.global_declarations.sort_by_cached_key(|declaration| {
        use wesl::syntax::GlobalDeclaration as G;
        match &**declaration {
            G::Declaration(d) => names.module(&d.ident.name()),
            G::TypeAlias(d) => names.module(&d.ident.name()),
            G::Struct(d) => names.module(&d.ident.name()),
            G::Function(d) => names.module(&d.ident.name()),
            G::ConstAssert(_) | G::Void => declaration.to_string(),
        }
    });
    let wgsl = compiled.to_string();
    let module = naga::front::wgsl::parse_str(&wgsl).map_err(|e| e.emit_to_string(&wgsl))?;
    let reflection = reflect(&module, &wgsl, |name| names.original(name))?;
    Ok(ShaderProgram { wgsl, reflection })
}

/// `matmul/tiled` as `package::matmul::tiled`.
fn module_path(file: &str) -> Result<wesl::ModulePath, String> {
    let good = |part: &str| {
        part.starts_with(|c: char| c.is_ascii_alphabetic())
            && part.chars().all(|c| c.is_ascii_alphanumeric() || c == '_')
    };
    let parts: Vec<String> = file.split('/').map(str::to_owned).collect();
    match parts.iter().find(|p| !good(p)) {
        Some(_) => Err(format!("'{file}' is not a module name")),
        None => Ok(wesl::ModulePath::new(wesl::syntax::PathOrigin::Absolute, parts)),
    }
}

/// The modules the shader can import, with constants and substitutions.
fn resolver<'a>(
    library: &[(&'a str, &'a str)],
    request: &'a ShaderRequest,
    root: &wesl::ModulePath,
) -> Result<wesl::VirtualResolver<'a>, String> {
    let mut resolver = wesl::VirtualResolver::new();
    let source = |file: &str| library.iter().find(|(name, _)| *name == file).map(|(_, s)| *s);
    for (file, text) in library {
        resolver.add_module(module_path(file)?, Cow::Borrowed(*text));
    }
    for (alias, file) in &request.modules {
        let text = source(file).ok_or_else(|| format!("there is no shader file '{file}'"))?;
        resolver.add_module(module_path(alias)?, Cow::Borrowed(text));
    }
    let mut config = String::new();
    for (i, (name, value)) in request.consts.iter().enumerate() {
        if request.consts[..i].iter().any(|(other, _)| other == name) {
            return Err(format!("constant '{name}' is given twice"));
        }
        if matches!(value, ConstValue::F32(v) if !v.is_finite()) {
            return Err(format!("constant '{name}' is {value}; WGSL has only finite constants"));
        }
        module_path(name).map_err(|_| format!("'{name}' is not a constant's name"))?;
        config.push_str(&value.declaration(name));
    }
    resolver.add_module(module_path("config")?, Cow::Owned(config));
    match (&request.source_override, source(&request.file)) {
        (Some(text), _) => resolver.add_module(root.clone(), Cow::Borrowed(text)),
        (None, Some(_)) => {}
        (None, None) => return Err(format!("there is no shader file '{}'", request.file)),
    }
    Ok(resolver)
}

/// A constant, feature or substitution that no loaded module mentions is a
/// misspelling: the shader would silently do without it.
fn check_used(
    request: &ShaderRequest,
    loaded: &[wesl::ModulePath],
    resolver: &wesl::VirtualResolver<'_>,
) -> Result<(), String> {
    let config = module_path("config")?;
    let sources: Vec<&str> = loaded
        .iter()
        .filter(|path| **path != config)
        .filter_map(|path| resolver.get_module(path).ok())
        .collect();
    let mentioned = |name: &str| sources.iter().any(|source| mentions(source, name));
    let consts = request.consts.iter().map(|(name, _)| ("constant", name));
    let features = request.features.iter().map(|name| ("feature", name));
    let modules = request.modules.iter().map(|(alias, _)| ("module", alias));
    for (kind, name) in consts.chain(features).chain(modules) {
        if !mentioned(name.rsplit('/').next().unwrap_or(name)) {
            return Err(format!("the {kind} '{name}' is not used by the shader"));
        }
    }
    Ok(())
}

/// Whether `name` occurs in `source` as a whole word.
fn mentions(source: &str, name: &str) -> bool {
    let word = |c: char| c.is_ascii_alphanumeric() || c == '_';
    source.match_indices(name).any(|(at, _)| {
        !source[..at].ends_with(word) && !source[at + name.len()..].starts_with(word)
    })
}

/// Renames imported declarations and remembers where they came from.
#[derive(Debug, Clone, Default)]
struct Renamer(Arc<Mutex<HashMap<String, (String, String)>>>);

impl Renamer {
    /// What a declaration was called in its file.
    fn original(&self, name: &str) -> String {
        lock(&self.0).get(name).map_or_else(|| name.to_owned(), |(_, item)| item.clone())
    }

    /// The module of an imported declaration; empty for the root's own.
    fn module(&self, name: &str) -> String {
        lock(&self.0).get(name).map(|(module, _)| module.clone()).unwrap_or_default()
    }
}

impl wesl::Mangler for Renamer {
    fn mangle(&self, path: &wesl::ModulePath, item: &str) -> String {
        let unique = wesl::EscapeMangler.mangle(path, item);
        lock(&self.0).insert(unique.clone(), (path.to_string(), item.to_owned()));
        unique
    }
}

/// A WESL error with its module and line, without terminal colours.
fn wesl_message(error: wesl::Error, resolver: &wesl::VirtualResolver<'_>) -> String {
    let diagnostic = wesl::Diagnostic::from(error);
    let detail = &diagnostic.detail;
    let mut message = diagnostic.error.to_string();
    let Some(path) = &detail.module_path else { return message };
    message.push_str(&format!("\n  in {path}"));
    let source = detail.source.as_deref().or_else(|| resolver.get_module(path).ok());
    if let (Some(span), Some(source)) = (&detail.span, source)
        && let Some(before) = source.get(..span.range().start)
    {
        let line = before.matches('\n').count();
        let text = source.lines().nth(line).unwrap_or_default();
        message.push_str(&format!(", line {}: {}", line + 1, text.trim()));
    }
    message
}

#[cfg(test)]
mod tests {
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
        let import =
            bad("import package::nowhere::f;\n@compute @workgroup_size(1) fn main() { f(); }");
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
}

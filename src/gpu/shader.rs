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
use std::collections::{BTreeSet, HashMap};
use std::fmt;
use std::hash::{Hash, Hasher};
use std::sync::{Arc, Mutex};

mod files;
mod instance;

pub use instance::Instance;

use instance::varying;

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
    /// Modules with features and constants of their own.
    pub instances: Vec<Instance>,
    /// Modules that are written for this request: path and source.
    pub written: Vec<(Cow<'static, str>, Arc<str>)>,
    /// The source, for operators of an application; `file` is then only its name.
    pub source_override: Option<Arc<str>>,
    /// Bindings that the source only reads and that are bound as writable all the
    /// same: something else that is bound to the shader is written in their buffer.
    pub writable: Vec<Cow<'static, str>>,
    /// Whether workgroup memory starts as zeros, as WebGPU says. A shader
    /// that writes every element before it reads it may turn this off.
    pub zero_workgroup: bool,
    /// Whether every index is within its array, and every loop ends, by
    /// construction. Then the checks that guard against anything else are left
    /// out where the driver still confines a shader to its buffers (Vulkan), unless
    /// [`DeviceOptions::runtime_checks`](super::DeviceOptions::runtime_checks)
    /// asks for them.
    pub in_bounds: bool,
}

impl ShaderRequest {
    /// The file as it is, without constants, features or substitutions.
    pub fn new(file: impl Into<Cow<'static, str>>) -> Self {
        ShaderRequest {
            file: file.into(),
            consts: Vec::new(),
            features: Vec::new(),
            modules: Vec::new(),
            instances: Vec::new(),
            written: Vec::new(),
            source_override: None,
            writable: Vec::new(),
            zero_workgroup: true,
            in_bounds: false,
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
        for instance in &self.instances {
            let own = instance.features.iter().map(|name| format!("+{name}")).collect::<String>();
            parts.push(format!("{}={}{own}", instance.alias, instance.file));
        }
        parts.extend(self.writable.iter().map(|name| format!("{name} writable")));
        if parts.is_empty() { Ok(()) } else { write!(f, " [{}]", parts.join(" ")) }
    }
}

/// Compiled WGSL and what the host needs to know of it.
#[derive(Debug, Clone, PartialEq, serde::Serialize, serde::Deserialize)]
pub struct ShaderProgram {
    /// One self-contained WGSL module.
    pub wgsl: String,
    /// Bindings, parameters, workgroup, features used.
    pub reflection: Reflection,
}

/// The feature that widens halves by `unpack2x16float`: of the device, which turns it on in
/// all requests, used or not.
pub(super) const EXACT_UNPACK: &str = "exact_unpack";

/// Compiles and validates a shader; no device is needed.
///
/// # Errors
/// `Shader` with the offending line: an unknown file, constant, feature or
/// module, an import that does not resolve, WGSL that does not validate, or
/// bindings that break the rules of this crate.
pub fn compile(request: &ShaderRequest) -> Result<ShaderProgram> {
    compile_with(files::library(), request)
}

/// The fingerprint of everything that [`compile`] depends on beside the request.
pub(crate) fn library_fingerprint() -> &'static str {
    static FINGERPRINT: std::sync::OnceLock<String> = std::sync::OnceLock::new();
    FINGERPRINT.get_or_init(|| {
        let mut parts = vec![env!("CARGO_PKG_VERSION").as_bytes()];
        let files = files::library().iter();
        parts.extend(files.flat_map(|(name, text)| [name.as_bytes(), text.as_bytes()]));
        crate::store::fingerprint(&parts)
    })
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
    for instance in &request.instances {
        for feature in &instance.features {
            compiler.set_feature(&instance.own(feature), true);
        }
    }
    let mut compiled = compiler.compile(&root).map_err(|e| wesl_message(e, &resolver))?;
    check_used(request, &compiled.modules, &resolver)?;
    let lent = allow_writes(&mut compiled.syntax, &request.writable, &names)?;
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
    let mut reflection = reflect(&module, &wgsl, |name| names.original(name))?;
    for binding in &mut reflection.bindings {
        binding.lent = lent.contains(&binding.name);
    }
    Ok(ShaderProgram { wgsl, reflection })
}

/// Declares bindings that are only read as writable: which they are of those named.
fn allow_writes(
    syntax: &mut wesl::syntax::TranslationUnit,
    writable: &[Cow<'static, str>],
    names: &Renamer,
) -> Result<Vec<String>, String> {
    use wesl::syntax::{AccessMode, AddressSpace, DeclarationKind, GlobalDeclaration};
    let mut missing: Vec<&str> = writable.iter().map(|name| &**name).collect();
    let mut lent = Vec::new();
    for declaration in &mut syntax.global_declarations {
        let GlobalDeclaration::Declaration(binding) = &mut **declaration else { continue };
        let DeclarationKind::Var(Some((AddressSpace::Storage, access))) = &mut binding.kind else {
            continue;
        };
        let name = names.original(&binding.ident.name());
        if writable.iter().any(|other| **other == *name) {
            missing.retain(|other| *other != name);
            if *access != Some(AccessMode::ReadWrite) {
                *access = Some(AccessMode::ReadWrite);
                lent.push(name);
            }
        }
    }
    match missing.first() {
        Some(name) => Err(format!("there is no storage binding '{name}' to be written")),
        None => Ok(lent),
    }
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
    resolver.add_module(module_path("config")?, Cow::Owned(config(&request.consts)?));
    let varying = if request.instances.is_empty() { BTreeSet::new() } else { varying(library) };
    for instance in &request.instances {
        let own = module_path(&format!("{}/config", instance.alias))?;
        resolver.add_module(own, Cow::Owned(config(&instance.consts)?));
        for (module, text) in instance.copies(library, &varying)? {
            resolver.add_module(module_path(&module)?, Cow::Owned(text));
        }
    }
    for (module, text) in &request.written {
        resolver.add_module(module_path(module)?, Cow::Borrowed(text));
    }
    match (&request.source_override, source(&request.file)) {
        (Some(text), _) => resolver.add_module(root.clone(), Cow::Borrowed(text)),
        (None, Some(_)) => {}
        (None, None) => return Err(format!("there is no shader file '{}'", request.file)),
    }
    Ok(resolver)
}

/// The source of a module of constants.
fn config(consts: &[(Cow<'static, str>, ConstValue)]) -> Result<String, String> {
    let mut config = String::new();
    for (i, (name, value)) in consts.iter().enumerate() {
        if consts[..i].iter().any(|(other, _)| other == name) {
            return Err(format!("constant '{name}' is given twice"));
        }
        if matches!(value, ConstValue::F32(v) if !v.is_finite()) {
            return Err(format!("constant '{name}' is {value}; WGSL has only finite constants"));
        }
        module_path(name).map_err(|_| format!("'{name}' is not a constant's name"))?;
        config.push_str(&value.declaration(name));
    }
    Ok(config)
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
        .filter(|path| path.components.last() != config.components.last())
        .filter_map(|path| resolver.get_module(path).ok())
        .collect();
    let mentioned = |name: &str| sources.iter().any(|source| mentions(source, name));
    let consts = request.consts.iter().map(|(name, _)| ("constant", name));
    let own = |name: &&Cow<'static, str>| **name != EXACT_UNPACK;
    let features = request.features.iter().filter(own).map(|name| ("feature", name));
    let modules = request.modules.iter().map(|(alias, _)| ("module", alias));
    let consts = consts.chain(
        request.instances.iter().flat_map(|own| &own.consts).map(|(name, _)| ("constant", name)),
    );
    let written = request.written.iter().map(|(module, _)| ("module", module));
    for own in &request.instances {
        let unused =
            own.features.iter().find(|name| *name != EXACT_UNPACK && !mentioned(&own.own(name)));
        if let Some(name) = unused {
            return Err(format!("the feature '{name}' is not used by {}", own.file));
        }
    }
    for (kind, name) in consts.chain(features).chain(modules).chain(written) {
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
mod tests;

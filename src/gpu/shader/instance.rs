//! Copies of modules with features and constants of their own, for shaders that
//! need the same functions in several ways at once.

use super::{ConstValue, ShaderRequest, module_path};
use std::borrow::Cow;
use std::collections::BTreeSet;

/// A module, and what it imports, under `package::<alias>`: features and
/// constants are those given here, not the request's. Modules that depend on
/// neither are not copied, so what they hold (a status word, say) is there once.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct Instance {
    /// The first part of its path: `package::<alias>::elementwise::combine`.
    pub alias: Cow<'static, str>,
    /// The module: `elementwise/combine`.
    pub file: Cow<'static, str>,
    /// The constants of its `package::config`.
    pub consts: Vec<(Cow<'static, str>, ConstValue)>,
    /// The features that are on in its `@if(...)`.
    pub features: Vec<Cow<'static, str>>,
}

impl Instance {
    /// A module with the constants and features of a request.
    pub fn of(alias: impl Into<Cow<'static, str>>, request: &ShaderRequest) -> Self {
        let (consts, features) = (request.consts.clone(), request.features.clone());
        Instance { alias: alias.into(), file: request.file.clone(), consts, features }
    }

    /// A feature as the copies name it.
    pub(super) fn own(&self, feature: &str) -> String {
        format!("{}_{feature}", self.alias)
    }

    /// The copies: module and source. `varying` are the files that depend on
    /// features or constants.
    ///
    /// # Errors
    /// If there is no such file, or it depends on nothing that could be its own.
    pub(super) fn copies(
        &self,
        library: &[(&str, &str)],
        varying: &BTreeSet<&str>,
    ) -> Result<Vec<(String, String)>, String> {
        module_path(&self.alias).map_err(|_| format!("'{}' is not an alias", self.alias))?;
        if !varying.contains(&*self.file) {
            return Err(format!("no module '{}' that depends on features", self.file));
        }
        let source = |file: &str| library.iter().find(|(name, _)| *name == file).map(|(_, s)| *s);
        let (mut found, mut copies) = (vec![self.file.to_string()], Vec::new());
        while let Some(file) = found.get(copies.len()) {
            let text = source(file).unwrap_or_default();
            let own = |path: &str| format!("package::{}::{path}::", self.alias);
            let mut copy = text.replace("package::config::", &own("config"));
            for other in imported(text).iter().filter(|file| varying.contains(file.as_str())) {
                if !found.contains(other) {
                    found.push(other.clone());
                }
                let path = other.replace('/', "::");
                copy = copy.replace(&format!("package::{path}::"), &own(&path));
            }
            let module = format!("{}/{}", self.alias, found[copies.len()]);
            copies.push((module, with_own_features(&copy, &|name| self.own(name))));
        }
        Ok(copies)
    }
}

/// The files that depend on features or constants, by themselves or by imports.
pub(super) fn varying<'a>(library: &[(&'a str, &str)]) -> BTreeSet<&'a str> {
    let imports: Vec<(&str, Vec<String>)> =
        library.iter().map(|(file, source)| (*file, imported(source))).collect();
    let own = |source: &str| source.contains("@if(") || source.contains("package::config::");
    let direct = library.iter().filter(|(_, source)| own(source)).map(|(file, _)| *file);
    let mut found: BTreeSet<&str> = direct.collect();
    loop {
        let more = imports.iter().filter(|(file, imports)| {
            !found.contains(file) && imports.iter().any(|other| found.contains(other.as_str()))
        });
        let more: Vec<&str> = more.map(|(file, _)| *file).collect();
        if more.is_empty() {
            return found;
        }
        found.extend(more);
    }
}

/// The files that a source imports from: `package::common::pow::...` is
/// `common/pow`.
fn imported(source: &str) -> Vec<String> {
    let file = |rest: &str| {
        let mut parts = rest.split("::");
        Some(format!("{}/{}", parts.next()?, parts.next()?))
    };
    source.split("package::").skip(1).filter_map(file).collect()
}

/// The source with the features in its conditions renamed.
fn with_own_features(source: &str, own: &dyn Fn(&str) -> String) -> String {
    let (mut out, mut rest) = (String::with_capacity(source.len() * 2), source);
    let start = |text: &str| {
        let starts = ["@if(", "@elif("].map(|word| text.find(word).map(|at| at + word.len()));
        starts.into_iter().flatten().min()
    };
    while let Some(at) = start(rest) {
        let end = at + closing(&rest[at..]);
        out.push_str(&rest[..at]);
        out.push_str(&renamed(&rest[at..end], own));
        rest = &rest[end..];
    }
    out.push_str(rest);
    out
}

/// Bytes up to the bracket that closes one opened before.
fn closing(text: &str) -> usize {
    let mut open = 1;
    for (at, c) in text.char_indices() {
        match c {
            '(' => open += 1,
            ')' => open -= 1,
            _ => {}
        }
        if open == 0 {
            return at;
        }
    }
    text.len()
}

fn renamed(condition: &str, own: &dyn Fn(&str) -> String) -> String {
    let word = |c: char| c.is_ascii_alphanumeric() || c == '_';
    let (mut out, mut rest) = (String::new(), condition);
    while let Some(at) = rest.find(word) {
        let end = rest[at..].find(|c| !word(c)).map_or(rest.len(), |n| at + n);
        out.push_str(&rest[..at]);
        match &rest[at..end] {
            literal @ ("true" | "false") => out.push_str(literal),
            name => out.push_str(&own(name)),
        }
        rest = &rest[end..];
    }
    out + rest
}

#[cfg(test)]
mod tests {
    use super::super::compile_with;
    use super::*;

    const FILES: &[(&str, &str)] = &[
        ("test/count", "var<private> calls: u32 = 0u;\nfn called() { calls += 1u; }\n"),
        ("test/by", "import package::config::BY;\nfn by() -> u32 { return BY; }\n"),
        (
            "test/step",
            "import package::test::by::by;\nimport package::test::count::called;\n\
             @if(more && !(less || never)) fn step(x: u32) -> u32 { called(); return x + by(); }\n\
             @elif(less) fn step(x: u32) -> u32 { called(); return x - by(); }\n",
        ),
    ];

    const ROOT: &str = "import package::a::test::step::step as first;
        import package::b::test::step::step as second;
        @group(0) @binding(0) var<storage, read_write> y: array<u32>;
        @compute @workgroup_size(1) fn main() { y[0] = first(second(y[1])); }";

    fn request(features: [&'static str; 2]) -> ShaderRequest {
        let mut request = ShaderRequest::from_source("root", ROOT);
        for (alias, feature, by) in [("a", features[0], 3u32), ("b", features[1], 5)] {
            let own = ShaderRequest::new("test/step").feature(feature).with("BY", by);
            request.instances.push(Instance::of(alias, &own));
        }
        request
    }

    #[test]
    fn each_instance_has_its_own_features_and_constants_and_shares_the_rest() {
        let wgsl = compile_with(FILES, &request(["more", "less"])).unwrap().wgsl;
        assert!(wgsl.contains("x + ") && wgsl.contains("x - "), "{wgsl}");
        assert!(wgsl.contains("= 3u") && wgsl.contains("= 5u"), "{wgsl}");
        assert_eq!(wgsl.matches("var<private>").count(), 1, "{wgsl}");
    }

    #[test]
    fn what_an_instance_does_not_have_is_an_error() {
        let message = |request| compile_with(FILES, &request).unwrap_err().to_string();
        assert!(message(request(["more", "typo"])).contains("typo"));
        let mut missing = request(["more", "less"]);
        missing.instances[0].file = "test/count".into();
        assert!(message(missing).contains("test/count"));
    }
}

//! Shaders and their host side, without a device: every variant compiles,
//! translates to the languages it claims and to no other, and every operator's
//! dispatches fit the shaders they name.

#![allow(
    clippy::expect_used,
    clippy::panic,
    reason = "a test program: what is wrong should stop it"
)]

#[path = "../support/adapters.rs"]
mod adapters;
mod host;
mod translate;

use rayon::prelude::*;
use std::collections::{BTreeSet, HashMap};
use std::hash::{BuildHasher, Hasher, RandomState};
use std::sync::{Arc, LazyLock, Mutex, OnceLock};
use translate::Checked;
use wginfer::gpu::{BindingKind, DeviceCaps, SHADERS, ShaderProgram, ShaderRequest, compile};
use wginfer::kernels::registry::{FAMILIES, KernelFamily};
use wginfer::kernels::{Language, Variant};

fn variants() -> impl Iterator<Item = (&'static KernelFamily, &'static Variant)> {
    FAMILIES.iter().flat_map(|family| family.variants.iter().map(move |variant| (family, variant)))
}

/// A shader that is linked once: one thread does it, another that needs it waits.
type Compiled = Arc<OnceLock<Result<ShaderProgram, String>>>;

/// The shader of a request, which all tests share.
fn compiled(request: &ShaderRequest) -> Compiled {
    static ALL: LazyLock<Mutex<HashMap<ShaderRequest, Compiled>>> = LazyLock::new(Mutex::default);
    let mut all = ALL.lock().expect("nothing panics while it is locked");
    let place = all.entry(request.clone()).or_default().clone();
    drop(all);
    place.get_or_init(|| compile(request).map_err(|e| e.to_string()));
    place
}

/// Every request of every variant.
fn requests() -> Vec<(&'static KernelFamily, &'static Variant, ShaderRequest)> {
    let mut requests = Vec::new();
    for (family, variant) in variants() {
        let own = (family.requests)(variant);
        assert!(!own.is_empty(), "{}/{} has no shader", family.name, variant.name);
        requests.extend(own.into_iter().map(|request| (family, variant, request)));
    }
    requests
}

/// What is wrong with the translations of one instantiation of a variant.
fn mistranslated(variant: &Variant, name: &str, request: &ShaderRequest) -> Vec<String> {
    let place = compiled(request);
    let checked = match place.get() {
        Some(Ok(program)) => Checked::new(&program.wgsl, &program.reflection),
        Some(Err(why)) => Err(why.clone()),
        None => Err("it was not linked".into()),
    };
    let checked = match checked {
        Ok(checked) => checked,
        Err(why) => return vec![format!("{name} [{request}]: {why}")],
    };
    let mut wrong = Vec::new();
    for &language in Language::ALL {
        let result = checked.translate(language, request.zero_workgroup);
        match (variant.languages.contains(&language), result) {
            (true, Err(why)) => {
                wrong.push(format!("{name} [{request}] claims {language:?}: {why}"))
            }
            // What else a variant dispatches may ask for less than it does.
            (false, Ok(())) if request.file == variant.shader => {
                wrong.push(format!("{name} [{request}] can be {language:?} and does not say so"));
            }
            _ => {}
        }
    }
    wrong
}

/// Whether a part will do.
fn quick() -> bool {
    std::env::var("WGINFER_TEST_QUICK").is_ok_and(|v| !v.is_empty() && v != "0")
}

/// Which parts quick runs take: another number in each, or `WGINFER_SEED`.
fn seed() -> u64 {
    static SEED: LazyLock<u64> = LazyLock::new(|| {
        let given = std::env::var("WGINFER_SEED").ok().map(|text| {
            text.trim().parse().unwrap_or_else(|_| panic!("WGINFER_SEED={text} is no number"))
        });
        let seed = given.unwrap_or_else(|| RandomState::new().build_hasher().finish() >> 32);
        println!("WGINFER_SEED={seed}");
        seed
    });
    *SEED
}

/// What a quick run translates: of each variant one instantiation in three, others each
/// time, which differ in constants for the most part.
fn translated() -> Vec<(&'static KernelFamily, &'static Variant, ShaderRequest)> {
    let all = requests();
    if !quick() {
        return all;
    }
    let seed = seed();
    let (mut place, mut last) = (0, None);
    let taken = all.into_iter().filter(|(family, variant, _)| {
        let own = Some((family.name, variant.name));
        place = if last == own { place + 1 } else { 0 };
        last = own;
        // The first as well, so that each variant has one.
        place == 0 || place % 3 == seed % 3
    });
    taken.collect()
}

#[test]
fn every_variant_translates_to_its_languages_and_no_other() {
    let wrong: Vec<String> = translated()
        .par_iter()
        .flat_map_iter(|(family, variant, request)| {
            let name = format!("{}/{}", family.name, variant.name);
            mistranslated(variant, &name, request)
        })
        .collect();
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
}

#[test]
fn a_shader_that_no_language_takes_is_noticed() {
    // Arrays without a size in private memory do not exist.
    let wgsl = "@compute @workgroup_size(1) fn main() { var x: array<u32>; }";
    let reflection = compile(&ShaderRequest::from_source(
        "good",
        "@group(0) @binding(0) var<storage, read_write> y: array<f32>;
         @compute @workgroup_size(1) fn main() { y[0] = 1.0; }",
    ))
    .unwrap()
    .reflection;
    for &language in Language::ALL {
        let checked = Checked::new(wgsl, &reflection);
        let translated = checked.and_then(|checked| checked.translate(language, true));
        assert!(translated.is_err(), "{language:?}");
    }
}

#[test]
fn needs_cover_what_the_shaders_use() {
    let requests = requests();
    let places: Vec<_> = requests.par_iter().map(|(_, _, request)| compiled(request)).collect();
    for ((family, variant, request), place) in requests.iter().zip(places) {
        let program = place.get().expect("it is linked").as_ref().unwrap_or_else(|e| panic!("{e}"));
        let (r, needs) = (&program.reflection, &variant.needs);
        let name = format!("{}/{} [{request}]", family.name, variant.name);
        assert!(needs.f16 || !r.uses.f16, "{name} uses f16");
        assert!(needs.subgroups || !r.uses.subgroups, "{name} uses subgroups");
        assert!(needs.coop.is_some() || !r.uses.coop, "{name} uses cooperative matrices");
        let invocations = r.invocations();
        assert!(u64::from(needs.invocations) >= invocations, "{name}: {invocations} invocations");
        let bytes = r.workgroup_bytes;
        assert!(needs.workgroup_bytes >= bytes, "{name}: {bytes} bytes of workgroup memory");
        let storage = r.bindings.iter().filter(|b| b.kind != BindingKind::Uniform).count();
        assert!(needs.storage_buffers as usize >= storage, "{name}: {storage} storage buffers");
        assert!(r.bindings.len() <= storage + 1, "{name}: more than one uniform buffer");
    }
}

/// WebGPU promises nothing optional, so on each platform some variant of each
/// family must do with the least.
#[test]
fn every_family_runs_on_the_least_device_of_each_platform() {
    let least = DeviceCaps::webgpu_minimum();
    for family in FAMILIES {
        for &language in Language::ALL {
            let plain = |variant: &&Variant| {
                variant.languages.contains(&language) && variant.needs.lacking(&least).is_none()
            };
            let found = family.variants.iter().find(plain);
            assert!(found.is_some(), "{} has nothing for {language:?}", family.name);
        }
    }
}

#[test]
fn names_are_unique_and_known() {
    let mut seen = BTreeSet::new();
    for (family, variant) in variants() {
        let name = format!("{}/{}", family.name, variant.name);
        for adapter in variant.executed_on {
            assert!(adapters::KNOWN.contains(adapter), "{name}: '{adapter}' is no known adapter");
        }
        assert!(seen.insert(name.clone()), "{name} twice");
    }
}

#[test]
fn every_shader_with_an_entry_point_belongs_to_a_variant() {
    let mut used: BTreeSet<String> = variants()
        .flat_map(|(family, variant)| (family.requests)(variant))
        .map(|request| request.file.to_string())
        .collect();
    // A device's own question, see `gpu/halves.rs`.
    used.insert("common/halves".into());
    for (file, source) in SHADERS {
        assert!(
            !source.contains("@compute") || used.contains(*file),
            "shaders/{file}.wgsl is no variant's"
        );
    }
}

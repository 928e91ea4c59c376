//! Fixtures of the quantisation tests, and shaders with a weight decoder in them.

use std::path::{Path, PathBuf};
use wesl::{VirtualResolver, Wesl};
use wginfer::DType;
use wginfer::quant::DeviceLayout;

/// Blocks of one type and the values PyPI `gguf` decodes them to.
pub(crate) struct Fixture {
    pub(crate) dtype: DType,
    pub(crate) bytes: Vec<u8>,
    pub(crate) values: Vec<f32>,
}

impl Fixture {
    pub(crate) fn read(dtype: DType) -> Self {
        let path = format!("tests/data/quant/{}.bin", dtype.name().to_lowercase());
        let file = std::fs::read(root().join(path)).unwrap();
        let (count, rest) = file.split_at(4);
        let blocks = u32::from_le_bytes(count.try_into().unwrap()) as usize;
        let (bytes, values) = rest.split_at(blocks * dtype.block_bytes());
        let values = bytemuck::pod_collect_to_vec(values);
        assert_eq!(values.len(), blocks * dtype.block_len());
        Fixture { dtype, bytes: bytes.to_vec(), values }
    }
}

/// The bits of each value: what "exactly equal" compares.
pub(crate) fn f32_bits(values: &[f32]) -> Vec<u32> {
    values.iter().map(|v| v.to_bits()).collect()
}

/// `kernel` as WGSL, with the type's decoder as `package::weight`.
pub(crate) fn compile(layout: &DeviceLayout, kernel: &str) -> String {
    let shaders = root().join("shaders");
    let mut resolver = VirtualResolver::new();
    let mut add = |name: &str, source: String| {
        resolver.add_module(name.parse().unwrap(), source.into());
    };
    for (folder, prefix) in [("", ""), ("common", "common::")] {
        for entry in std::fs::read_dir(shaders.join(folder)).unwrap() {
            let path = entry.unwrap().path();
            let name = path.file_stem().unwrap().to_str().unwrap();
            if path.is_file() {
                add(&format!("package::{prefix}{name}"), read(&path));
            }
        }
    }
    add("package::weight", read(&shaders.join(layout.shader())));
    add("package::main", kernel.to_owned());
    let mut wesl = Wesl::new_barebones().set_custom_resolver(resolver);
    wesl.use_imports(true).use_condcomp(true).use_stripping(true);
    wesl.set_feature("packed", layout.dtype.is_quantised());
    wesl.compile(&"package::main".parse().unwrap())
        .unwrap_or_else(|e| panic!("{}: {e}", layout.shader()))
        .to_string()
}

fn read(path: &Path) -> String {
    std::fs::read_to_string(path).unwrap_or_else(|e| panic!("{}: {e}", path.display()))
}

fn root() -> PathBuf {
    PathBuf::from(env!("CARGO_MANIFEST_DIR"))
}

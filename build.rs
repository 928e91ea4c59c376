//! Embeds `shaders/**/*.wgsl` as a table of (module, source), sorted by module.

use std::fmt::Write as _;
use std::path::{Path, PathBuf};
use std::{env, fs, io};

fn main() -> Result<(), Box<dyn std::error::Error>> {
    let root = PathBuf::from(env::var("CARGO_MANIFEST_DIR")?).join("shaders");
    println!("cargo::rerun-if-changed=build.rs");
    println!("cargo::rerun-if-changed=shaders");
    let mut modules = Vec::new();
    if root.is_dir() {
        collect(&root, "", &mut modules)?;
    }
    modules.sort();
    let mut table = String::from("&[\n");
    for module in &modules {
        writeln!(
            table,
            "({module:?}, include_str!(concat!(env!(\"CARGO_MANIFEST_DIR\"), \"/shaders/{module}.wgsl\"))),"
        )?;
    }
    table.push_str("]\n");
    fs::write(PathBuf::from(env::var("OUT_DIR")?).join("shaders.rs"), table)?;
    Ok(())
}

/// Adds the modules under `dir` as `family/file`, without the extension.
fn collect(dir: &Path, prefix: &str, modules: &mut Vec<String>) -> io::Result<()> {
    for entry in fs::read_dir(dir)? {
        let path = entry?.path();
        let name = path.file_stem().and_then(|s| s.to_str()).unwrap_or_default().to_owned();
        if path.is_dir() {
            collect(&path, &format!("{prefix}{name}/"), modules)?;
        } else if path.extension().is_some_and(|e| e == "wgsl") {
            // A module's name is part of an import path.
            let good =
                name.chars().all(|c| c.is_ascii_lowercase() || c.is_ascii_digit() || c == '_')
                    && name.starts_with(|c: char| c.is_ascii_lowercase());
            if !good {
                return Err(io::Error::other(format!("{}: not a module name", path.display())));
            }
            modules.push(format!("{prefix}{name}"));
        }
    }
    Ok(())
}

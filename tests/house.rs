//! The walls that `ARCHITECTURE.md` draws between rooms.
#![allow(clippy::unwrap_used, clippy::panic, reason = "tests may panic")]

use std::path::{Path, PathBuf};

/// Rooms, and what must not be named in them.
const WALLS: &[(&[&str], &[&str])] = &[
    (&["exec", "plan", "passes", "kernels", "graph", "gpu"], &["crate::session", "crate::lm"]),
    (&["exec", "plan", "passes", "graph", "gpu"], &["crate::onnx", "crate::formats"]),
    (&["gpu"], &["crate::graph", "crate::ops", "crate::kernels"]),
    // What is known of an adapter comes from outside, through a trait.
    (&["exec", "plan", "passes", "kernels", "graph", "gpu"], &["crate::tune"]),
    // Blocking stays at the edges.
    (&["exec", "plan", "passes", "kernels", "ops", "graph"], &["block_on", "pollster"]),
];

fn files(folder: &Path) -> Vec<PathBuf> {
    let entries = std::fs::read_dir(folder).unwrap().map(|entry| entry.unwrap().path());
    entries.flat_map(|path| if path.is_dir() { files(&path) } else { vec![path] }).collect()
}

#[test]
fn rooms_know_only_what_they_should() {
    let source = Path::new(env!("CARGO_MANIFEST_DIR")).join("src");
    for (rooms, strangers) in WALLS {
        for room in *rooms {
            let files = files(&source.join(room));
            assert!(!files.is_empty(), "{room}");
            for file in files {
                let text = std::fs::read_to_string(&file).unwrap();
                // What a file tries in its own tests builds no wall.
                let code = text.split("#[cfg(test)]").next().unwrap();
                for stranger in *strangers {
                    assert!(!code.contains(stranger), "{} names {stranger}", file.display());
                }
            }
        }
    }
}

/// The map names every folder and file of the top and of `src`.
#[test]
fn the_map_is_complete() {
    let root = Path::new(env!("CARGO_MANIFEST_DIR"));
    let map = std::fs::read_to_string(root.join("ARCHITECTURE.md")).unwrap();
    let names = |folder: &str| -> Vec<String> {
        let entries = std::fs::read_dir(root.join(folder)).unwrap();
        let names = entries.map(|entry| entry.unwrap().file_name().into_string().unwrap());
        names.filter(|name| name != "mod.rs" && name != "lib.rs").collect()
    };
    for name in names("src") {
        assert!(map.contains(&format!("`src/{name}")), "src/{name} has no row");
    }
    for folder in ["tests", "examples", "fuzz", "scripts", "docs", "benches", "shaders"] {
        assert!(map.contains(&format!("`{folder}/")), "{folder} has no row");
    }
}

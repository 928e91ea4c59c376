//! The shaders that are compiled in, or in debug builds those of a folder.

use super::SHADERS;

/// All shaders: module (`family/file`) and source.
#[cfg(not(debug_assertions))]
pub(super) fn library() -> &'static [(&'static str, &'static str)] {
    SHADERS
}

/// In debug builds, `WGINFER_SHADERS` names a folder whose files stand in the place
/// of those that are compiled in, so that a kernel can be worked on without
/// building anything. Files that are only there are modules as well.
#[cfg(debug_assertions)]
pub(super) fn library() -> &'static [(&'static str, &'static str)] {
    use std::sync::OnceLock;
    static CHANGED: OnceLock<Option<Vec<(&str, &str)>>> = OnceLock::new();
    let changed = CHANGED.get_or_init(|| {
        let folder = std::env::var_os("WGINFER_SHADERS")?;
        let mut files = SHADERS.to_vec();
        add(std::path::Path::new(&folder), "", &mut files);
        log::warn!("shaders are read from {}", folder.display());
        Some(files)
    });
    changed.as_deref().unwrap_or(SHADERS)
}

/// Puts the files below `dir` in the place of those of the same name. Their texts
/// stay for the life of the process.
#[cfg(debug_assertions)]
fn add(dir: &std::path::Path, prefix: &str, files: &mut Vec<(&'static str, &'static str)>) {
    for entry in std::fs::read_dir(dir).into_iter().flatten().flatten() {
        let path = entry.path();
        let stem = path.file_stem().and_then(|stem| stem.to_str()).unwrap_or_default();
        let module = format!("{prefix}{stem}");
        if path.is_dir() {
            add(&path, &format!("{module}/"), files);
        } else if let Ok(text) = std::fs::read_to_string(&path)
            && path.extension().is_some_and(|extension| extension == "wgsl")
        {
            let text: &'static str = text.leak();
            match files.iter_mut().find(|(name, _)| *name == module) {
                Some(file) => file.1 = text,
                None => files.push((module.leak(), text)),
            }
        }
    }
}

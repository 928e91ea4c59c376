//! Files that are read in place, and files that a model names beside itself.

use crate::error::{Error, Result};
use crate::tensor::Bytes;
use std::path::{Component, Path, PathBuf};
use std::sync::Arc;

/// Maps a whole file, which must not be changed while the map is there.
///
/// # Errors
/// [`Error::Io`] if it cannot be opened or mapped, or is no regular file.
pub(super) fn map(path: &Path) -> Result<Bytes> {
    let io = |source| Error::Io { path: path.to_path_buf(), source };
    let file = std::fs::File::open(path).map_err(io)?;
    if !file.metadata().map_err(io)?.is_file() {
        let kind = std::io::ErrorKind::InvalidInput;
        return Err(io(std::io::Error::new(kind, "not a regular file")));
    }
    // SAFETY: the map is read-only and private. Another process truncating
    // the file while it is mapped is outside what any reader of a map can
    // guard against; the documentation of whatever opens a file says so.
    let map = unsafe { memmap2::Mmap::map(&file) }.map_err(io)?;
    Ok(Bytes::mapped(Arc::new(map)))
}

/// The path of a file that a model in `folder` names by `location`.
///
/// # Errors
/// [`Error::Input`] if that is no path inside the folder, also once links are
/// followed; [`Error::Io`] if there is no such file.
pub(crate) fn inside(folder: &Path, location: &str) -> Result<PathBuf> {
    let refused = |what: &str| Err(Error::input("location", what, location));
    let relative = Path::new(location);
    let plain = |part: Component<'_>| matches!(part, Component::Normal(_) | Component::CurDir);
    if location.is_empty() || location.contains('\\') || !relative.components().all(plain) {
        return refused("must be a path inside the model's folder");
    }
    let path = folder.join(relative);
    let io = |source| Error::Io { path: path.clone(), source };
    // Links are followed first: none may lead out of the folder.
    let real = path.canonicalize().map_err(io)?;
    let folder = folder.canonicalize().map_err(io)?;
    let blobs = blobs(&folder);
    if !real.starts_with(&folder) && !blobs.is_some_and(|blobs| real.starts_with(blobs)) {
        return refused("leads out of the model's folder");
    }
    Ok(real)
}

/// Where the files of a folder are in the cache of `huggingface_hub`, which has
/// links to `REPO/blobs` in `REPO/snapshots/REVISION`.
fn blobs(folder: &Path) -> Option<PathBuf> {
    let snapshots = folder.ancestors().skip(1).find(|above| above.ends_with("snapshots"))?;
    Some(snapshots.parent()?.join("blobs"))
}

/// The text of a small file.
///
/// # Errors
/// [`Error::Io`] if it cannot be read, [`Error::Limit`] if it has more than
/// `most` bytes, [`Error::Format`] if it is no UTF-8.
pub(crate) fn text(path: &Path, most: u64) -> Result<String> {
    use std::io::Read;
    let io = |source| Error::Io { path: path.to_path_buf(), source };
    let file = std::fs::File::open(path).map_err(io)?;
    let mut bytes = Vec::new();
    file.take(most + 1).read_to_end(&mut bytes).map_err(io)?;
    if bytes.len() as u64 > most {
        return Err(Error::Limit {
            what: path.display().to_string(),
            limit_name: "the size of such a file (bytes)".into(),
            needed: bytes.len() as u64,
            limit: most,
        });
    }
    String::from_utf8(bytes).map_err(|error| {
        let at = format!("byte {}", error.utf8_error().valid_up_to());
        Error::format(&path.display().to_string(), at, "not UTF-8")
    })
}

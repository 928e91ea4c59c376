//! The demonstration model in the user's cache.

use libtest_mimic::Failed;
use std::path::PathBuf;

/// Where it is.
///
/// # Errors
/// If it is missing; `scripts/fetch_demo_model.sh` puts it there.
pub fn path() -> Result<PathBuf, Failed> {
    let directory = std::env::var_os("WGINFER_CACHE").map(PathBuf::from).or_else(|| {
        let cache = std::env::var_os("XDG_CACHE_HOME").map(PathBuf::from);
        let home = || std::env::var_os("HOME").map(|home| PathBuf::from(home).join(".cache"));
        Some(cache.or_else(home)?.join("wginfer"))
    });
    let path =
        directory.ok_or("no cache directory")?.join("models/SmolLM2-135M-Instruct.Q4_1.gguf");
    if path.exists() {
        return Ok(path);
    }
    Err(format!("{} is missing; run scripts/fetch_demo_model.sh", path.display()).into())
}

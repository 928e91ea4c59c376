//! The demonstration model in the user's cache.

use super::cache;
use libtest_mimic::Failed;
use std::path::PathBuf;

/// Where it is.
///
/// # Errors
/// If it is missing; `scripts/fetch_demo_model.sh` puts it there.
pub fn path() -> Result<PathBuf, Failed> {
    let path = cache::demo_model().ok_or("no cache directory")?;
    if path.exists() {
        return Ok(path);
    }
    Err(format!("{} is missing; run scripts/fetch_demo_model.sh", path.display()).into())
}

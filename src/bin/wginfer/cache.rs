//! The user's cache: where scripts put what they fetch. Shared with the tests.

use std::path::PathBuf;

/// The model that `scripts/fetch_demo_model.sh` fetches, below the folder.
const DEMO_MODEL: &str = "models/SmolLM2-135M-Instruct.Q4_1.gguf";

/// The folder of the model that `scripts/fetch_embed_model.sh` fetches.
const EMBED_MODEL: &str = "models/all-MiniLM-L6-v2";

/// The folder, as `cache_dir` in `scripts/lib.sh` has it; variables that are
/// empty count as not set. `None` if `HOME` is not set either.
pub(crate) fn dir() -> Option<PathBuf> {
    let variable = |name| std::env::var_os(name).filter(|v| !v.is_empty()).map(PathBuf::from);
    variable("WGINFER_CACHE")
        .or_else(|| variable("XDG_CACHE_HOME").map(|dir| dir.join("wginfer")))
        .or_else(|| variable("HOME").map(|dir| dir.join(".cache/wginfer")))
}

/// Where the demonstration model is, once it was fetched.
pub(crate) fn demo_model() -> Option<PathBuf> {
    dir().map(|dir| dir.join(DEMO_MODEL))
}

/// Where the model for embeddings is, once it was fetched.
pub(crate) fn embed_model() -> Option<PathBuf> {
    dir().map(|dir| dir.join(EMBED_MODEL))
}

//! Models that are named by where they are on the hub.

use crate::failure::Failure;
use crate::output::{note, safe};
use indicatif::{ProgressBar, ProgressDrawTarget, ProgressStyle};
use std::path::{Path, PathBuf};
use wginfer::formats::hub::{HubFile, HubOptions};

/// The file that a path or `hf:OWNER/REPOSITORY/FILE` names, fetched if need be.
pub(crate) fn local(path: &Path, quiet: bool) -> Result<PathBuf, Failure> {
    let Some(name) = path.to_str() else { return Ok(path.to_path_buf()) };
    let Some(file) = HubFile::parse(name)? else { return Ok(path.to_path_buf()) };
    let target = if quiet { ProgressDrawTarget::hidden() } else { ProgressDrawTarget::stderr() };
    let bar = ProgressBar::with_draw_target(Some(0), target);
    if let Ok(style) =
        ProgressStyle::with_template("{msg} {bar:30} {bytes}/{total_bytes} {bytes_per_sec} {eta}")
    {
        bar.set_style(style);
    }
    let mut shown = String::new();
    let found = file.fetch(&HubOptions::default(), &mut |name, done, all| {
        if shown != name {
            shown = name.to_string();
            bar.set_message(safe(name));
        }
        bar.set_length(all);
        bar.set_position(done);
    });
    bar.finish_and_clear();
    let found = found?;
    if !quiet && !shown.is_empty() {
        note(format_args!("Fetched {}", safe(name)));
    }
    Ok(found)
}

//! Files with what a model keeps of a text.

use crate::failure::Failure;
use crate::output::{note, safe};
use std::path::Path;
use wginfer::ErrorKind;
use wginfer::lm::{LanguageModel, Snapshot};

/// Has a model go on from what a file has, if there is one. A file of another model leaves it
/// as it is, and a note says so; what is no such file is an error, before it is overwritten.
pub(crate) fn restore(
    model: &mut LanguageModel,
    path: &Path,
    quiet: bool,
) -> Result<Option<Snapshot>, Failure> {
    let backend = model.backend().clone();
    // A model that cannot do so says it now, and not behind the text.
    backend.block_on(model.snapshot())?;
    if !path.exists() {
        return Ok(None);
    }
    let snapshot = Snapshot::open(path)?;
    match backend.block_on(model.restore(&snapshot)) {
        Ok(()) => (),
        Err(error) if matches!(error.kind(), ErrorKind::Input | ErrorKind::Limit) => {
            if !quiet {
                note(safe(&format!("{}: computed anew: {error}", path.display())));
            }
        }
        Err(error) => return Err(error.into()),
    }
    Ok(Some(snapshot))
}

/// Writes what a model keeps, with a text of the command's beside it.
pub(crate) fn save(
    model: &LanguageModel,
    path: &Path,
    attachment: Option<String>,
) -> Result<(), Failure> {
    let snapshot = model.backend().block_on(model.snapshot())?;
    let snapshot = match attachment {
        Some(text) => snapshot.with_attachment(text),
        None => snapshot,
    };
    Ok(snapshot.save(path)?)
}

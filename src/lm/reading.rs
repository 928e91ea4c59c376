//! The part of a model that reads a text as a whole, for the part that writes (T5).

use super::decoder::names;
use super::encoder::Reader;
use super::file::ModelFile;
use super::model::ModelOptions;
use crate::backend::Backend;
use crate::embed::bounds;
use crate::error::Result;
use crate::exec::WorkingMemory;
use crate::session::{Progress, Session};
use crate::tensor::Tensor;

/// A session over it, which shares the table of embeddings on a device with that of the
/// part that writes.
#[derive(Debug)]
pub(super) struct Reading {
    reader: Reader,
    session: Session,
}

impl Reading {
    /// `None` for a model of one part. Texts have at most `context` tokens.
    ///
    /// # Errors
    /// As [`Reader::session`].
    pub(super) async fn open(
        file: &ModelFile,
        backend: &Backend,
        options: &ModelOptions,
        context: usize,
        progress: Progress<'_>,
    ) -> Result<Option<Self>> {
        if file.spec().source.is_none() {
            return Ok(None);
        }
        let reader = Reader::open(file)?;
        let bounds = (bounds(context), vec![1]);
        let session = Reader::session(file, backend, options, bounds, progress).await?;
        Ok(Some(Reading { reader, session }))
    }

    pub(super) fn memory(&self) -> WorkingMemory {
        self.session.memory()
    }

    /// The vectors of a text's tokens: F32 `[1, tokens, width]`.
    ///
    /// # Errors
    /// What the device fails with.
    pub(super) async fn read(&mut self, text: &[u32]) -> Result<Tensor> {
        let vectors = self.reader.run(&mut self.session, &[text], text.len()).await?;
        Tensor::from_f32(&[1, text.len(), self.reader.width], &vectors)
    }
}

/// What a step is told of sources: the vectors of the one that it brings, where they go in
/// the caches of each sequence, and how many keys of its own each one sees, less the
/// queries of the step.
///
/// # Errors
/// None that is known.
pub(super) fn inputs(
    read: Option<&Tensor>,
    width: usize,
    place: &[i32],
    seen: &[i32],
) -> Result<[(&'static str, Tensor); 3]> {
    let read = match read {
        Some(read) => read.clone(),
        None => Tensor::from_f32(&[1, 0, width], &[])?,
    };
    Ok([
        (names::READ, read),
        (names::READ_PLACE, Tensor::from_i32(&[place.len()], place)?),
        (names::SEEN, Tensor::from_i32(&[seen.len()], seen)?),
    ])
}

//! An engine over an encoder: each step computes the vectors of whole texts.

use super::{Engine, EngineOptions, Event, SequenceId, Share, Slot};
use crate::backend::Backend;
use crate::embed::{COUNTS, bounds};
use crate::error::{Error, Result};
use crate::lm::encoder::Reader;
use crate::lm::file::ModelFile;
use crate::session::{Progress, Session};
use std::sync::Arc;

impl Engine {
    /// Computes the texts of all slots together, as far as there is room for their tokens,
    /// padding included: those that are longest first.
    pub(super) async fn run_whole(&mut self, events: &mut Vec<(SequenceId, Event)>) {
        let Some(reader) = &self.reader else { return };
        let length = |slot: &Slot| slot.pending().len();
        let all = self.slots.iter().enumerate().map(|(slot, place)| (slot, length(place)));
        let mut shares: Vec<Share> = all
            .filter(|&(_, tokens)| tokens > 0)
            .map(|(slot, tokens)| Share { slot, tokens })
            .collect();
        shares.sort_by_key(|share| std::cmp::Reverse(share.tokens));
        let Some(longest) = shares.first().map(|share| share.tokens) else { return };
        let room = (self.chunk / longest).clamp(1, reader.room(longest));
        shares.truncate(room);
        let vectors = self.vectors(&shares, longest).await;
        let vectors = match vectors {
            Ok(vectors) => vectors,
            Err(error) => return self.fail_all(&shares, error, events),
        };
        for (share, vector) in shares.iter().zip(vectors) {
            let Some(sequence) = self.slots[share.slot].sequence.take() else { continue };
            match vector {
                Ok(vector) => events.push((sequence.id, self.behind.told(vector))),
                Err(error) => events.push((sequence.id, Event::Failed(Arc::new(error)))),
            }
        }
    }

    async fn vectors(&mut self, shares: &[Share], length: usize) -> Result<Vec<Result<Vec<f32>>>> {
        let Some(reader) = &self.reader else { return Ok(Vec::new()) };
        let texts: Vec<Vec<u32>> =
            shares.iter().map(|share| self.slots[share.slot].pending().to_vec()).collect();
        let texts: Vec<&[u32]> = texts.iter().map(Vec::as_slice).collect();
        self.counters.prompt_steps += 1;
        let all = reader.run(&mut self.session, &texts, length).await?;
        let width = reader.width;
        let of = |(i, text): (usize, &&[u32])| {
            let start = i * length * width;
            let tokens = all.get(start..start + text.len() * width);
            let lost = || Error::internal("fewer vectors than tokens");
            reader.head.through(tokens.ok_or_else(lost)?, width, &reader.dense)
        };
        Ok(texts.iter().enumerate().map(of).collect())
    }
}

/// A session over an encoder, for as many texts at once as there are slots.
pub(super) async fn whole_session(
    file: &ModelFile,
    backend: &Backend,
    options: &EngineOptions,
    context: usize,
    progress: Progress<'_>,
) -> Result<Session> {
    let counts = COUNTS.iter().map(|&count| count as u64).filter(|&n| n < options.slots as u64);
    let counts = counts.chain([options.slots as u64]).collect();
    let bounds = (bounds(context), counts);
    Reader::session(file, backend, &options.model, bounds, progress).await
}

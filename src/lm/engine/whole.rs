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
    /// Computes the texts of slots together, as far as there is room for their tokens,
    /// padding included.
    pub(super) async fn run_whole(&mut self, events: &mut Vec<(SequenceId, Event)>) {
        let shares = self.whole_shares();
        let Some(longest) = shares.iter().map(|share| share.tokens).max() else { return };
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

    /// Who takes part in the next step: whoever has its slot for longest, so that nobody
    /// waits for as long as others come, and whoever else fits beside, in that order.
    fn whole_shares(&self) -> Vec<Share> {
        let Some(reader) = &self.reader else { return Vec::new() };
        let share = |(slot, place): (usize, &Slot)| Share { slot, tokens: place.pending().len() };
        let all = self.slots.iter().enumerate().map(share);
        let mut waiting: Vec<Share> = all.filter(|share| share.tokens > 0).collect();
        waiting.sort_by_key(|share| self.slots[share.slot].used());
        let (mut shares, mut longest) = (Vec::new(), 0);
        for share in waiting {
            let length = longest.max(share.tokens);
            let room = (self.chunk / length).clamp(1, reader.room(length).max(1));
            if shares.len() < room {
                longest = length;
                shares.push(share);
            }
        }
        shares
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

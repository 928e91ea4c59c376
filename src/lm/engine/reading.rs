//! Sequences whose prompts another part of the model reads (T5).
//!
//! In a step at most one prompt is read, and its keys and values go to the caches with the
//! tokens of all sequences that are written, its first one among them.

use super::layout::Row;
use super::{Engine, Event, SequenceId};
use crate::error::{Error, ErrorKind, Result};
use crate::lm::reading;
use crate::tensor::Tensor;
use std::sync::Arc;

impl Engine {
    /// Reads the prompt of the sequence that waits for longest.
    pub(super) async fn read_one(&mut self, events: &mut Vec<(SequenceId, Event)>) {
        let (Some(source), Some(reading)) = (self.file.spec().source, &mut self.reading) else {
            return;
        };
        // One that was read and not brought to the caches: a step was dropped.
        if self.slots.iter().any(|slot| slot.sequence.is_some() && slot.read.is_some()) {
            return;
        }
        let unread = |(at, slot): (usize, &super::Slot)| {
            slot.unread(source).map(|text| (slot.used(), at, text.to_vec()))
        };
        let Some((_, at, text)) = self.slots.iter().enumerate().filter_map(unread).min() else {
            return;
        };
        match reading.read(&text).await {
            Ok(vectors) => {
                let slot = &mut self.slots[at];
                slot.source = text.len();
                slot.kept = text;
                slot.read = Some(vectors);
            }
            Err(error) if error.kind() == ErrorKind::DeviceLost => {
                self.fail_all(&[], error, events);
            }
            Err(error) => self.fail(at, &Arc::new(error), events),
        }
    }

    /// What a step is told of sources, besides the tokens of its rows.
    pub(super) fn sources(
        &self,
        rows: &[Row<'_>],
        padded: usize,
    ) -> Result<[(&'static str, Tensor); 3]> {
        // A slot that takes no part sees nothing.
        let mut seen = vec![-(padded as i32); self.slots.len()];
        let mut place = vec![self.capacity as i32; self.slots.len()];
        let mut read = None;
        for row in rows {
            let slot = &self.slots[row.slot];
            seen[row.slot] += slot.source as i32;
            if let Some(vectors) = &slot.read {
                if read.replace(vectors).is_some() {
                    return Err(Error::internal("two sources in one step"));
                }
                place[row.slot] = 0;
            }
        }
        reading::inputs(read, self.file.spec().width, &place, &seen)
    }
}

//! What a step does: who gets a slot, who takes part, what is computed, and who is told.

use super::layout::{Row, Step};
use super::sequence::Sequence;
use super::sizes::MOST_ROWS;
use super::slot::{self, Slot};
use super::{AHEAD, Engine, Event, SequenceId, Share};
use crate::error::{Error, ErrorKind, Result};
use crate::lm::decoder::names;
use crate::lm::known::{Rows, Taken};
use crate::tensor::Tensor;
use std::sync::Arc;

impl Engine {
    /// A step that was dropped half-way may have brought states forward; keys and values
    /// that it wrote do no harm.
    pub(super) fn forget_dropped(&mut self) {
        let goes_back = self.file.spec().goes_back();
        for slot in self.slots.iter_mut().filter(|slot| slot.stepping) {
            slot.stepping = false;
            if !goes_back {
                slot.forget();
            }
        }
    }

    /// Gives free slots to those that wait.
    pub(super) async fn admit(&mut self, events: &mut Vec<(SequenceId, Event)>) {
        let keeping = self.file.spec().keeping();
        while let Some(first) = self.queue.front() {
            let Some(at) = slot::choose(&self.slots, first, keeping) else { return };
            let room = first.room(AHEAD).min(self.context);
            let Some(mut sequence) = self.queue.pop_front() else { return };
            // Of a prompt that is told something is computed in any case.
            let over = sequence.limit(self.context).filter(|_| !sequence.echoes());
            if let Some(reason) = over {
                events.push((sequence.id, sequence.end(reason)));
                continue;
            }
            match self.reserve(room).await {
                Ok(()) => (),
                Err(error) if error.kind() == ErrorKind::DeviceLost => {
                    // It fails with all that run.
                    self.slots[at].sequence = Some(sequence);
                    return self.fail_all(&[], error, events);
                }
                // There may be room enough without looking ahead.
                Err(error) => log::info!("room for {room} tokens: {error}"),
            }
            self.now += 1;
            let prompt = sequence.tokens().len();
            let reused = self.slots[at].take(sequence, self.now, keeping);
            self.counters.reused_tokens += reused as u64;
            self.counters.prompt_tokens += (prompt - reused) as u64;
        }
    }

    /// Who takes part in the next step: all that wait for one token, or as many
    /// tokens of prompts as a step has.
    pub(super) fn shares(&mut self) -> Vec<Share> {
        let pending = |(slot, place): (usize, &Slot)| Share { slot, tokens: place.pending().len() };
        let source = self.file.spec().source;
        let unread = |place: &Slot| source.is_some_and(|source| place.unread(source).is_some());
        let all = self.slots.iter().enumerate().filter(|(_, place)| !unread(place)).map(pending);
        let (mut prompts, single): (Vec<Share>, Vec<Share>) =
            all.filter(|share| share.tokens > 0).partition(|share| share.tokens > 1);
        prompts.sort_by_key(|share| self.slots[share.slot].used());
        let decode = prompts.is_empty() || (self.prompts_last && !single.is_empty());
        self.prompts_last = !decode;
        if decode {
            return single;
        }
        let (mut left, mut rows) = (self.chunk, MOST_ROWS);
        let cut = |share: Share| {
            let sequence = self.slots[share.slot].sequence.as_ref();
            let echoes = sequence.is_some_and(Sequence::echoes);
            let tokens = share.tokens.min(left).min(if echoes { rows } else { left });
            rows -= if echoes { tokens } else { 0 };
            left -= tokens;
            Share { tokens, ..share }
        };
        prompts.into_iter().map(cut).filter(|share| share.tokens > 0).collect()
    }

    /// Has the draft propose, before a step of single tokens. What goes wrong there is
    /// no reason to end a text, unless the device is lost.
    pub(super) async fn draft(&mut self, shares: &[Share], events: &mut Vec<(SequenceId, Event)>) {
        self.slots.iter_mut().for_each(|slot| slot.proposed.clear());
        let Some(ahead) = &mut self.ahead else { return };
        if self.prompts_last {
            return;
        }
        let most = self.chunk.saturating_sub(shares.len());
        let bounds = (self.context, most, self.file.spec().vocabulary);
        let Err(error) = ahead.propose(&mut self.slots, shares, bounds).await else { return };
        ahead.forget();
        self.slots.iter_mut().for_each(|slot| slot.proposed.clear());
        if error.kind() == ErrorKind::DeviceLost {
            return self.fail_all(shares, error, events);
        }
        log::warn!("the draft proposes nothing: {error}");
    }

    /// Lets the caches grow for those that need it; who finds no room fails.
    pub(super) async fn make_room(
        &mut self,
        shares: Vec<Share>,
        events: &mut Vec<(SequenceId, Event)>,
    ) -> Vec<Share> {
        let mut rest = Vec::new();
        for share in shares {
            let slot = &self.slots[share.slot];
            if slot.sequence.is_none() {
                continue;
            }
            let needed = slot.kept.len() + share.tokens;
            let ahead = slot.proposed.len();
            if ahead > 0 && self.reserve(needed + ahead).await.is_err() {
                // There may be room enough without a draft.
                self.slots[share.slot].proposed.clear();
            }
            match self.reserve(needed).await {
                Ok(()) => rest.push(share),
                Err(error) if error.kind() == ErrorKind::DeviceLost => {
                    self.fail_all(&[], error, events);
                    return Vec::new();
                }
                Err(error) => self.fail(share.slot, &Arc::new(error), events),
            }
        }
        rest
    }

    async fn reserve(&mut self, tokens: usize) -> Result<()> {
        // An encoder has no caches.
        if tokens <= self.capacity || self.reader.is_some() {
            return Ok(());
        }
        let capacity = tokens.next_power_of_two().min(self.context);
        self.session.set_symbol(names::CAPACITY, capacity as u64).await?;
        self.capacity = capacity;
        Ok(())
    }

    pub(super) async fn run(&mut self, shares: &[Share], events: &mut Vec<(SequenceId, Event)>) {
        shares.iter().for_each(|share| self.slots[share.slot].stepping = true);
        let outputs = self.compute(shares).await;
        shares.iter().for_each(|share| self.slots[share.slot].stepping = false);
        let outputs = match outputs {
            Ok(outputs) => outputs,
            Err(error) => return self.fail_all(shares, error, events),
        };
        let width = self.file.spec().width;
        let (rows, mut hidden) = (&outputs.0, &outputs.1[..]);
        let mut taken = Taken::default();
        for share in shares {
            let slot = &mut self.slots[share.slot];
            let (wants, first) = (slot.wants(share.tokens), slot.kept.len());
            let new = slot.pending()[..share.tokens].to_vec();
            slot.kept.extend(new);
            slot.read = None;
            let done = slot.pending().is_empty();
            let Some(sequence) = &mut slot.sequence else { continue };
            let id = sequence.id;
            let told = if sequence.wants_states() {
                let (mine, rest) = hidden.split_at((share.tokens * width).min(hidden.len()));
                hidden = rest;
                Ok(sequence.take_states(mine, width, done))
            } else {
                let known = taken.next(rows, wants);
                known.and_then(|known| slot.take_rows(&self.file, first, &known, self.context))
            };
            match told {
                Ok(told) => self.tell(share.slot, id, told, events),
                Err(error) => self.fail(share.slot, &Arc::new(error), events),
            }
        }
    }

    /// Runs the graph: what those want to know whose prompt is complete, and hidden
    /// states `[tokens, width]` of those that want them.
    async fn compute(&mut self, shares: &[Share]) -> Result<(Rows, Vec<f32>)> {
        let tokens: Vec<Vec<u32>> =
            shares.iter().map(|share| self.slots[share.slot].next(share.tokens)).collect();
        let row = |at: usize| {
            let slot = &self.slots[shares[at].slot];
            let states = slot.sequence.as_ref().is_some_and(Sequence::wants_states);
            let (logits, wanted) = slot.wants(shares[at].tokens);
            // What was read has no places among what is written.
            let (slot, past) = (shares[at].slot, slot.kept.len() - slot.source);
            Row { slot, past, tokens: &tokens[at], logits, wanted, states }
        };
        let rows: Vec<Row<'_>> = (0..shares.len()).map(row).collect();
        let drafted = shares.iter().any(|share| !self.slots[share.slot].proposed.is_empty());
        let step = Step::new(&rows, self.slots.len(), self.capacity);
        let mut inputs = step.inputs()?;
        if self.reading.is_some() {
            inputs.extend(self.sources(&rows, step.padded)?);
        }
        let inputs: Vec<(&str, &Tensor)> =
            inputs.iter().map(|(name, tensor)| (*name, tensor)).collect();
        if step.padded == 1 || drafted {
            self.counters.decode_steps += 1;
        } else {
            self.counters.prompt_steps += 1;
        }
        let mut options = step.run_options();
        // A source is as much work as a long prompt.
        options.one_submission &= rows.iter().all(|row| self.slots[row.slot].read.is_none());
        let outputs = self.session.run_with(&inputs, &options).await?;
        let hidden = outputs.iter().find(|(name, _)| name == names::HIDDEN);
        let hidden = hidden.ok_or_else(|| Error::internal("a decoder without hidden states"))?;
        Ok((Rows::new(&outputs, self.file.spec().vocabulary)?, hidden.1.to_f32()?))
    }

    /// Passes on what a sequence gave, and frees its slot if that was the last.
    fn tell(
        &mut self,
        slot: usize,
        id: SequenceId,
        told: Vec<Event>,
        events: &mut Vec<(SequenceId, Event)>,
    ) {
        for event in told {
            self.counters.tokens += u64::from(matches!(event, Event::Piece(_)));
            if let Event::Finished { stats, .. } = &event {
                self.counters.drafted += stats.drafted as u64;
                self.counters.accepted += stats.accepted as u64;
            }
            if event.is_last() {
                self.slots[slot].sequence = None;
            }
            events.push((id, event));
        }
    }
}

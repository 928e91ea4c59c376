//! Places for sequences, and which one a new sequence gets.

use super::Event;
use super::sequence::Sequence;
use crate::error::Result;
use crate::lm::file::ModelFile;
use crate::lm::generate::{common, reusable};
use crate::lm::known::{Known, Wanted};
use crate::lm::parts::{Keeping, Source};
use crate::lm::sampler::Proposal;
use crate::tensor::Tensor;

/// A part of the caches for one sequence at a time.
#[derive(Debug, Default)]
pub(super) struct Slot {
    /// The tokens whose keys and values are in this part.
    pub(super) kept: Vec<u32>,
    pub(super) sequence: Option<Sequence>,
    /// What a draft has its text go on with, in the step at hand.
    pub(super) proposed: Vec<Proposal>,
    /// Whether a step that it takes part in is under way: what its caches hold is not
    /// known if that is dropped.
    pub(super) stepping: bool,
    /// How many of the tokens that are kept another part of the model has read.
    pub(super) source: usize,
    /// What it made of them, until a step has brought it to the caches.
    pub(super) read: Option<Tensor>,
    /// When a sequence last got it.
    used: u64,
    /// Whether what it keeps is of no text that goes on.
    passing: bool,
}

/// Of how many slots with a text somebody comes back for one: what a text is worth that
/// a sequence would drop, beside one that it is spared.
const COMES_BACK: usize = 4;

/// The least share of a prompt, one of so many parts, that is a reason to take a slot.
const LEAST_SHARE: usize = 10;

/// The free slot for a sequence, if there is one.
///
/// A text gets that in which most of its prompt is there already, and least of another
/// text would be lost; as in llama.cpp, a tenth of the prompt is the least that counts.
/// Where nothing is worth it, it is the one that was not used for longest, of those that
/// hold no text if there are some. That is where all go of which everything is computed.
pub(super) fn choose(slots: &[Slot], sequence: &Sequence, keeping: Keeping) -> Option<usize> {
    match sequence.wants_all() {
        true => oldest(slots),
        false => for_prompt(slots, sequence.tokens(), keeping),
    }
}

fn free(slots: &[Slot]) -> impl Iterator<Item = (usize, &Slot)> {
    slots.iter().enumerate().filter(|(_, slot)| slot.sequence.is_none())
}

fn oldest(slots: &[Slot]) -> Option<usize> {
    free(slots).min_by_key(|(i, slot)| (slot.holds_text(), slot.used, *i)).map(|(i, _)| i)
}

fn for_prompt(slots: &[Slot], prompt: &[u32], keeping: Keeping) -> Option<usize> {
    let oldest = oldest(slots)?;
    let same = |slot: &Slot| match keeping {
        Keeping::Any => common(&slot.kept, prompt),
        Keeping::All | Keeping::Source(_) => reusable(&slot.kept, prompt, keeping),
    };
    let anyway = same(&slots[oldest]);
    let worth = |(i, slot): (usize, &Slot)| {
        let same = same(slot);
        let lost = slot.kept.len() - same;
        let enough = lost == 0 || same * LEAST_SHARE >= prompt.len();
        let spared = same.saturating_sub(anyway) * COMES_BACK;
        (enough && spared > lost).then(|| ((prompt.len() - same) * COMES_BACK + lost, slot.used, i))
    };
    free(slots).filter_map(worth).min().map(|(.., i)| i).or(Some(oldest))
}

impl Slot {
    /// Puts a sequence in; gives how many of its tokens are there already.
    pub(super) fn take(&mut self, mut sequence: Sequence, now: u64, keeping: Keeping) -> usize {
        // What was read for another and is in no cache yet is read again.
        let reused = match sequence.wants_all() || self.read.is_some() {
            true => 0,
            false => reusable(&self.kept, sequence.tokens(), keeping),
        };
        match reused {
            0 => self.forget(),
            _ => self.kept.truncate(reused),
        }
        self.used = now;
        self.passing = sequence.wants_states();
        self.proposed.clear();
        sequence.begin(reused);
        self.sequence = Some(sequence);
        reused
    }

    /// Forgets what is in its part of the caches.
    pub(super) fn forget(&mut self) {
        self.kept.clear();
        (self.source, self.read) = (0, None);
    }

    /// The tokens of its sequence that have to be read before any is written.
    pub(super) fn unread(&self, source: Source) -> Option<&[u32]> {
        let sequence = self.sequence.as_ref().filter(|_| self.source == 0)?;
        let tokens = sequence.tokens();
        tokens.get(..source.length(tokens)?)
    }

    /// Whether somebody may come back for what it keeps.
    fn holds_text(&self) -> bool {
        !self.passing && !self.kept.is_empty()
    }

    /// The next tokens to compute: so many of its sequence, and what a draft proposes
    /// to follow them.
    pub(super) fn next(&self, tokens: usize) -> Vec<u32> {
        let ahead = self.proposed.iter().map(|proposal| proposal.token);
        self.pending().iter().take(tokens).copied().chain(ahead).collect()
    }

    /// After how many of the last ones of so many tokens logits are wanted, and how much of
    /// them: a draft is judged by all, and so is a prompt that is told.
    pub(super) fn wants(&self, tokens: usize) -> (usize, Wanted) {
        let Some(sequence) = &self.sequence else { return (0, Wanted::All) };
        let pending = self.pending().len();
        if sequence.echoes() && pending > 1 {
            return (tokens, Wanted::All);
        }
        if sequence.wants_states() || tokens < pending {
            return (0, Wanted::All);
        }
        let own = sequence.wanted();
        match self.proposed.len() {
            0 => (1, own),
            proposed => (1 + proposed, Wanted::All),
        }
    }

    /// Takes what is known of the logits after the tokens from the one with this number
    /// on, those that were wanted. Gives what became of them.
    pub(super) fn take_rows(
        &mut self,
        file: &ModelFile,
        first: usize,
        known: &[Known],
        context: usize,
    ) -> Result<Vec<Event>> {
        let done = self.pending().is_empty();
        let (mut told, mut known) = (Vec::new(), known);
        if let Some(sequence) = self.sequence.as_mut().filter(|sequence| sequence.echoes()) {
            // The last of all has no token of the prompt behind it.
            let own = (self.kept.len() - first).saturating_sub(usize::from(done));
            let (prompt, rest) = known.split_at(own.min(known.len()));
            sequence.foresee(first, prompt)?;
            known = rest;
            if done {
                told.extend(sequence.tell_foreseen());
                if let Some(reason) = sequence.limit(context) {
                    told.push(sequence.end(reason));
                    return Ok(told);
                }
            }
        }
        if done {
            told.extend(self.take_known(file, known, context)?);
        }
        Ok(told)
    }

    /// Takes what is known of the logits after its last token and after each that was
    /// proposed, as far as the proposals are taken. Gives what became of them.
    fn take_known(
        &mut self,
        file: &ModelFile,
        known: &[Known],
        context: usize,
    ) -> Result<Vec<Event>> {
        let proposed = std::mem::take(&mut self.proposed);
        let mut all = Vec::new();
        let Some(sequence) = &mut self.sequence else { return Ok(all) };
        for (i, row) in known.iter().enumerate() {
            let proposal = proposed.get(i);
            let told = sequence.take_known(file.tokenizer(), row, proposal, context)?;
            let token = match told.as_slice() {
                [Event::Piece(piece)] => Some(piece.token),
                // None more, or the last.
                _ => None,
            };
            all.extend(told);
            if let Some(same) = sequence.forget(context) {
                self.kept.truncate(if file.spec().goes_back() { same } else { 0 });
                break;
            }
            match proposal {
                Some(proposal) if token == Some(proposal.token) => self.kept.push(proposal.token),
                _ => break,
            }
        }
        Ok(all)
    }

    /// When its sequence got it: the later, the more.
    pub(super) fn used(&self) -> u64 {
        self.used
    }

    /// The tokens that its sequence has still to compute.
    pub(super) fn pending(&self) -> &[u32] {
        let tokens = self.sequence.as_ref().map_or(&[][..], Sequence::tokens);
        tokens.get(self.kept.len()..).unwrap_or(&[])
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn slots(kept: &[(&[u32], u64)]) -> Vec<Slot> {
        let slot =
            |&(kept, used): &(&[u32], u64)| Slot { kept: kept.into(), used, ..Slot::default() };
        kept.iter().map(slot).collect()
    }

    fn choose(slots: &[Slot], prompt: &[u32]) -> Option<usize> {
        for_prompt(slots, prompt, Keeping::Any)
    }

    fn slot_of(slots: &[Slot], prompt: &[u32]) -> Option<usize> {
        for_prompt(slots, prompt, Keeping::All)
    }

    #[test]
    fn a_slot_with_a_good_beginning_comes_first() {
        let all = slots(&[(&[], 1), (&[1, 2, 3], 9), (&[1, 2], 8), (&[1, 9, 9, 9], 7)]);
        assert_eq!(choose(&all, &[1, 2, 3, 4]), Some(1));
        // Of two that have as much of it, the one that loses less.
        assert_eq!(choose(&all, &[1, 2, 4]), Some(2));
        assert_eq!(choose(&all, &[5]), Some(0));
        // What cannot go back goes on from its last token.
        assert_eq!(slot_of(&all, &[1, 2, 4]), Some(2));
        assert_eq!(slot_of(&all, &[1, 9, 9]), Some(0));
        // One token is no reason to drop many others.
        assert_eq!(choose(&slots(&[(&[1, 9, 9, 9, 9, 9], 1), (&[], 2)]), &[1, 2]), Some(1));
        assert_eq!(choose(&[], &[1]), None);
    }

    /// What many prompts begin with is worth more than what followed it once.
    #[test]
    fn a_beginning_that_prompts_share_is_found_under_a_long_text() {
        let begins: Vec<u32> = (0..40).collect();
        let text = |more: usize| [&begins[..], &vec![99; more]].concat();
        let prompt = text(3);
        let all = |more| slots(&[(&text(more), 5), (&[], 0), (&[7; 9], 1)]);
        assert_eq!(choose(&all(100), &prompt), Some(0));
        // A long conversation is left alone.
        assert_eq!(choose(&all(900), &prompt), Some(1));
        // Where all have it, the oldest goes on.
        let shared = slots(&[(&text(100), 5), (&text(50), 7), (&text(70), 3)]);
        assert_eq!(choose(&shared, &[&begins[..], &[98]].concat()), Some(2));
        // A tenth of the prompt at least.
        let long = [&begins[..], &[98; 400]].concat();
        assert_eq!(choose(&slots(&[(&text(30), 5), (&[], 0)]), &long), Some(1));
    }
}

//! A small model that runs ahead of all sequences of an engine.
//!
//! It has slots like the engine's, of the same numbers. Before a step of single tokens
//! it proposes some more for each; the engine computes them in one step with the token
//! they follow, and takes what it would have chosen (`lm/sampler/proposal.rs`).

use super::layout::{Row, Step};
use super::slot::Slot;
use super::{EngineOptions, Share, chunk_of, sizes};
use crate::backend::Backend;
use crate::error::{Error, Result};
use crate::formats::gguf::GgufFile;
use crate::lm::decoder::names;
use crate::lm::draft::{must_go_back, padded, same_vocabulary};
use crate::lm::file::ModelFile;
use crate::lm::generate::common;
use crate::lm::known::{Rows, Wanted};
use crate::lm::model::{LEAST_CAPACITY, ModelOptions};
use crate::session::{Progress, Session};
use crate::tensor::Tensor;

/// The most tokens that are proposed at a time.
const MOST_AHEAD: usize = 64;

/// A small model of the same vocabulary, for [`Engine::load_with_draft`].
///
/// [`Engine::load_with_draft`]: super::Engine::load_with_draft
#[derive(Debug)]
pub struct EngineDraft {
    /// Its parsed file.
    pub file: GgufFile,
    /// How many tokens it proposes at a time, 1 to 64.
    pub tokens: usize,
}

/// The small model, and what is in its caches.
#[derive(Debug)]
pub(super) struct Ahead {
    file: ModelFile,
    options: ModelOptions,
    session: Session,
    /// How many tokens are proposed at most.
    pub(super) tokens: usize,
    context: usize,
    capacity: usize,
    chunk: usize,
    /// The tokens in each slot's part of the caches.
    kept: Vec<Vec<u32>>,
}

impl Ahead {
    /// # Errors
    /// [`Error::Unsupported`] for a model that cannot go back; [`Error::Input`] if the
    /// vocabularies differ or the number of tokens makes no
    /// sense; what loading a model gives.
    pub(super) async fn load(
        draft: EngineDraft,
        model: &ModelFile,
        backend: &Backend,
        options: &EngineOptions,
        progress: Progress<'_>,
    ) -> Result<Self> {
        if !(1..=MOST_AHEAD).contains(&draft.tokens) {
            let expected = format!("1 to {MOST_AHEAD}");
            return Err(Error::input("tokens of a draft", expected, draft.tokens));
        }
        let file = ModelFile::new(draft.file)?;
        must_go_back(file.spec())?;
        same_vocabulary(file.tokenizer(), model.tokenizer())?;
        // It may have been made for shorter texts.
        let slots = options.slots;
        let options = ModelOptions { context: None, ..options.model.clone() };
        let context = file.context(&options)?;
        let (capacity, chunk) = (LEAST_CAPACITY.min(context), chunk_of(backend, slots));
        let sizes = sizes(context, capacity, chunk, slots, 1);
        let session = file.session(backend, &options, sizes, progress).await?;
        let kept = vec![Vec::new(); slots];
        Ok(Ahead { file, options, session, tokens: draft.tokens, context, capacity, chunk, kept })
    }

    /// Loads the weights anew on another device. Its slots are empty then.
    pub(super) async fn rebuild(&mut self, backend: &Backend) -> Result<()> {
        let chunk = chunk_of(backend, self.kept.len());
        let sizes = sizes(self.context, self.capacity, chunk, self.kept.len(), 1);
        self.session = self.file.session(backend, &self.options, sizes, &mut |_, _| {}).await?;
        self.chunk = chunk;
        self.forget();
        Ok(())
    }

    /// Forgets what is in the caches: after a run that failed it is not known.
    pub(super) fn forget(&mut self) {
        self.kept.iter_mut().for_each(Vec::clear);
    }

    /// Leaves proposals in the slots that wait for one token: at most `most` in all,
    /// and so many that no sequence goes beyond the engine's context.
    ///
    /// # Errors
    /// The device's failures, and logits that are no numbers.
    pub(super) async fn propose(
        &mut self,
        slots: &mut [Slot],
        shares: &[Share],
        (context, most, vocabulary): (usize, usize, usize),
    ) -> Result<()> {
        let context = context.min(self.context);
        let each = self.tokens.min(most / shares.len().max(1));
        let mut asked = Vec::new();
        for share in shares {
            let Some(sequence) = &slots[share.slot].sequence else { continue };
            let wanted = each.min(sequence.worth_proposing(context));
            if wanted > 0 {
                let kept = &mut self.kept[share.slot];
                // The last token is computed in any case: its logits are wanted.
                let text = sequence.tokens();
                kept.truncate(common(kept, text).min(text.len() - 1));
                asked.push((share.slot, wanted));
            }
        }
        loop {
            asked.retain(|&(slot, wanted)| slots[slot].proposed.len() < wanted);
            if asked.is_empty() {
                return Ok(());
            }
            self.step(slots, &asked, vocabulary).await?;
        }
    }

    /// One step: the next token of each slot that was asked for, or what of its text is
    /// not in the caches yet.
    async fn step(
        &mut self,
        slots: &mut [Slot],
        asked: &[(usize, usize)],
        vocabulary: usize,
    ) -> Result<()> {
        let mut left = self.chunk;
        let mut parts: Vec<(usize, Vec<u32>, bool)> = Vec::new();
        for &(slot, _) in asked {
            let ahead = slots[slot].proposed.iter().map(|proposal| proposal.token);
            let text = slots[slot].sequence.as_ref().map_or(&[][..], |sequence| sequence.tokens());
            let text = text.iter().copied().chain(ahead);
            let mut rest: Vec<u32> = text.skip(self.kept[slot].len()).collect();
            let whole = rest.len() <= left;
            rest.truncate(left);
            left -= rest.len();
            if !rest.is_empty() {
                parts.push((slot, rest, whole));
            }
        }
        let logits = self.compute(&parts).await?;
        let mut rows = logits.chunks_exact(self.file.spec().vocabulary);
        for (slot, new, whole) in parts {
            self.kept[slot].extend(new);
            if !whole {
                continue;
            }
            let row = rows.next().ok_or_else(|| Error::internal("a draft without logits"))?;
            let place = &mut slots[slot];
            let Some(sequence) = &mut place.sequence else { continue };
            let further: Vec<u32> = place.proposed.iter().map(|proposal| proposal.token).collect();
            let row = padded(row.to_vec(), vocabulary);
            place.proposed.push(sequence.propose(&row, &further)?);
        }
        Ok(())
    }

    /// Logits after the last token of each part that is whole.
    async fn compute(&mut self, parts: &[(usize, Vec<u32>, bool)]) -> Result<Vec<f32>> {
        let reach = |(slot, new, _): &(usize, Vec<u32>, bool)| self.kept[*slot].len() + new.len();
        let needed = parts.iter().map(reach).max().unwrap_or(0);
        if needed > self.capacity {
            let capacity = needed.next_power_of_two().min(self.context);
            self.session.set_symbol(names::CAPACITY, capacity as u64).await?;
            self.capacity = capacity;
        }
        let row = |part: usize| {
            let (slot, tokens, whole) = &parts[part];
            let (past, logits) = (self.kept[*slot].len(), usize::from(*whole));
            Row { slot: *slot, past, tokens, logits, wanted: Wanted::All, states: false }
        };
        let rows: Vec<Row<'_>> = (0..parts.len()).map(row).collect();
        let step = Step::new(&rows, self.kept.len(), self.capacity);
        let inputs = step.inputs()?;
        let inputs: Vec<(&str, &Tensor)> =
            inputs.iter().map(|(name, tensor)| (*name, tensor)).collect();
        let outputs = self.session.run_with(&inputs, &step.run_options()).await?;
        Ok(Rows::new(&outputs, self.file.spec().vocabulary)?.into_logits())
    }
}

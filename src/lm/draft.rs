//! A small model that runs ahead of a large one (speculative decoding).
//!
//! The large model computes all proposed tokens in one step. Its own choice is made
//! from its logits as without a draft, one token after another; logits behind a token
//! that it did not choose are dropped. So a draft changes what a text costs and
//! nothing else.

use super::generate::common;
use super::model::LanguageModel;
use super::tokenizer::Tokenizer;
use crate::error::{Error, Result};
use std::collections::VecDeque;

/// Tokens that one of two vocabularies may have more at its end: padding.
const MORE_TOKENS: usize = 128;

/// A model that runs ahead, and how far.
#[derive(Debug)]
pub struct Draft<'m> {
    /// The model; of the same vocabulary as the one it helps.
    pub model: &'m mut LanguageModel,
    /// How many tokens it proposes at a time, at least 1.
    pub tokens: usize,
}

/// What is known behind the text as it stands.
#[derive(Debug)]
pub(super) struct Ahead<'m> {
    draft: Draft<'m>,
    /// Tokens that were proposed, each with the logits behind it.
    known: VecDeque<(u32, Vec<f32>)>,
    drafted: usize,
    accepted: usize,
}

impl<'m> Ahead<'m> {
    /// # Errors
    /// [`Error::Input`] if the vocabularies differ, or nothing is to be proposed.
    pub(super) fn new(draft: Draft<'m>, model: &LanguageModel) -> Result<Self> {
        same_vocabulary(draft.model.tokenizer(), model.tokenizer())?;
        if draft.tokens == 0 {
            return Err(Error::input("tokens of a draft", "at least 1", draft.tokens));
        }
        Ok(Ahead { draft, known: VecDeque::new(), drafted: 0, accepted: 0 })
    }

    /// How many tokens were proposed, and how many of them chosen.
    pub(super) fn counts(&self) -> (usize, usize) {
        (self.drafted, self.accepted)
    }

    /// The logits after the last token, of which `cached` are in the caches.
    ///
    /// # Errors
    /// The devices' failures.
    pub(super) async fn logits(
        &mut self,
        model: &mut LanguageModel,
        tokens: &[u32],
        cached: usize,
    ) -> Result<Vec<f32>> {
        if let Some((token, logits)) = self.known.pop_front()
            && tokens.last() == Some(&token)
            && cached + 1 == tokens.len()
        {
            self.accepted += 1;
            return Ok(logits);
        }
        self.known.clear();
        let proposed = match tokens.len() - cached {
            1 => self.propose(model, tokens).await?,
            // A prompt is computed first.
            _ => Vec::new(),
        };
        if proposed.is_empty() {
            return model.forward(&tokens[cached..], cached).await;
        }
        self.drafted += proposed.len();
        let step: Vec<u32> = tokens[cached..].iter().chain(&proposed).copied().collect();
        let rows: Vec<i32> = (0..step.len() as i32).collect();
        let logits = model.step(&step, cached, &rows).await?;
        let mut logits = logits.chunks_exact(model.spec().vocabulary).map(<[f32]>::to_vec);
        let first = logits.next().ok_or_else(|| Error::internal("a step without logits"))?;
        self.known = proposed.into_iter().zip(logits).collect();
        Ok(first)
    }

    /// The most likely tokens by the draft, as many as there is room for.
    async fn propose(&mut self, model: &LanguageModel, tokens: &[u32]) -> Result<Vec<u32>> {
        let Draft { model: draft, tokens: most } = &mut self.draft;
        let room = model.context().min(draft.context()).saturating_sub(tokens.len());
        let most = (*most).min(room).min(model.chunk().saturating_sub(1));
        let mut proposed = Vec::with_capacity(most);
        let all = model.spec().vocabulary.min(draft.spec().vocabulary);
        let mut text = tokens.to_vec();
        while proposed.len() < most {
            let there = common(draft.kept(), &text).min(text.len() - 1);
            let logits = draft.forward(&text[there..], there).await?;
            let best = logits.iter().take(all).enumerate().max_by(|a, b| a.1.total_cmp(b.1));
            let Some((best, _)) = best else { break };
            text.push(best as u32);
            proposed.push(best as u32);
        }
        Ok(proposed)
    }
}

/// Every token stands for the same in both; one may have some more.
fn same_vocabulary(draft: &Tokenizer, model: &Tokenizer) -> Result<()> {
    let (a, b) = (draft.vocab_len(), model.vocab_len());
    let wrong = |what: String| Err(Error::input("draft", "the vocabulary of the model", what));
    if a.abs_diff(b) > MORE_TOKENS {
        return wrong(format!("{a} tokens, not {b}"));
    }
    for id in 0..a.min(b) as u32 {
        let (ours, theirs) = (draft.token_bytes(id)?, model.token_bytes(id)?);
        if ours != theirs {
            let shown = |bytes: &[u8]| String::from_utf8_lossy(bytes).escape_debug().to_string();
            return wrong(format!("token {id} is '{}', not '{}'", shown(ours), shown(theirs)));
        }
    }
    Ok(())
}

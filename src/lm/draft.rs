//! A small model that runs ahead of a large one (speculative decoding).
//!
//! The large model computes all proposed tokens in one step. Then each is taken or
//! not by its logits (`sampler/proposal.rs`), one token after another; logits behind a
//! token that was not taken are dropped. So a draft changes what a text costs and
//! nothing else: at temperature 0 not a token, above it not how likely one is.

use super::continuation::Continuation;
use super::generate::common;
use super::model::LanguageModel;
use super::sampler::Proposal;
use super::spec::DecoderSpec;
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
    /// Tokens that were proposed, each with what is known behind it.
    known: VecDeque<(u32, Behind)>,
    drafted: usize,
    accepted: usize,
}

/// The logits after a token, and what the draft proposed to follow it.
pub(super) type Behind = (Vec<f32>, Option<Proposal>);

impl<'m> Ahead<'m> {
    /// # Errors
    /// [`Error::Unsupported`] for a model that cannot go back; [`Error::Input`] if the
    /// vocabularies differ, or nothing is to be proposed.
    pub(super) fn new(draft: Draft<'m>, model: &LanguageModel) -> Result<Self> {
        must_go_back(model.spec())?;
        must_go_back(draft.model.spec())?;
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

    /// What is known after the last token of a text, of which `cached` are in the
    /// caches.
    ///
    /// # Errors
    /// The devices' failures.
    pub(super) async fn logits(
        &mut self,
        model: &mut LanguageModel,
        text: &mut Continuation,
        cached: usize,
    ) -> Result<Behind> {
        let fed = text.fed();
        if let Some((token, known)) = self.known.pop_front()
            && fed.last() == Some(&token)
            && cached + 1 == fed.len()
        {
            self.accepted += 1;
            return Ok(known);
        }
        self.known.clear();
        let proposed = match fed.len() - cached {
            1 => self.propose(model, text).await?,
            // A prompt is computed first.
            _ => Vec::new(),
        };
        let tokens = text.fed();
        if proposed.is_empty() {
            return Ok((model.forward(&tokens[cached..], cached).await?, None));
        }
        self.drafted += proposed.len();
        let ahead = proposed.iter().map(|proposal| proposal.token);
        let step: Vec<u32> = tokens[cached..].iter().copied().chain(ahead).collect();
        let rows: Vec<i32> = (0..step.len() as i32).collect();
        let logits = model.step(&step, cached, &rows).await?;
        let mut logits = logits.chunks_exact(model.spec().vocabulary).map(<[f32]>::to_vec);
        let first = logits.next().ok_or_else(|| Error::internal("a step without logits"))?;
        // Behind each stands what was proposed after it.
        let next = proposed.iter().skip(1).cloned().map(Some).chain([None]);
        let known = proposed.iter().map(|proposal| proposal.token).zip(logits.zip(next));
        self.known = known.collect();
        Ok((first, proposed.into_iter().next()))
    }

    /// What the draft proposes, as many tokens as there is room for.
    async fn propose(
        &mut self,
        model: &LanguageModel,
        text: &mut Continuation,
    ) -> Result<Vec<Proposal>> {
        let Draft { model: draft, tokens: most } = &mut self.draft;
        let room = text.worth_proposing(model.context().min(draft.context()));
        let most = (*most).min(room).min(model.chunk().saturating_sub(1));
        let mut proposed: Vec<Proposal> = Vec::with_capacity(most);
        let mut tokens = text.fed().to_vec();
        let begin = tokens.len();
        while proposed.len() < most {
            let there = common(draft.kept(), &tokens).min(tokens.len() - 1);
            let logits = draft.forward(&tokens[there..], there).await?;
            let logits = padded(logits, model.spec().vocabulary);
            let proposal = text.propose(&logits, &tokens[begin..])?;
            tokens.push(proposal.token);
            proposed.push(proposal);
        }
        Ok(proposed)
    }
}

/// The logits of a draft for the tokens that the model has.
pub(super) fn padded(mut logits: Vec<f32>, vocabulary: usize) -> Vec<f32> {
    logits.resize(vocabulary, f32::NEG_INFINITY);
    logits
}

/// A model that proposes, or is proposed to, drops tokens that it has computed.
///
/// # Errors
/// [`Error::Unsupported`] if it cannot.
pub(super) fn must_go_back(spec: &DecoderSpec) -> Result<()> {
    if spec.source.is_some() {
        let what = format!("'{}' reads its prompt: no draft", spec.architecture);
        return Err(Error::unsupported(&spec.file, what));
    }
    if spec.goes_back() {
        return Ok(());
    }
    let what = format!("the states of '{}' only go on: no draft", spec.architecture);
    Err(Error::unsupported(&spec.file, what))
}

/// Every token stands for the same in both; one may have some more.
pub(super) fn same_vocabulary(draft: &Tokenizer, model: &Tokenizer) -> Result<()> {
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

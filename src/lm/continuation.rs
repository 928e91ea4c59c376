//! One text as it grows: the choice of each token, and when the text ends.
//! What computes the logits is not known here.

use super::generate::{FinishReason, GenerateOptions, WhenFull};
use super::grammar::Following;
use super::known::{Known, Wanted};
use super::probability::LogProbabilities;
use super::sampler::{BREAKERS, Proposal, Sampler, SamplerOptions};
use super::stop::StopStrings;
use super::stream::Utf8Stream;
use super::tokenizer::Tokenizer;
use crate::error::{Error, Result};

/// A generated token, and the text that has become certain with it.
#[derive(Debug, Clone, PartialEq)]
pub struct Piece {
    /// The token.
    pub token: u32,
    /// Empty while a character is incomplete or a stop string may begin.
    pub text: String,
    /// Where they were asked for.
    pub log_probabilities: Option<LogProbabilities>,
}

/// What a draft's random numbers begin elsewhere by.
const DRAFT_SEED: u64 = 0x9e37_79b9_7f4a_7c15;

/// A prompt and what follows it.
#[derive(Debug)]
pub(super) struct Continuation {
    options: GenerateOptions,
    sampler: Sampler,
    /// Chooses what a draft proposes, with random numbers of its own.
    proposer: Sampler,
    stream: Utf8Stream,
    stops: StopStrings,
    /// The prompt's tokens and the generated ones.
    tokens: Vec<u32>,
    prompt: usize,
    /// Whether what is generated is a text of its own, not the end of the prompt's.
    begins: bool,
    /// What the model goes on with, once it had to forget something.
    fed: Option<Vec<u32>>,
    grammar: Option<Following>,
    /// Logits with biases, where there are any.
    biased: Vec<f32>,
    finish: Option<FinishReason>,
    /// A stop string was found.
    stopped: bool,
}

impl Continuation {
    /// # Errors
    /// If an option makes no sense.
    pub(super) fn new(tokens: Vec<u32>, options: &GenerateOptions) -> Result<Self> {
        options.check()?;
        let seed = options.sampler.seed ^ DRAFT_SEED;
        Ok(Continuation {
            proposer: Sampler::new(SamplerOptions { seed, ..options.sampler.clone() })?,
            sampler: Sampler::new(options.sampler.clone())?,
            stream: Utf8Stream::new(),
            stops: StopStrings::new(&options.stop),
            options: options.clone(),
            prompt: tokens.len(),
            begins: false,
            fed: None,
            grammar: options.grammar.as_ref().map(Following::from),
            tokens,
            biased: Vec::new(),
            finish: None,
            stopped: false,
        })
    }

    /// Where the prompt is read by another part of the model than the one that writes.
    pub(super) fn beginning(self, begins: bool) -> Self {
        Continuation { begins, ..self }
    }

    /// The prompt's tokens and the generated ones.
    pub(super) fn tokens(&self) -> &[u32] {
        &self.tokens
    }

    /// The tokens that the model goes on with: all, but for what it had to forget.
    pub(super) fn fed(&self) -> &[u32] {
        self.fed.as_deref().unwrap_or(&self.tokens)
    }

    /// Forgets something if the context is full and the options say so. Gives how
    /// many tokens at the beginning stay what they were.
    pub(super) fn forget(&mut self, context: usize) -> Option<usize> {
        let WhenFull::Forget { keep } = self.options.when_full else { return None };
        let fed = self.fed();
        if fed.len() <= context {
            return None;
        }
        // At least one of the others is forgotten.
        let keep = keep.min(context / 2);
        let latest = (context - keep) / 2;
        let rest = &fed[fed.len() - latest.max(1)..];
        self.fed = Some(fed[..keep].iter().chain(rest).copied().collect());
        Some(keep)
    }

    /// How many tokens were generated.
    pub(super) fn generated(&self) -> usize {
        self.tokens.len() - self.prompt
    }

    pub(super) fn options(&self) -> &GenerateOptions {
        &self.options
    }

    /// Why the text has ended, once it has.
    pub(super) fn finished(&self) -> Option<FinishReason> {
        self.finish
    }

    /// Whether the text ends before another token is computed.
    pub(super) fn limit(&self, context: usize) -> Option<FinishReason> {
        if self.finish.is_some() {
            self.finish
        } else if self.generated() >= self.options.max_tokens {
            Some(FinishReason::Length)
        } else if self.options.when_full == WhenFull::Stop && self.tokens.len() > context {
            Some(FinishReason::Context)
        } else {
            None
        }
    }

    /// What a draft proposes by its logits after the text and `further` tokens.
    ///
    /// # Errors
    /// As for [`Self::advance`].
    pub(super) fn propose(&mut self, logits: &[f32], further: &[u32]) -> Result<Proposal> {
        if further.is_empty() {
            return self.proposer.propose(logits, &self.tokens);
        }
        self.proposer.propose(logits, &[&self.tokens, further].concat())
    }

    /// How many tokens a draft may propose at most: all but the last of those that
    /// may still come, as far as the contexts reach.
    pub(super) fn worth_proposing(&self, context: usize) -> usize {
        let left = self.options.max_tokens.saturating_sub(self.generated() + 1);
        left.min(context.saturating_sub(self.fed().len()))
    }

    /// How much of the logits after the last token [`Self::advance`] wants, if no draft
    /// proposes anything.
    pub(super) fn wanted(&self) -> Wanted {
        match self.changes_logits() || self.options.log_probabilities.is_some() {
            true => Wanted::All,
            false => Wanted::by(&self.options.sampler),
        }
    }

    /// Chooses the next token by what is known of the logits after the last one, and by
    /// what a draft proposed for it if it did: then all must be known. `None` if it ends
    /// the text; then [`Self::finished`] says why.
    ///
    /// # Errors
    /// If the logits are not numbers, or none is left to choose from.
    pub(super) fn advance(
        &mut self,
        tokenizer: &Tokenizer,
        known: &Known,
        proposal: Option<&Proposal>,
    ) -> Result<Option<Piece>> {
        let logits = match known {
            Known::All(logits) => logits,
            Known::Leading(leading) => {
                let token = self.sampler.sample_leading(leading)?;
                return self.take(tokenizer, token, None);
            }
        };
        if self.options.sampler.dry_multiplier > 0.0 && self.sampler.breakers.is_empty() {
            self.sampler.breakers = tokenizer.tokens_with(&BREAKERS);
        }
        let changed = self.changes_logits();
        if changed && self.bias(tokenizer, logits)? {
            self.finish = Some(FinishReason::End);
            return Ok(None);
        }
        let seen = if changed { &self.biased } else { logits };
        let token = match proposal {
            Some(proposal) => self.sampler.judge(seen, &self.tokens, proposal)?,
            None => self.sampler.sample(seen, &self.tokens)?,
        };
        self.take(tokenizer, token, Some(logits))
    }

    /// Goes on with a token, whose logits are known where their logarithms are wanted.
    fn take(
        &mut self,
        tokenizer: &Tokenizer,
        token: u32,
        logits: Option<&[f32]>,
    ) -> Result<Option<Piece>> {
        if !self.options.ignore_end && tokenizer.is_end(token) {
            self.finish = Some(FinishReason::End);
            return Ok(None);
        }
        if self.options.stop_tokens.contains(&token) {
            self.finish = Some(FinishReason::Stop);
            return Ok(None);
        }
        let counted = self.options.log_probabilities.zip(logits);
        let counted = counted.map(|(count, logits)| LogProbabilities::of(logits, token, count));
        let log_probabilities = counted.transpose()?;
        self.tokens.push(token);
        if let Some(fed) = &mut self.fed {
            fed.push(token);
        }
        if let Some(grammar) = &mut self.grammar {
            grammar.take(token)?;
            if grammar.is_over() {
                self.finish = Some(FinishReason::End);
            }
        }
        let mut bytes = tokenizer.token_bytes(token)?;
        if self.begins && self.generated() == 1 {
            bytes = tokenizer.without_added(bytes);
        }
        let text = self.stream.push(bytes);
        Ok(Some(Piece { token, text: self.certain(text), log_probabilities }))
    }

    /// The text that can no longer belong to a stop string.
    fn certain(&mut self, text: String) -> String {
        if self.too_short() {
            return text;
        }
        let (text, stopped) = self.stops.push(&text);
        if stopped {
            self.stopped = true;
            self.finish = Some(FinishReason::Stop);
        }
        text
    }

    fn too_short(&self) -> bool {
        self.generated() < self.options.min_tokens
    }

    fn changes_logits(&self) -> bool {
        !self.options.logit_bias.is_empty() || self.too_short() || self.grammar.is_some()
    }

    /// Adds the biases, and bars what would end the text too early or is not in the
    /// grammar. Gives whether the text is at its end by the grammar.
    fn bias(&mut self, tokenizer: &Tokenizer, logits: &[f32]) -> Result<bool> {
        self.biased.clear();
        self.biased.extend_from_slice(logits);
        for &(id, bias) in &self.options.logit_bias {
            let Some(logit) = self.biased.get_mut(id as usize) else {
                return Err(Error::input(
                    "logit_bias",
                    format!("tokens below {}", logits.len()),
                    id,
                ));
            };
            *logit += bias;
        }
        if self.too_short() {
            let ends = if self.options.ignore_end { &[] } else { tokenizer.end_tokens() };
            for &id in ends.iter().chain(&self.options.stop_tokens) {
                if let Some(logit) = self.biased.get_mut(id as usize) {
                    *logit = f32::NEG_INFINITY;
                }
            }
        }
        match &mut self.grammar {
            Some(grammar) => grammar.bar(&mut self.biased),
            None => Ok(false),
        }
    }

    /// Ends the text, for this reason if there is none yet. Gives the text that
    /// was held back; a stop string in it is a reason of its own.
    pub(super) fn finish(&mut self, reason: FinishReason) -> String {
        let reason = *self.finish.get_or_insert(reason);
        if self.stopped {
            return String::new();
        }
        let rest = self.stream.finish();
        let (mut rest, mut stopped) = self.stops.push(&rest);
        if !stopped {
            let (more, found) = self.stops.finish();
            rest.push_str(&more);
            stopped = found;
        }
        if stopped && reason != FinishReason::Cancelled {
            self.finish = Some(FinishReason::Stop);
        }
        rest
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::formats::gguf::{GgufFile, GgufWriter};

    /// T5's vocabulary in small: pieces begin with the space that stands before a word.
    fn unigrams() -> Tokenizer {
        let tokens = ["<pad>", "</s>", "<unk>", "\u{2581}", "\u{2581}Das", "\u{2581}Haus", "es"];
        let mut writer = GgufWriter::new();
        writer.metadata("tokenizer.ggml.model", "t5").unwrap();
        writer.metadata("tokenizer.ggml.tokens", tokens.map(String::from).to_vec()).unwrap();
        writer.metadata("tokenizer.ggml.scores", vec![0f32; tokens.len()]).unwrap();
        writer.metadata("tokenizer.ggml.token_type", vec![3i32, 3, 2, 1, 1, 1, 1]).unwrap();
        let file = GgufFile::parse(writer.to_bytes().unwrap(), "t5.gguf").unwrap();
        Tokenizer::from_gguf(&file).unwrap()
    }

    fn text(tokens: &[usize], begins: bool) -> String {
        let tokenizer = unigrams();
        let text = Continuation::new(vec![4, 1, 0], &GenerateOptions::default()).unwrap();
        let mut text = text.beginning(begins);
        let mut all = String::new();
        for &token in tokens {
            let mut logits = vec![0.0; 7];
            logits[token] = 90.0;
            let piece = text.advance(&tokenizer, &Known::All(logits), None).unwrap().unwrap();
            all += &piece.text;
        }
        all + &text.finish(FinishReason::Length)
    }

    /// The space before the first word is none of a text that begins; that of a text that
    /// goes on is its own.
    #[test]
    fn a_text_that_begins_has_no_space_before_it() {
        assert_eq!(text(&[4, 5, 6], true), "Das Hauses");
        assert_eq!(text(&[3, 6, 4], true), "es Das");
        assert_eq!(text(&[6, 4], true), "es Das");
        assert_eq!(text(&[4, 5], false), " Das Haus");
    }
}

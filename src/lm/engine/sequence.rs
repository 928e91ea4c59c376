//! A sequence in a slot: what it still has to compute, and what it came to.

use super::{Event, Request, SequenceId, Work};
use crate::embed::Pooling;
use crate::error::{Error, Result};
use crate::lm::continuation::Continuation;
use crate::lm::encoder::pooling;
use crate::lm::file::ModelFile;
use crate::lm::generate::{FinishReason, GenerationStats};
use crate::lm::known::{Known, Wanted};
use crate::lm::probability::LogProbabilities;
use crate::lm::ranker::Classifier;
use crate::lm::sampler::Proposal;
use crate::lm::tokenizer::Tokenizer;
use std::sync::Arc;
use web_time::Instant;

/// What is made of a sequence.
#[derive(Debug)]
enum Kind {
    /// Text that follows the prompt.
    Text(Box<Continuation>),
    /// The hidden states of its tokens, pooled: their sum so far, or the one that counts.
    States { tokens: Vec<u32>, sum: Vec<f64>, behind: Behind },
}

/// What becomes of the vectors of a text's tokens.
#[derive(Debug, Clone)]
pub(super) struct Behind {
    pub(super) pooling: Pooling,
    /// What judges the pooled vector of a ranker.
    pub(super) classifier: Option<Arc<Classifier>>,
}

impl Behind {
    /// What a file says.
    pub(super) fn open(file: &ModelFile) -> Result<Self> {
        let classifier = match file.ranks() {
            true => Some(Arc::new(Classifier::open(file)?)),
            false => None,
        };
        // Texts can be written whatever a file says of vectors.
        Ok(Behind { pooling: pooling(file).unwrap_or(Pooling::Mean), classifier })
    }

    /// The end of a sequence that came to this vector.
    pub(super) fn told(&self, vector: Vec<f32>) -> Event {
        match &self.classifier {
            Some(classifier) => Event::Ranked(classifier.scores(&vector)),
            None => Event::Embedded(vector),
        }
    }
}

/// A sequence that waits or runs.
#[derive(Debug)]
pub(super) struct Sequence {
    pub(super) id: SequenceId,
    kind: Kind,
    /// How likely the tokens of the prompt are, as far as is known, until that is told.
    foreseen: Option<Vec<LogProbabilities>>,
    stats: GenerationStats,
    begun: Option<Instant>,
    last: Option<Instant>,
}

impl Sequence {
    /// `begins`: see [`Continuation::beginning`].
    pub(super) fn new(
        id: SequenceId,
        request: Request,
        behind: &Behind,
        begins: bool,
    ) -> Result<Self> {
        let stats = GenerationStats { prompt_tokens: request.tokens.len(), ..Default::default() };
        let foreseen = matches!(request.work, Work::Echo(_)).then(Vec::new);
        let kind = match request.work {
            Work::Generate(options) | Work::Echo(options) => {
                let text = Continuation::new(request.tokens, &options)?;
                Kind::Text(Box::new(text.beginning(begins)))
            }
            Work::Embed | Work::Rank => {
                let behind = behind.clone();
                Kind::States { tokens: request.tokens, sum: Vec::new(), behind }
            }
        };
        Ok(Sequence { id, kind, foreseen, stats, begun: None, last: None })
    }

    /// The tokens to compute: all so far, but for what had to be forgotten.
    pub(super) fn tokens(&self) -> &[u32] {
        match &self.kind {
            Kind::Text(text) => text.fed(),
            Kind::States { tokens, .. } => tokens,
        }
    }

    /// Whether the hidden state of each token is wanted: then nothing that is
    /// in a cache already helps.
    pub(super) fn wants_states(&self) -> bool {
        matches!(self.kind, Kind::States { .. })
    }

    /// Whether all of it is computed, whatever is in a cache already.
    pub(super) fn wants_all(&self) -> bool {
        self.wants_states() || self.echoes()
    }

    /// Whether it is to be told how likely the tokens of the prompt are.
    pub(super) fn echoes(&self) -> bool {
        self.foreseen.is_some()
    }

    /// Takes the logits after tokens of the prompt, from the one with this number on,
    /// each of which has another behind it.
    ///
    /// # Errors
    /// If the logits are not numbers.
    pub(super) fn foresee(&mut self, first: usize, known: &[Known]) -> Result<()> {
        let (Kind::Text(text), Some(foreseen)) = (&self.kind, &mut self.foreseen) else {
            return Err(Error::internal("a sequence that foresees nothing"));
        };
        let count = text.options().log_probabilities.unwrap_or(0);
        for (row, &next) in known.iter().zip(&text.tokens()[first + 1..]) {
            let Known::All(logits) = row else {
                return Err(Error::internal("a prompt's token with few logits"));
            };
            foreseen.push(LogProbabilities::of(logits, next, count)?);
        }
        Ok(())
    }

    /// What was foreseen of the prompt, once.
    pub(super) fn tell_foreseen(&mut self) -> Option<Event> {
        let foreseen = self.foreseen.take()?.into_iter().map(Some);
        let tokens = self.tokens().iter().copied();
        Some(Event::Foreseen(tokens.zip([None].into_iter().chain(foreseen)).collect()))
    }

    /// How many tokens there will be at most, as far as is worth making room
    /// for ahead of time.
    pub(super) fn room(&self, most: usize) -> usize {
        match &self.kind {
            Kind::Text(text) => {
                text.tokens().len().saturating_add(text.options().max_tokens.min(most))
            }
            Kind::States { tokens, .. } => tokens.len(),
        }
    }

    /// Notes that it got a slot whose caches hold `reused` of its tokens.
    pub(super) fn begin(&mut self, reused: usize) {
        self.stats.reused_tokens = reused;
        self.begun = Some(Instant::now());
    }

    /// Whether it ends before anything more is computed.
    pub(super) fn limit(&self, context: usize) -> Option<FinishReason> {
        match &self.kind {
            Kind::Text(text) => text.limit(context),
            Kind::States { .. } => None,
        }
    }

    /// How many tokens a draft may propose at most.
    pub(super) fn worth_proposing(&self, context: usize) -> usize {
        match &self.kind {
            Kind::Text(text) => text.worth_proposing(context),
            Kind::States { .. } => 0,
        }
    }

    /// How much of the logits after its last token is wanted.
    pub(super) fn wanted(&self) -> Wanted {
        match &self.kind {
            Kind::Text(text) => text.wanted(),
            Kind::States { .. } => Wanted::All,
        }
    }

    /// What a draft proposes by its logits after `further` tokens.
    pub(super) fn propose(&mut self, logits: &[f32], further: &[u32]) -> Result<Proposal> {
        match &mut self.kind {
            Kind::Text(text) => text.propose(logits, further),
            Kind::States { .. } => Err(Error::internal("a draft for what is no text")),
        }
    }

    /// Takes what is known of the logits after its last token, and what was proposed to
    /// follow it. Gives what became of them, and the end where that is it.
    pub(super) fn take_known(
        &mut self,
        tokenizer: &Tokenizer,
        known: &Known,
        proposal: Option<&Proposal>,
        context: usize,
    ) -> Result<Vec<Event>> {
        let Kind::Text(text) = &mut self.kind else {
            return Err(Error::internal("logits for a sequence that wants none"));
        };
        let piece = text.advance(tokenizer, known, proposal)?;
        self.note_time(piece.is_some());
        let taken = piece.as_ref().zip(proposal).is_some_and(|(a, b)| a.token == b.token);
        self.stats.drafted += usize::from(proposal.is_some());
        self.stats.accepted += usize::from(taken);
        let mut events: Vec<Event> = piece.map(Event::Piece).into_iter().collect();
        if let Some(reason) = self.limit(context) {
            events.push(self.end(reason));
        }
        Ok(events)
    }

    /// Forgets something if its context is full and it may; see
    /// [`Continuation::forget`].
    pub(super) fn forget(&mut self, context: usize) -> Option<usize> {
        match &mut self.kind {
            Kind::Text(text) => text.forget(context),
            Kind::States { .. } => None,
        }
    }

    fn note_time(&mut self, token: bool) {
        let now = Instant::now();
        match (self.last, self.begun) {
            (Some(last), _) => {
                self.stats.decode += now.duration_since(last);
                self.stats.steps += 1;
            }
            (None, Some(begun)) => {
                self.stats.prefill = now.duration_since(begun);
                self.stats.first_token = self.stats.prefill;
            }
            (None, None) => (),
        }
        self.last = Some(now);
        self.stats.tokens += usize::from(token);
    }

    /// Takes the hidden states of its next tokens, F32 `[tokens, width]`; gives
    /// the vector of all once the last has come.
    pub(super) fn take_states(&mut self, states: &[f32], width: usize, done: bool) -> Vec<Event> {
        let Kind::States { tokens, sum, behind } = &mut self.kind else { return Vec::new() };
        let empty = sum.is_empty();
        sum.resize(width, 0.0);
        let mut rows = states.chunks_exact(width.max(1));
        match behind.pooling {
            Pooling::Cls if !empty => (),
            Pooling::Cls => add(sum, rows.next()),
            Pooling::LastToken if !done => (),
            Pooling::LastToken => add(sum, rows.next_back()),
            _ => rows.for_each(|state| add(sum, Some(state))),
        }
        if !done {
            return Vec::new();
        }
        let count = match behind.pooling {
            Pooling::Cls | Pooling::LastToken => 1.0,
            _ => tokens.len() as f64,
        };
        vec![behind.told(sum.iter().map(|sum| (sum / count) as f32).collect())]
    }

    /// Ends it.
    pub(super) fn end(&mut self, reason: FinishReason) -> Event {
        let (rest, finish) = match &mut self.kind {
            Kind::Text(text) => (text.finish(reason), text.finished()),
            Kind::States { .. } => (String::new(), Some(reason)),
        };
        self.stats.finish = finish;
        Event::Finished {
            rest,
            reason: finish.unwrap_or(reason),
            stats: Box::new(self.stats.clone()),
        }
    }
}

fn add(sum: &mut [f64], state: Option<&[f32]>) {
    let state = state.unwrap_or_default();
    sum.iter_mut().zip(state).for_each(|(sum, &value)| *sum += f64::from(value));
}

//! Text that must follow a grammar: which tokens may come next.
//!
//! The work is done by `llguidance`, behind the feature `grammar`; without it a
//! grammar is refused by name.

use super::tokenizer::Tokenizer;
use crate::error::{Error, Result};
use std::sync::Arc;

/// What text must follow.
#[derive(Debug, Clone, PartialEq)]
pub enum GrammarSource {
    /// Some JSON object. Between its parts there is a space or a line's end with what
    /// the next line begins with, at most: no text goes on in white space.
    JsonObject,
    /// JSON that a schema describes, with white space as [`Self::JsonObject`] unless the
    /// schema says of it in `x-guidance`, as `llguidance` reads it.
    JsonSchema(serde_json::Value),
    /// A grammar in the form of Lark, as `llguidance` reads it.
    Lark(String),
    /// A regular expression that the whole text matches.
    Regex(String),
}

/// A grammar over the tokens of a model, made by
/// [`ModelFile::grammar`](super::ModelFile::grammar).
#[derive(Clone)]
pub struct Grammar(Arc<Start>);

/// What a text follows, and where it begins.
struct Start {
    source: GrammarSource,
    place: at::Place,
}

impl std::fmt::Debug for Grammar {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "Grammar({:?})", self.0.source)
    }
}

/// Grammars of the same source are equal.
impl PartialEq for Grammar {
    fn eq(&self, other: &Self) -> bool {
        self.0.source == other.0.source
    }
}

/// How far a text has got in its grammar.
pub(super) struct Following(at::Place);

impl std::fmt::Debug for Following {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Following")
    }
}

/// What makes grammars of a model.
pub(super) struct Grammars(at::Factory);

impl std::fmt::Debug for Grammars {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Grammars")
    }
}

impl Grammars {
    /// # Errors
    /// [`Error::Unsupported`] without the feature `grammar`, and for a model without
    /// a token that ends a text.
    pub(super) fn new(tokenizer: &Tokenizer, vocabulary: usize) -> Result<Self> {
        at::Factory::new(tokenizer, vocabulary).map(Grammars)
    }

    /// # Errors
    /// [`Error::Input`] with what is wrong with the source.
    pub(super) fn grammar(&self, source: &GrammarSource) -> Result<Grammar> {
        let place = self.0.start(source)?;
        Ok(Grammar(Arc::new(Start { source: source.clone(), place })))
    }
}

impl Following {
    pub(super) fn from(grammar: &Grammar) -> Self {
        Following(grammar.0.place.copy())
    }

    /// Bars what may not come next. Gives whether the text is at its end.
    ///
    /// # Errors
    /// [`Error::Limit`] for a grammar that is too much work.
    pub(super) fn bar(&mut self, logits: &mut [f32]) -> Result<bool> {
        self.0.bar(logits)
    }

    /// Goes on with a token.
    ///
    /// # Errors
    /// [`Error::Internal`] for one that may not come next.
    pub(super) fn take(&mut self, token: u32) -> Result<()> {
        self.0.take(token)
    }

    /// Whether nothing can follow.
    pub(super) fn is_over(&self) -> bool {
        self.0.is_over()
    }
}

fn too_much(what: impl std::fmt::Display) -> Error {
    Error::unsupported("grammar", what)
}

#[cfg(feature = "grammar")]
mod at {
    use super::{GrammarSource, too_much};
    use crate::error::{Error, Result};
    use crate::lm::tokenizer::{TokenKind, Tokenizer};
    use llguidance::api::TopLevelGrammar;
    use llguidance::toktrie::{ApproximateTokEnv, TokEnv, TokRxInfo, TokTrie};
    use llguidance::{Matcher, ParserFactory};
    use serde_json::{Value, json};
    use std::sync::Arc;

    /// Tokens longer than this are never chosen under a grammar.
    const LONGEST: usize = 1 << 10;

    /// White space between two parts of JSON: what models write, compact or indented. Any
    /// amount of it would let a model that once begins with it go on for ever.
    const SPACE: &str = r" |\n[ \t]{0,20}";

    pub(super) struct Factory(ParserFactory);

    pub(super) struct Place(Matcher);

    impl Factory {
        pub(super) fn new(tokenizer: &Tokenizer, vocabulary: usize) -> Result<Self> {
            let ends = tokenizer.end_tokens();
            let first = ends.first().copied().ok_or_else(|| {
                Error::unsupported("grammar", "a vocabulary without a token that ends a text")
            })?;
            let info = TokRxInfo::new(vocabulary as u32, first);
            let words: Vec<Vec<u8>> =
                (0..vocabulary as u32).map(|id| spelled(tokenizer, id)).collect();
            let trie = TokTrie::from(&info, &words).with_eos_tokens(ends);
            let env: TokEnv = Arc::new(ApproximateTokEnv::new(trie));
            let mut factory = ParserFactory::new_simple(&env).map_err(Error::internal)?;
            factory.quiet();
            Ok(Factory(factory))
        }

        pub(super) fn start(&self, source: &GrammarSource) -> Result<Place> {
            let grammar = match source {
                GrammarSource::JsonObject => {
                    TopLevelGrammar::from_json_schema(spaced(json!({ "type": "object" })))
                }
                GrammarSource::JsonSchema(schema) => {
                    TopLevelGrammar::from_json_schema(spaced(schema.clone()))
                }
                GrammarSource::Lark(text) => TopLevelGrammar::from_lark(text.clone()),
                GrammarSource::Regex(text) => TopLevelGrammar::from_regex(text),
            };
            let mut matcher = Matcher::new(self.0.create_parser(grammar));
            if let Some(error) = matcher.get_error() {
                return Err(Error::input("grammar", "one that can be followed", error));
            }
            for warning in matcher.grammar_warnings() {
                log::warn!("grammar: {warning}");
            }
            Ok(Place(matcher))
        }
    }

    /// A schema with a bound of white space, where it has none of its own.
    fn spaced(schema: Value) -> Value {
        let bound = || json!({ "whitespace_pattern": SPACE });
        match schema {
            Value::Bool(true) => json!({ "x-guidance": bound() }),
            Value::Object(mut schema) => {
                schema.entry("x-guidance").or_insert_with(bound);
                Value::Object(schema)
            }
            // Refused for what it is.
            other => other,
        }
    }

    /// What a token stands for: tokens that are no text have a mark in front.
    fn spelled(tokenizer: &Tokenizer, id: u32) -> Vec<u8> {
        let bytes = tokenizer.token_bytes(id).unwrap_or_default();
        if bytes.is_empty() || bytes.len() > LONGEST {
            return Vec::new();
        }
        match tokenizer.kind(id) {
            Some(TokenKind::Normal | TokenKind::Byte | TokenKind::UserDefined)
                if !tokenizer.is_end(id) =>
            {
                bytes.to_vec()
            }
            _ => [&[TokTrie::SPECIAL_TOKEN_MARKER], bytes].concat(),
        }
    }

    impl Place {
        pub(super) fn copy(&self) -> Self {
            Place(self.0.deep_clone())
        }

        pub(super) fn bar(&mut self, logits: &mut [f32]) -> Result<bool> {
            if self.0.is_stopped() {
                return Ok(true);
            }
            let mask = self.0.compute_mask().map_err(too_much)?;
            for (id, logit) in logits.iter_mut().enumerate() {
                if !mask.is_allowed(id as u32) {
                    *logit = f32::NEG_INFINITY;
                }
            }
            Ok(false)
        }

        pub(super) fn take(&mut self, token: u32) -> Result<()> {
            self.0.consume_token(token).map_err(Error::internal)
        }

        pub(super) fn is_over(&self) -> bool {
            self.0.is_stopped()
        }
    }
}

#[cfg(not(feature = "grammar"))]
mod at {
    use super::{GrammarSource, too_much};
    use crate::error::Result;
    use crate::lm::tokenizer::Tokenizer;

    /// There are none.
    pub(super) enum Factory {}

    /// There are none.
    pub(super) enum Place {}

    impl Factory {
        pub(super) fn new(_: &Tokenizer, _: usize) -> Result<Self> {
            Err(too_much("this build has no grammars: feature 'grammar'"))
        }

        pub(super) fn start(&self, _: &GrammarSource) -> Result<Place> {
            match *self {}
        }
    }

    impl Place {
        pub(super) fn copy(&self) -> Self {
            match *self {}
        }

        pub(super) fn bar(&mut self, _: &mut [f32]) -> Result<bool> {
            match *self {}
        }

        pub(super) fn take(&mut self, _: u32) -> Result<()> {
            match *self {}
        }

        pub(super) fn is_over(&self) -> bool {
            match *self {}
        }
    }
}

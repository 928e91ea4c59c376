//! What stands around an encoder: `modules.json` and the files it names, as the
//! library Sentence Transformers writes them.

use super::folder::{Folder, Settings};
use super::pooling::{Head, Pooling};
use crate::error::Result;
use serde_json::Value;

const MODULES: &str = "modules.json";
const POOLING: &str = "config.json";
const TRANSFORMER: &str = "sentence_bert_config.json";
const WHOLE: &str = "config_sentence_transformers.json";

/// What a folder says besides the encoder itself.
#[derive(Debug)]
pub(super) struct Modules {
    /// The folder of the encoder and the tokenizer.
    pub(super) encoder: Folder,
    pub(super) head: Head,
    /// The most tokens of a text, special ones included.
    pub(super) most_tokens: Option<usize>,
    /// Whether texts are put into small letters first.
    pub(super) lower: bool,
    /// What is put before each text.
    pub(super) prompt: String,
}

impl Modules {
    /// Reads what is there. A folder without `modules.json` is an encoder by
    /// itself: the mean of its tokens, not normalised.
    pub(super) fn read(folder: &Folder) -> Result<Self> {
        let mut modules = Modules {
            encoder: folder.clone(),
            head: Head { pooling: vec![Pooling::Mean], normalise: false },
            most_tokens: None,
            lower: false,
            prompt: String::new(),
        };
        if let Some(settings) = folder.settings(MODULES)? {
            modules.follow(folder, &settings)?;
        }
        if let Some(settings) = modules.encoder.settings(TRANSFORMER)? {
            modules.most_tokens = settings.maybe_count("max_seq_length")?;
            modules.lower = settings.flag("do_lower_case")?.unwrap_or(false);
        }
        if let Some(settings) = folder.settings(WHOLE)? {
            modules.prompt = prompt(&settings)?;
        }
        Ok(modules)
    }

    fn follow(&mut self, folder: &Folder, settings: &Settings) -> Result<()> {
        let wrong = |what: &str| settings.error("modules", what);
        let list = settings.value.as_array().ok_or_else(|| wrong("expected a list"))?;
        let mut seen = Vec::new();
        for module in list {
            let text = |key: &str| module.get(key).and_then(Value::as_str);
            let kind = text("type").ok_or_else(|| wrong("a module without a 'type'"))?;
            // The package it is in has changed over the years.
            let kind = kind.rsplit('.').next().unwrap_or_default();
            let part = || folder.part(text("path").unwrap_or_default(), settings);
            match (kind, seen.as_slice()) {
                ("Transformer", []) => self.encoder = part()?,
                ("Pooling", ["Transformer"]) => self.head.pooling = pooling(&part()?)?,
                ("Normalize", ["Transformer", "Pooling"]) => self.head.normalise = true,
                _ => {
                    let what = format!(
                        "module {kind:?} after {seen:?}; supported: Transformer, Pooling, \
                         Normalize, in this order"
                    );
                    return Err(settings.unsupported("type", what));
                }
            }
            seen.push(kind);
        }
        if seen.len() < 2 {
            return Err(wrong("expected a Transformer and a Pooling"));
        }
        Ok(())
    }
}

/// The kinds of pooling that a module's settings switch on.
fn pooling(folder: &Folder) -> Result<Vec<Pooling>> {
    let Some(settings) = folder.settings(POOLING)? else {
        return Err(crate::Error::Io {
            path: folder.file(POOLING),
            source: std::io::ErrorKind::NotFound.into(),
        });
    };
    // One name in newer files; in older ones a switch for each kind.
    let mode = |pooling: &str| settings.error("pooling_mode", format!("{pooling:?} is not known"));
    let one = |name: &str| name.parse().map_err(|_| mode(name));
    match settings.get("pooling_mode") {
        Some(Value::String(name)) => return Ok(vec![one(name)?]),
        Some(Value::Array(names)) => {
            let names: Vec<_> =
                names.iter().map(|name| name.as_str().unwrap_or_default()).collect();
            let mut kinds = names.into_iter().map(one).collect::<Result<Vec<_>>>()?;
            kinds.sort_by_key(|kind| Pooling::ALL.iter().position(|other| other == kind));
            if kinds.is_empty() {
                return Err(mode(""));
            }
            return Ok(kinds);
        }
        Some(other) => return Err(mode(&other.to_string())),
        None => {}
    }
    let mut kinds = Vec::new();
    for kind in Pooling::ALL {
        if settings.flag(switch(kind))? == Some(true) {
            kinds.push(kind);
        }
    }
    if kinds.is_empty() {
        let known: Vec<_> = Pooling::ALL.iter().map(|&kind| switch(kind)).collect();
        let what = format!("none is on; known: {}", known.join(", "));
        return Err(settings.error("pooling_mode_*", what));
    }
    Ok(kinds)
}

fn switch(kind: Pooling) -> &'static str {
    match kind {
        Pooling::Cls => "pooling_mode_cls_token",
        Pooling::Max => "pooling_mode_max_tokens",
        Pooling::Mean => "pooling_mode_mean_tokens",
        Pooling::MeanSqrtLen => "pooling_mode_mean_sqrt_len_tokens",
        Pooling::WeightedMean => "pooling_mode_weightedmean_tokens",
        Pooling::LastToken => "pooling_mode_lasttoken",
    }
}

/// The prompt that is used where none is asked for.
fn prompt(settings: &Settings) -> Result<String> {
    const KEY: &str = "default_prompt_name";
    let Some(name) = settings.maybe_text(KEY)? else { return Ok(String::new()) };
    let prompts = settings.get("prompts").and_then(|prompts| prompts.get(name));
    let prompt = prompts.and_then(Value::as_str);
    let prompt = prompt.ok_or_else(|| settings.error(KEY, format_args!("no prompt {name:?}")))?;
    Ok(prompt.into())
}

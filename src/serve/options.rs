//! The parameters that requests for text have in common.

use super::error::ApiError;
use super::random;
use crate::lm::{GenerateOptions, GrammarSource, SamplerOptions, WhenFull};
use serde::Deserialize;
use serde_json::{Map, Value};
use std::collections::BTreeMap;

/// Choices of one request at most.
const MOST_CHOICES: usize = 64;

/// Stop strings of one request at most. OpenAI has 4.
const MOST_STOPS: usize = 16;

/// Parameters that change nothing of what is generated here.
const IGNORED: &[&str] =
    &["user", "store", "metadata", "service_tier", "safety_identifier", "prompt_cache_key"];

/// Parameters that are not supported but for the value they have anyway.
const DEFAULTS: &[(&str, &str)] =
    &[("best_of", "1"), ("echo", "false"), ("modalities", r#"["text"]"#)];

/// What both kinds of request have, and the names that this does not know.
#[derive(Debug, Deserialize)]
pub(super) struct Common {
    /// The one there is, if it is not named.
    pub(super) model: Option<String>,
    /// As in llama.cpp's server, -1 is as many as there is room for.
    max_tokens: Option<i64>,
    max_completion_tokens: Option<i64>,
    min_tokens: Option<usize>,
    temperature: Option<f32>,
    top_p: Option<f32>,
    top_k: Option<usize>,
    min_p: Option<f32>,
    typical_p: Option<f32>,
    xtc_probability: Option<f32>,
    xtc_threshold: Option<f32>,
    dry_multiplier: Option<f32>,
    dry_base: Option<f32>,
    dry_allowed_length: Option<usize>,
    repetition_penalty: Option<f32>,
    frequency_penalty: Option<f32>,
    presence_penalty: Option<f32>,
    /// As [`ResponseFormat`] has it.
    pub(super) response_format: Option<ResponseFormat>,
    /// Whether a text goes on when the context is full, without what is between its
    /// beginning and the latest tokens.
    context_shift: Option<bool>,
    seed: Option<i64>,
    n: Option<usize>,
    stop: Option<OneOrMany>,
    logit_bias: Option<BTreeMap<String, f32>>,
    ignore_eos: Option<bool>,
    #[serde(default)]
    pub(super) stream: Option<bool>,
    stream_options: Option<StreamOptions>,
    #[serde(flatten)]
    rest: Map<String, Value>,
}

/// What an answer must be.
#[derive(Debug, Deserialize)]
#[serde(tag = "type", rename_all = "snake_case")]
pub(super) enum ResponseFormat {
    Text,
    JsonObject,
    JsonSchema { json_schema: JsonSchema },
}

#[derive(Debug, Deserialize)]
pub(super) struct JsonSchema {
    schema: Value,
}

impl ResponseFormat {
    /// What the text must follow, if it is not free.
    pub(super) fn source(&self) -> Option<GrammarSource> {
        match self {
            ResponseFormat::Text => None,
            ResponseFormat::JsonObject => Some(GrammarSource::JsonObject),
            ResponseFormat::JsonSchema { json_schema } => {
                Some(GrammarSource::JsonSchema(json_schema.schema.clone()))
            }
        }
    }
}

#[derive(Debug, Deserialize)]
struct StreamOptions {
    include_usage: Option<bool>,
}

/// A string, or some.
#[derive(Debug, Deserialize)]
#[serde(untagged)]
pub(super) enum OneOrMany {
    One(String),
    Many(Vec<String>),
}

impl Common {
    /// How many answers are wanted of each prompt.
    pub(super) fn choices(&self) -> Result<usize, ApiError> {
        match self.n.unwrap_or(1) {
            n @ 1..=MOST_CHOICES => Ok(n),
            n => Err(ApiError::param("n", format!("n must be 1 to {MOST_CHOICES}, not {n}"))),
        }
    }

    /// Whether a stream ends with what it took.
    pub(super) fn streams_usage(&self) -> bool {
        self.stream_options.as_ref().and_then(|options| options.include_usage).unwrap_or(false)
    }

    /// Nothing that is asked for is left out without a word.
    pub(super) fn check_rest(&self) -> Result<(), ApiError> {
        for (name, value) in &self.rest {
            let default = DEFAULTS.iter().find(|(other, _)| other == name);
            let default = default.and_then(|(_, text)| serde_json::from_str::<Value>(text).ok());
            if value.is_null() || IGNORED.contains(&name.as_str()) || alike(&default, value) {
                continue;
            }
            let message = format!("the parameter '{name}' is not supported with this value");
            return Err(ApiError::param(name, message).code("unsupported_parameter"));
        }
        Ok(())
    }

    /// What the generator is told; `most` is how many tokens there can be, `least` how many
    /// must be asked for.
    pub(super) fn generate(&self, most: usize, least: i64) -> Result<GenerateOptions, ApiError> {
        let asked = self.asked_tokens(least)?;
        let range = |name: &str, value: Option<f32>, most: f32| match value {
            Some(value) if !(0.0..=most).contains(&value) => {
                Err(ApiError::param(name, format!("{name} must be 0 to {most}, not {value}")))
            }
            _ => Ok(()),
        };
        range("temperature", self.temperature, 2.0)?;
        range("top_p", self.top_p, 1.0)?;
        for (name, value) in [
            ("frequency_penalty", self.frequency_penalty),
            ("presence_penalty", self.presence_penalty),
        ] {
            if value.is_some_and(|value| !(-2.0..=2.0).contains(&value)) {
                return Err(ApiError::param(name, format!("{name} must be -2 to 2")));
            }
        }
        let when_full = match self.context_shift {
            Some(true) => WhenFull::Forget { keep: 0 },
            _ => WhenFull::Stop,
        };
        let shifts = when_full != WhenFull::Stop;
        let plain = SamplerOptions::default();
        let sampler = SamplerOptions {
            temperature: self.temperature.unwrap_or(1.0),
            top_k: self.top_k.unwrap_or(plain.top_k),
            // None of the tokens is no choice; the first one always stays.
            top_p: self.top_p.unwrap_or(plain.top_p).max(f32::MIN_POSITIVE),
            min_p: self.min_p.unwrap_or(plain.min_p),
            typical_p: self.typical_p.unwrap_or(plain.typical_p),
            xtc_probability: self.xtc_probability.unwrap_or(plain.xtc_probability),
            xtc_threshold: self.xtc_threshold.unwrap_or(plain.xtc_threshold),
            dry_multiplier: self.dry_multiplier.unwrap_or(plain.dry_multiplier),
            dry_base: self.dry_base.unwrap_or(plain.dry_base),
            dry_allowed_length: self.dry_allowed_length.unwrap_or(plain.dry_allowed_length),
            frequency_penalty: self.frequency_penalty.unwrap_or(plain.frequency_penalty),
            presence_penalty: self.presence_penalty.unwrap_or(plain.presence_penalty),
            repetition_penalty: self.repetition_penalty.unwrap_or(plain.repetition_penalty),
            seed: self.seed.map_or_else(random, |seed| seed as u64),
            ..plain
        };
        Ok(GenerateOptions {
            max_tokens: match (asked, shifts) {
                (Some(asked), true) => asked,
                (asked, _) => asked.unwrap_or(most).min(most),
            },
            when_full,
            min_tokens: self.min_tokens.unwrap_or(0),
            sampler,
            ignore_end: self.ignore_eos.unwrap_or(false),
            stop: self.stops()?,
            logit_bias: self.biases()?,
            ..GenerateOptions::default()
        })
    }

    /// How many tokens are asked for, if that is said.
    fn asked_tokens(&self, least: i64) -> Result<Option<usize>, ApiError> {
        match self.max_completion_tokens.or(self.max_tokens) {
            None | Some(-1) => Ok(None),
            Some(count) if count >= least => Ok(Some(usize::try_from(count).unwrap_or(usize::MAX))),
            Some(_) => {
                let what = format!("max_tokens must be at least {least}, or -1");
                Err(ApiError::param("max_tokens", what))
            }
        }
    }

    fn stops(&self) -> Result<Vec<String>, ApiError> {
        let stops = match &self.stop {
            None => Vec::new(),
            Some(OneOrMany::One(stop)) => vec![stop.clone()],
            Some(OneOrMany::Many(stops)) => stops.clone(),
        };
        if stops.len() > MOST_STOPS {
            let message = format!("at most {MOST_STOPS} stop strings, not {}", stops.len());
            return Err(ApiError::param("stop", message));
        }
        Ok(stops)
    }

    /// As OpenAI has it, -100 bars a token.
    fn biases(&self) -> Result<Vec<(u32, f32)>, ApiError> {
        let wrong = |text: String| ApiError::param("logit_bias", text);
        let bias = |(id, &bias): (&String, &f32)| {
            let id: u32 = id.parse().map_err(|_| wrong(format!("'{id}' is no token's number")))?;
            if !(-100.0..=100.0).contains(&bias) {
                return Err(wrong(format!("a bias must be -100 to 100, not {bias}")));
            }
            Ok((id, if bias == -100.0 { f32::NEG_INFINITY } else { bias }))
        };
        self.logit_bias.iter().flatten().map(bias).collect()
    }
}

/// Whether a value is the default; 0 and 0.0 are alike.
fn alike(default: &Option<Value>, value: &Value) -> bool {
    default.as_ref().is_some_and(|default| {
        default == value || (default.is_number() && default.as_f64() == value.as_f64())
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn common(more: &str) -> Common {
        serde_json::from_str(&format!(r#"{{"model":"m"{more}}}"#)).unwrap()
    }

    #[test]
    fn defaults_are_openais() {
        let options = common("").generate(100, 1).unwrap();
        assert_eq!((options.max_tokens, options.sampler.temperature), (100, 1.0));
        assert_ne!(options.sampler.seed, common("").generate(100, 1).unwrap().sampler.seed);
        let options =
            common(r#","max_tokens":7,"seed":5,"temperature":0"#).generate(100, 1).unwrap();
        assert_eq!((options.max_tokens, options.sampler.seed), (7, 5));
        assert_eq!(common(r#","max_tokens":-1"#).generate(100, 1).unwrap().max_tokens, 100);
        assert_eq!(common(r#","max_tokens":700"#).generate(100, 1).unwrap().max_tokens, 100);
        let options =
            common(r#","logit_bias":{"3":-100,"4":1.5},"stop":"x""#).generate(9, 1).unwrap();
        assert_eq!(options.logit_bias, [(3, f32::NEG_INFINITY), (4, 1.5)]);
        assert_eq!(options.stop, ["x"]);
        assert_eq!(common(r#","max_tokens":0"#).generate(9, 0).unwrap().max_tokens, 0);
    }

    #[test]
    fn what_makes_no_sense_is_named() {
        for (more, name) in [
            (r#","temperature":3"#, "temperature"),
            (r#","top_p":-1"#, "top_p"),
            (r#","presence_penalty":2.5"#, "presence_penalty"),
            (r#","max_tokens":0"#, "max_tokens"),
            (r#","max_tokens":-2"#, "max_tokens"),
            (r#","logit_bias":{"x":1}"#, "logit_bias"),
            (r#","logit_bias":{"1":101}"#, "logit_bias"),
        ] {
            let error = common(more).generate(9, 1).unwrap_err();
            assert_eq!(error.body()["error"]["param"], name);
        }
        assert!(common(r#","n":0"#).choices().is_err());
        assert_eq!(common(r#","n":3"#).choices().unwrap(), 3);
    }

    #[test]
    fn what_is_not_supported_is_refused() {
        let fine = r#","best_of":1.0,"user":"me","modalities":null,"echo":false"#;
        assert!(common(fine).check_rest().is_ok());
        for more in [r#","best_of":2"#, r#","echo":true"#, r#","surprise":1"#] {
            let error = common(more).check_rest().unwrap_err();
            assert_eq!(error.body()["error"]["code"], "unsupported_parameter");
        }
    }
}

//! What a generation took, for people and for programs.

use crate::output::{bytes, count_noun};
use serde_json::{Value, json};
use std::path::Path;
use std::time::Duration;
use wginfer::Backend;
use wginfer::gpu::Purpose;
use wginfer::lm::{FinishReason, GenerationStats, LanguageModel, LogProbabilities};

/// A finished generation.
pub(super) struct Outcome<'a> {
    pub(super) file: &'a Path,
    pub(super) model: &'a LanguageModel,
    /// Why this backend was picked.
    pub(super) why: &'a str,
    pub(super) load: Duration,
    pub(super) text: &'a str,
    /// The generated tokens.
    pub(super) tokens: &'a [u32],
    /// Of each of them, where they were asked for.
    pub(super) log_probabilities: &'a [LogProbabilities],
    pub(super) stats: &'a GenerationStats,
}

impl Outcome<'_> {
    /// The lines printed at the end.
    pub(super) fn lines(&self) -> String {
        let stats = self.stats;
        let end = match stats.finish {
            Some(FinishReason::End) => "the model ended",
            Some(FinishReason::Stop) => "--stop",
            Some(FinishReason::Length) => "--max-tokens",
            Some(FinishReason::Context) => "the context is full",
            Some(FinishReason::Cancelled) | None => "interrupted",
        };
        let kept = match stats.reused_tokens {
            0 => String::new(),
            reused => format!(" ({reused} were there)"),
        };
        let mut text = format!(
            "prefill: {}{kept}, {:.1} tokens/s\ndecode:  {}, {:.1} tokens/s, first after {:.2} s ({end})",
            count_noun(stats.prompt_tokens, "token"),
            stats.prefill_rate(),
            count_noun(stats.tokens, "token"),
            stats.decode_rate(),
            stats.first_token.as_secs_f64(),
        );
        if stats.drafted > 0 {
            text.push_str(&format!("\ndraft:   {} of {} accepted", stats.accepted, stats.drafted));
        }
        if let Backend::Gpu(gpu) = self.model.backend() {
            let peak = bytes(gpu.memory().total_peak);
            text.push_str(&format!("\nmemory:  {peak} of the device at most"));
        }
        text
    }

    /// Everything, for programs.
    pub(super) fn json(&self) -> Value {
        let (model, stats) = (self.model, self.stats);
        let counters = model.session().counters();
        let info = match model.backend() {
            Backend::Gpu(gpu) => Some(gpu.info()),
            Backend::Cpu => None,
        };
        let kind = info.map_or("cpu", |info| if info.is_software { "software" } else { "gpu" });
        let device = match model.backend() {
            Backend::Gpu(gpu) => {
                let caps = gpu.caps();
                json!({ "max_binding": caps.max_binding(), "f16": caps.f16 })
            }
            Backend::Cpu => Value::Null,
        };
        json!({
            "schema": 1,
            "text": self.text,
            "tokens": self.tokens,
            "finish": match stats.finish {
                Some(FinishReason::End) => "end",
                Some(FinishReason::Stop) => "stop",
                Some(FinishReason::Length) => "length",
                Some(FinishReason::Context) => "context",
                Some(FinishReason::Cancelled) | None => "interrupted",
            },
            "log_probabilities": self.log_probabilities(),
            "model": self.file.display().to_string(),
            "context": model.context(),
            "backend": kind,
            "adapter": info.map(|info| &info.name),
            "driver": info.map(|info| info.driver_line()),
            "graphics": info.map(|info| info.backend.to_string()),
            "why": self.why,
            "device": device,
            "variants": model.session().executed_variants(),
            "stats": {
                "prompt_tokens": stats.prompt_tokens,
                "reused_tokens": stats.reused_tokens,
                "tokens": stats.tokens,
                "drafted_tokens": stats.drafted,
                "accepted_tokens": stats.accepted,
                "load_seconds": self.load.as_secs_f64(),
                "first_token_seconds": stats.first_token.as_secs_f64(),
                "prefill_seconds": stats.prefill.as_secs_f64(),
                "prefill_tokens_per_second": stats.prefill_rate(),
                // The first token is the prompt's, and a step may end the text.
                "decode_steps": stats.steps,
                "decode_seconds": stats.decode.as_secs_f64(),
                "decode_tokens_per_second": stats.decode_rate(),
            },
            "counters": {
                "plans": counters.plans,
                "runs": counters.runs,
                "submissions": counters.submissions,
                "dispatches": counters.dispatches,
            },
            "memory": self.memory(),
        })
    }

    /// Null where they were not asked for. What cannot be is null too: JSON has
    /// no infinity.
    fn log_probabilities(&self) -> Value {
        let finite = |value: f32| Some(value).filter(|value| value.is_finite());
        let one = |p: &LogProbabilities| {
            let top = p.top.iter().map(|&(id, v)| json!({ "token": id, "value": finite(v) }));
            json!({ "value": finite(p.chosen), "top": top.collect::<Vec<_>>() })
        };
        match self.log_probabilities {
            [] => Value::Null,
            all => all.iter().map(one).collect(),
        }
    }

    /// Bytes: of the device for a GPU, of the session for the CPU, where
    /// weights stay in the file's map.
    fn memory(&self) -> Value {
        let session = self.model.memory();
        let mut memory = json!({
            "states_bytes": session.states,
            "working_bytes": session.slots,
            "live_peak_bytes": session.live_peak,
        });
        if let Backend::Gpu(gpu) = self.model.backend() {
            let report = gpu.memory();
            memory["weights_bytes"] = report.peak(Purpose::Weights).into();
            memory["device_peak_bytes"] = report.total_peak.into();
        }
        memory
    }
}

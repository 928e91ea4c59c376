//! `wginfer generate`: text from a language model, piece by piece.

mod args;
mod guides;
mod prompt;
mod report;

pub(crate) use args::{Args, Sampling};
pub(crate) use guides::Guides;

use crate::failure::Failure;
use crate::fetch;
use crate::interrupt;
use crate::kept;
use crate::model_args::{self, demo_model};
use crate::output::{self, note, safe_lines};
use crate::profile;
use report::Outcome;
use std::io::{self, IsTerminal, Write};
use std::path::Path;
use std::time::Instant;
use wginfer::Result;
use wginfer::lm::chat::{AnswerStream, ChatOptions, Told};
use wginfer::lm::{ChatMessage, Generation, LanguageModel, ModelOptions, Prompt, Sampler};

pub(crate) fn run(args: &Args) -> Result<(), Failure> {
    let options = args.generate_options();
    // A wrong option is found out before the model is loaded.
    Sampler::new(options.sampler.clone()).map_err(|error| Failure::Usage(error.to_string()))?;
    let path = match &args.model {
        Some(path) => fetch::local(path, args.quiet)?,
        None => demo_model()?,
    };
    let prompt = prompt(args)?;
    let source = args.guides.source()?;
    let told = args.template.options()?;
    interrupt::listen();
    let begun = Instant::now();
    let (mut model, why) = load(args, told, &path)?;
    if let Some(path) = &args.prompt_cache {
        let found = kept::restore(&mut model, path, args.quiet)?;
        if found.is_some_and(|snapshot| snapshot.attachment().is_some()) {
            let name = path.display();
            return Err(Failure::Usage(format!(
                "{name} is a conversation of `wginfer chat --session`; name another file"
            )));
        }
    }
    let options = args.guides.applied(options, source.as_ref(), &model)?;
    let mut draft = args.guides.draft(&model, &args.model_options(), args.quiet)?;
    let load = begun.elapsed();

    // Thoughts are told apart where a model is asked by its template.
    let prompt = model.prompt_tokens(&prompt)?;
    let asked = model.file().end_of(&prompt)?;
    let answer = AnswerStream::new(if args.raw { None } else { model.template() }, None, &asked);
    let prompt = Prompt::Tokens(prompt);
    let mut generation = args.guides.generate(&mut model, draft.as_mut(), prompt, &options)?;
    let text = stream(args, &mut generation, answer)?;
    let stats = generation.stats().clone();
    let tokens = generation.tokens()[stats.prompt_tokens..].to_vec();
    let log_probabilities = generation.log_probabilities().to_vec();
    drop(generation);
    if let Some(path) = &args.prompt_cache {
        kept::save(&model, path, None)?;
    }
    let outcome = Outcome {
        file: &path,
        model: &model,
        why: &why,
        load,
        text: &text,
        tokens: &tokens,
        log_probabilities: &log_probabilities,
        stats: &stats,
    };
    if args.json {
        output::json(&mut io::stdout().lock(), &outcome.json())?;
    } else if !args.quiet {
        note(outcome.lines());
    }
    if args.profile {
        note(step_profile(&mut model)?);
    }
    if interrupt::asked() { Err(Failure::Interrupted) } else { Ok(()) }
}

/// Prints what is said as it comes, and gives all of it. Thoughts are faint on a terminal,
/// and nowhere else.
fn stream(
    args: &Args,
    generation: &mut Generation<'_>,
    mut answer: AnswerStream,
) -> Result<String, Failure> {
    let mut text = String::new();
    let mut out = io::stdout().lock();
    let terminal = out.is_terminal();
    let (mut failed, mut thinking) = (None, false);
    let mut show = |told: &Told, text: &mut String| -> io::Result<()> {
        if terminal && !args.json && !told.thought.is_empty() {
            thinking = true;
            write!(out, "\x1b[2m{}\x1b[0m", safe_lines(&told.thought))?;
        }
        if !args.json && !told.text.is_empty() {
            if std::mem::take(&mut thinking) {
                out.write_all(b"\n\n")?;
            }
            // A model may say anything, a terminal should not obey it.
            let shown = if terminal { safe_lines(&told.text) } else { told.text.to_string() };
            out.write_all(shown.as_bytes())?;
        }
        text.push_str(&told.text);
        out.flush()
    };
    for piece in generation {
        let piece = match piece {
            Ok(piece) => piece,
            Err(error) => {
                failed = Some(error);
                break;
            }
        };
        // From here on there is something to keep.
        interrupt::stop_gracefully();
        show(&answer.push(&piece), &mut text)?;
        if interrupt::asked() {
            break;
        }
    }
    show(&answer.finish().0, &mut text)?;
    // Whatever follows, the message of an error too, begins on its own line.
    let on_own_line = text.ends_with('\n') || (text.is_empty() && failed.is_some());
    if !args.json && !on_own_line {
        writeln!(out)?;
    }
    failed.map_or(Ok(text), |error| Err(error.into()))
}

/// What one more step takes: the last token again, as if it were the next one.
fn step_profile(model: &mut LanguageModel) -> Result<String, Failure> {
    let past = model.kept().len().min(model.context().saturating_sub(1));
    let Some(&token) = model.kept().last() else { return Ok("no step to measure".into()) };
    let backend = model.backend().clone();
    let (_, measured) = backend.block_on(model.profile(&[token], past))?;
    Ok(format!("one step after {past} tokens\n{}", profile::lines(&measured)))
}

fn load(args: &Args, chat: ChatOptions, path: &Path) -> Result<(LanguageModel, String), Failure> {
    let loras = args.lora.open(args.quiet)?;
    let options = ModelOptions { chat, loras, ..args.model_options() };
    model_args::load(path, &options, args.quiet, &mut |file, backend, told| {
        backend.block_on(LanguageModel::load(file, backend, &options, told))
    })
}

fn prompt(args: &Args) -> Result<Prompt, Failure> {
    let text = prompt::read(args.prompt(), args.prompt_file.as_deref())?;
    Ok(match &args.system {
        _ if args.raw => Prompt::Text(text),
        Some(system) => {
            Prompt::Chat(vec![ChatMessage::new("system", system), ChatMessage::new("user", &text)])
        }
        None => Prompt::Ask(text),
    })
}

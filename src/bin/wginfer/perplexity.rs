//! `wginfer perplexity`: how well a model foresees a text.

use crate::failure::Failure;
use crate::input_text;
use crate::interrupt;
use crate::model_args::ModelArgs;
use crate::output::{self, count_noun, note};
use serde_json::json;
use std::fs::File;
use std::io::{self, IsTerminal, Write};
use std::path::{Path, PathBuf};
use std::time::Instant;
use wginfer::lm::chat::ChatOptions;
use wginfer::lm::{Perplexity, Prompt};

#[derive(Debug, clap::Args)]
pub(crate) struct Args {
    #[command(flatten)]
    model: ModelArgs,

    /// The file with the text; `-` is standard input
    #[arg(short, long, value_name = "FILE")]
    text: PathBuf,

    /// Tokens computed together; the second half of each window is scored
    #[arg(long, value_name = "N", default_value_t = 512)]
    #[arg(value_parser = clap::builder::RangedU64ValueParser::<usize>::new().range(4..))]
    window: usize,

    /// Print one JSON object
    #[arg(long)]
    json: bool,
}

pub(crate) fn run(args: &Args) -> Result<(), Failure> {
    let text = text(&args.text)?;
    interrupt::listen();
    let mut model = args.model.load(ChatOptions::default())?;
    let tokens = model.prompt_tokens(&Prompt::Text(text))?;
    let window = args.window.min(model.context());
    let windows = (tokens.len() / window).max(1);
    let shown = !args.model.quiet && io::stderr().is_terminal();
    let begun = Instant::now();
    let backend = model.backend().clone();
    interrupt::stop_gracefully();
    let mut progress = |so_far: Perplexity| {
        if shown {
            eprint!("\rwindow {} of {windows}: {:.4}  ", so_far.windows, so_far.value);
        }
        !interrupt::asked()
    };
    let result = backend.block_on(model.perplexity(&tokens, window, &mut progress));
    if shown {
        note("");
    }
    let result = result?;
    let mut out = io::stdout().lock();
    if args.json {
        let value = json!({
            "schema": 1,
            "perplexity": result.value,
            "standard_error": result.error,
            "scored_tokens": result.scored,
            "tokens": tokens.len(),
            "window": window.min(tokens.len()),
            "windows": result.windows,
            "seconds": begun.elapsed().as_secs_f64(),
            "complete": !interrupt::asked(),
        });
        output::json(&mut out, &value)?;
    } else {
        writeln!(out, "perplexity: {:.4} ± {:.4}", result.value, result.error)?;
        if !args.model.quiet {
            note(format_args!(
                "{} scored, {} of {}",
                count_noun(result.scored, "token"),
                count_noun(result.windows, "window"),
                count_noun(window.min(tokens.len()), "token"),
            ));
        }
    }
    if interrupt::asked() { Err(Failure::Interrupted) } else { Ok(()) }
}

fn text(path: &Path) -> Result<String, Failure> {
    if path == Path::new("-") {
        return input_text::read(io::stdin().lock(), Path::new("standard input"), "text");
    }
    let file = File::open(path).map_err(|error| input_text::io_error(path, error))?;
    input_text::read(file, path, &format!("text from {}", path.display()))
}

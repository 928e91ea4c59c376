//! `wginfer embed`: vectors for texts, and how alike texts are.

mod args;
mod report;

pub(crate) use args::Args;

use crate::cache;
use crate::failure::Failure;
use crate::fetch;
use crate::input_text;
use crate::interrupt;
use crate::output::{self, note, safe, wrapped};
use report::Outcome;
use std::fs::File;
use std::io::{self, BufWriter, IsTerminal, Write};
use std::path::{Path, PathBuf};
use std::time::Instant;
use wginfer::Backend;
use wginfer::embed::{EmbedOptions, Embedder, Embeddings};

/// Texts given to the library at once. Between, Ctrl-C is heard.
const AT_ONCE: usize = 1024;

pub(crate) fn run(args: &Args) -> Result<(), Failure> {
    let (folder, words) = args.words()?;
    let texts = texts(args, words)?;
    let folder = match folder {
        Some(folder) => fetch::local(folder, args.quiet)?,
        None => usual_model()?,
    };
    interrupt::listen();
    let begun = Instant::now();
    let (backend, why) = Backend::open_blocking(&args.adapter, args.device.options())?;
    let say = |line: String| {
        if !args.quiet {
            note(wrapped(&safe(&line), output::WIDTH).join("\n"));
        }
    };
    say(format!("Adapter: {why}"));
    let options = EmbedOptions { loras: args.lora.open(args.quiet)?, ..args.options() };
    let mut embedder = Embedder::open_with(&folder, &backend, &options)?;
    say(format!("Model: {}", report::model(&folder, &embedder)));
    let load = begun.elapsed();
    let begun = Instant::now();
    let found = embed(&mut embedder, &texts)?;
    let took = begun.elapsed();
    for line in report::cut_off(&found) {
        say(line);
    }
    for fallback in embedder.fallbacks() {
        say(format!("on the CPU: {fallback}"));
    }
    if let Some(path) = &args.output {
        write_npy(path, &found.vectors).map_err(|error| input_text::io_error(path, error))?;
    }
    let outcome = Outcome {
        folder: &folder,
        embedder: &embedder,
        why: &why,
        texts: &texts,
        found: &found,
        load,
        took,
    };
    let mut out = io::stdout().lock();
    if args.json {
        output::json(&mut out, &outcome.json(args.similarity)?)?;
    } else {
        write!(out, "{}", outcome.lines(args.similarity)?)?;
    }
    Ok(out.flush()?)
}

fn embed(embedder: &mut Embedder, texts: &[String]) -> Result<Embeddings, Failure> {
    let backend = embedder.backend().clone();
    let mut all = Embeddings { vectors: Vec::new(), tokens: Vec::new() };
    for part in texts.chunks(AT_ONCE) {
        let part: Vec<&str> = part.iter().map(String::as_str).collect();
        let found = backend.block_on(embedder.embed(&part))?;
        all.vectors.extend(found.vectors);
        all.tokens.extend(found.tokens);
        if interrupt::asked() {
            return Err(Failure::Interrupted);
        }
    }
    Ok(all)
}

/// The texts: the command's words, the lines of a file, or of what is piped in.
fn texts(args: &Args, words: &[String]) -> Result<Vec<String>, Failure> {
    let text = match (&args.file, words) {
        (Some(_), [_, ..]) => {
            let what = "texts are given both as words and by --file".into();
            return Err(Failure::Usage(what));
        }
        (None, [_, ..]) => return Ok(words.to_vec()),
        (Some(path), []) if path != Path::new("-") => {
            let file = File::open(path).map_err(|source| input_text::io_error(path, source))?;
            input_text::read(file, path, &format!("texts from {}", path.display()))?
        }
        (None, []) if io::stdin().is_terminal() => {
            let what = "no texts: give some, or --file FILE, or pipe lines in".into();
            return Err(Failure::Usage(what));
        }
        (_, []) => {
            let name = "standard input";
            input_text::read(io::stdin().lock(), Path::new(name), &format!("texts from {name}"))?
        }
    };
    let texts: Vec<String> = text.lines().map(String::from).collect();
    if texts.is_empty() {
        return Err(input_text::unusable("texts", "at least one line", "nothing"));
    }
    Ok(texts)
}

/// The model that `scripts/fetch_embed_model.sh` fetches.
fn usual_model() -> Result<PathBuf, Failure> {
    let place = match cache::embed_model() {
        Some(path) if path.is_dir() => return Ok(path),
        Some(path) => path.display().to_string(),
        None => "the cache (HOME is not set)".into(),
    };
    Err(Failure::Usage(format!(
        "no model: name its folder or GGUF file, or fetch all-MiniLM-L6-v2 with `make embed-model` or \
         scripts/fetch_embed_model.sh (it is not at {place})"
    )))
}

/// Writes vectors of one length as an array `[texts, elements]`.
fn write_npy(path: &Path, vectors: &[Vec<f32>]) -> io::Result<()> {
    use npyz::WriterBuilder;
    let width = vectors.first().map_or(0, Vec::len) as u64;
    let mut file = BufWriter::new(File::create(path)?);
    let shape = [vectors.len() as u64, width];
    let options = npyz::WriteOptions::new().default_dtype().shape(&shape);
    let mut writer = options.writer(&mut file).begin_nd()?;
    writer.extend(vectors.iter().flatten().copied())?;
    writer.finish()?;
    file.flush()
}

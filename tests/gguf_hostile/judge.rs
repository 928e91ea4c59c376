//! Everything the library does with a file before it computes, held to bounds
//! of time and memory.

use crate::heap::peak_of;
use std::time::{Duration, Instant};
use wginfer::formats::gguf::{Array, GgufFile, Value};
use wginfer::lm::spec::DecoderSpec;
use wginfer::lm::tokenizer::{EncodeOptions, Tokenizer};
use wginfer::lm::{ChatMessage, ChatTemplate, LanguageModel, ModelOptions};
use wginfer::{Backend, Bytes, DType, Error, ErrorKind, Result};

/// What errors call the file.
pub(crate) const FILE: &str = "hostile.gguf";
/// What reading may take beside the file's own bytes.
pub(crate) const MOST_HEAP: usize = 12_000_000;
/// What loading may take on the loading thread, weights apart. For the largest
/// head and context the tables of cosines and sines are 17 MB each, and one of
/// them is there twice while it becomes a tensor; the rest is what reading may
/// take.
pub(crate) const MOST_LOAD_HEAP: usize = 3 * 17_000_000 + MOST_HEAP;
/// How much of a processor reading may take: a file must not keep a program busy.
pub(crate) const MOST_WORK: Duration = Duration::from_secs(1);

/// What this thread has had of a processor, which other programs do not change. Where
/// that is not to be had, the time.
fn work_done(begun: Instant) -> Duration {
    let known = std::fs::read_to_string("/proc/thread-self/schedstat").ok();
    let first = known.as_deref().and_then(|text| text.split_whitespace().next());
    // Systems that do not count say 0.
    let nanoseconds = first.and_then(|number| number.parse().ok()).filter(|count| *count > 0);
    nanoseconds.map_or_else(|| begun.elapsed(), Duration::from_nanos)
}

/// Runs the work and checks that it stays within the bounds.
pub(crate) fn bounded<T>(what: &str, work: impl Fn() -> T) -> T {
    let begun = Instant::now();
    let before = work_done(begun);
    let (result, peak) = peak_of(&work);
    let took = work_done(begun).saturating_sub(before);
    assert!(peak <= MOST_HEAP, "{what}: {peak} bytes of heap, at most {MOST_HEAP} are allowed");
    assert!(took <= MOST_WORK, "{what}: {took:?} of work, at most {MOST_WORK:?} is allowed");
    result
}

/// Reads all there is in a file: metadata, tensors, sizes, tokenizer,
/// template, and uses them.
pub(crate) fn read_all(bytes: &Bytes) -> Result<()> {
    let file = GgufFile::parse(bytes.clone(), FILE)?;
    for (key, value) in file.metadata().iter() {
        assert!(!key.is_empty());
        walk(&value);
    }
    let mut unsupported = None;
    for info in file.tensors() {
        match file.tensor(info.name()) {
            Ok(tensor) => assert_eq!(Some(tensor.bytes().len() as u64), info.bytes()),
            Err(error) => unsupported = unsupported.or(Some(error)),
        }
    }
    let spec = DecoderSpec::from_gguf(&file)?;
    let tokenizer = Tokenizer::from_gguf(&file)?;
    use_tokenizer(&tokenizer)?;
    if file.metadata().get("tokenizer.chat_template").is_some() {
        render(&ChatTemplate::from_gguf(&file, &tokenizer)?)?;
    }
    assert!(spec.blocks > 0 && spec.context > 0);
    unsupported.map_or(Ok(()), Err)
}

fn walk(value: &Value<'_>) -> usize {
    match value {
        Value::Array(array) => walk_array(array),
        other => other.as_bytes().map_or(1, <[u8]>::len),
    }
}

fn walk_array(array: &Array<'_>) -> usize {
    let (count, size) = array.iter().fold((0, 0), |(n, size), v| (n + 1, size + walk(&v)));
    assert_eq!(count, array.len());
    size
}

fn use_tokenizer(tokenizer: &Tokenizer) -> Result<()> {
    for id in (0..tokenizer.vocab_len() as u32).step_by(7) {
        tokenizer.token_bytes(id)?;
        tokenizer.decode(&[id], true)?;
    }
    let text = "in the end <|im_end|> naïve\u{0}\n\n  日本";
    for options in [EncodeOptions::TEXT, EncodeOptions::PROMPT, EncodeOptions::PART] {
        let ids = match tokenizer.encode(text, options) {
            // A changed vocabulary need not have every byte.
            Err(error) if error.kind() == ErrorKind::Input => continue,
            other => other?,
        };
        assert!(ids.iter().all(|&id| (id as usize) < tokenizer.vocab_len()));
        tokenizer.decode(&ids, true)?;
    }
    Ok(())
}

/// A conversation as the template writes it.
pub(crate) fn render(template: &ChatTemplate) -> Result<String> {
    let messages = [
        ChatMessage::new("system", "Be brief."),
        ChatMessage::new("user", "In the end?"),
        ChatMessage::new("assistant", "Yes."),
        ChatMessage::new("user", "Why?"),
    ];
    template.render(&messages, true)
}

/// Loads the model on the CPU.
pub(crate) fn load(bytes: &Bytes, context: Option<usize>) -> Result<LanguageModel> {
    let file = GgufFile::parse(bytes.clone(), FILE)?;
    let options = ModelOptions { cache: DType::F32, context, ..ModelOptions::default() };
    Backend::Cpu.block_on(LanguageModel::load(file, &Backend::Cpu, &options, &mut |_, _| {}))
}

/// Loads the model on the CPU and computes one step.
pub(crate) fn load_and_step(bytes: &Bytes) -> Result<()> {
    let (model, peak) = peak_of(|| load(bytes, None));
    assert!(peak <= MOST_LOAD_HEAP, "{peak} bytes to load, at most {MOST_LOAD_HEAP} are allowed");
    let mut model = model?;
    let tokens: Vec<u32> = (1..=model.context().min(3) as u32).collect();
    let logits = Backend::Cpu.block_on(model.forward(&tokens, 0))?;
    assert_eq!(logits.len(), model.spec().vocabulary);
    Ok(())
}

/// An error that a person can act on: it names the file, a key or a tensor,
/// is no bug report, and is not long.
pub(crate) fn check_error(error: &Error, what: &str) {
    let text = error.to_string();
    let named = [FILE, "key '", "tensor '"].iter().any(|name| text.contains(name));
    assert!(named, "{what}: names neither file nor key nor tensor: {text}");
    assert_ne!(error.kind(), ErrorKind::Internal, "{what}: {text}");
    assert!(text.len() < 4000, "{what}: {} bytes: {text}", text.len());
}

//! Models whose blocks keep one state of a sequence: it goes on or begins anew.

use crate::support::backends::Named;
use crate::*;
use wginfer::ErrorKind;
use wginfer::lm::engine::EngineDraft;
use wginfer::lm::{Draft, WhenFull};

/// A gated delta net and both kinds of Mamba, each with attention.
const MODELS: [&str; 3] = ["qwen35", "granitehybrid", "jamba"];

/// A small decoder, made for so many tokens.
fn recurrent(name: &str, context: u32) -> Result<GgufFile, Failed> {
    let folder = std::path::Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/data/decoders");
    let mut bytes = std::fs::read(folder.join(format!("{name}.gguf")))?;
    let key = format!("{name}.context_length");
    let found = bytes.windows(key.len()).position(|part| part == key.as_bytes());
    // Behind a key stand its type, four bytes, and its value.
    let at = found.ok_or("no context_length")? + key.len() + 4;
    bytes[at..at + 4].copy_from_slice(&context.to_le_bytes());
    Ok(GgufFile::parse(bytes, name)?)
}

/// A text goes on from all that a slot keeps, and is computed anew from anywhere else.
pub fn prefixes(backend: &Named) -> Result<(), Failed> {
    for name in MODELS {
        let mut engine = engine_of(backend, recurrent(name, 256)?, &options(2))?;
        let first = prompt(1, 40);
        let answer = ask(&mut engine, &first, &plain(8))?;
        let mut longer = [first.clone(), answer.tokens()].concat();
        longer.extend(prompt(2, 5));
        let mut other = longer.clone();
        other[20] += 1;
        // What was kept and more; a part of it; what differs in the middle.
        for (tokens, reused) in [(longer, 47), (first, 0), (other, 0)] {
            // Someone else goes through the other slot beside it.
            let noise = submit(&mut engine, &prompt(7, 30), &plain(6))?;
            let id = submit(&mut engine, &tokens, &plain(8))?;
            let answers = finish(&mut engine)?;
            assert_eq!(answers[&noise].reason, Some(FinishReason::Length), "{name}");
            assert_eq!(answers[&id].stats.reused_tokens, reused, "{name}");
            let mut fresh = model_of(backend, recurrent(name, 256)?)?;
            let wanted = alone(&mut fresh, &tokens, &plain(8))?;
            assert_eq!(answers[&id].tokens(), wanted, "{name}, {reused} reused");
        }
    }
    Ok(())
}

/// In pieces and at once, with caches that grow in between, and after other texts.
pub fn pieces(backend: &Named) -> Result<(), Failed> {
    let runner = &backend.backend;
    for name in MODELS {
        let mut model = model_of(backend, recurrent(name, 1024)?)?;
        let tokens = prompt(3, 300);
        let wanted = runner.block_on(model.forward(&tokens, 0))?;
        // The same again: nothing is left of it.
        runner.block_on(model.forward(&tokens[..250], 0))?;
        for (from, to) in [(250, 251), (251, 258), (258, 299)] {
            runner.block_on(model.forward(&tokens[from..to], from))?;
        }
        let got = runner.block_on(model.forward(&tokens[299..], 299))?;
        let size: f32 = wanted.iter().map(|v| v * v).sum();
        let off: f32 = got.iter().zip(&wanted).map(|(g, w)| (g - w) * (g - w)).sum();
        assert!(off.sqrt() < 1e-4 * size.sqrt(), "{name}: {} of {}", off.sqrt(), size.sqrt());
        // Nowhere else can it go on.
        let error = runner.block_on(model.forward(&tokens[100..101], 100)).err();
        let error = error.ok_or("a model that cannot go back went back")?;
        assert_eq!(error.kind(), ErrorKind::Input);
        assert!(error.to_string().contains("0 or 300"), "{error}");
        assert_eq!(model.kept(), tokens);
    }
    Ok(())
}

/// What is left of a full context is computed anew.
pub fn forgetting(backend: &Named) -> Result<(), Failed> {
    let options_of =
        |count| GenerateOptions { when_full: WhenFull::Forget { keep: 4 }, ..plain(count) };
    for name in MODELS {
        let tokens = prompt(5, 20);
        let mut model = model_of(backend, recurrent(name, 32)?)?;
        let all = alone(&mut model, &tokens, &options_of(24))?;
        // The same by hand: the first 4 tokens stay, and the latest half of the others.
        let (mut fed, mut wanted) = (tokens.clone(), Vec::new());
        while wanted.len() < all.len() {
            if fed.len() > 32 {
                fed = [&fed[..4], &fed[fed.len() - 14..]].concat();
            }
            let logits = backend.backend.block_on(model.forward(&fed, 0))?;
            let best = (0..logits.len()).max_by(|&a, &b| logits[a].total_cmp(&logits[b]));
            let best = best.ok_or("no logits")? as u32;
            fed.push(best);
            wanted.push(best);
        }
        assert_eq!(all, wanted, "{name}");
        let mut engine = engine_of(backend, recurrent(name, 32)?, &options(2))?;
        let noise = submit(&mut engine, &prompt(7, 9), &plain(20))?;
        let id = submit(&mut engine, &tokens, &options_of(24))?;
        let answers = finish(&mut engine)?;
        assert_eq!(answers[&id].tokens(), all, "{name}");
        assert_eq!(answers[&noise].reason, Some(FinishReason::Length), "{name}");
    }
    Ok(())
}

/// A draft drops tokens that were computed, which such a model cannot.
pub fn drafts(backend: &Named) -> Result<(), Failed> {
    let open = || recurrent("qwen35", 256);
    let draft = EngineDraft { file: open()?, tokens: 2 };
    let (runner, options) = (&backend.backend, options(1));
    let mut progress = |_, _| {};
    let loaded = Engine::load_with_draft(open()?, Some(draft), runner, &options, &mut progress);
    let error = runner.block_on(loaded).err().ok_or("an engine with a draft")?;
    assert_eq!(error.kind(), ErrorKind::Unsupported);
    assert!(error.to_string().contains("qwen35"), "{error}");
    let (mut model, mut small) = (model_of(backend, open()?)?, model_of(backend, open()?)?);
    let draft = Draft { model: &mut small, tokens: 2 };
    let asked = model.generate_with(draft, Prompt::Tokens(prompt(1, 4)), &plain(4));
    let error = asked.err().ok_or("a model with a draft")?;
    assert_eq!(error.kind(), ErrorKind::Unsupported);
    Ok(())
}

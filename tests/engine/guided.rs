//! Texts that follow a grammar, go on when the context is full, or have a small
//! model run ahead; in an engine and alone.

use crate::support::backends::Named;
use crate::*;
use wginfer::ErrorKind;
use wginfer::lm::chat::{ToolStream, ToolStyle};
use wginfer::lm::{Draft, GrammarSource, SamplerOptions, WhenFull};

fn guided(model: &LanguageModel, source: &GrammarSource) -> Result<GenerateOptions> {
    // A model with random weights would never stop to put spaces.
    let logit_bias = [9, 10, 13, 32].map(|id| (id, f32::NEG_INFINITY)).into();
    let grammar = Some(model.file().grammar(source)?);
    Ok(GenerateOptions { max_tokens: 200, grammar, logit_bias, ..GenerateOptions::default() })
}

fn text_of(model: &mut LanguageModel, options: &GenerateOptions) -> Result<(String, FinishReason)> {
    let mut generation = model.generate(Prompt::Tokens(prompt(1, 5)), options)?;
    let mut text = String::new();
    for piece in &mut generation {
        text.push_str(&piece?);
    }
    let finish = generation.stats().finish;
    Ok((text, finish.unwrap_or(FinishReason::Cancelled)))
}

pub fn grammars(backend: &Named) -> Result<(), Failed> {
    let mut model = model(backend)?;
    let mut engine = engine(backend, 3)?;
    let schema = serde_json::json!({
        "type": "object",
        "properties": {
            "colour": { "enum": ["red", "green"] },
            "count": { "type": "integer", "minimum": 0, "maximum": 99 },
            "flags": { "type": "array", "items": { "type": "boolean" }, "maxItems": 3 },
        },
        "required": ["colour", "count", "flags"],
        "additionalProperties": false,
    });
    let options = guided(&model, &GrammarSource::JsonSchema(schema))?;
    for temperature in [0.0, 1.0] {
        let mut options = options.clone();
        options.sampler.temperature = temperature;
        let (text, finish) = text_of(&mut model, &options)?;
        let value: serde_json::Value = serde_json::from_str(&text)?;
        assert!(matches!(value["colour"].as_str(), Some("red" | "green")), "{text}");
        assert!(value["count"].as_u64().is_some_and(|count| count <= 99), "{text}");
        assert!(value["flags"].as_array().is_some_and(|flags| flags.len() <= 3), "{text}");
        assert_eq!(value.as_object().map(|object| object.len()), Some(3), "{text}");
        assert_eq!(finish, FinishReason::End, "{text}");
        // In company, too.
        let other = submit(&mut engine, &prompt(2, 9), &plain(30))?;
        let id = submit(&mut engine, &prompt(1, 5), &options)?;
        let answers = crate::finish(&mut engine)?;
        assert_eq!((&*answers[&id].text, answers[&id].reason), (&*text, Some(FinishReason::End)));
        assert_eq!(answers[&other].pieces.len(), 30);
    }
    let source = GrammarSource::Regex("[a-c]{5}-[0-9]{2}".into());
    let options = guided(&model, &source)?;
    let (text, finish) = text_of(&mut model, &options)?;
    let (letters, digits) = text.split_once('-').ok_or("a dash")?;
    assert!(letters.len() == 5 && letters.bytes().all(|b| matches!(b, b'a'..=b'c')), "{text}");
    assert!(digits.len() == 2 && digits.bytes().all(|b| b.is_ascii_digit()), "{text}");
    assert_eq!(finish, FinishReason::End);
    let source = GrammarSource::Lark("start: \"yes\" | \"no\" \"!\"".into());
    let options = guided(&model, &source)?;
    let (text, _) = text_of(&mut model, &options)?;
    assert!(text == "yes" || text == "no!", "{text}");
    for wrong in [
        GrammarSource::JsonSchema(serde_json::json!({ "type": "nonsense" })),
        GrammarSource::Lark("start: nothing_of_the_kind".into()),
        GrammarSource::Regex("(".into()),
    ] {
        let error = model.file().grammar(&wrong).expect_err("no grammar");
        assert_eq!(error.kind(), ErrorKind::Input, "{error}");
    }
    Ok(())
}

/// A call that must be made is one in the form of each kind of model.
pub fn calls(backend: &Named) -> Result<(), Failed> {
    let mut model = model(backend)?;
    let tool = serde_json::json!({ "type": "function", "function": {
        "name": "sky", "parameters": {
            "type": "object",
            "properties": {
                "at": { "enum": ["noon", "night"] },
                "days": { "type": "integer", "minimum": 0, "maximum": 99 },
            },
            "required": ["at", "days"],
            "additionalProperties": false,
        },
    } });
    use ToolStyle::{Bare, Fenced, Functions, Listed, Marked, Named, Pairs, Python, Tagged};
    let styles = [Tagged, Functions, Pairs, Listed, Named, Bare, Fenced, Marked, Python];
    for style in styles {
        let source = GrammarSource::Lark(style.grammar(std::slice::from_ref(&tool))?);
        // Their JSON has its spaces in fixed places, and there have to be some.
        let options = GenerateOptions { logit_bias: Vec::new(), ..guided(&model, &source)? };
        let (text, finish) =
            text_of(&mut model, &options).map_err(|error| format!("{style:?}: {error:?}"))?;
        assert_eq!(finish, FinishReason::End, "{style:?}: {text}");
        let mut stream = ToolStream::new(style, std::slice::from_ref(&tool));
        let told = stream.push(&text);
        let (rest, calls) = stream.finish();
        assert_eq!((told + &rest, calls.len()), (String::new(), 1), "{style:?}: {text}");
        assert_eq!(calls[0].name, "sky");
        let arguments = &calls[0].arguments;
        assert!(matches!(arguments["at"].as_str(), Some("noon" | "night")), "{text}");
        assert!(arguments["days"].as_u64().is_some_and(|days| days <= 99), "{text}");
    }
    Ok(())
}

/// What is forgotten is as if it had never been there.
pub fn forgetting(backend: &Named) -> Result<(), Failed> {
    const CONTEXT: usize = 24;
    const KEEP: usize = 5;
    let tiny = TinyModel { context: CONTEXT, ..TinyModel::default() };
    let runner = backend.backend.clone();
    let tokens = prompt(4, 9);
    // Each token from a window that is computed as a whole.
    let mut fresh = model_of(backend, file(&tiny)?)?;
    let (mut window, mut wanted) = (tokens.clone(), Vec::new());
    for _ in 0..60 {
        if window.len() > CONTEXT {
            let latest = (CONTEXT - KEEP) / 2;
            window = [&window[..KEEP], &window[window.len() - latest..]].concat();
        }
        let logits = runner.block_on(fresh.forward(&window, 0))?;
        let best = (0..logits.len()).max_by(|&a, &b| logits[a].total_cmp(&logits[b]));
        let best = best.ok_or("logits")? as u32;
        window.push(best);
        wanted.push(best);
    }
    let options = GenerateOptions { when_full: WhenFull::Forget { keep: KEEP }, ..plain(60) };
    let mut model = model_of(backend, file(&tiny)?)?;
    assert_eq!(alone(&mut model, &tokens, &options)?, wanted);
    let mut engine = engine_of(backend, file(&tiny)?, &crate::options(2))?;
    let id = submit(&mut engine, &tokens, &options)?;
    let other = submit(&mut engine, &prompt(7, 3), &options)?;
    let answers = finish(&mut engine)?;
    assert_eq!(answers[&id].tokens(), wanted);
    assert_eq!(answers[&id].reason, Some(FinishReason::Length));
    assert_eq!(answers[&other].pieces.len(), 60);
    // Without it the text ends, and says so.
    let stopped = ask(&mut engine, &tokens, &plain(60))?;
    assert_eq!(stopped.reason, Some(FinishReason::Context));
    assert_eq!(stopped.tokens(), wanted[..stopped.pieces.len()]);
    Ok(())
}

/// Whatever runs ahead, a greedy text is the same, and a drawn one has its length and
/// comes again with its seed.
pub fn drafts(backend: &Named) -> Result<(), Failed> {
    let mut model = model(backend)?;
    let tokens = prompt(5, 7);
    let drawn = SamplerOptions { temperature: 0.9, top_k: 40, seed: 7, ..Default::default() };
    for sampler in [SamplerOptions::default(), drawn] {
        let greedy = sampler.temperature == 0.0;
        let options = GenerateOptions { sampler, ..plain(40) };
        let mut wanted = alone(&mut model, &tokens, &options)?;
        let mut last = None;
        // The model itself, the same with other sizes of steps, and one that is no help.
        for (seed, count) in [(1, 4), (1, 1), (2, 3), (2, 3)] {
            let mut draft = model_of(backend, file(&TinyModel { seed, ..TinyModel::default() })?)?;
            let ahead = Draft { model: &mut draft, tokens: count };
            let mut generation =
                model.generate_with(ahead, Prompt::Tokens(tokens.clone()), &options)?;
            for piece in &mut generation {
                piece?;
            }
            let got = generation.tokens()[tokens.len()..].to_vec();
            assert_eq!(got.len(), wanted.len(), "seed {seed}");
            assert!(!greedy || got == wanted, "seed {seed}");
            if seed == 2 && last == Some((seed, count)) {
                assert_eq!(got, wanted, "the same draft and seed");
            }
            (wanted, last) = (got, Some((seed, count)));
            let stats = generation.stats();
            assert!(stats.drafted > 0 && stats.accepted <= stats.drafted, "{stats:?}");
            // A model agrees with itself, drawn or not.
            if seed == 1 {
                assert!(stats.accepted >= stats.drafted - count, "{stats:?}");
            }
        }
    }
    // A text ends in the middle of what was proposed; a context that is full, too.
    let mut draft = model_of(backend, file(&TinyModel::default())?)?;
    for count in [1, 2, 6, 300] {
        let ahead = Draft { model: &mut draft, tokens: 5 };
        let options = GenerateOptions { max_tokens: count, ..plain(1) };
        let wanted = alone(&mut model, &tokens, &options)?;
        let mut generation =
            model.generate_with(ahead, Prompt::Tokens(tokens.clone()), &options)?;
        for piece in &mut generation {
            piece?;
        }
        assert_eq!(generation.tokens()[tokens.len()..], wanted, "{count}");
    }
    Ok(())
}

/// A model of other tokens is refused by the first that differs.
pub fn strange_drafts(backend: &Named) -> Result<(), Failed> {
    let mut model = model(backend)?;
    let path =
        std::path::Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/data/decoders/llama.gguf");
    let mut draft = model_of(backend, wginfer::formats::gguf::open(path)?)?;
    let ahead = Draft { model: &mut draft, tokens: 2 };
    let error = model.generate_with(ahead, Prompt::Tokens(vec![1, 2]), &plain(3));
    let error = error.err().ok_or("a model of other tokens")?;
    assert!(error.to_string().contains("token 0 is '<pad>'"), "{error}");
    Ok(())
}

//! What is in a slot's caches already, and what else the model knows of tokens.

use crate::support::backends::Named;
use crate::support::recipe::Recipe;
use crate::*;
use std::path::Path;
use wginfer::formats::gguf;

/// A prompt that begins as an earlier sequence is computed from where it
/// differs, and gets the same tokens.
pub fn prefixes(backend: &Named) -> Result<(), Failed> {
    let mut engine = engine(backend, 2)?;
    let first = prompt(1, 40);
    let answer = ask(&mut engine, &first, &plain(8))?;
    assert_eq!(answer.stats.reused_tokens, 0);
    let mut longer = [first.clone(), answer.tokens()].concat();
    longer.extend(prompt(2, 5));
    // The prompt again; what followed it and more; what differs in the middle.
    let mut other = first.clone();
    other[20] += 1;
    for (tokens, reused) in [(first.clone(), 39), (longer, 47), (other, 20)] {
        // Someone else goes through the other slot in between.
        let noise = submit(&mut engine, &prompt(7, 30), &plain(6))?;
        let id = submit(&mut engine, &tokens, &plain(8))?;
        let answers = finish(&mut engine)?;
        assert_eq!(answers[&noise].reason, Some(FinishReason::Length));
        assert_eq!(answers[&id].stats.reused_tokens, reused);
        let wanted = alone(&mut model(backend)?, &tokens, &plain(8))?;
        assert_eq!(answers[&id].tokens(), wanted, "{reused} reused");
    }
    Ok(())
}

/// What many prompts begin with stays, however long a text became that began with it.
pub fn systems(backend: &Named) -> Result<(), Failed> {
    let mut engine = engine(backend, 3)?;
    let system = prompt(1, 40);
    let with = |seed| [system.clone(), prompt(seed, 5)].concat();
    assert_eq!(common(&with(2), &with(3)), 40);
    ask(&mut engine, &with(2), &plain(80))?;
    for (seed, reused) in [(3, 40), (4, 40)] {
        let answer = ask(&mut engine, &with(seed), &plain(8))?;
        assert_eq!(answer.stats.reused_tokens, reused);
        assert_eq!(answer.tokens(), alone(&mut model(backend)?, &with(seed), &plain(8))?);
    }
    Ok(())
}

fn common(a: &[u32], b: &[u32]) -> usize {
    a.iter().zip(b).take_while(|(a, b)| a == b).count()
}

/// Vectors of texts take no slot that a chat may come back to, while there is another.
pub fn vectors_beside_chats(backend: &Named) -> Result<(), Failed> {
    let mut engine = engine(backend, 3)?;
    let chats = [prompt(1, 30), prompt(2, 40)];
    for chat in &chats {
        ask(&mut engine, chat, &plain(4))?;
    }
    for seed in 3..8 {
        let request = Request { tokens: prompt(seed, 20), work: Work::Embed };
        let id = engine.submit(request)?;
        assert!(!finish(&mut engine)?[&id].vector.is_empty());
    }
    for chat in &chats {
        let answer = ask(&mut engine, chat, &plain(4))?;
        assert_eq!(answer.stats.reused_tokens, chat.len() - 1);
        assert_eq!(answer.tokens(), alone(&mut model(backend)?, chat, &plain(4))?);
    }
    Ok(())
}

/// Padding of other rows never falls on what a slot keeps, not even where its
/// cache is full.
pub fn full_slots(backend: &Named) -> Result<(), Failed> {
    let tiny = TinyModel { context: 24, ..TinyModel::default() };
    let mut engine = engine_of(backend, file(&tiny)?, &options(2))?;
    let answer = ask(&mut engine, &prompt(1, 20), &plain(100))?;
    assert_eq!(answer.reason, Some(FinishReason::Context));
    let full = [prompt(1, 20), answer.tokens()].concat();
    // 24 in the cache, and the token that they gave.
    assert_eq!(full.len(), 25);
    // Prompts and tokens of others, beside a slot without room for one more.
    ask(&mut engine, &prompt(4, 11), &plain(10))?;
    let again = ask(&mut engine, &full[..24], &plain(1))?;
    assert_eq!(again.stats.reused_tokens, 23);
    assert_eq!(again.tokens(), full[24..]);
    Ok(())
}

/// A model with one sequence at a time keeps it as well.
pub fn one_after_another(backend: &Named) -> Result<(), Failed> {
    let mut model = model(backend)?;
    let mut tokens = prompt(1, 20);
    for (seed, kept) in [(2usize, 0), (3, 25), (4, 33)] {
        let mut generation = model.generate(Prompt::Tokens(tokens.clone()), &plain(6))?;
        for piece in &mut generation {
            piece?;
        }
        assert_eq!(generation.stats().reused_tokens, kept);
        let all = generation.tokens().to_vec();
        let wanted = alone(&mut crate::model(backend)?, &tokens, &plain(6))?;
        assert_eq!(all[tokens.len()..], wanted);
        tokens = [all, prompt(seed, 2)].concat();
    }
    Ok(())
}

/// The head is linear: what it makes of the mean of the hidden states is the
/// mean of the logits.
pub fn hidden_states(backend: &Named) -> Result<(), Failed> {
    let tiny = TinyModel::default();
    let mut engine = engine(backend, 2)?;
    let tokens = prompt(5, 70);
    submit(&mut engine, &prompt(1, 9), &plain(12))?;
    let id = engine.submit(Request { tokens: tokens.clone(), work: Work::Embed })?;
    let vector = finish(&mut engine)?[&id].vector.clone();
    assert_eq!(vector.len(), tiny.width);

    let parsed = file(&tiny)?;
    let head = parsed.tensor("output.weight")?.to_f32()?;
    let mut model = model(backend)?;
    let rows: Vec<i32> = (0..tokens.len() as i32).collect();
    let logits = backend.backend.block_on(model.step(&tokens, 0, &rows))?;
    let vocabulary = head.len() / tiny.width;
    for id in 0..vocabulary {
        let all = logits.iter().skip(id).step_by(vocabulary);
        let wanted = all.map(|&v| f64::from(v)).sum::<f64>() / tokens.len() as f64;
        let row = &head[id * tiny.width..][..tiny.width];
        let got: f64 = row.iter().zip(&vector).map(|(w, h)| f64::from(w * h)).sum();
        assert!((got - wanted).abs() < 1e-4, "token {id}: {got}, expected {wanted}");
    }
    Ok(())
}

/// An encoder's step has room for two long texts, and there are always two: a short one
/// beside them still gets its turn.
pub fn short_texts(backend: &Named) -> Result<(), Failed> {
    let data = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/data");
    let recipe: Recipe = serde_json::from_slice(&std::fs::read(data.join("encoders/bert.json"))?)?;
    let vocabulary = gguf::open(data.join("tokenizers/wordpiece.gguf"))?;
    let mut engine = engine_of(backend, recipe.file("bert", &vocabulary)?, &options(3))?;
    let text = |length| Request { tokens: vec![200; length], work: Work::Embed };
    let short = engine.submit(text(5))?;
    let mut long = vec![engine.submit(text(64))?, engine.submit(text(64))?];
    for _ in 0..4 {
        let events = backend.backend.block_on(engine.step())?;
        for (id, event) in events {
            assert!(matches!(event, Event::Embedded(_)), "{event:?}");
            if id == short {
                return Ok(());
            }
            assert!(long.contains(&id));
            long.push(engine.submit(text(64))?);
        }
    }
    Err("the short text waits for as long as others come".into())
}

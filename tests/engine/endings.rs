//! How texts end, and what is said of their tokens; in an engine and alone.

use crate::support::backends::Named;
use crate::*;

/// A text of printable bytes: everything else is barred.
fn printable(count: usize) -> GenerateOptions {
    let printable = |id: &u32| (33..127).contains(id);
    let bars = (0..263u32).filter(|id| !printable(id)).map(|id| (id, f32::NEG_INFINITY));
    GenerateOptions { logit_bias: bars.collect(), ..plain(count) }
}

fn generated(
    backend: &Named,
    tokens: &[u32],
    options: &GenerateOptions,
) -> Result<(String, Option<FinishReason>)> {
    let mut model = model(backend)?;
    let mut generation = model.generate(Prompt::Tokens(tokens.into()), options)?;
    let mut text = String::new();
    for piece in &mut generation {
        text.push_str(&piece?);
    }
    Ok((text, generation.stats().finish))
}

pub fn stops(backend: &Named) -> Result<(), Failed> {
    let mut engine = engine(backend, 2)?;
    let tokens = prompt(3, 6);
    let whole = ask(&mut engine, &tokens, &printable(24))?;
    assert_eq!(whole.text.len(), 24, "{:?}", whole.text);
    assert_eq!(generated(backend, &tokens, &printable(24))?.0, whole.text);
    // Three bytes in the middle, and a string that only begins at the end.
    let stop = whole.text[9..12].to_string();
    let never = format!("{}!never", &whole.text[22..]);
    let at = whole.text.find(&stop).unwrap();
    let options = GenerateOptions { stop: vec![never, stop], ..printable(24) };
    let stopped = ask(&mut engine, &tokens, &options)?;
    assert_eq!((&stopped.text[..], stopped.reason), (&whole.text[..at], Some(FinishReason::Stop)));
    let wanted = (stopped.text.clone(), stopped.reason);
    assert_eq!(generated(backend, &tokens, &options)?, wanted);
    // Nothing of the stop string was told before it was known to be none.
    let mut told = String::new();
    for piece in &stopped.pieces {
        told.push_str(&piece.text);
        assert!(whole.text[..at].starts_with(&told), "{told:?}");
    }
    // What was held back is told at the end.
    let never = format!("{}!never", &whole.text[22..]);
    let options = GenerateOptions { stop: vec![never], ..printable(24) };
    assert_eq!(ask(&mut engine, &tokens, &options)?.text, whole.text);
    // A token.
    let token = whole.pieces[5].token;
    let first = whole.tokens().iter().position(|&other| other == token).unwrap();
    let options = GenerateOptions { stop_tokens: vec![token], ..printable(24) };
    let stopped = ask(&mut engine, &tokens, &options)?;
    assert_eq!((stopped.pieces.len(), stopped.reason), (first, Some(FinishReason::Stop)));
    Ok(())
}

pub fn probabilities(backend: &Named) -> Result<(), Failed> {
    let mut engine = engine(backend, 2)?;
    let tokens = prompt(4, 10);
    let options = GenerateOptions { log_probabilities: Some(3), ..plain(5) };
    let answer = ask(&mut engine, &tokens, &options)?;
    let mut model = model(backend)?;
    let mut sequence = tokens.clone();
    for piece in &answer.pieces {
        let logits = backend.backend.block_on(model.forward(&sequence, 0))?;
        let total: f64 = logits.iter().map(|&l| f64::from(l).exp()).sum();
        let told = piece.log_probabilities.as_ref().ok_or("no probabilities")?;
        let wanted = (f64::from(logits[piece.token as usize]).exp() / total).ln();
        assert!((f64::from(told.chosen) - wanted).abs() < 1e-4, "{told:?}, expected {wanted}");
        // Greedy: the chosen one is the first, and they descend.
        assert_eq!((told.top.len(), told.top[0].0), (3, piece.token));
        assert!(told.top.windows(2).all(|two| two[0].1 >= two[1].1), "{told:?}");
        sequence.push(piece.token);
    }
    // A bias decides; the probabilities are those of the model all the same.
    let options = GenerateOptions { logit_bias: vec![(77, 1000.0)], ..options };
    let biased = ask(&mut engine, &tokens, &options)?;
    assert_eq!(biased.tokens(), [77; 5]);
    let first = biased.pieces[0].log_probabilities.as_ref().ok_or("no probabilities")?;
    assert_ne!(first.top[0].0, 77);
    // One outside of the vocabulary fails its sequence only.
    let options = GenerateOptions { logit_bias: vec![(1 << 20, 1.0)], ..plain(5) };
    let wrong = submit(&mut engine, &tokens, &options)?;
    let right = submit(&mut engine, &tokens, &plain(5))?;
    let answers = finish(&mut engine)?;
    assert!(answers[&wrong].failure.as_ref().is_some_and(|e| e.contains("logit_bias")));
    assert_eq!(answers[&right].tokens(), answer.tokens());
    Ok(())
}

/// The model wants to end at once, and may not.
pub fn least(backend: &Named) -> Result<(), Failed> {
    let mut engine = engine(backend, 1)?;
    let end = engine.file().tokenizer().eos().ok_or("no end")?;
    let tokens = prompt(4, 10);
    let eager = GenerateOptions {
        ignore_end: false,
        logit_bias: vec![(end, 1000.0), (77, 500.0)],
        ..plain(20)
    };
    let answer = ask(&mut engine, &tokens, &eager)?;
    assert_eq!((answer.tokens(), answer.reason), (vec![], Some(FinishReason::End)));
    let later = GenerateOptions { min_tokens: 4, ..eager.clone() };
    let answer = ask(&mut engine, &tokens, &later)?;
    assert_eq!((answer.tokens(), answer.reason), (vec![77; 4], Some(FinishReason::End)));
    let text = generated(backend, &tokens, &later)?;
    assert_eq!(text, (answer.text, Some(FinishReason::End)));
    let wrong = GenerateOptions { min_tokens: 21, ..eager };
    let error = submit(&mut engine, &tokens, &wrong).unwrap_err();
    assert!(error.to_string().starts_with("min_tokens"), "{error}");
    Ok(())
}

/// From another thread, and what was computed stays for the next prompt.
pub fn cancelled_generation(backend: &Named) -> Result<(), Failed> {
    let mut model = model(backend)?;
    let mut generation = model.generate(Prompt::Tokens(prompt(1, 9)), &plain(50))?;
    generation.next().ok_or("no piece")??;
    let canceller = generation.canceller();
    std::thread::spawn(move || canceller.cancel()).join().unwrap();
    let rest: Result<Vec<String>> = generation.by_ref().collect();
    assert!(rest?.concat().len() < 4);
    assert_eq!(generation.stats().finish, Some(FinishReason::Cancelled));
    assert_eq!(generation.stats().tokens, 1);
    let next = alone(&mut model, &prompt(1, 12), &plain(4))?;
    assert_eq!(next, alone(&mut crate::model(backend)?, &prompt(1, 12), &plain(4))?);
    Ok(())
}

/// On the way through a prompt of many steps, what was computed of it stays. However early
/// the other thread is: what is asserted holds for none of the steps as well, so the wait
/// is far shorter than all of them on any device.
pub fn cancelled_prompt(backend: &Named) -> Result<(), Failed> {
    let long = TinyModel { context: 8192, ..TinyModel::default() };
    let mut model = model_of(backend, file(&long)?)?;
    let tokens = prompt(1, 8000);
    let mut generation = model.generate(Prompt::Tokens(tokens.clone()), &plain(1))?;
    let canceller = generation.canceller();
    let later = std::thread::spawn(move || {
        std::thread::sleep(std::time::Duration::from_millis(2));
        canceller.cancel();
    });
    let pieces: Result<Vec<String>> = generation.by_ref().collect();
    assert_eq!(pieces?.concat(), "");
    assert_eq!(generation.stats().finish, Some(FinishReason::Cancelled));
    assert_eq!(generation.stats().tokens, 0);
    later.join().unwrap();
    let kept = model.kept();
    assert!(kept.len() < tokens.len() && kept.len().is_multiple_of(model.chunk()));
    assert!(tokens.starts_with(kept));
    Ok(())
}

//! `wginfer chat`, `serve` and `perplexity`, on a tiny model with random weights.

use crate::start::{Run, finish, wginfer};
use crate::tiny_model::TinyModel;
use std::io::{BufRead, BufReader, Read, Write};
use std::net::TcpStream;
use std::path::Path;

/// A folder with the model's file in it.
fn folder(model: &TinyModel) -> (tempfile::TempDir, String) {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("tiny.gguf");
    std::fs::write(&path, model.bytes().unwrap()).unwrap();
    let path = path.to_str().unwrap().to_string();
    (dir, path)
}

fn on_cpu(command: &str, path: &str, options: &[&str], input: &str) -> Run {
    let arguments = [&[command, path, "--adapter", "cpu"][..], options].concat();
    wginfer(&arguments).input(input).run()
}

fn chat(path: &str, options: &[&str], input: &str) -> Run {
    let options = [&["--max-tokens", "6", "--ignore-end"][..], options].concat();
    on_cpu("chat", path, &options, input)
}

#[test]
fn a_chat_remembers_and_forgets() {
    let (_dir, path) = folder(&TinyModel::default());
    let once = chat(&path, &[], "in the end\n");
    assert_eq!(once.code, Some(0), "{once:?}");
    assert!(once.stderr.contains("cut off by --max-tokens after 6 tokens"), "{once:?}");
    let answer = once.stdout;
    // Asked again it knows what was said; after /reset it does not.
    let twice = chat(&path, &[], "in the end\nin the end\n").stdout;
    let second = twice.strip_prefix(&answer).expect("the first answer");
    assert_ne!(second, answer);
    let again = chat(&path, &["--quiet"], "in the end\n/reset\nin the end\n/quit\nin the end\n");
    assert_eq!(again.stdout, format!("{answer}{answer}"), "{again:?}");
    // A role changes what is said; one that is taken away does not.
    let told = chat(&path, &["--system", "the thin in"], "in the end\n").stdout;
    assert_ne!(told, answer);
    assert_eq!(chat(&path, &[], "/system the thin in\nin the end\n").stdout, told);
    let bare = chat(&path, &["--system", "the thin in"], "/system\nin the end\n").stdout;
    assert_eq!(bare, answer);
}

#[test]
fn a_conversation_is_kept_in_a_file() {
    let (dir, path) = folder(&TinyModel::default());
    let session = dir.path().join("talk.bin");
    let session = session.to_str().unwrap();
    let told = ["--system", "the thin in"];
    let whole = chat(&path, &told, "in the end\nin the thin\n").stdout;
    let first = chat(&path, &[&told[..], &["--session", session]].concat(), "in the end\n");
    let second = chat(&path, &["--session", session], "in the thin\n");
    assert_eq!(format!("{}{}", first.stdout, second.stdout), whole, "{second:?}");
    assert!(second.stderr.contains("going on after 2 messages"), "{second:?}");
    // Forgotten, it begins anew, in its role.
    let third = chat(&path, &["--session", session, "--quiet"], "/reset\nin the end\n");
    assert_eq!(third.stdout, first.stdout, "{third:?}");
    // Another model has the conversation, not the caches.
    let (_other, other) = folder(&TinyModel { seed: 9, ..TinyModel::default() });
    let run = chat(&other, &["--session", session], "in the thin\n");
    assert!(run.stderr.contains("computed anew"), "{run:?}");
    assert!(run.stderr.contains("going on after 2 messages"), "{run:?}");
    let run = chat(&path, &["--session", &path], "in the end\n");
    assert!(run.error().contains("tiny.gguf"), "{run:?}");
    // It is no cache of prompts.
    let before = std::fs::read(session).unwrap();
    let run = on_cpu("generate", &path, &["--prompt", "a", "--prompt-cache", session], "");
    assert!(run.code == Some(2) && run.stderr.contains("conversation"), "{run:?}");
    assert_eq!(std::fs::read(session).unwrap(), before);
}

/// Ctrl-C ends an answer, not the chat: what was told stays, and the next line is read.
#[cfg(unix)]
#[test]
fn an_interrupt_ends_the_answer_alone() {
    let (_dir, path) = folder(&TinyModel { context: 1 << 16, ..TinyModel::default() });
    let long = ["--ignore-end", "--context", "60000", "--max-tokens", "50000"];
    let arguments = [&["chat", &path, "--adapter", "cpu"][..], &long].concat();
    let mut child = wginfer(&arguments).input("in the end\n/nothing\n/reset\n/quit\n").spawn();
    let mut first = vec![0];
    child.stdout.as_mut().unwrap().read_exact(&mut first).unwrap();
    // SAFETY: the process is this test's own child, which was not waited for.
    assert_eq!(unsafe { libc::kill(child.id() as i32, libc::SIGINT) }, 0);
    let run = finish(child, first);
    assert_eq!(run.code, Some(0), "{run:?}");
    let told: Vec<&str> = run.stderr.lines().collect();
    let at = |what: &str| told.iter().position(|line| line.contains(what));
    let (cut, unknown, forgotten) =
        (at("(interrupted after"), at("/nothing is no"), at("forgotten"));
    assert!(cut.is_some() && cut < unknown && unknown < forgotten, "{run:?}");
    assert!(run.stdout.ends_with('\n'), "{run:?}");
}

/// A template such as that of gpt-oss, which refuses the headers of channels in what
/// was said before.
const CHANNELS: &str = "{% for m in messages %}{% if '<|channel|>' in m.content %}\
    {{ raise_exception('a header in a message') }}{% endif %}<|start|>{{ m.role }}\
    <|message|>{{ m.content }}<|end|>{% endfor %}<|start|>assistant";

/// What a model thinks is no part of its answer, which the next one goes on from.
#[test]
fn a_chat_with_channels_shows_what_is_said() {
    let (dir, path) = folder(&TinyModel { template: Some(CHANNELS), ..TinyModel::default() });
    let grammar = dir.path().join("grammar");
    let text = "start: \"<|channel|>analysis<|message|>hm<|end|><|start|>assistant\
                <|channel|>final<|message|>yes\"\n";
    std::fs::write(&grammar, text).unwrap();
    let options = ["--max-tokens", "200", "--grammar", grammar.to_str().unwrap()];
    let run = on_cpu("chat", &path, &options, "well?\nreally?\n");
    assert_eq!((run.code, &*run.stdout), (Some(0), "yes\nyes\n"), "{run:?}");
    assert!(!run.stderr.contains("error"), "{run:?}");
}

/// A template such as that of Gemma 4, whose thoughts stand between marks.
const THOUGHTS: &str = "{% for m in messages %}{{ m.content.split('<channel|>')[-1] }}\
    {% if '<|channel>' in m.content %}{{ raise_exception('a thought in a message') }}{% endif %}\
    {% endfor %}";

/// What is generated is what is said; a raw text is all of it.
#[test]
fn a_text_is_what_is_said() {
    let harmony = "<|channel|>analysis<|message|>hm<|end|><|start|>assistant\
                   <|channel|>final<|message|>yes";
    let marked = "<|channel>thought\\nhm\\n<channel|>yes";
    for (template, answer) in [(CHANNELS, harmony), (THOUGHTS, marked)] {
        let (dir, path) = folder(&TinyModel { template: Some(template), ..TinyModel::default() });
        let grammar = dir.path().join("grammar");
        std::fs::write(&grammar, format!("start: \"{answer}\"\n")).unwrap();
        let options =
            ["-p", "well?", "--max-tokens", "200", "--grammar", grammar.to_str().unwrap()];
        let run = on_cpu("generate", &path, &options, "");
        assert_eq!((run.code, &*run.stdout), (Some(0), "yes\n"), "{run:?}");
        let chat = [&options[2..], &["--quiet"]].concat();
        let run = on_cpu("chat", &path, &chat, "well?\nreally?\n");
        assert_eq!((run.code, &*run.stdout), (Some(0), "yes\nyes\n"), "{run:?}");
        let raw = [&options[..], &["--raw"]].concat();
        let run = on_cpu("generate", &path, &raw, "");
        assert!(run.stdout.contains("hm") && run.stdout.contains("channel"), "{run:?}");
    }
}

#[test]
fn a_chat_explains_itself() {
    let (dir, path) = folder(&TinyModel { context: 64, ..TinyModel::default() });
    let history = dir.path().join("history");
    let file = history.to_str().unwrap();
    let run = chat(&path, &["--history", file], "/help\n/dance\nlong \\\nline\n\n");
    assert_eq!(run.code, Some(0), "{run:?}");
    assert!(
        run.stderr.contains("/reset") && run.stderr.contains("/dance is no command"),
        "{run:?}"
    );
    assert!(std::fs::read_to_string(&history).unwrap().contains("/dance"));
    // What is too long is refused, and the chat goes on without it.
    let long = format!("{}\nhi\n", "long ".repeat(40));
    let run = chat(&path, &[], &long);
    assert_eq!(run.code, Some(0), "{run:?}");
    assert!(run.stderr.contains("context") && run.stderr.contains("/reset"), "{run:?}");
    assert!(!run.stdout.trim().is_empty(), "{run:?}");
    let (_dir, plain) = folder(&TinyModel { template: None, ..TinyModel::default() });
    let run = chat(&plain, &[], "hi\n");
    assert_eq!(run.code, Some(1), "{run:?}");
    assert!(run.stderr.contains("no usable chat template"), "{run:?}");
}

#[test]
fn perplexity_is_that_of_its_logits() {
    let (dir, path) = folder(&TinyModel::default());
    let text = dir.path().join("text");
    std::fs::write(&text, "the thin end in the sky ".repeat(20)).unwrap();
    let file = text.to_str().unwrap();
    let options = ["--text", file, "--window", "40", "--json"];
    let report = on_cpu("perplexity", &path, &options, "").json();
    let number = |name: &str| report[name].as_f64().unwrap_or_else(|| panic!("{report}"));
    let windows = (number("tokens") / 40.0).floor();
    assert_eq!(number("windows"), windows, "{report}");
    assert_eq!(number("scored_tokens"), windows * 19.0, "{report}");
    // A model that knows nothing is about as unsure as there are tokens.
    let value = number("perplexity");
    assert!(value > 50.0 && value < 2000.0, "{report}");
    let run = on_cpu("perplexity", &path, &["--text", file, "--window", "40"], "");
    assert!(run.stdout.starts_with(&format!("perplexity: {value:.4} ±")), "{run:?}");
    for (input, code) in [("ab", 1), ("", 1)] {
        let run = on_cpu("perplexity", &path, &["--text", "-"], input);
        assert_eq!(run.code, Some(code), "{run:?}");
    }
}

#[test]
fn a_server_stays_at_home_unless_told() {
    for host in ["0.0.0.0", "::", "192.0.2.1"] {
        let run = on_cpu("serve", "m.gguf", &["--host", host], "");
        assert_eq!(run.code, Some(2), "{run:?}");
        assert!(run.stderr.contains("--allow-remote"), "{run:?}");
    }
    // Told, but without a key, it warns; a key that is nothing is a mistake.
    let told = ["serve", "m.gguf", "--host", "0.0.0.0", "--allow-remote", "--port", "0"];
    let run = wginfer(&told).run();
    assert!(run.stderr.contains("warning") && run.stderr.contains("no key"), "{run:?}");
    assert!(!wginfer(&told).env("WGINFER_API_KEY", "secret").run().stderr.contains("warning"));
    let run = wginfer(&["serve", "m.gguf", "--port", "0"]).env("WGINFER_API_KEY", "").run();
    assert!(run.error().contains("WGINFER_API_KEY"), "{run:?}");
    let taken = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let port = taken.local_addr().unwrap().port().to_string();
    let run = on_cpu("serve", "m.gguf", &["--port", &port], "");
    assert_eq!(run.code, Some(1), "{run:?}");
    assert!(run.stderr.contains(&port), "{run:?}");
}

/// Asked twice it does not wait for who is still being answered.
#[cfg(unix)]
#[test]
fn a_server_that_is_asked_twice_ends_at_once() {
    use std::os::unix::process::ExitStatusExt;
    let (_dir, path) = folder(&TinyModel::default());
    let mut child = wginfer(&["serve", &path, "--adapter", "cpu", "--port", "0"]).spawn();
    let mut lines = BufReader::new(child.stderr.take().unwrap()).lines().map_while(Result::ok);
    let mut line = |with: &str| lines.find(|line| line.contains(with)).expect(with);
    let serving = line("http://");
    let address = serving.rsplit('/').next().unwrap();
    let body = r#"{"prompt": "x", "stream": true, "max_tokens": 1000000000, "ignore_eos": true,
        "context_shift": true}"#;
    let mut stream = TcpStream::connect(address).unwrap();
    let head = "POST /v1/completions HTTP/1.0\r\nContent-Type: application/json\r\n";
    write!(stream, "{head}Content-Length: {}\r\n\r\n{body}", body.len()).unwrap();
    stream.read_exact(&mut [0; 400]).unwrap();
    // SAFETY: the process is this test's own child, which was not waited for.
    let terminate = || unsafe { libc::kill(child.id() as i32, libc::SIGTERM) };
    assert_eq!(terminate(), 0);
    line("stopping");
    assert_eq!(terminate(), 0);
    assert_eq!(child.wait().unwrap().signal(), Some(libc::SIGTERM));
}

/// It says where it is, answers, and ends well when it is asked to.
#[cfg(unix)]
#[test]
fn a_server_starts_answers_and_stops() {
    let (dir, path) = folder(&TinyModel::default());
    let key = dir.path().join("key");
    std::fs::write(&key, "secret\n").unwrap();
    let arguments = ["serve", &path, "--adapter", "cpu", "--port", "0", "--api-key-file"];
    let mut child = wginfer(&[&arguments[..], &[key.to_str().unwrap()]].concat()).spawn();
    let mut lines = BufReader::new(child.stderr.take().unwrap()).lines();
    let line = lines.by_ref().map(|line| line.unwrap()).find(|line| line.contains("http://"));
    let line = line.expect("its address");
    assert!(line.starts_with("Serving tiny at http://127.0.0.1:"), "{line}");
    let address = line.rsplit('/').next().unwrap();
    let get = |headers: &str| {
        let mut stream = TcpStream::connect(address).unwrap();
        write!(stream, "GET /v1/models HTTP/1.0\r\n{headers}\r\n").unwrap();
        let mut answer = String::new();
        stream.read_to_string(&mut answer).unwrap();
        answer
    };
    assert!(get("").contains(" 401 "), "{}", get(""));
    let answer = get("Authorization: Bearer secret\r\n");
    assert!(answer.contains(" 200 ") && answer.contains("\"tiny\""), "{answer}");
    // SAFETY: the process is this test's own child, which was not waited for.
    assert_eq!(unsafe { libc::kill(child.id() as i32, libc::SIGTERM) }, 0);
    let rest: Vec<String> = lines.map(|line| line.unwrap()).collect();
    assert_eq!(rest.last().map(String::as_str), Some("stopped"), "{rest:?}");
    assert_eq!(finish(child, Vec::new()).code, Some(0));
    assert!(Path::new(&path).exists());
}

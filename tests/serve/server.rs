//! A server in this process, with a tiny model.

use crate::client::{self, Answer};
use crate::support::backends::Named;
use crate::support::recipe::Recipe;
use crate::support::tiny_model::TinyModel;
use libtest_mimic::Failed;
use serde_json::{Value, json};
use std::net::{SocketAddr, TcpListener};
use std::path::Path;
use std::thread::JoinHandle;
use std::time::{Duration, Instant};
use tokio::sync::oneshot;
use wginfer::formats::gguf::{self, GgufFile};
use wginfer::lm::engine::{Engine, EngineDraft, EngineHandle, EngineOptions};
use wginfer::lm::{GenerateOptions, LanguageModel, ModelOptions, Prompt};
use wginfer::serve::{ServeOptions, serve};
use wginfer::{DType, Result};

pub struct Server {
    pub address: SocketAddr,
    pub engine: EngineHandle,
    stop: Option<oneshot::Sender<()>>,
    thread: Option<JoinHandle<Result<()>>>,
}

/// How a server is made; the rest is the default's.
pub struct Setup {
    pub tiny: TinyModel,
    pub slots: usize,
    pub queue: usize,
    /// A model that runs ahead, and by how many tokens.
    pub ahead: Option<(TinyModel, usize)>,
    pub serve: ServeOptions,
}

impl Default for Setup {
    fn default() -> Self {
        Setup {
            tiny: TinyModel::default(),
            slots: 4,
            queue: 64,
            ahead: None,
            serve: ServeOptions { model: "tiny".into(), ..ServeOptions::default() },
        }
    }
}

fn model_options() -> ModelOptions {
    ModelOptions { cache: DType::F32, ..ModelOptions::default() }
}

impl Setup {
    pub fn start(self, backend: &Named) -> Result<Server, Failed> {
        let file = GgufFile::parse(self.tiny.bytes()?, "tiny.gguf")?;
        self.start_with(file, backend)
    }

    /// With an encoder in the place of the tiny model.
    pub fn start_encoder(self, backend: &Named) -> Result<Server, Failed> {
        self.start_with(encoder()?, backend)
    }

    pub fn start_with(self, file: GgufFile, backend: &Named) -> Result<Server, Failed> {
        let options =
            EngineOptions { model: model_options(), slots: self.slots, queue: self.queue };
        let runner = &backend.backend;
        let draft = match self.ahead {
            Some((tiny, tokens)) => {
                Some(EngineDraft { file: GgufFile::parse(tiny.bytes()?, "ahead.gguf")?, tokens })
            }
            None => None,
        };
        let mut untold = |_, _| {};
        let load = Engine::load_with_draft(file, draft, runner, &options, &mut untold);
        let engine = runner.block_on(load)?;
        let engine = EngineHandle::start(engine)?;
        let listener = TcpListener::bind("127.0.0.1:0")?;
        let address = listener.local_addr()?;
        let (stop, stopped) = oneshot::channel::<()>();
        let (handle, options) = (engine.clone(), self.serve);
        let thread = std::thread::spawn(move || {
            serve(handle, listener, options, async {
                let _ = stopped.await;
            })
        });
        Ok(Server { address, engine, stop: Some(stop), thread: Some(thread) })
    }
}

impl Server {
    pub fn post(&self, path: &str, body: &Value) -> Answer {
        client::post(self.address, path, &body.to_string(), "")
    }

    pub fn get(&self, path: &str) -> Answer {
        client::get(self.address, path, "")
    }

    pub fn chat(&self, text: &str, more: Value) -> Answer {
        self.post("/v1/chat/completions", &chat(text, more))
    }

    /// Asks the server to stop, without waiting.
    pub fn ask_to_stop(&mut self) {
        let _ = self.stop.take().map(|stop| stop.send(()));
    }

    pub fn join(mut self) -> Result<()> {
        self.ask_to_stop();
        let done = self.thread.take().map(|thread| thread.join().expect("the server panicked"));
        self.engine.stop();
        done.unwrap_or(Ok(()))
    }
}

/// Tests that fail half-way leave no server behind.
impl Drop for Server {
    fn drop(&mut self) {
        self.ask_to_stop();
        self.engine.stop();
    }
}

/// A small encoder of the test data.
pub fn encoder() -> Result<GgufFile, Failed> {
    made("encoders/bert.json").map(|(file, _)| file)
}

/// A small model of words of the test data, and what else its file says.
pub fn made(name: &str) -> Result<(GgufFile, Value), Failed> {
    let data = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/data");
    let bytes = std::fs::read(data.join(name))?;
    let recipe: Recipe = serde_json::from_slice(&bytes)?;
    let vocabulary = gguf::open(data.join("tokenizers/wordpiece.gguf"))?;
    Ok((recipe.file("bert", &vocabulary)?, serde_json::from_slice(&bytes)?))
}

/// A request for a chat, greedy and not ended by the model.
pub fn chat(text: &str, more: Value) -> Value {
    let mut body = json!({
        "model": "tiny",
        "messages": [{ "role": "user", "content": text }],
        "temperature": 0,
        "max_tokens": 12,
        "ignore_eos": true,
    });
    let more = more.as_object().expect("an object").clone();
    body.as_object_mut().expect("an object").extend(more);
    body
}

/// What the model by itself says to a prompt, greedily.
pub fn alone(backend: &Named, prompt: Prompt, count: usize) -> Result<String> {
    let file = GgufFile::parse(TinyModel::default().bytes()?, "tiny.gguf")?;
    let runner = &backend.backend;
    let options = model_options();
    let mut model = runner.block_on(LanguageModel::load(file, runner, &options, &mut |_, _| {}))?;
    let options = GenerateOptions { max_tokens: count, ignore_end: true, ..Default::default() };
    model.generate(prompt, &options)?.collect()
}

/// Waits for what other threads bring about.
pub fn until(what: &str, holds: impl Fn() -> bool) {
    let begun = Instant::now();
    while !holds() {
        assert!(begun.elapsed() < Duration::from_secs(60), "waited in vain: {what}");
        std::thread::sleep(Duration::from_millis(5));
    }
}

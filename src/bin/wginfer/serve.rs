//! `wginfer serve`: a language model over HTTP.

use crate::device_args::parse_bytes;
use crate::failure::Failure;
use crate::fetch;
use crate::input_text;
use crate::interrupt;
use crate::model_args::{self, ModelArgs};
use crate::output::{note, safe};
use crate::template_args::TemplateArgs;
use std::env::VarError;
use std::net::{SocketAddr, TcpListener, ToSocketAddrs};
use std::path::{Path, PathBuf};
use std::time::Duration;
use wginfer::formats::gguf;
use wginfer::lm::ModelOptions;
use wginfer::lm::engine::{Engine, EngineDraft, EngineHandle, EngineOptions};
use wginfer::serve::{ServeOptions, asked_to_stop, is_local, serve};

#[derive(Debug, clap::Args)]
pub(crate) struct Args {
    #[command(flatten)]
    model: ModelArgs,

    #[command(flatten)]
    place: Place,

    #[command(flatten)]
    limits: Limits,

    #[command(flatten)]
    ahead: DraftArgs,

    #[command(flatten)]
    template: TemplateArgs,

    /// Tell thoughts as text, in the model's own marks, and not in `reasoning_content`
    #[arg(long)]
    thoughts_in_text: bool,
}

/// A small model that runs ahead.
#[derive(Debug, clap::Args)]
#[command(next_help_heading = "Draft")]
struct DraftArgs {
    /// A small model of the same vocabulary that runs ahead: texts stay what they are,
    /// or as likely as they are, and come faster where the small one is right
    #[arg(long, value_name = "MODEL")]
    draft: Option<PathBuf>,

    /// How many tokens the small model proposes at a time
    #[arg(long, value_name = "N", default_value_t = 5, requires = "draft")]
    #[arg(value_parser = clap::builder::RangedU64ValueParser::<usize>::new().range(1..=64))]
    draft_tokens: usize,
}

impl DraftArgs {
    fn open(&self, quiet: bool) -> Result<Option<EngineDraft>, Failure> {
        let Some(path) = &self.draft else { return Ok(None) };
        let file = gguf::open(fetch::local(path, quiet)?)?;
        Ok(Some(EngineDraft { file, tokens: self.draft_tokens }))
    }
}

/// Where, and for whom.
#[derive(Debug, clap::Args)]
#[command(next_help_heading = "Server")]
struct Place {
    /// The address to listen on, or a name such as localhost
    #[arg(long, value_name = "ADDRESS", default_value = "127.0.0.1")]
    host: String,

    /// Another name under which clients ask this server, as behind a proxy that keeps it; `*`
    /// is any. Without a key, a local server refuses names that are not this machine's:
    /// a web page could ask it under its own
    #[arg(long, value_name = "NAME")]
    allow_host: Vec<String>,

    /// The port to listen on; 0 takes one that is free
    #[arg(long, value_name = "PORT", default_value_t = 8080)]
    port: u16,

    /// Listen on an address that other machines can reach
    #[arg(long)]
    allow_remote: bool,

    /// A file with the key that clients must send; without it and
    /// WGINFER_API_KEY, none is asked for
    #[arg(long, value_name = "FILE")]
    api_key_file: Option<PathBuf>,

    /// The name clients know the model by [default: the file's]
    #[arg(long, value_name = "NAME")]
    name: Option<String>,
}

/// How much at once.
#[derive(Debug, clap::Args)]
#[command(next_help_heading = "Limits")]
struct Limits {
    /// Sequences that are computed at the same time
    #[arg(long, value_name = "N", default_value_t = 4)]
    #[arg(value_parser = clap::builder::RangedU64ValueParser::<usize>::new().range(1..=256))]
    slots: usize,

    /// Sequences that may wait for a slot; more are refused
    #[arg(long, value_name = "N", default_value_t = 64)]
    queue: usize,

    /// The largest body of a request (64K, 4M)
    #[arg(long, value_name = "BYTES", value_parser = parse_bytes, default_value = "4M")]
    max_body: u64,

    /// How many seconds an answer may take
    #[arg(long, value_name = "SECONDS", default_value_t = 600)]
    timeout: u64,

    /// How many seconds a client may read nothing of its answer before it is cut off
    #[arg(long, value_name = "SECONDS", default_value_t = 60)]
    stall: u64,

    /// How many seconds answers may go on after Ctrl-C or SIGTERM
    #[arg(long, value_name = "SECONDS", default_value_t = 30)]
    grace: u64,
}

pub(crate) fn run(args: &Args) -> Result<(), Failure> {
    let path = args.model.path()?;
    let options = args.serve_options(&path)?;
    // A port that is taken is found out before the model is loaded.
    let listener = args.listener()?;
    args.warn_of_openness(&listener, &options);
    let quiet = args.model.quiet;
    let (chat, loras) = (args.template.options()?, args.model.lora.open(quiet)?);
    let model = ModelOptions { chat, loras, ..args.model.options() };
    let engine_options =
        EngineOptions { model, slots: args.limits.slots, queue: args.limits.queue };
    let mut draft = args.ahead.open(quiet)?;
    let (engine, _) =
        model_args::load(&path, &engine_options.model, quiet, &mut |file, backend, told| {
            let draft = draft.take();
            let load = Engine::load_with_draft(file, draft, backend, &engine_options, told);
            backend.block_on(load)
        })?;
    let context = engine.context();
    let engine = EngineHandle::start(engine)?;
    // Programs that start a server read where it is from here.
    note(format_args!("Serving {} at {}", safe(&options.model), url(&listener)));
    if !quiet {
        let key = if options.api_key.is_some() { "with a key" } else { "without a key" };
        let slots = args.limits.slots;
        note(format_args!("{slots} at once, {context} tokens each, {key}; Ctrl-C stops"));
    }
    let stop = async {
        asked_to_stop().await;
        interrupt::end_at_next();
        if !quiet {
            note("stopping; once more ends at once");
        }
    };
    let served = serve(engine.clone(), listener, options, stop);
    engine.stop();
    if !quiet {
        note("stopped");
    }
    Ok(served?)
}

fn url(listener: &TcpListener) -> String {
    listener.local_addr().map_or_else(|_| "?".into(), |at| format!("http://{at}"))
}

impl Args {
    fn serve_options(&self, path: &Path) -> Result<ServeOptions, Failure> {
        let file = path.file_stem().map_or_else(Default::default, |name| name.to_string_lossy());
        Ok(ServeOptions {
            model: self.place.name.clone().unwrap_or_else(|| file.into_owned()),
            api_key: self.key()?,
            body_bytes: usize::try_from(self.limits.max_body).unwrap_or(usize::MAX),
            answer: Duration::from_secs(self.limits.timeout),
            grace: Duration::from_secs(self.limits.grace),
            thoughts_in_text: self.thoughts_in_text,
            stall: Duration::from_secs(self.limits.stall),
            hosts: self.place.allow_host.clone(),
            ..ServeOptions::default()
        })
    }

    /// Keys are no arguments: those are seen by every user of a machine.
    fn key(&self) -> Result<Option<String>, Failure> {
        let file = self.place.api_key_file.as_deref();
        let place = file.map_or_else(|| "WGINFER_API_KEY".into(), Path::to_string_lossy);
        let what = format!("API key from {place}");
        let key = match file {
            None => match std::env::var("WGINFER_API_KEY") {
                Ok(key) => key,
                Err(VarError::NotPresent) => return Ok(None),
                Err(VarError::NotUnicode(_)) => {
                    return Err(input_text::unusable(&what, "UTF-8 text", "other bytes"));
                }
            },
            Some(path) => {
                let open = std::fs::File::open(path);
                let file = open.map_err(|error| input_text::io_error(path, error))?;
                input_text::read(file, path, &what)?.trim().to_string()
            }
        };
        match key.is_empty() {
            // Whoever wrote that meant to have one.
            true => Err(input_text::unusable(&what, "some characters", "nothing")),
            false => Ok(Some(key)),
        }
    }

    fn warn_of_openness(&self, listener: &TcpListener, options: &ServeOptions) {
        let local = listener.local_addr().is_ok_and(|address| is_local(&address));
        if !local && options.api_key.is_none() {
            note(format_args!(
                "warning: whoever can reach {} may use this server, as it asks for no key; \
                 WGINFER_API_KEY or --api-key-file gives it one",
                safe(&self.place.host)
            ));
        }
    }

    fn listener(&self) -> Result<TcpListener, Failure> {
        let Place { host, port, allow_remote, .. } = &self.place;
        let failed = |error| input_text::io_error(Path::new(&format!("{host}:{port}")), error);
        let bare = host.trim_start_matches('[').trim_end_matches(']');
        let all: Vec<SocketAddr> = (bare, *port).to_socket_addrs().map_err(failed)?.collect();
        if all.iter().any(|address| !is_local(address)) && !allow_remote {
            return Err(Failure::Usage(format!(
                "other machines can reach {}; say --allow-remote if that is wanted",
                safe(host)
            )));
        }
        TcpListener::bind(&all[..]).map_err(failed)
    }
}

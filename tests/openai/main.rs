//! OpenAI's own clients, in Python and JavaScript, against `wginfer serve` with the
//! demonstration model on the CPU. `scripts/fetch_openai_clients.sh` installs them
//! into the cache, `scripts/fetch_demo_model.sh` the model.
#![cfg(unix)]
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    unreachable_pub,
    reason = "tests may panic"
)]

#[path = "../serve/client.rs"]
#[allow(dead_code, reason = "of a server in this process a part is used here")]
mod client;
#[path = "../serve/server.rs"]
#[allow(dead_code, reason = "of a server in this process a part is used here")]
mod in_process;
#[path = "../support/mod.rs"]
mod support;

use in_process::{Setup, until};
use std::io::{BufRead, BufReader, Write};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use support::{adapters, backends, cache, demo_model};
use wginfer::Backend;
use wginfer::gpu::DeviceOptions;
use wginfer::lm::engine::Health;

/// What `scripts/fetch_openai_clients.sh` made; it has the same versions.
const CLIENTS: &str = "openai-clients/3.57.0-6.30.1";

fn clients() -> PathBuf {
    let folder = cache::dir().expect("a cache folder").join(CLIENTS);
    assert!(folder.is_dir(), "no {}; run scripts/fetch_openai_clients.sh", folder.display());
    folder
}

/// A server in a process of its own, ended when this goes.
struct Server {
    child: Child,
    url: String,
    rest: Option<std::thread::JoinHandle<Vec<String>>>,
}

impl Server {
    fn start() -> Self {
        Server::start_with(&[])
    }

    fn start_with(more: &[&str]) -> Self {
        let model = demo_model::path().expect("the demonstration model");
        let mut command = Command::new(env!("CARGO_BIN_EXE_wginfer"));
        command.arg("serve").arg(model).args(["--adapter", "cpu", "--port", "0"]);
        command.args(["--name", "demo", "--context", "1024"]).args(more);
        command.env("WGINFER_API_KEY", "secret").stderr(Stdio::piped());
        let mut child = command.spawn().expect("the server starts");
        let mut lines = BufReader::new(child.stderr.take().expect("a pipe")).lines();
        let told = lines.by_ref().map(|line| line.expect("text"));
        let line = told.take(20).find(|line| line.starts_with("Serving demo at http://"));
        let line = line.expect("the server says where it is");
        let url = line.rsplit(' ').next().unwrap_or_default().to_string();
        // Read on, or the server would wait for a reader in the end.
        let rest = std::thread::spawn(move || lines.map_while(Result::ok).collect());
        Server { child, url, rest: Some(rest) }
    }

    /// Runs a client, which says what was wrong.
    fn answers(&self, mut client: Command) {
        client.env("OPENAI_BASE_URL", format!("{}/v1", self.url)).env("OPENAI_API_KEY", "secret");
        let output = client.output().unwrap_or_else(|e| panic!("{client:?}: {e}"));
        let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).into_owned();
        println!("{}", text(&output.stdout));
        assert!(output.status.success(), "{}", text(&output.stderr));
    }

    /// Asks it to stop as a service manager does.
    fn stop(mut self) {
        // SAFETY: the process is this test's own child, which was not waited for.
        assert_eq!(unsafe { libc::kill(self.child.id() as i32, libc::SIGTERM) }, 0);
        assert!(self.child.wait().expect("it ends").success());
        let rest = self.rest.take().expect("a thread").join().expect("text");
        assert_eq!(rest.last().map(String::as_str), Some("stopped"), "{rest:?}");
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

fn script(name: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/openai").join(name)
}

/// A template that tells of tools as Hermes and Qwen do; that of the model knows of none.
const WITH_TOOLS: &str = "{% if tools %}<|im_start|>system\nTools: {{ tools | tojson }}\nCall \
    one in <tool_call></tool_call>.<|im_end|>\n{% endif %}{% for m in messages %}<|im_start|>\
    {{ m.role }}\n{{ m.content }}{% for c in m.tool_calls or [] %}<tool_call>\
    {{ c.function | tojson }}</tool_call>{% endfor %}<|im_end|>\n{% endfor %}\
    <|im_start|>assistant\n";

fn python() -> Command {
    let mut python = Command::new("python3");
    python.arg(script("client.py")).env("PYTHONPATH", clients().join("python"));
    python
}

/// Modules are looked for from where the script is, which is in `folder`.
fn node(folder: &Path) -> Command {
    let copy = folder.join("client.mjs");
    std::fs::copy(script("client.mjs"), &copy).unwrap();
    let modules = clients().join("node/node_modules");
    std::os::unix::fs::symlink(modules, folder.join("node_modules")).unwrap();
    let mut node = Command::new("node");
    node.arg(copy);
    node
}

#[test]
fn the_python_client_is_answered() {
    let server = Server::start();
    server.answers(python());
    server.stop();
}

#[test]
fn both_clients_call_tools() {
    let folder = tempfile::tempdir().unwrap();
    let template = folder.path().join("tools.jinja");
    std::fs::write(&template, WITH_TOOLS).unwrap();
    let server = Server::start_with(&["--chat-template", template.to_str().unwrap()]);
    for mut client in [python(), node(folder.path())] {
        client.env("WITH_TOOLS", "1");
        server.answers(client);
    }
    server.stop();
}

/// One place and nobody may wait: the second of two at a time is told to come again.
#[test]
fn a_full_server_is_told_to_the_python_client() {
    let server = Server::start_with(&["--slots", "1", "--queue", "0"]);
    let mut client = python();
    client.env("FULL", "1");
    server.answers(client);
    server.stop();
}

#[test]
fn the_javascript_client_is_answered() {
    let folder = tempfile::tempdir().unwrap();
    let server = Server::start();
    server.answers(node(folder.path()));
    server.stop();
}

/// A device that goes away under a server is told with status 503; the client that tries
/// again is answered once it is open anew.
#[test]
fn a_lost_device_is_told_to_the_python_client() {
    // A missing adapter is a failure where there must be one.
    adapters::expected().unwrap();
    let Some(own) = backends::gpus(&DeviceOptions::default()).into_iter().next() else { return };
    let Backend::Gpu(gpu) = &own.backend else { panic!("{} is no GPU", own.name) };
    let server = Setup::default().start(&own).unwrap();
    let mut command = python();
    command.env("LOST", "1").env("OPENAI_API_KEY", "none");
    command.env("OPENAI_BASE_URL", format!("http://{}/v1", server.address));
    let mut client = command.stdin(Stdio::piped()).stdout(Stdio::piped()).spawn().unwrap();
    let mut to = client.stdin.take().unwrap();
    for line in BufReader::new(client.stdout.take().unwrap()).lines() {
        match line.unwrap().as_str() {
            "lose it" => gpu.lose_for_test(),
            "told" => until("it comes back", || server.engine.health() == Health::Ready),
            other => println!("{other}"),
        }
        let _ = writeln!(to, "go on");
    }
    assert!(client.wait().unwrap().success(), "the client says what was wrong");
    assert_eq!(server.engine.losses(), 1);
    server.join().unwrap();
}

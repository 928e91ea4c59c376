//! Starting the command.

use std::io::Write;
use std::process::{Child, Command, Stdio};

/// The command with arguments, yet to be run.
pub(crate) struct Start {
    command: Command,
    input: Vec<u8>,
}

/// What a run left.
#[derive(Debug)]
pub(crate) struct Run {
    /// `None` if a signal ended it.
    pub(crate) code: Option<i32>,
    pub(crate) stdout: String,
    pub(crate) stderr: String,
}

/// The command, through the runner that the tests themselves are started with
/// (`scripts/adapters.sh` names it), free of settings from outside.
pub(crate) fn wginfer(arguments: &[&str]) -> Start {
    start(&std::env::var("WGINFER_RUNNER").unwrap_or_default(), arguments)
}

/// The command on a system whose Vulkan loader cannot be loaded: it finds an
/// empty file instead, in a folder that must stay until the end.
#[cfg(target_os = "linux")]
pub(crate) fn without_loader(arguments: &[&str], folder: &std::path::Path) -> Start {
    std::fs::write(folder.join("libvulkan.so.1"), "").expect("a file");
    // A runner brings a loader of its own. The variable goes before the
    // system's folders; OpenGL would be the next thing tried.
    start("", arguments).env("LD_LIBRARY_PATH", folder).env("WGPU_BACKEND", "vulkan")
}

fn start(runner: &str, arguments: &[&str]) -> Start {
    let program = env!("CARGO_BIN_EXE_wginfer");
    let mut words = runner.split_whitespace().chain([program]);
    let mut command = Command::new(words.next().unwrap_or(program));
    command.args(words).args(arguments);
    let settings = [
        "WGPU_ADAPTER_NAME",
        "WGINFER_ADAPTER",
        "WGINFER_MODEL",
        "WGINFER_EMBED_MODEL",
        "WGINFER_API_KEY",
        "RUST_LOG",
        "RUST_BACKTRACE",
    ];
    for setting in settings {
        command.env_remove(setting);
    }
    Start { command, input: Vec::new() }
}

impl Start {
    /// Sets an environment variable.
    pub(crate) fn env(mut self, name: &str, value: impl AsRef<std::ffi::OsStr>) -> Self {
        self.command.env(name, value);
        self
    }

    /// Takes an environment variable away.
    #[cfg(unix)]
    pub(crate) fn unset(mut self, name: &str) -> Self {
        self.command.env_remove(name);
        self
    }

    /// Hides every adapter.
    pub(crate) fn without_adapters(self) -> Self {
        let nowhere = "/nonexistent/driver.json";
        self.env("VK_DRIVER_FILES", nowhere)
            .env("VK_ICD_FILENAMES", nowhere)
            .env("WGPU_BACKEND", "vulkan")
    }

    /// What is piped in; nothing otherwise.
    pub(crate) fn input(mut self, bytes: impl Into<Vec<u8>>) -> Self {
        self.input = bytes.into();
        self
    }

    /// Starts it with its output piped.
    pub(crate) fn spawn(mut self) -> Child {
        let pipes = self.command.stdin(Stdio::piped()).stdout(Stdio::piped());
        let mut child = pipes.stderr(Stdio::piped()).spawn().expect("the command starts");
        let mut stdin = child.stdin.take().expect("a pipe");
        // It may end without having read anything.
        let _ = stdin.write_all(&self.input);
        child
    }

    /// Runs it to its end. A panic or a signal is never right.
    pub(crate) fn run(self) -> Run {
        finish(self.spawn(), Vec::new())
    }
}

/// Waits for the end, after some of the output was `read`.
pub(crate) fn finish(child: Child, read: Vec<u8>) -> Run {
    let output = child.wait_with_output().expect("the command ends");
    let text = |bytes: Vec<u8>| String::from_utf8(bytes).expect("the command prints UTF-8");
    let run = Run {
        code: output.status.code(),
        stdout: text([read, output.stdout].concat()),
        stderr: text(output.stderr),
    };
    assert!(run.code.is_some_and(|code| code != 101), "{run:?}");
    assert!(!run.stderr.contains("panicked"), "{run:?}");
    run
}

impl Run {
    /// The JSON it printed.
    pub(crate) fn json(&self) -> serde_json::Value {
        self.json_with(0)
    }

    /// The JSON it printed before it ended with this code.
    pub(crate) fn json_with(&self, code: i32) -> serde_json::Value {
        assert_eq!(self.code, Some(code), "{self:?}");
        serde_json::from_str(&self.stdout).unwrap_or_else(|e| panic!("{e}: {self:?}"))
    }

    /// The message it failed with. Drivers may have printed before it.
    pub(crate) fn error(&self) -> &str {
        assert_eq!(self.code, Some(1), "{self:?}");
        assert!(self.stdout.is_empty(), "{self:?}");
        let mut lines = self.stderr.lines().rev();
        lines.find_map(|line| line.strip_prefix("error: ")).expect("a message")
    }
}

//! The `wginfer` command, started as users start it.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, reason = "tests may panic")]

#[path = "../onnx_import/build.rs"]
#[allow(dead_code, unreachable_pub, reason = "the importer's tests use more of it")]
mod build;
mod devices;
mod embed;
mod generate;
mod inspect;
mod onnx;
mod start;
mod talk;
#[path = "../support/tiny_model.rs"]
mod tiny_model;
mod tune;

use start::wginfer;

#[test]
fn wrong_usage_ends_with_2_and_help_with_0() {
    let cases: [&[&str]; 19] = [
        &[],
        &["nonsense"],
        &["devices", "--nonsense"],
        &["inspect"],
        &["completions", "cobol"],
        &["generate", "m.gguf", "--prompt", "x", "--max-tokens", "0"],
        &["generate", "m.gguf", "--prompt", "x", "--prompt-file", "y"],
        &["generate", "m.gguf", "--prompt", "x", "--mask-features", "f61"],
        &["generate", "m.gguf", "--prompt", "x", "--no-pass", "nonsense"],
        &["generate", "m.gguf", "--prompt", "x", "--memory", "much"],
        &["generate", "m.gguf", "--prompt", "x", "--log-probabilities", "2"],
        &["chat", "m.gguf", "--cache", "f8"],
        &["serve", "m.gguf", "--slots", "0"],
        &["perplexity", "m.gguf"],
        &["embed", "x", "--pooling", "average"],
        &["embed", "x", "--max-tokens", "0"],
        &["inspect", "m.onnx", "--dim", "batch"],
        &["visualize"],
        &["visualize", "m.onnx", "--channels", "0"],
    ];
    for arguments in cases {
        let run = wginfer(arguments).run();
        assert_eq!(run.code, Some(2), "{arguments:?}: {run:?}");
        assert!(run.stdout.is_empty() && run.stderr.contains("--help"), "{arguments:?}: {run:?}");
    }
    for arguments in [
        &["--help"][..],
        &["generate", "--help"],
        &["chat", "--help"],
        &["serve", "--help"],
        &["perplexity", "--help"],
        &["embed", "--help"],
        &["tune", "--help"],
        &["visualize", "--help"],
        &["--version"],
    ] {
        let run = wginfer(arguments).run();
        assert_eq!(run.code, Some(0), "{run:?}");
        assert!(run.stdout.contains("wginfer"), "{run:?}");
        assert_fits(&run.stdout);
    }
}

#[test]
fn completions_know_the_options() {
    for shell in ["bash", "zsh", "fish", "elvish", "powershell"] {
        let run = wginfer(&["completions", shell]).run();
        assert_eq!(run.code, Some(0), "{run:?}");
        for word in ["inspect", "generate", "embed", "max-tokens", "wginfer"] {
            assert!(run.stdout.contains(word), "{shell}: no {word}");
        }
    }
}

/// No line is longer than a terminal of 80 columns.
fn assert_fits(text: &str) {
    for line in text.lines() {
        assert!(line.chars().count() <= 80, "{line}");
    }
}

//! Text as a chat template: compiled and rendered. Run it with `-timeout=5
//! -rss_limit_mb=1024`; what takes longer or more is a finding.
#![no_main]

use libfuzzer_sys::fuzz_target;
use wginfer::lm::{ChatMessage, ChatTemplate};
use wginfer::{Error, ErrorKind};

fuzz_target!(|source: &str| {
    let messages = [
        ChatMessage::new("system", "Be brief."),
        ChatMessage::new("user", "Hi"),
        ChatMessage::new("assistant", "Hello."),
        ChatMessage::new("user", "<|im_end|>"),
    ];
    let template = ChatTemplate::new(source, "fuzzed.gguf", "<s>", "</s>");
    if let Err(error) = template.and_then(|template| template.render(&messages, true)) {
        let refused = matches!(error, Error::Input { .. });
        assert!(refused || error.to_string().contains("fuzzed.gguf"), "{error}");
        assert_ne!(error.kind(), ErrorKind::Internal, "{error}");
    }
});

//! scratch
use crate::error::Result;
use crate::formats::gguf::GgufFile;
/// m
#[derive(Debug, Clone, serde::Serialize)]
pub struct ChatMessage {
    /// r
    pub role: String,
    /// c
    pub content: String,
}
impl ChatMessage {
    /// u
    pub fn user(t: &str) -> Self {
        ChatMessage { role: "user".into(), content: t.into() }
    }
}
/// t
#[derive(Debug)]
pub struct ChatTemplate(String);
impl ChatTemplate {
    /// x
    pub fn from_gguf(f: &GgufFile) -> Result<Option<Self>> {
        Ok(f.metadata().opt_str("tokenizer.chat_template")?.map(|s| ChatTemplate(s.into())))
    }
    /// x
    pub fn render(&self, m: &[ChatMessage], add: bool) -> Result<String> {
        let mut t = String::new();
        for m in m {
            t += &format!("<|im_start|>{}\n{}<|im_end|>\n", m.role, m.content);
        }
        if add {
            t += "<|im_start|>assistant\n";
        }
        Ok(t)
    }
}

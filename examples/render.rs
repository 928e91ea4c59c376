//! Chat templates filled in, as JSON: `{"<file>": {"text": ".."} or {"error": ".."}}`.
//!
//! ```text
//! cargo run --example render -- CONVERSATION.json TEMPLATE.jinja...
//! ```
//!
//! `CONVERSATION.json` has `messages`, and may have `tools` and `values`; the texts of the first and
//! last token are `<s>` and `</s>`. `scripts/compare_templates.py` compares what this
//! writes with what Hugging Face transformers makes of the same.

use serde_json::{Map, Value, json};
use std::error::Error;
use wginfer::lm::chat::ChatTemplate;

#[derive(serde::Deserialize)]
struct Conversation {
    messages: Vec<Value>,
    #[serde(default)]
    tools: Vec<Value>,
    #[serde(default)]
    values: Map<String, Value>,
}

fn main() -> Result<(), Box<dyn Error>> {
    let mut arguments = std::env::args().skip(1);
    let given = arguments.next().ok_or("usage: render CONVERSATION.json TEMPLATE.jinja...")?;
    let given: Conversation = serde_json::from_slice(&std::fs::read(given)?)?;
    let mut all = Map::new();
    for path in arguments {
        let source = std::fs::read_to_string(&path)?;
        let Conversation { messages, tools, values } = &given;
        let made = ChatTemplate::new(&source, &path, "<s>", "</s>")
            .and_then(|template| template.render_values(messages, tools, values, true));
        let made = match made {
            Ok(text) => json!({ "text": text }),
            Err(error) => json!({ "error": error.to_string() }),
        };
        all.insert(path, made);
    }
    println!("{}", Value::Object(all));
    Ok(())
}

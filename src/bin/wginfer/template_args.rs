//! How conversations are put to a model: its chat template, and what that is told.

use crate::failure::Failure;
use crate::input_text;
use std::path::{Path, PathBuf};
use wginfer::lm::ChatTemplate;
use wginfer::lm::chat::{ChatOptions, Values};

/// The format that is known by name.
const CHATML: &str = "chatml";

#[derive(Debug, clap::Args)]
#[command(next_help_heading = "Chat template")]
pub(crate) struct TemplateArgs {
    /// A file with a chat template (Jinja) in the place of the model's, or `chatml`
    #[arg(long, value_name = "FILE")]
    chat_template: Option<PathBuf>,

    /// What the template is told beside the conversation, as JSON such as
    /// {"enable_thinking": false}
    #[arg(long, value_name = "JSON", alias = "chat-template-kwargs")]
    template_values: Option<String>,

    /// Tell the template not to have the model think (`enable_thinking` and `thinking` are
    /// false), where it knows of that
    #[arg(long)]
    no_thinking: bool,

    /// How much the model is to think (`reasoning_effort`), where the template knows of
    /// that: low, medium, high
    #[arg(long, value_name = "LEVEL")]
    reasoning_effort: Option<String>,
}

impl TemplateArgs {
    pub(crate) fn options(&self) -> Result<ChatOptions, Failure> {
        let template = self.chat_template.as_deref().map(source).transpose()?;
        let mut values = Values::new();
        if self.no_thinking {
            let names = ["enable_thinking", "thinking"];
            values.extend(names.map(|name| (name.into(), false.into())));
        }
        if let Some(effort) = &self.reasoning_effort {
            values.insert("reasoning_effort".into(), effort.as_str().into());
        }
        if let Some(text) = &self.template_values {
            let given: Values = serde_json::from_str(text)
                .map_err(|error| Failure::Usage(format!("--template-values: {error}")))?;
            values.extend(given);
        }
        Ok(ChatOptions { template, values })
    }
}

/// The source of a template. A file of its name goes before a format.
fn source(path: &Path) -> Result<String, Failure> {
    if path == Path::new(CHATML) && !path.exists() {
        return Ok(ChatTemplate::chatml()?.source().into());
    }
    let file = std::fs::File::open(path).map_err(|error| input_text::io_error(path, error))?;
    input_text::read(file, path, &format!("chat template from {}", path.display()))
}

//! What guides a text beside its sampling: a grammar, a draft, a full context.

use crate::failure::Failure;
use crate::fetch;
use crate::input_text;
use std::path::{Path, PathBuf};
use wginfer::formats::gguf;
use wginfer::lm::chat::ChatOptions;
use wginfer::lm::{
    Draft, GenerateOptions, Generation, GrammarSource, LanguageModel, ModelOptions, Prompt,
    WhenFull,
};

#[derive(Debug, clap::Args)]
#[command(next_help_heading = "Guides")]
pub(crate) struct Guides {
    /// The text is JSON that the schema in this file describes
    #[arg(long, value_name = "FILE", conflicts_with = "grammar")]
    json_schema: Option<PathBuf>,

    /// The text follows the grammar in this file, in the form of Lark
    #[arg(long, value_name = "FILE")]
    grammar: Option<PathBuf>,

    /// A small model of the same vocabulary that runs ahead: texts stay what they are,
    /// or as likely as they are, and come faster where the small one is right
    #[arg(long, value_name = "MODEL")]
    draft: Option<PathBuf>,

    /// How many tokens the small model proposes at a time
    #[arg(long, value_name = "N", default_value_t = 5, requires = "draft")]
    #[arg(value_parser = clap::builder::RangedU64ValueParser::<usize>::new().range(1..=64))]
    draft_tokens: usize,

    /// When the context is full, forget what is between the first N tokens and the
    /// latest ones, and go on; without it the text ends
    #[arg(long, value_name = "N")]
    forget_after: Option<usize>,
}

impl Guides {
    /// The files of the guides, read before a model is loaded.
    pub(crate) fn source(&self) -> Result<Option<GrammarSource>, Failure> {
        if let Some(path) = &self.grammar {
            return Ok(Some(GrammarSource::Lark(text(path, "grammar")?)));
        }
        let Some(path) = &self.json_schema else { return Ok(None) };
        let schema = serde_json::from_str(&text(path, "JSON schema")?).map_err(|error| {
            let what = format!("JSON schema from {}", path.display());
            input_text::unusable(&what, "JSON", &error.to_string())
        })?;
        Ok(Some(GrammarSource::JsonSchema(schema)))
    }

    /// The options with what a model makes of the guides.
    pub(crate) fn applied(
        &self,
        options: GenerateOptions,
        source: Option<&GrammarSource>,
        model: &LanguageModel,
    ) -> Result<GenerateOptions, Failure> {
        let grammar = source.map(|source| model.file().grammar(source)).transpose()?;
        let when_full = match self.forget_after {
            Some(keep) => WhenFull::Forget { keep },
            None => WhenFull::Stop,
        };
        Ok(GenerateOptions { grammar, when_full, ..options })
    }

    /// The small model, on the backend of the one it helps.
    pub(crate) fn draft(
        &self,
        model: &LanguageModel,
        options: &ModelOptions,
        quiet: bool,
    ) -> Result<Option<LanguageModel>, Failure> {
        let Some(path) = &self.draft else { return Ok(None) };
        let file = gguf::open(fetch::local(path, quiet)?)?;
        // It may have been made for shorter texts.
        let chat = ChatOptions::default();
        let options = ModelOptions { context: None, chat, ..options.clone() };
        let backend = model.backend().clone();
        let mut untold = |_, _| {};
        let load = LanguageModel::load(file, &backend, &options, &mut untold);
        Ok(Some(backend.block_on(load)?))
    }

    /// Starts to generate, with the small model ahead if there is one.
    pub(crate) fn generate<'m>(
        &self,
        model: &'m mut LanguageModel,
        draft: Option<&'m mut LanguageModel>,
        prompt: Prompt,
        options: &GenerateOptions,
    ) -> wginfer::Result<Generation<'m>> {
        match draft {
            Some(draft) => {
                let draft = Draft { model: draft, tokens: self.draft_tokens };
                model.generate_with(draft, prompt, options)
            }
            None => model.generate(prompt, options),
        }
    }
}

fn text(path: &Path, what: &str) -> Result<String, Failure> {
    let file = std::fs::File::open(path).map_err(|error| input_text::io_error(path, error))?;
    input_text::read(file, path, &format!("{what} from {}", path.display()))
}

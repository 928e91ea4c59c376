//! The facts about a file that a reader wants first. Whatever a file lacks is
//! absent here; only what stops the model from running is a problem.

use std::collections::BTreeMap;
use wginfer::formats::gguf::{GgufFile, TensorInfo};
use wginfer::gpu::SIZE_STEP;
use wginfer::graph::{Bindings, Graph};
use wginfer::lm::chat::ChatTemplate;
use wginfer::lm::decoder::{self, DecoderOptions, Layout};
use wginfer::lm::spec::DecoderSpec;
use wginfer::lm::tokenizer::Tokenizer;
use wginfer::quant::DeviceLayout;
use wginfer::{DType, Result};

/// The context taken without being asked for, where the model has a longer one.
const DEFAULT_CONTEXT: usize = 8192;

/// Facts about a file.
#[derive(Debug)]
pub(super) struct Summary<'f> {
    pub(super) name: Option<&'f str>,
    pub(super) architecture: Option<&'f str>,
    pub(super) parameters: u64,
    pub(super) tensors: usize,
    pub(super) context: Option<u64>,
    pub(super) blocks: Option<u64>,
    pub(super) width: Option<u64>,
    pub(super) feed_forward: Option<u64>,
    pub(super) heads: Option<u64>,
    pub(super) kv_heads: Option<u64>,
    pub(super) key_size: Option<u64>,
    pub(super) tokenizer: Option<&'f str>,
    pub(super) pre_tokenizer: Option<&'f str>,
    pub(super) vocabulary: Option<usize>,
    pub(super) has_template: bool,
    pub(super) types: Vec<TypeUse>,
    /// All tensors as they lie on a device.
    pub(super) device_bytes: u64,
    /// The largest tensor and its size in the file.
    pub(super) largest: Option<(&'f str, u64)>,
    pub(super) cache: Option<Cache>,
    /// Why the model cannot be run.
    pub(super) problems: Vec<String>,
}

/// What one tensor type is used for.
#[derive(Debug)]
pub(super) struct TypeUse {
    pub(super) name: String,
    pub(super) supported: bool,
    pub(super) tensors: usize,
    pub(super) parameters: u64,
    pub(super) bytes: u64,
}

/// What is kept of earlier tokens.
#[derive(Debug)]
pub(super) struct Cache {
    /// Elements of all blocks for one token.
    pub(super) elements_per_token: u64,
    /// Bytes of recurrent states, which do not grow with the text.
    pub(super) fixed_bytes: u64,
    /// The context that is taken without being asked for.
    pub(super) context: u64,
}

impl<'f> Summary<'f> {
    pub(super) fn new(file: &'f GgufFile) -> Self {
        let meta = file.metadata();
        let text = |key: &str| meta.opt_str(key).ok().flatten();
        let architecture = text("general.architecture");
        let number = |key: &str| {
            let key = format!("{}.{key}", architecture?);
            meta.opt_u64(&key).ok().flatten()
        };
        let heads = number("attention.head_count");
        let width = number("embedding_length");
        let per_head = width.zip(heads).and_then(|(width, heads)| width.checked_div(heads));
        // Some files have a number for each block; then there is not one to tell.
        let kv_heads = match architecture.map(|name| format!("{name}.attention.head_count_kv")) {
            Some(key) => meta.opt_u64(&key).map_or(None, |number| number.or(heads)),
            None => heads,
        };
        let tokens = meta.opt_strs("tokenizer.ggml.tokens").ok().flatten();
        let mut summary = Summary {
            name: text("general.name"),
            architecture,
            parameters: 0,
            tensors: file.tensors().len(),
            context: number("context_length"),
            blocks: number("block_count"),
            width,
            feed_forward: number("feed_forward_length"),
            heads,
            kv_heads,
            key_size: number("attention.key_length").or(per_head),
            tokenizer: text("tokenizer.ggml.model"),
            pre_tokenizer: text("tokenizer.ggml.pre"),
            vocabulary: tokens.map(|tokens| tokens.len()),
            has_template: meta.get("tokenizer.chat_template").is_some(),
            types: Vec::new(),
            device_bytes: 0,
            largest: None,
            cache: None,
            problems: Vec::new(),
        };
        summary.count_tensors(file);
        summary.find_problems(file);
        summary
    }

    /// What the graph's states take, for one sequence.
    fn cache(&self, graph: &Graph) -> Option<Cache> {
        let mut one = Bindings::new(graph.symbols().len());
        for symbol in graph.symbols().iter().filter_map(|symbol| graph.symbol(&symbol.name)) {
            one.set(symbol, 1);
        }
        let context = self.context?.min(DEFAULT_CONTEXT as u64);
        let mut cache = Cache { elements_per_token: 0, fixed_bytes: 0, context };
        for state in graph.states() {
            let elements = state.ty.elements().eval(&one).ok()?;
            match state.growing {
                Some(_) => cache.elements_per_token += elements,
                None => cache.fixed_bytes += state.ty.device_bytes(&one).ok()? as u64,
            }
        }
        Some(cache)
    }

    fn count_tensors(&mut self, file: &'f GgufFile) {
        let mut types: BTreeMap<u32, TypeUse> = BTreeMap::new();
        for info in file.tensors() {
            // Sizes were checked when the file was read.
            let parameters = info.extents().iter().map(|&n| n as u64).product();
            let size = info.bytes().unwrap_or(0);
            let ty = info.ggml_type();
            let row = types.entry(ty.0).or_insert_with(|| TypeUse {
                name: ty.to_string(),
                supported: info.dtype().is_some(),
                tensors: 0,
                parameters: 0,
                bytes: 0,
            });
            row.tensors += 1;
            row.parameters = row.parameters.saturating_add(parameters);
            row.bytes = row.bytes.saturating_add(size);
            self.parameters = self.parameters.saturating_add(parameters);
            self.device_bytes = self.device_bytes.saturating_add(on_device(&info));
            if self.largest.is_none_or(|(_, most)| size > most) {
                self.largest = Some((info.name(), size));
            }
        }
        self.types = types.into_values().collect();
        self.types.sort_by_key(|row| std::cmp::Reverse(row.bytes));
    }

    fn find_problems(&mut self, file: &GgufFile) {
        for row in self.types.iter().filter(|row| !row.supported) {
            let of_type = |info: &TensorInfo<'_>| info.ggml_type().to_string() == row.name;
            let names: Vec<_> = file.tensors().filter(of_type).map(|info| info.name()).collect();
            let more = match names.len().saturating_sub(3) {
                0 => String::new(),
                more => format!(" and {more} more"),
            };
            let first = names.iter().take(3).map(|name| format!("'{name}'")).collect::<Vec<_>>();
            self.problems.push(format!("{} tensors: {}{more}", row.name, first.join(", ")));
        }
        // A tensor of an unsupported type is not reported again as the graph's.
        let built = match self.problems.is_empty() {
            true => graph(file).map(Some),
            false => spec(file).map(|_| None),
        };
        match built {
            Ok(graph) => self.cache = graph.as_ref().and_then(|graph| self.cache(graph)),
            Err(error) => self.problems.push(error.to_string()),
        }
        match Tokenizer::from_gguf(file) {
            Err(error) => self.problems.push(error.to_string()),
            Ok(tokenizer) if file.metadata().get("tokenizer.chat_template").is_some() => {
                let template = ChatTemplate::from_gguf(file, &tokenizer);
                self.problems.extend(template.err().map(|e| e.to_string()));
            }
            Ok(_) => {}
        }
    }

    pub(super) fn blocks_line(&self) -> Option<String> {
        let mut line = format!("{}", self.blocks?);
        if let Some(width) = self.width {
            line.push_str(&format!(" of width {width}"));
        }
        if let Some(inner) = self.feed_forward {
            line.push_str(&format!(", feed-forward {inner}"));
        }
        Some(line)
    }

    pub(super) fn attention_line(&self) -> Option<String> {
        let mut line = format!("{} heads", self.heads.filter(|&heads| heads > 0)?);
        if let Some(size) = self.key_size {
            line.push_str(&format!(" of {size}"));
        }
        if let Some(kv_heads) = self.kv_heads {
            line.push_str(&format!(", {kv_heads} for keys and values"));
        }
        Some(line)
    }

    pub(super) fn tokenizer_line(&self) -> Option<String> {
        let mut line = crate::output::safe(self.tokenizer?);
        if let Some(pre) = self.pre_tokenizer {
            line.push_str(&format!(" ({})", crate::output::safe(pre)));
        }
        if let Some(tokens) = self.vocabulary {
            line.push_str(&format!(", {tokens} tokens"));
        }
        Some(line)
    }
}

fn spec(file: &GgufFile) -> Result<DecoderSpec> {
    DecoderSpec::from_gguf(file)
}

/// Builds the model's graph, which finds tensors that are missing or of the
/// wrong shape; nothing of their data is read.
fn graph(file: &GgufFile) -> Result<Graph> {
    let weights = |name: &str| match file.tensor_info(name) {
        Some(info) => info.load().map(Some),
        None => Ok(None),
    };
    let options = DecoderOptions {
        cache: DType::F16,
        positions: 1,
        layout: Layout::Sequences,
        chooses: false,
    };
    decoder::build(&spec(file)?, &weights, options)
}

/// The size of a tensor in device memory, where weights are split in two
/// regions, each aligned.
fn on_device(info: &TensorInfo<'_>) -> u64 {
    let plain = info.bytes().unwrap_or(0);
    let Some(layout) = info.dtype().and_then(DeviceLayout::of).filter(|layout| layout.has_head())
    else {
        return plain.next_multiple_of(SIZE_STEP);
    };
    let blocks = plain / layout.dtype.block_bytes() as u64;
    let region = |per_block: usize| (blocks * per_block as u64).next_multiple_of(SIZE_STEP);
    region(layout.body_bytes_per_block) + region(layout.head_bytes_per_block)
}

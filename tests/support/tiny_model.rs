//! A tiny language model with random weights, as a GGUF file: for tests of
//! everything around a model that need no sense in its answers.

use wginfer::formats::gguf::{GgufWriter, MetaValue, ValueType};
use wginfer::quant::encode;
use wginfer::validate::mix;
use wginfer::{DType, Result, Tensor};

/// A llama model's sizes and types. The default is the smallest sensible one.
#[derive(Debug, Clone)]
pub(crate) struct TinyModel {
    /// A multiple of `2 * heads`, and of the weights' block length.
    pub(crate) width: usize,
    pub(crate) heads: usize,
    pub(crate) kv_heads: usize,
    /// A multiple of the weights' block length.
    pub(crate) feed_forward: usize,
    pub(crate) blocks: usize,
    pub(crate) context: usize,
    /// The type of the matrices.
    pub(crate) weights: DType,
    /// Whether the output head is the embedding table.
    pub(crate) tied: bool,
    pub(crate) template: Option<&'static str>,
    pub(crate) seed: u64,
    /// Tokens beside the bytes, the merges and the control tokens.
    pub(crate) more_tokens: usize,
}

/// `<|im_start|>role\n...<|im_end|>\n` for each message.
pub(crate) const CHATML: &str = "{% for m in messages %}<|im_start|>{{ m['role'] }}\n\
    {{ m['content'] }}<|im_end|>\n{% endfor %}\
    {% if add_generation_prompt %}<|im_start|>assistant\n{% endif %}";

/// Merges of the vocabulary, in the spelling of byte-level BPE.
const MERGES: [&str; 4] = ["t h", "th e", "Ġ the", "i n"];
/// Control tokens; they follow the bytes and the merges.
const SPECIALS: [&str; 3] = ["<|endoftext|>", "<|im_start|>", "<|im_end|>"];

impl Default for TinyModel {
    fn default() -> Self {
        TinyModel {
            width: 64,
            heads: 4,
            kv_heads: 2,
            feed_forward: 96,
            blocks: 2,
            context: 256,
            weights: DType::F32,
            tied: false,
            template: Some(CHATML),
            seed: 1,
            more_tokens: 0,
        }
    }
}

impl TinyModel {
    /// The bytes of the file.
    pub(crate) fn bytes(&self) -> Result<Vec<u8>> {
        self.writer()?.to_bytes()
    }

    /// The file, open to additions.
    pub(crate) fn writer(&self) -> Result<GgufWriter> {
        let mut writer = GgufWriter::new();
        self.metadata(&mut writer)?;
        let vocabulary = self.tokens().len();
        let (width, kv_width) = (self.width, self.width / self.heads * self.kv_heads);
        self.matrix(&mut writer, "token_embd.weight", vocabulary, width)?;
        for block in 0..self.blocks {
            let name = |part: &str| format!("blk.{block}.{part}.weight");
            self.norm(&mut writer, &name("attn_norm"))?;
            self.matrix(&mut writer, &name("attn_q"), width, width)?;
            self.matrix(&mut writer, &name("attn_k"), kv_width, width)?;
            self.matrix(&mut writer, &name("attn_v"), kv_width, width)?;
            self.matrix(&mut writer, &name("attn_output"), width, width)?;
            self.norm(&mut writer, &name("ffn_norm"))?;
            self.matrix(&mut writer, &name("ffn_gate"), self.feed_forward, width)?;
            self.matrix(&mut writer, &name("ffn_up"), self.feed_forward, width)?;
            self.matrix(&mut writer, &name("ffn_down"), width, self.feed_forward)?;
        }
        self.norm(&mut writer, "output_norm.weight")?;
        if !self.tied {
            self.matrix(&mut writer, "output.weight", vocabulary, width)?;
        }
        Ok(writer)
    }

    fn metadata(&self, writer: &mut GgufWriter) -> Result<()> {
        let sizes = [
            ("context_length", self.context),
            ("block_count", self.blocks),
            ("embedding_length", self.width),
            ("feed_forward_length", self.feed_forward),
            ("attention.head_count", self.heads),
            ("attention.head_count_kv", self.kv_heads),
        ];
        writer.metadata("general.architecture", "llama")?.metadata("general.name", "Tiny")?;
        for (key, size) in sizes {
            writer.metadata(&format!("llama.{key}"), size as u32)?;
        }
        writer.metadata("llama.attention.layer_norm_rms_epsilon", 1e-5f32)?;
        let tokens = self.tokens();
        let first_special = tokens.len() - SPECIALS.len();
        let kinds: Vec<i32> =
            (0..tokens.len()).map(|i| if i < first_special { 1 } else { 3 }).collect();
        let merges = MERGES.iter().map(|&merge| merge.into()).collect();
        writer
            .metadata("tokenizer.ggml.model", "gpt2")?
            .metadata("tokenizer.ggml.pre", "gpt-2")?
            .metadata("tokenizer.ggml.tokens", tokens)?
            .metadata("tokenizer.ggml.token_type", kinds)?
            .metadata("tokenizer.ggml.merges", MetaValue::Array(ValueType::Str, merges))?
            .metadata("tokenizer.ggml.eos_token_id", first_special as u32)?;
        if let Some(template) = self.template {
            writer.metadata("tokenizer.chat_template", template)?;
        }
        Ok(())
    }

    /// Every byte, the merges, others, the control tokens.
    fn tokens(&self) -> Vec<String> {
        let bytes = (0..=255).map(|byte| byte_spelling(byte).to_string());
        let merges = MERGES.iter().map(|merge| merge.replace(' ', ""));
        let more = (0..self.more_tokens).map(|number| format!("more{number}"));
        let all = bytes.chain(merges).chain(more);
        all.chain(SPECIALS.iter().map(|text| text.to_string())).collect()
    }

    /// Normalisation weights around 1.
    fn norm(&self, writer: &mut GgufWriter, name: &str) -> Result<()> {
        let values: Vec<f32> = self.values(name, self.width, 0.2).map(|v| 1.0 + v).collect();
        writer.tensor(name, Tensor::from_f32(&[self.width], &values)?)?;
        Ok(())
    }

    /// A matrix that keeps the size of what it multiplies.
    fn matrix(
        &self,
        writer: &mut GgufWriter,
        name: &str,
        rows: usize,
        columns: usize,
    ) -> Result<()> {
        let most = if name.starts_with("token_embd") { 1.0 } else { (3.0 / columns as f32).sqrt() };
        let values: Vec<f32> = self.values(name, rows * columns, most).collect();
        let mut bytes = vec![0; self.weights.bytes(&[rows, columns])?];
        encode(self.weights, &values, &mut bytes)?;
        writer.tensor(name, Tensor::new(self.weights, &[rows, columns], bytes)?)?;
        Ok(())
    }

    /// Numbers spread evenly between `-most` and `most`.
    fn values(&self, name: &str, count: usize, most: f32) -> impl Iterator<Item = f32> + use<> {
        let seed = name.bytes().fold(self.seed, |seed, byte| mix(seed, byte.into()));
        (0..count as u64).map(move |i| {
            let unit = (mix(seed, i) >> 40) as f32 / (1u64 << 24) as f32;
            (2.0 * unit - 1.0) * most
        })
    }
}

/// The character that stands for a byte in byte-level vocabularies (GPT-2's
/// `bytes_to_unicode`): itself where it prints, else one from U+0100 on.
fn byte_spelling(byte: u8) -> char {
    let prints = |b: u8| matches!(b, b'!'..=b'~' | 0xa1..=0xac | 0xae..=0xff);
    if prints(byte) {
        return byte.into();
    }
    let before = (0..byte).filter(|&b| !prints(b)).count() as u32;
    // Far below the surrogates.
    char::from_u32(0x100 + before).unwrap_or_default()
}

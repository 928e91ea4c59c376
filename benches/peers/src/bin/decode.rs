//! A synthetic language model of the 7B class as a server of timings, for GPUs whose
//! caches a small model fits: see `../../README.md` for the lines it reads. All its
//! matrices are Q4_K; blocks share random weights on the host, not on the device.
//! Arguments: an adapter's name; `large` or `small`.

#![allow(
    clippy::expect_used,
    clippy::panic,
    reason = "a benchmark program: what is wrong should stop it"
)]

#[path = "../generated.rs"]
mod generated;

use generated::generated;
use std::io::{BufRead, Write};
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};
use wginfer::formats::gguf::GgufWriter;
use wginfer::lm::{LanguageModel, ModelOptions};
use wginfer::validate::mix;
use wginfer::{Backend, DType, Result, Tensor};

/// Sizes of a llama model.
struct Sizes {
    name: &'static str,
    width: usize,
    blocks: usize,
    heads: usize,
    kv_heads: usize,
    feed_forward: usize,
    vocabulary: usize,
}

/// Those of Mistral 7B (its `config.json`).
const LARGE: Sizes = Sizes {
    name: "large",
    width: 4096,
    blocks: 32,
    heads: 32,
    kv_heads: 8,
    feed_forward: 14336,
    vocabulary: 32000,
};

const SMALL: Sizes = Sizes {
    name: "small",
    width: 512,
    blocks: 3,
    heads: 8,
    kv_heads: 2,
    feed_forward: 1024,
    vocabulary: 2048,
};

const CONTEXT: u32 = 4096;
const PROMPT: [u32; 5] = [504, 1575, 282, 649, 314];
/// Tokens that the CPU backend has to choose as well.
const COMPARED: usize = 8;

fn main() {
    let mut arguments = std::env::args().skip(1);
    let adapter = arguments.next().expect("an adapter's name");
    let sizes = match arguments.next().as_deref() {
        Some("large") => LARGE,
        Some("small") => SMALL,
        other => panic!("large or small, not {other:?}"),
    };
    let path = std::env::temp_dir().join(format!("wginfer-synthetic-{}.gguf", std::process::id()));
    let made = Removed(path);
    sizes.write(&made.0).expect("writes the model");
    let mut model = opened(&made.0, &adapter);
    assert!(matches!(model.backend(), Backend::Gpu(_)), "{adapter} is no GPU");
    println!("ready wginfer, {}", model.why());
    for line in std::io::stdin().lock().lines() {
        let line = line.expect("a line");
        let (name, asked) = line.split_once(' ').expect("a name and what is asked");
        let answer = match asked {
            "work" if name == sizes.case() => format!("bytes {}", sizes.bytes_of_a_token()),
            "0" if name == sizes.case() => checked(&made.0, &mut model),
            count if name == sizes.case() => decode(&mut model, count.parse().expect("a number")),
            _ => "unknown".to_string(),
        };
        println!("{answer}");
        std::io::stdout().flush().expect("is read");
    }
}

/// A file that goes with the process.
struct Removed(PathBuf);

impl Drop for Removed {
    fn drop(&mut self) {
        let _ = std::fs::remove_file(&self.0);
    }
}

fn opened(path: &Path, backend: &str) -> LanguageModel {
    let options =
        ModelOptions { backend: backend.parse().expect("a name"), ..ModelOptions::default() };
    LanguageModel::open(path, &options).expect("opens")
}

/// Milliseconds of the first tokens, if the CPU backend chooses the same.
fn checked(path: &Path, model: &mut LanguageModel) -> String {
    let begun = Instant::now();
    let (tokens, _) = generated(model, &PROMPT, COMPARED);
    let first = begun.elapsed();
    let (expected, _) = generated(&mut opened(path, "cpu"), &PROMPT, COMPARED);
    if tokens == expected { millis(first) } else { format!("wrong: {tokens:?}, not {expected:?}") }
}

/// Milliseconds of a token, of `count` times 16.
fn decode(model: &mut LanguageModel, count: usize) -> String {
    let tokens = 16 * count;
    let (_, (_, time)) = generated(model, &PROMPT, tokens + 1);
    (time.as_secs_f64() * 1e3 / tokens as f64).to_string()
}

fn millis(time: Duration) -> String {
    (time.as_secs_f64() * 1e3).to_string()
}

impl Sizes {
    fn case(&self) -> String {
        format!("gpu/decode_Q4_K_{}", self.name)
    }

    /// Rows and columns of the matrices of a block.
    fn matrices(&self) -> [(&'static str, usize, usize); 7] {
        let kv_width = self.width / self.heads * self.kv_heads;
        [
            ("attn_q", self.width, self.width),
            ("attn_k", kv_width, self.width),
            ("attn_v", kv_width, self.width),
            ("attn_output", self.width, self.width),
            ("ffn_gate", self.feed_forward, self.width),
            ("ffn_up", self.feed_forward, self.width),
            ("ffn_down", self.width, self.feed_forward),
        ]
    }

    /// The weights that a token meets: all but the embeddings, of which it reads one row.
    fn bytes_of_a_token(&self) -> usize {
        let block: usize = self.matrices().iter().map(|(_, rows, columns)| rows * columns).sum();
        let elements = self.blocks * block + self.vocabulary * self.width;
        elements / DType::Q4_K.block_len() * DType::Q4_K.block_bytes()
    }

    fn write(&self, path: &Path) -> Result<()> {
        let mut writer = GgufWriter::new();
        self.metadata(&mut writer)?;
        let norm = Tensor::from_f32(&[self.width], &vec![1.0; self.width])?;
        let table = matrix(self.vocabulary, self.width, 1)?;
        writer.tensor("token_embd.weight", table)?;
        let shared: Vec<(&str, Tensor)> = self
            .matrices()
            .iter()
            .zip(2..)
            .map(|(&(name, rows, columns), seed)| Ok((name, matrix(rows, columns, seed)?)))
            .collect::<Result<_>>()?;
        for block in 0..self.blocks {
            for name in ["attn_norm", "ffn_norm"] {
                writer.tensor(&format!("blk.{block}.{name}.weight"), norm.clone())?;
            }
            for (name, tensor) in &shared {
                writer.tensor(&format!("blk.{block}.{name}.weight"), tensor.clone())?;
            }
        }
        writer.tensor("output_norm.weight", norm)?;
        writer.tensor("output.weight", matrix(self.vocabulary, self.width, 9)?)?;
        writer.save(path)
    }

    fn metadata(&self, writer: &mut GgufWriter) -> Result<()> {
        let sizes = [
            ("context_length", CONTEXT),
            ("block_count", self.blocks as u32),
            ("embedding_length", self.width as u32),
            ("feed_forward_length", self.feed_forward as u32),
            ("attention.head_count", self.heads as u32),
            ("attention.head_count_kv", self.kv_heads as u32),
        ];
        writer.metadata("general.architecture", "llama")?;
        for (key, size) in sizes {
            writer.metadata(&format!("llama.{key}"), size)?;
        }
        writer.metadata("llama.attention.layer_norm_rms_epsilon", 1e-5f32)?;
        // Nothing is ever spelled: tokens are numbers here.
        let tokens: Vec<String> = (0..self.vocabulary).map(|i| format!("<{i}>")).collect();
        let scores: Vec<f32> = vec![0.0; self.vocabulary];
        let kinds: Vec<i32> = (0..self.vocabulary).map(|i| if i < 3 { 3 } else { 1 }).collect();
        writer
            .metadata("tokenizer.ggml.model", "llama")?
            .metadata("tokenizer.ggml.tokens", tokens)?
            .metadata("tokenizer.ggml.scores", scores)?
            .metadata("tokenizer.ggml.token_type", kinds)?
            .metadata("tokenizer.ggml.bos_token_id", 1u32)?
            .metadata("tokenizer.ggml.eos_token_id", 2u32)?;
        Ok(())
    }
}

/// Random blocks of Q4_K that keep the size of what they multiply: quants around the
/// middle of their range (the minimum of a group is 7.5 times its scale), scales of 1 to
/// 15 in 6 bits (ggml's `block_q4_K`: d, dmin, 12 bytes of scales, 128 of quants).
fn matrix(rows: usize, columns: usize, seed: u64) -> Result<Tensor> {
    // The root mean square of a scale from 1 to 15, and of a quant less 7.5.
    let spread = (f32::sqrt(82.7) * f32::sqrt(21.25)) * (columns as f32).sqrt();
    let scale = half::f16::from_f32(1.0 / spread);
    let least = half::f16::from_f32(7.5 / spread);
    let mut bytes = vec![0; DType::Q4_K.bytes(&[rows, columns])?];
    for (i, block) in bytes.chunks_exact_mut(DType::Q4_K.block_bytes()).enumerate() {
        let mut random = (0..).map(|j| mix(mix(seed, i as u64), j));
        let mut next = || random.next().unwrap_or_default();
        block[..2].copy_from_slice(&scale.to_le_bytes());
        block[2..4].copy_from_slice(&least.to_le_bytes());
        let scales = next().to_le_bytes().map(|byte| 1 + byte % 15);
        for group in 0..4 {
            block[4 + group] = scales[group];
            block[8 + group] = scales[group];
            block[12 + group] = scales[4 + group] | scales[4 + group] << 4;
        }
        for quants in block[16..].chunks_mut(8) {
            quants.copy_from_slice(&next().to_le_bytes());
        }
    }
    Tensor::new(DType::Q4_K, &[rows, columns], bytes)
}

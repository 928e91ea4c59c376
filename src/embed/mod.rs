//! Texts to vectors: encoders of the BERT family, ONNX models like them, and encoders and
//! decoders from GGUF files.
//!
//! [`Embedder::open`] takes a folder as the libraries Transformers and Sentence
//! Transformers write it: `config.json`, weights in `model.safetensors` (or in
//! several files with an index), `tokenizer.json` or `vocab.txt`, and, where
//! they are there, `modules.json` and the files it names. A folder without
//! safetensors may have its encoder in `model.onnx`. Or it takes a GGUF file.
//! `docs/embeddings.md` says what is read from which file.
//!
//! ```no_run
//! use wginfer::Backend;
//! use wginfer::embed::{Embedder, cosine};
//!
//! let mut embedder = Embedder::open("all-MiniLM-L6-v2", &Backend::Cpu)?;
//! let vectors = embedder.embed_blocking(&["A cat sleeps.", "A dog barks."])?;
//! println!("{} elements, cosine {}", vectors[0].len(), cosine(&vectors[0], &vectors[1])?);
//! # Ok::<(), wginfer::Error>(())
//! ```

mod batch;
mod dense;
mod embedder;
mod encoder;
mod engine;
mod families;
mod folder;
mod gguf;
mod modules;
mod onnx;
mod pooling;
mod spec;
mod tokens;

pub(crate) use batch::{COUNTS, bounds};
pub(crate) use dense::Dense;
pub use embedder::{EmbedOptions, Embedder, Embeddings, Weights};
pub use pooling::{Head, Pooling, cosine};
pub use spec::EncoderSpec;
pub use tokens::TokenCount;

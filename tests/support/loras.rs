//! Random LoRA adapters, and files into whose weights they are merged.

use std::collections::BTreeMap;
use wginfer::formats::gguf::{GgufFile, GgufWriter};
use wginfer::lm::Lora;
use wginfer::quant::decode::decode;
use wginfer::quant::random::{Scales, random_blocks};
use wginfer::{DType, Error, Result, Tensor};

const ALPHA: f32 = 2.0;

/// Extents and values of one matrix, or of one for each expert.
type Matrix = (Vec<usize>, Vec<f32>);

/// An adapter of some tensors of a model.
pub struct Adapter {
    rank: usize,
    architecture: String,
    /// By tensor.
    pairs: BTreeMap<String, [Matrix; 2]>,
}

impl Adapter {
    /// A random one of this rank, of the tensors of two and three dimensions that are
    /// wanted.
    pub fn random(model: &GgufFile, rank: usize, wanted: impl Fn(&str) -> bool) -> Result<Adapter> {
        let architecture = model.metadata().opt_str("general.architecture")?.unwrap_or_default();
        let mut pairs = BTreeMap::new();
        for (seed, info) in model.tensors().enumerate() {
            let shapes = match *info.extents() {
                _ if !wanted(info.name()) => continue,
                [vocabulary, width] if info.name() == "token_embd.weight" => {
                    [vec![vocabulary, rank], vec![width, rank]]
                }
                [outputs, inputs] => [vec![rank, inputs], vec![outputs, rank]],
                [count, outputs, inputs] => [vec![count, rank, inputs], vec![count, outputs, rank]],
                _ => continue,
            };
            let pair = shapes.map(|shape| (shape.clone(), values(&shape, seed as u64)));
            pairs.insert(info.name().to_string(), pair);
        }
        Ok(Adapter { rank, architecture: architecture.into(), pairs })
    }

    pub fn names(&self) -> impl Iterator<Item = &str> {
        self.pairs.keys().map(String::as_str)
    }

    /// What `attempt` makes of the adapter. What it refuses by name is left out, and told.
    pub fn taken<T>(
        &mut self,
        scale: f32,
        mut attempt: impl FnMut(Lora) -> Result<T>,
    ) -> Result<(T, Vec<String>)> {
        let mut refused = Vec::new();
        loop {
            let error = match attempt(Lora::new(self.file()?, scale)?) {
                Ok(done) => return Ok((done, refused)),
                Err(error) => error,
            };
            let told = error.to_string();
            let name = told.split('\'').nth(1).unwrap_or_default();
            let known = matches!(error, Error::Unsupported { .. });
            if !known || self.pairs.remove(name).is_none() {
                return Err(error);
            }
            refused.push(name.to_string());
        }
    }

    pub fn file(&self) -> Result<GgufFile> {
        let mut writer = GgufWriter::new();
        writer.metadata("general.type", "adapter")?;
        writer.metadata("general.architecture", self.architecture.as_str())?;
        writer.metadata("adapter.type", "lora")?;
        writer.metadata("adapter.lora.alpha", ALPHA)?;
        for (name, pair) in &self.pairs {
            for (end, (shape, values)) in ["lora_a", "lora_b"].iter().zip(pair) {
                writer.tensor(&format!("{name}.{end}"), Tensor::from_f32(shape, values)?)?;
            }
        }
        GgufFile::parse(writer.to_bytes()?, "random lora")
    }

    /// A tensor of a model with what the adapter adds, `scale` times, in F32. Where the
    /// model has a factor for a matrix, or for each expert's, that is no factor of what is
    /// added.
    pub fn merged(&self, model: &GgufFile, name: &str, scale: f32) -> Result<Tensor> {
        let tensor = model.tensor(name)?;
        let Some([(_, a), (_, b)]) = self.pairs.get(name) else { return Ok(tensor) };
        let factors = format!("{}.scale", name.trim_end_matches(".weight"));
        let factors = match model.tensor_info(&factors) {
            Some(info) => info.load()?.to_f32()?,
            None => vec![1.0],
        };
        let mut all = vec![0.0; tensor.len()];
        decode(tensor.dtype(), tensor.bytes(), &mut all)?;
        let &[.., outputs, inputs] = tensor.extents() else { unreachable!() };
        let (rank, scale) = (self.rank, f64::from(scale * ALPHA) / self.rank as f64);
        // Of what is looked up, `a` has the rows and `b` the columns, both along the rank.
        let looked_up = name == "token_embd.weight";
        for (i, value) in all.iter_mut().enumerate() {
            let (matrix, row, column) = (i / (outputs * inputs), i / inputs % outputs, i % inputs);
            let product = |k: usize| {
                let (a, b) = match looked_up {
                    true => (a[row * rank + k], b[column * rank + k]),
                    false => (
                        a[(matrix * rank + k) * inputs + column],
                        b[(matrix * outputs + row) * rank + k],
                    ),
                };
                f64::from(a) * f64::from(b)
            };
            let sum: f64 = (0..rank).map(product).sum();
            let factor = f64::from(factors[matrix % factors.len()]);
            *value = (f64::from(*value) + scale * sum / factor) as f32;
        }
        Tensor::from_f32(tensor.extents(), &all)
    }
}

/// Random values that give sums of about 1.
fn values(shape: &[usize], seed: u64) -> Vec<f32> {
    let count = shape.iter().product();
    let seed = seed * 100 + shape.len() as u64 + shape[0] as u64;
    let bytes = random_blocks(DType::F32, count, seed, Scales::Unit).unwrap();
    let width = shape.last().copied().unwrap_or(1) as f32;
    bytes
        .chunks_exact(4)
        .map(|four| f32::from_le_bytes(four.try_into().unwrap()) / width.sqrt())
        .collect()
}

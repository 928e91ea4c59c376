//! Models of `tests/data/decoders_mixed/`: keys and tensors are in a file, data is random
//! bits of a counter. Made by `scripts/make_mixed_models.py`.

use half::{bf16, f16};
use serde_json::Value;
use std::collections::BTreeMap;
use wginfer::formats::gguf::{GgufFile, GgufWriter, MetaValue, ValueType};
use wginfer::{DType, Result, Tensor};

/// A model, and what others compute with it.
#[derive(serde::Deserialize)]
pub struct Recipe {
    /// Key, type as gguf-py calls it (of an array also that of its elements), value.
    keys: Vec<(String, String, Value)>,
    tensors: Vec<Made>,
    /// Tensors whose values are given.
    fixed: BTreeMap<String, Vec<f32>>,
    /// Of all words of the data, each times its place in its tensor from 1, modulo 2^64.
    sum: u64,
    #[serde(default)]
    pub tokens: Vec<u32>,
    /// After the last token.
    #[serde(default)]
    pub logits: Vec<f32>,
}

/// Name, type, extents, and how its data is made: the middle and half the range of plain
/// values, or the bits of a block's scales.
type Made = (String, String, Vec<usize>, Vec<f64>);

impl Recipe {
    /// The model's file, with the vocabulary of another.
    ///
    /// # Panics
    /// If the data is not what the judge was given.
    pub fn file(&self, name: &str, vocabulary: &GgufFile) -> Result<GgufFile> {
        let mut writer = GgufWriter::new();
        for (key, kind, value) in &self.keys {
            writer.metadata(key, meta(kind, value))?;
        }
        let theirs = vocabulary.metadata();
        for (key, value) in theirs.iter().filter(|(key, _)| key.starts_with("tokenizer.")) {
            writer.copy(key, value)?;
        }
        let mut sum = 0u64;
        for (number, (name, kind, extents, how)) in self.tensors.iter().enumerate() {
            let dtype = DType::ALL.into_iter().find(|dtype| dtype.name() == kind);
            let dtype = dtype.unwrap_or_else(|| panic!("no type {kind}"));
            let data = data(dtype, extents, number as u64, how)?;
            sum = sum.wrapping_add(sum_of(&data));
            writer.tensor(name, Tensor::new(dtype, extents, data)?)?;
        }
        assert_eq!(sum, self.sum, "{name}: other data than the judge's");
        for (name, values) in &self.fixed {
            writer.tensor(name, Tensor::from_f32(&[values.len()], values)?)?;
        }
        GgufFile::parse(writer.to_bytes()?, name)
    }

    /// The types that its tensors have.
    pub fn types(&self) -> impl Iterator<Item = &str> {
        self.tensors.iter().map(|(_, kind, ..)| kind.as_str())
    }
}

fn meta(kind: &str, value: &Value) -> MetaValue {
    let (kind, of) = kind.split_once(' ').unwrap_or((kind, ""));
    match kind {
        "UINT32" => MetaValue::U32(value.as_u64().unwrap() as u32),
        "INT32" => MetaValue::I32(value.as_i64().unwrap() as i32),
        // Infinities are texts.
        "FLOAT32" => MetaValue::F32(match value.as_str() {
            Some(text) => text.parse().unwrap(),
            None => value.as_f64().unwrap() as f32,
        }),
        "BOOL" => MetaValue::Bool(value.as_bool().unwrap()),
        "STRING" => MetaValue::Str(value.as_str().unwrap().into()),
        "ARRAY" => {
            let items: Vec<MetaValue> =
                value.as_array().unwrap().iter().map(|item| meta(of, item)).collect();
            MetaValue::Array(items.first().map_or(ValueType::U32, MetaValue::value_type), items)
        }
        _ => panic!("a key of type {kind}"),
    }
}

fn data(dtype: DType, extents: &[usize], number: u64, how: &[f64]) -> Result<Vec<u8>> {
    let bytes = dtype.bytes(extents)?;
    if dtype.block_len() > 1 {
        let mut data: Vec<u8> = words(number).flat_map(u64::to_le_bytes).take(bytes).collect();
        for block in data.chunks_exact_mut(dtype.block_bytes()) {
            set_scales(dtype, block, how);
        }
        return Ok(data);
    }
    let (middle, half) = (how[0], how[1]);
    let drawn = words(number).take(extents.iter().product()).map(|word| {
        let step = (word >> 40) as f64;
        (middle + half * (step / f64::from(1 << 23) - 1.0)) as f32
    });
    Ok(match dtype {
        DType::F32 => drawn.flat_map(f32::to_le_bytes).collect(),
        DType::F16 => drawn.flat_map(|value| f16::from_f32(value).to_le_bytes()).collect(),
        DType::BF16 => drawn.flat_map(|value| bf16::from_f32(value).to_le_bytes()).collect(),
        _ => panic!("random {dtype}"),
    })
}

/// Gives a block of random bits its scales.
fn set_scales(dtype: DType, block: &mut [u8], bits: &[f64]) {
    let bits: Vec<u16> = bits.iter().map(|&bits| bits as u16).collect();
    let places: &[usize] = match dtype {
        DType::MXFP4 => return block[0] = bits[0] as u8,
        DType::NVFP4 => return block[..4].fill(bits[0] as u8),
        // A quarter of the bits in the upper half of each of four bytes.
        DType::IQ1_M => {
            for (i, byte) in block[48..].iter_mut().skip(1).step_by(2).enumerate() {
                *byte = *byte & 0xf | ((bits[0] >> (4 * i) & 0xf) << 4) as u8;
            }
            return;
        }
        DType::Q4_1 | DType::Q5_1 | DType::Q4_K | DType::Q5_K => &[0, 2],
        DType::Q2_K => &[80, 82],
        DType::Q3_K => &[108],
        DType::Q6_K => &[208],
        DType::TQ1_0 => &[52],
        DType::TQ2_0 => &[64],
        _ => &[0],
    };
    for (&at, bits) in places.iter().zip(bits) {
        block[at..at + 2].copy_from_slice(&bits.to_le_bytes());
    }
}

/// Random bits for the tensor of that number: SplitMix64 (Steele, Lea, Flood: Fast
/// splittable pseudorandom number generators, 2014).
fn words(number: u64) -> impl Iterator<Item = u64> {
    let mut state = number << 32;
    std::iter::from_fn(move || {
        state = state.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let z = (state ^ state >> 30).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        let z = (z ^ z >> 27).wrapping_mul(0x94d0_49bb_1331_11eb);
        Some(z ^ z >> 31)
    })
}

fn sum_of(data: &[u8]) -> u64 {
    let word = |part: &[u8]| {
        let mut word = [0; 4];
        word[..part.len()].copy_from_slice(part);
        u64::from(u32::from_le_bytes(word))
    };
    let places = 1u64..;
    data.chunks(4)
        .zip(places)
        .fold(0u64, |sum, (part, at)| sum.wrapping_add(word(part).wrapping_mul(at)))
}

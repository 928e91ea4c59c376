//! A GGUF file taken apart so that every field can be set to anything.

use wginfer::Bytes;
use wginfer::formats::gguf::{GgufFile, Value};

/// The parts of a file, as they are written.
#[derive(Clone)]
pub(crate) struct Raw {
    pub(crate) magic: [u8; 4],
    pub(crate) version: u32,
    /// What the header claims, where it differs from what there is.
    pub(crate) tensor_count: Option<u64>,
    pub(crate) key_count: Option<u64>,
    pub(crate) pairs: Vec<Pair>,
    pub(crate) tensors: Vec<Described>,
    pub(crate) alignment: usize,
    pub(crate) data: Vec<u8>,
}

#[derive(Clone)]
pub(crate) struct Pair {
    pub(crate) key: Vec<u8>,
    pub(crate) of: u32,
    pub(crate) value: Vec<u8>,
}

#[derive(Clone)]
pub(crate) struct Described {
    pub(crate) name: Vec<u8>,
    /// The fastest first.
    pub(crate) dims: Vec<u64>,
    /// What is written as their number, where it differs.
    pub(crate) rank: Option<u32>,
    pub(crate) of: u32,
    pub(crate) offset: u64,
}

impl Raw {
    pub(crate) fn new(bytes: &[u8]) -> Self {
        let file = GgufFile::parse(bytes.to_vec(), "valid.gguf").unwrap();
        let pair = |(key, value): (&str, Value<'_>)| {
            let (of, mut out) = (value.value_type() as u32, Vec::new());
            put(&mut out, &value);
            Pair { key: key.into(), of, value: out }
        };
        let start = file.tensors().map(|info| info.offset()).min().unwrap();
        let describe = |info: wginfer::formats::gguf::TensorInfo<'_>| Described {
            name: info.name().into(),
            dims: info.extents().iter().rev().map(|&extent| extent as u64).collect(),
            rank: None,
            of: info.ggml_type().0,
            offset: info.offset() - start,
        };
        Raw {
            magic: *b"GGUF",
            version: file.version(),
            tensor_count: None,
            key_count: None,
            pairs: file.metadata().iter().map(pair).collect(),
            tensors: file.tensors().map(describe).collect(),
            alignment: file.alignment() as usize,
            data: bytes[start as usize..].to_vec(),
        }
    }

    pub(crate) fn bytes(&self) -> Bytes {
        let mut out = self.magic.to_vec();
        out.extend(self.version.to_le_bytes());
        out.extend(self.tensor_count.unwrap_or(self.tensors.len() as u64).to_le_bytes());
        out.extend(self.key_count.unwrap_or(self.pairs.len() as u64).to_le_bytes());
        for pair in &self.pairs {
            out.extend(string(&pair.key));
            out.extend(pair.of.to_le_bytes());
            out.extend(&pair.value);
        }
        for tensor in &self.tensors {
            out.extend(string(&tensor.name));
            out.extend(tensor.rank.unwrap_or(tensor.dims.len() as u32).to_le_bytes());
            tensor.dims.iter().for_each(|dim| out.extend(dim.to_le_bytes()));
            out.extend(tensor.of.to_le_bytes());
            out.extend(tensor.offset.to_le_bytes());
        }
        out.resize(out.len().next_multiple_of(self.alignment), 0);
        out.extend(&self.data);
        out.into()
    }

    pub(crate) fn pair(&mut self, key: &str) -> &mut Pair {
        self.pairs.iter_mut().find(|pair| pair.key == key.as_bytes()).unwrap()
    }

    /// Sets a key, which need not be there.
    pub(crate) fn set(&mut self, key: &str, value: Value<'_>) {
        let mut out = Vec::new();
        put(&mut out, &value);
        self.set_raw(key, value.value_type() as u32, out);
    }

    /// Sets a key to bytes that need not be a value of the type.
    pub(crate) fn set_raw(&mut self, key: &str, of: u32, value: Vec<u8>) {
        self.pairs.retain(|pair| pair.key != key.as_bytes());
        self.pairs.push(Pair { key: key.into(), of, value });
    }

    pub(crate) fn remove(&mut self, key: &str) {
        let before = self.pairs.len();
        self.pairs.retain(|pair| pair.key != key.as_bytes());
        assert_eq!(self.pairs.len() + 1, before, "there is no {key}");
    }

    /// Replaces an array of strings.
    pub(crate) fn set_strings(&mut self, key: &str, strings: &[Vec<u8>]) {
        let mut out = array(STRING, strings.len() as u64);
        strings.iter().for_each(|text| out.extend(string(text)));
        self.set_raw(key, ARRAY, out);
    }

    pub(crate) fn tensor(&mut self, name: &str) -> &mut Described {
        self.tensors.iter_mut().find(|tensor| tensor.name == name.as_bytes()).unwrap()
    }

    pub(crate) fn remove_tensor(&mut self, name: &str) {
        let before = self.tensors.len();
        self.tensors.retain(|tensor| tensor.name != name.as_bytes());
        assert_eq!(self.tensors.len() + 1, before, "there is no {name}");
    }

    /// Puts a tensor of zeros in the place of one, at the end of the data.
    pub(crate) fn replace_tensor(&mut self, name: &str, dims: &[u64], of: u32, bytes: usize) {
        self.data.resize(self.data.len().next_multiple_of(self.alignment), 0);
        let offset = self.data.len() as u64;
        self.data.resize(self.data.len() + bytes, 0);
        self.tensors.retain(|tensor| tensor.name != name.as_bytes());
        let dims = dims.to_vec();
        self.tensors.push(Described { name: name.into(), dims, rank: None, of, offset });
    }
}

/// Numbers of value types.
pub(crate) const BOOL: u32 = 7;
pub(crate) const STRING: u32 = 8;
pub(crate) const ARRAY: u32 = 9;

/// A string as it is written.
pub(crate) fn string(text: &[u8]) -> Vec<u8> {
    [&(text.len() as u64).to_le_bytes()[..], text].concat()
}

/// The beginning of an array.
pub(crate) fn array(of: u32, count: u64) -> Vec<u8> {
    [&of.to_le_bytes()[..], &count.to_le_bytes()].concat()
}

fn put(out: &mut Vec<u8>, value: &Value<'_>) {
    match *value {
        Value::U8(v) => out.push(v),
        Value::I8(v) => out.extend(v.to_le_bytes()),
        Value::U16(v) => out.extend(v.to_le_bytes()),
        Value::I16(v) => out.extend(v.to_le_bytes()),
        Value::U32(v) => out.extend(v.to_le_bytes()),
        Value::I32(v) => out.extend(v.to_le_bytes()),
        Value::F32(v) => out.extend(v.to_le_bytes()),
        Value::Bool(v) => out.push(v.into()),
        Value::Str(v) => out.extend(string(v)),
        Value::U64(v) => out.extend(v.to_le_bytes()),
        Value::I64(v) => out.extend(v.to_le_bytes()),
        Value::F64(v) => out.extend(v.to_le_bytes()),
        Value::Array(items) => {
            out.extend(array(items.element_type() as u32, items.len() as u64));
            items.iter().for_each(|item| put(out, &item));
        }
    }
}

//! Reads the cases that `scripts/make_op_fixtures.py` writes.

use serde_json::{Map, Value};
use std::collections::BTreeMap;
use wginfer::ops::Arithmetic;
use wginfer::{DType, Tensor};

const FILE: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/tests/data/onnx_nodes/cases.bin");

/// The whole file.
pub(crate) struct Fixture {
    pub(crate) cases: Vec<OracleCase>,
}

/// One operator, its inputs, and what it should give.
#[derive(Debug, Clone)]
pub(crate) struct OracleCase {
    /// The name ONNX has for it.
    pub(crate) name: String,
    pub(crate) op: String,
    pub(crate) attributes: Map<String, Value>,
    pub(crate) inputs: Vec<Tensor>,
    pub(crate) output: Tensor,
    /// What the output was computed in.
    pub(crate) oracle: Arithmetic,
}

#[derive(serde::Deserialize)]
struct Header {
    source: String,
    cases: Vec<CaseText>,
    skipped: BTreeMap<String, Vec<String>>,
}

#[derive(serde::Deserialize)]
struct CaseText {
    name: String,
    op: String,
    attributes: Map<String, Value>,
    inputs: Vec<TensorText>,
    output: TensorText,
    oracle: String,
}

#[derive(serde::Deserialize)]
struct TensorText {
    dtype: String,
    extents: Vec<usize>,
    at: usize,
}

impl Fixture {
    pub(crate) fn read() -> Self {
        let file = std::fs::read(FILE).expect("the cases are there");
        let (length, rest) = file.split_at(8);
        let length = u64::from_le_bytes(length.try_into().unwrap()) as usize;
        let (header, data) = rest.split_at(length);
        let header: Header = serde_json::from_slice(header).expect("a header");
        assert!(header.source.contains("onnx"), "{}", header.source);
        let reasons = header.skipped.iter();
        for (reason, names) in reasons {
            assert!(!names.is_empty() && !reason.is_empty(), "{reason}: {names:?}");
        }
        let case = |text: CaseText| OracleCase {
            inputs: text.inputs.iter().map(|tensor| tensor.read(data)).collect(),
            output: text.output.read(data),
            oracle: match text.oracle.as_str() {
                "F32" => Arithmetic::F32,
                "F16" => Arithmetic::F16,
                other => panic!("arithmetic {other}"),
            },
            name: text.name,
            op: text.op,
            attributes: text.attributes,
        };
        Fixture { cases: header.cases.into_iter().map(case).collect() }
    }
}

impl TensorText {
    fn read(&self, data: &[u8]) -> Tensor {
        let dtype = DType::ALL.into_iter().find(|dtype| dtype.name() == self.dtype);
        let dtype = dtype.unwrap_or_else(|| panic!("dtype {}", self.dtype));
        let bytes = dtype.bytes(&self.extents).unwrap();
        Tensor::new(dtype, &self.extents, data[self.at..self.at + bytes].to_vec()).unwrap()
    }
}

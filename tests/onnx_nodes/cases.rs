//! The exported cases, and how results are compared.

use crate::support::cache;
use serde::Deserialize;
use std::path::PathBuf;
use wginfer::onnx::OnnxValue;
use wginfer::ops::{RefData, RefTensor};
use wginfer::{DType, Error, Tensor};

/// The suite's relative tolerance.
const RELATIVE: f64 = 1e-3;
/// An absolute floor for f32. The suite's own, 1e-7, is below what f32 sums of
/// terms near 1 can keep.
const ABSOLUTE: f64 = 1e-5;

/// Units in the last place that results in F16 and BF16 may be off: the expected
/// ones come from NumPy, which rounds the intermediate results of these cases to
/// the type as well.
const ULPS: f64 = 2.0;

/// A piece of the blob: offset and length.
pub type Piece = [usize; 2];

#[derive(Debug, Deserialize)]
pub struct CaseTensor {
    pub name: String,
    pub dtype: String,
    extents: Vec<usize>,
    data: Piece,
    /// The elements of a tensor of strings.
    strings: Option<Vec<String>>,
    /// The tensors of a sequence.
    items: Option<Vec<CaseTensor>>,
}

#[derive(Debug, Deserialize)]
pub struct Case {
    pub name: String,
    pub operators: Vec<String>,
    pub model: Piece,
    random: bool,
    pub inputs: Vec<CaseTensor>,
    pub outputs: Vec<CaseTensor>,
}

#[derive(Debug, Deserialize)]
struct Index {
    onnx: String,
    cases: Vec<Case>,
}

pub struct Cases {
    pub version: String,
    pub cases: Vec<Case>,
    blob: Vec<u8>,
}

impl CaseTensor {
    fn eligible(&self) -> bool {
        let excluded = ["STRING", "map", "DOUBLE"];
        !excluded.contains(&self.dtype.as_str())
            && self.items.iter().flatten().all(CaseTensor::eligible)
    }
}

impl Case {
    /// Whether results are random, so that only types and extents can be compared.
    pub fn random(&self) -> bool {
        self.random
    }

    /// Whether a GPU could run all of it: no string and no f64.
    pub fn eligible(&self) -> bool {
        self.inputs.iter().chain(&self.outputs).all(CaseTensor::eligible)
    }

    /// The operator it is about: the one of its name, if it has several.
    pub fn operator(&self) -> &str {
        let plain = |text: &str| text.replace('_', "").to_lowercase();
        let name = plain(self.name.trim_start_matches("test_"));
        let named = self.operators.iter().filter(|op| name.starts_with(&plain(op)));
        let longest = named.max_by_key(|op| op.len()).map(String::as_str);
        match (longest, self.operators.as_slice()) {
            (Some(operator), _) => operator,
            (None, [only]) => only,
            _ if self.name.contains("expanded") => "(expanded functions)",
            (None, [first, ..]) => first,
            (None, []) => "(none)",
        }
    }
}

impl Cases {
    /// What `scripts/fetch_onnx_nodes.sh` wrote.
    pub fn load() -> Self {
        let folder = folder();
        let read = |name: &str| {
            let path = folder.join(name);
            std::fs::read(&path).unwrap_or_else(|e| {
                panic!("{}: {e}; run scripts/fetch_onnx_nodes.sh", path.display())
            })
        };
        let index: Index = serde_json::from_slice(&read("cases.json")).expect("cases.json");
        Cases { version: index.onnx, cases: index.cases, blob: read("cases.bin") }
    }

    pub fn bytes(&self, piece: &Piece) -> &[u8] {
        &self.blob[piece[0]..piece[0] + piece[1]]
    }

    /// The value; `None` of a type that the crate does not have.
    pub fn value(&self, entry: &CaseTensor) -> Result<Option<OnnxValue>, Error> {
        match &entry.items {
            _ if entry.dtype == "absent" => Ok(Some(OnnxValue::Nothing)),
            Some(items) => {
                let items = items.iter().map(|item| self.value(item));
                let items = items.collect::<Result<Option<Vec<_>>, _>>()?;
                Ok(items.map(OnnxValue::Sequence))
            }
            None => Ok(self.tensor(entry)?.map(OnnxValue::Tensor)),
        }
    }

    /// The tensor; `None` of a type that the crate does not have.
    fn tensor(&self, tensor: &CaseTensor) -> Result<Option<Tensor>, Error> {
        if let Some(strings) = &tensor.strings {
            return Tensor::from_strings(&tensor.extents, strings).map(Some);
        }
        let Some(dtype) = dtype(&tensor.dtype) else { return Ok(None) };
        let mut bytes = self.bytes(&tensor.data).to_vec();
        // The cases have the bits of these types, the crate their sign as well.
        if matches!(dtype, DType::I4 | DType::I2) {
            let unused = 8 - dtype.bits();
            for byte in &mut bytes {
                *byte = ((*byte << unused) as i8 >> unused) as u8;
            }
        }
        Tensor::new(dtype, &tensor.extents, bytes).map(Some)
    }
}

fn folder() -> PathBuf {
    if let Some(folder) = std::env::var_os("WGINFER_ONNX_NODES") {
        return folder.into();
    }
    cache::dir().expect("a cache folder").join("onnx-nodes").join(CASES)
}

/// As in `scripts/fetch_onnx_nodes.sh`.
const CASES: &str = "1.23.2-3";

/// ONNX's name of an element type.
fn dtype(name: &str) -> Option<DType> {
    let name = match name {
        "FLOAT" => "F32",
        "FLOAT16" => "F16",
        "BFLOAT16" => "BF16",
        "DOUBLE" => "F64",
        "INT8" => "I8",
        "UINT8" => "U8",
        "INT16" => "I16",
        "UINT16" => "U16",
        "INT32" => "I32",
        "UINT32" => "U32",
        "INT64" => "I64",
        "UINT64" => "U64",
        "FLOAT8E4M3FN" => "F8E4M3FN",
        "FLOAT8E4M3FNUZ" => "F8E4M3FNUZ",
        "FLOAT8E5M2" => "F8E5M2",
        "FLOAT8E5M2FNUZ" => "F8E5M2FNUZ",
        "FLOAT8E8M0" => "F8E8M0",
        "FLOAT4E2M1" => "F4E2M1",
        "INT4" => "I4",
        "UINT4" => "U4",
        "INT2" => "I2",
        "UINT2" => "U2",
        other => other,
    };
    DType::ALL.iter().copied().find(|dtype| dtype.name() == name)
}

/// Whether a result is as expected; of a random one only types and extents are
/// compared.
pub fn alike(got: &OnnxValue, expected: &OnnxValue, random: bool) -> Result<(), String> {
    match (got, expected) {
        (OnnxValue::Tensor(got), OnnxValue::Tensor(expected)) if random => {
            let kind = |t: &Tensor| format!("{}{:?}", t.dtype(), t.extents());
            let (got, expected) = (kind(got), kind(expected));
            if got == expected { Ok(()) } else { Err(format!("{got}, not {expected}")) }
        }
        (OnnxValue::Tensor(got), OnnxValue::Tensor(expected)) => close(got, expected),
        (OnnxValue::Sequence(got), OnnxValue::Sequence(expected)) => {
            if got.len() != expected.len() {
                return Err(format!("{} elements, not {}", got.len(), expected.len()));
            }
            for (at, (got, expected)) in got.iter().zip(expected).enumerate() {
                alike(got, expected, random).map_err(|what| format!("[{at}]: {what}"))?;
            }
            Ok(())
        }
        (OnnxValue::Nothing, OnnxValue::Nothing) => Ok(()),
        _ => Err(format!("{got:?}, not {expected:?}")),
    }
}

/// Whether a tensor is as expected: type and extents the same, whole numbers
/// equal, real numbers within the suite's tolerance or [`ULPS`] of a type that
/// has less precision than that.
fn close(got: &Tensor, expected: &Tensor) -> Result<(), String> {
    if got.dtype() != expected.dtype() || got.extents() != expected.extents() {
        return Err(format!(
            "{}{:?}, not {}{:?}",
            got.dtype(),
            got.extents(),
            expected.dtype(),
            expected.extents()
        ));
    }
    if got.dtype() == DType::String {
        let words = |tensor: &Tensor| tensor.to_strings().map(|w| w.join("|"));
        let (got, expected) = (words(got), words(expected));
        let [got, expected] = [got, expected].map(|words| words.map_err(|e| e.to_string()));
        let (got, expected) = (got?, expected?);
        return if got == expected { Ok(()) } else { Err(format!("{got}, not {expected}")) };
    }
    let relative = RELATIVE.max(match got.dtype() {
        DType::F16 => ULPS * f64::powi(2.0, -10),
        DType::BF16 => ULPS * f64::powi(2.0, -7),
        _ => 0.0,
    });
    let values = |tensor: &Tensor| RefTensor::from_tensor(tensor).map_err(|e| e.to_string());
    match (values(got)?.data, values(expected)?.data) {
        (RefData::Real(got), RefData::Real(expected)) => {
            let near = |g: f64, e: f64| {
                g == e
                    || (g.is_nan() && e.is_nan())
                    || (g - e).abs() <= ABSOLUTE + relative * e.abs()
            };
            let off = got.iter().zip(&expected).position(|(&g, &e)| !near(g, e));
            off.map_or(Ok(()), |i| Err(format!("element {i} is {}, not {}", got[i], expected[i])))
        }
        (RefData::Int(got), RefData::Int(expected)) => {
            let off = got.iter().zip(&expected).position(|(g, e)| g != e);
            off.map_or(Ok(()), |i| Err(format!("element {i} is {}, not {}", got[i], expected[i])))
        }
        _ => Err("values of another kind".into()),
    }
}

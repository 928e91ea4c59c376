//! Tensors of ONNX files.

use super::external::External;
use super::model::{Constant, Dimension, Form, ValueInfo};
use super::proto::{TensorProto, TensorTypeProto, TypeProto, ValueInfoProto};
use crate::error::{Error, Result};
use crate::formats::gguf::shown;
use crate::tensor::{Bytes, DType, MAX_RANK, Tensor};

/// The field that elements are in where they are not raw.
#[derive(Debug, Clone, Copy, PartialEq)]
enum Field {
    Float,
    Int32,
    Int64,
    Double,
    Uint64,
    /// None that this crate reads.
    None,
}

/// `TensorProto.DataType`: number, name, the type here, the field.
type Row = (i32, &'static str, Option<DType>, Field);

const TYPES: &[Row] = &[
    (1, "FLOAT", Some(DType::F32), Field::Float),
    (2, "UINT8", Some(DType::U8), Field::Int32),
    (3, "INT8", Some(DType::I8), Field::Int32),
    (4, "UINT16", Some(DType::U16), Field::Int32),
    (5, "INT16", Some(DType::I16), Field::Int32),
    (6, "INT32", Some(DType::I32), Field::Int32),
    (7, "INT64", Some(DType::I64), Field::Int64),
    (8, "STRING", Some(DType::String), Field::None),
    (9, "BOOL", Some(DType::Bool), Field::Int32),
    (10, "FLOAT16", Some(DType::F16), Field::Int32),
    (11, "DOUBLE", Some(DType::F64), Field::Double),
    (12, "UINT32", Some(DType::U32), Field::Uint64),
    (13, "UINT64", Some(DType::U64), Field::Uint64),
    (14, "COMPLEX64", None, Field::None),
    (15, "COMPLEX128", None, Field::None),
    (16, "BFLOAT16", Some(DType::BF16), Field::Int32),
    (17, "FLOAT8E4M3FN", Some(DType::F8E4M3FN), Field::Int32),
    (18, "FLOAT8E4M3FNUZ", Some(DType::F8E4M3FNUZ), Field::Int32),
    (19, "FLOAT8E5M2", Some(DType::F8E5M2), Field::Int32),
    (20, "FLOAT8E5M2FNUZ", Some(DType::F8E5M2FNUZ), Field::Int32),
    (21, "UINT4", Some(DType::U4), Field::Int32),
    (22, "INT4", Some(DType::I4), Field::Int32),
    (23, "FLOAT4E2M1", Some(DType::F4E2M1), Field::Int32),
    (24, "FLOAT8E8M0", Some(DType::F8E8M0), Field::Int32),
    (25, "UINT2", Some(DType::U2), Field::Int32),
    (26, "INT2", Some(DType::I2), Field::Int32),
];

/// The element type of an ONNX number, if this crate has it.
pub(crate) fn dtype(code: i64) -> Option<DType> {
    TYPES.iter().find(|row| i64::from(row.0) == code).and_then(|row| row.2)
}

/// How ONNX spells the type of a number.
pub(crate) fn spelled(code: i64) -> String {
    let row = TYPES.iter().find(|row| i64::from(row.0) == code);
    row.map_or_else(|| format!("type {code}"), |row| row.1.to_string())
}

/// A tensor's place in a file, and the file.
pub(super) struct Tensors<'a> {
    pub(super) file: &'a str,
    /// All of the model's file, which raw elements are slices of.
    pub(super) whole: Bytes,
    pub(super) external: External,
}

impl Tensors<'_> {
    /// The value of a tensor. `at` is what errors call it.
    pub(super) fn read(&mut self, proto: &TensorProto, at: &str) -> Result<Constant> {
        let wrong = |what: String| Error::format(self.file, at, what);
        let extents = extents(&proto.dims).map_err(wrong)?;
        if proto.segment.is_some() {
            return Ok(Constant::Unsupported("a segment of a tensor".into()));
        }
        let code = i64::from(proto.data_type);
        let row = TYPES.iter().find(|row| row.0 == proto.data_type);
        let Some((_, _, Some(dtype), field)) = row else {
            return Ok(Constant::Unsupported(spelled(code)));
        };
        if *dtype == DType::String {
            return strings(proto, &extents).map(Constant::Tensor).map_err(wrong);
        }
        let packing = Packing::of(*dtype);
        let elements = dtype.bytes(&extents).map_err(|e| wrong(e.to_string()))?;
        let size = packing.as_ref().map_or(elements, |packing| packing.bytes(elements));
        let bytes = match (proto.data_location, &proto.raw_data) {
            (0, Some(raw)) => self.raw(raw, size).map_err(wrong)?,
            (0, None) => typed(proto, *field, *dtype, size).map_err(wrong)?.into(),
            (1, None) => self.external.bytes(&proto.external_data, size, self.file, at)?,
            (1, Some(_)) => return Err(wrong("elements both here and in another file".into())),
            (other, _) => return Err(wrong(format!("data location {other}"))),
        };
        let bytes = match packing {
            Some(packing) => packing.unpack(&bytes, elements).into(),
            None => bytes,
        };
        if *dtype == DType::Bool && bytes.iter().any(|&byte| byte > 1) {
            return Err(wrong("a truth value other than 0 and 1".into()));
        }
        Tensor::new(*dtype, &extents, bytes).map(Constant::Tensor)
    }

    fn raw(&self, raw: &prost::bytes::Bytes, size: usize) -> std::result::Result<Bytes, String> {
        if raw.len() != size {
            return Err(format!("{} bytes where type and extents need {size}", raw.len()));
        }
        // The decoder gives slices of what it was given, so that nothing is copied.
        let start = (raw.as_ptr() as usize).checked_sub(self.whole.as_ptr() as usize);
        let slice = start.and_then(|start| self.whole.slice(start..start.checked_add(size)?));
        Ok(slice.unwrap_or_else(|| raw.to_vec().into()))
    }
}

/// A tensor of strings, which have a field of their own.
fn strings(proto: &TensorProto, extents: &[usize]) -> std::result::Result<Tensor, String> {
    if proto.data_location != 0 || proto.raw_data.is_some() {
        return Err("strings outside of their field".into());
    }
    let words = proto.string_data.iter().map(|text| std::str::from_utf8(text));
    let words = words.collect::<std::result::Result<Vec<_>, _>>();
    let words = words.map_err(|_| "a string that is not UTF-8".to_string())?;
    Tensor::from_strings(extents, &words).map_err(|error| error.to_string())
}

/// How elements of fewer than 8 bits lie in a byte: the first in the lowest bits.
#[derive(Debug, Clone, Copy)]
struct Packing {
    bits: usize,
    signed: bool,
}

impl Packing {
    fn of(dtype: DType) -> Option<Self> {
        let bits = match dtype {
            DType::I4 | DType::U4 | DType::F4E2M1 => 4,
            DType::I2 | DType::U2 => 2,
            _ => return None,
        };
        Some(Packing { bits, signed: dtype.is_signed_integer() })
    }

    fn bytes(self, elements: usize) -> usize {
        elements.div_ceil(8 / self.bits)
    }

    /// A byte for each element, signs extended.
    fn unpack(self, packed: &[u8], elements: usize) -> Vec<u8> {
        let (per_byte, unused) = (8 / self.bits, 8 - self.bits);
        let element = |index: usize| {
            let byte = packed.get(index / per_byte).copied().unwrap_or(0);
            let high = byte << (unused - index % per_byte * self.bits);
            if self.signed { ((high as i8) >> unused) as u8 } else { high >> unused }
        };
        (0..elements).map(element).collect()
    }
}

/// The extents, such that no product of them overflows.
pub(super) fn extents(dims: &[i64]) -> std::result::Result<Vec<usize>, String> {
    if dims.len() > MAX_RANK {
        return Err(format!("rank {}, at most {MAX_RANK} is supported", dims.len()));
    }
    let extents: std::result::Result<Vec<_>, _> =
        dims.iter().map(|&dim| usize::try_from(dim)).collect();
    let extents = extents.map_err(|_| format!("a negative extent in {dims:?}"))?;
    let bounded = extents.iter().try_fold(1usize, |n, &extent| n.checked_mul(extent.max(1)));
    match bounded {
        Some(count) if count <= (isize::MAX as usize) / 16 => Ok(extents),
        _ => Err(format!("extents {dims:?} are larger than any file")),
    }
}

fn typed(
    proto: &TensorProto,
    field: Field,
    dtype: DType,
    size: usize,
) -> std::result::Result<Vec<u8>, String> {
    let unit = dtype.block_bytes();
    let bytes = match field {
        Field::Float => spread(&proto.float_data, size, |v| v.to_le_bytes()),
        Field::Int64 => spread(&proto.int64_data, size, |v| v.to_le_bytes()),
        Field::Double => spread(&proto.double_data, size, |v| v.to_le_bytes()),
        Field::Uint64 if unit == 8 => spread(&proto.uint64_data, size, |v| v.to_le_bytes()),
        Field::Uint64 => {
            narrow(proto.uint64_data.iter().map(|&v| i128::from(v)), unit, dtype, size)
        }
        Field::Int32 => narrow(proto.int32_data.iter().map(|&v| i128::from(v)), unit, dtype, size),
        Field::None => Err("elements of a type without a field".into()),
    }?;
    if bytes.len() != size {
        let (got, needed) = (bytes.len() / unit, size / unit);
        return Err(format!("{got} elements where the extents need {needed}"));
    }
    Ok(bytes)
}

fn spread<const N: usize, T: Copy>(
    values: &[T],
    size: usize,
    write: impl Fn(T) -> [u8; N],
) -> std::result::Result<Vec<u8>, String> {
    if values.len() != size / N {
        return Err(format!("{} elements where the extents need {}", values.len(), size / N));
    }
    Ok(values.iter().flat_map(|&value| write(value)).collect())
}

/// Elements stored in a wider field: the low bytes of each.
fn narrow(
    values: impl ExactSizeIterator<Item = i128>,
    unit: usize,
    dtype: DType,
    size: usize,
) -> std::result::Result<Vec<u8>, String> {
    if values.len() != size / unit {
        return Err(format!("{} elements where the extents need {}", values.len(), size / unit));
    }
    let bits = 8 * unit as u32;
    let mut bytes = Vec::with_capacity(size);
    for value in values {
        // Some writers store signed values, others their bits.
        if value >= 1 << bits || value < -(1 << (bits - 1)) {
            return Err(format!("{value} is no {dtype}"));
        }
        bytes.extend_from_slice(&value.to_le_bytes()[..unit]);
    }
    Ok(bytes)
}

/// Name and type of an input or result.
pub(super) fn info(proto: &ValueInfoProto) -> ValueInfo {
    let mut info = ValueInfo {
        name: proto.name.clone(),
        dtype: None,
        dims: None,
        form: Form::Tensor,
        spelled: "a type the file does not give".into(),
    };
    let Some(ty) = &proto.r#type else { return info };
    let (form, tensor) = made_of(ty);
    match tensor {
        Some(tensor) => {
            info.dtype = dtype(tensor.elem_type.into());
            info.dims = dims(tensor);
            info.form = form;
            info.spelled = match form {
                Form::Tensor => spelled(tensor.elem_type.into()),
                _ => kind(ty),
            };
        }
        None => info.spelled = kind(ty),
    }
    info
}

/// What a type is made of, and the type of the tensors in it.
fn made_of(ty: &TypeProto) -> (Form, Option<&TensorTypeProto>) {
    if let Some(optional) = &ty.optional_type {
        return match optional.elem_type.as_ref().map(made_of) {
            Some((Form::Tensor, tensor)) => (Form::Optional, tensor),
            Some((Form::Sequence, tensor)) => (Form::OptionalSequence, tensor),
            _ => (Form::Optional, None),
        };
    }
    match &ty.sequence_type {
        Some(sequence) => match &sequence.elem_type {
            Some(element) => (Form::Sequence, element.tensor_type.as_ref()),
            None => (Form::Sequence, None),
        },
        None => (Form::Tensor, ty.tensor_type.as_ref()),
    }
}

/// What exporters write for a dimension of any size, as if it were its name.
const ANY: [&str; 4] = ["", "?", "-1", "None"];

/// A dimension that is given as -1 is of any size as well.
fn dims(tensor: &TensorTypeProto) -> Option<Vec<Dimension>> {
    let shape = tensor.shape.as_ref()?;
    let dim = |dim: &super::proto::DimensionProto| match (dim.dim_value, &dim.dim_param) {
        (Some(number), _) => usize::try_from(number).map_or(Dimension::Unknown, Dimension::Number),
        (None, Some(name)) if !ANY.contains(&name.as_str()) => {
            Dimension::Symbol(shown(name.as_bytes()))
        }
        _ => Dimension::Unknown,
    };
    Some(shape.dim.iter().map(dim).collect())
}

/// A dimension that is no size: below -1, which stands for any.
pub(super) fn no_size(proto: &ValueInfoProto) -> Option<i64> {
    let (_, tensor) = made_of(proto.r#type.as_ref()?);
    let shape = tensor?.shape.as_ref()?;
    shape.dim.iter().filter_map(|dim| dim.dim_value).find(|&number| number < -1)
}

fn kind(ty: &TypeProto) -> String {
    let of = |name: &str, element: &super::proto::ElementTypeProto| {
        let inner = match &element.elem_type {
            Some(TypeProto { tensor_type: Some(tensor), .. }) => spelled(tensor.elem_type.into()),
            Some(TypeProto { sequence_type: Some(_), .. }) => "sequence".into(),
            _ => "?".into(),
        };
        format!("{name}({inner})")
    };
    match ty {
        TypeProto { sequence_type: Some(element), .. } => of("sequence", element),
        TypeProto { optional_type: Some(element), .. } => of("optional", element),
        TypeProto { sparse_tensor_type: Some(_), .. } => "a sparse tensor".into(),
        TypeProto { map_type: Some(_), .. } => "a map".into(),
        _ => "a type the file does not give".into(),
    }
}

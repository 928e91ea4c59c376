//! The values of the f64 reference.

use crate::error::{Error, Result};
use crate::quant;
use crate::tensor::{DType, PowerRounding, SmallRounding, Tensor, small_float, small_float_bits};
use half::{bf16, f16};

/// A tensor of the reference: real numbers as f64, whole numbers as i64.
///
/// The dtype is that of the graph. The reference does not round to it, except
/// where rounding is what an operator means (`Cast`) or when a value becomes
/// a [`Tensor`] again.
#[derive(Debug, Clone)]
pub struct RefTensor {
    /// The dtype the graph gives the value.
    pub dtype: DType,
    /// The extents, slowest first.
    pub extents: Vec<usize>,
    /// The elements, row-major.
    pub data: RefData,
}

/// The elements of a [`RefTensor`].
#[derive(Debug, Clone)]
pub enum RefData {
    /// Elements of a floating-point or quantised dtype.
    Real(Vec<f64>),
    /// Elements of an integer dtype; truth values are 0 and 1. Those of
    /// [`DType::U64`] from 2^63 on are the negative numbers of the same bits.
    Int(Vec<i64>),
}

impl RefTensor {
    /// Real numbers.
    pub fn real(dtype: DType, extents: &[usize], data: Vec<f64>) -> Self {
        RefTensor { dtype, extents: extents.to_vec(), data: RefData::Real(data) }
    }

    /// Whole numbers.
    pub fn int(dtype: DType, extents: &[usize], data: Vec<i64>) -> Self {
        RefTensor { dtype, extents: extents.to_vec(), data: RefData::Int(data) }
    }

    /// The number of elements.
    pub fn len(&self) -> usize {
        self.extents.iter().product()
    }

    /// Whether there are no elements.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// The real numbers.
    ///
    /// # Errors
    /// If these are whole numbers.
    pub fn reals(&self) -> Result<&[f64]> {
        match &self.data {
            RefData::Real(data) => Ok(data),
            RefData::Int(_) => Err(Error::internal(format!("{} read as real numbers", self.dtype))),
        }
    }

    /// The whole numbers.
    ///
    /// # Errors
    /// If these are real numbers.
    pub fn ints(&self) -> Result<&[i64]> {
        match &self.data {
            RefData::Int(data) => Ok(data),
            RefData::Real(_) => {
                Err(Error::internal(format!("{} read as whole numbers", self.dtype)))
            }
        }
    }

    /// The exact values of a tensor; quantised ones are decoded.
    ///
    /// # Errors
    /// If a quantised type cannot be decoded.
    pub fn from_tensor(tensor: &Tensor) -> Result<Self> {
        let bytes: &[u8] = tensor.bytes();
        let real = |data: Vec<f64>| RefData::Real(data);
        let data = match tensor.dtype() {
            DType::F32 => real(collect(bytes, |b| f32::from_le_bytes(b).into())),
            DType::F16 => real(collect(bytes, |b| f16::from_le_bytes(b).to_f64())),
            DType::BF16 => real(collect(bytes, |b| bf16::from_le_bytes(b).to_f64())),
            DType::F64 => real(collect(bytes, f64::from_le_bytes)),
            dtype if dtype.is_small_float() => {
                real(bytes.iter().map(|&code| small_float(dtype, code)).collect())
            }
            DType::I8 | DType::I4 | DType::I2 => {
                RefData::Int(collect(bytes, |b| i8::from_le_bytes(b).into()))
            }
            DType::U8 | DType::Bool | DType::U4 | DType::U2 => {
                RefData::Int(collect(bytes, |b| u8::from_le_bytes(b).into()))
            }
            DType::I32 => RefData::Int(collect(bytes, |b| i32::from_le_bytes(b).into())),
            DType::U32 => RefData::Int(collect(bytes, |b| u32::from_le_bytes(b).into())),
            DType::I16 => RefData::Int(collect(bytes, |b| i16::from_le_bytes(b).into())),
            DType::U16 => RefData::Int(collect(bytes, |b| u16::from_le_bytes(b).into())),
            DType::I64 | DType::U64 => RefData::Int(collect(bytes, i64::from_le_bytes)),
            DType::String => {
                return Err(Error::unsupported("a tensor of strings", "to compute with"));
            }
            quantised => {
                let mut values = vec![0f32; tensor.len()];
                quant::decode(quantised, bytes, &mut values)?;
                real(values.into_iter().map(f64::from).collect())
            }
        };
        Ok(RefTensor { dtype: tensor.dtype(), extents: tensor.extents().to_vec(), data })
    }

    /// The nearest tensor of this value's dtype. Whole numbers that do not fit
    /// are an error, never wrapped.
    ///
    /// # Errors
    /// If the dtype is quantised, or a whole number is out of range.
    pub fn to_tensor(&self) -> Result<Tensor> {
        let bytes = match (&self.data, self.dtype) {
            (RefData::Real(data), DType::F32) => spread(data, |&v| (v as f32).to_le_bytes()),
            (RefData::Real(data), DType::F16) => spread(data, |&v| f16::from_f64(v).to_le_bytes()),
            (RefData::Real(data), DType::BF16) => {
                spread(data, |&v| bf16::from_f64(v).to_le_bytes())
            }
            (RefData::Real(data), DType::F64) => spread(data, |v| v.to_le_bytes()),
            (RefData::Real(data), dtype) if dtype.is_small_float() => {
                // Infinity stays what it is where there is one.
                let exact = SmallRounding { saturate: false, power: PowerRounding::Nearest };
                data.iter().map(|&v| small_float_bits(dtype, v, exact)).collect()
            }
            (RefData::Int(data), DType::I64 | DType::U64) => spread(data, |v| v.to_le_bytes()),
            (RefData::Int(data), DType::I16) => narrow(data, self.dtype, i16::to_le_bytes)?,
            (RefData::Int(data), DType::U16) => narrow(data, self.dtype, u16::to_le_bytes)?,
            (RefData::Int(data), DType::I32) => narrow(data, self.dtype, i32::to_le_bytes)?,
            (RefData::Int(data), DType::U32) => narrow(data, self.dtype, u32::to_le_bytes)?,
            (RefData::Int(data), DType::I8 | DType::I4 | DType::I2) => {
                narrow(data, self.dtype, i8::to_le_bytes)?
            }
            (RefData::Int(data), DType::U8 | DType::Bool | DType::U4 | DType::U2) => {
                narrow(data, self.dtype, u8::to_le_bytes)?
            }
            (_, dtype) => {
                return Err(Error::unsupported("reference", format!("storing as {dtype}")));
            }
        };
        Tensor::new(self.dtype, &self.extents, bytes)
    }
}

fn collect<const N: usize, T>(bytes: &[u8], read: impl Fn([u8; N]) -> T) -> Vec<T> {
    bytes.as_chunks::<N>().0.iter().map(|&chunk| read(chunk)).collect()
}

fn spread<const N: usize, T>(data: &[T], write: impl Fn(&T) -> [u8; N]) -> Vec<u8> {
    data.iter().flat_map(write).collect()
}

fn narrow<const N: usize, T: TryFrom<i64>>(
    data: &[i64],
    dtype: DType,
    write: impl Fn(T) -> [u8; N],
) -> Result<Vec<u8>> {
    let mut bytes = Vec::with_capacity(data.len() * N);
    let range = dtype.range();
    let fits =
        |value: i64| range.is_none_or(|(least, most)| (least..=most).contains(&value.into()));
    for &value in data {
        let value = T::try_from(value)
            .ok()
            .filter(|_| fits(value))
            .ok_or_else(|| Error::input("whole number", format!("a value of {dtype}"), value))?;
        bytes.extend(write(value));
    }
    Ok(bytes)
}

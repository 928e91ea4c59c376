//! A tensor in host memory.

use super::{Bytes, DType, MAX_RANK, strings};
use crate::error::{Error, Result};

/// A tensor in host memory: dtype, extents (row-major, last one fastest) and
/// little-endian bytes, without padding.
#[derive(Debug, Clone)]
pub struct Tensor {
    dtype: DType,
    extents: Vec<usize>,
    bytes: Bytes,
}

impl Tensor {
    /// A tensor over existing bytes.
    ///
    /// # Errors
    /// If the rank exceeds [`MAX_RANK`], the last extent is not a whole number
    /// of blocks, or the number of bytes is not what dtype and extents need.
    pub fn new(dtype: DType, extents: &[usize], bytes: impl Into<Bytes>) -> Result<Self> {
        let bytes = bytes.into();
        if extents.len() > MAX_RANK {
            return Err(Error::input(
                "tensor rank",
                format!("at most {MAX_RANK}"),
                format!("{extents:?}"),
            ));
        }
        let needed = dtype.bytes(extents)?;
        if dtype == DType::String {
            strings::split(extents.iter().product(), &bytes)?;
        } else if needed != bytes.len() {
            return Err(Error::input(
                format!("bytes of a {dtype} tensor {extents:?}"),
                needed,
                bytes.len(),
            ));
        }
        Ok(Tensor { dtype, extents: extents.to_vec(), bytes })
    }

    /// The same elements in other extents, whose last one is the same: blocks stay whole.
    ///
    /// # Errors
    /// If there are more or fewer of them, or the last extent is another.
    pub(crate) fn reshaped(&self, extents: &[usize]) -> Result<Self> {
        let count = |extents: &[usize]| {
            extents.iter().try_fold(1usize, |product, &extent| product.checked_mul(extent))
        };
        if extents.last() != self.extents.last() || count(extents) != count(&self.extents) {
            let expected = format!("as many elements as extents {:?}", self.extents);
            return Err(Error::input("extents of a tensor", expected, format!("{extents:?}")));
        }
        Ok(Tensor { extents: extents.to_vec(), ..self.clone() })
    }

    /// Some rows: a part of the first dimension, sharing the bytes.
    ///
    /// # Errors
    /// If the tensor has no dimension, or not so many rows.
    pub fn rows(&self, rows: std::ops::Range<usize>) -> Result<Self> {
        let wrong = || {
            let expected = format!("rows within extents {:?}", self.extents);
            Error::input("rows of a tensor", expected, format!("{rows:?}"))
        };
        let (&count, inner) = self.extents.split_first().ok_or_else(wrong)?;
        if rows.start > rows.end || rows.end > count {
            return Err(wrong());
        }
        let extents = [&[rows.len()], inner].concat();
        if self.dtype == DType::String {
            let row: usize = inner.iter().product();
            let words = self.to_strings()?;
            let words = words.get(rows.start * row..rows.end * row).ok_or_else(wrong)?;
            return Self::from_strings(&extents, words);
        }
        // A row of a matrix is a whole number of blocks.
        let row = self.bytes.len() / count.max(1);
        let bytes = self.bytes.slice(rows.start * row..rows.end * row).ok_or_else(wrong)?;
        Self::new(self.dtype, &extents, bytes)
    }

    /// The rows of several tensors of one dtype, which differ in the first extent at most,
    /// one after another, sharing their bytes; see [`Bytes`].
    ///
    /// # Errors
    /// If there is none, or they differ in more.
    pub(crate) fn stacked(parts: &[&Tensor]) -> Result<Self> {
        let wrong = || {
            let expected = "tensors that differ in the first extent alone";
            let got: Vec<_> = parts.iter().map(|part| (part.dtype, &part.extents)).collect();
            Error::input("tensors to stack", expected, format!("{got:?}"))
        };
        let first = parts.first().ok_or_else(wrong)?;
        let alike = |part: &&Tensor| {
            let rows = part.extents.split_first().zip(first.extents.split_first());
            part.dtype == first.dtype && rows.is_some_and(|(part, first)| part.1 == first.1)
        };
        if first.dtype == DType::String || !parts.iter().all(alike) {
            return Err(wrong());
        }
        let mut extents = first.extents.clone();
        extents[0] = parts.iter().map(|part| part.extents[0]).sum();
        let pieces = parts.iter().map(|part| part.bytes.clone()).collect();
        Self::new(first.dtype, &extents, Bytes::joined(pieces))
    }

    /// The same elements with other extents.
    pub(crate) fn with_extents(&self, extents: &[usize]) -> Result<Self> {
        Self::new(self.dtype, extents, self.bytes.clone())
    }

    /// An F32 tensor.
    ///
    /// # Errors
    /// As [`Tensor::new`].
    pub fn from_f32(extents: &[usize], values: &[f32]) -> Result<Self> {
        Self::new(DType::F32, extents, bytemuck::cast_slice(values).to_vec())
    }

    /// An F16 tensor, each value rounded to nearest even.
    ///
    /// # Errors
    /// As [`Tensor::new`].
    pub fn from_f16(extents: &[usize], values: &[f32]) -> Result<Self> {
        let halves: Vec<half::f16> = values.iter().map(|&v| half::f16::from_f32(v)).collect();
        Self::new(DType::F16, extents, bytemuck::cast_slice(&halves).to_vec())
    }

    /// An I32 tensor.
    ///
    /// # Errors
    /// As [`Tensor::new`].
    pub fn from_i32(extents: &[usize], values: &[i32]) -> Result<Self> {
        Self::new(DType::I32, extents, bytemuck::cast_slice(values).to_vec())
    }

    /// An I64 tensor.
    ///
    /// # Errors
    /// As [`Tensor::new`].
    pub fn from_i64(extents: &[usize], values: &[i64]) -> Result<Self> {
        Self::new(DType::I64, extents, bytemuck::cast_slice(values).to_vec())
    }

    /// The element type.
    pub fn dtype(&self) -> DType {
        self.dtype
    }

    /// The extents, slowest first.
    pub fn extents(&self) -> &[usize] {
        &self.extents
    }

    /// The number of elements.
    pub fn len(&self) -> usize {
        self.extents.iter().product()
    }

    /// Whether there are no elements.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// The raw little-endian bytes.
    pub fn bytes(&self) -> &Bytes {
        &self.bytes
    }

    /// The values of an F32 tensor.
    ///
    /// # Errors
    /// If the dtype is another one.
    pub fn to_f32(&self) -> Result<Vec<f32>> {
        self.expect(DType::F32)?;
        Ok(bytemuck::pod_collect_to_vec(&self.bytes))
    }

    /// The values of an I32 tensor.
    ///
    /// # Errors
    /// If the dtype is another one.
    pub fn to_i32(&self) -> Result<Vec<i32>> {
        self.expect(DType::I32)?;
        Ok(bytemuck::pod_collect_to_vec(&self.bytes))
    }

    /// The values of an I64 tensor.
    ///
    /// # Errors
    /// If the dtype is another one.
    pub fn to_i64(&self) -> Result<Vec<i64>> {
        self.expect(DType::I64)?;
        Ok(bytemuck::pod_collect_to_vec(&self.bytes))
    }

    fn expect(&self, dtype: DType) -> Result<()> {
        if self.dtype == dtype {
            return Ok(());
        }
        Err(Error::input("tensor dtype", dtype, self.dtype))
    }
}

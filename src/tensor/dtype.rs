//! Element types: plain scalars and the block-quantised types of GGML.

use crate::error::{Error, Result};
use std::fmt;

/// The type of a tensor's elements.
///
/// Quantised types store blocks of elements along the last dimension; block
/// sizes are those of the GGML type table
/// (ggml.h / gguf-py `GGML_QUANT_SIZES`).
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
#[allow(non_camel_case_types, reason = "the GGUF names of the types are what readers search for")]
#[non_exhaustive]
pub enum DType {
    /// IEEE 754 binary32.
    F32,
    /// IEEE 754 binary16.
    F16,
    /// The upper half of a binary32.
    BF16,
    /// Signed 8-bit integer.
    I8,
    /// Unsigned 8-bit integer.
    U8,
    /// Signed 32-bit integer.
    I32,
    /// Unsigned 32-bit integer.
    U32,
    /// Signed 64-bit integer.
    I64,
    /// One byte, 0 or 1.
    Bool,
    /// 32 elements: f16 scale, 4-bit values minus 8.
    Q4_0,
    /// 32 elements: f16 scale and minimum, 4-bit values.
    Q4_1,
    /// 32 elements: f16 scale, 5-bit values minus 16.
    Q5_0,
    /// 32 elements: f16 scale and minimum, 5-bit values.
    Q5_1,
    /// 32 elements: f16 scale, 8-bit values.
    Q8_0,
    /// 256 elements: 16 sub-blocks, 2-bit values, 4-bit scales and minima.
    Q2_K,
    /// 256 elements: 16 sub-blocks, 3-bit values, 6-bit scales.
    Q3_K,
    /// 256 elements: 8 sub-blocks, 4-bit values, 6-bit scales and minima.
    Q4_K,
    /// 256 elements: 8 sub-blocks, 5-bit values, 6-bit scales and minima.
    Q5_K,
    /// 256 elements: 16 sub-blocks, 6-bit values, 8-bit scales.
    Q6_K,
    /// 32 elements: f16 scale, 4-bit indices into a fixed table.
    IQ4_NL,
}

use DType::*;

impl DType {
    /// Every type, for tables and tests.
    pub const ALL: [DType; 20] = [
        F32, F16, BF16, I8, U8, I32, U32, I64, Bool, Q4_0, Q4_1, Q5_0, Q5_1, Q8_0, Q2_K, Q3_K,
        Q4_K, Q5_K, Q6_K, IQ4_NL,
    ];

    /// The name GGUF and this crate's messages use.
    pub fn name(self) -> &'static str {
        match self {
            F32 => "F32",
            F16 => "F16",
            BF16 => "BF16",
            I8 => "I8",
            U8 => "U8",
            I32 => "I32",
            U32 => "U32",
            I64 => "I64",
            Bool => "BOOL",
            Q4_0 => "Q4_0",
            Q4_1 => "Q4_1",
            Q5_0 => "Q5_0",
            Q5_1 => "Q5_1",
            Q8_0 => "Q8_0",
            Q2_K => "Q2_K",
            Q3_K => "Q3_K",
            Q4_K => "Q4_K",
            Q5_K => "Q5_K",
            Q6_K => "Q6_K",
            IQ4_NL => "IQ4_NL",
        }
    }

    /// Elements in one block; 1 for plain types.
    pub const fn block_len(self) -> usize {
        match self {
            Q4_0 | Q4_1 | Q5_0 | Q5_1 | Q8_0 | IQ4_NL => 32,
            Q2_K | Q3_K | Q4_K | Q5_K | Q6_K => 256,
            _ => 1,
        }
    }

    /// Bytes of one block; of one element for plain types.
    pub const fn block_bytes(self) -> usize {
        match self {
            F32 | I32 | U32 => 4,
            F16 | BF16 => 2,
            I8 | U8 | Bool => 1,
            I64 => 8,
            Q4_0 | IQ4_NL => 18,
            Q4_1 => 20,
            Q5_0 => 22,
            Q5_1 => 24,
            Q8_0 => 34,
            Q2_K => 84,
            Q3_K => 110,
            Q4_K => 144,
            Q5_K => 176,
            Q6_K => 210,
        }
    }

    /// Whether elements are stored in blocks with shared scales.
    pub const fn is_quantised(self) -> bool {
        self.block_len() > 1
    }

    /// Whether the plain type is a floating-point one.
    pub const fn is_float(self) -> bool {
        matches!(self, F32 | F16 | BF16)
    }

    /// Whether the type is a whole number or a truth value.
    pub const fn is_integer(self) -> bool {
        matches!(self, I8 | U8 | I32 | U32 | I64 | Bool)
    }

    /// Bytes of a tensor with the given extents.
    ///
    /// # Errors
    /// If the last extent is not a whole number of blocks, or the size does
    /// not fit in 64 bits.
    pub fn bytes(self, extents: &[usize]) -> Result<usize> {
        let last = extents.last().copied().unwrap_or(1);
        if last % self.block_len() != 0 {
            return Err(Error::input(
                format!("last dimension of a {self} tensor"),
                format!("a multiple of {}", self.block_len()),
                last,
            ));
        }
        let mut bytes = self.block_bytes();
        for (i, &n) in extents.iter().enumerate() {
            let n = if i + 1 == extents.len() { n / self.block_len() } else { n };
            bytes = bytes.checked_mul(n).ok_or_else(|| {
                Error::input("tensor extents", "a size below 2^64 bytes", format!("{extents:?}"))
            })?;
        }
        Ok(bytes)
    }
}

impl fmt::Display for DType {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())
    }
}

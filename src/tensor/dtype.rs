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
    /// Signed 16-bit integer.
    I16,
    /// Unsigned 16-bit integer.
    U16,
    /// Unsigned 64-bit integer.
    U64,
    /// IEEE 754 binary64; on the CPU backend only.
    F64,
    /// One byte, 0 or 1.
    Bool,
    /// 4 bits of exponent, 3 of mantissa; no infinity.
    F8E4M3FN,
    /// 4 bits of exponent, 3 of mantissa; neither infinity nor negative zero.
    F8E4M3FNUZ,
    /// 5 bits of exponent, 2 of mantissa; as IEEE 754 would have it.
    F8E5M2,
    /// 5 bits of exponent, 2 of mantissa; neither infinity nor negative zero.
    F8E5M2FNUZ,
    /// A power of two: 8 bits of exponent and nothing else.
    F8E8M0,
    /// 2 bits of exponent, 1 of mantissa; one element in a byte.
    F4E2M1,
    /// Signed 4-bit integer; one element in a byte, its sign extended.
    I4,
    /// Unsigned 4-bit integer; one element in a byte.
    U4,
    /// Signed 2-bit integer; one element in a byte, its sign extended.
    I2,
    /// Unsigned 2-bit integer; one element in a byte.
    U2,
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
    /// 256 elements: 8 sub-blocks, 4-bit indices into the table of IQ4_NL, 6-bit
    /// scales.
    IQ4_XS,
    /// 256 elements: 8-bit indices of eights in a codebook of 256, signs, 4-bit
    /// scales of 32.
    IQ2_XXS,
    /// 256 elements: 9-bit indices of eights, signs, 4-bit scales of 16.
    IQ2_XS,
    /// 256 elements: 10-bit indices of eights, signs, 4-bit scales of 16.
    IQ2_S,
    /// 256 elements: 8-bit indices of fours, signs, 4-bit scales of 32.
    IQ3_XXS,
    /// 256 elements: 9-bit indices of fours, signs, 4-bit scales of 32.
    IQ3_S,
    /// 256 elements: 11-bit indices of eights, 3-bit scales of 32, and which of two
    /// offsets they have.
    IQ1_S,
    /// 256 elements: 11-bit indices of eights with their offset, 3-bit scales of 16.
    IQ1_M,
    /// 256 elements of -1, 0 and 1: f16 scale, five of them in a byte.
    TQ1_0,
    /// 256 elements of -1, 0 and 1: f16 scale, four of them in a byte.
    TQ2_0,
    /// 32 elements: a power of two, 4-bit floats (OCP Microscaling).
    MXFP4,
    /// 64 elements: 8-bit float scales of 16, 4-bit floats.
    NVFP4,
    /// Text, on the host only: not among [`DType::ALL`], as nothing computes with it.
    /// [`Tensor::from_strings`](super::Tensor::from_strings) and `to_strings` write
    /// and read it.
    String,
}

use DType::*;

impl DType {
    /// Every type of numbers, for tables and tests.
    pub const ALL: [DType; 46] = [
        F32, F16, BF16, I8, U8, I32, U32, I64, I16, U16, U64, F64, Bool, F8E4M3FN, F8E4M3FNUZ,
        F8E5M2, F8E5M2FNUZ, F8E8M0, F4E2M1, I4, U4, I2, U2, Q4_0, Q4_1, Q5_0, Q5_1, Q8_0, Q2_K,
        Q3_K, Q4_K, Q5_K, Q6_K, IQ4_NL, IQ4_XS, IQ2_XXS, IQ2_XS, IQ2_S, IQ3_XXS, IQ3_S, IQ1_S,
        IQ1_M, TQ1_0, TQ2_0, MXFP4, NVFP4,
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
            I16 => "I16",
            U16 => "U16",
            U64 => "U64",
            F64 => "F64",
            Bool => "BOOL",
            F8E4M3FN => "F8E4M3FN",
            F8E4M3FNUZ => "F8E4M3FNUZ",
            F8E5M2 => "F8E5M2",
            F8E5M2FNUZ => "F8E5M2FNUZ",
            F8E8M0 => "F8E8M0",
            F4E2M1 => "F4E2M1",
            I4 => "I4",
            U4 => "U4",
            I2 => "I2",
            U2 => "U2",
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
            String => "STRING",
            IQ4_XS => "IQ4_XS",
            IQ2_XXS => "IQ2_XXS",
            IQ2_XS => "IQ2_XS",
            IQ2_S => "IQ2_S",
            IQ3_XXS => "IQ3_XXS",
            IQ3_S => "IQ3_S",
            IQ1_S => "IQ1_S",
            IQ1_M => "IQ1_M",
            TQ1_0 => "TQ1_0",
            TQ2_0 => "TQ2_0",
            MXFP4 => "MXFP4",
            NVFP4 => "NVFP4",
        }
    }

    /// Elements in one block; 1 for plain types.
    pub const fn block_len(self) -> usize {
        match self {
            Q4_0 | Q4_1 | Q5_0 | Q5_1 | Q8_0 | IQ4_NL | MXFP4 => 32,
            NVFP4 => 64,
            Q2_K | Q3_K | Q4_K | Q5_K | Q6_K | IQ4_XS | IQ2_XXS | IQ2_XS | IQ2_S | IQ3_XXS
            | IQ3_S | IQ1_S | IQ1_M | TQ1_0 | TQ2_0 => 256,
            _ => 1,
        }
    }

    /// Bytes of one block on the host; of one element for plain types. Types
    /// of fewer than 8 bits take a byte per element here and on a device; they
    /// are packed and unpacked at a file's edge.
    pub const fn block_bytes(self) -> usize {
        match self {
            F32 | I32 | U32 => 4,
            F16 | BF16 | I16 | U16 => 2,
            I8 | U8 | Bool | F8E4M3FN | F8E4M3FNUZ | F8E5M2 | F8E5M2FNUZ | F8E8M0 | F4E2M1 | I4
            | U4 | I2 | U2 => 1,
            I64 | U64 | F64 => 8,
            // Where its text ends; the text is behind all of these.
            String => 8,
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
            IQ4_XS => 136,
            IQ2_XXS | TQ2_0 => 66,
            IQ2_XS => 74,
            IQ2_S => 82,
            IQ3_XXS => 98,
            IQ3_S => 110,
            IQ1_S => 50,
            IQ1_M => 56,
            TQ1_0 => 54,
            MXFP4 => 17,
            NVFP4 => 36,
        }
    }

    /// Bytes of one block on a device. Shaders have no 64-bit integers, so
    /// [`DType::I64`] and [`DType::U64`] are 32 bits wide there; what moves
    /// them in and out checks the range. (Quantised constants are laid out
    /// anew, see [`DeviceLayout`](crate::quant::DeviceLayout); the sum is the
    /// same.)
    pub const fn device_block_bytes(self) -> usize {
        if self.is_64bit_integer() { 4 } else { self.block_bytes() }
    }

    /// Whether elements are stored in blocks with shared scales.
    pub const fn is_quantised(self) -> bool {
        self.block_len() > 1
    }

    /// Whether the plain type is a floating-point one to compute with.
    pub const fn is_float(self) -> bool {
        matches!(self, F32 | F16 | BF16 | F64)
    }

    /// Whether the type is a floating-point one of at most 8 bits: to store and
    /// convert, not to compute with.
    pub const fn is_small_float(self) -> bool {
        matches!(self, F8E4M3FN | F8E4M3FNUZ | F8E5M2 | F8E5M2FNUZ | F8E8M0 | F4E2M1)
    }

    /// Whether the type is a whole number or a truth value.
    pub const fn is_integer(self) -> bool {
        self.is_signed_integer() || self.is_unsigned_integer() || matches!(self, Bool)
    }

    /// Whether the type is a whole number with a sign.
    pub const fn is_signed_integer(self) -> bool {
        matches!(self, I8 | I16 | I32 | I64 | I4 | I2)
    }

    /// Whether the type is a whole number without a sign.
    pub const fn is_unsigned_integer(self) -> bool {
        matches!(self, U8 | U16 | U32 | U64 | U4 | U2)
    }

    /// Whether the type is a whole number that is narrower on a device.
    pub const fn is_64bit_integer(self) -> bool {
        matches!(self, I64 | U64)
    }

    /// Bits of an element of a plain type.
    pub const fn bits(self) -> u32 {
        match self {
            F4E2M1 | I4 | U4 => 4,
            I2 | U2 => 2,
            _ => self.block_bytes() as u32 * 8,
        }
    }

    /// The least and the largest value of a whole-number type; the range of
    /// [`DType::U64`] does not fit, so this is wide.
    pub const fn range(self) -> Option<(i128, i128)> {
        match self {
            Bool => Some((0, 1)),
            _ if self.is_unsigned_integer() => Some((0, (1 << self.bits()) - 1)),
            _ if self.is_signed_integer() => {
                let half = 1 << (self.bits() - 1);
                Some((-half, half - 1))
            }
            _ => None,
        }
    }

    /// Bytes of a tensor with the given extents.
    ///
    /// # Errors
    /// If the last extent is not a whole number of blocks, or the size does
    /// not fit in 64 bits.
    pub fn bytes(self, extents: &[usize]) -> Result<usize> {
        self.sized(extents, self.block_bytes())
    }

    /// Bytes of a tensor with the given extents on a device.
    ///
    /// # Errors
    /// As [`DType::bytes`].
    pub fn device_bytes(self, extents: &[usize]) -> Result<usize> {
        self.sized(extents, self.device_block_bytes())
    }

    fn sized(self, extents: &[usize], block_bytes: usize) -> Result<usize> {
        let last = extents.last().copied().unwrap_or(1);
        if last % self.block_len() != 0 {
            return Err(Error::input(
                format!("last dimension of a {self} tensor"),
                format!("a multiple of {}", self.block_len()),
                last,
            ));
        }
        let mut bytes = block_bytes;
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

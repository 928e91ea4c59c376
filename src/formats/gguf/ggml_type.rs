//! The tensor types a GGUF file can name.

use crate::tensor::DType;
use std::fmt;

/// A tensor type as the file writes it: a number of GGML's type table.
///
/// Numbers and block sizes are those of `ggml.h` and of gguf-py's
/// `GGMLQuantizationType` and `GGML_QUANT_SIZES`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct GgmlType(pub u32);

/// Number, name, elements of a block, bytes of a block (0: not stored in
/// files, or described differently by different sources), this crate's type.
type Row = (u32, &'static str, u64, u64, Option<DType>);

const TABLE: [Row; 34] = [
    (0, "F32", 1, 4, Some(DType::F32)),
    (1, "F16", 1, 2, Some(DType::F16)),
    (2, "Q4_0", 32, 18, Some(DType::Q4_0)),
    (3, "Q4_1", 32, 20, Some(DType::Q4_1)),
    (6, "Q5_0", 32, 22, Some(DType::Q5_0)),
    (7, "Q5_1", 32, 24, Some(DType::Q5_1)),
    (8, "Q8_0", 32, 34, Some(DType::Q8_0)),
    (9, "Q8_1", 32, 0, None),
    (10, "Q2_K", 256, 84, Some(DType::Q2_K)),
    (11, "Q3_K", 256, 110, Some(DType::Q3_K)),
    (12, "Q4_K", 256, 144, Some(DType::Q4_K)),
    (13, "Q5_K", 256, 176, Some(DType::Q5_K)),
    (14, "Q6_K", 256, 210, Some(DType::Q6_K)),
    (15, "Q8_K", 256, 292, None),
    (16, "IQ2_XXS", 256, 66, Some(DType::IQ2_XXS)),
    (17, "IQ2_XS", 256, 74, Some(DType::IQ2_XS)),
    (18, "IQ3_XXS", 256, 98, Some(DType::IQ3_XXS)),
    (19, "IQ1_S", 256, 50, Some(DType::IQ1_S)),
    (20, "IQ4_NL", 32, 18, Some(DType::IQ4_NL)),
    (21, "IQ3_S", 256, 110, Some(DType::IQ3_S)),
    (22, "IQ2_S", 256, 82, Some(DType::IQ2_S)),
    (23, "IQ4_XS", 256, 136, Some(DType::IQ4_XS)),
    (24, "I8", 1, 1, Some(DType::I8)),
    (25, "I16", 1, 2, None),
    (26, "I32", 1, 4, Some(DType::I32)),
    (27, "I64", 1, 8, Some(DType::I64)),
    (28, "F64", 1, 8, Some(DType::F64)),
    (29, "IQ1_M", 256, 56, Some(DType::IQ1_M)),
    (30, "BF16", 1, 2, Some(DType::BF16)),
    (34, "TQ1_0", 256, 54, Some(DType::TQ1_0)),
    (35, "TQ2_0", 256, 66, Some(DType::TQ2_0)),
    (39, "MXFP4", 32, 17, Some(DType::MXFP4)),
    (40, "NVFP4", 64, 36, Some(DType::NVFP4)),
    (41, "Q1_0", 128, 18, None),
];

impl GgmlType {
    fn row(self) -> Option<&'static Row> {
        TABLE.iter().find(|row| row.0 == self.0)
    }

    /// The type that stores elements of `dtype`; `None` for types GGUF cannot
    /// hold (U8, U32, BOOL).
    pub fn from_dtype(dtype: DType) -> Option<Self> {
        TABLE.iter().find(|row| row.4 == Some(dtype)).map(|row| GgmlType(row.0))
    }

    /// This crate's type for it, where it has one.
    pub fn dtype(self) -> Option<DType> {
        self.row().and_then(|row| row.4)
    }

    /// GGML's name, where the number is a known one.
    pub fn name(self) -> Option<&'static str> {
        self.row().map(|row| row.1)
    }

    /// Elements and bytes of one block, where they are known.
    pub(super) fn block(self) -> Option<(u64, u64)> {
        self.row().filter(|row| row.3 > 0).map(|row| (row.2, row.3))
    }
}

impl fmt::Display for GgmlType {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.name() {
            Some(name) => f.write_str(name),
            None => write!(f, "type {}", self.0),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sizes_agree_with_the_dtype_table() {
        for (number, name, len, bytes, dtype) in TABLE {
            let Some(dtype) = dtype else { continue };
            assert_eq!(name, dtype.name());
            assert_eq!((len, bytes), (dtype.block_len() as u64, dtype.block_bytes() as u64));
            assert_eq!(GgmlType::from_dtype(dtype), Some(GgmlType(number)));
            assert_eq!(GgmlType(number).dtype(), Some(dtype));
        }
    }

    #[test]
    fn unknown_numbers_have_no_name_and_no_size() {
        for number in [4, 5, 31, 38, 99, u32::MAX] {
            assert_eq!(GgmlType(number).name(), None);
            assert_eq!(GgmlType(number).block(), None);
            assert_eq!(GgmlType(number).to_string(), format!("type {number}"));
        }
    }
}

//! The format's element types.

use crate::tensor::DType;
use safetensors::tensor::Dtype;

/// The crate's type for one of the file's; `None` for those it does not have,
/// or that lie packed in a file: they cannot be read in place.
pub(super) fn dtype(dtype: Dtype) -> Option<DType> {
    Some(match dtype {
        Dtype::BOOL => DType::Bool,
        Dtype::U8 => DType::U8,
        Dtype::I8 => DType::I8,
        Dtype::U16 => DType::U16,
        Dtype::I16 => DType::I16,
        Dtype::U32 => DType::U32,
        Dtype::I32 => DType::I32,
        Dtype::U64 => DType::U64,
        Dtype::I64 => DType::I64,
        Dtype::F16 => DType::F16,
        Dtype::BF16 => DType::BF16,
        Dtype::F32 => DType::F32,
        Dtype::F64 => DType::F64,
        Dtype::F8_E4M3 => DType::F8E4M3FN,
        Dtype::F8_E5M2 => DType::F8E5M2,
        Dtype::F8_E4M3FNUZ => DType::F8E4M3FNUZ,
        Dtype::F8_E5M2FNUZ => DType::F8E5M2FNUZ,
        Dtype::F8_E8M0 => DType::F8E8M0,
        _ => return None,
    })
}

/// What [`dtype`] knows, as the format spells it; for messages.
pub(super) const KNOWN: &str = "BOOL, U8, I8, U16, I16, U32, I32, U64, I64, F16, BF16, F32, F64, \
     F8_E4M3, F8_E5M2, F8_E4M3FNUZ, F8_E5M2FNUZ, F8_E8M0";

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sizes_are_the_formats() {
        let known: Vec<_> = KNOWN.split(", ").collect();
        for name in &known {
            let theirs: Dtype = serde_json::from_str(&format!("\"{name}\"")).unwrap();
            let ours = dtype(theirs).unwrap();
            assert_eq!(ours.block_bytes() * 8, theirs.bitsize(), "{name}");
        }
        for name in ["F4", "F6_E2M3", "F6_E3M2", "C64"] {
            let theirs: Dtype = serde_json::from_str(&format!("\"{name}\"")).unwrap();
            assert!(dtype(theirs).is_none() && !known.contains(&name));
        }
    }
}

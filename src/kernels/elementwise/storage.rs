//! How the device stores plain dtypes, as the shaders in `common` name them.

use crate::error::{Error, Result};
use crate::tensor::DType;

/// A dtype's storage on the device.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Storage {
    /// The feature that selects it in `common/decode.wgsl`.
    pub(crate) read: &'static str,
    /// The feature that selects it in `common/encode.wgsl`.
    pub(crate) write: &'static str,
    /// Elements per word.
    pub(crate) lanes: u64,
}

/// The storage of a plain dtype.
///
/// # Errors
/// [`Error::Unsupported`] for 64-bit floats, which WGSL does not have, and
/// for quantised types. 64-bit integers are the 32-bit ones; kernels that could
/// leave their range check it (`common/checked.wgsl`).
pub(crate) fn storage(at: &str, dtype: DType) -> Result<Storage> {
    let (read, write, lanes) = match dtype {
        DType::F32 => ("in_f32", "out_f32", 1),
        DType::F16 => ("in_f16", "out_f16", 2),
        DType::BF16 => ("in_bf16", "out_bf16", 2),
        DType::I32 | DType::I64 => ("in_i32", "out_i32", 1),
        DType::U32 | DType::U64 => ("in_u32", "out_u32", 1),
        DType::I16 => ("in_i16", "out_i16", 2),
        DType::U16 => ("in_u16", "out_u16", 2),
        DType::I8 => ("in_i8", "out_i8", 4),
        DType::I4 => ("in_i8", "out_i4", 4),
        DType::U4 => ("in_u8", "out_u4", 4),
        DType::I2 => ("in_i8", "out_i2", 4),
        DType::U2 => ("in_u8", "out_u2", 4),
        DType::F8E4M3FN => ("in_f8e4m3fn", "out_f8e4m3fn", 4),
        DType::F8E4M3FNUZ => ("in_f8e4m3fnuz", "out_f8e4m3fnuz", 4),
        DType::F8E5M2 => ("in_f8e5m2", "out_f8e5m2", 4),
        DType::F8E5M2FNUZ => ("in_f8e5m2fnuz", "out_f8e5m2fnuz", 4),
        DType::F8E8M0 => ("in_f8e8m0", "out_f8e8m0", 4),
        DType::F4E2M1 => ("in_f4e2m1", "out_f4e2m1", 4),
        DType::U8 | DType::Bool => ("in_u8", "out_u8", 4),
        other => {
            let what = format!("{other} on a GPU; the CPU backend computes it");
            return Err(Error::unsupported(at, what));
        }
    };
    Ok(Storage { read, write, lanes })
}

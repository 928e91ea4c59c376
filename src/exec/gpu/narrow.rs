//! 64-bit integers on their way to a device and back: shaders have 32 bits.

use crate::error::{Error, Result};
use crate::tensor::DType;
use std::borrow::Cow;

/// Writes 64-bit integers as 32-bit ones.
///
/// # Errors
/// [`Error::Input`] naming the tensor if one does not fit.
pub(super) fn narrow(name: &str, dtype: DType, from: &[u8], to: &mut [u8]) -> Result<()> {
    for (from, to) in from.as_chunks::<8>().0.iter().zip(to.as_chunks_mut::<4>().0) {
        let (value, word) = if dtype == DType::U64 {
            let value = u64::from_le_bytes(*from);
            (i128::from(value), u32::try_from(value).map(u32::to_le_bytes))
        } else {
            let value = i64::from_le_bytes(*from);
            (i128::from(value), i32::try_from(value).map(i32::to_le_bytes))
        };
        *to = word.map_err(|_| {
            let what = format!("{dtype} values within 32 bits on a GPU (the CPU backend has 64)");
            Error::input(name, what, value)
        })?;
    }
    Ok(())
}

/// The bytes a device holds of a tensor of this dtype.
///
/// # Errors
/// As [`narrow`].
pub(super) fn to_device<'a>(name: &str, dtype: DType, bytes: &'a [u8]) -> Result<Cow<'a, [u8]>> {
    if !dtype.is_64bit_integer() {
        return Ok(Cow::Borrowed(bytes));
    }
    let mut narrowed = vec![0; bytes.len() / 2];
    narrow(name, dtype, bytes, &mut narrowed)?;
    Ok(Cow::Owned(narrowed))
}

/// The host's bytes of a tensor that a device held.
pub(super) fn to_host(dtype: DType, bytes: Vec<u8>) -> Vec<u8> {
    let words = bytes.as_chunks::<4>().0.iter();
    match dtype {
        DType::I64 => words.flat_map(|&w| i64::from(i32::from_le_bytes(w)).to_le_bytes()).collect(),
        DType::U64 => words.flat_map(|&w| u64::from(u32::from_le_bytes(w)).to_le_bytes()).collect(),
        _ => bytes,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_fits_survives_and_what_does_not_is_named() {
        let signed = [0i64, -1, i32::MIN.into(), i32::MAX.into()];
        let bytes: &[u8] = bytemuck::cast_slice(&signed);
        let device = to_device("x", DType::I64, bytes).unwrap().into_owned();
        assert_eq!((device.len(), to_host(DType::I64, device)), (16, bytes.to_vec()));
        let unsigned = [0u64, u32::MAX.into()];
        let bytes: &[u8] = bytemuck::cast_slice(&unsigned);
        let device = to_device("x", DType::U64, bytes).unwrap().into_owned();
        assert_eq!(to_host(DType::U64, device), bytes);
        for (dtype, value) in [(DType::I64, 1i64 << 31), (DType::I64, i64::MIN), (DType::U64, -1)] {
            let error = to_device("input 'x'", dtype, &value.to_le_bytes()).unwrap_err();
            assert!(error.to_string().contains("input 'x'"), "{error}");
        }
    }
}

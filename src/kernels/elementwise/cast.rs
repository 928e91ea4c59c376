//! Conversions on the CPU.

use super::cpu::map1;
use crate::error::{Error, Result};
use crate::kernels::{CpuTensor, CpuTensorMut};
use crate::ops::elementwise::{byte_of, wrap};
use crate::tensor::{DType, SmallRounding, small_float, small_float_bits};
use bytemuck::Pod;
use half::{bf16, f16};

/// A number on its way between dtypes.
#[derive(Clone, Copy)]
enum Number {
    Real(f32),
    Double(f64),
    Whole(i64),
    /// Of [`DType::U64`].
    Large(u64),
}

use Number::{Double, Large, Real, Whole};

impl Number {
    fn f32(self) -> f32 {
        match self {
            Real(v) => v,
            Double(v) => v as f32,
            Whole(v) => v as f32,
            Large(v) => v as f32,
        }
    }

    fn f64(self) -> f64 {
        match self {
            Real(v) => v.into(),
            Double(v) => v,
            Whole(v) => v as f64,
            Large(v) => v as f64,
        }
    }

    /// Rounded once.
    fn f16(self) -> f16 {
        match self {
            Double(v) => f16::from_f64(v),
            other => f16::from_f32(other.f32()),
        }
    }

    fn bf16(self) -> bf16 {
        match self {
            Double(v) => bf16::from_f64(v),
            other => bf16::from_f32(other.f32()),
        }
    }

    fn is_zero(self) -> bool {
        match self {
            Real(v) => v == 0.0,
            Double(v) => v == 0.0,
            Whole(v) => v == 0,
            Large(v) => v == 0,
        }
    }

    /// The low bits of a whole number, or of a real one that is cut off.
    fn low(self, dtype: DType) -> i64 {
        wrap(
            dtype,
            match self {
                Whole(v) => v,
                Large(v) => v as i64,
                real => real.f64() as i64,
            },
        )
    }

    /// A whole number goes through binary32.
    fn small(self, dtype: DType, rounding: SmallRounding) -> u8 {
        let value = match self {
            Double(v) => v,
            other => other.f32().into(),
        };
        small_float_bits(dtype, value, rounding)
    }
}

/// The same numbers in another dtype.
pub(super) fn cast(
    rounding: SmallRounding,
    x: &CpuTensor<'_>,
    y: &mut CpuTensorMut<'_>,
) -> Result<()> {
    if x.dtype == y.dtype {
        y.bytes.copy_from_slice(x.bytes);
        return Ok(());
    }
    let to = |y: &mut CpuTensorMut<'_>| match x.dtype {
        DType::F32 => cast_to::<f32>(rounding, x, y, Real),
        DType::F64 => cast_to::<f64>(rounding, x, y, Double),
        DType::F16 => cast_to::<f16>(rounding, x, y, |v| Real(v.to_f32())),
        DType::BF16 => cast_to::<bf16>(rounding, x, y, |v| Real(v.to_f32())),
        DType::I8 | DType::I4 | DType::I2 => cast_to::<i8>(rounding, x, y, |v| Whole(v.into())),
        DType::U8 | DType::Bool | DType::U4 | DType::U2 => {
            cast_to::<u8>(rounding, x, y, |v| Whole(v.into()))
        }
        DType::I32 => cast_to::<i32>(rounding, x, y, |v| Whole(v.into())),
        DType::U32 => cast_to::<u32>(rounding, x, y, |v| Whole(v.into())),
        DType::I16 => cast_to::<i16>(rounding, x, y, |v| Whole(v.into())),
        DType::U16 => cast_to::<u16>(rounding, x, y, |v| Whole(v.into())),
        DType::I64 => cast_to::<i64>(rounding, x, y, Whole),
        DType::U64 => cast_to::<u64>(rounding, x, y, Large),
        small if small.is_small_float() => {
            cast_to::<u8>(rounding, x, y, |v| Double(small_float(small, v)))
        }
        other => Err(Error::internal(format!("conversion of {other}"))),
    };
    to(y)
}

fn cast_to<A: Pod + Sync>(
    rounding: SmallRounding,
    x: &CpuTensor<'_>,
    y: &mut CpuTensorMut<'_>,
    read: impl Fn(A) -> Number + Sync,
) -> Result<()> {
    // `as` goes to the nearest end for real numbers and wraps whole ones.
    macro_rules! whole {
        ($ty:ty) => {
            map1(x, y, |v: A| match read(v) {
                Real(v) => v as $ty,
                Double(v) => v as $ty,
                Whole(v) => v as $ty,
                Large(v) => v as $ty,
            })
        };
    }
    match y.dtype {
        DType::F32 => map1(x, y, |v| read(v).f32()),
        DType::F64 => map1(x, y, |v| read(v).f64()),
        DType::F16 => map1(x, y, |v| read(v).f16()),
        DType::BF16 => map1(x, y, |v| read(v).bf16()),
        DType::I8 => whole!(i8),
        DType::U8 => whole!(u8),
        DType::I16 => whole!(i16),
        DType::U16 => whole!(u16),
        DType::I32 => whole!(i32),
        DType::U32 => whole!(u32),
        DType::I64 => whole!(i64),
        DType::U64 => whole!(u64),
        to @ (DType::I4 | DType::I2) => map1(x, y, |v| read(v).low(to) as i8),
        to @ (DType::U4 | DType::U2) => map1(x, y, |v| read(v).low(to) as u8),
        DType::Bool => map1(x, y, |v: A| u8::from(!read(v).is_zero())),
        small if small.is_small_float() => map1(x, y, |v| read(v).small(small, rounding)),
        other => Err(Error::internal(format!("conversion to {other}"))),
    }
}

/// The same bits in another dtype of as many.
pub(super) fn bits(x: &CpuTensor<'_>, y: &mut CpuTensorMut<'_>) -> Result<()> {
    if x.bytes.len() != y.bytes.len() {
        return Err(Error::internal(format!("bits of {} as {}", x.dtype, y.dtype)));
    }
    for (to, &from) in y.bytes.iter_mut().zip(x.bytes) {
        *to = byte_of(y.dtype, from);
    }
    Ok(())
}

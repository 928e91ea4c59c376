//! Temporary.
pub fn decode(_: crate::DType, _: &[u8], _: &mut [f32]) -> crate::Result<()> {
    Ok(())
}

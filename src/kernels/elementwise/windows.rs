//! Operands that are over the limit of a binding: which parts of them a dispatch has.

use super::access::Access;
use super::split::{self, Chunk};
use crate::error::Result;
use crate::kernels::GpuCx;

/// The part of an operand that is bound where that is not all there is, and not
/// the part of the result that is computed either.
pub(super) type Window = Option<Chunk>;

/// The windows of all operands that dispatches have, so that each element finds
/// what it needs in one of them.
pub(super) fn windows(cx: &GpuCx<'_>, label: &str, access: &[Access]) -> Result<Vec<Vec<Window>>> {
    let mut all = vec![Vec::new()];
    for (i, access) in access.iter().enumerate() {
        let mut own = vec![None];
        if *access != Access::Flat {
            let ty = cx.input(i)?;
            let chunks =
                split::elements(cx, &ty.elements(), &[ty.dtype.device_block_bytes() as u64])?;
            if chunks.len() > 1 {
                split::index32(label, cx.bound(&ty.elements())?)?;
                own = chunks.into_iter().map(Some).collect();
            }
        }
        let with = |before: &Vec<Window>, window: &Window| {
            before.iter().chain([window]).cloned().collect::<Vec<_>>()
        };
        all = all.iter().flat_map(|before| own.iter().map(move |w| with(before, w))).collect();
    }
    Ok(all)
}

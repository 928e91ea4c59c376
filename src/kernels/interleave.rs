//! How the rows of a quantised weight lie on a device.
//!
//! Software adapters read a weight row by row in every lane, 32 rows side by side: in
//! the file's order that is 32 places at once, which the processor's read-ahead does not
//! follow. There the blocks of 32 rows take turns: first the first block of each row,
//! then the second of each. A workgroup reads one stretch of memory, from end to end.

use crate::error::Result;
use crate::gpu::DeviceCaps;
use crate::quant::DeviceLayout;
use crate::tensor::DType;

/// How many rows take turns where any do: those that a workgroup of `matmul/blocks` has.
const TOGETHER: u64 = 32;

/// How many rows of a weight `[.., n, k]` take turns on a device, block by block; 1 where
/// they lie one behind the other.
///
/// The one that uploads a weight and the kernels that read it both ask here. A weight
/// over the limit of a binding is cut between rows, so it stays in order; so do types
/// without a head, which need not be constants.
pub(crate) fn together(caps: &DeviceCaps, dtype: DType, extents: &[u64]) -> u64 {
    let Some(layout) = DeviceLayout::of(dtype).filter(|layout| layout.has_head()) else {
        return 1;
    };
    let [.., n, _] = extents else {
        return 1;
    };
    let blocks = extents.iter().fold(1u64, |all, &extent| all.saturating_mul(extent));
    let blocks = blocks / layout.block_len as u64;
    let largest = layout.body_bytes_per_block.max(layout.head_bytes_per_block) as u64;
    let fits = blocks.saturating_mul(largest) <= caps.max_binding();
    if caps.is_software() && n.is_multiple_of(TOGETHER) && fits { TOGETHER } else { 1 }
}

/// The block that lies at place `at` of a weight whose rows have `per_row` blocks, where
/// `together` rows take turns.
pub(crate) fn block_at(at: u64, together: u64, per_row: u64) -> u64 {
    let group = together * per_row;
    if group == 0 {
        return at;
    }
    let within = at % group;
    at - within + within % together * per_row + within / together
}

impl super::GpuCx<'_> {
    /// How many rows of an input take turns; see [`together`].
    ///
    /// # Errors
    /// If the input is absent, or an extent has no bound.
    pub(crate) fn together(&self, index: usize) -> Result<u64> {
        let ty = self.input(index)?;
        let extents: Result<Vec<u64>> = ty.shape.iter().map(|dim| self.bound(dim)).collect();
        Ok(together(self.caps, ty.dtype, &extents?))
    }
}

#[cfg(test)]
mod tests {
    use super::block_at;

    #[test]
    fn rows_take_turns() {
        // Two groups of two rows of three blocks: 0 1 2 | 3 4 5 || 6 7 8 | 9 10 11.
        let order: Vec<u64> = (0..12).map(|at| block_at(at, 2, 3)).collect();
        assert_eq!(order, [0, 3, 1, 4, 2, 5, 6, 9, 7, 10, 8, 11]);
        let order: Vec<u64> = (0..6).map(|at| block_at(at, 1, 3)).collect();
        assert_eq!(order, [0, 1, 2, 3, 4, 5]);
    }
}

//! Triangles of matrices on the GPU and on the CPU.

use super::{FAMILY, VARIANTS, bits_of, sized};
use crate::error::{Error, Result};
use crate::gpu::ShaderRequest;
use crate::kernels::parts;
use crate::kernels::{CpuCx, Dispatch, GpuCx, Grid, Kernel, Param, Place, Variant};
use crate::ops::movement::Trilu;
use rayon::prelude::*;

/// Computes [`Trilu`].
#[derive(Debug, Clone, Copy)]
pub struct TriluKernel {
    /// What to compute.
    pub op: Trilu,
}

fn request(variant: &Variant, bits: u32, upper: bool) -> ShaderRequest {
    let request = sized(variant, bits);
    if upper { request.feature("upper") } else { request }
}

pub(super) fn requests(variant: &Variant) -> Vec<ShaderRequest> {
    let both = |bits| [request(variant, bits, false), request(variant, bits, true)];
    [8, 16, 32].into_iter().flat_map(both).collect()
}

impl Kernel for TriluKernel {
    fn name(&self) -> &str {
        "movement.trilu"
    }

    fn gpu(&self, cx: &GpuCx<'_>) -> Result<Vec<Dispatch>> {
        let y = cx.output(0)?;
        let variant = cx.choose(FAMILY, VARIANTS, |variant| variant.name == "trilu")?;
        let [.., rows, columns] = y.shape.as_slice() else {
            return Err(Error::internal("Trilu of no matrices"));
        };
        let bits = bits_of("Trilu", y.dtype)?;
        let bytes = u64::from(bits / 8);
        let count = y.elements();
        parts::fits_u32(cx, "elements of Trilu", &count)?;
        parts::fits_u32(cx, "rows of Trilu", &(rows * 2u64))?;
        parts::fits_u32(cx, "columns of Trilu", &(columns * 2u64))?;
        // Diagonals beyond the longest matrix are all alike.
        let most = i64::from(i32::MAX);
        let diagonal = self.op.k.clamp(-most, most) as i32;
        let dispatch = |part: &parts::Part| {
            let live = part.live(&count);
            Dispatch {
                shader: request(variant, bits, self.op.upper),
                variant: format!("{FAMILY}/{}", variant.name),
                bindings: vec![
                    ("x", part.view(Place::Input(0), bytes)),
                    ("y", part.view(Place::Output(0), bytes)),
                ],
                params: vec![
                    ("count", (&live).into()),
                    ("first", Param::U32(part.first as u32)),
                    ("rows", rows.into()),
                    ("columns", columns.into()),
                    ("diagonal", Param::I32(diagonal)),
                ],
                grid: Grid::Linear(live.ceil_div(64 * 32 / bits)),
                work: live * 8u64,
            }
        };
        let parts = parts::split(cx, "matrices of Trilu", &count, &[bytes.into()])?;
        Ok(parts.iter().map(dispatch).collect())
    }

    fn cpu(&self, cx: &mut CpuCx<'_>) -> Result<()> {
        let x = cx.input(0)?;
        let &[.., rows, columns] = x.extents.as_slice() else {
            return Err(Error::internal("Trilu of no matrices"));
        };
        let y = cx.output(0)?;
        let size = y.dtype.block_bytes();
        if y.bytes.is_empty() {
            return Ok(());
        }
        let row = columns * size;
        let pairs = y.bytes.par_chunks_exact_mut(row).zip(x.bytes.par_chunks_exact(row));
        pairs.enumerate().for_each(|(i, (y, x))| {
            y.copy_from_slice(x);
            // From one column to another, everything goes.
            let gone = |j: &usize| !self.op.keeps(i % rows, *j);
            let first = (0..columns).find(gone).unwrap_or(columns);
            let count = (first..columns).take_while(gone).count();
            y[first * size..(first + count) * size].fill(0);
        });
        Ok(())
    }
}

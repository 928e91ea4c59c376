//! Cutting flat elements so that no binding exceeds the device's limit. For
//! rows there is `kernels/parts.rs`.

use crate::error::{Error, Result};
use crate::graph::Dim;
use crate::kernels::{GpuCx, Place, View};

/// A range of elements, computed by one dispatch.
#[derive(Debug, Clone, PartialEq)]
pub(crate) struct Chunk {
    /// The first one.
    pub(crate) start: u64,
    /// How many at most.
    pub(crate) most: u64,
    /// How many there are at run time, possibly none.
    pub(crate) count: Dim,
    /// Whether this chunk is everything.
    pub(crate) whole: bool,
}

impl Chunk {
    /// The part of an operand that belongs to this chunk, where each element
    /// takes `unit` bytes.
    pub(crate) fn view(&self, place: Place, unit: u64) -> View {
        if self.whole {
            return View::all(place);
        }
        View::range(place, self.start * unit, self.most * unit)
    }
}

/// Cuts `total` elements into ranges of at most `most`.
fn chunks(cx: &GpuCx<'_>, total: &Dim, most: u64) -> Result<Vec<Chunk>> {
    let bound = cx.bound(total)?;
    if bound <= most {
        let count = total.clone();
        return Ok(if bound == 0 {
            Vec::new()
        } else {
            vec![Chunk { start: 0, most: bound, count, whole: true }]
        });
    }
    let starts = (0..bound.div_ceil(most)).map(|i| i * most);
    let chunk = |start| {
        let most = most.min(bound - start);
        Chunk { start, most, count: (total - start).min(most), whole: false }
    };
    Ok(starts.map(chunk).collect())
}

/// Cuts flat elements of operands whose elements have the given sizes.
pub(crate) fn elements(cx: &GpuCx<'_>, total: &Dim, bytes: &[u64]) -> Result<Vec<Chunk>> {
    let align = u64::from(cx.caps.storage_alignment());
    let widest = bytes.iter().copied().max().unwrap_or(1);
    chunks(cx, total, (cx.caps.max_binding() / widest / align * align).max(align))
}

/// A number as a 32-bit shader parameter.
pub(crate) fn index32(what: &str, value: u64) -> Result<u32> {
    u32::try_from(value).map_err(|_| Error::Limit {
        what: what.into(),
        limit_name: "32-bit element index".into(),
        needed: value,
        limit: u32::MAX.into(),
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::gpu::DeviceCaps;
    use crate::graph::Bindings;
    use crate::kernels::Policy;

    fn with_cap<T>(cap: u64, test: impl Fn(&GpuCx<'_>) -> T) -> T {
        let mut caps = DeviceCaps::webgpu_minimum();
        caps.binding_cap = Some(cap);
        let (bounds, policy) = (Bindings::new(0), Policy::default());
        test(&GpuCx {
            inputs: &[],
            outputs: &[],
            bounds: &bounds,
            caps: &caps,
            policy: &policy,
            room: u64::MAX,
        })
    }

    #[test]
    fn elements_start_aligned_for_every_size() {
        let chunks = with_cap(4096, |cx| elements(cx, &3001u64.into(), &[4, 1])).unwrap();
        assert!(chunks.iter().all(|chunk| chunk.start % 256 == 0 && chunk.most * 4 <= 4096));
        assert_eq!(chunks.iter().map(|chunk| chunk.most).sum::<u64>(), 3001);
    }
}

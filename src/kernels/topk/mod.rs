//! The largest or smallest elements of lines, on the GPU and on the CPU.

mod cpu;

use super::elementwise::storage::storage;
use super::parts::{self, Part};
use super::reduce::Spans;
use super::{CpuCx, Dispatch, GpuCx, Grid, Kernel, Language, Needs, Param, Place, Variant, View};
use crate::error::{Error, Result};
use crate::gpu::{ConstValue, ShaderRequest};
use crate::graph::Dim;
use crate::tensor::DType;

/// The name policies and coverage use.
pub const FAMILY: &str = "topk";

const NEEDS: Needs = Needs {
    f16: false,
    subgroups: false,
    coop: None,
    lanes: None,
    int64: false,
    int8: false,
    storage_buffers: 8,
    invocations: 64,
    workgroup_bytes: 1024,
};

/// The shader that merges sorted blocks.
const MERGE: &str = "topk/merge";

/// The size of the blocks that a workgroup sorts before they are merged.
pub const VARIANTS: &[Variant] = &[
    Variant {
        name: "small",
        shader: "topk/block",
        consts: &[("WORKGROUP", ConstValue::U32(64)), ("BLOCK", ConstValue::U32(128))],
        features: &[],
        needs: NEEDS,
        languages: Language::ALL,
        executed_on: &["lavapipe", "swiftshader", "lavapipe-old"],
    },
    Variant {
        name: "large",
        shader: "topk/block",
        consts: &[("WORKGROUP", ConstValue::U32(128)), ("BLOCK", ConstValue::U32(1024))],
        features: &[],
        needs: Needs { invocations: 128, workgroup_bytes: 8192, ..NEEDS },
        languages: Language::ALL,
        executed_on: &["lavapipe", "swiftshader", "lavapipe-old"],
    },
];

/// The shaders a variant is instantiated to.
pub fn requests(variant: &'static Variant) -> Vec<ShaderRequest> {
    let mut requests = Vec::new();
    use DType::*;
    for dtype in [F32, F16, BF16, I32, U32, I16, U16, I8, U8] {
        for largest in [false, true] {
            requests.extend(block_request(variant, dtype, largest, true));
            requests.extend(merge_request(dtype, largest, true));
        }
        requests.extend(block_request(variant, dtype, true, false));
        requests.extend(merge_request(dtype, true, false));
    }
    requests
}

fn block_request(
    variant: &Variant,
    dtype: DType,
    largest: bool,
    finish: bool,
) -> Result<ShaderRequest> {
    let mut request = ShaderRequest::new(variant.shader);
    for (name, value) in variant.consts {
        request = request.with(*name, *value);
    }
    featured(request, dtype, largest, finish)
}

fn merge_request(dtype: DType, largest: bool, finish: bool) -> Result<ShaderRequest> {
    featured(ShaderRequest::new(MERGE), dtype, largest, finish)
}

fn featured(
    request: ShaderRequest,
    dtype: DType,
    largest: bool,
    finish: bool,
) -> Result<ShaderRequest> {
    let wanted = [(!largest, "smallest"), (finish, "finish")];
    let wanted = wanted.into_iter().filter(|(on, _)| *on).map(|(_, name)| name);
    let request = request.feature(storage("TopK", dtype)?.read);
    Ok(wanted.fold(request, ShaderRequest::feature))
}

fn block_of(variant: &Variant) -> Result<u64> {
    match variant.consts {
        [_, ("BLOCK", ConstValue::U32(size))] => Ok(u64::from(*size)),
        _ => Err(Error::internal("a variant of TopK without BLOCK")),
    }
}

/// The first `k` elements of each line of `[outer, n, inner]` in descending or
/// ascending order, equal ones by their places. Outputs: values, of x's
/// [`accumulator`](super::reduce::accumulator), and places, of I32 or I64.
#[derive(Debug, Clone)]
pub struct TopKKernel {
    /// How many; at most n.
    pub k: u64,
    /// From the largest down, or from the smallest up.
    pub largest: bool,
    /// Where the lines are.
    pub spans: Spans,
}

impl Kernel for TopKKernel {
    fn name(&self) -> &str {
        "topk.axis"
    }

    fn gpu(&self, cx: &GpuCx<'_>) -> Result<Vec<Dispatch>> {
        let dtype = cx.input(0)?.dtype;
        storage("TopK", cx.output(1)?.dtype)?;
        let Spans { outer, n, inner } = &self.spans;
        let (n, k) = (cx.bound(n)?, self.k);
        if k == 0 {
            return Ok(Vec::new());
        }
        let few = n <= 128;
        let variant = cx
            .choose(FAMILY, VARIANTS, |variant| (variant.name == "small") == few)
            .or_else(|_| cx.choose(FAMILY, VARIANTS, |_| true))?;
        let block = block_of(variant)?;
        let blocks = n.div_ceil(block);
        let bytes = 4 / storage("TopK", dtype)?.lanes;
        let scratch = room(blocks, block.min(k), k) * 4;
        let row = [n * bytes, k * 4, scratch].map(|bytes| inner * bytes);
        let mut dispatches = Vec::new();
        for part in &parts::split(cx, "a row of TopK", outer, &row)? {
            let mut sizes = [0; 3];
            for (size, row) in sizes.iter_mut().zip(&row) {
                *size = cx.bound(row)?;
            }
            let lines = part.live(outer) * inner;
            parts::fits_u32(cx, "elements of TopK", &(&lines * n.max(scratch)))?;
            let pass = Pass { kernel: self, variant, dtype, part, sizes, lines, n };
            dispatches.extend(pass.dispatches(block)?);
        }
        Ok(dispatches)
    }

    fn cpu(&self, cx: &mut CpuCx<'_>) -> Result<()> {
        cpu::run(self, cx)
    }
}

/// Elements of a line that scratch memory must have room for. Where the number
/// of runs is odd, the last one grows like the others and has nothing to merge.
fn room(mut runs: u64, mut most: u64, k: u64) -> u64 {
    let mut all = runs * most;
    while runs > 1 {
        (runs, most) = (runs.div_ceil(2), (2 * most).min(k));
        all = all.max(runs * most);
    }
    all
}

/// The dispatches for one part of the lines.
struct Pass<'a> {
    kernel: &'a TopKKernel,
    variant: &'static Variant,
    dtype: DType,
    part: &'a Part,
    /// Bytes of a row of x, of a result, and of scratch memory.
    sizes: [u64; 3],
    lines: Dim,
    n: u64,
}

impl Pass<'_> {
    fn dispatches(&self, block: u64) -> Result<Vec<Dispatch>> {
        let (k, largest) = (self.kernel.k, self.kernel.largest);
        let (mut runs, mut most, mut span) = (self.n.div_ceil(block), block.min(k), block);
        let mut dispatches = vec![self.block(runs, most)?];
        let mut from = 0;
        while runs > 1 {
            let next = (2 * most).min(k);
            let finish = runs == 2;
            let units = &self.lines * (runs * most);
            let [keys, places] = self.scratch(from);
            let [y, y_places] = self.sink(finish, 2 - from);
            dispatches.push(Dispatch {
                shader: merge_request(self.dtype, largest, finish)?,
                variant: format!("{FAMILY}/{}", self.variant.name),
                bindings: vec![
                    ("keys", keys),
                    ("places", places),
                    ("y", y),
                    ("y_places", y_places),
                ],
                params: vec![
                    ("units", (&units).into()),
                    ("runs", word(runs)),
                    ("most", word(most)),
                    ("next_most", word(next)),
                    ("span", word(span)),
                    ("n", word(self.n)),
                    ("inner", (&self.kernel.spans.inner).into()),
                ],
                grid: Grid::Linear(units.ceil_div(64u64)),
                work: units * 64u64,
            });
            (runs, most, span, from) = (runs.div_ceil(2), next, span * 2, 2 - from);
        }
        Ok(dispatches)
    }

    fn block(&self, blocks: u64, most: u64) -> Result<Dispatch> {
        let finish = blocks == 1;
        let units = &self.lines * blocks;
        let [y, y_places] = self.sink(finish, 0);
        Ok(Dispatch {
            shader: block_request(self.variant, self.dtype, self.kernel.largest, finish)?,
            variant: format!("{FAMILY}/{}", self.variant.name),
            bindings: vec![
                ("x", self.part.view(Place::Input(0), self.sizes[0])),
                ("y", y),
                ("y_places", y_places),
            ],
            params: vec![
                ("units", (&units).into()),
                ("blocks", word(blocks)),
                ("n", word(self.n)),
                ("inner", (&self.kernel.spans.inner).into()),
                ("most", word(most)),
            ],
            grid: Grid::Linear(units.clone()),
            work: units * 65536u64,
        })
    }

    /// Keys and places: two of four pieces of scratch memory by turns.
    fn scratch(&self, first: usize) -> [View; 2] {
        let bytes = (self.part.count * self.sizes[2]).max(4);
        [first, first + 1].map(|number| View::range(Place::Scratch(number), 0, bytes))
    }

    /// The results, or scratch memory.
    fn sink(&self, finish: bool, scratch: usize) -> [View; 2] {
        match finish {
            true => [0, 1].map(|output| self.part.view(Place::Output(output), self.sizes[1])),
            false => self.scratch(scratch),
        }
    }
}

fn word(number: u64) -> Param {
    Param::Dim(number.into())
}

#[cfg(test)]
mod tests {
    use super::room;

    #[test]
    fn an_odd_run_has_room_to_grow() {
        assert_eq!(room(1, 7, 7), 7);
        assert_eq!(room(8, 128, 1000), 1024);
        // 9 runs of 128, 5 of 256, 3 of 512, 2 of 1000.
        assert_eq!(room(9, 128, 1000), 2000);
        assert_eq!(room(9, 5, 5), 45);
    }
}

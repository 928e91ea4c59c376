//! Writing elements to places that indices say.

mod cpu;

use super::gather::{KINDS, dims, index_bytes, index_parts, params, placed};
use super::movement::bits_of;
use super::parts;
use super::{
    CpuCx, Dispatch, Fault, GpuCx, Grid, Kernel, Language, Needs, Param, Place, Variant, View,
};
use crate::error::Result;
use crate::gpu::ShaderRequest;
use crate::ops::gather::Places;
use crate::ops::scatter::Reduction;
use crate::tensor::DType;

/// The name policies and coverage use.
pub const FAMILY: &str = "scatter";

/// One invocation for each update.
pub const VARIANTS: &[Variant] = &[Variant {
    name: "put",
    shader: "scatter/put",
    consts: &[],
    features: &[],
    needs: Needs {
        f16: false,
        subgroups: false,
        coop: None,
        lanes: None,
        int64: false,
        int8: false,
        storage_buffers: 8,
        invocations: 64,
        workgroup_bytes: 0,
    },
    languages: Language::ALL,
    executed_on: &["lavapipe", "lavapipe-old", "swiftshader"],
}];

/// The shaders a variant is instantiated to.
pub fn requests(variant: &'static Variant) -> Vec<ShaderRequest> {
    let mut requests = Vec::new();
    for places in KINDS.into_iter().filter(|places| !matches!(places, Places::Slices { .. })) {
        for dtype in [DType::F32, DType::I32, DType::U32, DType::I64, DType::F16, DType::U8] {
            for reduction in Reduction::ALL.into_iter().filter(|r| r.takes(dtype)) {
                let bits = dtype.device_block_bytes() as u32 * 8;
                requests.push(request(variant, places, 3, reduction, dtype, bits));
            }
        }
        requests.push(request(variant, places, 8, Reduction::None, DType::F32, 32));
    }
    requests
}

fn request(
    variant: &Variant,
    places: Places,
    dims: usize,
    reduction: Reduction,
    dtype: DType,
    bits: u32,
) -> ShaderRequest {
    let how = match reduction {
        Reduction::None => "replace",
        Reduction::Add => "add",
        Reduction::Mul => "mul",
        Reduction::Max => "larger",
        Reduction::Min => "smaller",
    };
    let kind = match dtype {
        DType::F32 => Some("real"),
        _ if dtype.is_signed_integer() => Some("signed"),
        _ => None,
    };
    let checked = is_checked(reduction, dtype).then_some("checked");
    let exchange = (bits < 32 || reduction != Reduction::None).then_some("exchange");
    let features =
        variant.features.iter().copied().chain([how]).chain(kind).chain(exchange).chain(checked);
    let request = placed(variant.shader, places, bits, dims);
    features.fold(request, |request, feature| request.feature(feature))
}

/// Whether 64-bit integers may leave the 32 bits of a device.
fn is_checked(reduction: Reduction, dtype: DType) -> bool {
    dtype.is_64bit_integer() && matches!(reduction, Reduction::Add | Reduction::Mul)
}

/// Puts its second input where its first one, the indices, says in the output,
/// which is there already.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct ScatterKernel {
    /// How indices say where.
    pub places: Places,
    /// How updates meet what is there.
    pub reduction: Reduction,
}

impl Kernel for ScatterKernel {
    fn name(&self) -> &str {
        "scatter.put"
    }

    fn gpu(&self, cx: &GpuCx<'_>) -> Result<Vec<Dispatch>> {
        let (indices, updates, y) = (cx.input(0)?, cx.input(1)?, cx.output(0)?);
        let variant = cx.choose(FAMILY, VARIANTS, |_| true)?;
        let bits = bits_of("a scatter", y.dtype)?;
        let bytes = u64::from(bits / 8);
        let (count, all) = (updates.elements(), y.elements());
        parts::fits_u32(cx, "updates of a scatter", &count)?;
        parts::fits_u32(cx, "elements of a scatter's result", &all)?;
        let sources = parts::split(cx, "updates of a scatter", &count, &[bytes.into()])?;
        let results = parts::split(cx, "the result of a scatter", &all, &[bytes.into()])?;
        let index_parts = index_parts(cx, "indices of a scatter", self.places, indices)?;
        let index_bytes = index_bytes(self.places, indices)?;
        let dims = dims(self.places, indices)?;
        let shader = request(variant, self.places, dims, self.reduction, y.dtype, bits);
        let mut own = params(self.places, y, indices)?;
        if is_checked(self.reduction, y.dtype) {
            own.push(("overflow_code", Param::Status(Fault::Overflow)));
        }
        let mut dispatches = Vec::new();
        for source in &sources {
            for part in &index_parts {
                for result in &results {
                    let live = source.live(&count);
                    let mut params = own.clone();
                    params.extend([
                        ("count", (&live).into()),
                        ("first", Param::U32(source.first as u32)),
                        ("index_first", Param::U32(part.first as u32)),
                        ("index_count", Param::U32(part.count as u32)),
                        ("part_first", Param::U32(result.first as u32)),
                        ("part_count", Param::U32(result.count as u32)),
                    ]);
                    dispatches.push(Dispatch {
                        shader: shader.clone(),
                        variant: format!("{FAMILY}/{}", variant.name),
                        bindings: vec![
                            ("indices", part.view(Place::Input(0), index_bytes)),
                            ("updates", source.view(Place::Input(1), bytes)),
                            ("y", result.view(Place::Output(0), bytes)),
                            ("status", View::all(Place::Status)),
                        ],
                        params,
                        grid: Grid::Linear(live.ceil_div(64u64)),
                        work: live * 24u64,
                    });
                }
            }
        }
        Ok(dispatches)
    }

    fn cpu(&self, cx: &mut CpuCx<'_>) -> Result<()> {
        cpu::run(*self, cx)
    }
}

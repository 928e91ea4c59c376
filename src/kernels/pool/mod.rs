//! Pools on the GPU and on the CPU.

mod cpu;
mod split;

use super::elementwise::storage::storage;
use super::{CpuCx, Dispatch, GpuCx, Grid, Kernel, Language, Needs, Param, Variant};
use crate::error::{Error, Result};
use crate::gpu::{ConstValue, ShaderRequest};
use crate::graph::Dim;
use crate::ops::pool::{PoolAxis, PoolGeometry, StorageOrder};
use crate::tensor::DType;
use split::Part;

/// The name policies and coverage use.
pub const FAMILY: &str = "pool";

const NEEDS: Needs = Needs {
    f16: false,
    subgroups: false,
    coop: None,
    lanes: None,
    int64: false,
    int8: false,
    storage_buffers: 8,
    invocations: 64,
    workgroup_bytes: 0,
};

/// Who goes through a window.
pub const VARIANTS: &[Variant] = &[
    // One invocation: for windows of the usual sizes.
    Variant {
        name: "serial",
        shader: "pool/window",
        consts: &[("WORKGROUP", ConstValue::U32(64))],
        features: &[],
        needs: NEEDS,
        languages: Language::ALL,
        executed_on: &["lavapipe", "swiftshader", "lavapipe-old"],
    },
    // A workgroup: for large windows.
    Variant {
        name: "shared",
        shader: "pool/window",
        consts: &[("WORKGROUP", ConstValue::U32(64))],
        features: &["together"],
        needs: Needs { workgroup_bytes: 768, ..NEEDS },
        languages: Language::ALL,
        executed_on: &["lavapipe", "swiftshader", "lavapipe-old"],
    },
];

/// Windows from this size on are shared by a workgroup, unless barriers are dear.
const LARGE_WINDOW: u64 = 128;

/// What is made of a window's elements.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Pool {
    /// The largest, and its number as a second output.
    Largest(Option<StorageOrder>),
    /// The mean.
    Mean {
        /// Whether padding counts as zeros.
        include: bool,
    },
    /// `(Σ |x|^p)^(1/p)`.
    Norm {
        /// The exponent.
        p: u32,
    },
}

/// Computes [`MaxPool`](crate::ops::pool::MaxPool),
/// [`AveragePool`](crate::ops::pool::AveragePool) and
/// [`LpPool`](crate::ops::pool::LpPool).
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct PoolKernel {
    /// The extents.
    pub(crate) geometry: PoolGeometry,
    /// What is computed.
    pub(crate) pool: Pool,
}

/// The shaders a variant is instantiated to.
pub fn requests(variant: &'static Variant) -> Vec<ShaderRequest> {
    let largest = Pool::Largest(None);
    let all = [
        (largest, DType::F32),
        (largest, DType::I8),
        (largest, DType::U8),
        (Pool::Largest(Some(StorageOrder::RowMajor)), DType::F32),
        (Pool::Largest(Some(StorageOrder::RowMajor)), DType::U8),
        (Pool::Mean { include: false }, DType::F32),
        (Pool::Mean { include: true }, DType::F32),
        (Pool::Norm { p: 2 }, DType::F32),
        (Pool::Norm { p: 3 }, DType::F32),
    ];
    // These types have a storage on the device.
    all.iter().filter_map(|&(pool, dtype)| request(variant, pool, dtype).ok()).collect()
}

fn request(variant: &Variant, pool: Pool, dtype: DType) -> Result<ShaderRequest> {
    let storage = storage(FAMILY, dtype)?;
    let mut request = ShaderRequest::new(variant.shader);
    for (name, value) in variant.consts {
        request = request.with(*name, *value);
    }
    let kind: &[&'static str] = match pool {
        Pool::Largest(None) => &["largest"],
        Pool::Largest(Some(_)) => &["largest", "indexed"],
        Pool::Mean { include: false } => &["mean"],
        Pool::Mean { include: true } => &["mean", "include"],
        Pool::Norm { .. } => &["power"],
    };
    if let Pool::Norm { p } = pool {
        request = request.with("POWER", ConstValue::U32(p));
    }
    let features = variant.features.iter().chain(kind).copied();
    let features = features.chain([storage.read, storage.write]);
    Ok(features.fold(request, |request, feature| request.feature(feature)))
}

fn workgroup(variant: &Variant) -> Result<u64> {
    match variant.consts {
        [("WORKGROUP", ConstValue::U32(size))] => Ok((*size).into()),
        _ => Err(Error::internal("a pool variant without WORKGROUP")),
    }
}

impl Kernel for PoolKernel {
    fn name(&self) -> &str {
        "pool.window"
    }

    fn gpu(&self, cx: &GpuCx<'_>) -> Result<Vec<Dispatch>> {
        let dtype = cx.input(0)?.dtype;
        let lanes = storage(FAMILY, dtype)?.lanes;
        let taps = self.geometry.taps() as u64;
        let can = |variant: &Variant| {
            let share = if variant.name == "shared" { 64 } else { 1 };
            // Loops in loops, for every output of a word, and the reduction.
            cx.caps.loops_fit(lanes * (3 * taps.div_ceil(share) + 10))
        };
        let large = taps >= LARGE_WINDOW && !cx.caps.is_software();
        let forced = cx.policy.force.contains_key(FAMILY);
        let suits = |variant: &Variant| forced || (variant.name == "shared") == large;
        let variant = cx
            .choose(FAMILY, VARIANTS, |variant| can(variant) && suits(variant))
            .or_else(|_| cx.choose(FAMILY, VARIANTS, can))?;
        let share = if variant.name == "shared" { 1 } else { workgroup(variant)? };
        let shader = request(variant, self.pool, dtype)?;
        let parts = split::parts(self, cx, lanes)?;
        let live = self.geometry.planes() * self.geometry.plane_out();
        let dispatch = |part: &Part| {
            let count = (&live - part.first).min(part.count);
            Dispatch {
                shader: shader.clone(),
                variant: format!("{FAMILY}/{}", variant.name),
                bindings: part.bindings(self.is_indexed()),
                params: self.params(part, &count),
                grid: Grid::Linear(count.ceil_div(lanes).ceil_div(share)),
                work: count * taps * 4u64,
            }
        };
        Ok(parts.iter().map(dispatch).collect())
    }

    fn cpu(&self, cx: &mut CpuCx<'_>) -> Result<()> {
        cpu::run(self, cx)
    }
}

impl PoolKernel {
    fn is_indexed(&self) -> bool {
        matches!(self.pool, Pool::Largest(Some(_)))
    }

    fn params(&self, part: &Part, count: &Dim) -> Vec<(&'static str, Param)> {
        type Names = [&'static str; 8];
        const NAMES: [Names; 3] = [
            ["in_d", "out_d", "k_d", "stride_d", "dilation_d", "pad_d", "end_d", "along_d"],
            ["in_h", "out_h", "k_h", "stride_h", "dilation_h", "pad_h", "end_h", "along_h"],
            ["in_w", "out_w", "k_w", "stride_w", "dilation_w", "pad_w", "end_w", "along_w"],
        ];
        let number = |value: usize| Param::from(Dim::from(value));
        let mut params: Vec<(&'static str, Param)> = vec![
            ("count", count.into()),
            ("first", Dim::from(part.first).into()),
            ("x_base", Param::U32(part.x_base)),
            ("y_base", Param::U32(part.y_base)),
        ];
        let order = match self.pool {
            Pool::Largest(order) => order,
            _ => None,
        };
        if order.is_some() {
            params.push(("i_base", Param::U32(part.i_base)));
        }
        let three = self.geometry.three();
        let along = along(&three, order.unwrap_or(StorageOrder::RowMajor));
        let include = self.pool == Pool::Mean { include: true };
        for ((PoolAxis { axis, end }, names), along) in three.iter().zip(NAMES).zip(along) {
            let values =
                [axis.input, axis.output, axis.kernel, axis.stride, axis.dilation, axis.begin];
            params.extend(names.into_iter().zip(values.map(number)));
            if include {
                params.push((names[6], number(*end)));
            }
            if order.is_some() {
                params.push((names[7], number(along)));
            }
        }
        params
    }
}

/// How far apart neighbours along each axis of a plane are counted.
fn along(three: &[PoolAxis; 3], order: StorageOrder) -> [usize; 3] {
    let [d, h, w] = three.map(|axis| axis.axis.input);
    match order {
        StorageOrder::RowMajor => [h * w, w, 1],
        StorageOrder::ColumnMajor => [1, d, d * h],
    }
}

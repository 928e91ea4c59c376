//! Reductions, and the places of extrema, on the GPU and on the CPU.

mod arg;
mod cpu;
mod gpu;
mod parts;

pub use arg::ArgKernel;

use super::elementwise::storage::storage;
use super::{CpuCx, Dispatch, GpuCx, Kernel, Language, Needs, Variant};
use crate::error::{Error, Result};
use crate::gpu::{ConstValue, ShaderRequest};
use crate::graph::Dim;
use crate::tensor::DType;

/// The name policies and coverage use.
pub const FAMILY: &str = "reduce";

const SERIAL: Needs = Needs {
    f16: false,
    subgroups: false,
    coop: None,
    lanes: None,
    int64: false,
    int8: false,
    storage_buffers: 8,
    invocations: 8,
    workgroup_bytes: 0,
};
const WIDE: Needs = Needs { invocations: 64, ..SERIAL };
const ROW: Needs = Needs { invocations: 128, workgroup_bytes: 512, ..SERIAL };

const EIGHT: &[(&str, ConstValue)] = &[("WORKGROUP", ConstValue::U32(8))];
const SIXTY_FOUR: &[(&str, ConstValue)] = &[("WORKGROUP", ConstValue::U32(64))];
const MANY: &[(&str, ConstValue)] = &[("WORKGROUP", ConstValue::U32(128))];

/// How the elements behind a result are put together.
pub const VARIANTS: &[Variant] = &[
    // One invocation for a result: right for software adapters, for few
    // elements, and for elements that are not neighbours.
    Variant {
        name: "serial",
        shader: "reduce/serial",
        consts: EIGHT,
        features: &[],
        needs: SERIAL,
        languages: Language::ALL,
        executed_on: &["lavapipe", "swiftshader", "lavapipe-old"],
    },
    // The same with workgroups that fill a GPU's.
    Variant {
        name: "wide_serial",
        shader: "reduce/serial",
        consts: SIXTY_FOUR,
        features: &[],
        needs: WIDE,
        languages: Language::ALL,
        executed_on: &["lavapipe", "swiftshader", "lavapipe-old"],
    },
    // A workgroup for a result, with subgroup operations.
    Variant {
        name: "subgroup",
        shader: "reduce/row",
        consts: MANY,
        features: &["subgroups"],
        needs: Needs { subgroups: true, ..ROW },
        languages: Language::ALL,
        executed_on: &["lavapipe", "swiftshader", "lavapipe-old"],
    },
    // A workgroup for a result, in workgroup memory.
    Variant {
        name: "workgroup",
        shader: "reduce/row",
        consts: MANY,
        features: &[],
        needs: ROW,
        languages: Language::ALL,
        executed_on: &["lavapipe", "swiftshader", "lavapipe-old"],
    },
    // The same ways for the place of an extremum; `arg_lanes` has workgroups of
    // one SIMD vector of a CPU.
    Variant {
        name: "arg_lanes",
        shader: "reduce/arg_row",
        consts: EIGHT,
        features: &[],
        needs: Needs { workgroup_bytes: 64, ..SERIAL },
        languages: Language::ALL,
        executed_on: &["lavapipe", "swiftshader", "lavapipe-old"],
    },
    Variant {
        name: "arg_serial",
        shader: "reduce/arg_serial",
        consts: EIGHT,
        features: &[],
        needs: SERIAL,
        languages: Language::ALL,
        executed_on: &["lavapipe", "swiftshader", "lavapipe-old"],
    },
    Variant {
        name: "arg_wide_serial",
        shader: "reduce/arg_serial",
        consts: SIXTY_FOUR,
        features: &[],
        needs: WIDE,
        languages: Language::ALL,
        executed_on: &["lavapipe", "swiftshader", "lavapipe-old"],
    },
    Variant {
        name: "arg_workgroup",
        shader: "reduce/arg_row",
        consts: MANY,
        features: &[],
        needs: Needs { workgroup_bytes: 1024, ..ROW },
        languages: Language::ALL,
        executed_on: &["lavapipe", "swiftshader", "lavapipe-old"],
    },
];

/// The shaders a variant is instantiated to: every way to reduce, every dtype,
/// and every way to choose a place.
pub fn requests(variant: &'static Variant) -> Vec<ShaderRequest> {
    use DType::*;
    let dtypes = [F32, F16, BF16, I32, U32, I64, U64, I16, U16, I8, U8];
    if variant.name.starts_with("arg_") {
        let ways = dtypes.into_iter().flat_map(|dtype| {
            [(false, false), (false, true), (true, false), (true, true)].map(|way| (dtype, way))
        });
        let requests = |(dtype, (largest, last))| arg::requests(variant, dtype, largest, last);
        return ways.flat_map(requests).collect();
    }
    let mut requests = Vec::new();
    for (fold, each, last) in [
        (Fold::Sum, Each::Plain, Last::Mean),
        (Fold::Sum, Each::Abs, Last::Plain),
        (Fold::Sum, Each::Square, Last::Sqrt),
        (Fold::Sum, Each::Plain, Last::Log),
        (Fold::Sum, Each::Exp, Last::LogPlus),
        (Fold::Max, Each::Plain, Last::Plain),
        (Fold::Min, Each::Plain, Last::Plain),
        (Fold::Prod, Each::Plain, Last::Plain),
    ] {
        requests.extend(request(variant, F32, fold, each, last));
    }
    for dtype in dtypes {
        requests.extend(request(variant, dtype, Fold::Sum, Each::Plain, Last::Plain));
    }
    requests
}

/// How two partial results become one.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Fold {
    /// Their sum.
    Sum,
    /// Their product.
    Prod,
    /// The larger.
    Max,
    /// The smaller.
    Min,
}

/// What is done to an element first.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Each {
    /// Nothing.
    Plain,
    /// Its magnitude.
    Abs,
    /// Its square.
    Square,
    /// The exponential of its distance from the second input.
    Exp,
}

/// What is done to the whole at the end.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Last {
    /// Nothing.
    Plain,
    /// Division by the number of elements; of whole numbers towards zero.
    Mean,
    /// The square root.
    Sqrt,
    /// The natural logarithm.
    Log,
    /// The natural logarithm, and the second input is added.
    LogPlus,
}

/// A tensor as `[outer, n, inner]`; what is reduced is `n`.
#[derive(Debug, Clone, PartialEq)]
pub struct Spans {
    /// Spans one after another.
    pub outer: Dim,
    /// Elements of a span.
    pub n: Dim,
    /// Spans side by side; also the distance of a span's elements.
    pub inner: Dim,
}

impl Spans {
    /// Those of the dimensions from `first` up to, not including, `end`.
    pub fn of(shape: &[Dim], first: usize, end: usize) -> Self {
        let product = |dims: Option<&[Dim]>| Dim::product(dims.unwrap_or_default());
        Spans {
            outer: product(shape.get(..first)),
            n: product(shape.get(first..end)),
            inner: product(shape.get(end..)),
        }
    }

    fn results(&self) -> Dim {
        &self.outer * &self.inner
    }
}

/// The dtype a reduction computes in, which is that of its output.
pub fn accumulator(dtype: DType) -> DType {
    match dtype {
        DType::I8 | DType::I16 => DType::I32,
        DType::U8 | DType::U16 | DType::Bool => DType::U32,
        DType::F16 | DType::BF16 => DType::F32,
        dtype => dtype,
    }
}

/// Reduces the middle of `[outer, n, inner]`.
///
/// Inputs: x of any plain dtype, and for [`Each::Exp`] an F32 tensor of a value
/// for each result. Output: a value for each result, of x's [`accumulator`].
#[derive(Debug, Clone)]
pub struct ReduceKernel {
    /// How elements are put together.
    pub fold: Fold,
    /// What is done to each before.
    pub each: Each,
    /// What is done after.
    pub last: Last,
    /// Where the elements are.
    pub spans: Spans,
    /// How many elements of the tensor are behind a result; more than `n` where
    /// the elements of x are results of a reduction themselves.
    pub count: Dim,
    /// The result where there are none.
    pub empty: f64,
}

impl Kernel for ReduceKernel {
    fn name(&self) -> &str {
        "reduce.span"
    }

    fn gpu(&self, cx: &GpuCx<'_>) -> Result<Vec<Dispatch>> {
        gpu::dispatches(self, cx)
    }

    fn cpu(&self, cx: &mut CpuCx<'_>) -> Result<()> {
        cpu::reduce(self, cx)
    }
}

/// The shader for a dtype of x.
fn request(
    variant: &Variant,
    dtype: DType,
    fold: Fold,
    each: Each,
    last: Last,
) -> Result<ShaderRequest> {
    let mut request = plain_request(variant, dtype)?.feature(match fold {
        Fold::Sum => "fold_sum",
        Fold::Prod => "fold_prod",
        Fold::Max => "fold_max",
        Fold::Min => "fold_min",
    });
    match each {
        Each::Plain => {}
        Each::Abs => request = request.feature("each_abs"),
        Each::Square => request = request.feature("each_square"),
        Each::Exp => request = request.feature("each_exp"),
    }
    match last {
        Last::Plain => {}
        Last::Mean => request = request.feature("last_mean"),
        Last::Sqrt => request = request.feature("last_sqrt"),
        Last::Log => request = request.feature("last_log"),
        Last::LogPlus => request = request.feature("last_log_plus"),
    }
    if each == Each::Exp || last == Last::LogPlus {
        request = request.feature("shifted");
    }
    if is_checked(dtype, fold) {
        request = request.feature("checked");
    }
    Ok(request)
}

/// Whether results may leave the 32 bits that a device has of 64-bit integers.
fn is_checked(dtype: DType, fold: Fold) -> bool {
    dtype.is_64bit_integer() && matches!(fold, Fold::Sum | Fold::Prod)
}

fn plain_request(variant: &Variant, dtype: DType) -> Result<ShaderRequest> {
    let mut request = ShaderRequest::new(variant.shader);
    for (name, value) in variant.consts {
        request = request.with(*name, *value);
    }
    let request = variant.features.iter().copied().fold(request, ShaderRequest::feature);
    Ok(request.feature(storage("a reduction", dtype)?.read))
}

fn workgroup(variant: &Variant) -> Result<u32> {
    match variant.consts {
        [("WORKGROUP", ConstValue::U32(size))] => Ok(*size),
        _ => Err(Error::internal("a reduction's variant without WORKGROUP")),
    }
}

/// Whether an invocation takes a whole result.
fn is_serial(variant: &Variant) -> bool {
    variant.name.ends_with("serial")
}

/// Spans up to this length are no work for a workgroup.
const SHORT: u64 = 32;

/// Whether this is the variant for such spans on such a device: one invocation
/// for a result where there are few elements or they are no neighbours, and in
/// small workgroups on software adapters.
fn suits(cx: &GpuCx<'_>, variant: &Variant, spans: &Spans) -> Result<bool> {
    let software = cx.caps.is_software();
    let serial = software || cx.bound(&spans.inner)? > 1 || cx.bound(&spans.n)? <= SHORT;
    let small = variant.needs.invocations <= 8;
    Ok(is_serial(variant) == serial && (!serial || small == software))
}

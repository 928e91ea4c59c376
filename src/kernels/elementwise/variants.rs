//! The variants of the elementwise shaders, and which of them is for what.

use super::access::{Access, Layout};
use super::storage::storage;
use crate::error::Result;
use crate::gpu::{ConstValue, ShaderRequest};
use crate::graph::Dim;
use crate::kernels::{GpuCx, Language, Needs, Variant};
use crate::tensor::DType;

/// The family's name.
pub(crate) const FAMILY: &str = "elementwise";

/// The variants of the elementwise shader: invocations per workgroup and words
/// per invocation.
pub const VARIANTS: &[Variant] = &[
    variant("wide", &WIDE, &[], 256),
    // One SIMD vector of a CPU.
    variant("narrow", &NARROW, &["unrolled"], 8),
    // The same, eight neighbouring words at a time, in words of 64 bits: where a
    // CPU loads and stores for each lane by itself.
    Variant {
        shader: "elementwise/chain",
        needs: Needs { int64: true, ..NEEDS },
        executed_on: &["lavapipe", "lavapipe-old"],
        ..variant(PAIRS, &NARROW, &["pairs"], 8)
    },
    // The same, read for all eight invocations at addresses that they share, of which each
    // picks its own: where a CPU has scalar code for those.
    Variant {
        shader: "elementwise/chain",
        needs: Needs { int64: true, ..NEEDS },
        executed_on: &["lavapipe", "lavapipe-old"],
        ..variant(PICKED, &NARROW, &["pairs", "picked"], 8)
    },
    // One invocation, four neighbouring words at a time at addresses that a whole vector
    // shares: where a CPU has scalar code for those.
    Variant { shader: "elementwise/chain", ..variant(ALONE, &SINGLE, &["alone"], 1) },
    // Eight vectors of four words for each of eight invocations: where a CPU reads and writes
    // for all lanes at once, wherever they are.
    Variant { shader: "elementwise/chain", ..variant(FOURS, &EIGHT, &["fours"], 8) },
];

/// The variant with words of 64 bits.
const PAIRS: &str = "pairs";

/// The variant with words of 64 bits that all invocations read.
const PICKED: &str = "picked";

/// The variant whose workgroups have one invocation.
const ALONE: &str = "alone";

/// The variant whose invocations have vectors of four words.
const FOURS: &str = "fours";

/// How a variant reads and writes several neighbouring words at a time.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Wide {
    /// Eight, as four of 64 bits.
    Pairs,
    /// The same, which all invocations of a workgroup read for each other.
    Picked,
    /// Four.
    Alone,
    /// The same, neighbouring invocations neighbouring ones.
    Fours,
}

impl Wide {
    /// What a variant has, if it is one of these.
    pub(super) fn of(variant: &Variant) -> Option<Self> {
        match variant.name {
            PAIRS => Some(Wide::Pairs),
            PICKED => Some(Wide::Picked),
            ALONE => Some(Wide::Alone),
            FOURS => Some(Wide::Fours),
            _ => None,
        }
    }

    /// The type of so many words.
    pub(super) fn word(self) -> &'static str {
        match self {
            Wide::Pairs | Wide::Picked => "vec4<u64>",
            Wide::Alone | Wide::Fours => "vec4<u32>",
        }
    }
}

/// Fewer elements than this are no work for it: its shaders are longer.
const MANY: u64 = 1 << 15;

const NEEDS: Needs = Needs {
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

const WIDE: [(&str, ConstValue); 2] =
    [("WORKGROUP", ConstValue::U32(256)), ("ITEMS", ConstValue::U32(4))];
const NARROW: [(&str, ConstValue); 2] =
    [("WORKGROUP", ConstValue::U32(8)), ("ITEMS", ConstValue::U32(256))];
const EIGHT: [(&str, ConstValue); 2] =
    [("WORKGROUP", ConstValue::U32(8)), ("ITEMS", ConstValue::U32(32))];
const SINGLE: [(&str, ConstValue); 2] =
    [("WORKGROUP", ConstValue::U32(1)), ("ITEMS", ConstValue::U32(2048))];

const fn variant(
    name: &'static str,
    consts: &'static [(&'static str, ConstValue)],
    features: &'static [&'static str],
    invocations: u32,
) -> Variant {
    Variant {
        name,
        shader: "elementwise/map",
        consts,
        features,
        needs: Needs { invocations, ..NEEDS },
        languages: Language::ALL,
        executed_on: &["lavapipe", "lavapipe-old", "swiftshader"],
    }
}

/// The variant for a device; `wide` says whether the operands suit [`Wide`], `plain`
/// whether an element takes a few instructions, and `total` how many elements there are
/// at most.
pub(super) fn choose(
    cx: &GpuCx<'_>,
    wide: bool,
    plain: bool,
    total: u64,
) -> Result<&'static Variant> {
    let software = cx.caps.is_software();
    let forced = cx.policy.force.contains_key(FAMILY);
    let worth = wide && (forced || (software && total >= MANY));
    let scalar = forced || cx.caps.scalar_code;
    // A vector's lanes compute side by side what is more than a few instructions.
    let in_turn = [
        (FOURS, forced || cx.caps.gathers),
        (ALONE, scalar && (plain || forced)),
        (PICKED, scalar),
        (PAIRS, true),
    ];
    for (name, suits) in in_turn {
        if worth
            && suits
            && let Ok(variant) = cx.choose(FAMILY, VARIANTS, |v| v.name == name)
        {
            return Ok(variant);
        }
    }
    let can = |v: &Variant| Wide::of(v).is_none();
    let preferred = |v: &Variant| can(v) && (v.name == "narrow") == software;
    cx.choose(FAMILY, VARIANTS, preferred).or_else(|_| cx.choose(FAMILY, VARIANTS, can))
}

/// Whether operands and result are of whole words of 32 bits, and can be read and
/// written eight at a time.
pub(super) fn suit_wide<'a>(
    layout: &Layout,
    access: &[Access],
    dtypes: impl IntoIterator<Item = &'a DType>,
) -> bool {
    let words = |dtype: &DType| storage("", *dtype).is_ok_and(|own| own.lanes == 1);
    let last = layout.dims.last().cloned().unwrap_or(Dim::Const(1));
    let aligned = |how: &Access| match how {
        Access::Flat | Access::Scalar => true,
        Access::Row | Access::Column => last.is_multiple_of(8),
        Access::Strided => false,
    };
    let total = Dim::product(&layout.dims);
    dtypes.into_iter().all(words) && access.iter().all(aligned) && total.is_multiple_of(8)
}

/// Words that one workgroup computes.
pub(super) fn words(variant: &Variant) -> u64 {
    let value = |name| {
        let found = variant.consts.iter().find(|(own, _)| *own == name);
        found.map_or(1, |(_, value)| match value {
            ConstValue::U32(n) => u64::from(*n),
            _ => 1,
        })
    };
    value("WORKGROUP") * value("ITEMS")
}

/// A shader with the constants and features of a variant.
pub(super) fn instance(file: &'static str, variant: &Variant) -> ShaderRequest {
    let mut request = ShaderRequest::new(file);
    // Elements are those of the result, and what broadcasting makes of them.
    request.in_bounds = true;
    for (name, value) in variant.consts {
        request = request.with(*name, *value);
    }
    variant.features.iter().copied().fold(request, ShaderRequest::feature)
}

/// Leaves a loop as it is. SwiftShader's compiler takes gigabytes for some
/// operations that are written out eight times.
pub(super) fn not_unrolled(request: &mut ShaderRequest) {
    request.features.retain(|name| name != "unrolled");
}

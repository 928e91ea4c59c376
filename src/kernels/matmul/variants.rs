//! The table of variants, and which one suits a product.

use super::ksplit::{self, Splittable};
use super::request::{Meeting, in_groups, in_pairs, in_strips, meeting};
use crate::error::Result;
use crate::gpu::ConstValue::U32;
use crate::gpu::DeviceCaps;
use crate::kernels::{GpuCx, Language, Needs, Sharing, Variant};
use crate::tensor::DType;
use Language::{Msl, Spirv};

/// The name policies and coverage use.
pub const FAMILY: &str = "matmul";

const NEEDS: Needs = Needs {
    f16: false,
    subgroups: false,
    coop: None,
    lanes: None,
    int64: false,
    int8: false,
    storage_buffers: 8,
    invocations: 1,
    workgroup_bytes: 0,
};

/// What cooperative matrices of a size need.
const fn by_matrices(size: u32) -> Needs {
    Needs { f16: true, subgroups: true, coop: Some(size), ..NEEDS }
}

/// Every variant; where several suit, the first one is taken.
pub static VARIANTS: &[Variant] = &[
    Variant {
        name: "blocks_1x4",
        shader: "matmul/blocks",
        consts: &[("LANES", U32(8))],
        features: &[],
        needs: Needs { invocations: 8, ..NEEDS },
        languages: Language::ALL,
        executed_on: &["lavapipe", "lavapipe-old", "swiftshader"],
    },
    // The same with quants read two words at a time.
    Variant {
        name: "blocks_pairs_1x4",
        shader: "matmul/blocks",
        consts: &[("LANES", U32(8))],
        features: &["body_pairs"],
        needs: Needs { int64: true, invocations: 8, ..NEEDS },
        languages: Language::ALL,
        executed_on: &["lavapipe", "lavapipe-old"],
    },
    // The same where each of eight lanes reads elements of A for all eight.
    Variant {
        name: "blocks_lanes_1x4",
        shader: "matmul/blocks",
        consts: &[("LANES", U32(8))],
        features: &["handed"],
        needs: Needs { subgroups: true, lanes: Some(8), int64: true, invocations: 8, ..NEEDS },
        languages: Language::ALL,
        executed_on: &["lavapipe", "lavapipe-old"],
    },
    Variant {
        name: "blocks_lanes_pairs_1x4",
        shader: "matmul/blocks",
        consts: &[("LANES", U32(8))],
        features: &["handed", "body_pairs"],
        needs: Needs { subgroups: true, lanes: Some(8), int64: true, invocations: 8, ..NEEDS },
        languages: Language::ALL,
        executed_on: &["lavapipe", "lavapipe-old"],
    },
    Variant {
        name: "direct_1x4",
        shader: "matmul/direct",
        consts: &[("LANES", U32(8))],
        features: &[],
        needs: Needs { invocations: 8, ..NEEDS },
        languages: Language::ALL,
        executed_on: &["lavapipe", "lavapipe-old", "swiftshader"],
    },
    // The same with F32 weights read two words at a time.
    Variant {
        name: "direct_pairs_1x4",
        shader: "matmul/direct",
        consts: &[("LANES", U32(8))],
        features: &["body_pairs"],
        needs: Needs { int64: true, invocations: 8, ..NEEDS },
        languages: Language::ALL,
        executed_on: &["lavapipe", "lavapipe-old"],
    },
    Variant {
        name: "direct_8x8",
        shader: "matmul/direct",
        consts: &[("LANES", U32(8))],
        features: &["rows_8", "wide_2"],
        needs: Needs { invocations: 8, ..NEEDS },
        languages: Language::ALL,
        executed_on: &["lavapipe", "lavapipe-old", "swiftshader"],
    },
    Variant {
        name: "direct_8x4",
        shader: "matmul/direct",
        consts: &[("LANES", U32(8))],
        features: &["rows_8"],
        needs: Needs { invocations: 8, ..NEEDS },
        languages: Language::ALL,
        executed_on: &["lavapipe", "lavapipe-old", "swiftshader"],
    },
    // The same with quants read two words at a time.
    Variant {
        name: "direct_pairs_8x4",
        shader: "matmul/direct",
        consts: &[("LANES", U32(8))],
        features: &["rows_8", "body_pairs"],
        needs: Needs { int64: true, invocations: 8, ..NEEDS },
        languages: Language::ALL,
        executed_on: &["lavapipe", "lavapipe-old"],
    },
    Variant {
        name: "direct_32x4",
        shader: "matmul/direct",
        consts: &[("LANES", U32(8))],
        features: &["rows_8", "rows_16", "rows_32"],
        needs: Needs { invocations: 8, ..NEEDS },
        languages: Language::ALL,
        executed_on: &["lavapipe", "lavapipe-old", "swiftshader"],
    },
    // Each of eight lanes reads elements of A for all eight.
    Variant {
        name: "lanes_8x4",
        shader: "matmul/direct",
        consts: &[("LANES", U32(8))],
        features: &["rows_8", "lanes"],
        needs: Needs { subgroups: true, lanes: Some(8), int64: true, invocations: 8, ..NEEDS },
        languages: Language::ALL,
        executed_on: &["lavapipe", "lavapipe-old"],
    },
    Variant {
        name: "lanes_pairs_8x4",
        shader: "matmul/direct",
        consts: &[("LANES", U32(8))],
        features: &["rows_8", "lanes", "body_pairs"],
        needs: Needs { subgroups: true, lanes: Some(8), int64: true, invocations: 8, ..NEEDS },
        languages: Language::ALL,
        executed_on: &["lavapipe", "lavapipe-old"],
    },
    Variant {
        name: "lanes_16x4",
        shader: "matmul/direct",
        consts: &[("LANES", U32(8))],
        features: &["rows_8", "rows_16", "lanes"],
        needs: Needs { subgroups: true, lanes: Some(8), int64: true, invocations: 8, ..NEEDS },
        languages: Language::ALL,
        executed_on: &["lavapipe", "lavapipe-old"],
    },
    Variant {
        name: "lanes_pairs_16x4",
        shader: "matmul/direct",
        consts: &[("LANES", U32(8))],
        features: &["rows_8", "rows_16", "lanes", "body_pairs"],
        needs: Needs { subgroups: true, lanes: Some(8), int64: true, invocations: 8, ..NEEDS },
        languages: Language::ALL,
        executed_on: &["lavapipe", "lavapipe-old"],
    },
    Variant {
        name: "lanes_32x4",
        shader: "matmul/direct",
        consts: &[("LANES", U32(8))],
        features: &["rows_8", "rows_16", "rows_32", "lanes"],
        needs: Needs { subgroups: true, lanes: Some(8), int64: true, invocations: 8, ..NEEDS },
        languages: Language::ALL,
        executed_on: &["lavapipe", "lavapipe-old"],
    },
    // Each of four lanes reads a row of A for all four.
    Variant {
        name: "quads_32x8",
        shader: "matmul/direct",
        consts: &[("LANES", U32(8))],
        features: &["rows_8", "rows_16", "rows_32", "wide_2", "quads"],
        needs: Needs { subgroups: true, invocations: 8, ..NEEDS },
        languages: Language::ALL,
        executed_on: &["lavapipe", "lavapipe-old", "swiftshader"],
    },
    // Quants are read four words at a time; teams of so many invocations.
    Variant {
        name: "strips_64",
        shader: "matmul/strips",
        consts: &[("THREADS", U32(256)), ("TEAM", U32(64))],
        features: &["body_quads"],
        needs: Needs { invocations: 256, workgroup_bytes: 20480, ..NEEDS },
        languages: Language::ALL,
        executed_on: &["lavapipe", "lavapipe-old", "swiftshader"],
    },
    Variant {
        name: "strips_32",
        shader: "matmul/strips",
        consts: &[("THREADS", U32(128)), ("TEAM", U32(32))],
        features: &["body_quads"],
        needs: Needs { invocations: 128, workgroup_bytes: 20480, ..NEEDS },
        languages: Language::ALL,
        executed_on: &["lavapipe", "lavapipe-old", "swiftshader"],
    },
    Variant {
        name: "matvec_subgroup",
        shader: "matmul/matvec",
        consts: &[("THREADS", U32(64))],
        features: &["subgroups"],
        needs: Needs { subgroups: true, invocations: 64, workgroup_bytes: 8192, ..NEEDS },
        languages: Language::ALL,
        executed_on: &["lavapipe", "lavapipe-old", "swiftshader"],
    },
    Variant {
        name: "matvec_workgroup",
        shader: "matmul/matvec",
        consts: &[("THREADS", U32(64))],
        features: &[],
        needs: Needs { invocations: 64, workgroup_bytes: 8192, ..NEEDS },
        languages: Language::ALL,
        executed_on: &["lavapipe", "lavapipe-old", "swiftshader"],
    },
    Variant {
        name: "coop_wide_16",
        shader: "matmul/coop_wide",
        consts: &[("SIZE", U32(16))],
        features: &["size_16", "wide"],
        needs: Needs { invocations: 128, workgroup_bytes: 36864, ..by_matrices(16) },
        languages: &[Spirv, Msl],
        executed_on: &[],
    },
    // `coop_16` with sums in parts at once, for few tiles.
    Variant {
        name: "coop_16_split",
        shader: "matmul/coop",
        consts: &[("SIZE", U32(16)), ("SPLIT", U32(4))],
        features: &["size_16"],
        needs: Needs { invocations: 128, workgroup_bytes: 26624, ..by_matrices(16) },
        languages: &[Spirv, Msl],
        executed_on: &[],
    },
    Variant {
        name: "coop_16",
        shader: "matmul/coop",
        consts: &[("SIZE", U32(16))],
        features: &["size_16"],
        needs: Needs { invocations: 128, workgroup_bytes: 26624, ..by_matrices(16) },
        // HLSL has no cooperative matrices. naga writes these for Metal, whose
        // devices report only 8 by 8, so `needs` keeps them off there.
        languages: &[Spirv, Msl],
        executed_on: &[],
    },
    Variant {
        name: "coop_wide_8",
        shader: "matmul/coop_wide",
        consts: &[("SIZE", U32(8))],
        features: &["wide"],
        needs: Needs { invocations: 32, workgroup_bytes: 14336, ..by_matrices(8) },
        languages: &[Spirv, Msl],
        executed_on: &["lavapipe"],
    },
    // `coop_8` in the same way.
    Variant {
        name: "coop_8_split",
        shader: "matmul/coop",
        consts: &[("SIZE", U32(8)), ("SPLIT", U32(4))],
        features: &[],
        needs: Needs { invocations: 64, workgroup_bytes: 9216, ..by_matrices(8) },
        languages: &[Spirv, Msl],
        executed_on: &["lavapipe"],
    },
    Variant {
        name: "coop_8",
        shader: "matmul/coop",
        consts: &[("SIZE", U32(8))],
        features: &[],
        needs: Needs { invocations: 32, workgroup_bytes: 9216, ..by_matrices(8) },
        // HLSL has no cooperative matrices.
        languages: &[Spirv, Msl],
        executed_on: &["lavapipe"],
    },
    Variant {
        name: "int8_64",
        shader: "matmul/int8",
        consts: &[("TX", U32(16)), ("TY", U32(16))],
        features: &[],
        needs: Needs { int8: true, invocations: 256, workgroup_bytes: 6656, ..NEEDS },
        languages: Language::ALL,
        executed_on: &["lavapipe", "lavapipe-old", "swiftshader"],
    },
    Variant {
        name: "int8_32",
        shader: "matmul/int8",
        consts: &[("TX", U32(8)), ("TY", U32(8))],
        features: &[],
        needs: Needs { int8: true, invocations: 64, workgroup_bytes: 3328, ..NEEDS },
        languages: Language::ALL,
        executed_on: &["lavapipe", "lavapipe-old", "swiftshader"],
    },
    Variant {
        name: "tiled_128",
        shader: "matmul/tiled_128",
        consts: &[],
        features: &[],
        needs: Needs { invocations: 256, workgroup_bytes: 16384, ..NEEDS },
        languages: Language::ALL,
        executed_on: &["lavapipe", "lavapipe-old", "swiftshader"],
    },
    Variant {
        name: "tiled_64_f16",
        shader: "matmul/tiled",
        consts: &[("TX", U32(16)), ("TY", U32(16))],
        features: &["f16"],
        needs: Needs { f16: true, invocations: 256, workgroup_bytes: 8192, ..NEEDS },
        languages: Language::ALL,
        executed_on: &["lavapipe", "lavapipe-old"],
    },
    Variant {
        name: "tiled_64",
        shader: "matmul/tiled",
        consts: &[("TX", U32(16)), ("TY", U32(16))],
        features: &[],
        needs: Needs { invocations: 256, workgroup_bytes: 16384, ..NEEDS },
        languages: Language::ALL,
        executed_on: &["lavapipe", "lavapipe-old", "swiftshader"],
    },
    // `tiled_32` in the same way.
    Variant {
        name: "tiled_32_split",
        shader: "matmul/tiled",
        consts: &[("TX", U32(8)), ("TY", U32(8)), ("SPLIT", U32(4))],
        features: &[],
        needs: Needs { invocations: 64, workgroup_bytes: 8192, ..NEEDS },
        languages: Language::ALL,
        executed_on: &["lavapipe", "lavapipe-old", "swiftshader"],
    },
    Variant {
        name: "tiled_32",
        shader: "matmul/tiled",
        consts: &[("TX", U32(8)), ("TY", U32(8))],
        features: &[],
        needs: Needs { invocations: 64, workgroup_bytes: 8192, ..NEEDS },
        languages: Language::ALL,
        executed_on: &["lavapipe", "lavapipe-old", "swiftshader"],
    },
];

/// The buffers that every device binds at once.
const MOST_BUFFERS: u32 = 8;

/// What the choice looks at, beside the device and the policy.
#[derive(Debug, Clone, Copy)]
pub(super) struct Shape {
    /// The most rows there can be.
    pub(super) m: u64,
    /// The most columns there can be.
    pub(super) n: u64,
    /// The longest the sums can be.
    pub(super) k: u64,
    /// Matrices in the batch.
    pub(super) matrices: u64,
    /// Whether the sums are certainly of whole groups of four products.
    pub(super) fours: bool,
    /// Whether B is `[n, k]`.
    pub(super) rows_b: bool,
    /// The type of B.
    pub(super) weight: DType,
    /// Where rows choose their matrices one by one, the buffers that are bound.
    pub(super) buffers: u32,
    /// Where rows choose their matrices, the loop iterations that grouping them takes.
    pub(super) grouping: Option<u64>,
    /// What decides in how many parts sums can be; `None` if only in one.
    pub(super) splits: Option<Splittable>,
    /// Whether rows of A can be rounded to eight bits, and what that leaves costs little.
    pub(super) int8: bool,
    pub(super) int8_cheap: bool,
}

impl Shape {
    /// Whether B is read in pairs of words, each beginning at an even one.
    fn in_pairs(&self) -> bool {
        let plain = self.weight == DType::F32 && self.rows_b && self.fours;
        plain || in_pairs(self.weight)
    }
}

/// As many tiles as keep a large device busy.
const BUSY: u64 = 64;

/// Sums worth being in parts.
const LONG: u64 = 1024;

/// The most rows of A that one row of B is read for.
pub(super) const FEW: u64 = 8;

/// Picks the variant for a product: the best suited one; where policy or device
/// leave none of those, the first that can compute it at all.
pub(super) fn choose(cx: &GpuCx<'_>, shape: &Shape) -> Result<&'static Variant> {
    let lanes = cx.caps.coop_lanes();
    let can = |v: &Variant| {
        cx.caps.loops_fit(iterations(v, shape.k))
            && shape.grouping.is_none_or(|loops| match meeting(v) {
                Some(Meeting::Grouped) => cx.caps.loops_fit(loops),
                Some(_) => shape.buffers <= MOST_BUFFERS,
                None => false,
            })
            && (!v.features.contains(&"body_pairs") || shape.in_pairs())
            && (ksplit::ways(v) == 1 || shape.splits.is_some_and(|s| s.goes_into(ksplit::ways(v))))
            && match v.shader {
                "matmul/matvec" => shape.rows_b,
                "matmul/strips" => in_strips(shape.weight) && shape.rows_b,
                "matmul/int8" => shape.int8 && in_groups(shape.weight) && shape.rows_b,
                "matmul/blocks" => in_groups(shape.weight) && shape.rows_b,
                "matmul/coop" | "matmul/coop_wide" => {
                    4 * lanes <= cx.caps.limits.max_compute_invocations_per_workgroup
                }
                _ => true,
            }
    };
    if cx.policy.force.contains_key(FAMILY) {
        return cx.choose(FAMILY, VARIANTS, can);
    }
    let direct = cx.caps.is_software().then(|| direct(shape, cx.caps));
    cx.choose(FAMILY, VARIANTS, |v| can(v) && suits(v, shape, direct))
        .or_else(|_| cx.choose(FAMILY, VARIANTS, can))
}

/// At most how many loop iterations an invocation has for sums of `k` products,
/// unrolled or not.
fn iterations(variant: &Variant, k: u64) -> u64 {
    match variant.shader {
        // To load four elements of each of two rows for 128 invocations, to multiply 32 for
        // a team of 32, and what is brought at a time.
        "matmul/strips" => 2 * k.div_ceil(512) + k.div_ceil(1024) + k.div_ceil(2048),
        // 8 at a time, a workgroup to a row.
        "matmul/matvec" => k.div_ceil(64),
        // Steps of 16 or 32: to load, 8 quarters or more, and to multiply.
        "matmul/tiled" | "matmul/int8" | "matmul/tiled_128" | "matmul/coop"
        | "matmul/coop_wide" => k,
        // 4 or 8 at a time.
        _ => k.div_ceil(4),
    }
}

/// The name of the variant for a software adapter. Larger tiles read less and
/// take longer to compile: up to a second, which small products never win back.
/// What SwiftShader reads is dear, so its tiles are large and its lanes share what they
/// read of A, as those of a new lavapipe do. Few rows by a quantised weight are fastest
/// on lavapipe with the smallest tile: it leaves few rows out and compiles soonest,
/// before the first answer of a language model. Where the processor's lanes read different
/// places at once, large tiles are the fastest there too, and words of 64 bits no gain.
fn direct(shape: &Shape, caps: &DeviceCaps) -> &'static str {
    const SMALL: u64 = 1 << 22;
    const MODEST: u64 = 128;
    let products = shape.m.saturating_mul(shape.n).saturating_mul(shape.k);
    let small = products.saturating_mul(shape.matrices) < SMALL;
    let quantised = shape.weight.is_quantised();
    let sharing = Sharing::of(caps);
    let lanes = caps.int64 && sharing == Sharing::Lanes;
    let gathers = caps.gathers && lanes;
    let pairs = caps.int64 && shape.in_pairs() && !(gathers && quantised);
    match shape.m {
        ..=1 if lanes && pairs && quantised => "blocks_lanes_pairs_1x4",
        ..=1 if lanes && in_groups(shape.weight) => "blocks_lanes_1x4",
        ..=1 if pairs && quantised => "blocks_pairs_1x4",
        ..=1 if pairs => "direct_pairs_1x4",
        ..=1 if in_groups(shape.weight) => "blocks_1x4",
        ..=1 => "direct_1x4",
        2.. if gathers && (shape.m <= 16 || small) => "direct_8x8",
        2.. if gathers => "quads_32x8",
        2..=16 if quantised && pairs && lanes => "lanes_pairs_8x4",
        2..=MODEST if quantised && pairs && lanes => "lanes_pairs_16x4",
        2..=MODEST if quantised && pairs => "direct_pairs_8x4",
        2..=16 if quantised && lanes => "lanes_8x4",
        2..=MODEST if quantised && lanes => "lanes_16x4",
        2..=MODEST if quantised && sharing == Sharing::Alike => "direct_8x4",
        2..=16 => "direct_8x8",
        _ if small => "direct_8x8",
        _ if sharing == Sharing::Quads => "quads_32x8",
        _ if lanes && pairs => "lanes_pairs_16x4",
        _ if lanes => "lanes_32x4",
        _ => "direct_32x4",
    }
}

/// `direct` is the variant of that algorithm that a software adapter uses.
fn suits(variant: &Variant, shape: &Shape, direct: Option<&str>) -> bool {
    let software = direct.is_some();
    let tiles =
        |side: u64| shape.m.div_ceil(side) * shape.n.div_ceil(side).saturating_mul(shape.matrices);
    match variant.shader {
        "matmul/direct" | "matmul/blocks" => direct == Some(variant.name),
        _ if software => false,
        // Sums as long as they need for every invocation of a team to have a step.
        "matmul/strips" => shape.m <= 2 && (variant.name == "strips_32" || shape.k >= 2 * LONG),
        "matmul/matvec" => shape.m <= FEW,
        _ if ksplit::ways(variant) > 1 => {
            let side = u64::from(4 * variant.needs.coop.unwrap_or(8));
            shape.m > FEW
                && shape.k >= LONG
                && tiles(side) < BUSY
                && shape.splits.is_some_and(|s| s.goes_cheaply_into(ksplit::ways(variant)))
        }
        // Larger tiles read less; smaller ones keep a device busy.
        "matmul/coop_wide" => {
            let side = if variant.needs.coop == Some(16) { 128 } else { 64 };
            shape.m > side / 2 && tiles(side) >= BUSY
        }
        "matmul/int8" if !shape.int8_cheap => false,
        "matmul/int8" if variant.name == "int8_64" => shape.m > 32 && tiles(64) >= BUSY,
        "matmul/int8" => shape.m > FEW,
        "matmul/coop" => shape.m > FEW,
        "matmul/tiled_128" => shape.m > 64 && tiles(128) >= BUSY,
        "matmul/tiled" if variant.name != "tiled_32" => shape.m > 32 && tiles(64) >= BUSY,
        _ => true,
    }
}

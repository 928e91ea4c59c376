//! The table of variants.

use crate::gpu::ConstValue;
use crate::kernels::{Language, Needs, Variant};

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

/// What cooperative matrices of a size need.
const fn by_matrices(size: u32) -> Needs {
    Needs { f16: true, subgroups: true, coop: Some(size), ..NEEDS }
}

/// Who computes the output for a query and head.
pub const VARIANTS: &[Variant] = &[
    // As the next one, by words of 64 bits.
    Variant {
        name: "handed_pairs_32",
        shader: "attention/lanes",
        consts: &[("WORKGROUP", ConstValue::U32(8)), ("KEYS", ConstValue::U32(64))],
        features: &["wide", "slabs", "handed", "pairs"],
        needs: Needs {
            subgroups: true,
            lanes: Some(8),
            int64: true,
            invocations: 8,
            workgroup_bytes: 29440,
            ..NEEDS
        },
        languages: Language::ALL,
        executed_on: &["lavapipe", "lavapipe-old"],
    },
    // As the next one, with keys and weights that each of eight lanes reads for all.
    Variant {
        name: "handed_32",
        shader: "attention/lanes",
        consts: &[("WORKGROUP", ConstValue::U32(8)), ("KEYS", ConstValue::U32(64))],
        features: &["wide", "slabs", "handed"],
        needs: Needs {
            subgroups: true,
            lanes: Some(8),
            invocations: 8,
            workgroup_bytes: 29440,
            ..NEEDS
        },
        languages: Language::ALL,
        executed_on: &["lavapipe", "lavapipe-old"],
    },
    // A workgroup of one SIMD vector for rows of queries that see the same keys:
    // for software adapters.
    Variant {
        name: "lanes_32",
        shader: "attention/lanes",
        consts: &[("WORKGROUP", ConstValue::U32(8)), ("KEYS", ConstValue::U32(64))],
        features: &["wide", "slabs"],
        needs: Needs { invocations: 8, workgroup_bytes: 29440, ..NEEDS },
        languages: Language::ALL,
        executed_on: &["lavapipe", "lavapipe-old", "swiftshader"],
    },
    // The same with less to compile.
    Variant {
        name: "lanes",
        shader: "attention/lanes",
        consts: &[("WORKGROUP", ConstValue::U32(8)), ("KEYS", ConstValue::U32(64))],
        features: &["wide"],
        needs: Needs { invocations: 8, workgroup_bytes: 26880, ..NEEDS },
        languages: Language::ALL,
        executed_on: &["lavapipe", "lavapipe-old", "swiftshader"],
    },
    // Few queries: a workgroup for a piece of the keys, and then the pieces
    // together. In workgroups of one SIMD vector for software adapters.
    Variant {
        name: "pieces",
        shader: "attention/pieces",
        consts: &[("WORKGROUP", ConstValue::U32(8)), ("KEYS", ConstValue::U32(128))],
        features: &["wide"],
        // Pieces are put together by 64.
        needs: Needs { invocations: 64, workgroup_bytes: 6320, ..NEEDS },
        languages: Language::ALL,
        executed_on: &["lavapipe", "lavapipe-old", "swiftshader"],
    },
    Variant {
        name: "pieces_wide",
        shader: "attention/pieces",
        consts: &[("WORKGROUP", ConstValue::U32(64)), ("KEYS", ConstValue::U32(256))],
        features: &["wide"],
        needs: Needs { workgroup_bytes: 9264, ..NEEDS },
        languages: Language::ALL,
        executed_on: &["lavapipe", "lavapipe-old", "swiftshader"],
    },
    // One invocation: right for software adapters, where barriers are dear.
    Variant {
        name: "serial",
        shader: "attention/serial",
        consts: &[("WORKGROUP", ConstValue::U32(8))],
        features: &[],
        needs: Needs { invocations: 8, ..NEEDS },
        languages: Language::ALL,
        executed_on: &["lavapipe", "lavapipe-old", "swiftshader"],
    },
    // Scores and outputs by cooperative matrices: for many queries of the same keys.
    Variant {
        name: "coop_16",
        shader: "attention/coop",
        consts: &[
            ("SIZE", ConstValue::U32(16)),
            ("KEYS", ConstValue::U32(32)),
            ("LARGEST", ConstValue::U32(64)),
        ],
        features: &["wide", "size_16"],
        needs: Needs { invocations: 128, workgroup_bytes: 27936, ..by_matrices(16) },
        // HLSL has no cooperative matrices.
        languages: &[Language::Spirv, Language::Msl],
        executed_on: &[],
    },
    // The same for larger heads, whose tiles take more workgroup memory than most devices have.
    Variant {
        name: "coop_16_large",
        shader: "attention/coop",
        consts: &[
            ("SIZE", ConstValue::U32(16)),
            ("KEYS", ConstValue::U32(32)),
            ("LARGEST", ConstValue::U32(256)),
        ],
        features: &["wide", "size_16"],
        needs: Needs { invocations: 128, workgroup_bytes: 41120, ..by_matrices(16) },
        languages: &[Language::Spirv, Language::Msl],
        executed_on: &[],
    },
    Variant {
        name: "coop_8",
        shader: "attention/coop",
        consts: &[
            ("SIZE", ConstValue::U32(8)),
            ("KEYS", ConstValue::U32(32)),
            ("LARGEST", ConstValue::U32(128)),
        ],
        features: &["wide"],
        needs: Needs { invocations: 32, workgroup_bytes: 16608, ..by_matrices(8) },
        languages: &[Language::Spirv, Language::Msl],
        executed_on: &["lavapipe"],
    },
    // A workgroup for a tile of queries, which share the keys it loads.
    Variant {
        name: "tiled",
        shader: "attention/tiled",
        consts: &[("WORKGROUP", ConstValue::U32(64))],
        features: &[],
        needs: Needs { workgroup_bytes: 12800, ..NEEDS },
        languages: Language::ALL,
        executed_on: &["lavapipe", "lavapipe-old", "swiftshader"],
    },
    // A workgroup, reducing with subgroup operations.
    Variant {
        name: "rows_subgroup",
        shader: "attention/rows",
        consts: &[("WORKGROUP", ConstValue::U32(64))],
        features: &["subgroups"],
        needs: Needs { subgroups: true, workgroup_bytes: 512, ..NEEDS },
        languages: Language::ALL,
        executed_on: &["lavapipe", "lavapipe-old", "swiftshader"],
    },
    // A workgroup, reducing in workgroup memory.
    Variant {
        name: "rows",
        shader: "attention/rows",
        consts: &[("WORKGROUP", ConstValue::U32(64))],
        features: &[],
        needs: Needs { workgroup_bytes: 512, ..NEEDS },
        languages: Language::ALL,
        executed_on: &["lavapipe", "lavapipe-old", "swiftshader"],
    },
];

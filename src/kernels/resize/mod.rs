//! Sampling planes of elements between their places.

mod cpu;
mod grid;
mod rois;
mod taps;

pub use grid::GridKernel;
pub use rois::RoisKernel;
pub use taps::TapsKernel;

use super::{Language, Needs, Variant};
use crate::gpu::ShaderRequest;

/// The name policies and coverage use.
pub const FAMILY: &str = "resize";

const fn variant(name: &'static str, shader: &'static str) -> Variant {
    Variant {
        name,
        shader,
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
    }
}

/// One for each way to say where samples are: a table, a grid, regions.
pub const VARIANTS: &[Variant] = &[
    variant("taps", "resize/taps"),
    variant("grid", "resize/grid"),
    variant("rois", "resize/rois"),
];

/// The shaders a variant is instantiated to.
pub fn requests(variant: &'static Variant) -> Vec<ShaderRequest> {
    match variant.name {
        "grid" => grid::requests(variant),
        "rois" => rois::requests(variant),
        _ => vec![ShaderRequest::new(variant.shader)],
    }
}

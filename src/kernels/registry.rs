//! The table of kernel families, for tests and tools that go through all
//! variants.

use super::Variant;
use crate::gpu::ShaderRequest;

/// A family of GPU kernels.
#[derive(Debug, Clone, Copy)]
pub struct KernelFamily {
    /// The name policies and coverage use.
    pub name: &'static str,
    /// Its variants.
    pub variants: &'static [Variant],
    /// Every shader a variant is instantiated to (one per weight dtype, say).
    pub requests: fn(&'static Variant) -> Vec<ShaderRequest>,
}

/// The family of a room.
macro_rules! family {
    ($room:ident) => {
        KernelFamily {
            name: super::$room::FAMILY,
            variants: super::$room::VARIANTS,
            requests: super::$room::requests,
        }
    };
}

/// Every family.
pub const FAMILIES: &[KernelFamily] = &[
    family!(attention),
    family!(conv),
    family!(elementwise),
    family!(linear_attention),
    family!(matmul),
    family!(gather),
    family!(movement),
    family!(norm),
    family!(recurrent),
    family!(reduce),
    family!(scan),
    family!(quantize),
    family!(resize),
    family!(pool),
    family!(rotary),
    family!(scatter),
    family!(softmax),
    family!(state),
    family!(topk),
];

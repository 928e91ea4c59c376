//! The table of kernel families, for tests and tools that go through all
//! variants.

use super::{Variant, elementwise};
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

/// Every family.
pub const FAMILIES: &[KernelFamily] = &[KernelFamily {
    name: "elementwise",
    variants: elementwise::VARIANTS,
    requests: elementwise::requests,
}];

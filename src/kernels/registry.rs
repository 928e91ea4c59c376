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
    family!(elementwise),
    family!(matmul),
    family!(gather),
    family!(movement),
    family!(norm),
    family!(resize),
    family!(rotary),
    family!(scatter),
    family!(softmax),
    family!(state),
];

#[cfg(test)]
mod tests {
    use super::*;
    use crate::gpu::compile;

    #[test]
    fn every_variant_compiles_and_says_what_it_needs() {
        for family in FAMILIES {
            for variant in family.variants {
                let requests = (family.requests)(variant);
                assert!(!requests.is_empty(), "{}/{}", family.name, variant.name);
                for request in requests {
                    let shader = compile(&request).unwrap_or_else(|e| panic!("{e}")).reflection;
                    let (needs, name) = (variant.needs, request.to_string());
                    assert!(shader.invocations() <= u64::from(needs.invocations), "{name}");
                    assert!(shader.workgroup_bytes <= needs.workgroup_bytes, "{name}");
                    assert!(needs.f16 || !shader.uses.f16, "{name}");
                    assert!(needs.subgroups || !shader.uses.subgroups, "{name}");
                    assert!(needs.coop.is_some() || !shader.uses.coop, "{name}");
                }
            }
        }
    }
}

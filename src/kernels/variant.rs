//! Variants: the rows of data from which one WGSL source is instantiated.

use crate::error::{Error, Result};
use crate::gpu::{ConstValue, CoopScalar, DeviceCaps};
use crate::ops::Arithmetic;
use std::collections::{BTreeMap, BTreeSet};

/// One instantiation of an algorithm's WGSL source.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Variant {
    /// Unique within its family.
    pub name: &'static str,
    /// The WGSL file below `shaders`, without `.wgsl`.
    pub shader: &'static str,
    /// Constants of `package::config`.
    pub consts: &'static [(&'static str, ConstValue)],
    /// Names for `@if(...)`.
    pub features: &'static [&'static str],
    /// What it takes to run.
    pub needs: Needs,
    /// The shading languages it can be expressed in.
    pub languages: &'static [Language],
    /// The adapters on which the conformance suite has executed it, among those that
    /// it has everywhere. On others a session tries a variant before it uses it.
    pub executed_on: &'static [&'static str],
}

impl Variant {
    /// A constant, which is a whole number; `None` if it has none of that name.
    pub(crate) fn constant(&self, name: &str) -> Option<u32> {
        let found = self.consts.iter().find(|(own, _)| *own == name);
        found.and_then(|(_, value)| match value {
            ConstValue::U32(number) => Some(*number),
            _ => None,
        })
    }
}

/// What a variant needs of a device.
#[derive(Debug, Clone, Copy, PartialEq, Default)]
pub struct Needs {
    /// f16 arithmetic.
    pub f16: bool,
    /// Subgroup operations.
    pub subgroups: bool,
    /// Cooperative matrices with f16 inputs and f32 results of this size.
    pub coop: Option<u32>,
    /// Subgroups of exactly this many invocations.
    pub lanes: Option<u32>,
    /// 64-bit integers in shaders.
    pub int64: bool,
    /// That operands may be rounded to eight bits: a precision, nothing of a device.
    pub int8: bool,
    /// The most storage buffers that one of its shaders binds, where that is more than
    /// the 8 that WebGPU promises; else 8.
    pub storage_buffers: u32,
    /// Invocations per workgroup.
    pub invocations: u32,
    /// Bytes of workgroup memory.
    pub workgroup_bytes: u32,
}

/// A language that naga translates WGSL to.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Language {
    /// Vulkan.
    Spirv,
    /// Metal.
    Msl,
    /// Direct3D 12.
    Hlsl,
}

impl Language {
    /// Every language.
    pub const ALL: &'static [Language] = &[Language::Spirv, Language::Msl, Language::Hlsl];
}

impl Needs {
    /// What the variant computes in.
    pub fn arithmetic(&self) -> Arithmetic {
        match self {
            Needs { int8: true, .. } => Arithmetic::Int8In,
            Needs { f16: true, .. } | Needs { coop: Some(_), .. } => Arithmetic::F16In,
            _ => Arithmetic::F32,
        }
    }

    /// What of this a device lacks; `None` if it lacks nothing.
    pub fn lacking(&self, caps: &DeviceCaps) -> Option<String> {
        let limits = &caps.limits;
        if self.f16 && !caps.f16 {
            Some("f16 arithmetic".into())
        } else if self.subgroups && !caps.subgroups {
            Some("subgroup operations".into())
        } else if self
            .lanes
            .is_some_and(|n| (caps.min_subgroup_size, caps.max_subgroup_size) != (n, n))
        {
            Some(format!("subgroups of {}", self.lanes.unwrap_or(0)))
        } else if self
            .coop
            .is_some_and(|n| caps.coop_shape(n, n, n, CoopScalar::F16, CoopScalar::F32).is_none())
        {
            Some(format!("{0}x{0}x{0} cooperative matrices", self.coop.unwrap_or(0)))
        } else if self.int64 && !caps.int64 {
            Some("64-bit integers".into())
        } else if self.invocations > limits.max_compute_invocations_per_workgroup {
            Some(format!("{} invocations per workgroup", self.invocations))
        } else if self.storage_buffers > limits.max_storage_buffers_per_shader_stage {
            Some(format!("{} storage buffers in a shader", self.storage_buffers))
        } else if self.workgroup_bytes > limits.max_compute_workgroup_storage_size {
            Some(format!("{} bytes of workgroup memory", self.workgroup_bytes))
        } else {
            None
        }
    }
}

/// How the lanes of a software adapter best read what all of them need: by what was
/// measured on lavapipe and SwiftShader (`docs/performance.md`).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Sharing {
    /// One read for all of them.
    Alike,
    /// Each of four lanes reads a part, in vectors, and hands it to the others.
    Quads,
    /// Each of eight lanes reads a number, and hands it to the others.
    Lanes,
}

impl Sharing {
    /// What suits a device.
    pub(crate) fn of(caps: &DeviceCaps) -> Sharing {
        match (caps.min_subgroup_size, caps.max_subgroup_size) {
            _ if !caps.subgroups => Sharing::Alike,
            (_, ..=4) => Sharing::Quads,
            (8, 8) => Sharing::Lanes,
            _ => Sharing::Alike,
        }
    }
}

/// What the user or a test asks of the choice of variants.
#[derive(Debug, Clone, Default, PartialEq, Eq, Hash)]
pub struct Policy {
    /// Family to the name of the variant it must use.
    pub force: BTreeMap<String, String>,
    /// `family/variant` names that must not be used.
    pub forbid: BTreeSet<String>,
    /// Allow variants that round operands or results of inner products to f16.
    pub allow_f16: bool,
    /// Allow products of quantised weights whose other operand is rounded to whole
    /// numbers of eight bits, 32 with one scale. What that gains depends on how a device
    /// multiplies them; it was measured on no GPU. Cooperative matrices come first where
    /// `allow_f16` has them. The CPU backend does so for at most four rows, where the
    /// processor has AVX2.
    pub allow_int8: bool,
    /// Use variants that have not given right answers on the adapter, and none of
    /// what was measured there: for those who judge kernels themselves. Variants
    /// that are forced are used unproven in any case.
    pub unproven: bool,
}

impl Policy {
    /// See [`GpuCx::choose`](super::GpuCx::choose).
    ///
    /// # Errors
    /// If no variant can run, with the reason for each.
    pub fn choose(
        &self,
        family: &str,
        table: &'static [Variant],
        caps: &DeviceCaps,
        fits: impl Fn(&Variant) -> bool,
    ) -> Result<&'static Variant> {
        let mut reasons = Vec::new();
        for variant in table {
            match self.refuses(family, variant, caps) {
                Some(reason) => reasons.push(format!("{}: {reason}", variant.name)),
                None if !fits(variant) => reasons.push(format!("{}: unfit operands", variant.name)),
                None => return Ok(variant),
            }
        }
        Err(Error::unsupported(family, format!("no variant can run here ({})", reasons.join("; "))))
    }

    fn refuses(&self, family: &str, variant: &Variant, caps: &DeviceCaps) -> Option<String> {
        if let Some(reason) = variant.needs.lacking(caps) {
            return Some(format!("lacks {reason}"));
        }
        if self.forbid.contains(&format!("{family}/{}", variant.name)) {
            return Some("forbidden".into());
        }
        match self.force.get(family) {
            Some(name) if name == variant.name => None,
            Some(name) => Some(format!("{name} is forced")),
            None => self.disallows(&variant.needs).map(Into::into),
        }
    }

    /// The precision among a variant's that was not asked for.
    pub(crate) fn disallows(&self, needs: &Needs) -> Option<&'static str> {
        match needs.arithmetic() {
            Arithmetic::Int8In if !self.allow_int8 => Some("int8 is not allowed"),
            Arithmetic::F16In | Arithmetic::F16 if !self.allow_f16 => Some("f16 is not allowed"),
            _ => None,
        }
    }
}

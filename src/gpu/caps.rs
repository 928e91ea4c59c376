//! What a device can do, as plain data.
//!
//! Planning and variant choice look only at [`DeviceCaps`], so they can be
//! tested for any device without having one.

use super::host;
use std::fmt;

/// A scalar type of a cooperative matrix.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum CoopScalar {
    /// 32-bit float.
    F32,
    /// 16-bit float.
    F16,
    /// 32-bit signed integer.
    I32,
    /// 32-bit unsigned integer.
    U32,
}

impl From<wgpu::CooperativeScalarType> for CoopScalar {
    fn from(t: wgpu::CooperativeScalarType) -> Self {
        match t {
            wgpu::CooperativeScalarType::F32 => CoopScalar::F32,
            wgpu::CooperativeScalarType::F16 => CoopScalar::F16,
            wgpu::CooperativeScalarType::I32 => CoopScalar::I32,
            wgpu::CooperativeScalarType::U32 => CoopScalar::U32,
        }
    }
}

/// One cooperative-matrix configuration: `C[m,n] += A[m,k] * B[k,n]`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct CoopShape {
    /// Rows of A and C.
    pub m: u32,
    /// Columns of B and C.
    pub n: u32,
    /// Columns of A, rows of B.
    pub k: u32,
    /// Element type of A and B.
    pub ab: CoopScalar,
    /// Element type of C and of the result.
    pub cr: CoopScalar,
    /// Whether accumulation saturates.
    pub saturating: bool,
}

impl From<wgpu::CooperativeMatrixProperties> for CoopShape {
    fn from(p: wgpu::CooperativeMatrixProperties) -> Self {
        CoopShape {
            m: p.m_size,
            n: p.n_size,
            k: p.k_size,
            ab: p.ab_type.into(),
            cr: p.cr_type.into(),
            saturating: p.saturating_accumulation,
        }
    }
}

impl fmt::Display for CoopShape {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}x{}x{} {:?}->{:?}", self.m, self.n, self.k, self.ab, self.cr)?;
        if self.saturating { write!(f, " saturating") } else { Ok(()) }
    }
}

/// Mesa's software rasteriser ends the loops of an invocation after 65535
/// iterations, which all its loops share (`LP_MAX_TGSI_LOOP_ITERATIONS` in
/// `gallivm/lp_limits.h`). Mesa 22.3 was seen to do so, Mesa 26.1 was not; what
/// lies between is taken to.
fn loop_iterations(adapter: &str, driver: &str) -> Option<u64> {
    (adapter.contains("llvmpipe") && mesa(driver) < 26).then_some(65535)
}

/// Mesa's software rasteriser computes what is the same for all invocations once, by
/// scalar instructions, and reads and writes so at addresses that are. Mesa 26.1 was
/// seen to do so; 25.0 has vectors for all values, and scalar reads outside of loops only
/// (its `lp_bld_nir_soa.c`).
fn scalar_code(adapter: &str, driver: &str) -> bool {
    adapter.contains("llvmpipe") && mesa(driver) >= 26
}

/// Mesa's major version; 0 where a driver does not name it.
fn mesa(driver: &str) -> u32 {
    let version = driver.split("Mesa ").nth(1).unwrap_or_default();
    version.split('.').next().and_then(|v| v.parse().ok()).unwrap_or(0)
}

/// What an opened device can do, after masks and lowered limits.
#[derive(Debug, Clone, PartialEq)]
pub struct DeviceCaps {
    /// The adapter's name.
    pub name: String,
    /// The driver and its version.
    pub driver: String,
    /// Discrete, integrated, virtual, software or unknown.
    pub device_type: wgpu::DeviceType,
    /// Whether it runs on the CPU; not every driver's type says so.
    pub software: bool,
    /// The graphics interface under WebGPU.
    pub backend: wgpu::Backend,
    /// The limits the device was opened with.
    pub limits: wgpu::Limits,
    /// f16 arithmetic in shaders.
    pub f16: bool,
    /// Subgroup operations in compute shaders.
    pub subgroups: bool,
    /// 64-bit integers in shaders.
    pub int64: bool,
    /// `var<immediate>` (once called push constants); no kernel here uses it.
    pub immediates: bool,
    /// Timestamps at the start and end of a pass.
    pub timestamps: bool,
    /// Timestamps between the dispatches of one pass.
    pub timestamps_in_passes: bool,
    /// A cache of compiled pipelines, which the device's store keeps.
    pub pipeline_cache: bool,
    /// Smallest subgroup the adapter may use, in invocations.
    pub min_subgroup_size: u32,
    /// Largest subgroup the adapter may use, in invocations.
    pub max_subgroup_size: u32,
    /// Cooperative-matrix configurations; empty when there are none or they are masked.
    pub coop: Vec<CoopShape>,
    /// An artificial cap on one binding in bytes, for tests of splitting.
    pub binding_cap: Option<u64>,
    /// How many iterations all loops of one invocation may have together. What
    /// has more is ended by the driver, silently; `None` where nothing is.
    pub loop_iterations: Option<u64>,
    /// Whether what is the same for all invocations costs one scalar instruction, and
    /// what differs goes to memory invocation by invocation.
    pub scalar_code: bool,
    /// Whether the lanes of a software adapter's vectors read and write different places all
    /// at once, faster than one after the other: then what is above is no gain.
    pub gathers: bool,
}

impl DeviceCaps {
    /// A device with exactly WebGPU's default limits and no optional feature.
    ///
    /// The least that any WebGPU device offers; tests of planning start from it.
    pub fn webgpu_minimum() -> Self {
        DeviceCaps {
            name: "WebGPU minimum".into(),
            driver: String::new(),
            device_type: wgpu::DeviceType::Other,
            software: false,
            backend: wgpu::Backend::Noop,
            limits: wgpu::Limits::defaults(),
            f16: false,
            subgroups: false,
            int64: false,
            immediates: false,
            timestamps: false,
            timestamps_in_passes: false,
            pipeline_cache: false,
            min_subgroup_size: 4,
            max_subgroup_size: 128,
            coop: Vec::new(),
            binding_cap: None,
            loop_iterations: None,
            scalar_code: false,
            gathers: false,
        }
    }

    /// The flags and limits of a device opened with `features` and `limits`.
    pub(crate) fn new(
        info: &super::AdapterInfo,
        features: wgpu::Features,
        limits: wgpu::Limits,
        binding_cap: Option<u64>,
    ) -> Self {
        use wgpu::Features as F;
        DeviceCaps {
            name: info.name.clone(),
            driver: info.driver_line(),
            device_type: info.device_type,
            software: info.is_software,
            backend: info.backend,
            limits,
            f16: features.contains(F::SHADER_F16),
            subgroups: features.contains(F::SUBGROUP),
            int64: features.contains(F::SHADER_INT64),
            immediates: features.contains(F::IMMEDIATES),
            timestamps: features.contains(F::TIMESTAMP_QUERY),
            timestamps_in_passes: features.contains(F::TIMESTAMP_QUERY_INSIDE_PASSES),
            pipeline_cache: features.contains(F::PIPELINE_CACHE),
            min_subgroup_size: info.min_subgroup_size,
            max_subgroup_size: info.max_subgroup_size,
            coop: if features.contains(F::EXPERIMENTAL_COOPERATIVE_MATRIX) {
                info.coop_shapes.clone()
            } else {
                Vec::new()
            },
            binding_cap,
            loop_iterations: loop_iterations(&info.name, &info.driver_info),
            scalar_code: scalar_code(&info.name, &info.driver_info),
            // With subgroups of four its vectors are too short for it.
            gathers: scalar_code(&info.name, &info.driver_info)
                && info.max_subgroup_size >= 8
                && host::gathers(),
        }
    }

    /// The most bytes one storage binding may cover, a multiple of 4 and of
    /// the offset alignment, so that consecutive bindings can split a buffer.
    ///
    /// Never over 2^31 - 4: `arrayLength` and byte offsets stay within 31 bits.
    pub fn max_binding(&self) -> u64 {
        let device = self
            .limits
            .max_storage_buffer_binding_size
            .min(self.limits.max_buffer_size)
            .min((1 << 31) - 4);
        let capped = self.binding_cap.map_or(device, |cap| cap.min(device));
        let align = u64::from(self.storage_alignment());
        (capped / align).saturating_mul(align)
    }

    /// The alignment of a storage binding's offset in bytes, at least 4.
    pub fn storage_alignment(&self) -> u32 {
        self.limits.min_storage_buffer_offset_alignment.max(4)
    }

    /// The alignment of a uniform binding's offset in bytes, at least 4.
    pub fn uniform_alignment(&self) -> u32 {
        self.limits.min_uniform_buffer_offset_alignment.max(4)
    }

    /// Whether the driver lets an invocation have so many loop iterations.
    pub fn loops_fit(&self, iterations: u64) -> bool {
        self.loop_iterations.is_none_or(|most| iterations < most)
    }

    /// Whether the device runs on the CPU (lavapipe, SwiftShader, WARP).
    pub fn is_software(&self) -> bool {
        self.software
    }

    /// Invocations of a subgroup that workgroups with cooperative matrices are laid out for:
    /// the most there can be, 32 where the device does not say. Metal's groups have 32 where
    /// it has such matrices, though `wgpu` reports up to 64.
    pub(crate) fn coop_lanes(&self) -> u32 {
        match self.max_subgroup_size {
            0 => 32,
            size if self.backend == wgpu::Backend::Metal => size.min(32),
            size => size,
        }
    }

    /// The configuration with these element types and sizes, if the device has it.
    pub fn coop_shape(
        &self,
        m: u32,
        n: u32,
        k: u32,
        ab: CoopScalar,
        cr: CoopScalar,
    ) -> Option<&CoopShape> {
        self.coop
            .iter()
            .find(|s| s.m == m && s.n == n && s.k == k && s.ab == ab && s.cr == cr && !s.saturating)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_binding_is_capped_and_aligned() {
        let mut caps = DeviceCaps::webgpu_minimum();
        assert_eq!(caps.max_binding(), 128 << 20);
        caps.limits.max_storage_buffer_binding_size = u64::MAX;
        caps.limits.max_buffer_size = u64::MAX;
        let most = caps.max_binding();
        assert!(most <= (1 << 31) - 4 && most.is_multiple_of(256) && most > (1 << 31) - 512);
        caps.binding_cap = Some((1 << 20) + 3);
        assert_eq!(caps.max_binding(), 1 << 20);
        caps.limits.max_buffer_size = 4096;
        assert_eq!(caps.max_binding(), 4096);
    }

    #[test]
    fn coop_shapes_are_found_by_size_and_type() {
        let mut caps = DeviceCaps::webgpu_minimum();
        let shape = CoopShape {
            m: 8,
            n: 8,
            k: 8,
            ab: CoopScalar::F16,
            cr: CoopScalar::F32,
            saturating: false,
        };
        caps.coop.push(shape);
        assert_eq!(caps.coop_shape(8, 8, 8, CoopScalar::F16, CoopScalar::F32), Some(&shape));
        assert_eq!(caps.coop_shape(8, 8, 8, CoopScalar::F16, CoopScalar::F16), None);
        assert_eq!(caps.coop_shape(16, 8, 8, CoopScalar::F16, CoopScalar::F32), None);
    }
}

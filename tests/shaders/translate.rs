//! WGSL to the languages under WebGPU, with the options `wgpu` uses.

use naga::back;
use naga::proc::{BoundsCheckPolicies, BoundsCheckPolicy};
use naga::valid::{Capabilities, ModuleInfo, ValidationFlags, Validator};
use wginfer::gpu::Reflection;
use wginfer::kernels::Language;

/// A shader, checked as for a device.
pub(crate) struct Checked<'a> {
    module: naga::Module,
    info: ModuleInfo,
    reflection: &'a Reflection,
}

impl<'a> Checked<'a> {
    pub(crate) fn new(wgsl: &str, reflection: &'a Reflection) -> Result<Self, String> {
        let module = naga::front::wgsl::parse_str(wgsl).map_err(|e| e.emit_to_string(wgsl))?;
        let info = Validator::new(ValidationFlags::all(), capabilities(reflection))
            .validate(&module)
            .map_err(|e| e.emit_to_string(wgsl))?;
        Ok(Checked { module, info, reflection })
    }

    /// Translates it.
    pub(crate) fn translate(&self, language: Language, zero_workgroup: bool) -> Result<(), String> {
        let Checked { module, info, reflection } = self;
        let length = match language {
            Language::Spirv => spirv(module, info, reflection, zero_workgroup)?,
            Language::Msl => msl(module, info, &reflection.entry, zero_workgroup)?,
            Language::Hlsl => hlsl(module, info, reflection, zero_workgroup)?,
        };
        if length == 0 { Err("nothing was written".into()) } else { Ok(()) }
    }
}

/// What a device with the features that the shader uses allows.
fn capabilities(reflection: &Reflection) -> Capabilities {
    let uses = reflection.uses;
    let mut capabilities = Capabilities::empty();
    capabilities.set(Capabilities::SHADER_FLOAT16, uses.f16);
    capabilities.set(Capabilities::SHADER_FLOAT16_IN_FLOAT32, true);
    capabilities.set(Capabilities::SUBGROUP | Capabilities::SUBGROUP_BARRIER, uses.subgroups);
    capabilities.set(Capabilities::COOPERATIVE_MATRIX, uses.coop);
    capabilities.set(Capabilities::SHADER_INT64, uses.int64);
    capabilities.set(Capabilities::IMMEDIATES, uses.immediates);
    capabilities
}

fn checks() -> BoundsCheckPolicies {
    BoundsCheckPolicies {
        index: BoundsCheckPolicy::Restrict,
        buffer: BoundsCheckPolicy::Restrict,
        image_load: BoundsCheckPolicy::Restrict,
        binding_array: BoundsCheckPolicy::Unchecked,
    }
}

fn spirv(
    module: &naga::Module,
    info: &ModuleInfo,
    reflection: &Reflection,
    zero: bool,
) -> Result<usize, String> {
    use back::spv::{Options, PipelineOptions, ZeroInitializeWorkgroupMemoryMode as Zero};
    let options = Options {
        // Vulkan 1.1 has 1.3; devices with cooperative matrices have 1.6.
        lang_version: if reflection.uses.coop { (1, 6) } else { (1, 3) },
        bounds_check_policies: checks(),
        zero_initialize_workgroup_memory: if zero { Zero::Polyfill } else { Zero::None },
        ..Options::default()
    };
    let pipeline = PipelineOptions {
        shader_stage: naga::ShaderStage::Compute,
        entry_point: reflection.entry.clone(),
    };
    back::spv::write_vec(module, info, &options, Some(&pipeline))
        .map(|words| words.len())
        .map_err(|e| e.to_string())
}

fn msl(module: &naga::Module, info: &ModuleInfo, entry: &str, zero: bool) -> Result<usize, String> {
    use back::msl::{Options, PipelineOptions};
    let options = Options {
        lang_version: (3, 0),
        fake_missing_bindings: true,
        bounds_check_policies: checks(),
        zero_initialize_workgroup_memory: zero,
        ..Options::default()
    };
    let pipeline = PipelineOptions {
        entry_point: Some((naga::ShaderStage::Compute, entry.into())),
        ..PipelineOptions::default()
    };
    let (text, translated) =
        back::msl::write_string(module, info, &options, &pipeline).map_err(|e| e.to_string())?;
    for name in translated.entry_point_names {
        name.map_err(|e| e.to_string())?;
    }
    Ok(text.len())
}

fn hlsl(
    module: &naga::Module,
    info: &ModuleInfo,
    reflection: &Reflection,
    zero: bool,
) -> Result<usize, String> {
    use back::hlsl::{Options, PipelineOptions, ShaderModel, Writer};
    let optional = reflection.uses.f16 || reflection.uses.subgroups;
    let options = Options {
        // The old compiler takes 5.1; f16 and subgroups need the new one.
        shader_model: if optional { ShaderModel::V6_2 } else { ShaderModel::V5_1 },
        fake_missing_bindings: true,
        restrict_indexing: true,
        zero_initialize_workgroup_memory: zero,
        ..Options::default()
    };
    let pipeline = PipelineOptions {
        entry_point: Some((naga::ShaderStage::Compute, reflection.entry.clone())),
    };
    let mut text = String::new();
    let translated = Writer::new(&mut text, &options, &pipeline)
        .write(module, info, None)
        .map_err(|e| e.to_string())?;
    for name in translated.entry_point_names {
        name.map_err(|e| e.to_string())?;
    }
    Ok(text.len())
}

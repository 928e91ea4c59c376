//! Pipelines from shader requests, and bind groups by name.

use std::num::NonZero;
use std::sync::Arc;

use super::Gpu;
use super::caps::DeviceCaps;
use super::errors::lock;
use super::memory::{Buffer, Purpose, bump};
use super::program::{Once, Program, once};
use super::reflect::{Binding, BindingKind, Reflection};
use super::shader::ShaderRequest;
use crate::error::{Error, Result};

/// A compiled shader on a device.
#[derive(Debug)]
pub struct Pipeline {
    /// The request, as text, for messages.
    pub name: String,
    /// WGSL, its fingerprint, and reflection.
    pub program: Arc<Program>,
    /// The layout of group 0.
    pub layout: wgpu::BindGroupLayout,
    /// The `wgpu` pipeline, for recording commands.
    pub raw: wgpu::ComputePipeline,
}

impl Pipeline {
    /// Bindings, parameters and workgroup of the shader.
    pub fn reflection(&self) -> &Reflection {
        &self.program.reflection
    }
}

/// A part of a buffer to bind.
#[derive(Debug, Clone, Copy)]
pub struct BufferBinding<'a> {
    /// The buffer.
    pub buffer: &'a Buffer,
    /// First byte; a multiple of the device's offset alignment.
    pub offset: u64,
    /// Bytes bound; any number up to the buffer's end.
    pub size: u64,
}

impl<'a> From<&'a Buffer> for BufferBinding<'a> {
    /// The whole buffer.
    fn from(buffer: &'a Buffer) -> Self {
        BufferBinding { buffer, offset: 0, size: buffer.len() }
    }
}

/// A bind group and the buffers it keeps alive.
#[derive(Debug, Clone)]
pub struct BindGroup {
    raw: wgpu::BindGroup,
    _keep: Vec<Buffer>,
}

impl BindGroup {
    /// The `wgpu` bind group, for recording commands.
    pub fn raw(&self) -> &wgpu::BindGroup {
        &self.raw
    }
}

impl Gpu {
    /// The pipeline of a request, compiled the first time it is asked for.
    ///
    /// # Errors
    /// `Shader` when it does not compile, `Unsupported` when it uses a
    /// feature the device lacks, `Limit` when it does not fit the device,
    /// `Device` or `DeviceLost` when the driver fails.
    pub fn pipeline(&self, request: &ShaderRequest) -> Result<Arc<Pipeline>> {
        once(&self.pipelines, request, &|| {
            let program = self.program(request)?;
            check_fits(&request.to_string(), &program.reflection, &self.caps)?;
            self.build(request, program)
        })
    }

    /// Whether a shader is compiled without checks of indices and loops.
    pub(crate) fn leaves_checks_out(&self, request: &ShaderRequest) -> bool {
        let confined = self.caps.backend == wgpu::Backend::Vulkan;
        request.in_bounds && confined && !self.options.runtime_checks
    }

    /// [`Gpu::pipeline`] of several requests, side by side on the threads there are.
    /// Drivers take most of the time, and let several in.
    pub fn pipelines(&self, requests: &[&ShaderRequest]) -> Vec<Result<Arc<Pipeline>>> {
        let mut made: Vec<Option<Result<Arc<Pipeline>>>> = requests.iter().map(|_| None).collect();
        crate::threads::pieces(&mut made, 1, 1, &|i, place| {
            place.fill_with(|| Some(self.pipeline(requests[i])));
        });
        let missing = || Err(Error::internal("a pipeline that was not made"));
        made.into_iter().map(|made| made.unwrap_or_else(missing)).collect()
    }

    /// Links shaders side by side; what fails does so again when it is asked for.
    pub fn link(&self, requests: &[&ShaderRequest]) {
        crate::threads::pieces(&mut vec![(); requests.len()], 1, 1, &|i, _| {
            drop(self.program(requests[i]));
        });
    }

    /// Whether the device takes a shader, as far as that is known before its driver
    /// compiles it: the shader links, fits the device's limits and is valid with the
    /// features that it has.
    ///
    /// # Errors
    /// As [`Gpu::pipeline`].
    pub fn accepts(&self, request: &ShaderRequest) -> Result<()> {
        let program = self.program(request)?;
        let name = request.to_string();
        check_fits(&name, &program.reflection, &self.caps)?;
        let doing = format!("validating '{name}'");
        self.scope(doing, 0, |device| drop(self.module(device, request, &name, &program)))
    }

    fn module(
        &self,
        device: &wgpu::Device,
        request: &ShaderRequest,
        name: &str,
        program: &Program,
    ) -> wgpu::ShaderModule {
        let descriptor = wgpu::ShaderModuleDescriptor {
            label: Some(name),
            source: wgpu::ShaderSource::Wgsl(program.wgsl.as_str().into()),
        };
        if !self.leaves_checks_out(request) {
            return device.create_shader_module(descriptor);
        }
        let mut checks = wgpu::ShaderRuntimeChecks::checked();
        checks.bounds_checks = false;
        checks.force_loop_bounding = false;
        // SAFETY: the request says that indices are in bounds and loops end.
        // Vulkan devices are opened with robust buffer access besides. What
        // an operand can bring about, a division by zero, stays checked.
        unsafe { device.create_shader_module_trusted(descriptor, checks) }
    }

    fn build(&self, request: &ShaderRequest, program: Arc<Program>) -> Result<Pipeline> {
        let name = request.to_string();
        let doing = format!("compiling '{name}'");
        let layout_entries: Vec<_> = program.reflection.bindings.iter().map(layout_entry).collect();
        let made = self.scope(&doing, 0, |device| {
            let layout = device.create_bind_group_layout(&wgpu::BindGroupLayoutDescriptor {
                label: Some(&name),
                entries: &layout_entries,
            });
            let pipeline_layout = device.create_pipeline_layout(&wgpu::PipelineLayoutDescriptor {
                label: Some(&name),
                bind_group_layouts: &[Some(&layout)],
                immediate_size: program.reflection.immediate_bytes,
            });
            let module = self.module(device, request, &name, &program);
            let raw = device.create_compute_pipeline(&wgpu::ComputePipelineDescriptor {
                label: Some(&name),
                layout: Some(&pipeline_layout),
                module: &module,
                entry_point: Some(&program.reflection.entry),
                compilation_options: wgpu::PipelineCompilationOptions {
                    constants: &[],
                    zero_initialize_workgroup_memory: request.zero_workgroup,
                },
                cache: self.pipeline_cache.as_ref(),
            });
            (layout, raw)
        });
        let (layout, raw) = match made {
            // The shader is valid WGSL, so this is about the shader on this driver.
            Err(Error::Device { message, .. }) => {
                return Err(Error::Shader { shader: name, what: message });
            }
            other => other?,
        };
        // A driver that fails to compile may lose the device without an error
        // (wgpu issue 10027).
        self.check(&doing)?;
        bump(&self.counts.pipelines);
        Ok(Pipeline { name, program, layout, raw })
    }

    /// Binds buffers to the names the shader gives them.
    ///
    /// A size is rounded up to whole array elements where the allocation has
    /// room, so vector loads may read the padding of the last element.
    ///
    /// # Errors
    /// `Shader` for a missing, unknown or repeated name, or for a buffer that
    /// is bound both read-only and read-write; `Input` for a range outside
    /// the buffer or a misaligned offset; `Limit` over the binding size;
    /// `Device` or `DeviceLost`.
    pub fn bind(
        &self,
        pipeline: &Pipeline,
        buffers: &[(&str, BufferBinding<'_>)],
    ) -> Result<BindGroup> {
        let bindings = &pipeline.program.reflection.bindings;
        let wrong = |what: String| Error::Shader { shader: pipeline.name.clone(), what };
        for (i, (name, _)) in buffers.iter().enumerate() {
            if !bindings.iter().any(|b| b.name == *name) {
                let known: Vec<_> = bindings.iter().map(|b| b.name.as_str()).collect();
                return Err(wrong(format!("no binding '{name}'; there are {}", known.join(", "))));
            }
            if buffers[..i].iter().any(|(other, _)| other == name) {
                return Err(wrong(format!("binding '{name}' is given twice")));
            }
        }
        let mut chosen = Vec::with_capacity(bindings.len());
        for binding in bindings {
            let found = buffers.iter().find(|(name, _)| *name == binding.name);
            let (_, part) =
                found.ok_or_else(|| wrong(format!("nothing is bound to '{}'", binding.name)))?;
            let size = self.bound_size(&pipeline.name, binding, part)?;
            chosen.push((binding, *part, size));
        }
        check_aliasing(&chosen).map_err(wrong)?;
        let entries: Vec<_> = chosen
            .iter()
            .map(|(binding, part, size)| wgpu::BindGroupEntry {
                binding: binding.binding,
                resource: wgpu::BindingResource::Buffer(wgpu::BufferBinding {
                    buffer: part.buffer.raw(),
                    offset: part.offset,
                    size: Some(*size),
                }),
            })
            .collect();
        let raw = self.scope(format_args!("binding '{}'", pipeline.name), 0, |device| {
            device.create_bind_group(&wgpu::BindGroupDescriptor {
                label: Some(&pipeline.name),
                layout: &pipeline.layout,
                entries: &entries,
            })
        })?;
        bump(&self.counts.bind_groups);
        let keep = chosen.iter().map(|(_, part, _)| part.buffer.clone()).collect();
        Ok(BindGroup { raw, _keep: keep })
    }

    /// The bytes to bind for `part`, checked against the buffer and the limits.
    fn bound_size(
        &self,
        shader: &str,
        binding: &Binding,
        part: &BufferBinding<'_>,
    ) -> Result<NonZero<u64>> {
        let at = || format!("'{}' of '{shader}'", binding.name);
        let uniform = binding.kind == BindingKind::Uniform;
        let align = match uniform {
            true => self.caps.uniform_alignment(),
            false => self.caps.storage_alignment(),
        };
        if !part.offset.is_multiple_of(u64::from(align)) {
            let expected = format_args!("an offset that is a multiple of {align}").to_string();
            return Err(Error::input(at(), expected, part.offset));
        }
        let room = part.buffer.size().saturating_sub(part.offset);
        let inside = part.offset.checked_add(part.size).is_some_and(|end| end <= part.buffer.len());
        if !inside || room < binding.min_size {
            return Err(Error::input(
                at(),
                format_args!(
                    "a range of at least {} bytes in the buffer's {}",
                    binding.min_size,
                    part.buffer.len()
                ),
                format_args!("{} bytes at {}", part.size, part.offset),
            ));
        }
        let step = binding.stride.max(4);
        let whole = part.size.max(binding.min_size).div_ceil(step).saturating_mul(step);
        let size = if whole <= room { whole } else { part.size.next_multiple_of(4).min(room) };
        let (limit_name, limit) = match uniform {
            true => {
                let limit = self.caps.limits.max_uniform_buffer_binding_size;
                ("max_uniform_buffer_binding_size", limit)
            }
            false => ("max_storage_buffer_binding_size", self.most_bound()),
        };
        if size > limit {
            let limit_name = limit_name.into();
            return Err(Error::Limit { what: at(), limit_name, needed: size, limit });
        }
        NonZero::new(size).ok_or_else(|| Error::internal("an empty binding"))
    }

    /// The device's limit, or the artificial one of a test.
    fn most_bound(&self) -> u64 {
        let device = self.caps.limits.max_storage_buffer_binding_size;
        self.caps.binding_cap.map_or(device, |cap| cap.min(device))
    }

    /// A buffer for the parameters of a pipeline's uniform.
    ///
    /// # Errors
    /// As [`Gpu::alloc`]; `Shader` when the shader has no parameters.
    pub fn params_buffer(&self, pipeline: &Pipeline) -> Result<Buffer> {
        match pipeline.reflection().params() {
            Some(params) => self.alloc(
                Purpose::Parameters,
                params.min_size,
                Purpose::Parameters.usage(),
                &pipeline.name,
            ),
            None => Err(Error::Shader {
                shader: pipeline.name.clone(),
                what: "it has no parameters".into(),
            }),
        }
    }

    /// Forgets the compiled pipelines that nobody else holds.
    pub fn trim_pipelines(&self) {
        let used = |place: &Once<Pipeline>| {
            Arc::strong_count(place) > 1
                || lock(place).as_ref().is_some_and(|made| Arc::strong_count(made) > 1)
        };
        lock(&self.pipelines).retain(|_, place| used(place));
    }
}

fn layout_entry(binding: &Binding) -> wgpu::BindGroupLayoutEntry {
    let ty = match binding.kind {
        BindingKind::Uniform => wgpu::BufferBindingType::Uniform,
        BindingKind::Read => wgpu::BufferBindingType::Storage { read_only: true },
        BindingKind::ReadWrite => wgpu::BufferBindingType::Storage { read_only: false },
    };
    wgpu::BindGroupLayoutEntry {
        binding: binding.binding,
        visibility: wgpu::ShaderStages::COMPUTE,
        ty: wgpu::BindingType::Buffer {
            ty,
            has_dynamic_offset: false,
            min_binding_size: NonZero::new(binding.min_size),
        },
        count: None,
    }
}

/// WebGPU tracks whole buffers: one that is bound as writable in a dispatch can have no
/// other kind of use in it, not even of another range. What is written overlaps nothing.
fn check_aliasing(
    chosen: &[(&Binding, BufferBinding<'_>, NonZero<u64>)],
) -> std::result::Result<(), String> {
    let writable = |binding: &Binding| binding.kind == BindingKind::ReadWrite;
    let written = |binding: &Binding| writable(binding) && !binding.lent;
    for (i, (a, x, x_size)) in chosen.iter().enumerate() {
        for (b, y, y_size) in &chosen[..i] {
            if !x.buffer.same(y.buffer) || !(writable(a) || writable(b)) {
                continue;
            }
            let apart = x.offset.saturating_add(x_size.get()) <= y.offset
                || y.offset.saturating_add(y_size.get()) <= x.offset;
            if !(writable(a) && writable(b)) || (!apart && (written(a) || written(b))) {
                return Err(format!(
                    "'{}' and '{}' are the same buffer and one is written",
                    b.name, a.name
                ));
            }
        }
    }
    Ok(())
}

/// Checks a shader against a device, or against planned caps.
///
/// # Errors
/// `Unsupported` for a feature the device lacks, `Limit` for a workgroup or
/// a number of bindings over its limits.
pub fn check_fits(shader: &str, r: &Reflection, caps: &DeviceCaps) -> Result<()> {
    let needs = [
        (r.uses.f16, caps.f16, "f16"),
        (r.uses.subgroups, caps.subgroups, "subgroups"),
        (r.uses.coop, !caps.coop.is_empty(), "cooperative matrices"),
        (r.uses.int64, caps.int64, "64-bit integers"),
        (r.uses.immediates, caps.immediates, "immediates"),
    ];
    for (used, has, name) in needs {
        if used && !has {
            return Err(Error::unsupported(
                format_args!("shader '{shader}'"),
                format_args!("{name}, which {} lacks or has masked", caps.name),
            ));
        }
    }
    let l = &caps.limits;
    let [x, y, z] = r.workgroup_size.map(u64::from);
    let storage = r.bindings.iter().filter(|b| b.kind != BindingKind::Uniform).count() as u64;
    let most_binding = r.bindings.iter().map(|b| u64::from(b.binding) + 1).max().unwrap_or(0);
    let checks: [(&str, u64, u32); 8] = [
        ("max_compute_workgroup_size_x", x, l.max_compute_workgroup_size_x),
        ("max_compute_workgroup_size_y", y, l.max_compute_workgroup_size_y),
        ("max_compute_workgroup_size_z", z, l.max_compute_workgroup_size_z),
        (
            "max_compute_invocations_per_workgroup",
            r.invocations(),
            l.max_compute_invocations_per_workgroup,
        ),
        (
            "max_compute_workgroup_storage_size",
            u64::from(r.workgroup_bytes),
            l.max_compute_workgroup_storage_size,
        ),
        ("max_storage_buffers_per_shader_stage", storage, l.max_storage_buffers_per_shader_stage),
        ("max_bindings_per_bind_group", most_binding, l.max_bindings_per_bind_group),
        ("max_immediate_size", u64::from(r.immediate_bytes), l.max_immediate_size),
    ];
    for (limit_name, needed, limit) in checks {
        if needed > u64::from(limit) {
            return Err(Error::Limit {
                what: format!("shader '{shader}'"),
                limit_name: limit_name.into(),
                needed,
                limit: limit.into(),
            });
        }
    }
    Ok(())
}

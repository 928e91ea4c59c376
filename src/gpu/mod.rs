//! The GPU room: adapters, devices, errors, memory, upload, read-back,
//! shaders and pipelines. It knows nothing of operators.
//!
//! ```text
//! adapters().await -> Vec<Adapter>              what there is
//! pick(AdapterChoice).await -> Picked           which to use, and why
//! Gpu::open(&adapter, DeviceOptions).await      an Arc<Gpu>; open_blocking, open_picked, reopen
//! gpu.caps() -> &DeviceCaps                     limits and features as plain data
//!
//! gpu.alloc(Purpose, bytes, usage, label)       a Buffer; Purpose::usage() is the usual usage
//! gpu.memory() / counters() / trim()            bytes held and peaks; objects made; free the pool
//!
//! Uploader::new(&gpu, UPLOAD_CHUNK)             .upload(..) or .upload_with(.., fill, progress)
//! StepWriter::new(&gpu, bytes)                  .write(..)* then .record(&mut encoder).await
//! gpu.record_read(&mut encoder, &[(buffer, offset, len)])
//!                                               a Readback; .with(submission, |parts| ..).await
//! gpu.read(&buffer, offset, len).await          one buffer, by itself
//!
//! gpu.program(&ShaderRequest)                   a cached Arc<Program>: final WGSL, fingerprint
//! gpu.pipeline(&ShaderRequest)                  a cached Arc<Pipeline> with its reflection
//! gpu.pipelines(&[&ShaderRequest])              several, compiled side by side
//! gpu.keep()                                    puts what was compiled into the store
//! gpu.bind(&pipeline, &[(name, (&buffer).into())])
//!                                               a BindGroup that keeps its buffers alive
//! gpu.encoder(label), gpu.submit(doing, encoder)
//! gpu.wait(doing, submission).await, gpu.block_on(future), gpu.tick()
//! gpu.scope(doing, bytes, |device| ..), gpu.check(doing), gpu.is_lost()
//! ```
//!
//! A step in the steady state is: `writer.write` the inputs and parameters,
//! `writer.record` into a new encoder, one compute pass of
//! `set_pipeline` / `set_bind_group(0, ..)` / `dispatch_workgroups`,
//! `record_read` of the outputs, `submit`, `readback.with`. It makes no
//! buffer, no bind group and no pipeline; [`Counters`] proves it.
//!
//! Nothing here starts a thread, sleeps or blocks, except [`Gpu::block_on`] and
//! [`Gpu::open_blocking`], which are for native callers, and there [`Gpu::open`], which
//! waits for one small dispatch where the store does not know its answer.

mod adapters;
mod caps;
mod device;
pub(crate) mod errors;
mod halves;
mod host;
mod loader;
mod matrices;
mod memory;
mod pipeline;
mod program;
mod readback;
mod reflect;
mod shader;
mod upload;

pub use adapters::{Adapter, AdapterChoice, AdapterInfo, Picked, adapters, pick};
pub use caps::{CoopScalar, CoopShape, DeviceCaps};
pub use device::{DeviceOptions, FEATURES, Gpu, OptionalFeature, parse_features};
pub use loader::missing;
pub use memory::{Buffer, Counters, MemoryReport, Purpose, SIZE_STEP};
pub use pipeline::{BindGroup, BufferBinding, Pipeline, check_fits};
pub use program::Program;
pub use readback::Readback;
pub use reflect::{Binding, BindingKind, Member, Reflection, Scalar, Uses};
pub(crate) use shader::library_fingerprint;
pub use shader::{ConstValue, Instance, SHADERS, ShaderProgram, ShaderRequest, compile};
pub(crate) use upload::StepRing;
pub use upload::{StepWriter, UPLOAD_CHUNK, Uploader};

//! The interface between plans and kernels. GPU work is described as data:
//! shader, named bindings, named parameters, grid.

use super::cpu::CpuCx;
use super::variant::{Policy, Variant};
use crate::error::{Error, Result};
use crate::gpu::{DeviceCaps, ShaderRequest};
use crate::graph::{Bindings, Dim, TensorType};
use crate::tensor::DType;
use std::any::Any;
use std::fmt;

/// A computation on operands: the GPU's and the CPU's way to do the same.
pub trait Kernel: fmt::Debug + Send + Sync + Any {
    /// The kernel's name: `family.algorithm-independent name`, for profiles.
    fn name(&self) -> &str;

    /// The dispatches that compute it on a device with the given capabilities.
    ///
    /// # Errors
    /// [`Error::Unsupported`] or [`Error::Limit`] if no variant can run there.
    fn gpu(&self, cx: &GpuCx<'_>) -> Result<Vec<Dispatch>>;

    /// Computes it on the CPU.
    ///
    /// # Errors
    /// If operands hold values out of the kernel's domain (an index, say).
    fn cpu(&self, cx: &mut CpuCx<'_>) -> Result<()>;
}

/// What a kernel knows when it describes its GPU work.
#[derive(Debug)]
pub struct GpuCx<'a> {
    /// Types of the inputs; `None` where absent.
    pub inputs: &'a [Option<TensorType>],
    /// Types of the outputs.
    pub outputs: &'a [TensorType],
    /// The bounds of the symbols: what buffers are sized for.
    pub bounds: &'a Bindings,
    /// What the device can do.
    pub caps: &'a DeviceCaps,
    /// What the user or a test asks for or forbids.
    pub policy: &'a Policy,
    /// Bytes of scratch memory that cost little: what other calls have at other times.
    /// A kernel that can do with less, or without any, takes no more.
    pub room: u64,
}

impl GpuCx<'_> {
    /// The type of an input that must be present.
    ///
    /// # Errors
    /// If it is absent.
    pub fn input(&self, index: usize) -> Result<&TensorType> {
        self.inputs
            .get(index)
            .and_then(Option::as_ref)
            .ok_or_else(|| Error::internal(format!("kernel input {index} is absent")))
    }

    /// The type of an output.
    ///
    /// # Errors
    /// If there is none.
    pub fn output(&self, index: usize) -> Result<&TensorType> {
        self.outputs
            .get(index)
            .ok_or_else(|| Error::internal(format!("kernel output {index} is absent")))
    }

    /// The largest value a dimension can have in this plan.
    ///
    /// # Errors
    /// As [`Dim::eval`].
    pub fn bound(&self, dim: &Dim) -> Result<u64> {
        dim.eval(self.bounds)
    }

    /// What a kernel has to dispatch: nothing where it has results and none of them can
    /// have an element.
    ///
    /// # Errors
    /// As [`Kernel::gpu`].
    pub fn dispatches(&self, kernel: &dyn Kernel) -> Result<Vec<Dispatch>> {
        let mut empty = !self.outputs.is_empty();
        for output in self.outputs {
            empty &= self.bound(&output.elements())? == 0;
        }
        if empty { Ok(Vec::new()) } else { kernel.gpu(self) }
    }

    /// The first variant of the table that this device can run and policy
    /// allows; the forced one where policy forces one of this family.
    ///
    /// # Errors
    /// [`Error::Unsupported`] if none can run, saying why for each.
    pub fn choose(
        &self,
        family: &str,
        table: &'static [Variant],
        fits: impl Fn(&Variant) -> bool,
    ) -> Result<&'static Variant> {
        self.policy.choose(family, table, self.caps, fits)
    }
}

/// One dispatch of a compute shader, as data. Names are those of the WGSL and
/// are checked against its reflection.
#[derive(Debug, Clone)]
pub struct Dispatch {
    /// The shader and its instantiation.
    pub shader: ShaderRequest,
    /// `family/variant`, for coverage and profiles.
    pub variant: String,
    /// A view for each storage binding of the shader.
    pub bindings: Vec<(&'static str, View)>,
    /// A value for each member of the shader's `Params`.
    pub params: Vec<(&'static str, Param)>,
    /// How many workgroups.
    pub grid: Grid,
    /// Roughly how many scalar operations this is, for the time budget.
    pub work: Dim,
}

/// A part of an operand's buffer.
#[derive(Debug, Clone)]
pub struct View {
    /// Whose buffer.
    pub place: Place,
    /// First byte. For quantised weights, counted from the start of the region.
    pub offset: u64,
    /// Bytes; `None` for all that is left.
    pub size: Option<u64>,
}

/// Whose buffer a [`View`] shows.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Place {
    /// An input; the `body` region of a quantised one.
    Input(usize),
    /// The `head` region (scales) of a quantised input.
    Head(usize),
    /// An output.
    Output(usize),
    /// Scratch memory that only this call's dispatches share, by number. Its
    /// size is the largest `offset + size` asked for. Other calls have it at other
    /// times, so what is in it at first is not defined.
    Scratch(usize),
    /// The codebook of a weight type that has one
    /// ([`DeviceLayout::codebook`](crate::quant::DeviceLayout::codebook)).
    Codebook(DType),
    /// One word that is 0 when a run begins and is read with its results: a
    /// kernel that meets a [`Fault`] raises it to the value of its parameter
    /// [`Param::Status`] (`common/status.wgsl`), and the run is an error.
    Status,
}

/// What a kernel may find wrong with the values it computes with.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Fault {
    /// A whole number of 64 bits leaves the 32 that a device has.
    Overflow,
    /// An index is outside of its dimension.
    Index,
}

impl Fault {
    /// The error of a run in which a node met this.
    pub fn error(self, node: &str) -> Error {
        match self {
            Fault::Overflow => Error::unsupported(
                format!("node '{node}'"),
                "a 64-bit integer leaves the 32 bits that a GPU has; the CPU backend computes it",
            ),
            Fault::Index => Error::input(
                format!("indices of node '{node}'"),
                "indices within the dimension",
                "one that is outside",
            ),
        }
    }
}

impl View {
    /// All of a buffer.
    pub fn all(place: Place) -> Self {
        View { place, offset: 0, size: None }
    }

    /// A range of bytes of a buffer.
    pub fn range(place: Place, offset: u64, size: u64) -> Self {
        View { place, offset, size: Some(size) }
    }
}

/// The value of a member of a shader's `Params`.
#[derive(Debug, Clone)]
pub enum Param {
    /// A `u32` computed from run-time extents.
    Dim(Dim),
    /// A `u32`.
    U32(u32),
    /// An `i32`.
    I32(i32),
    /// An `f32`.
    F32(f32),
    /// A `u32`: what to raise [`Place::Status`] to if this is met. The executor
    /// knows the value.
    Status(Fault),
}

impl From<Dim> for Param {
    fn from(dim: Dim) -> Self {
        Param::Dim(dim)
    }
}

impl From<&Dim> for Param {
    fn from(dim: &Dim) -> Self {
        Param::Dim(dim.clone())
    }
}

impl From<u32> for Param {
    fn from(value: u32) -> Self {
        Param::U32(value)
    }
}

impl From<f32> for Param {
    fn from(value: f32) -> Self {
        Param::F32(value)
    }
}

/// The number of workgroups of a dispatch. No workgroups, no dispatch.
#[derive(Debug, Clone)]
pub enum Grid {
    /// So many in a row. Folded into two dimensions where a device's limit per
    /// dimension demands it: the shader computes its number as
    /// `workgroup_id.x + workgroup_id.y * num_workgroups.x` and must ignore
    /// numbers past the end.
    Linear(Dim),
    /// Three dimensions, each within the device's limit or an error.
    Xyz(Dim, Dim, Dim),
}

//! The parameters of a plan's dispatches, in one buffer.

use crate::error::{Error, Result};
use crate::gpu::errors::lock;
use crate::gpu::{Buffer, Gpu, Pipeline, Purpose, Scalar, StepWriter};
use crate::graph::{Bindings, Dim};
use crate::kernels::Param;
use std::sync::Mutex;

/// The parameters of one dispatch: bytes from its own start, and what is there.
type Members = Vec<(usize, Param)>;

/// What dispatches have as parameters: those that are the same are there once.
#[derive(Debug, Default)]
pub(super) struct Table {
    parts: Vec<Part>,
    bytes: usize,
    align: usize,
}

/// The parameters of one dispatch or several.
#[derive(Debug)]
struct Part {
    at: usize,
    size: usize,
    members: Members,
    /// The graph's node that was the first to have them, for messages.
    node: String,
}

/// A plan's parameters on the device.
#[derive(Debug)]
pub(super) struct Params {
    table: Table,
    pub(super) buffer: Buffer,
    /// What the buffer has been filled for.
    written: Mutex<Option<Bindings>>,
}

impl Table {
    /// A table whose parts begin at multiples of so many bytes.
    pub(super) fn new(align: u32) -> Self {
        Table { align: align as usize, ..Table::default() }
    }

    /// Adds what a dispatch has, by the names and types of its shader: where its part
    /// starts, and the bytes of that.
    ///
    /// # Errors
    /// If shader and dispatch have different parameters.
    pub(super) fn add(
        &mut self,
        pipeline: &Pipeline,
        given: Vec<(&'static str, Param)>,
        node: &str,
    ) -> Result<(usize, usize)> {
        let size = pipeline.reflection().params().map_or(0, |params| params.min_size as usize);
        let members = members(pipeline, given)?;
        let same = |part: &&Part| part.size == size && are_same(&part.members, &members);
        if let Some(part) = self.parts.iter().find(same) {
            return Ok((part.at, size));
        }
        let at = self.bytes;
        self.bytes += size.next_multiple_of(self.align.max(1));
        self.parts.push(Part { at, size, members, node: node.into() });
        Ok((at, size))
    }

    /// The table with a buffer on a device.
    ///
    /// # Errors
    /// As [`Gpu::alloc`].
    pub(super) fn on(self, gpu: &Gpu) -> Result<Params> {
        let (purpose, bytes) = (Purpose::Parameters, self.bytes as u64);
        let buffer = gpu.alloc(purpose, bytes, purpose.usage(), "parameters")?;
        Ok(Params { table: self, buffer, written: Mutex::default() })
    }

    fn fill(&self, bindings: &Bindings, bytes: &mut [u8]) -> Result<()> {
        for part in &self.parts {
            let room = bytes.get_mut(part.at..part.at + part.size);
            let room = room.ok_or_else(|| Error::internal("parameters outside their table"))?;
            fill(&part.members, bindings, room).map_err(|error| error.at_node(&part.node))?;
        }
        Ok(())
    }
}

impl Params {
    /// Writes what the parameters are for these values, unless it is there already.
    ///
    /// # Errors
    /// If a quantity does not fit a shader's integers.
    pub(super) fn write(&self, writer: &mut StepWriter, bindings: &Bindings) -> Result<()> {
        // Until the run is through nobody knows what is there.
        let written = lock(&self.written).take();
        if written.as_ref() == Some(bindings) {
            return Ok(());
        }
        let mut filled = Ok(());
        writer.write_with(&self.buffer, 0, self.table.bytes, |bytes| {
            filled = self.table.fill(bindings, bytes);
        })?;
        if filled.is_err() {
            writer.clear();
        }
        filled
    }

    /// Notes that a run with these values was submitted.
    pub(super) fn are_for(&self, bindings: &Bindings) {
        *lock(&self.written) = Some(bindings.clone());
    }
}

fn fill(members: &Members, bindings: &Bindings, bytes: &mut [u8]) -> Result<()> {
    for (at, param) in members {
        let word = match param {
            Param::Dim(dim) => u32_of(dim, bindings)?.to_le_bytes(),
            Param::U32(value) => value.to_le_bytes(),
            Param::Status(_) => return Err(Error::internal("a status code without a number")),
            Param::I32(value) => value.to_le_bytes(),
            Param::F32(value) => value.to_le_bytes(),
        };
        let room = bytes.get_mut(*at..*at + 4);
        room.ok_or_else(|| Error::internal("a parameter outside its table"))?
            .copy_from_slice(&word);
    }
    Ok(())
}

fn u32_of(dim: &Dim, bindings: &Bindings) -> Result<u32> {
    let value = dim.eval(bindings)?;
    u32::try_from(value).map_err(|_| Error::Limit {
        what: format!("the quantity {dim}"),
        limit_name: "32-bit shader integers".into(),
        needed: value,
        limit: u64::from(u32::MAX),
    })
}

/// Whether two dispatches have the same parameters, whatever the values of symbols.
fn are_same(one: &Members, other: &Members) -> bool {
    let same = |(a, b): (&(usize, Param), &(usize, Param))| {
        a.0 == b.0
            && match (&a.1, &b.1) {
                (Param::Dim(a), Param::Dim(b)) => a == b,
                (Param::U32(a), Param::U32(b)) => a == b,
                (Param::I32(a), Param::I32(b)) => a == b,
                // Minus zero is not zero here.
                (Param::F32(a), Param::F32(b)) => a.to_bits() == b.to_bits(),
                _ => false,
            }
    };
    one.len() == other.len() && one.iter().zip(other).all(same)
}

/// Matches parameters to the members of the shader's `Params` by name and type:
/// where each goes in the dispatch's part of the table.
fn members(pipeline: &Pipeline, given: Vec<(&'static str, Param)>) -> Result<Members> {
    let wrong = |what: String| Error::Shader { shader: pipeline.name.clone(), what };
    let members = pipeline.reflection().params().map_or(&[][..], |params| &params.members);
    for member in members {
        let named = given.iter().filter(|(name, _)| *name == member.name).count();
        if named != 1 {
            return Err(wrong(format!("parameter '{}' is given {named} times", member.name)));
        }
    }
    let mut placed = Vec::with_capacity(given.len());
    for (name, param) in given {
        let member = members.iter().find(|member| member.name == name);
        let member = member.ok_or_else(|| wrong(format!("there is no parameter '{name}'")))?;
        let scalar = match &param {
            Param::Dim(_) | Param::U32(_) | Param::Status(_) => Scalar::U32,
            Param::I32(_) => Scalar::I32,
            Param::F32(_) => Scalar::F32,
        };
        if member.count != 1 || member.scalar != scalar {
            let what = format!("parameter '{name}' is {scalar:?} on the host and {member:?} there");
            return Err(wrong(what));
        }
        placed.push((member.offset as usize, param));
    }
    placed.sort_by_key(|(at, _)| *at);
    Ok(placed)
}

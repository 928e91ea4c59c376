//! What of a model is refused, found before anything runs. Stages are imported one
//! after another as a run imports them, with values made up for all that a run gives:
//! so nodes behind a value that only a run can tell are seen as well, with the types
//! that they are going to have. It costs little beside the first run: of what is made up
//! no bytes are there until they are read, and little is computed.
//!
//! Extents are made up with the values, so what is refused may be so for an extent that
//! no run has. It is done twice with different ones, and what is refused both times in
//! the same words is: that depends on operators, types and attributes alone. What a node
//! refuses that has looked at a made-up number is not counted at all.

use super::feeds::Feed;
use super::import::{import_past, start};
use super::memo::Memo;
use super::model::Model;
use super::refused::Refused;
use super::stage::{Answer, Ask, Held, Next, Ran, Src, Table};
use super::state::{Kind, State, Value};
use crate::error::{Error, ErrorKind, Result};
use crate::exec::gpu::Kept;
use crate::formats::onnx::{Dimension, Form, ValueInfo};
use crate::graph::{Bindings, Graph};
use crate::ops::RefTensor;
use crate::tensor::{Bytes, DType, Tensor};
use memmap2::MmapMut;
use std::collections::HashSet;
use std::sync::Arc;

/// The most stages that are looked at: loops may have any number.
const MOST_STAGES: usize = 1024;

/// The most bytes of a tensor that is made up.
const MOST_BYTES: usize = 1 << 28;

/// The most bytes of one that the host looks at or computes with.
const MOST_LOOKED: usize = 1 << 22;

/// From so many bytes on, a tensor that is made up is memory that the system gives page
/// by page when it is touched.
const UNTOUCHED: usize = 1 << 16;

/// The most nodes that an error names.
const MOST_NAMED: usize = 16;

/// What is made up.
#[derive(Debug, Clone, Copy)]
struct Guess {
    /// The extent of a dimension that has no number.
    extent: usize,
    /// The value of numbers that the host looks at. It is also how many elements of
    /// other tensors are not zero: what counts those has so many.
    value: u8,
    /// The most elements of what is folded. The masks that exporters compute from extents
    /// take longer than all else, and no type depends on them.
    folded: Option<usize>,
}

/// The second decides about what the first one refuses, so it folds what a run would.
const GUESSES: [Guess; 2] = [
    Guess { extent: 64, value: 1, folded: Some(1024) },
    Guess { extent: 96, value: 2, folded: None },
];

impl Model {
    /// Whether all nodes can be imported, as far as that can be told from operators,
    /// types and attributes.
    ///
    /// # Errors
    /// [`Error::Unsupported`] that names the nodes that cannot, and why.
    pub(super) fn is_importable(&self) -> Result<()> {
        self.coverage()?;
        self.inputs_are_tensors()?;
        let mut refused = rehearse(self, GUESSES[0]);
        if !refused.is_empty() {
            let again: HashSet<_> =
                rehearse(self, GUESSES[1]).iter().map(Error::to_string).collect();
            refused.retain(|error| again.contains(&error.to_string()));
        }
        match refused.is_empty() {
            true => Ok(()),
            false => {
                refused.truncate(MOST_NAMED);
                Err(Error::joined(refused))
            }
        }
    }
}

/// What is refused on the way through a model.
fn rehearse(model: &Model, guess: Guess) -> Vec<Error> {
    let mut refused = Refused::default();
    let end = go_through(model, guess, &mut refused);
    let mut errors = std::mem::take(&mut refused.errors);
    errors.extend(end.err());
    errors.retain(|error| error.kind() == ErrorKind::Unsupported);
    errors
}

/// Imports stage after stage until there is no other one, or the next one depends on
/// what cannot be made up.
fn go_through(model: &Model, guess: Guess, refused: &mut Refused) -> Result<()> {
    let mut table = Table::default();
    let mut values = Vec::new();
    let wanted = model.inputs().iter().filter(|info| model.default_of(&info.name).is_none());
    for info in wanted {
        values.push((info.name.clone(), guess.input(info, &mut table)?));
    }
    let mut memo = Memo::new(model.constants().into_iter());
    memo.most = guess.folded;
    let mut state = start(model.graph(), values);
    let mut seen = HashSet::new();
    // The signature of a state holds while its tensors live.
    let mut alive = Vec::new();
    for _ in 0..MOST_STAGES {
        let again = !seen.insert(state.signature());
        let imported = import_past(&state, table.0.len(), &mut memo, refused)?;
        let Some(imported) = imported else { return Ok(()) };
        let Next::Go { table: sources, ask, after } = imported.next else { return Ok(()) };
        let ran = guess.ran(imported.graph.as_ref(), &imported.inputs)?;
        if computes_with_much(&sources, &table, &ran) {
            return Ok(());
        }
        table = table.next(&sources, &ran)?;
        note_looks(&after, &ask, &table, refused)?;
        let next = guess.informed(after, &ask, &mut table, again)?;
        alive.push(std::mem::replace(&mut state, next));
    }
    Ok(())
}

/// Whether the host would compute with more than it should for what is made up.
fn computes_with_much(sources: &[Src], table: &Table, ran: &Ran) -> bool {
    let inputs = sources.iter().filter_map(|source| match source {
        Src::Host { inputs, .. } => Some(inputs),
        _ => None,
    });
    let much = |tensor: Tensor| tensor.bytes().len() > MOST_LOOKED;
    inputs.flatten().flatten().any(|input| table.one(input, ran).is_ok_and(much))
}

/// Notes which node looks at a number that is made up: what it refuses may be so for
/// that number alone. A condition chooses a branch, which is there whatever it is.
fn note_looks(after: &State, ask: &Ask, table: &Table, refused: &mut Refused) -> Result<()> {
    let (Ask::Value(index), Some(main)) = (ask, after.frames.first()) else { return Ok(()) };
    if table.tensor(*index)?.dtype() != DType::Bool {
        let is = |value: &Value| matches!(value, Value::Carried(entry, _) if entry == index);
        let named = main.names.iter().filter(|(_, value)| is(value));
        refused.looks(main.at, named.map(|(name, _)| name));
    }
    Ok(())
}

impl Guess {
    /// An input of the model.
    fn input(self, info: &ValueInfo, table: &mut Table) -> Result<Value> {
        match info.form {
            Form::Tensor => {}
            Form::Sequence => return Ok(Value::Sequence(Vec::new())),
            _ => return Ok(Value::Nothing),
        }
        let (Some(dtype), Some(dims)) = (info.dtype, &info.dims) else {
            return Err(Error::internal("an input of any rank is made up"));
        };
        let extent = |dim: &Dimension| match dim {
            Dimension::Number(number) => *number,
            Dimension::Symbol(_) | Dimension::Unknown => self.extent,
        };
        let kind = Kind { dtype, extents: dims.iter().map(extent).collect() };
        table.0.push(Held::Tensor(self.tensor(&kind)?));
        Ok(Value::Carried(table.0.len() - 1, kind))
    }

    /// What the run of a stage gives.
    fn ran(self, graph: Option<&Graph>, inputs: &[Feed]) -> Result<Ran> {
        let outputs = graph.into_iter().flat_map(|graph| {
            graph.outputs().iter().map(|(_, id)| {
                let ty = graph.ty(*id);
                let extents = ty.extents(&Bindings::default())?;
                self.tensor(&Kind { dtype: ty.dtype, extents }).map(Kept::Host)
            })
        });
        let drawn = inputs.iter().map(|feed| match feed {
            Feed::Entry(_) => Ok(None),
            Feed::Drawn(draw) => {
                let kind = Kind { dtype: draw.dtype, extents: draw.extents.clone() };
                self.tensor(&kind).map(Some)
            }
        });
        Ok(Ran { outputs: outputs.collect::<Result<_>>()?, drawn: drawn.collect::<Result<_>>()? })
    }

    /// The state once the host has looked. A loop that comes `again` to where it was
    /// ends: there conditions are false and counts are reached.
    fn informed(self, state: State, ask: &Ask, table: &mut Table, again: bool) -> Result<State> {
        let answer = match ask {
            Ask::Less(..) => Answer::Less(!again),
            Ask::Value(index) => {
                let kind = Kind::of(table.tensor(*index)?);
                if kind.dtype.bytes(&kind.extents)? > MOST_LOOKED {
                    return Err(Error::internal("so much that is made up is looked at"));
                }
                let value = if again { 0 } else { self.value };
                let made = filled(&kind, value, usize::MAX)?;
                if let Some(held) = table.0.get_mut(*index) {
                    *held = Held::Tensor(made);
                }
                Answer::Nothing
            }
            Ask::Nothing | Ask::Kinds(_) => table.answer(ask)?,
        };
        state.informed(ask, &answer, table)
    }

    fn tensor(self, kind: &Kind) -> Result<Tensor> {
        filled(kind, 1, self.value.into())
    }
}

/// A tensor whose first elements, so many of them, have a value; the others are zero.
fn filled(kind: &Kind, value: u8, count: usize) -> Result<Tensor> {
    let Kind { dtype, extents } = kind;
    if *dtype == DType::String {
        let elements = extents.iter().try_fold(1usize, |n, &extent| n.checked_mul(extent));
        let elements = elements.filter(|&elements| elements <= MOST_LOOKED);
        let elements = elements.ok_or_else(|| Error::internal("so many strings are made up"))?;
        return Tensor::from_strings(extents, &vec![""; elements]);
    }
    let size = dtype.bytes(extents)?;
    if size > MOST_BYTES {
        return Err(Error::internal("so large a tensor is made up"));
    }
    let whole = match dtype {
        DType::Bool => value.min(1),
        _ => value,
    };
    let real = RefTensor::real(*dtype, &[], vec![value.into()]).to_tensor();
    let one = real.or_else(|_| RefTensor::int(*dtype, &[], vec![whole.into()]).to_tensor())?;
    let fill = |bytes: &mut [u8]| {
        let elements = bytes.chunks_exact_mut(one.bytes().len().max(1));
        elements.take(count).for_each(|to| to.copy_from_slice(one.bytes()));
    };
    if size < UNTOUCHED {
        let mut bytes = vec![0; size];
        fill(&mut bytes);
        return Tensor::new(*dtype, extents, bytes);
    }
    let none = |_| Error::OutOfMemory { doing: "making up a tensor".into(), bytes: size as u64 };
    let mut map = MmapMut::map_anon(size).map_err(none)?;
    fill(&mut map);
    Tensor::new(*dtype, extents, Bytes::mapped(Arc::new(map.make_read_only().map_err(none)?)))
}

//! The end of a stage: what its graph must give, and what is carried on.

use super::host::HostWork;
use super::import::{Imported, Importer, Wanted, no_tensor};
use super::stage::{Ask, Next, Res, Src};
use super::state::{Kind, State, Value};
use crate::error::{Error, Result};
use crate::graph::{GraphBuilder, ValueId};
use crate::tensor::{DType, Tensor};
use std::collections::HashMap;

/// The next table in the making.
struct Cut<'i, 'm> {
    importer: &'i Importer<'m>,
    table: Vec<Src>,
    /// Entries of the next table by what they were.
    old: HashMap<usize, usize>,
    here: HashMap<ValueId, usize>,
    outputs: Vec<ValueId>,
}

impl Cut<'_, '_> {
    fn entry(&mut self, source: Src) -> usize {
        self.table.push(source);
        self.table.len() - 1
    }

    /// Where a value comes from.
    fn source(&mut self, value: &Value) -> Result<Src> {
        if !value.is_tensor() {
            return Err(no_tensor());
        }
        if let Some(tensor) = self.importer.host(value) {
            return Ok(Src::Known(tensor));
        }
        if let Some(index) = self.importer.entry(value) {
            return Ok(Src::Carried(index));
        }
        if let Some(input) = self.importer.drawn(value) {
            return Ok(Src::Drawn(input));
        }
        let Value::Here(id) = value else {
            return Err(Error::internal("a value of the next stage"));
        };
        let found = self.outputs.iter().position(|other| other == id);
        Ok(Src::Output(found.unwrap_or_else(|| {
            self.outputs.push(*id);
            self.outputs.len() - 1
        })))
    }

    /// Where a result of the model comes from.
    fn result(&mut self, value: &Value) -> Result<Res> {
        Ok(match value {
            Value::Sequence(items) => {
                let items = items.iter().map(|item| self.result(item));
                Res::Sequence(items.collect::<Result<_>>()?)
            }
            Value::Nothing => Res::Nothing,
            Value::Maps(keys, rows) => Res::Maps(keys.clone(), self.source(rows)?),
            tensor => Res::Tensor(self.source(tensor)?),
        })
    }

    /// The value as the next stage sees it.
    fn carry(&mut self, value: &Value) -> Result<Value> {
        match value {
            Value::Next(..) | Value::Nothing => return Ok(value.clone()),
            Value::Sequence(items) => {
                let items = items.iter().map(|item| self.carry(item));
                return items.collect::<Result<_>>().map(Value::Sequence);
            }
            Value::Maps(keys, rows) => {
                return Ok(Value::Maps(keys.clone(), Box::new(self.carry(rows)?)));
            }
            _ => {}
        }
        let kind = self.importer.kind(value)?;
        match self.source(value)? {
            Src::Known(tensor) => Ok(Value::Known(tensor)),
            Src::Carried(old) => {
                let new = match self.old.get(&old) {
                    Some(&new) => new,
                    None => self.entry(Src::Carried(old)),
                };
                self.old.insert(old, new);
                Ok(Value::Next(new, kind))
            }
            source => {
                let Value::Here(id) = value else {
                    return Err(Error::internal("a result that is no value of the graph"));
                };
                let new = match self.here.get(id) {
                    Some(&new) => new,
                    None => self.entry(source),
                };
                self.here.insert(*id, new);
                Ok(Value::Next(new, kind))
            }
        }
    }
}

/// Ends a stage because the host must look at something.
pub(super) fn look(mut importer: Importer<'_>, start: &State, wanted: Wanted) -> Result<Imported> {
    if let Wanted::Value(value) = &wanted
        && let Some(index) = importer.entry(value)
    {
        // The host has it already: nothing need run before.
        let table = (0..importer.entries).map(Src::Carried).collect();
        let next = Next::Go { table, ask: Ask::Value(index), after: start.clone() };
        return Ok(Imported { graph: None, inputs: Vec::new(), next });
    }
    let mut state =
        std::mem::replace(&mut importer.state, State { frames: Vec::new(), answers: Vec::new() });
    let mut cut = Cut {
        importer: &importer,
        table: Vec::new(),
        old: HashMap::new(),
        here: HashMap::new(),
        outputs: Vec::new(),
    };
    let mut ask = match &wanted {
        Wanted::Value(value) => match cut.carry(value)? {
            Value::Next(index, _) => Ask::Value(index),
            other if !other.is_tensor() => return Err(no_tensor()),
            _ => return Err(Error::internal("a known value is asked for")),
        },
        Wanted::Host(work) => host(&mut cut, &mut state, work)?,
        _ => Ask::Nothing,
    };
    state.trim();
    loops(&mut cut, &mut state, &wanted, &mut ask)?;
    let mut failed = Ok(());
    state.values(&mut |value| match cut.carry(value) {
        Ok(carried) => *value = carried,
        Err(error) => failed = Err(error),
    });
    failed?;
    settle(&mut state);
    let (table, outputs) = (cut.table, cut.outputs);
    finish(importer, &outputs, Next::Go { table, ask, after: state })
}

/// What the host computes from the results of the stage, or from what is carried.
/// Only types and extents of that are looked at.
fn host(cut: &mut Cut<'_, '_>, state: &mut State, work: &HostWork) -> Result<Ask> {
    let inputs = work.inputs.iter().map(|value| match value {
        Some(value) => cut.source(value).map(Some),
        None => Ok(None),
    });
    let inputs = inputs.collect::<Result<Vec<_>>>()?;
    let frame = state.frames.last_mut();
    let frame = frame.ok_or_else(|| Error::internal("an import without a graph"))?;
    let mut entries = Vec::new();
    for (number, name) in work.names.iter().enumerate().filter(|(_, name)| !name.is_empty()) {
        let (call, inputs) = (work.call.clone(), inputs.clone());
        let entry = cut.entry(Src::Host { call, inputs, number });
        let unknown = Kind { dtype: DType::F32, extents: Vec::new() };
        frame.names.insert(name.clone(), Value::Next(entry, unknown));
        entries.push(entry);
    }
    Ok(Ask::Kinds(entries))
}

/// What loops carry in ways of their own: their counts, what they gather, and
/// in stages of one iteration each what changes with every one.
fn loops(cut: &mut Cut<'_, '_>, state: &mut State, wanted: &Wanted, ask: &mut Ask) -> Result<()> {
    let innermost = state.loops().count();
    for (depth, state) in state.loops().enumerate() {
        let last = depth + 1 == innermost;
        if state.staged && state.deciding && last {
            for (value, start) in state.carried.iter_mut().zip(&state.start) {
                if let Some(tensor) = cut.importer.host(value)
                    && !same(&tensor, start.as_ref())
                {
                    let kind = Kind::of(&tensor);
                    *value = Value::Next(cut.entry(Src::Known(tensor)), kind);
                }
            }
            state.start.clear();
        }
        count(cut, state)?;
        for scan in &mut state.scans {
            let stack = last && matches!(wanted, Wanted::Gathered);
            match scan.list {
                Some(list) if stack => {
                    let entry = cut.entry(Src::Stack(list));
                    let kind = Kind { dtype: DType::F32, extents: Vec::new() };
                    (scan.list, scan.stacked) = (None, Some(Value::Next(entry, kind)));
                    match ask {
                        Ask::Kinds(entries) => entries.push(entry),
                        _ => *ask = Ask::Kinds(vec![entry]),
                    }
                }
                list if list.is_some() || (state.staged && !scan.items.is_empty()) => {
                    let items = std::mem::take(&mut scan.items);
                    let items = items.iter().map(|item| cut.source(item));
                    let items = items.collect::<Result<Vec<_>>>()?;
                    scan.list = Some(cut.entry(Src::Append(list, items)));
                }
                _ => {}
            }
        }
        if last && let (Wanted::Count(limit), Value::Next(entry, _)) = (wanted, &state.count) {
            *ask = Ask::Less(*entry, *limit);
        }
    }
    Ok(())
}

/// The count of a loop: known, or an entry of the table and some more.
fn count(cut: &mut Cut<'_, '_>, state: &mut super::state::LoopState) -> Result<()> {
    let kind = cut.importer.kind(&state.count)?;
    let source = match (&state.count, cut.importer.host(&state.count)) {
        (_, Some(tensor)) if state.staged => Src::Known(tensor),
        (_, Some(_)) => return Ok(()),
        (Value::Carried(old, _), None) => Src::Plus(*old, state.plus),
        _ => return Err(Error::internal("a loop's count is computed")),
    };
    state.count = Value::Next(cut.entry(source), kind);
    state.plus = 0;
    Ok(())
}

/// Whether a known value is what it was.
fn same(tensor: &Tensor, other: Option<&Tensor>) -> bool {
    other.is_some_and(|other| {
        Kind::of(tensor) == Kind::of(other)
            && (tensor.bytes().as_ptr() == other.bytes().as_ptr()
                || tensor.bytes()[..] == other.bytes()[..])
    })
}

/// Entries of the next table are the entries of the table from now on.
fn settle(state: &mut State) {
    let settle = |value: &mut Value| {
        if let Value::Next(index, kind) = value {
            *value = Value::Carried(*index, kind.clone());
        }
    };
    state.values(&mut { settle });
    state.loops().for_each(|state| settle(&mut state.count));
}

/// Ends the last stage.
pub(super) fn done(importer: Importer<'_>) -> Result<Imported> {
    let mut cut = Cut {
        importer: &importer,
        table: Vec::new(),
        old: HashMap::new(),
        here: HashMap::new(),
        outputs: Vec::new(),
    };
    let mut results = Vec::new();
    let graph = importer.frame()?.graph.clone();
    for output in &graph.outputs {
        let value = importer.find(&output.name)?;
        results.push((output.name.clone(), cut.result(&value)?));
    }
    let outputs = cut.outputs;
    finish(importer, &outputs, Next::Done(results))
}

fn finish(importer: Importer<'_>, outputs: &[ValueId], next: Next) -> Result<Imported> {
    let Importer { mut builder, feeds, .. } = importer;
    let inputs = feeds.list;
    if outputs.is_empty() {
        // What is drawn may be carried on though there is nothing to compute.
        return Ok(Imported { graph: None, inputs, next });
    }
    name(&mut builder, outputs)?;
    Ok(Imported { graph: Some(builder.finish()?), inputs, next })
}

fn name(builder: &mut GraphBuilder, outputs: &[ValueId]) -> Result<()> {
    let mut named = outputs.iter().enumerate();
    named.try_for_each(|(number, &id)| builder.output(&format!("out{number}"), id))
}

//! Stages: a graph, and what to do when it has run.

use super::host::{HostCall, HostResults};
use super::state::{Kind, State, Value};
use super::value::OnnxValue;
use crate::error::{Error, Result};
use crate::exec::gpu::{DeviceTensor, Given, Kept};
use crate::tensor::Tensor;
use std::collections::{HashMap, HashSet};
use std::sync::Arc;

/// Where an entry of the next table comes from.
#[derive(Debug, Clone)]
pub(super) enum Src {
    /// The stage's result of this number.
    Output(usize),
    /// An entry of the table.
    Carried(usize),
    /// The stage's input of this number, which was drawn for it.
    Drawn(usize),
    /// Known when the stage was made.
    Known(Tensor),
    /// A whole number of the table, and so many more.
    Plus(usize, i64),
    /// A list of the table, with more entries.
    Append(Option<usize>, Vec<Src>),
    /// The entries of a list of the table, one after another.
    Stack(usize),
    /// A result of what the host computes.
    Host { call: Arc<HostCall>, inputs: Vec<Option<Src>>, number: usize },
}

impl Src {
    /// Notes the entries of the table that this is made of.
    fn carried(&self, all: &mut HashSet<usize>) {
        match self {
            Src::Carried(index) | Src::Plus(index, _) | Src::Stack(index) => {
                all.insert(*index);
            }
            Src::Append(list, items) => {
                all.extend(list);
                items.iter().for_each(|item| item.carried(all));
            }
            Src::Host { inputs, .. } => {
                inputs.iter().flatten().for_each(|input| input.carried(all));
            }
            Src::Output(_) | Src::Drawn(_) | Src::Known(_) => {}
        }
    }
}

/// Where a result of the model comes from.
#[derive(Debug, Clone)]
pub(super) enum Res {
    Tensor(Src),
    Sequence(Vec<Res>),
    Nothing,
    /// Keys, and the rows with what each map has for them.
    Maps(Tensor, Src),
}

impl Res {
    /// Where the tensors in it come from.
    fn tensors<'r>(&'r self, all: &mut Vec<&'r Src>) {
        match self {
            Res::Tensor(source) | Res::Maps(_, source) => all.push(source),
            Res::Sequence(items) => items.iter().for_each(|item| item.tensors(all)),
            Res::Nothing => {}
        }
    }
}

/// What the host must look at before the import can go on.
#[derive(Debug, Clone)]
pub(super) enum Ask {
    /// Nothing.
    Nothing,
    /// This entry of the next table.
    Value(usize),
    /// Whether this entry of the next table is below a number.
    Less(usize, i64),
    /// The types of these entries of the next table.
    Kinds(Vec<usize>),
}

/// What the host saw.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub(super) enum Answer {
    Nothing,
    Value(Kind, Vec<u8>),
    Less(bool),
    Kinds(Vec<Kind>),
}

/// What comes after a stage.
#[derive(Debug)]
pub(super) enum Next {
    /// The results of the model.
    Done(Vec<(String, Res)>),
    /// Another stage.
    Go {
        /// Makes the next table.
        table: Vec<Src>,
        /// What the host must look at.
        ask: Ask,
        /// Where the import stands.
        after: State,
    },
}

impl Next {
    /// What the host computes for the next table.
    pub(super) fn host_calls(&self) -> impl Iterator<Item = &HostCall> {
        let table = match self {
            Next::Go { table, .. } => table.as_slice(),
            Next::Done(_) => &[],
        };
        table.iter().filter_map(|source| match source {
            Src::Host { call, .. } => Some(call.as_ref()),
            _ => None,
        })
    }

    /// The entries of the table that are read when the stage has run, by the host or by
    /// later stages.
    pub(super) fn carried(&self) -> HashSet<usize> {
        let mut carried = HashSet::new();
        match self {
            Next::Go { table, .. } => table.iter().for_each(|source| source.carried(&mut carried)),
            Next::Done(results) => {
                let mut sources = Vec::new();
                results.iter().for_each(|(_, result)| result.tensors(&mut sources));
                sources.into_iter().for_each(|source| source.carried(&mut carried));
            }
        }
        carried
    }

    /// Which results of the stage nobody on the host looks at.
    pub(super) fn unseen(&self, results: usize) -> Vec<bool> {
        let Next::Go { table, ask, .. } = self else { return vec![false; results] };
        let mut unseen = vec![true; results];
        let mut seen = |source: &Src| {
            if let Src::Output(number) = source
                && let Some(unseen) = unseen.get_mut(*number)
            {
                *unseen = false;
            }
        };
        // Lists are kept on the host, where they are stacked.
        for source in table {
            match source {
                Src::Append(_, items) => items.iter().for_each(&mut seen),
                Src::Host { inputs, .. } => inputs.iter().flatten().for_each(&mut seen),
                _ => {}
            }
        }
        if let Ask::Value(index) | Ask::Less(index, _) = ask
            && let Some(source) = table.get(*index)
        {
            seen(source);
        }
        unseen
    }
}

/// An entry of the table a run carries from stage to stage.
#[derive(Debug, Clone)]
pub(super) enum Held {
    Tensor(Tensor),
    /// What only devices have read so far.
    Device(DeviceTensor),
    List(Vec<Tensor>),
    /// Moved on.
    Gone,
}

/// What running a stage gave.
#[derive(Debug, Default)]
pub(super) struct Ran {
    /// The results of its graph.
    pub(super) outputs: Vec<Kept>,
    /// By number of the graph's input, what was drawn for it.
    pub(super) drawn: Vec<Option<Tensor>>,
}

/// The table a run carries from stage to stage.
#[derive(Debug, Default)]
pub(super) struct Table(pub(super) Vec<Held>);

/// Bytes that came from a device because the host looked at what was left there.
pub(super) type Fetched = u64;

impl Table {
    /// Adds what a run is given, and says what it is to the import.
    pub(super) fn hold(&mut self, value: OnnxValue) -> Value {
        match value {
            OnnxValue::Tensor(tensor) => {
                let kind = Kind::of(&tensor);
                self.0.push(Held::Tensor(tensor));
                Value::Carried(self.0.len() - 1, kind)
            }
            OnnxValue::Sequence(items) => {
                Value::Sequence(items.into_iter().map(|item| self.hold(item)).collect())
            }
            // No input is a map, which the check of the inputs has seen to.
            OnnxValue::Nothing | OnnxValue::Map { .. } => Value::Nothing,
        }
    }

    /// A tensor that is on the host.
    pub(super) fn tensor(&self, index: usize) -> Result<&Tensor> {
        match self.0.get(index) {
            Some(Held::Tensor(tensor)) => Ok(tensor),
            _ => Err(missing(index)),
        }
    }

    /// A tensor, wherever it is.
    pub(super) fn given(&self, index: usize) -> Result<Given<'_>> {
        match self.0.get(index) {
            Some(Held::Tensor(tensor)) => Ok(Given::Host(tensor)),
            Some(Held::Device(tensor)) => Ok(Given::Device(tensor)),
            _ => Err(missing(index)),
        }
    }

    /// A tensor for a stage behind which only these entries are read.
    pub(super) fn given_to(&self, index: usize, carried: &HashSet<usize>) -> Result<Given<'_>> {
        let given = self.given(index)?;
        let Given::Device(tensor) = given else { return Ok(given) };
        let shares = |entry: &usize| match self.0.get(*entry) {
            Some(Held::Device(other)) => other.shares(tensor),
            _ => false,
        };
        Ok(if carried.iter().any(shares) { given } else { Given::Last(tensor) })
    }

    /// Brings an entry to the host, if it is on a device.
    async fn fetch(&mut self, index: usize) -> Result<Fetched> {
        let Some(Held::Device(tensor)) = self.0.get(index) else { return Ok(0) };
        let (bytes, read) = (tensor.bytes(), tensor.read().await?);
        self.0[index] = Held::Tensor(read);
        Ok(bytes)
    }

    /// Brings to the host what these results are taken from.
    pub(super) async fn fetch_results(&mut self, results: &[(String, Res)]) -> Result<Fetched> {
        let (mut bytes, mut sources) = (0, Vec::new());
        results.iter().for_each(|(_, result)| result.tensors(&mut sources));
        for source in sources {
            if let Src::Carried(index) | Src::Plus(index, _) = source {
                bytes += self.fetch(*index).await?;
            }
        }
        Ok(bytes)
    }

    /// Brings to the host what lists of the next table get of this one, and what the
    /// host computes with.
    pub(super) async fn fetch_lists(&mut self, sources: &[Src]) -> Result<Fetched> {
        let mut bytes = 0;
        for source in sources {
            match source {
                Src::Append(_, items) => {
                    for item in items {
                        if let Src::Carried(index) | Src::Plus(index, _) = item {
                            bytes += self.fetch(*index).await?;
                        }
                    }
                }
                Src::Host { inputs, .. } => {
                    for input in inputs.iter().flatten() {
                        if let Src::Carried(index) = input {
                            bytes += self.fetch(*index).await?;
                        }
                    }
                }
                Src::Plus(index, _) => bytes += self.fetch(*index).await?,
                _ => {}
            }
        }
        Ok(bytes)
    }

    /// Brings to the host what the import must look at.
    pub(super) async fn fetch_asked(&mut self, ask: &Ask) -> Result<Fetched> {
        match ask {
            Ask::Value(index) | Ask::Less(index, _) => self.fetch(*index).await,
            Ask::Nothing | Ask::Kinds(_) => Ok(0),
        }
    }

    /// The next table, for the results of a stage.
    pub(super) fn next(mut self, sources: &[Src], ran: &Ran) -> Result<Self> {
        let computed = self.computed(sources, ran)?;
        let mut next = Vec::with_capacity(sources.len());
        for source in sources {
            next.push(match source {
                Src::Host { call, number, .. } => {
                    let result = computed.get(&Arc::as_ptr(call)).and_then(|all| all.get(*number));
                    let result = result.cloned().flatten();
                    let missing =
                        || Error::unsupported(&call.name, format_args!("output {number}"));
                    Held::Tensor(result.ok_or_else(missing)?)
                }
                source => self.make(source, ran)?,
            });
        }
        Ok(Table(next))
    }

    /// What the host computes for the next table; several results of a node are
    /// computed once.
    fn computed(
        &self,
        sources: &[Src],
        ran: &Ran,
    ) -> Result<HashMap<*const HostCall, HostResults>> {
        let mut computed = HashMap::new();
        for source in sources {
            let Src::Host { call, inputs, .. } = source else { continue };
            if computed.contains_key(&Arc::as_ptr(call)) {
                continue;
            }
            let inputs = inputs.iter().map(|input| match input {
                Some(source) => self.one(source, ran).map(Some),
                None => Ok(None),
            });
            let inputs = inputs.collect::<Result<Vec<_>>>()?;
            computed.insert(Arc::as_ptr(call), call.run(&inputs)?);
        }
        Ok(computed)
    }

    fn make(&mut self, source: &Src, ran: &Ran) -> Result<Held> {
        Ok(match source {
            Src::Carried(index) => match self.0.get_mut(*index) {
                // Every list goes to one place only.
                Some(list @ Held::List(_)) => std::mem::replace(list, Held::Gone),
                Some(held) => held.clone(),
                None => return Err(missing(*index)),
            },
            Src::Output(number) => match ran.outputs.get(*number) {
                Some(Kept::Device(tensor)) => Held::Device(tensor.clone()),
                _ => Held::Tensor(self.one(source, ran)?),
            },
            Src::Append(list, more) => {
                let mut items = match list {
                    Some(index) => self.take_list(*index)?,
                    None => Vec::new(),
                };
                for source in more {
                    items.push(self.one(source, ran)?);
                }
                Held::List(items)
            }
            Src::Stack(list) => Held::Tensor(stack(&self.take_list(*list)?)?),
            other => Held::Tensor(self.one(other, ran)?),
        })
    }

    /// A result of the model.
    pub(super) fn result(&self, result: &Res, ran: &Ran) -> Result<OnnxValue> {
        Ok(match result {
            Res::Tensor(source) => OnnxValue::Tensor(self.one(source, ran)?),
            Res::Sequence(items) => {
                let items = items.iter().map(|item| self.result(item, ran));
                OnnxValue::Sequence(items.collect::<Result<_>>()?)
            }
            Res::Nothing => OnnxValue::Nothing,
            Res::Maps(keys, source) => OnnxValue::maps(keys, &self.one(source, ran)?)?,
        })
    }

    /// A single tensor on the host.
    pub(super) fn one(&self, source: &Src, ran: &Ran) -> Result<Tensor> {
        match source {
            Src::Output(number) => match ran.outputs.get(*number) {
                Some(Kept::Host(tensor)) => Ok(tensor.clone()),
                _ => Err(Error::internal(format!("a stage without result {number} on the host"))),
            },
            Src::Carried(index) => self.tensor(*index).cloned(),
            Src::Known(tensor) => Ok(tensor.clone()),
            Src::Drawn(input) => {
                let drawn = ran.drawn.get(*input).cloned().flatten();
                drawn.ok_or_else(|| Error::internal(format!("input {input} is not drawn")))
            }
            Src::Plus(index, more) => {
                let tensor = self.tensor(*index)?;
                let count = whole(tensor)?.checked_add(*more);
                let count = count.ok_or_else(|| Error::internal("a count of iterations"))?;
                Tensor::new(tensor.dtype(), tensor.extents(), count.to_le_bytes().to_vec())
            }
            Src::Append(..) | Src::Stack(_) | Src::Host { .. } => {
                Err(Error::internal("a list where a tensor goes"))
            }
        }
    }

    fn take_list(&mut self, index: usize) -> Result<Vec<Tensor>> {
        match self.0.get_mut(index).map(|held| std::mem::replace(held, Held::Gone)) {
            Some(Held::List(items)) => Ok(items),
            _ => Err(Error::internal(format!("no list {index} among what is carried"))),
        }
    }

    /// Looks at what the import must know.
    pub(super) fn answer(&self, ask: &Ask) -> Result<Answer> {
        Ok(match ask {
            Ask::Nothing => Answer::Nothing,
            Ask::Value(index) => {
                let tensor = self.tensor(*index)?;
                Answer::Value(Kind::of(tensor), tensor.bytes().to_vec())
            }
            Ask::Less(index, limit) => Answer::Less(whole(self.tensor(*index)?)? < *limit),
            Ask::Kinds(indices) => {
                let kinds = indices.iter().map(|&index| {
                    let given = self.given(index)?;
                    let (dtype, extents) = given.kind();
                    Ok(Kind { dtype, extents: extents.to_vec() })
                });
                Answer::Kinds(kinds.collect::<Result<_>>()?)
            }
        })
    }
}

fn missing(index: usize) -> Error {
    Error::internal(format!("no tensor {index} among those carried"))
}

/// A single I64.
fn whole(tensor: &Tensor) -> Result<i64> {
    let bytes = tensor.bytes().as_ref().try_into();
    bytes.map(i64::from_le_bytes).map_err(|_| Error::internal("a count that is no I64"))
}

/// Tensors of one type along a new first axis.
fn stack(items: &[Tensor]) -> Result<Tensor> {
    let first = items.first().ok_or_else(|| Error::internal("nothing to stack"))?;
    let mut bytes = Vec::with_capacity(items.iter().map(|item| item.bytes().len()).sum());
    for item in items {
        if Kind::of(item) != Kind::of(first) {
            let shown = |t: &Tensor| format!("{}{:?}", t.dtype(), t.extents());
            let what = format!("iterations give {} and {}", shown(first), shown(item));
            return Err(Error::rule("Loop", what));
        }
        bytes.extend_from_slice(item.bytes());
    }
    let mut extents = vec![items.len()];
    extents.extend(first.extents());
    Tensor::new(first.dtype(), &extents, bytes)
}

impl State {
    /// The state once the host has looked.
    pub(super) fn informed(mut self, ask: &Ask, answer: &Answer, table: &Table) -> Result<Self> {
        match (ask, answer) {
            (Ask::Value(index), _) => self.learn(*index, table.tensor(*index)?),
            (Ask::Less(..), Answer::Less(less)) => {
                if let Some(state) = self.loops().last() {
                    state.decided = Some(*less);
                }
            }
            (Ask::Kinds(indices), Answer::Kinds(kinds)) => {
                for (&index, kind) in indices.iter().zip(kinds) {
                    self.shape(index, kind);
                }
            }
            _ => {}
        }
        Ok(self)
    }
}

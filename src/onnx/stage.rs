//! Stages: a graph, and what to do when it has run.

use super::state::{Kind, State};
use crate::error::{Error, Result};
use crate::tensor::Tensor;

/// Where an entry of the next table comes from.
#[derive(Debug, Clone)]
pub(super) enum Src {
    /// The stage's result of this number.
    Output(usize),
    /// An entry of the table.
    Carried(usize),
    /// Known when the stage was made.
    Known(Tensor),
    /// A whole number of the table, and so many more.
    Plus(usize, i64),
    /// A list of the table, with more entries.
    Append(Option<usize>, Vec<Src>),
    /// The entries of a list of the table, one after another.
    Stack(usize),
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
    Done(Vec<(String, Src)>),
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

/// An entry of the table a run carries from stage to stage.
#[derive(Debug, Clone)]
pub(super) enum Held {
    Tensor(Tensor),
    List(Vec<Tensor>),
    /// Moved on.
    Gone,
}

/// The table a run carries from stage to stage.
#[derive(Debug, Default)]
pub(super) struct Table(pub(super) Vec<Held>);

impl Table {
    pub(super) fn tensor(&self, index: usize) -> Result<&Tensor> {
        match self.0.get(index) {
            Some(Held::Tensor(tensor)) => Ok(tensor),
            _ => Err(Error::internal(format!("no tensor {index} among those carried"))),
        }
    }

    /// The next table, for the results of a stage.
    pub(super) fn next(mut self, sources: &[Src], outputs: &[Tensor]) -> Result<Self> {
        let mut next = Vec::with_capacity(sources.len());
        for source in sources {
            next.push(self.make(source, outputs)?);
        }
        Ok(Table(next))
    }

    fn make(&mut self, source: &Src, outputs: &[Tensor]) -> Result<Held> {
        Ok(match source {
            Src::Carried(index) => match self.0.get_mut(*index) {
                // Every list goes to one place only.
                Some(list @ Held::List(_)) => std::mem::replace(list, Held::Gone),
                _ => Held::Tensor(self.tensor(*index)?.clone()),
            },
            Src::Append(list, more) => {
                let mut items = match list {
                    Some(index) => self.take_list(*index)?,
                    None => Vec::new(),
                };
                for source in more {
                    items.push(self.one(source, outputs)?);
                }
                Held::List(items)
            }
            Src::Stack(list) => Held::Tensor(stack(&self.take_list(*list)?)?),
            other => Held::Tensor(self.one(other, outputs)?),
        })
    }

    /// A single tensor.
    pub(super) fn one(&self, source: &Src, outputs: &[Tensor]) -> Result<Tensor> {
        match source {
            Src::Output(number) => outputs
                .get(*number)
                .cloned()
                .ok_or_else(|| Error::internal(format!("a stage without result {number}"))),
            Src::Carried(index) => self.tensor(*index).cloned(),
            Src::Known(tensor) => Ok(tensor.clone()),
            Src::Plus(index, more) => {
                let tensor = self.tensor(*index)?;
                let count = whole(tensor)?.checked_add(*more);
                let count = count.ok_or_else(|| Error::internal("a count of iterations"))?;
                Tensor::new(tensor.dtype(), tensor.extents(), count.to_le_bytes().to_vec())
            }
            Src::Append(..) | Src::Stack(_) => Err(Error::internal("a list where a tensor goes")),
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
                let kinds = indices.iter().map(|&index| Ok(Kind::of(self.tensor(index)?)));
                Answer::Kinds(kinds.collect::<Result<_>>()?)
            }
        })
    }
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

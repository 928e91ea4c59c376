//! The inputs of a stage's graph: where each comes from, and what it is called.

use super::draw::Draw;
use crate::graph::ValueId;
use std::collections::{HashMap, HashSet};

/// Where an input of a stage's graph comes from.
#[derive(Debug, Clone)]
pub(super) enum Feed {
    /// An entry of the table.
    Entry(usize),
    /// Random numbers.
    Drawn(Draw),
}

/// The inputs of a graph in the making.
#[derive(Debug, Default)]
pub(super) struct Feeds {
    pub(super) list: Vec<Feed>,
    names: HashSet<String>,
    /// The values that are drawn: which inputs they are.
    drawn: HashMap<ValueId, usize>,
}

impl Feeds {
    /// A name for the next input, which errors call it by: this one if it is free.
    pub(super) fn name(&mut self, wanted: Option<&str>) -> String {
        let wanted = wanted.filter(|name| !self.names.contains(*name)).map(String::from);
        let others = (self.list.len()..).map(|number| format!("in{number}"));
        let free = wanted.or_else(|| others.into_iter().find(|name| !self.names.contains(name)));
        let name = free.unwrap_or_default();
        self.names.insert(name.clone());
        name
    }

    /// The input that a value is, if it is one of random numbers.
    pub(super) fn drawn(&self, id: ValueId) -> Option<usize> {
        self.drawn.get(&id).copied()
    }

    /// The input that has just been added is drawn.
    pub(super) fn draw(&mut self, id: ValueId, draw: Draw) {
        self.drawn.insert(id, self.list.len());
        self.list.push(Feed::Drawn(draw));
    }
}

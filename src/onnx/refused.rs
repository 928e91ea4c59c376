//! Nodes that cannot be imported, and how the import goes on past them.

use super::import::{Flow, Importer};
use crate::error::{Error, ErrorKind, Result};
use crate::formats::onnx::OnnxNode;
use std::collections::HashSet;

/// Nodes of the main graph that cannot be imported. The import goes on past them, so
/// that one error names them all.
#[derive(Debug, Default)]
pub(super) struct Refused {
    pub(super) errors: Vec<Error>,
    /// Values that they or nodes behind them would have made.
    lost: HashSet<String>,
    /// Values that are known only because they were made up, and the nodes of the main
    /// graph that looked at such a value, by number: what those refuse is not noted.
    made_up: HashSet<String>,
    looked: HashSet<usize>,
}

impl Refused {
    /// Notes that a node of the main graph, of this number, looks at a value that is
    /// made up, and what that is called.
    pub(super) fn looks<'n>(&mut self, node: usize, names: impl Iterator<Item = &'n String>) {
        self.looked.insert(node);
        self.made_up.extend(names.cloned());
    }

    fn reads_made_up(&self, node: &OnnxNode) -> bool {
        let inside = node.graphs.values().flat_map(|graph| &graph.captures);
        node.inputs.iter().chain(inside).any(|name| self.made_up.contains(name))
    }
}

impl Importer<'_> {
    /// Whether the import can go on past a node of the main graph.
    pub(super) fn can_pass(&self, error: &Error) -> bool {
        const MOST: usize = 16;
        let refused = &self.refused.errors;
        error.kind() == ErrorKind::Unsupported
            && self.state.frames.len() == 1
            && refused.len() < MOST
    }

    /// Goes on past the current node, whose results are lost.
    pub(super) fn pass(&mut self, error: Option<Error>) -> Result<Flow> {
        let frame = self.state.frames.last_mut();
        let frame = frame.ok_or_else(|| Error::internal("an import without a graph"))?;
        let node = frame.graph.nodes.get(frame.at);
        let lost = node.into_iter().flat_map(|node| &node.outputs);
        self.refused.lost.extend(lost.filter(|name| !name.is_empty()).cloned());
        let made_up = self.refused.looked.contains(&frame.at)
            || node.is_some_and(|node| self.refused.reads_made_up(node));
        self.refused.errors.extend(error.filter(|_| !made_up));
        frame.at += 1;
        self.state.answers.clear();
        Ok(Flow::On)
    }

    /// Goes on past the node of the main graph that something went wrong in or inside of.
    pub(super) fn leave_and_pass(&mut self, error: Error) -> Result<Flow> {
        self.state.frames.truncate(1);
        self.pass(Some(error))
    }

    /// Notes the results of a node of the main graph that are known because what it
    /// reads is made up.
    pub(super) fn note_made_up(&mut self, node: &OnnxNode) {
        if !self.refused.reads_made_up(node) {
            return;
        }
        for name in node.outputs.iter().filter(|name| !name.is_empty()) {
            if self.find(name).is_ok_and(|value| self.host(&value).is_some()) {
                self.refused.made_up.insert(name.clone());
            }
        }
    }

    /// Whether a node needs what is lost, or was passed before.
    pub(super) fn reads_lost(&self, node: &OnnxNode) -> bool {
        let inside = node.graphs.values().flat_map(|graph| &graph.captures);
        let lost = &self.refused.lost;
        let needed = node.inputs.iter().chain(inside).chain(&node.outputs);
        !lost.is_empty() && needed.into_iter().any(|name| lost.contains(name))
    }
}

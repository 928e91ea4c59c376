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
        self.refused.errors.extend(error);
        frame.at += 1;
        self.state.answers.clear();
        Ok(Flow::On)
    }

    /// Goes on past the node of the main graph that something went wrong in or inside of.
    pub(super) fn leave_and_pass(&mut self, error: Error) -> Result<Flow> {
        self.state.frames.truncate(1);
        self.pass(Some(error))
    }

    /// Whether a node needs what is lost, or was passed before.
    pub(super) fn reads_lost(&self, node: &OnnxNode) -> bool {
        let inside = node.graphs.values().flat_map(|graph| &graph.captures);
        let lost = &self.refused.lost;
        let needed = node.inputs.iter().chain(inside).chain(&node.outputs);
        !lost.is_empty() && needed.into_iter().any(|name| lost.contains(name))
    }
}

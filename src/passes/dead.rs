//! Drops nodes whose results nobody reads.

use crate::error::Result;
use crate::graph::Graph;

pub(crate) fn run(graph: &mut Graph) -> Result<usize> {
    let mut needed = vec![false; graph.values.len()];
    for (_, id) in &graph.outputs {
        needed[id.index()] = true;
    }
    for state in &graph.states {
        needed[state.last.index()] = true;
    }
    let mut keep = vec![false; graph.nodes.len()];
    for (node, keep) in graph.nodes.iter().zip(&mut keep).rev() {
        if node.outputs.iter().any(|id| needed[id.index()]) {
            *keep = true;
            for id in node.inputs.iter().flatten() {
                needed[id.index()] = true;
            }
        }
    }
    let before = graph.nodes.len();
    let mut keep = keep.into_iter();
    graph.nodes.retain(|_| keep.next().unwrap_or(true));
    Ok(before - graph.nodes.len())
}

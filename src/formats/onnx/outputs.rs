//! A model with other results: any value of the network can be one.

use super::check;
use super::model::{Form, OnnxFile, OnnxGraph, OnnxNode, ValueInfo};
use crate::error::{Error, Result};
use std::collections::HashSet;
use std::sync::Arc;

impl OnnxFile {
    /// The same network with these values as its results, in this order. Nodes
    /// that none of them needs are left out; weights are shared. Values within
    /// bodies of nodes (`If`, `Loop`, `Scan`) cannot be named.
    ///
    /// # Errors
    /// [`Error::Input`] for a name that no value of the main graph has, and for
    /// one that is given twice.
    pub fn with_outputs(&self, names: &[&str]) -> Result<OnnxFile> {
        let whole = &self.graph;
        let mut made: HashSet<&str> = whole.inputs.iter().map(|info| info.name.as_str()).collect();
        made.extend(whole.initializers.keys().map(String::as_str));
        made.extend(whole.nodes.iter().flat_map(|node| &node.outputs).map(String::as_str));
        let mut given = HashSet::new();
        for &name in names {
            let at = format!("output '{name}'");
            if name.is_empty() || !made.contains(name) {
                return Err(Error::input(at, "a value of the main graph", "a name nothing has"));
            }
            if !given.insert(name) {
                return Err(Error::input(at, "one mention", "two"));
            }
        }
        let outputs = names.iter().map(|name| info(whole, name)).collect();
        let mut graph = OnnxGraph {
            name: whole.name.clone(),
            inputs: whole.inputs.clone(),
            outputs,
            initializers: whole.initializers.clone(),
            nodes: needed(&whole.nodes, given),
            ..OnnxGraph::default()
        };
        check::seal(&mut graph, true, &self.name)?;
        Ok(OnnxFile {
            name: self.name.clone(),
            ir_version: self.ir_version,
            producer: self.producer.clone(),
            opsets: self.opsets.clone(),
            graph: Arc::new(graph),
            metadata: self.metadata.clone(),
        })
    }
}

/// What the file says of a value that is an input or a result, else nothing.
fn info(graph: &OnnxGraph, name: &str) -> ValueInfo {
    let known = graph.outputs.iter().chain(&graph.inputs).find(|info| info.name == name);
    known.cloned().unwrap_or_else(|| ValueInfo {
        name: name.into(),
        dtype: None,
        dims: None,
        form: Form::Tensor,
        spelled: "a value within".into(),
    })
}

/// The nodes that the wanted values need, in their order.
fn needed<'g>(nodes: &'g [OnnxNode], mut wanted: HashSet<&'g str>) -> Vec<OnnxNode> {
    let mut kept = Vec::new();
    for node in nodes.iter().rev() {
        if node.outputs.iter().any(|name| wanted.contains(name.as_str())) {
            wanted.extend(node.inputs.iter().map(String::as_str));
            wanted.extend(node.graphs.values().flat_map(|g| &g.captures).map(String::as_str));
            // An absent input makes no absent output wanted.
            wanted.remove("");
            kept.push(node.clone());
        }
    }
    kept.reverse();
    kept
}

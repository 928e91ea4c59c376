//! The structure of a graph: every name defined once, and before it is read.

use super::model::{OnnxGraph, OnnxNode};
use crate::error::{Error, Result};
use crate::formats::gguf::shown;
use std::cmp::Reverse;
use std::collections::{BinaryHeap, HashMap, HashSet};

/// Checks a graph whose bodies have been checked, and notes what it reads from
/// around and where each value is read last.
pub(super) fn seal(graph: &mut OnnxGraph, outermost: bool, file: &str) -> Result<()> {
    sort(graph);
    let wrong = |node: &str, what: String| {
        let at = format!("node '{}'", shown(node.as_bytes()));
        Err(Error::format(file, at, what))
    };
    let mut defined: HashSet<&str> = HashSet::new();
    for input in &graph.inputs {
        if input.name.is_empty() || !defined.insert(&input.name) {
            let at = format!("input '{}'", shown(input.name.as_bytes()));
            return Err(Error::format(file, at, "without a name, or given twice"));
        }
    }
    defined.extend(graph.initializers.keys().map(String::as_str));
    let makers = makers(graph);
    let mut captures = std::collections::BTreeSet::new();
    let mut last_use: HashMap<String, usize> = HashMap::new();
    for (at, node) in graph.nodes.iter().enumerate() {
        let inside = node.graphs.values().flat_map(|graph| &graph.captures);
        for name in node.inputs.iter().filter(|name| !name.is_empty()).chain(inside) {
            last_use.insert(name.clone(), at);
            if defined.contains(name.as_str()) {
                continue;
            }
            let shown_name = shown(name.as_bytes());
            if let Some(&later) = makers.get(name.as_str()) {
                let later = shown(graph.nodes[later].name.as_bytes());
                let what = format!(
                    "reads '{shown_name}', which node '{later}' makes, and that needs the former: \
                     a graph must be without cycles"
                );
                return wrong(&node.name, what);
            }
            if outermost {
                return wrong(&node.name, format!("reads '{shown_name}', which nothing makes"));
            }
            captures.insert(name.clone());
        }
        for name in node.outputs.iter().filter(|name| !name.is_empty()) {
            if !defined.insert(name) {
                let name = shown(name.as_bytes());
                return wrong(&node.name, format!("makes '{name}', which is defined already"));
            }
        }
    }
    for output in &graph.outputs {
        let at = || format!("output '{}'", shown(output.name.as_bytes()));
        if !defined.contains(output.name.as_str()) {
            if outermost {
                return Err(Error::format(file, at(), "nothing makes it"));
            }
            captures.insert(output.name.clone());
        }
        last_use.insert(output.name.clone(), graph.nodes.len());
    }
    if outermost {
        // Results go by their names; one that is listed twice is one.
        let mut named = HashSet::new();
        graph.outputs.retain(|output| named.insert(output.name.clone()));
    }
    (graph.captures, graph.last_use) = (captures, last_use);
    Ok(())
}

/// Puts nodes behind those whose results they read, as far as there are no cycles;
/// ONNX asks for that order, but not every tool keeps it. Nodes that are in order
/// stay where they are.
fn sort(graph: &mut OnnxGraph) {
    let makers = makers(graph);
    let sources: Vec<Vec<usize>> = graph.nodes.iter().map(|node| reads(node, &makers)).collect();
    if sources.iter().enumerate().all(|(at, from)| from.iter().all(|&from| from < at)) {
        return;
    }
    let mut readers: Vec<Vec<usize>> = vec![Vec::new(); sources.len()];
    let mut open: Vec<usize> = sources.iter().map(Vec::len).collect();
    for (at, from) in sources.iter().enumerate() {
        from.iter().for_each(|&from| readers[from].push(at));
    }
    let free = open.iter().enumerate().filter(|(_, open)| **open == 0);
    let mut ready: BinaryHeap<Reverse<usize>> = free.map(|(at, _)| Reverse(at)).collect();
    let mut order = Vec::with_capacity(open.len());
    while let Some(Reverse(at)) = ready.pop() {
        order.push(at);
        for &reader in &readers[at] {
            open[reader] -= 1;
            if open[reader] == 0 {
                ready.push(Reverse(reader));
            }
        }
    }
    // What is left is in cycles or behind them; the check names one.
    order.extend((0..open.len()).filter(|&at| open[at] > 0));
    let mut nodes: Vec<_> = std::mem::take(&mut graph.nodes).into_iter().map(Some).collect();
    graph.nodes = order.into_iter().filter_map(|at| nodes[at].take()).collect();
}

/// The nodes whose results a node and its bodies read, each once.
fn reads(node: &OnnxNode, makers: &HashMap<&str, usize>) -> Vec<usize> {
    let inside = node.graphs.values().flat_map(|graph| &graph.captures);
    let names = node.inputs.iter().chain(inside);
    let mut from: Vec<usize> =
        names.filter_map(|name| makers.get(name.as_str()).copied()).collect();
    from.sort_unstable();
    from.dedup();
    from
}

/// Which node makes each value.
fn makers(graph: &OnnxGraph) -> HashMap<&str, usize> {
    let mut makers = HashMap::new();
    for (at, node) in graph.nodes.iter().enumerate() {
        let named = node.outputs.iter().filter(|name| !name.is_empty());
        makers.extend(named.map(|name| (name.as_str(), at)));
    }
    makers
}

//! Whether nodes are written as ONNX says: an attribute that an operator does not have
//! would be passed over, and with it what the model means.

use crate::formats::onnx::{OnnxGraph, OnnxNode};
use std::collections::HashMap;
use std::sync::LazyLock;

/// What a version of an operator takes.
struct Schema {
    since: u32,
    least: usize,
    /// `None` for any number.
    most: Option<usize>,
    attributes: Vec<&'static str>,
}

type Schemas = HashMap<(&'static str, &'static str), Vec<Schema>>;

static SCHEMAS: LazyLock<Schemas> = LazyLock::new(|| {
    let mut schemas = Schemas::new();
    for line in include_str!("schemas.txt").lines() {
        if let Some((domain, name, schema)) = parsed(line) {
            schemas.entry((domain, name)).or_default().push(schema);
        }
    }
    schemas.values_mut().for_each(|versions| versions.sort_by_key(|schema| schema.since));
    schemas
});

fn parsed(line: &'static str) -> Option<(&'static str, &'static str, Schema)> {
    let mut words = line.split(' ');
    let domain = match words.next()? {
        "#" => return None,
        "ai.onnx" => "",
        other => other,
    };
    let name = words.next()?;
    let since = words.next()?.parse().ok()?;
    let least = words.next()?.parse().ok()?;
    let most = match words.next()? {
        "*" => None,
        most => Some(most.parse().ok()?),
    };
    Some((domain, name, Schema { since, least, most, attributes: words.collect() }))
}

/// What is wrong with the nodes of a graph and its bodies.
pub(super) fn misused(graph: &OnnxGraph) -> Vec<String> {
    graph.all_nodes().into_iter().filter_map(wrong).collect()
}

fn wrong(node: &OnnxNode) -> Option<String> {
    let versions = SCHEMAS.get(&(node.domain.as_str(), node.op_type.as_str()))?;
    // Operators are also written into models that are older than they.
    let own = versions.iter().rfind(|schema| schema.since <= node.opset);
    let schema = own.or(versions.first())?;
    let names = node.attributes.names().chain(node.graphs.keys().map(String::as_str));
    // ONNX keeps names of this kind for tools.
    let mut unknown =
        names.filter(|name| !schema.attributes.contains(name) && !name.starts_with("__"));
    let what = if let Some(name) = unknown.next() {
        let has = match schema.attributes.is_empty() {
            true => "which has none".into(),
            false => format!("which has {}", schema.attributes.join(", ")),
        };
        format!("attribute '{name}' of {}, {has}", node.op_type)
    } else {
        // Absent inputs at the end are no inputs.
        let count = node.inputs.iter().rposition(|name| !name.is_empty()).map_or(0, |at| at + 1);
        match schema.most {
            Some(most) if count > most => {
                format!("{count} inputs of {}, which takes {most} at most", node.op_type)
            }
            _ if count < schema.least && node.inputs.len() < schema.least => {
                format!("{count} inputs of {}, which takes {} at least", node.op_type, schema.least)
            }
            _ => return None,
        }
    };
    Some(format!("node '{}': {what}", node.name))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_line_is_understood() {
        let lines = include_str!("schemas.txt").lines().filter(|line| !line.starts_with('#'));
        let (lines, known) = (lines.count(), SCHEMAS.values().map(Vec::len).sum::<usize>());
        assert_eq!(lines, known);
        assert!(known > 700, "{known}");
        let conv = &SCHEMAS[&("", "Conv")];
        assert_eq!(conv.iter().map(|schema| schema.since).collect::<Vec<_>>(), [1, 11, 22]);
        assert_eq!((conv[0].least, conv[0].most), (2, Some(3)));
        assert!(conv[0].attributes.contains(&"strides"));
    }
}

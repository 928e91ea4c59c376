//! Which values of a network are shown.

use crate::failure::Failure;
use glob::Pattern;
use wginfer::onnx::Model;

/// The most layers of one picture.
const MOST: usize = 64;
/// So many are shown where none is named, of so many that are looked at.
pub(super) const SPREAD: usize = 8;
const LOOKED_AT: usize = 4 * SPREAD;

/// A value of the main graph that a node makes.
#[derive(Debug, Clone, PartialEq)]
pub(super) struct Layer {
    pub(super) value: String,
    pub(super) node: String,
    pub(super) operator: String,
}

impl Layer {
    /// An input of the model, which no node makes.
    pub(super) fn input(name: &str) -> Self {
        Layer { value: name.into(), node: String::new(), operator: "input".into() }
    }
}

/// All values that nodes make, in order; those of constants are left out.
pub(super) fn all(model: &Model) -> Vec<Layer> {
    let nodes = model.file().graph.nodes.iter().filter(|node| node.op_type != "Constant");
    let layers = nodes.flat_map(|node| {
        let named = node.outputs.iter().filter(|name| !name.is_empty());
        named.map(|name| Layer {
            value: name.clone(),
            node: node.name.clone(),
            operator: node.op_type.clone(),
        })
    });
    layers.collect()
}

/// The layers that are asked for, in the network's order.
pub(super) fn choose<'l>(all: &'l [Layer], wanted: &[String]) -> Result<Vec<&'l Layer>, Failure> {
    if wanted.is_empty() {
        return spread(all);
    }
    let mut chosen = vec![false; all.len()];
    for name in wanted {
        let mut found = false;
        // A name may hold what would be a pattern, so it comes first.
        let exact = all.iter().any(|layer| layer.value == *name || layer.node == *name);
        let pattern = Pattern::new(name)
            .map_err(|error| Failure::Usage(format!("--layers {name}: {error}")))?;
        for (layer, chosen) in all.iter().zip(&mut chosen) {
            let fits = match exact {
                true => layer.value == *name || layer.node == *name,
                false => pattern.matches(&layer.value) || pattern.matches(&layer.node),
            };
            *chosen |= fits;
            found |= fits;
        }
        if !found {
            return Err(Failure::Usage(format!(
                "--layers {name}: no layer has such a name; --list prints them"
            )));
        }
    }
    let layers: Vec<_> = all.iter().zip(chosen).filter_map(|(l, on)| on.then_some(l)).collect();
    if layers.len() > MOST {
        return Err(Failure::Usage(format!(
            "--layers: {} layers, of which a picture has at most {MOST}",
            layers.len()
        )));
    }
    Ok(layers)
}

/// Layers from the first to the last: convolutions if there are any, else
/// other operators with weights, else whatever there is.
fn spread(all: &[Layer]) -> Result<Vec<&Layer>, Failure> {
    const KINDS: [&[&str]; 3] = [
        &["Conv", "ConvTranspose", "ConvInteger", "QLinearConv", "DeformConv", "FusedConv"],
        &["Attention", "MultiHeadAttention", "LSTM", "GRU", "RNN", "MatMul", "Gemm", "FusedMatMul"],
        &[],
    ];
    let of = |kinds: &[&str]| -> Vec<&Layer> {
        let fits = |layer: &&Layer| kinds.is_empty() || kinds.contains(&layer.operator.as_str());
        all.iter().filter(fits).collect()
    };
    let found = KINDS.iter().map(|kinds| of(kinds)).find(|layers| !layers.is_empty());
    let found = found.ok_or_else(|| Failure::Usage("the model has no layers".into()))?;
    Ok(spaced(found, LOOKED_AT))
}

/// At most so many of a list, evenly spaced, with its first and last.
pub(super) fn spaced<T>(list: Vec<T>, most: usize) -> Vec<T> {
    let (length, count) = (list.len(), list.len().min(most));
    let mut wanted = (0..count).map(|i| i * (length - 1) / (count - 1).max(1)).peekable();
    let kept = list.into_iter().enumerate().filter(|(at, _)| wanted.next_if_eq(at).is_some());
    kept.map(|(_, item)| item).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn layers() -> Vec<Layer> {
        let layer = |i: usize| Layer {
            value: format!("v{i}"),
            node: format!("/block.{}/node[{i}]", i / 10),
            operator: if i.is_multiple_of(2) { "Conv" } else { "Relu" }.into(),
        };
        (0..100).map(layer).collect()
    }

    fn names(wanted: &[&str]) -> Option<Vec<String>> {
        let wanted: Vec<_> = wanted.iter().map(|&name| name.to_string()).collect();
        let all = layers();
        let chosen = choose(&all, &wanted).ok()?;
        Some(chosen.into_iter().map(|layer| layer.value.clone()).collect())
    }

    #[test]
    fn names_come_before_patterns() {
        assert_eq!(names(&["/block.1/node[12]"]).unwrap(), ["v12"]);
        assert_eq!(names(&["v3", "/block.0/*2*"]).unwrap(), ["v2", "v3"]);
        assert_eq!(names(&["/block.7/*"]).unwrap().len(), 10);
        assert!(names(&["v3", "w*"]).is_none() && names(&["*"]).is_none());
    }

    #[test]
    fn without_names_convolutions_are_spread() {
        let spread = names(&[]).unwrap();
        assert_eq!(spread.len(), LOOKED_AT);
        let few = spaced(spread, SPREAD);
        assert_eq!(few.len(), SPREAD);
        assert_eq!((few[0].as_str(), few[SPREAD - 1].as_str()), ("v0", "v98"));
        assert_eq!(spaced(vec![7], SPREAD), [7]);
        assert!(spaced(Vec::<u8>::new(), SPREAD).is_empty());
    }
}

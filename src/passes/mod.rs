//! Passes over a graph, from one graph to the next. Each has a name and can be
//! left out by it, as can the planner's sharing of memory.

mod activations;
mod append;
mod attention;
mod chain;
mod conv;
pub(crate) mod dead;
mod epilogue;
pub(crate) mod fold;
mod gate;
mod norms;
mod rewrite;
mod skip_norm;
mod terms;
mod transposes;

use crate::error::{Error, Result};
use crate::graph::Graph;
use std::collections::BTreeSet;

/// A pass: it changes the graph or how it is laid out.
#[derive(Debug, Clone, Copy)]
pub struct Pass {
    /// The name by which it is left out.
    pub name: &'static str,
    /// What it does, for people.
    pub about: &'static str,
    /// `None` where it is no change of the graph but the planner's work.
    run: Option<fn(&mut Graph) -> Result<usize>>,
}

impl Pass {
    /// Whether it goes from graph to graph.
    pub fn rewrites(&self) -> bool {
        self.run.is_some()
    }
}

/// The name of the memory plan by lifetime. Without it every computed value has
/// memory of its own.
pub const MEMORY: &str = "memory";

/// All passes, in the order they run.
pub const PASSES: &[Pass] = &[
    Pass { name: "fold", about: "computes what depends on constants only", run: Some(fold::run) },
    Pass {
        name: "attention",
        about: "products and softmax that are attention into one",
        run: Some(attention::run),
    },
    Pass {
        name: "layer_norm",
        about: "LayerNormalization spelled out with means and roots",
        run: Some(norms::layer),
    },
    Pass {
        name: "rms_norm",
        about: "RMSNormalization spelled out with means and roots",
        run: Some(norms::rms),
    },
    Pass { name: "gelu", about: "GELU spelled out with erf or tanh", run: Some(activations::gelu) },
    Pass { name: "silu", about: "SiLU and Mish spelled out", run: Some(activations::silu) },
    Pass {
        name: "hard_swish",
        about: "HardSwish spelled out with clip or hard sigmoid",
        run: Some(activations::hard_swish),
    },
    Pass {
        name: "transposes",
        about: "transpositions towards the results, where they cancel",
        run: Some(transposes::run),
    },
    Pass {
        name: "bias",
        about: "bias into the matrix product before it",
        run: Some(epilogue::bias),
    },
    Pass {
        name: "gate",
        about: "gate and up projection, activation and product into one",
        run: Some(gate::products),
    },
    Pass {
        name: "affine",
        about: "constants for each channel into the convolution before them",
        run: Some(conv::affine),
    },
    Pass { name: "residual", about: "residual into a convolution", run: Some(conv::residual) },
    Pass {
        name: "activation",
        about: "activation into the matrix product or convolution before it",
        run: Some(epilogue::activation),
    },
    Pass {
        name: "gated",
        about: "activation into the product after it",
        run: Some(gate::elements),
    },
    Pass { name: "skip_norm", about: "residual with normalisation", run: Some(skip_norm::run) },
    Pass {
        name: "append",
        about: "rotation of queries and keys with the caches they go to",
        run: Some(append::scatter),
    },
    Pass {
        name: "projections",
        about: "products for queries, keys and values into one",
        run: Some(append::projections),
    },
    Pass { name: "dead", about: "drops nodes whose results nobody reads", run: Some(dead::run) },
    Pass {
        name: "chain",
        about: "elementwise operators one after another into one",
        run: Some(chain::run),
    },
    Pass { name: MEMORY, about: "values that are not needed together share memory", run: None },
];

/// Runs all passes over the graph but the ones named.
///
/// # Errors
/// If a name is not that of a pass, or a pass finds the graph malformed.
pub fn run(graph: &mut Graph, disabled: &BTreeSet<String>) -> Result<()> {
    if let Some(name) = disabled.iter().find(|name| PASSES.iter().all(|pass| pass.name != **name)) {
        let known: Vec<_> = PASSES.iter().map(|pass| pass.name).collect();
        return Err(Error::input("pass to leave out", format!("one of {known:?}"), name));
    }
    for pass in PASSES.iter().filter(|pass| !disabled.contains(pass.name)) {
        if let Some(run) = pass.run {
            let changed = run(graph)?;
            log::debug!("pass {}: {changed} changes", pass.name);
        }
    }
    Ok(())
}

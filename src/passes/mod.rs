//! Passes from graph to graph. Each has a name and can be left out by it.

mod dead;
mod epilogue;
pub(crate) mod fold;
mod gate;
mod rewrite;
mod skip_norm;
#[cfg(test)]
mod tests;

use crate::error::{Error, Result};
use crate::graph::Graph;
use std::collections::BTreeSet;

/// A pass: it rewrites the graph and says how much it changed.
#[derive(Debug, Clone, Copy)]
pub struct Pass {
    /// The name by which it is left out.
    pub name: &'static str,
    /// What it does, for people.
    pub about: &'static str,
    run: fn(&mut Graph) -> Result<usize>,
}

/// All passes, in the order they run.
pub const PASSES: &[Pass] = &[
    Pass { name: "fold", about: "computes what depends on constants only", run: fold::run },
    Pass { name: "bias", about: "bias into the matrix product before it", run: epilogue::bias },
    Pass {
        name: "gate",
        about: "gate and up projection, activation and product into one",
        run: gate::products,
    },
    Pass {
        name: "activation",
        about: "activation into the matrix product before it",
        run: epilogue::activation,
    },
    Pass { name: "gated", about: "activation into the product after it", run: gate::elements },
    Pass { name: "skip_norm", about: "residual with normalisation", run: skip_norm::run },
    Pass { name: "dead", about: "drops nodes whose results nobody reads", run: dead::run },
];

/// Runs all passes but the ones named.
///
/// # Errors
/// If a name is not that of a pass, or a pass finds the graph malformed.
pub fn run(graph: &mut Graph, disabled: &BTreeSet<String>) -> Result<()> {
    if let Some(name) = disabled.iter().find(|name| PASSES.iter().all(|pass| pass.name != **name)) {
        let known: Vec<_> = PASSES.iter().map(|pass| pass.name).collect();
        return Err(Error::input("pass to leave out", format!("one of {known:?}"), name));
    }
    for pass in PASSES.iter().filter(|pass| !disabled.contains(pass.name)) {
        let changed = (pass.run)(graph)?;
        log::debug!("pass {}: {changed} changes", pass.name);
    }
    Ok(())
}

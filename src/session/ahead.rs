//! Kernels that are compiled while weights are uploaded.

use crate::exec::gpu::Chooser;
use crate::graph::{Bindings, Graph, Symbol};
use crate::threads::{Beside, beside};
use std::collections::{BTreeMap, HashMap};

/// Begins to compile what plans for these values of symbols will need. Dropping what is
/// given back waits for it; `None` if there is nothing to do.
pub(super) fn begin(
    chooser: Chooser,
    graph: &Graph,
    values: &[BTreeMap<String, u64>],
    (fixed, buckets): (&Bindings, &HashMap<Symbol, Vec<u64>>),
) -> Option<Beside> {
    let bound = |values: &BTreeMap<String, u64>| {
        let mut bindings = fixed.clone();
        for (name, value) in values {
            if let Some(symbol) = graph.symbol(name) {
                bindings.set(symbol, *value);
            }
        }
        bounds(&bindings, fixed, buckets)
    };
    let all: Vec<Bindings> = values.iter().map(bound).collect();
    let work = move || {
        for error in all.iter().filter_map(|bounds| chooser.ahead(bounds).err()) {
            // It comes again when the plan is made.
            log::debug!("compiling ahead: {error}");
        }
    };
    (!values.is_empty()).then(|| beside(Box::new(work)))
}

/// The bounds to plan for, given run-time values.
pub(super) fn bounds(
    bindings: &Bindings,
    fixed: &Bindings,
    buckets: &HashMap<Symbol, Vec<u64>>,
) -> Bindings {
    let mut bounds = bindings.clone();
    for (&symbol, buckets) in buckets {
        if let Some(value) = bindings.get(symbol)
            && fixed.get(symbol).is_none()
            && let Some(&bound) = buckets.iter().find(|&&bound| bound >= value)
        {
            bounds.set(symbol, bound);
        }
    }
    bounds
}

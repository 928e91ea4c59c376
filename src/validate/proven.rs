//! Runs that were judged right, so that none is done again that would be the same run:
//! the same dispatches of the same shaders, on the same values.

use super::case::Case;
use super::run::{Outcome, Planned, Target};
use super::setup::Setup;
use crate::gpu::Gpu;
use crate::gpu::errors::lock;
use crate::store::fingerprint;
use crate::tensor::Tensor;
use std::collections::HashMap;
use std::fmt::Write;
use std::sync::Mutex;

/// What one adapter was found to do right, however its devices were opened.
#[derive(Debug, Default)]
pub struct Proven {
    runs: Mutex<HashMap<String, Outcome>>,
}

impl Proven {
    pub(super) fn find(&self, run: &str) -> Option<Outcome> {
        lock(&self.runs).get(run).cloned()
    }

    pub(super) fn add(&self, run: String, outcome: Outcome) {
        lock(&self.runs).insert(run, outcome);
    }
}

/// Names a run by all that makes a difference to what is asked of an adapter, and to how
/// the results are judged: the operator and its values, the arithmetic, and each dispatch
/// with its shader, its parameters and its workgroups. What only made the choice (features,
/// limits, a policy) is not part of it, except where the device shows in what is done.
pub(super) fn name_of(
    case: &Case,
    operands: &[Option<Tensor>],
    setup: &Setup,
    planned: &Planned,
    target: &Target,
    gpu: &Gpu,
) -> String {
    let mut text = format!("{:?} {:?}", case.op, target.arithmetic);
    // Writing to a string cannot fail.
    for input in &case.inputs {
        let kind = input.as_ref().map(|i| (i.dtype, &i.extents, i.constant, i.state));
        let _ = write!(text, " {kind:?}");
    }
    for &id in setup.graph.inputs() {
        let _ = write!(text, " {:?}", setup.graph.ty(id));
    }
    let _ = write!(text, " {:?} {:?}", setup.bounds, setup.values);
    for (dispatch, groups) in &planned.dispatches {
        let unchecked = gpu.leaves_checks_out(&dispatch.shader);
        let _ = write!(text, "\n{dispatch:?} {groups:?} {unchecked}");
    }
    if planned.dispatches.len() > 1 {
        // Where the parameters of the second one are.
        let _ = write!(text, "\n{}", gpu.caps().uniform_alignment());
    }
    let mut parts = vec![text.as_bytes()];
    parts.extend(operands.iter().flatten().map(|tensor| &tensor.bytes()[..]));
    fingerprint(&parts)
}

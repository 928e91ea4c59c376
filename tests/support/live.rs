//! The largest live set of a plan, worked out from its calls alone.

use libtest_mimic::Failed;
use wginfer::plan::{Home, OperandId, Plan};

/// What a slot holds from a write to the last read of it.
#[derive(Debug, Clone, Copy)]
struct Span {
    bytes: u64,
    first: usize,
    last: usize,
}

/// The most bytes of computed values alive during one call, or when the
/// outputs are read.
pub fn largest(plan: &Plan) -> Result<u64, Failed> {
    let mut done: Vec<Span> = Vec::new();
    let mut open: Vec<Option<Span>> = vec![None; plan.slots.len()];
    let read = |open: &mut Vec<Option<Span>>, id: OperandId, at: usize| {
        if let Home::Slot(slot) = plan.operands[id.index()].home
            && let Some(span) = &mut open[slot]
        {
            span.last = at;
        }
    };
    let mut end = 0;
    for (at, call) in plan.calls().enumerate() {
        for id in call.inputs.iter().flatten() {
            read(&mut open, *id, at);
        }
        for id in &call.outputs {
            let operand = &plan.operands[id.index()];
            if let Home::Slot(slot) = operand.home {
                let bytes = operand.ty.bytes(&plan.bounds)? as u64;
                done.extend(open[slot].replace(Span { bytes, first: at, last: at }));
            }
        }
        end = at + 1;
    }
    for (_, id) in &plan.outputs {
        read(&mut open, *id, end);
    }
    done.extend(open.into_iter().flatten());
    let alive = |at: usize| -> u64 {
        done.iter().filter(|s| s.first <= at && at <= s.last).map(|s| s.bytes).sum()
    };
    Ok((0..=end).map(alive).max().unwrap_or(0))
}

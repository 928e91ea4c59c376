// Several elementwise operators in one pass. The module `package::steps` is
// written for each chain (src/kernels/elementwise/chain/source.rs): the operands'
// bindings, where each is read, and the steps, which are functions of
// elementwise/combine.wgsl. One invocation writes ITEMS words.

import package::common::checked::overflowed;
import package::common::status::raise;
import package::config::{ITEMS, LANES, WORKGROUP};
import package::steps::{element, params, whole, y};

@if(!windowed) fn write(at: u32) {
    let first = at * LANES;
    var bits = element(first, 0u);
    // Not every driver sees that a loop has no iteration.
    if LANES > 1u {
        for (var lane = 1u; lane < LANES; lane++) {
            if first + lane < params.count {
                bits |= element(first + lane, lane);
            }
        }
    }
    y[at] = bits;
}

// Elements that need parts of operands that are not bound are left as they are.
@if(windowed) fn write(at: u32) {
    var bits = 0u;
    var mine = 0u;
    for (var lane = 0u; lane < LANES; lane++) {
        let i = at * LANES + lane;
        if i < params.count && whole(i) {
            bits |= element(i, lane);
            mine |= (0xffffffffu >> (32u - 32u / LANES)) << (lane * (32u / LANES));
        }
    }
    if mine != 0u {
        y[at] = (y[at] & ~mine) | bits;
    }
}

@compute @workgroup_size(WORKGROUP)
fn main(
    @builtin(workgroup_id) group: vec3<u32>,
    @builtin(num_workgroups) groups: vec3<u32>,
    @builtin(local_invocation_index) local: u32,
) {
    let number = group.x + group.y * groups.x;
    let first = number * (WORKGROUP * ITEMS) + local;
    let end = first + ITEMS * WORKGROUP;
    var at = first;
    for (; at < end && at * LANES < params.count; at += WORKGROUP) {
        write(at);
    }
    @if(checked) {
        if overflowed() {
            raise(params.status_code);
        }
    }
}

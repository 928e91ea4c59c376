// Several elementwise operators in one pass. The module `package::steps` is
// written for each chain (src/kernels/elementwise/chain/source.rs): the operands'
// bindings, where each is read, and the steps, which are functions of
// elementwise/combine.wgsl. One invocation writes ITEMS words; with `pairs` eight
// neighbouring ones at a time, in words of 64 bits, or sixteen (`twice`), which with
// `picked` all invocations read for each other, each taking its own: then
// elements are words, and their number is a multiple of eight. With `alone` an
// invocation is the only one of its workgroup and writes neighbouring words, four at a
// time or 64 (`many`): every address is one that a whole vector of lanes shares. With
// `fours` neighbouring invocations read and write neighbouring vectors of four words.

import package::common::checked::overflowed;
import package::common::status::raise;
import package::config::{ITEMS, LANES, WORKGROUP};
import package::steps::{eight, eight_of, element, four, params, whole, y};

@if(!pairs && !alone && !fours && !windowed) fn write(at: u32) {
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
@if(!pairs && !alone && !fours && windowed) fn write(at: u32) {
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

@if(many) fn eights(at: u32) {
    four(at);
    four(at + 1u);
    four(at + 2u);
    four(at + 3u);
    four(at + 4u);
    four(at + 5u);
    four(at + 6u);
    four(at + 7u);
}

@compute @workgroup_size(WORKGROUP)
fn main(
    @builtin(workgroup_id) group: vec3<u32>,
    @builtin(num_workgroups) groups: vec3<u32>,
    @builtin(local_invocation_index) local: u32,
) {
    let number = group.x + group.y * groups.x;
    @if(pairs && twice) {
        let end = params.count / 8u;
        let own = number * (WORKGROUP * ITEMS / 8u) + 2u * local;
        for (var i = 0u; i < ITEMS / 16u; i++) {
            let at = own + i * 2u * WORKGROUP;
            // One after the other: a loop's end costs as much as what is done in it.
            if at < end {
                eight(at);
            }
            if at + 1u < end {
                eight(at + 1u);
            }
        }
    }
    @elif(picked) {
        let end = params.count / 8u;
        let own = number * (WORKGROUP * ITEMS / 8u);
        for (var i = 0u; i < ITEMS / 8u; i++) {
            let at = own + i * WORKGROUP;
            if at >= end {
                break;
            }
            eight_of(at, local, end - 1u);
        }
    }
    @elif(pairs) {
        let end = params.count / 8u;
        let own = number * (WORKGROUP * ITEMS / 8u) + local;
        for (var i = 0u; i < ITEMS / 8u; i++) {
            let at = own + i * WORKGROUP;
            if at < end {
                eight(at);
            }
        }
    }
    @elif(alone) {
        var at = number * (ITEMS / 4u);
        let end = min(at + ITEMS / 4u, params.count / 4u);
        // Many at a time: a loop's end costs as much as what is done in it.
        @if(many) {
            for (; at + 16u <= end; at += 16u) {
                eights(at);
                eights(at + 8u);
            }
        }
        for (; at < end; at++) {
            four(at);
        }
    }
    @elif(fours) {
        let end = params.count / 4u;
        let own = number * (WORKGROUP * ITEMS / 4u) + local;
        // One after the other: a loop's end costs as much as what is done in it.
        if own + 7u * WORKGROUP < end {
            four(own);
            four(own + WORKGROUP);
            four(own + 2u * WORKGROUP);
            four(own + 3u * WORKGROUP);
            four(own + 4u * WORKGROUP);
            four(own + 5u * WORKGROUP);
            four(own + 6u * WORKGROUP);
            four(own + 7u * WORKGROUP);
        } else {
            for (var at = own; at < end; at += WORKGROUP) {
                four(at);
            }
        }
    }
    @else {
        let first = number * (WORKGROUP * ITEMS) + local;
        let end = first + ITEMS * WORKGROUP;
        var at = first;
        for (; at < end && at * LANES < params.count; at += WORKGROUP) {
            write(at);
        }
    }
    @if(checked) {
        if overflowed() {
            raise(params.status_code);
        }
    }
}

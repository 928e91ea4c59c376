import package::common::checked::{add_i32, add_u32, mul_i32, mul_u32, overflowed};
import package::common::decode::{In, decode, word_of};
import package::common::status::raise;
import package::config::WORKGROUP;

// One invocation goes along a piece of a line and leaves what it has so far at
// every place; with `totals`, only what there is at the end. With `carried` it
// starts with what the pieces before have come to.
//
// x and y are [outer, n, inner]; a line is cut along n into `pieces` of
// `length`, in the order in which it is gone along.

struct Params {
    // Pieces of this dispatch.
    rows: u32,
    // Elements before the first line.
    base: u32,
    n: u32,
    inner: u32,
    length: u32,
    pieces: u32,
    // What the status word is raised to where a result has no room.
    @if(checked) status_code: u32,
}

@group(0) @binding(0) var<uniform> params: Params;
@group(0) @binding(1) var<storage, read> x: array<u32>;
// The result, or a total for each of [outer, pieces, inner].
@group(0) @binding(2) var<storage, read_write> y: array<u32>;
@if(carried) @group(0) @binding(3) var<storage, read> carry: array<u32>;

fn combine(a: In, b: In) -> In {
    @if(product && checked && in_i32) return mul_i32(a, b);
    @if(product && checked && in_u32) return mul_u32(a, b);
    @if(product && !checked) return a * b;
    @if(!product && checked && in_i32) return add_i32(a, b);
    @if(!product && checked && in_u32) return add_u32(a, b);
    @if(!product && !checked) return a + b;
}

fn place(start: u32, position: u32) -> u32 {
    @if(reverse) return start + (params.n - 1u - position) * params.inner;
    @else return start + position * params.inner;
}

@compute @workgroup_size(WORKGROUP)
fn main(
    @builtin(workgroup_id) group: vec3<u32>,
    @builtin(num_workgroups) groups: vec3<u32>,
    @builtin(local_invocation_index) lane: u32,
) {
    let row = (group.x + group.y * groups.x) * WORKGROUP + lane;
    if row >= params.rows {
        return;
    }
    let outer = row / params.inner;
    let piece = outer % params.pieces;
    let start = params.base + outer / params.pieces * params.n * params.inner + row % params.inner;
    let begin = min(piece * params.length, params.n);
    let end = min(begin + params.length, params.n);
    @if(product) var all = In(1);
    @else var all = In(0);
    @if(carried) all = decode(carry[row], row);
    for (var position = begin; position < end; position++) {
        let at = place(start, position);
        let before = all;
        all = combine(all, decode(x[word_of(at)], at));
        @if(!totals) {
            @if(exclusive) y[at] = bitcast<u32>(before);
            @else y[at] = bitcast<u32>(all);
        }
    }
    @if(totals) y[row] = bitcast<u32>(all);
    @if(checked) {
        if overflowed() {
            raise(params.status_code);
        }
    }
}

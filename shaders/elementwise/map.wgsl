// Element by element, with broadcasting. One invocation writes ITEMS words.
//
// An operand is read in one of five ways: as it lies (no feature), one element
// for all (`a_scalar`), a row repeated (`a_row`), each element repeated
// (`a_column`), or with a stride for each dimension (`a_strided`, with `dim1`
// to `dim7` for the dimensions there are; dimension 0 is the slowest).
//
// `a_window`: a part of the operand is bound, and elements that need another
// part are left as they are; `windowed` where any operand has a window.

import package::common::checked::overflowed;
import package::common::decode::{decode, word_of};
import package::common::encode::{LANES, encode};
import package::common::status::raise;
import package::config::{ITEMS, WORKGROUP};
import package::elementwise::combine::combine;

struct Params {
    // Elements to compute.
    count: u32,
    // What the status word is raised to where a result has no room.
    @if(checked) status_code: u32,
    // The place of the first one in the whole output.
    @if(placed) start: u32,
    // The elements of an operand that are bound.
    @if(a_window) a_first: u32,
    @if(a_window) a_count: u32,
    @if(b_window) b_first: u32,
    @if(b_window) b_count: u32,
    @if(c_window) c_first: u32,
    @if(c_window) c_count: u32,
    @if(a_row || a_column) a_n: u32,
    @if(b_row || b_column) b_n: u32,
    @if(c_row || c_column) c_n: u32,
    @if(dim1) n1: u32,
    @if(dim2) n2: u32,
    @if(dim3) n3: u32,
    @if(dim4) n4: u32,
    @if(dim5) n5: u32,
    @if(dim6) n6: u32,
    @if(dim7) n7: u32,
    @if(a_strided) a0: u32,
    @if(a_strided && dim1) a1: u32,
    @if(a_strided && dim2) a2: u32,
    @if(a_strided && dim3) a3: u32,
    @if(a_strided && dim4) a4: u32,
    @if(a_strided && dim5) a5: u32,
    @if(a_strided && dim6) a6: u32,
    @if(a_strided && dim7) a7: u32,
    @if(b_strided) b0: u32,
    @if(b_strided && dim1) b1: u32,
    @if(b_strided && dim2) b2: u32,
    @if(b_strided && dim3) b3: u32,
    @if(b_strided && dim4) b4: u32,
    @if(b_strided && dim5) b5: u32,
    @if(b_strided && dim6) b6: u32,
    @if(b_strided && dim7) b7: u32,
    @if(c_strided) c0: u32,
    @if(c_strided && dim1) c1: u32,
    @if(c_strided && dim2) c2: u32,
    @if(c_strided && dim3) c3: u32,
    @if(c_strided && dim4) c4: u32,
    @if(c_strided && dim5) c5: u32,
    @if(c_strided && dim6) c6: u32,
    @if(c_strided && dim7) c7: u32,
}

@group(0) @binding(0) var<uniform> params: Params;
@group(0) @binding(1) var<storage, read> a: array<u32>;
@if(two || three) @group(0) @binding(2) var<storage, read> b: array<u32>;
@if(three) @group(0) @binding(3) var<storage, read> c: array<u32>;
@group(0) @binding(4) var<storage, read_write> y: array<u32>;

@if(a_strided) fn strided_a(i: u32) -> u32 {
    var left = i;
    var at = 0u;
    @if(dim7) { at += (left % params.n7) * params.a7; left /= params.n7; }
    @if(dim6) { at += (left % params.n6) * params.a6; left /= params.n6; }
    @if(dim5) { at += (left % params.n5) * params.a5; left /= params.n5; }
    @if(dim4) { at += (left % params.n4) * params.a4; left /= params.n4; }
    @if(dim3) { at += (left % params.n3) * params.a3; left /= params.n3; }
    @if(dim2) { at += (left % params.n2) * params.a2; left /= params.n2; }
    @if(dim1) { at += (left % params.n1) * params.a1; left /= params.n1; }
    return at + left * params.a0;
}

@if(b_strided) fn strided_b(i: u32) -> u32 {
    var left = i;
    var at = 0u;
    @if(dim7) { at += (left % params.n7) * params.b7; left /= params.n7; }
    @if(dim6) { at += (left % params.n6) * params.b6; left /= params.n6; }
    @if(dim5) { at += (left % params.n5) * params.b5; left /= params.n5; }
    @if(dim4) { at += (left % params.n4) * params.b4; left /= params.n4; }
    @if(dim3) { at += (left % params.n3) * params.b3; left /= params.n3; }
    @if(dim2) { at += (left % params.n2) * params.b2; left /= params.n2; }
    @if(dim1) { at += (left % params.n1) * params.b1; left /= params.n1; }
    return at + left * params.b0;
}

@if(c_strided) fn strided_c(i: u32) -> u32 {
    var left = i;
    var at = 0u;
    @if(dim7) { at += (left % params.n7) * params.c7; left /= params.n7; }
    @if(dim6) { at += (left % params.n6) * params.c6; left /= params.n6; }
    @if(dim5) { at += (left % params.n5) * params.c5; left /= params.n5; }
    @if(dim4) { at += (left % params.n4) * params.c4; left /= params.n4; }
    @if(dim3) { at += (left % params.n3) * params.c3; left /= params.n3; }
    @if(dim2) { at += (left % params.n2) * params.c2; left /= params.n2; }
    @if(dim1) { at += (left % params.n1) * params.c1; left /= params.n1; }
    return at + left * params.c0;
}

fn place_a(i: u32) -> u32 {
    @if(a_scalar) return 0u;
    @elif(a_row) return (i + params.start) % params.a_n;
    @elif(a_column) return (i + params.start) / params.a_n;
    @elif(a_strided) return strided_a(i + params.start);
    @else return i;
}

fn place_b(i: u32) -> u32 {
    @if(b_scalar) return 0u;
    @elif(b_row) return (i + params.start) % params.b_n;
    @elif(b_column) return (i + params.start) / params.b_n;
    @elif(b_strided) return strided_b(i + params.start);
    @else return i;
}

fn place_c(i: u32) -> u32 {
    @if(c_scalar) return 0u;
    @elif(c_row) return (i + params.start) % params.c_n;
    @elif(c_column) return (i + params.start) / params.c_n;
    @elif(c_strided) return strided_c(i + params.start);
    @else return i;
}

fn index_a(i: u32) -> u32 {
    @if(a_window) return place_a(i) - params.a_first;
    @else return place_a(i);
}

fn index_b(i: u32) -> u32 {
    @if(b_window) return place_b(i) - params.b_first;
    @else return place_b(i);
}

fn index_c(i: u32) -> u32 {
    @if(c_window) return place_c(i) - params.c_first;
    @else return place_c(i);
}

// The bits of output element `i`.
fn element(i: u32, lane: u32) -> u32 {
    let at_a = index_a(i);
    let value_a = decode(a[word_of(at_a)], at_a);
    @if(two || three) let at_b = index_b(i);
    @if(two || three) let value_b = decode(b[word_of(at_b)], at_b);
    @if(two) return encode(combine(value_a, value_b), lane);
    @elif(three) {
        let at_c = index_c(i);
        let condition = (c[at_c >> 2u] >> ((at_c & 3u) << 3u)) & 0xffu;
        return encode(combine(condition, value_a, value_b), lane);
    }
    @else return encode(combine(value_a), lane);
}

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

// Whether all that element `i` needs is bound.
@if(windowed) fn bound(i: u32) -> bool {
    var all = i < params.count;
    @if(a_window) all = all && index_a(i) < params.a_count;
    @if(b_window) all = all && index_b(i) < params.b_count;
    @if(c_window) all = all && index_c(i) < params.c_count;
    return all;
}

@if(windowed) fn write(at: u32) {
    var bits = 0u;
    var mine = 0u;
    for (var lane = 0u; lane < LANES; lane++) {
        let i = at * LANES + lane;
        if bound(i) {
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
    // On a CPU a loop's end costs as much as what is done for some elements.
    @if(unrolled) {
        if (end - WORKGROUP) * LANES + LANES <= params.count {
            for (; at < end; at += 8u * WORKGROUP) {
                write(at);
                write(at + WORKGROUP);
                write(at + 2u * WORKGROUP);
                write(at + 3u * WORKGROUP);
                write(at + 4u * WORKGROUP);
                write(at + 5u * WORKGROUP);
                write(at + 6u * WORKGROUP);
                write(at + 7u * WORKGROUP);
            }
        }
    }
    for (; at < end && at * LANES < params.count; at += WORKGROUP) {
        write(at);
    }
    @if(checked) {
        if overflowed() {
            raise(params.status_code);
        }
    }
}

import package::config::{BITS, LANES};

// Copies elements to their place in a dense result that is longer than the
// source at either end of any dimension, or shorter. One invocation writes one
// word of LANES elements of BITS bits.
//
// Dimension 0 is the slowest; `dim1` to `dim7` name the further ones there are.
// Of each, `b` elements of the result come before the `m` that are taken from
// the source, where they are `s` apart. What stands at the others:
// `constant`: a value; `edge`: the nearest of the m; `reflect`: the m mirrored
// at their ends; `wrap`: the m again.
//
// `windowed`: a part of the source is bound, and elements that come from
// elsewhere are left as they are.

struct Params {
    // Elements of this part, and the place of its first one in the result.
    count: u32,
    first: u32,
    // Where the first element taken is in the source.
    start: u32,
    // The elements of the source that are bound.
    @if(windowed) source_first: u32,
    @if(windowed) source_count: u32,
    b0: u32,
    m0: u32,
    s0: u32,
    @if(dim1) n1: u32,
    @if(dim1) b1: u32,
    @if(dim1) m1: u32,
    @if(dim1) s1: u32,
    @if(dim2) n2: u32,
    @if(dim2) b2: u32,
    @if(dim2) m2: u32,
    @if(dim2) s2: u32,
    @if(dim3) n3: u32,
    @if(dim3) b3: u32,
    @if(dim3) m3: u32,
    @if(dim3) s3: u32,
    @if(dim4) n4: u32,
    @if(dim4) b4: u32,
    @if(dim4) m4: u32,
    @if(dim4) s4: u32,
    @if(dim5) n5: u32,
    @if(dim5) b5: u32,
    @if(dim5) m5: u32,
    @if(dim5) s5: u32,
    @if(dim6) n6: u32,
    @if(dim6) b6: u32,
    @if(dim6) m6: u32,
    @if(dim6) s6: u32,
    @if(dim7) n7: u32,
    @if(dim7) b7: u32,
    @if(dim7) m7: u32,
    @if(dim7) s7: u32,
}

@group(0) @binding(0) var<uniform> params: Params;
@group(0) @binding(1) var<storage, read> x: array<u32>;
@group(0) @binding(2) var<storage, read_write> y: array<u32>;
@if(filled) @group(0) @binding(3) var<storage, read> value: array<u32>;

const MASK: u32 = 0xffffffffu >> (32u - BITS);
const OUTSIDE: u32 = 0xffffffffu;

// The position among the `extent` ones; `extent` or more if there is none.
@if(constant) fn inside(position: u32, before: u32, extent: u32) -> u32 {
    return position - before;
}

@if(edge) fn inside(position: u32, before: u32, extent: u32) -> u32 {
    return min(max(position, before) - before, extent - 1u);
}

@if(wrap) fn inside(position: u32, before: u32, extent: u32) -> u32 {
    return (position % extent + extent - before % extent) % extent;
}

@if(reflect) fn inside(position: u32, before: u32, extent: u32) -> u32 {
    let round = max(2u * extent - 2u, 1u);
    let at = (position % round + round - before % round) % round;
    return min(at, round - at) % extent;
}

fn moved(at: u32, position: u32, before: u32, extent: u32, stride: u32) -> u32 {
    let own = inside(position, before, extent);
    return select(at + own * stride, OUTSIDE, at == OUTSIDE || own >= extent);
}

fn source(i: u32) -> u32 {
    var left = i;
    var at = params.start;
    @if(dim7) {
        at = moved(at, left % params.n7, params.b7, params.m7, params.s7);
        left /= params.n7;
    }
    @if(dim6) {
        at = moved(at, left % params.n6, params.b6, params.m6, params.s6);
        left /= params.n6;
    }
    @if(dim5) {
        at = moved(at, left % params.n5, params.b5, params.m5, params.s5);
        left /= params.n5;
    }
    @if(dim4) {
        at = moved(at, left % params.n4, params.b4, params.m4, params.s4);
        left /= params.n4;
    }
    @if(dim3) {
        at = moved(at, left % params.n3, params.b3, params.m3, params.s3);
        left /= params.n3;
    }
    @if(dim2) {
        at = moved(at, left % params.n2, params.b2, params.m2, params.s2);
        left /= params.n2;
    }
    @if(dim1) {
        at = moved(at, left % params.n1, params.b1, params.m1, params.s1);
        left /= params.n1;
    }
    return moved(at, left, params.b0, params.m0, params.s0);
}

fn element(at: u32) -> u32 {
    return (x[at / LANES] >> ((at % LANES) * BITS)) & MASK;
}

fn outside() -> u32 {
    @if(filled) return value[0] & MASK;
    @else return 0u;
}

@if(!windowed) fn copy(word: u32, i: u32) {
    var bits = 0u;
    for (var k = 0u; k < LANES; k++) {
        if i + k < params.count {
            let at = source(params.first + i + k);
            if at == OUTSIDE {
                bits |= outside() << (k * BITS);
            } else {
                bits |= element(at) << (k * BITS);
            }
        }
    }
    y[word] = bits;
}

// What comes from nowhere is written with the source's first part.
@if(windowed) fn copy(word: u32, i: u32) {
    var bits = 0u;
    var mine = 0u;
    for (var k = 0u; k < LANES; k++) {
        if i + k < params.count {
            let at = source(params.first + i + k);
            if at == OUTSIDE {
                if params.source_first == 0u {
                    bits |= outside() << (k * BITS);
                    mine |= MASK << (k * BITS);
                }
            } else if at - params.source_first < params.source_count {
                bits |= element(at - params.source_first) << (k * BITS);
                mine |= MASK << (k * BITS);
            }
        }
    }
    if mine != 0u {
        y[word] = (y[word] & ~mine) | bits;
    }
}

@compute @workgroup_size(64)
fn main(
    @builtin(workgroup_id) group: vec3<u32>,
    @builtin(num_workgroups) groups: vec3<u32>,
    @builtin(local_invocation_index) lane: u32,
) {
    let word = (group.x + group.y * groups.x) * 64u + lane;
    let i = word * LANES;
    if i >= params.count {
        return;
    }
    copy(word, i);
}

import package::config::{BITS, LANES};

// Copies elements to their place in a dense result from wherever strides say
// they are. One invocation writes one word of LANES elements of BITS bits; with
// `vectors` an element is four words.
//
// Dimension 0 is the slowest; `dim1` to `dim7` name the further ones there are.
// Bit i of `backward` says that dimension i counts down.
//
// `windowed`: a part of the source is bound, and elements that come from
// elsewhere are left as they are.

struct Params {
    // Elements of this part, and the place of its first one in the result.
    count: u32,
    first: u32,
    // Where the result's first element is in the source.
    start: u32,
    backward: u32,
    // The elements of the source that are bound.
    @if(windowed) source_first: u32,
    @if(windowed) source_count: u32,
    s0: u32,
    @if(dim1) n1: u32,
    @if(dim1) s1: u32,
    @if(dim2) n2: u32,
    @if(dim2) s2: u32,
    @if(dim3) n3: u32,
    @if(dim3) s3: u32,
    @if(dim4) n4: u32,
    @if(dim4) s4: u32,
    @if(dim5) n5: u32,
    @if(dim5) s5: u32,
    @if(dim6) n6: u32,
    @if(dim6) s6: u32,
    @if(dim7) n7: u32,
    @if(dim7) s7: u32,
}

@group(0) @binding(0) var<uniform> params: Params;
@if(!vectors) @group(0) @binding(1) var<storage, read> x: array<u32>;
@if(!vectors) @group(0) @binding(2) var<storage, read_write> y: array<u32>;
@if(vectors) @group(0) @binding(1) var<storage, read> x: array<vec4<u32>>;
@if(vectors) @group(0) @binding(2) var<storage, read_write> y: array<vec4<u32>>;

const MASK: u32 = 0xffffffffu >> (32u - BITS);

fn moved(at: u32, position: u32, stride: u32, axis: u32) -> u32 {
    let distance = position * stride;
    return select(at + distance, at - distance, ((params.backward >> axis) & 1u) != 0u);
}

fn source(i: u32) -> u32 {
    var left = i;
    var at = params.start;
    @if(dim7) { at = moved(at, left % params.n7, params.s7, 7u); left /= params.n7; }
    @if(dim6) { at = moved(at, left % params.n6, params.s6, 6u); left /= params.n6; }
    @if(dim5) { at = moved(at, left % params.n5, params.s5, 5u); left /= params.n5; }
    @if(dim4) { at = moved(at, left % params.n4, params.s4, 4u); left /= params.n4; }
    @if(dim3) { at = moved(at, left % params.n3, params.s3, 3u); left /= params.n3; }
    @if(dim2) { at = moved(at, left % params.n2, params.s2, 2u); left /= params.n2; }
    @if(dim1) { at = moved(at, left % params.n1, params.s1, 1u); left /= params.n1; }
    return moved(at, left, params.s0, 0u);
}

@if(!vectors) fn element(at: u32) -> u32 {
    return (x[at / LANES] >> ((at % LANES) * BITS)) & MASK;
}

@if(vectors) fn copy(word: u32, i: u32) {
    y[word] = x[source(params.first + i)];
}

@if(!vectors && !windowed) fn copy(word: u32, i: u32) {
    var bits = element(source(params.first + i));
    for (var k = 1u; k < LANES; k++) {
        if i + k < params.count {
            bits |= element(source(params.first + i + k)) << (k * BITS);
        }
    }
    y[word] = bits;
}

@if(!vectors && windowed) fn copy(word: u32, i: u32) {
    var bits = 0u;
    var mine = 0u;
    for (var k = 0u; k < LANES; k++) {
        let at = source(params.first + i + k) - params.source_first;
        if i + k < params.count && at < params.source_count {
            bits |= element(at) << (k * BITS);
            mine |= MASK << (k * BITS);
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

import package::common::status::raise;

// Which elements of data indices mean; shared by what gathers and scatters.
//
// `slices`: data is [outer, entries, inner], indices are [outer / per_batch,
// picked]. `elements`: an index stands at a position of its own (n0 to n7 are
// the extents of the indices, s0 to s7 the strides of data, 0 along the axis).
// `tuples`: indices are [batch, picked, depth] (n0 to n7 are the entries of the
// dimensions of data that they say, s0 to s7 their strides).
//
// An index out of range means nothing, and the run is an error.

struct Params {
    // What the status word is raised to where an index is out of range.
    index_code: u32,
    // Elements of this part, and the place of its first one.
    count: u32,
    first: u32,
    // The indices that are bound, in tuples.
    index_first: u32,
    index_count: u32,
    // The elements that are bound of what is indexed.
    part_first: u32,
    part_count: u32,
    // And where a sum or product of 64-bit integers has no room.
    @if(checked) overflow_code: u32,
    @if(slices || elements) entries: u32,
    @if(slices || tuples) inner: u32,
    @if(slices || tuples) picked: u32,
    @if(slices) per_batch: u32,
    @if(tuples) slab: u32,
    @if(elements) stride: u32,
    @if(tuples) n0: u32,
    @if(elements || tuples) s0: u32,
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
@group(0) @binding(1) var<storage, read> indices: array<i32>;

// The place of what an index means that is not bound, or that means nothing.
const NOWHERE: u32 = 0xffffffffu;

// `at` and so many strides more as an index says.
fn beyond(at: u32, index: i32, entries: u32, stride: u32) -> u32 {
    let n = i32(entries);
    let from_front = select(index, index + n, index < 0);
    if from_front < 0 || from_front >= n {
        raise(params.index_code);
        return NOWHERE;
    }
    return select(at + u32(from_front) * stride, NOWHERE, at == NOWHERE);
}

// The place in data of element e, which is of the result or of the updates.
@if(slices) fn place(e: u32) -> u32 {
    let row = e / params.inner;
    let outer = row / params.picked;
    let i = outer / params.per_batch * params.picked + row % params.picked - params.index_first;
    if i >= params.index_count {
        return NOWHERE;
    }
    let start = outer * params.entries * params.inner + e % params.inner;
    return beyond(start, indices[i], params.entries, params.inner);
}

@if(elements) fn place(e: u32) -> u32 {
    let i = e - params.index_first;
    if i >= params.index_count {
        return NOWHERE;
    }
    var left = e;
    var at = 0u;
    @if(dim7) { at += left % params.n7 * params.s7; left /= params.n7; }
    @if(dim6) { at += left % params.n6 * params.s6; left /= params.n6; }
    @if(dim5) { at += left % params.n5 * params.s5; left /= params.n5; }
    @if(dim4) { at += left % params.n4 * params.s4; left /= params.n4; }
    @if(dim3) { at += left % params.n3 * params.s3; left /= params.n3; }
    @if(dim2) { at += left % params.n2 * params.s2; left /= params.n2; }
    @if(dim1) { at += left % params.n1 * params.s1; left /= params.n1; }
    return beyond(at + left * params.s0, indices[i], params.entries, params.stride);
}

@if(tuples && dim7) const DEPTH: u32 = 8u;
@if(tuples && dim6 && !dim7) const DEPTH: u32 = 7u;
@if(tuples && dim5 && !dim6) const DEPTH: u32 = 6u;
@if(tuples && dim4 && !dim5) const DEPTH: u32 = 5u;
@if(tuples && dim3 && !dim4) const DEPTH: u32 = 4u;
@if(tuples && dim2 && !dim3) const DEPTH: u32 = 3u;
@if(tuples && dim1 && !dim2) const DEPTH: u32 = 2u;
@if(tuples && !dim1) const DEPTH: u32 = 1u;

@if(tuples) fn place(e: u32) -> u32 {
    let row = e / params.inner;
    if row - params.index_first >= params.index_count {
        return NOWHERE;
    }
    let i = (row - params.index_first) * DEPTH;
    var at = row / params.picked * params.slab + e % params.inner;
    at = beyond(at, indices[i], params.n0, params.s0);
    @if(dim1) { at = beyond(at, indices[i + 1u], params.n1, params.s1); }
    @if(dim2) { at = beyond(at, indices[i + 2u], params.n2, params.s2); }
    @if(dim3) { at = beyond(at, indices[i + 3u], params.n3, params.s3); }
    @if(dim4) { at = beyond(at, indices[i + 4u], params.n4, params.s4); }
    @if(dim5) { at = beyond(at, indices[i + 5u], params.n5, params.s5); }
    @if(dim6) { at = beyond(at, indices[i + 6u], params.n6, params.s6); }
    @if(dim7) { at = beyond(at, indices[i + 7u], params.n7, params.s7); }
    return at;
}

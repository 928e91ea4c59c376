import package::common::decode::{In, decode, word_of};

// Where the elements behind the place of an extremum are: x is
// [outer, n, inner], and there is a result for each of [outer, inner].
//
// `pieced`: n is cut into `pieces` of `length`, and what is found in each goes to
// `partial`, [outer, pieces, inner], for `reduce/arg_join`.

struct Params {
    // Results of this dispatch.
    rows: u32,
    // Elements of x before its first span.
    base: u32,
    n: u32,
    inner: u32,
    // The first result.
    first: u32,
    // The results that are bound.
    y_first: u32,
    y_count: u32,
    @if(pieced) length: u32,
    @if(pieced) pieces: u32,
}

@group(0) @binding(0) var<uniform> params: Params;
@group(0) @binding(1) var<storage, read> x: array<u32>;
@if(!pieced) @group(0) @binding(2) var<storage, read_write> y: array<i32>;
// The bits of a value and its place.
@if(pieced) @group(0) @binding(3) var<storage, read_write> partial: array<vec2<u32>>;

// An element and its place along the axis.
struct Found {
    value: In,
    place: u32,
}

fn start_of(row: u32) -> u32 {
    var outer = row / params.inner;
    @if(pieced) outer /= params.pieces;
    return params.base + outer * params.n * params.inner + row % params.inner;
}

// The places that a row is about: there is at least one.
fn begin_of(row: u32) -> u32 {
    @if(pieced) return row / params.inner % params.pieces * params.length;
    @else return 0u;
}

fn end_of(row: u32) -> u32 {
    @if(pieced) return min(begin_of(row) + params.length, params.n);
    @else return params.n;
}

fn put(sink: u32, best: Found) {
    @if(pieced) partial[sink] = vec2(bitcast<u32>(best.value), best.place);
    @else y[sink] = i32(best.place);
}

fn found(start: u32, j: u32) -> Found {
    let at = start + j * params.inner;
    return Found(decode(x[word_of(at)], at), j);
}

// Whichever of the two is to be named. Of equals it is the first, or the last.
fn better(a: Found, b: Found) -> Found {
    @if(largest) let beaten = b.value > a.value;
    @else let beaten = b.value < a.value;
    @if(select_last) let later = b.place > a.place;
    @else let later = b.place < a.place;
    if beaten || (b.value == a.value && later) {
        return b;
    }
    return a;
}

// The result's place in y; too far where it is another dispatch's.
fn sink_of(row: u32) -> u32 {
    return params.first + row - params.y_first;
}

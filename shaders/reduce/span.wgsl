import package::common::checked::{
    abs_i32, add_i32, add_u32, mul_i32, mul_u32, overflowed,
};
import package::common::decode::{In, decode, word_of};
import package::common::status::raise;

// Where the elements behind a result are, and what becomes of them; shared by
// the reductions.
//
// x is [outer, n, inner], cut along n into `pieces` of `length`; there is a
// result for each of [outer, pieces, inner].

struct Params {
    // Results of this dispatch.
    rows: u32,
    // Elements of x before its first span.
    base: u32,
    // Elements of a span, as far as they are bound.
    n: u32,
    inner: u32,
    length: u32,
    pieces: u32,
    // The first result.
    first: u32,
    // The results that are bound.
    y_first: u32,
    y_count: u32,
    // Elements of the tensor behind a result.
    count: u32,
    // The result where there are none.
    empty: u32,
    // What the status word is raised to where a result has no room.
    @if(checked) status_code: u32,
}

@group(0) @binding(0) var<uniform> params: Params;
@group(0) @binding(1) var<storage, read> x: array<u32>;
@group(0) @binding(2) var<storage, read_write> y: array<u32>;
@if(shifted) @group(0) @binding(3) var<storage, read> shift: array<f32>;

struct Span {
    // The element of x that is element 0 of the span.
    start: u32,
    // The elements of the span that count.
    begin: u32,
    end: u32,
    // The result's place in y.
    at: u32,
    shift: f32,
}

fn span_of(row: u32) -> Span {
    let outer = row / params.inner;
    let piece = outer % params.pieces;
    let start = params.base + outer / params.pieces * params.n * params.inner + row % params.inner;
    let begin = min(piece * params.length, params.n);
    let end = min(begin + params.length, params.n);
    var span = Span(start, begin, end, params.first + row - params.y_first, 0.0);
    // All results of a span share their shift. Finite, so that distances from
    // it are.
    @if(shifted) {
        let own = span.at / (params.pieces * params.inner) * params.inner + span.at % params.inner;
        span.shift = clamp(shift[min(own, arrayLength(&shift) - 1u)], -3.4028234e38, 3.4028234e38);
    }
    return span;
}

// Element `j` of a span, ready to be put together with others.
fn take(span: Span, j: u32) -> In {
    let at = span.start + j * params.inner;
    let value = decode(x[word_of(at)], at);
    @if(each_abs && checked && in_i32) return abs_i32(value);
    @if(each_abs && !(checked && in_i32)) return abs(value);
    @if(each_square) return times(value, value);
    @if(each_exp) return exp(value - span.shift);
    @if(!(each_abs || each_square || each_exp)) return value;
}

fn times(a: In, b: In) -> In {
    @if(checked && in_i32) return mul_i32(a, b);
    @if(checked && in_u32) return mul_u32(a, b);
    @if(!checked) return a * b;
}

fn plus(a: In, b: In) -> In {
    @if(checked && in_i32) return add_i32(a, b);
    @if(checked && in_u32) return add_u32(a, b);
    @if(!checked) return a + b;
}

fn combine(a: In, b: In) -> In {
    @if(fold_sum) return plus(a, b);
    @if(fold_prod) return times(a, b);
    @if(fold_max) return max(a, b);
    @if(fold_min) return min(a, b);
}

// What a part of a span's elements starts with. Extrema start with one of
// them, because infinities are numbers here.
fn initial(span: Span, j: u32) -> In {
    @if(fold_sum) return In(0);
    @if(fold_prod) return In(1);
    @if(fold_max || fold_min) return take(span, min(j, span.end - 1u));
}

fn put(span: Span, all: In) {
    @if(last_mean) let value = all / In(params.count);
    @if(last_sqrt) let value = sqrt(all);
    @if(last_log) let value = log(all);
    @if(last_log_plus) let value = log(all) + span.shift;
    @if(!(last_mean || last_sqrt || last_log || last_log_plus)) let value = all;
    y[span.at] = bitcast<u32>(value);
}

// Whether there is something to compute. Else the result is there already, or
// it is another dispatch's.
fn is_mine(span: Span) -> bool {
    return span.at < params.y_count && params.count > 0u && span.end > span.begin;
}

fn put_empty(span: Span) {
    if span.at < params.y_count {
        y[span.at] = params.empty;
    }
}

// To be called by every invocation at its end.
fn report() {
    @if(checked) {
        if overflowed() {
            raise(params.status_code);
        }
    }
}

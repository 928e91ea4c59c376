import package::common::eight::Eight;
import package::matmul::params::params;
@if(experts) import package::matmul::experts::shared_row;

// Reading A: [m, k], or [k, m] if `trans_a`. `a_vec4`: rows are whole vectors.
// `a_pairs`: words of 64 bits are read, two for a vector, or with `lanes` one.

@if(lanes && a_pairs) @group(0) @binding(1) var<storage, read> a: array<u64>;
@if(a_vec4 && a_pairs) @group(0) @binding(1) var<storage, read> a: array<vec2<u64>>;
@if(a_vec4 && !a_pairs) @group(0) @binding(1) var<storage, read> a: array<vec4<f32>>;
@if(!a_vec4 && !a_pairs) @group(0) @binding(1) var<storage, read> a: array<f32>;

// Where a row starts.
fn left_row(base: u32, row: u32) -> u32 {
    @if(trans_a) return base + row;
    @if(experts) return base + shared_row(row) * params.a_stride;
    @if(!trans_a && !experts) return base + row * params.a_stride;
}

// One element of the row at `start`; zero past the end.
@if(!a_vec4 && !a_pairs) fn left1(start: u32, k: u32) -> f32 {
    // What is past the end of the row may be past that of the buffer.
    @if(k_tail) let at = min(k, params.k - 1u);
    @if(!k_tail) let at = k;
    @if(trans_a) let value = a[start + at * params.a_stride];
    @if(!trans_a) let value = a[start + at];
    @if(k_tail) return select(0.0, value, k < params.k);
    @if(!k_tail) return value;
}

// Two elements from `k`, a multiple of 2; zero past the end of the row.
@if(lanes && a_pairs) fn left2(start: u32, k: u32) -> vec2<f32> {
    @if(k_tail) let pair = a[(start + min(k, params.k - 2u)) >> 1u];
    @if(!k_tail) let pair = a[(start + k) >> 1u];
    let value = bitcast<vec2<f32>>(vec2<u32>(u32(pair), u32(pair >> 32u)));
    @if(k_tail) return select(vec2<f32>(), value, k < params.k);
    @if(!k_tail) return value;
}

// Four elements from `k`, a multiple of 4; zero past the end of the row.
@if(a_vec4) fn left4(start: u32, k: u32) -> vec4<f32> {
    @if(k_tail) let at = min(k, params.k - 4u);
    @if(!k_tail) let at = k;
    @if(a_pairs) let pairs = a[(start + at) >> 2u];
    @if(a_pairs) let even = bitcast<vec2<f32>>(vec2<u32>(pairs));
    @if(a_pairs) let odd = bitcast<vec2<f32>>(vec2<u32>(pairs >> vec2(32u)));
    @if(a_pairs) let value = vec4<f32>(even.x, odd.x, even.y, odd.y);
    @if(!a_pairs) let value = a[(start + at) >> 2u];
    @if(k_tail) return select(vec4<f32>(), value, k < params.k);
    @if(!k_tail) return value;
}

@if(!a_vec4 && !a_pairs) fn left4(start: u32, k: u32) -> vec4<f32> {
    return vec4<f32>(
        left1(start, k), left1(start, k + 1u), left1(start, k + 2u), left1(start, k + 3u),
    );
}

// Eight elements from `k`, a multiple of 8; zero past the end of the row.
@if(!lanes) fn left8(start: u32, k: u32) -> Eight {
    return Eight(left4(start, k), left4(start, k + 4u));
}

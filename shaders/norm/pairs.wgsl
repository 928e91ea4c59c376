import package::common::pairs::{Numbers, joined_numbers, numbers};
import package::common::reduce::{Lane, workgroup_sum};
import package::config::WORKGROUP;

// `norm/row` in words of 64 bits: an invocation takes eight neighbouring elements
// at a time. The length of a row and the elements before the first are multiples
// of eight, and scale and bias belong to an element's place in its row.

struct Params {
    rows: u32,
    // Elements before the first row.
    base: u32,
    n: u32,
    epsilon: f32,
}

@group(0) @binding(0) var<uniform> params: Params;
@group(0) @binding(1) var<storage, read> x: array<vec4<u64>>;
@group(0) @binding(2) var<storage, read> scale: array<vec4<u64>>;
@group(0) @binding(3) var<storage, read_write> y: array<vec4<u64>>;
@if(skip) @group(0) @binding(4) var<storage, read> residual: array<vec4<u64>>;
@if(skip) @group(0) @binding(5) var<storage, read_write> sum: array<vec4<u64>>;
@if(biased) @group(0) @binding(6) var<storage, read> bias: array<vec4<u64>>;

// Elements to normalise, stored as the sum on the way if there is one. Only the
// invocation that took them may read them again with `again`.
fn take(at: u32) -> Numbers {
    let own = numbers(x[at]);
    @if(skip) {
        let other = numbers(residual[at]);
        let all = Numbers(own.even + other.even, own.odd + other.odd);
        sum[at] = joined_numbers(all);
        return all;
    }
    @else return own;
}

fn again(at: u32) -> Numbers {
    @if(skip) return numbers(sum[at]);
    @else return numbers(x[at]);
}

fn put(at: u32, column: u32, even: vec4<f32>, odd: vec4<f32>) {
    let by = numbers(scale[column]);
    @if(biased) {
        let more = numbers(bias[column]);
        y[at] = joined_numbers(Numbers(even * by.even + more.even, odd * by.odd + more.odd));
    }
    @else y[at] = joined_numbers(Numbers(even * by.even, odd * by.odd));
}

fn sum_of(v: vec4<f32>) -> f32 {
    return (v.x + v.y) + (v.z + v.w);
}

@compute @workgroup_size(WORKGROUP)
fn main(
    @builtin(workgroup_id) group: vec3<u32>,
    @builtin(num_workgroups) groups: vec3<u32>,
    @builtin(local_invocation_index) index: u32,
) {
    let row = group.x + group.y * groups.x;
    if row >= params.rows {
        return;
    }
    let lane = Lane(index, 0u, 0u, 0u);
    let length = params.n / 8u;
    let start = params.base / 8u + row * length;
    var partial = vec4<f32>();
    var mean = 0.0;
    @if(centred) {
        for (var j = index; j < length; j += WORKGROUP) {
            let e = take(start + j);
            partial += e.even + e.odd;
        }
        mean = workgroup_sum(sum_of(partial), lane) / f32(params.n);
        partial = vec4<f32>();
    }
    for (var j = index; j < length; j += WORKGROUP) {
        @if(centred) let e = again(start + j);
        @else let e = take(start + j);
        let v = e.even - mean;
        let w = e.odd - mean;
        partial = fma(v, v, partial);
        partial = fma(w, w, partial);
    }
    let square = workgroup_sum(sum_of(partial), lane) / f32(params.n);
    let factor = inverseSqrt(square + params.epsilon);
    for (var j = index; j < length; j += WORKGROUP) {
        let e = again(start + j);
        put(start + j, j, (e.even - mean) * factor, (e.odd - mean) * factor);
    }
}

import package::common::pairs::{Numbers, joined_numbers, numbers};
import package::common::reduce::{Lane, workgroup_max, workgroup_sum};
import package::config::WORKGROUP;

// `softmax/row` in words of 64 bits: an invocation takes eight neighbouring
// elements at a time. The length of a row and the elements before the first are
// multiples of eight.

struct Params {
    rows: u32,
    // Elements before the first row.
    base: u32,
    n: u32,
}

@group(0) @binding(0) var<uniform> params: Params;
@group(0) @binding(1) var<storage, read> x: array<vec4<u64>>;
@group(0) @binding(2) var<storage, read_write> y: array<vec4<u64>>;

// Masked with a finite value: WGSL may assume there is no infinity.
const LOWEST: f32 = -3.4028234e38;

fn result(v: vec4<f32>, peak: f32, last: f32) -> vec4<f32> {
    @if(logarithm) return (v - peak) - last;
    @else return exp(v - peak) * last;
}

fn put(at: u32, e: Numbers, peak: f32, last: f32) {
    y[at] = joined_numbers(Numbers(result(e.even, peak, last), result(e.odd, peak, last)));
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
    let end = start + length;
    var highest = vec4(LOWEST);
    for (var at = start + index; at < end; at += WORKGROUP) {
        let e = numbers(x[at]);
        highest = max(highest, max(e.even, e.odd));
    }
    let mine = max(max(highest.x, highest.y), max(highest.z, highest.w));
    let peak = workgroup_max(mine, lane);
    var sums = vec4<f32>();
    for (var at = start + index; at < end; at += WORKGROUP) {
        let e = numbers(x[at]);
        sums += exp(e.even - peak) + exp(e.odd - peak);
    }
    let sum = workgroup_sum((sums.x + sums.y) + (sums.z + sums.w), lane);
    // The largest element has put a 1 into the sum.
    @if(logarithm) let last = log(sum);
    @else let last = 1.0 / sum;
    for (var at = start + index; at < end; at += WORKGROUP) {
        put(at, numbers(x[at]), peak, last);
    }
}

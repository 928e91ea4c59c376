import package::common::reduce::{Lane, workgroup_max, workgroup_sum};
import package::config::WORKGROUP;

// A workgroup computes a contiguous row. An invocation takes eight elements at a
// time, each beside its neighbours', since a loop's end costs as much as they
// do on a CPU; a row with at most so many for each invocation is read once. With
// `logarithm`, the logarithm of the softmax.

struct Params {
    rows: u32,
    // Elements before the first row.
    base: u32,
    n: u32,
}

@group(0) @binding(0) var<uniform> params: Params;
@group(0) @binding(1) var<storage, read> x: array<f32>;
@group(0) @binding(2) var<storage, read_write> y: array<f32>;

// Masked with a finite value: WGSL may assume there is no infinity.
const LOWEST: f32 = -3.4028234e38;

const HALF: u32 = 4u * WORKGROUP;
const STEP: u32 = 8u * WORKGROUP;

fn four(at: u32) -> vec4<f32> {
    return vec4(x[at], x[at + WORKGROUP], x[at + 2u * WORKGROUP], x[at + 3u * WORKGROUP]);
}

fn result(v: vec4<f32>, peak: f32, last: f32) -> vec4<f32> {
    @if(logarithm) return (v - peak) - last;
    @else return exp(v - peak) * last;
}

fn put(at: u32, v: vec4<f32>) {
    y[at] = v.x;
    y[at + WORKGROUP] = v.y;
    y[at + 2u * WORKGROUP] = v.z;
    y[at + 3u * WORKGROUP] = v.w;
}

@compute @workgroup_size(WORKGROUP)
fn main(
    @builtin(workgroup_id) group: vec3<u32>,
    @builtin(num_workgroups) groups: vec3<u32>,
    @builtin(local_invocation_index) index: u32,
    @if(subgroups) @builtin(subgroup_invocation_id) in_subgroup: u32,
    @if(subgroups) @builtin(subgroup_id) subgroup: u32,
    @if(subgroups) @builtin(num_subgroups) subgroups: u32,
) {
    let row = group.x + group.y * groups.x;
    if row >= params.rows {
        return;
    }
    @if(subgroups) let lane = Lane(index, in_subgroup, subgroup, subgroups);
    @else let lane = Lane(index, 0u, 0u, 0u);
    let start = params.base + row * params.n;
    let end = start + params.n;
    // What all invocations have eight of, and where the rest begins.
    let whole = start + params.n / STEP * STEP;
    let once = params.n / STEP == 1u;
    var a = vec4<f32>();
    var b = vec4<f32>();
    var highest = vec4(LOWEST);
    for (var at = start + index; at < whole; at += STEP) {
        a = four(at);
        b = four(at + HALF);
        highest = max(highest, max(a, b));
    }
    for (var at = whole + index; at < end; at += WORKGROUP) {
        highest.x = max(highest.x, x[at]);
    }
    let mine = max(max(highest.x, highest.y), max(highest.z, highest.w));
    let peak = workgroup_max(mine, lane);
    var sums = vec4<f32>();
    if once {
        sums = exp(a - peak) + exp(b - peak);
    } else {
        for (var at = start + index; at < whole; at += STEP) {
            sums += exp(four(at) - peak);
            sums += exp(four(at + HALF) - peak);
        }
    }
    for (var at = whole + index; at < end; at += WORKGROUP) {
        sums.x += exp(x[at] - peak);
    }
    let sum = workgroup_sum((sums.x + sums.y) + (sums.z + sums.w), lane);
    // The largest element has put a 1 into the sum.
    @if(logarithm) let last = log(sum);
    @else let last = 1.0 / sum;
    if once {
        put(start + index, result(a, peak, last));
        put(start + index + HALF, result(b, peak, last));
    } else {
        for (var at = start + index; at < whole; at += STEP) {
            put(at, result(four(at), peak, last));
            put(at + HALF, result(four(at + HALF), peak, last));
        }
    }
    for (var at = whole + index; at < end; at += WORKGROUP) {
        y[at] = result(vec4(x[at]), peak, last).x;
    }
}

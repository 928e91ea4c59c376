import package::common::reduce::{Lane, workgroup_sum};
import package::config::WORKGROUP;
import package::norm::io::{again, params, put, take};

// A workgroup normalises a row. An invocation takes eight elements at a time, each
// beside its neighbours'.

const HALF: u32 = 4u * WORKGROUP;
const STEP: u32 = 8u * WORKGROUP;

fn take4(at: u32) -> vec4<f32> {
    return vec4(
        take(at), take(at + WORKGROUP), take(at + 2u * WORKGROUP), take(at + 3u * WORKGROUP),
    );
}

fn again4(at: u32) -> vec4<f32> {
    return vec4(
        again(at), again(at + WORKGROUP), again(at + 2u * WORKGROUP), again(at + 3u * WORKGROUP),
    );
}

fn put4(at: u32, row: u32, column: u32, values: vec4<f32>) {
    put(at, row, column, values.x);
    put(at + WORKGROUP, row, column + WORKGROUP, values.y);
    put(at + 2u * WORKGROUP, row, column + 2u * WORKGROUP, values.z);
    put(at + 3u * WORKGROUP, row, column + 3u * WORKGROUP, values.w);
}

fn sum_of(v: vec4<f32>) -> f32 {
    return (v.x + v.y) + (v.z + v.w);
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
    let whole = params.n / STEP * STEP;
    var partial = vec4<f32>();
    var mean = 0.0;
    @if(centred) {
        for (var j = index; j < whole; j += STEP) {
            partial += take4(start + j);
            partial += take4(start + j + HALF);
        }
        for (var j = whole + index; j < params.n; j += WORKGROUP) {
            partial.x += take(start + j);
        }
        mean = workgroup_sum(sum_of(partial), lane) / f32(params.n);
        partial = vec4<f32>();
    }
    for (var j = index; j < whole; j += STEP) {
        @if(centred) let v = again4(start + j) - mean;
        @else let v = take4(start + j);
        @if(centred) let w = again4(start + j + HALF) - mean;
        @else let w = take4(start + j + HALF);
        partial = fma(v, v, partial);
        partial = fma(w, w, partial);
    }
    for (var j = whole + index; j < params.n; j += WORKGROUP) {
        @if(centred) let v = again(start + j) - mean;
        @else let v = take(start + j);
        partial.x = fma(v, v, partial.x);
    }
    let square = workgroup_sum(sum_of(partial), lane) / f32(params.n);
    let factor = inverseSqrt(square + params.epsilon);
    for (var j = index; j < whole; j += STEP) {
        put4(start + j, row, j, (again4(start + j) - mean) * factor);
        put4(start + j + HALF, row, j + HALF, (again4(start + j + HALF) - mean) * factor);
    }
    for (var j = whole + index; j < params.n; j += WORKGROUP) {
        put(start + j, row, j, (again(start + j) - mean) * factor);
    }
}

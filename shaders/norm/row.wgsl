import package::common::reduce::{Lane, workgroup_sum};
import package::config::WORKGROUP;
import package::norm::io::{again, params, put, take};

// A workgroup normalises a row.

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
    @if(centred) {
        var partial = 0.0;
        for (var j = index; j < params.n; j += WORKGROUP) {
            partial += take(start + j);
        }
        let mean = workgroup_sum(partial, lane) / f32(params.n);
        partial = 0.0;
        for (var j = index; j < params.n; j += WORKGROUP) {
            let v = again(start + j) - mean;
            partial += v * v;
        }
        let factor = inverseSqrt(workgroup_sum(partial, lane) / f32(params.n) + params.epsilon);
        for (var j = index; j < params.n; j += WORKGROUP) {
            put(start + j, row, j, (again(start + j) - mean) * factor);
        }
    }
    @else {
        var partial = 0.0;
        for (var j = index; j < params.n; j += WORKGROUP) {
            let v = take(start + j);
            partial += v * v;
        }
        let factor = inverseSqrt(workgroup_sum(partial, lane) / f32(params.n) + params.epsilon);
        for (var j = index; j < params.n; j += WORKGROUP) {
            put(start + j, row, j, again(start + j) * factor);
        }
    }
}

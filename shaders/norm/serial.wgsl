import package::config::WORKGROUP;
import package::norm::io::{again, params, put, take};

// One invocation normalises a row. Four partial sums: shorter chains of
// additions are faster and err less.

@compute @workgroup_size(WORKGROUP)
fn main(
    @builtin(workgroup_id) group: vec3<u32>,
    @builtin(num_workgroups) groups: vec3<u32>,
    @builtin(local_invocation_index) lane: u32,
) {
    let row = (group.x + group.y * groups.x) * WORKGROUP + lane;
    if row >= params.rows {
        return;
    }
    let start = params.base + row * params.n;
    let whole = params.n / 4u * 4u;
    var partial = vec4<f32>();
    @if(centred) {
        for (var j = 0u; j < whole; j += 4u) {
            let at = start + j;
            partial += vec4(take(at), take(at + 1u), take(at + 2u), take(at + 3u));
        }
        for (var j = whole; j < params.n; j++) {
            partial.x += take(start + j);
        }
    }
    let mean = (partial.x + partial.y + partial.z + partial.w) / f32(params.n);
    partial = vec4<f32>();
    for (var j = 0u; j < whole; j += 4u) {
        let at = start + j;
        @if(centred) let v = vec4(again(at), again(at + 1u), again(at + 2u), again(at + 3u)) - mean;
        @else let v = vec4(take(at), take(at + 1u), take(at + 2u), take(at + 3u));
        partial += v * v;
    }
    for (var j = whole; j < params.n; j++) {
        @if(centred) let v = again(start + j) - mean;
        @else let v = take(start + j);
        partial.x += v * v;
    }
    let square = (partial.x + partial.y + partial.z + partial.w) / f32(params.n);
    let factor = inverseSqrt(square + params.epsilon);
    for (var j = 0u; j < params.n; j++) {
        @if(centred) put(start + j, row, j, (again(start + j) - mean) * factor);
        @else put(start + j, row, j, again(start + j) * factor);
    }
}

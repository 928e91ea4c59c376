import package::config::WORKGROUP;
import package::reduce::arg::{better, found, params, sink_of, start_of, y};

// One invocation for a result.

@compute @workgroup_size(WORKGROUP)
fn main(
    @builtin(workgroup_id) group: vec3<u32>,
    @builtin(num_workgroups) groups: vec3<u32>,
    @builtin(local_invocation_index) lane: u32,
) {
    let row = (group.x + group.y * groups.x) * WORKGROUP + lane;
    let sink = sink_of(row);
    if row >= params.rows || sink >= params.y_count {
        return;
    }
    let start = start_of(row);
    var best = found(start, 0u);
    for (var j = 1u; j < params.n; j++) {
        best = better(best, found(start, j));
    }
    y[sink] = i32(best.place);
}

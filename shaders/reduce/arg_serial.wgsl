import package::config::WORKGROUP;
import package::reduce::arg::{begin_of, better, end_of, found, params, put, sink_of, start_of};

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
    let begin = begin_of(row);
    let end = end_of(row);
    var best = found(start, begin);
    for (var j = begin + 1u; j < end; j++) {
        best = better(best, found(start, j));
    }
    put(sink, best);
}

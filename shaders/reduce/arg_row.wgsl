import package::common::decode::In;
import package::config::WORKGROUP;
import package::reduce::arg::{
    Found, begin_of, better, end_of, found, params, put, sink_of, start_of,
};

// A workgroup for a result.

var<workgroup> values: array<In, WORKGROUP>;
var<workgroup> places: array<u32, WORKGROUP>;

@compute @workgroup_size(WORKGROUP)
fn main(
    @builtin(workgroup_id) group: vec3<u32>,
    @builtin(num_workgroups) groups: vec3<u32>,
    @builtin(local_invocation_index) index: u32,
) {
    let row = group.x + group.y * groups.x;
    let sink = sink_of(row);
    if row >= params.rows || sink >= params.y_count {
        return;
    }
    let start = start_of(row);
    let begin = begin_of(row);
    let end = end_of(row);
    // Those without an element of their own have another's.
    var best = found(start, min(begin + index, end - 1u));
    var j = begin + index + WORKGROUP;
    // Four at a time: on a CPU a loop's end costs as much as they do.
    for (; j + 3u * WORKGROUP < end; j += 4u * WORKGROUP) {
        best = better(best, found(start, j));
        best = better(best, found(start, j + WORKGROUP));
        best = better(best, found(start, j + 2u * WORKGROUP));
        best = better(best, found(start, j + 3u * WORKGROUP));
    }
    for (; j < end; j += WORKGROUP) {
        best = better(best, found(start, j));
    }
    values[index] = best.value;
    places[index] = best.place;
    workgroupBarrier();
    for (var half = WORKGROUP / 2u; half > 0u; half /= 2u) {
        if index < half {
            best = better(best, Found(values[index + half], places[index + half]));
            values[index] = best.value;
            places[index] = best.place;
        }
        workgroupBarrier();
    }
    if index == 0u {
        put(sink, best);
    }
}

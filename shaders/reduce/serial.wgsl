import package::common::decode::In;
import package::config::WORKGROUP;
import package::reduce::span::{
    combine, initial, is_mine, params, put, put_empty, report, span_of, take,
};

// One invocation for a result. Four partial results: shorter chains are faster
// and err less.

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
    let span = span_of(row);
    if !is_mine(span) {
        put_empty(span);
        return;
    }
    var a = initial(span, span.begin);
    var b = a;
    var c = a;
    var d = a;
    let whole = span.begin + (span.end - span.begin) / 4u * 4u;
    for (var j = span.begin; j < whole; j += 4u) {
        a = combine(a, take(span, j));
        b = combine(b, take(span, j + 1u));
        c = combine(c, take(span, j + 2u));
        d = combine(d, take(span, j + 3u));
    }
    for (var j = whole; j < span.end; j++) {
        a = combine(a, take(span, j));
    }
    put(span, combine(combine(a, b), combine(c, d)));
    report();
}

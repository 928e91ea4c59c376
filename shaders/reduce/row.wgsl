import package::common::decode::In;
import package::config::WORKGROUP;
import package::reduce::span::{
    combine, initial, is_mine, params, put, put_empty, report, span_of, take,
};

// A workgroup for a result. With subgroups, one value per subgroup goes through
// workgroup memory; subgroup operations do not notice what overflows.

var<workgroup> partial: array<In, WORKGROUP>;

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
    let span = span_of(row);
    if !is_mine(span) {
        if index == 0u {
            put_empty(span);
        }
        return;
    }
    var all = initial(span, span.begin + index);
    for (var j = span.begin + index; j < span.end; j += WORKGROUP) {
        all = combine(all, take(span, j));
    }
    @if(subgroups && !checked) {
        @if(fold_sum) let mine = subgroupAdd(all);
        @if(fold_prod) let mine = subgroupMul(all);
        @if(fold_max) let mine = subgroupMax(all);
        @if(fold_min) let mine = subgroupMin(all);
        if in_subgroup == 0u {
            partial[subgroup] = mine;
        }
        workgroupBarrier();
        if index == 0u {
            all = partial[0];
            for (var i = 1u; i < subgroups; i++) {
                all = combine(all, partial[i]);
            }
            put(span, all);
        }
    }
    @else {
        partial[index] = all;
        workgroupBarrier();
        for (var half = WORKGROUP / 2u; half > 0u; half /= 2u) {
            if index < half {
                partial[index] = combine(partial[index], partial[index + half]);
            }
            workgroupBarrier();
        }
        if index == 0u {
            put(span, partial[0]);
        }
    }
    report();
}

import package::config::WORKGROUP;

// Sums over a workgroup: every invocation passes a value and gets the sum.
//
// With subgroups, one value per subgroup goes through workgroup memory. How
// many subgroups there are is asked, never assumed.

struct Lane {
    index: u32,
    // These three are 0 without subgroups.
    in_subgroup: u32,
    subgroup: u32,
    subgroups: u32,
}

var<workgroup> reduce_partial: array<f32, WORKGROUP>;

@if(subgroups) fn workgroup_sum(value: f32, lane: Lane) -> f32 {
    let mine = subgroupAdd(value);
    if lane.in_subgroup == 0u {
        reduce_partial[lane.subgroup] = mine;
    }
    workgroupBarrier();
    var all = 0.0;
    for (var i = 0u; i < lane.subgroups; i++) {
        all += reduce_partial[i];
    }
    workgroupBarrier();
    return all;
}

@if(!subgroups) fn workgroup_sum(value: f32, lane: Lane) -> f32 {
    reduce_partial[lane.index] = value;
    workgroupBarrier();
    for (var half = WORKGROUP / 2u; half > 0u; half /= 2u) {
        if lane.index < half {
            reduce_partial[lane.index] = reduce_partial[lane.index] + reduce_partial[lane.index + half];
        }
        workgroupBarrier();
    }
    let all = reduce_partial[0];
    workgroupBarrier();
    return all;
}

// The same for the largest value.

@if(subgroups) fn workgroup_max(value: f32, lane: Lane) -> f32 {
    let mine = subgroupMax(value);
    if lane.in_subgroup == 0u {
        reduce_partial[lane.subgroup] = mine;
    }
    workgroupBarrier();
    var all = reduce_partial[0];
    for (var i = 1u; i < lane.subgroups; i++) {
        all = max(all, reduce_partial[i]);
    }
    workgroupBarrier();
    return all;
}

@if(!subgroups) fn workgroup_max(value: f32, lane: Lane) -> f32 {
    reduce_partial[lane.index] = value;
    workgroupBarrier();
    for (var half = WORKGROUP / 2u; half > 0u; half /= 2u) {
        if lane.index < half {
            reduce_partial[lane.index] =
                max(reduce_partial[lane.index], reduce_partial[lane.index + half]);
        }
        workgroupBarrier();
    }
    let all = reduce_partial[0];
    workgroupBarrier();
    return all;
}

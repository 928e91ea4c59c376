import package::topk::key::bits_of;

// Merges sorted runs two by two: an element's place is its place in its run and
// the number of elements of the other run that come before it. What lies beyond
// the most that is wanted is dropped. with `finish` the result is written.

struct Params {
    // Elements of all runs, missing ones included.
    units: u32,
    // Runs of a line.
    runs: u32,
    // Elements a run has room for, and a merged one.
    most: u32,
    next_most: u32,
    // Elements of the line that a run was made of.
    span: u32,
    n: u32,
    inner: u32,
}

@group(0) @binding(0) var<uniform> params: Params;
@group(0) @binding(1) var<storage, read> keys: array<u32>;
@group(0) @binding(2) var<storage, read> places: array<u32>;
// Keys, or values.
@group(0) @binding(3) var<storage, read_write> y: array<u32>;
@group(0) @binding(4) var<storage, read_write> y_places: array<u32>;

// Elements that a run has.
fn count_of(run: u32) -> u32 {
    if run >= params.runs {
        return 0u;
    }
    let begin = run * params.span;
    return min(params.n - min(begin, params.n), params.most);
}

@compute @workgroup_size(64)
fn main(
    @builtin(workgroup_id) group: vec3<u32>,
    @builtin(num_workgroups) groups: vec3<u32>,
    @builtin(local_invocation_index) lane: u32,
) {
    let unit = (group.x + group.y * groups.x) * 64u + lane;
    if unit >= params.units {
        return;
    }
    let place = unit % params.most;
    let line = unit / params.most / params.runs;
    let run = unit / params.most % params.runs;
    if place >= count_of(run) {
        return;
    }
    let key = keys[unit];
    let other = run ^ 1u;
    let start = (line * params.runs + other) * params.most;
    // Equal elements of the run to the left come before.
    var low = 0u;
    var high = count_of(other);
    while low < high {
        let middle = (low + high) / 2u;
        let theirs = keys[start + middle];
        if theirs > key || (theirs == key && other < run) {
            low = middle + 1u;
        } else {
            high = middle;
        }
    }
    let rank = place + low;
    if rank >= params.next_most {
        return;
    }
    @if(finish) let sink =
        (line / params.inner * params.next_most + rank) * params.inner + line % params.inner;
    @else let sink =
        (line * ((params.runs + 1u) / 2u) + run / 2u) * params.next_most + rank;
    @if(finish) y[sink] = bits_of(key);
    @else y[sink] = key;
    y_places[sink] = places[unit];
}

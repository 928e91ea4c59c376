import package::common::decode::In;
import package::config::WORKGROUP;

// The places of extrema from those of pieces, [outer, pieces, inner]: one
// invocation for a result. Pieces are in the order of their places.

struct Params {
    // Results.
    rows: u32,
    inner: u32,
    pieces: u32,
}

@group(0) @binding(0) var<uniform> params: Params;
@group(0) @binding(1) var<storage, read_write> partial: array<vec2<u32>>;
@group(0) @binding(2) var<storage, read_write> y: array<i32>;

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
    let first = row / params.inner * params.pieces * params.inner + row % params.inner;
    var place = partial[first].y;
    var best = bitcast<In>(partial[first].x);
    for (var piece = 1u; piece < params.pieces; piece++) {
        let other = partial[first + piece * params.inner];
        let value = bitcast<In>(other.x);
        @if(largest) var better = value > best;
        @else var better = value < best;
        @if(select_last) better = better || value == best;
        if better {
            best = value;
            place = other.y;
        }
    }
    y[row] = i32(place);
}

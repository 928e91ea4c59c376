import package::common::status::raise;

// Groups rows by the matrix of B they meet: tiles of `rows` rows each, in order
// (see `matmul/experts`). One invocation for each matrix, in two dispatches: the
// rows of a matrix are counted, and then (`placing`) put after those before it.

struct Params {
    // Pairs of a row of A and an index.
    pairs: u32,
    experts: u32,
    // Rows of a tile, and how many tiles there is room for.
    rows: u32,
    row_tiles: u32,
    // What the status is raised to where an index is no matrix.
    @if(!placing) index_code: u32,
}

const NOWHERE: u32 = 0xffffffffu;

@group(0) @binding(0) var<uniform> params: Params;
@group(0) @binding(1) var<storage, read> chosen: array<i32>;
@if(placing) @group(0) @binding(2) var<storage, read> counts: array<u32>;
@if(!placing) @group(0) @binding(2) var<storage, read_write> counts: array<u32>;
// The matrix of each tile, then the pair of each row.
@if(placing) @group(0) @binding(3) var<storage, read_write> grouping: array<u32>;

fn tiles_of(count: u32) -> u32 {
    return (count + params.rows - 1u) / params.rows;
}

@if(!placing) fn work(expert: u32) {
    var count = 0u;
    for (var pair = 0u; pair < params.pairs; pair++) {
        let index = chosen[pair];
        if index < 0 || u32(index) >= params.experts {
            raise(params.index_code);
        }
        count += select(0u, 1u, u32(index) == expert);
    }
    if expert < params.experts {
        counts[expert] = count;
    }
}

@if(placing) fn work(expert: u32) {
    var tile = 0u;
    for (var before = 0u; before < min(expert, params.experts); before++) {
        tile += tiles_of(counts[before]);
    }
    if expert >= params.experts {
        // One more invocation marks the tiles that nothing needs.
        for (; tile < params.row_tiles; tile++) {
            grouping[tile] = NOWHERE;
        }
        return;
    }
    let tiles = tiles_of(counts[expert]);
    for (var i = 0u; i < tiles; i++) {
        grouping[tile + i] = expert;
    }
    var row = params.row_tiles + tile * params.rows;
    let end = row + tiles * params.rows;
    for (var pair = 0u; pair < params.pairs; pair++) {
        if u32(chosen[pair]) == expert {
            grouping[row] = pair;
            row++;
        }
    }
    for (; row < end; row++) {
        grouping[row] = NOWHERE;
    }
}

@compute @workgroup_size(32)
fn main(
    @builtin(workgroup_id) group: vec3<u32>,
    @builtin(num_workgroups) groups: vec3<u32>,
    @builtin(local_invocation_index) lane: u32,
) {
    let expert = (group.x + group.y * groups.x) * 32u + lane;
    if expert <= params.experts {
        work(expert);
    }
}

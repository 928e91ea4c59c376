import package::attention::io::{params, share_of, y};
import package::config::{HEAD, KEYS, VALUE, WORKGROUP};

// What the ways of a workgroup with many rows have in common.

const ROWS: u32 = WORKGROUP * 4u;
const FOURS: u32 = HEAD / 4u;
const VALUE_FOURS: u32 = VALUE / 4u;

// Rows 4i to 4i + 3 in one vector: their queries, then what a key weighs.
var<workgroup> queries: array<vec4<f32>, HEAD * WORKGROUP>;
var<workgroup> weights: array<vec4<f32>, KEYS * WORKGROUP>;
// What of earlier keys is kept, and what results are divided by in the end.
var<workgroup> kept: array<f32, ROWS>;
var<workgroup> shares: array<f32, ROWS>;
// Each lane's sums: of eight rows, or of all of them.
@if(slabs) var<workgroup> done: array<vec4<f32>, ROWS * WORKGROUP>;
@else var<workgroup> done: array<vec4<f32>, 16u * WORKGROUP>;

// What is being summed and where it goes.
struct Part {
    batch: u32,
    group: u32,
    // The first row of the tile, and how many there are in all.
    first: u32,
    rows: u32,
    // The first four elements of this lane, by number.
    column: u32,
    // Whether there are sums of earlier keys.
    resumed: bool,
}

fn add(part: Part, row: u32, column: u32, sums: vec4<f32>, keep: f32, share: f32) {
    let i = part.first + row;
    if i >= part.rows || column >= VALUE_FOURS {
        return;
    }
    let query = part.batch * params.queries + i / share_of();
    let to = (query * params.heads + part.group * share_of() + i % share_of()) * VALUE + column * 4u;
    var all = sums;
    if part.resumed {
        all = fma(vec4(keep), vec4(y[to], y[to + 1u], y[to + 2u], y[to + 3u]), sums);
    }
    y[to] = all.x * share;
    y[to + 1u] = all.y * share;
    y[to + 2u] = all.z * share;
    y[to + 3u] = all.w * share;
}

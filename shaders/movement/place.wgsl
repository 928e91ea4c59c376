import package::config::{BITS, LANES};

// Puts a tensor [outer, row] into columns of a result [outer, result_row]: the
// elements that are bound of x, where their place in the result is bound.
// Where words hold several elements, one invocation takes a word of the result
// and keeps what other tensors put there; else it takes an element of x, which is
// four words with `vectors`.

struct Params {
    // Words of the result, or elements of x.
    count: u32,
    row: u32,
    result_row: u32,
    // The first column in the result.
    column: u32,
    // Elements of the result.
    elements: u32,
    // The elements of x that are bound.
    x_first: u32,
    x_count: u32,
    // The elements of the result that are bound.
    y_first: u32,
    y_count: u32,
}

@group(0) @binding(0) var<uniform> params: Params;
@if(!vectors) @group(0) @binding(1) var<storage, read> x: array<u32>;
@if(!vectors) @group(0) @binding(2) var<storage, read_write> y: array<u32>;
@if(vectors) @group(0) @binding(1) var<storage, read> x: array<vec4<u32>>;
@if(vectors) @group(0) @binding(2) var<storage, read_write> y: array<vec4<u32>>;

const MASK: u32 = 0xffffffffu >> (32u - BITS);

@if(merge) fn put(word: u32) {
    var bits = 0u;
    var mine = 0u;
    for (var k = 0u; k < LANES; k++) {
        let at = params.y_first + word * LANES + k;
        let column = at % params.result_row - params.column;
        if at < params.elements && column < params.row {
            let source = at / params.result_row * params.row + column - params.x_first;
            if source < params.x_count {
                let value = (x[source / LANES] >> ((source % LANES) * BITS)) & MASK;
                bits |= value << (k * BITS);
                mine |= MASK << (k * BITS);
            }
        }
    }
    if mine != 0u {
        y[word] = (y[word] & ~mine) | bits;
    }
}

@if(!merge) fn put(i: u32) {
    let source = params.x_first + i;
    let at = source / params.row * params.result_row + params.column + source % params.row;
    let target_at = at - params.y_first;
    if target_at < params.y_count {
        y[target_at] = x[i];
    }
}

@compute @workgroup_size(64)
fn main(
    @builtin(workgroup_id) group: vec3<u32>,
    @builtin(num_workgroups) groups: vec3<u32>,
    @builtin(local_invocation_index) lane: u32,
) {
    let i = (group.x + group.y * groups.x) * 64u + lane;
    if i < params.count {
        put(i);
    }
}

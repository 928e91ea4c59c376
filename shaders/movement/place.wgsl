import package::config::{BITS, LANES};

// Puts a tensor [outer, row] into columns of a result [outer, result_row].
// Where words hold several elements, one invocation takes a word of the result
// and keeps what other tensors put there; else it takes an element of x.

struct Params {
    // Words of the result, or elements of x.
    count: u32,
    row: u32,
    result_row: u32,
    // The first column in the result.
    column: u32,
    // Elements of the result.
    elements: u32,
}

@group(0) @binding(0) var<uniform> params: Params;
@group(0) @binding(1) var<storage, read> x: array<u32>;
@group(0) @binding(2) var<storage, read_write> y: array<u32>;

const MASK: u32 = 0xffffffffu >> (32u - BITS);

@if(merge) fn put(word: u32) {
    var bits = y[word];
    var mine = false;
    for (var k = 0u; k < LANES; k++) {
        let at = word * LANES + k;
        let column = at % params.result_row;
        if at < params.elements && column >= params.column && column - params.column < params.row {
            let source = at / params.result_row * params.row + column - params.column;
            let value = (x[source / LANES] >> ((source % LANES) * BITS)) & MASK;
            bits = (bits & ~(MASK << (k * BITS))) | (value << (k * BITS));
            mine = true;
        }
    }
    if mine {
        y[word] = bits;
    }
}

@if(!merge) fn put(i: u32) {
    y[i / params.row * params.result_row + params.column + i % params.row] = x[i];
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

import package::config::{BITS, LANES};

// Keeps elements of matrices [rows, columns] on one side of a diagonal and
// clears the others. One invocation writes one word of LANES elements.

struct Params {
    // Elements of this part, and the place of its first one.
    count: u32,
    first: u32,
    rows: u32,
    columns: u32,
    // The diagonal's number, kept within the matrix.
    diagonal: i32,
}

@group(0) @binding(0) var<uniform> params: Params;
@group(0) @binding(1) var<storage, read> x: array<u32>;
@group(0) @binding(2) var<storage, read_write> y: array<u32>;

const MASK: u32 = 0xffffffffu >> (32u - BITS);

fn keeps(at: u32) -> bool {
    let across = i32(at % params.columns) - i32(at / params.columns % params.rows);
    @if(upper) return across >= params.diagonal;
    @else return across <= params.diagonal;
}

@compute @workgroup_size(64)
fn main(
    @builtin(workgroup_id) group: vec3<u32>,
    @builtin(num_workgroups) groups: vec3<u32>,
    @builtin(local_invocation_index) lane: u32,
) {
    let word = (group.x + group.y * groups.x) * 64u + lane;
    let i = word * LANES;
    if i >= params.count {
        return;
    }
    var mask = 0u;
    for (var k = 0u; k < LANES; k++) {
        if keeps(params.first + i + k) {
            mask |= MASK << (k * BITS);
        }
    }
    y[word] = x[word] & mask;
}

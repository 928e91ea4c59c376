import package::config::{HIDDEN, ROWS, SEQUENCES, WORKGROUP};
import package::recurrent::products::{params, r, state, state_at, sum_at, sums, weights_at};

// A workgroup computes ROWS rows for SEQUENCES sequences: its invocations share
// each row, so that neighbours read neighbouring weights, and each weight is
// read once for all sequences.

const TILE: u32 = ROWS * SEQUENCES;
// Invocations that add up the parts of one sum.
const SHARE: u32 = WORKGROUP / TILE;

// The row of a sum is one longer than needed: neighbours then lie in other banks.
var<workgroup> parts: array<f32, TILE * (WORKGROUP + 1u)>;
var<workgroup> fewer: array<f32, WORKGROUP>;

@compute @workgroup_size(WORKGROUP)
fn main(
    @builtin(workgroup_id) group: vec3<u32>,
    @builtin(num_workgroups) groups: vec3<u32>,
    @builtin(local_invocation_index) index: u32,
) {
    let number = group.x + group.y * groups.x;
    let tiles = (params.rows + ROWS - 1u) / ROWS;
    let some = (params.batch + SEQUENCES - 1u) / SEQUENCES;
    let local = number / tiles / some;
    if local >= params.directions {
        return;
    }
    let d = params.direction + local;
    let row = number % tiles * ROWS;
    let b = number / tiles % some * SEQUENCES;
    var weights: array<u32, ROWS>;
    var start: array<u32, SEQUENCES>;
    // Past the last row and sequence the last one is repeated, and not written.
    for (var i = 0u; i < ROWS; i++) {
        weights[i] = weights_at(d, params.first_row + min(row + i, params.rows - 1u));
    }
    for (var i = 0u; i < SEQUENCES; i++) {
        start[i] = state_at(d, min(b + i, params.batch - 1u));
    }
    var own: array<f32, TILE>;
    for (var i = 0u; i < TILE; i++) {
        own[i] = 0.0;
    }
    for (var k = index; k < HIDDEN; k += WORKGROUP) {
        var x: array<f32, SEQUENCES>;
        for (var i = 0u; i < SEQUENCES; i++) {
            x[i] = state[start[i] + k];
        }
        for (var i = 0u; i < ROWS; i++) {
            let w = r[weights[i] + k];
            for (var t = 0u; t < SEQUENCES; t++) {
                own[i * SEQUENCES + t] = fma(w, x[t], own[i * SEQUENCES + t]);
            }
        }
    }
    for (var i = 0u; i < TILE; i++) {
        parts[i * (WORKGROUP + 1u) + index] = own[i];
    }
    workgroupBarrier();
    let mine = index / SHARE;
    var sum = 0.0;
    for (var i = index % SHARE; i < WORKGROUP; i += SHARE) {
        sum += parts[mine * (WORKGROUP + 1u) + i];
    }
    fewer[index] = sum;
    workgroupBarrier();
    if index >= TILE {
        return;
    }
    sum = 0.0;
    for (var i = 0u; i < SHARE; i++) {
        sum += fewer[index * SHARE + i];
    }
    let own_row = row + index / SEQUENCES;
    let own_b = b + index % SEQUENCES;
    if own_row < params.rows && own_b < params.batch {
        sums[sum_at(d, own_b, params.first_row + own_row)] = sum;
    }
}

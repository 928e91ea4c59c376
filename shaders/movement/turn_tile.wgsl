import package::config::WORKGROUP;
import package::movement::turn_params::{params, target_of, source_of, x, y};

// Turns rows into columns: a workgroup reads a tile along the source's rows and
// writes it along the result's.

const TILE: u32 = 32u;
const STEP: u32 = WORKGROUP / TILE;

// One more in a row, so that columns are in different banks.
var<workgroup> tile: array<u32, TILE * (TILE + 1u)>;

@compute @workgroup_size(WORKGROUP)
fn main(
    @builtin(workgroup_id) group: vec3<u32>,
    @builtin(num_workgroups) groups: vec3<u32>,
    @builtin(local_invocation_index) lane: u32,
) {
    let number = group.x + group.y * groups.x;
    let across = (params.rows + TILE - 1u) / TILE;
    let down = (params.columns + TILE - 1u) / TILE;
    let plane = number / across / down;
    if plane >= params.planes {
        return;
    }
    let first_row = number % across * TILE;
    let first_column = number / across % down * TILE;
    let source = source_of(plane);
    let to = target_of(plane);
    let fast = lane % TILE;
    for (var slow = lane / TILE; slow < TILE; slow += STEP) {
        if first_row + fast < params.rows && first_column + slow < params.columns {
            let at = source + first_row + fast + (first_column + slow) * params.source_column;
            tile[slow * (TILE + 1u) + fast] = x[at];
        }
    }
    workgroupBarrier();
    for (var slow = lane / TILE; slow < TILE; slow += STEP) {
        if first_row + slow < params.rows && first_column + fast < params.columns {
            let at = to + (first_row + slow) * params.target_row + first_column + fast;
            y[at] = tile[fast * (TILE + 1u) + slow];
        }
    }
}

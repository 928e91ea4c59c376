import package::attention::io::{LEAST_SCORE, final_share, params, row_of, y};
import package::config::{KEYS, VALUE, WORKGROUP};

// Puts together what `attention/pieces` has of the pieces of the keys: one
// invocation for an element of the output.

const RECORD: u32 = VALUE + 2u;

@group(0) @binding(8) var<storage, read_write> partial: array<f32>;

@compute @workgroup_size(WORKGROUP)
fn main(
    @builtin(workgroup_id) group: vec3<u32>,
    @builtin(num_workgroups) groups: vec3<u32>,
    @builtin(local_invocation_index) lane: u32,
) {
    let i = (group.x + group.y * groups.x) * WORKGROUP + lane;
    let number = i / VALUE;
    let token = number / params.heads;
    if token >= params.tokens {
        return;
    }
    let row = row_of(token / params.queries, token % params.queries, number % params.heads);
    let pieces = (params.capacity + KEYS - 1u) / KEYS;
    let first = row.begin / KEYS;
    // Where a row sees no key, the piece it would begin in is not written.
    let end = select(first, (row.end + KEYS - 1u) / KEYS, row.begin < row.end);
    var peak = LEAST_SCORE;
    var sum = 0.0;
    var mixed = 0.0;
    for (var piece = first; piece < end; piece++) {
        let at = (number * pieces + piece) * RECORD;
        let own = partial[at + VALUE];
        let higher = max(peak, own);
        let kept = exp(peak - higher);
        let added = exp(own - higher);
        peak = higher;
        sum = fma(partial[at + VALUE + 1u], added, sum * kept);
        mixed = fma(partial[at + i % VALUE], added, mixed * kept);
    }
    y[i] = mixed * final_share(peak, sum, row.head);
}

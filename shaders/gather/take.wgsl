import package::config::{BITS, LANES};
import package::gather::places::{NOWHERE, params, place};

// Gathers elements as they are: one invocation writes one word of LANES
// elements of BITS bits.
//
// `windowed`: parts of data or of the indices are bound, and elements that come
// from elsewhere are left as they are.

@group(0) @binding(2) var<storage, read> data: array<u32>;
@group(0) @binding(3) var<storage, read_write> result: array<u32>;

const MASK: u32 = 0xffffffffu >> (32u - BITS);

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
    var bits = 0u;
    var mine = 0u;
    for (var k = 0u; k < LANES; k++) {
        if i + k < params.count {
            let at = place(params.first + i + k);
            let bound = at - params.part_first;
            if at != NOWHERE && bound < params.part_count {
                bits |= ((data[bound / LANES] >> ((bound % LANES) * BITS)) & MASK) << (k * BITS);
                mine |= MASK << (k * BITS);
            }
        }
    }
    @if(!windowed) result[word] = bits;
    @if(windowed) {
        if mine != 0u {
            result[word] = (result[word] & ~mine) | bits;
        }
    }
}

import package::state::encode::f32_to_half;
import package::state::rows::{NOWHERE, params, source_row, target_row, updates};

// Writes new rows into a cache of F16, two halves per word: one invocation
// for each word, so no two write the same one.

@group(0) @binding(0) var<storage, read_write> cache: array<u32>;

fn half_of(at: u32) -> u32 {
    return f32_to_half(updates[params.base + at]);
}

@if(odd)
fn updated(element: u32) -> u32 {
    let row = source_row(element / params.width);
    return select(row * params.width + element % params.width, NOWHERE, row == NOWHERE);
}

@compute @workgroup_size(64)
fn main(
    @builtin(workgroup_id) group: vec3<u32>,
    @builtin(num_workgroups) groups: vec3<u32>,
    @builtin(local_invocation_index) lane: u32,
) {
    let unit = (group.x + group.y * groups.x) * 64u + lane;
    if unit >= params.units {
        return;
    }
    let words_per_row = (params.width + 1u) / 2u;
    let local = unit / words_per_row;
    let row = target_row(params.first_row + local);
    if row == NOWHERE {
        return;
    }
    let start = row * params.width;
    let word = (start >> 1u) + unit % words_per_row;
    let at = word - params.window_first;
    if at >= params.window_words {
        return;
    }
    @if(odd) {
        // A word may hold the end of one row and the start of the next, and
        // both may be new. The row that has its low half writes it; the other
        // one only where the low half does not change.
        let low = updated(word * 2u);
        let high = updated(word * 2u + 1u);
        if low != NOWHERE && low / params.width != local {
            return;
        }
        var halves = cache[at];
        if low != NOWHERE {
            halves = (halves & 0xffff0000u) | half_of(low);
        }
        if high != NOWHERE {
            halves = (halves & 0xffffu) | (half_of(high) << 16u);
        }
        cache[at] = halves;
    }
    @else {
        let source = local * params.width + (unit % words_per_row) * 2u;
        cache[at] = half_of(source) | (half_of(source + 1u) << 16u);
    }
}

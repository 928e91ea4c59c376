import package::common::decode::{decode, word_of};
import package::config::{BLOCK, WORKGROUP};
import package::topk::key::{bits_of, key_of};

// A workgroup sorts a block of a line in workgroup memory (a bitonic network)
// and leaves its first elements: for the merges, or with `finish` as the result.

struct Params {
    // Blocks of this dispatch.
    units: u32,
    // Blocks of a line.
    blocks: u32,
    n: u32,
    inner: u32,
    // Elements that a block leaves.
    most: u32,
}

@group(0) @binding(0) var<uniform> params: Params;
@group(0) @binding(1) var<storage, read> x: array<u32>;
// Keys, or values.
@group(0) @binding(2) var<storage, read_write> y: array<u32>;
@group(0) @binding(3) var<storage, read_write> y_places: array<u32>;

var<workgroup> keys: array<u32, BLOCK>;
var<workgroup> places: array<u32, BLOCK>;

// What is missing of a block comes after everything else.
const NOWHERE: u32 = 0xffffffffu;

fn load(start: u32, first: u32, slot: u32) {
    let j = first + slot;
    keys[slot] = 0u;
    places[slot] = NOWHERE;
    if j < params.n {
        let at = start + j * params.inner;
        keys[slot] = key_of(decode(x[word_of(at)], at));
        places[slot] = j;
    }
}

// Puts the pair in order, or in the opposite one.
fn exchange(low: u32, high: u32, descending: bool) {
    let a = keys[low];
    let b = keys[high];
    let p = places[low];
    let q = places[high];
    let ordered = a > b || (a == b && p < q);
    if ordered != descending {
        keys[low] = b;
        keys[high] = a;
        places[low] = q;
        places[high] = p;
    }
}

@compute @workgroup_size(WORKGROUP)
fn main(
    @builtin(workgroup_id) group: vec3<u32>,
    @builtin(num_workgroups) groups: vec3<u32>,
    @builtin(local_invocation_index) lane: u32,
) {
    let unit = group.x + group.y * groups.x;
    if unit >= params.units {
        return;
    }
    let line = unit / params.blocks;
    let start = line / params.inner * params.n * params.inner + line % params.inner;
    let first = unit % params.blocks * BLOCK;
    for (var slot = lane; slot < BLOCK; slot += WORKGROUP) {
        load(start, first, slot);
    }
    workgroupBarrier();
    for (var size = 2u; size <= BLOCK; size *= 2u) {
        for (var gap = size / 2u; gap > 0u; gap /= 2u) {
            for (var pair = lane; pair < BLOCK / 2u; pair += WORKGROUP) {
                let low = pair / gap * gap * 2u + pair % gap;
                exchange(low, low + gap, (low & size) == 0u);
            }
            workgroupBarrier();
        }
    }
    for (var slot = lane; slot < params.most; slot += WORKGROUP) {
        @if(finish) let sink =
            (line / params.inner * params.most + slot) * params.inner + line % params.inner;
        @else let sink = unit * params.most + slot;
        @if(finish) y[sink] = bits_of(keys[slot]);
        @else y[sink] = keys[slot];
        y_places[sink] = places[slot];
    }
}

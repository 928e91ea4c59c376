import package::common::checked::{add_i32, mul_i32, overflowed};
import package::common::status::raise;
import package::config::{BITS, LANES};
import package::gather::places::{NOWHERE, params, place};

// Puts updates where indices say, one invocation each. Words that several
// invocations may write, because they reduce or because words hold several
// elements, are exchanged until nobody came between.

@group(0) @binding(2) var<storage, read> updates: array<u32>;
@if(exchange) @group(0) @binding(3) var<storage, read_write> y: array<atomic<u32>>;
@if(!exchange) @group(0) @binding(3) var<storage, read_write> y: array<u32>;

const MASK: u32 = 0xffffffffu >> (32u - BITS);

// What the bits of an element become.
@if(replace) fn joined(old: u32, update: u32) -> u32 {
    return update;
}

@if(add && real) fn joined(old: u32, update: u32) -> u32 {
    return bitcast<u32>(bitcast<f32>(old) + bitcast<f32>(update));
}

@if(add && checked) fn joined(old: u32, update: u32) -> u32 {
    return bitcast<u32>(add_i32(bitcast<i32>(old), bitcast<i32>(update)));
}

@if(mul && checked) fn joined(old: u32, update: u32) -> u32 {
    return bitcast<u32>(mul_i32(bitcast<i32>(old), bitcast<i32>(update)));
}

@if(add && !real && !checked) fn joined(old: u32, update: u32) -> u32 {
    return old + update;
}

@if(mul && real) fn joined(old: u32, update: u32) -> u32 {
    return bitcast<u32>(bitcast<f32>(old) * bitcast<f32>(update));
}

@if(mul && !real && !checked) fn joined(old: u32, update: u32) -> u32 {
    return old * update;
}

@if(larger && real) fn joined(old: u32, update: u32) -> u32 {
    return bitcast<u32>(max(bitcast<f32>(old), bitcast<f32>(update)));
}

@if(larger && signed) fn joined(old: u32, update: u32) -> u32 {
    return bitcast<u32>(max(bitcast<i32>(old), bitcast<i32>(update)));
}

@if(larger && !real && !signed) fn joined(old: u32, update: u32) -> u32 {
    return max(old, update);
}

@if(smaller && real) fn joined(old: u32, update: u32) -> u32 {
    return bitcast<u32>(min(bitcast<f32>(old), bitcast<f32>(update)));
}

@if(smaller && signed) fn joined(old: u32, update: u32) -> u32 {
    return bitcast<u32>(min(bitcast<i32>(old), bitcast<i32>(update)));
}

@if(smaller && !real && !signed) fn joined(old: u32, update: u32) -> u32 {
    return min(old, update);
}

@if(!exchange) fn put(at: u32, update: u32) {
    y[at] = update;
}

@if(exchange) fn put(at: u32, update: u32) {
    let word = at / LANES;
    let shift = (at % LANES) * BITS;
    var old = atomicLoad(&y[word]);
    loop {
        let new_bits = joined((old >> shift) & MASK, update) & MASK;
        let new_word = (old & ~(MASK << shift)) | (new_bits << shift);
        let exchanged = atomicCompareExchangeWeak(&y[word], old, new_word);
        if exchanged.exchanged {
            break;
        }
        old = exchanged.old_value;
    }
}

@compute @workgroup_size(64)
fn main(
    @builtin(workgroup_id) group: vec3<u32>,
    @builtin(num_workgroups) groups: vec3<u32>,
    @builtin(local_invocation_index) lane: u32,
) {
    let i = (group.x + group.y * groups.x) * 64u + lane;
    if i >= params.count {
        return;
    }
    let at = place(params.first + i);
    if at == NOWHERE || at - params.part_first >= params.part_count {
        return;
    }
    put(at - params.part_first, (updates[i / LANES] >> ((i % LANES) * BITS)) & MASK);
    @if(checked) {
        if overflowed() {
            raise(params.overflow_code);
        }
    }
}

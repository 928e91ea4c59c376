// Linear quantisation, element by element: numbers to whole numbers (`quantize`), sums
// of products to whole numbers (`multiply`), and back (neither). One invocation writes
// ITEMS words.

import package::common::decode::{decode, word_of};
import package::common::divide::divide_exact;
import package::common::encode::{LANES, Out, encode};
import package::common::f16::half_to_f32;
import package::common::half_bits::{bf16_bits, f16_bits};
import package::config::{ITEMS, LEAST, MOST, WORKGROUP};

struct Params {
    // Elements to compute.
    count: u32,
    // Elements of the whole before the first one.
    start: u32,
    // Elements between neighbours along the axis, and how many there are along it.
    @if(per_axis || blocked) inner: u32,
    @if(per_axis || blocked) extent: u32,
    // Elements along the axis that share a scale, and how many such blocks there are.
    @if(blocked) size: u32,
    @if(blocked) blocks: u32,
}

@group(0) @binding(0) var<uniform> params: Params;
@group(0) @binding(1) var<storage, read> x: array<u32>;
@group(0) @binding(2) var<storage, read> scale: array<f32>;
@if(shifted) @group(0) @binding(3) var<storage, read> zero: array<i32>;
@group(0) @binding(4) var<storage, read_write> y: array<u32>;

// Which scale element `i` has.
fn place(i: u32) -> u32 {
    @if(per_axis) return i / params.inner % params.extent;
    @elif(blocked) {
        let line = i / params.inner;
        let block = line / params.extent * params.blocks + line % params.extent / params.size;
        return block * params.inner + i % params.inner;
    }
    @else return 0u;
}

fn zero_at(at: u32) -> i32 {
    @if(shifted) return zero[at];
    @else return 0;
}

fn at_precision(value: f32) -> f32 {
    @if(precision_f16) return half_to_f32(f16_bits(value));
    @elif(precision_bf16) return bitcast<f32>(bf16_bits(value) << 16u);
    @else return value;
}

// A whole number within the range of the result.
fn saturated(value: f32, shift: i32) -> Out {
    // Far beyond both ends of 16 bits, and exact.
    let whole = i32(round(clamp(value, -2097152.0, 2097152.0))) + shift;
    return Out(clamp(whole, LEAST, MOST));
}

@if(quantize && !small) fn convert(value: f32, at: u32) -> Out {
    return saturated(at_precision(divide_exact(at_precision(value), scale[at])), zero_at(at));
}

@if(quantize && small) fn convert(value: f32, at: u32) -> Out {
    return at_precision(divide_exact(at_precision(value), scale[at]));
}

@if(multiply) fn convert(value: f32, at: u32) -> Out {
    return saturated(value * scale[at], zero_at(at));
}

fn element(i: u32, lane: u32) -> u32 {
    let at = place(i + params.start);
    let value = decode(x[word_of(i)], i);
    @if(quantize || multiply) return encode(convert(f32(value), at), lane);
    @elif(small) return encode(value * scale[at], lane);
    @else return encode(f32(i32(value) - zero_at(at)) * scale[at], lane);
}

@compute @workgroup_size(WORKGROUP)
fn main(
    @builtin(workgroup_id) group: vec3<u32>,
    @builtin(num_workgroups) groups: vec3<u32>,
    @builtin(local_invocation_index) local: u32,
) {
    let number = group.x + group.y * groups.x;
    for (var item = 0u; item < ITEMS; item++) {
        let at = number * (WORKGROUP * ITEMS) + item * WORKGROUP + local;
        let first = at * LANES;
        if first < params.count {
            var bits = element(first, 0u);
            for (var lane = 1u; lane < LANES; lane++) {
                if first + lane < params.count {
                    bits |= element(first + lane, lane);
                }
            }
            y[at] = bits;
        }
    }
}

// Scale and zero point of numbers between two ends, for unsigned 8 bits.

import package::common::divide::divide_exact;

@group(0) @binding(0) var<storage, read> largest: array<f32>;
@group(0) @binding(1) var<storage, read> least: array<f32>;
@group(0) @binding(2) var<storage, read_write> scale: array<f32>;
@group(0) @binding(3) var<storage, read_write> zero: array<i32>;

@compute @workgroup_size(1)
fn main() {
    let high = max(largest[0], 0.0);
    let low = min(least[0], 0.0);
    let step = divide_exact(select(high - low, 1.0, high == low), 255.0);
    scale[0] = step;
    zero[0] = i32(round(clamp(0.0 - divide_exact(low, step), 0.0, 255.0)));
}

// What the normalisation kernels read and write.

struct Params {
    rows: u32,
    // Elements before the first row.
    base: u32,
    n: u32,
    epsilon: f32,
    // The first row, groups of an instance, channels of a group, elements of a
    // channel.
    @if(grouped) first_row: u32,
    @if(grouped) groups: u32,
    @if(grouped) channels: u32,
    @if(grouped) spatial: u32,
}

@group(0) @binding(0) var<uniform> params: Params;
@group(0) @binding(1) var<storage, read> x: array<f32>;
@group(0) @binding(2) var<storage, read> scale: array<f32>;
@group(0) @binding(3) var<storage, read_write> y: array<f32>;
@if(skip) @group(0) @binding(4) var<storage, read> residual: array<f32>;
@if(skip) @group(0) @binding(5) var<storage, read_write> sum: array<f32>;
@if(biased) @group(0) @binding(6) var<storage, read> bias: array<f32>;

// An element to normalise, stored as the sum on the way if there is one. Only
// the invocation that took an element may read it again with `again`.
fn take(at: u32) -> f32 {
    @if(skip) {
        let value = x[at] + residual[at];
        sum[at] = value;
        return value;
    }
    @else return x[at];
}

fn again(at: u32) -> f32 {
    @if(skip) return sum[at];
    @else return x[at];
}

// The entry of scale and bias that an element has: its channel's where rows are
// groups of channels.
fn entry(row: u32, column: u32) -> u32 {
    @if(grouped) {
        let group = (params.first_row + row) % params.groups;
        return group * params.channels + column / params.spatial;
    }
    @else return column;
}

fn put(at: u32, row: u32, column: u32, value: f32) {
    let own = entry(row, column);
    @if(biased) y[at] = value * scale[own] + bias[own];
    @else y[at] = value * scale[own];
}

import package::conv::params::{Axes, Quad, params};
@if(activated) import package::common::activation::activate;

// Writing outputs: earlier parts of the sum, bias, residual, activation.

@group(0) @binding(3) var<storage, read_write> y: array<f32>;
@if(bias) @group(0) @binding(4) var<storage, read> bias: array<f32>;
@if(residual) @group(0) @binding(5) var<storage, read> residual: array<f32>;

fn finish(at: u32, channel: u32, sum: f32) {
    var value = sum;
    @if(staged) {
        if (params.stage & 1u) == 0u {
            value += y[at];
        }
        if (params.stage & 2u) == 0u {
            y[at] = value;
            return;
        }
    }
    @if(bias) {
        value += bias[channel];
    }
    @if(residual) {
        value += residual[at];
    }
    @if(activated) {
        value = activate(value);
    }
    y[at] = value;
}

// Writes a quad of channel `m` of a group.
fn finish_quad(axes: Axes, quad: Quad, group: u32, m: u32, sums: vec4<f32>) {
    var row = axes.h.position + quad.h * axes.h.spacing;
    var exists = quad.h < axes.h.count;
    @if(deep) {
        row += (axes.d.position + quad.d * axes.d.spacing) * params.out_h;
        exists = exists && quad.d < axes.d.count;
    }
    if !exists {
        return;
    }
    let plane = params.y_base + quad.sample * params.y_sample + group * params.y_group
        + m * params.y_channel;
    let start = plane + row * params.out_w + axes.w.position;
    @if(bias) let channel = params.bias_base + group * params.bias_group + m;
    @else let channel = 0u;
    for (var j = 0u; j < 4u; j++) {
        if quad.w + j < axes.w.count {
            finish(start + (quad.w + j) * axes.w.spacing, channel, sums[j]);
        }
    }
}

// The same with four stores that are written out, where outputs lie next to each other.
fn finish_four(axes: Axes, quad: Quad, group: u32, m: u32, sums: vec4<f32>) {
    if quad.h >= axes.h.count {
        return;
    }
    let plane = params.y_base + quad.sample * params.y_sample + group * params.y_group
        + m * params.y_channel;
    let start = plane + quad.h * params.out_w + quad.w;
    @if(bias) let channel = params.bias_base + group * params.bias_group + m;
    @else let channel = 0u;
    let left = axes.w.count - quad.w;
    finish(start, channel, sums.x);
    if left > 1u {
        finish(start + 1u, channel, sums.y);
    }
    if left > 2u {
        finish(start + 2u, channel, sums.z);
    }
    if left > 3u {
        finish(start + 3u, channel, sums.w);
    }
}

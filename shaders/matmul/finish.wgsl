import package::matmul::params::params;
@if(experts) import package::matmul::experts::{NOWHERE, pair_of};
@if(activated) import package::common::activation::activate;

// Writing C: earlier parts along k, bias, activation.

@group(0) @binding(2) var<storage, read_write> c: array<f32>;
@if(bias) @group(0) @binding(3) var<storage, read> bias: array<f32>;

// Writes the sum of a row and column that exist. `base` is where the matrix starts.
fn finish(base: u32, row: u32, column: u32, sum: f32) {
    @if(!experts) let place = row;
    @if(experts) let place = pair_of(row);
    @if(experts) {
        if place == NOWHERE {
            return;
        }
    }
    let at = base + place * params.c_stride + column;
    var value = sum;
    @if(staged) {
        if (params.stage & 1u) == 0u {
            value += c[at];
        }
        if (params.stage & 2u) == 0u {
            c[at] = value;
            return;
        }
    }
    @if(bias) {
        value += bias[params.bias_base + column];
    }
    @if(activated) {
        value = activate(value);
    }
    c[at] = value;
}

// Writes a gated pair: the activated first product times the second.
@if(gated) fn finish_gated(base: u32, row: u32, column: u32, gate: f32, up: f32) {
    @if(!experts) let place = row;
    @if(experts) let place = pair_of(row);
    @if(experts) {
        if place == NOWHERE {
            return;
        }
    }
    c[base + place * params.c_stride + column] = activate(gate) * up;
}

import package::config::LANES;
import package::conv::finish::finish_quad;
@if(!sliding) import package::conv::input::load4;
@if(sliding) import package::conv::input::{load, load4};
import package::conv::input::{Row, row_at};
import package::conv::params::{Axes, Quad, axes_of, params, quad_of, tile_of};

// An invocation computes four neighbouring outputs of a row in one channel, or 8, 16
// or 32 of them, straight from storage: no workgroup memory, no barriers. A feature
// for more channels comes with those for fewer. All invocations of a workgroup read
// the same weights.
//
// `point`: rows of the window have one tap. `fours`: the window is a single tap, and
// four channels at a time are met. `sliding`: neighbouring outputs and neighbouring
// taps meet neighbouring inputs, so that each is read once.

@if(fours) @group(0) @binding(2) var<storage, read> w: array<vec4<f32>>;
@if(!fours) @group(0) @binding(2) var<storage, read> w: array<f32>;

@if(!channels_8) const CHANNELS: u32 = 1u;
@if(channels_8 && !channels_16) const CHANNELS: u32 = 8u;
@if(channels_16 && !channels_32) const CHANNELS: u32 = 16u;
@if(channels_32) const CHANNELS: u32 = 32u;

// Sums of four outputs for each channel.
struct Sums {
    c0: vec4<f32>,
    @if(channels_8) c1: vec4<f32>,
    @if(channels_8) c2: vec4<f32>,
    @if(channels_8) c3: vec4<f32>,
    @if(channels_8) c4: vec4<f32>,
    @if(channels_8) c5: vec4<f32>,
    @if(channels_8) c6: vec4<f32>,
    @if(channels_8) c7: vec4<f32>,
    @if(channels_16) c8: vec4<f32>,
    @if(channels_16) c9: vec4<f32>,
    @if(channels_16) c10: vec4<f32>,
    @if(channels_16) c11: vec4<f32>,
    @if(channels_16) c12: vec4<f32>,
    @if(channels_16) c13: vec4<f32>,
    @if(channels_16) c14: vec4<f32>,
    @if(channels_16) c15: vec4<f32>,
    @if(channels_32) c16: vec4<f32>,
    @if(channels_32) c17: vec4<f32>,
    @if(channels_32) c18: vec4<f32>,
    @if(channels_32) c19: vec4<f32>,
    @if(channels_32) c20: vec4<f32>,
    @if(channels_32) c21: vec4<f32>,
    @if(channels_32) c22: vec4<f32>,
    @if(channels_32) c23: vec4<f32>,
    @if(channels_32) c24: vec4<f32>,
    @if(channels_32) c25: vec4<f32>,
    @if(channels_32) c26: vec4<f32>,
    @if(channels_32) c27: vec4<f32>,
    @if(channels_32) c28: vec4<f32>,
    @if(channels_32) c29: vec4<f32>,
    @if(channels_32) c30: vec4<f32>,
    @if(channels_32) c31: vec4<f32>,
}

// Where the weights of each channel start.
struct Starts {
    c0: u32,
    @if(channels_8) c1: u32,
    @if(channels_8) c2: u32,
    @if(channels_8) c3: u32,
    @if(channels_8) c4: u32,
    @if(channels_8) c5: u32,
    @if(channels_8) c6: u32,
    @if(channels_8) c7: u32,
    @if(channels_16) c8: u32,
    @if(channels_16) c9: u32,
    @if(channels_16) c10: u32,
    @if(channels_16) c11: u32,
    @if(channels_16) c12: u32,
    @if(channels_16) c13: u32,
    @if(channels_16) c14: u32,
    @if(channels_16) c15: u32,
    @if(channels_32) c16: u32,
    @if(channels_32) c17: u32,
    @if(channels_32) c18: u32,
    @if(channels_32) c19: u32,
    @if(channels_32) c20: u32,
    @if(channels_32) c21: u32,
    @if(channels_32) c22: u32,
    @if(channels_32) c23: u32,
    @if(channels_32) c24: u32,
    @if(channels_32) c25: u32,
    @if(channels_32) c26: u32,
    @if(channels_32) c27: u32,
    @if(channels_32) c28: u32,
    @if(channels_32) c29: u32,
    @if(channels_32) c30: u32,
    @if(channels_32) c31: u32,
}

// What the weights at `tap` make of four inputs.
@if(!fours) fn product(start: u32, tap: u32, x: vec4<f32>) -> vec4<f32> {
    return w[start + tap] * x;
}

@if(!fours) alias Met = vec4<f32>;

// What the weights of four input channels from `tap` make of four inputs of each.
@if(fours) fn product(start: u32, tap: u32, x: mat4x4<f32>) -> vec4<f32> {
    return x * w[(start + tap) >> 2u];
}

@if(fours) alias Met = mat4x4<f32>;

fn add(sums: Sums, x: Met, at: Starts, tap: u32) -> Sums {
    var s: Sums;
    s.c0 = sums.c0 + product(at.c0, tap, x);
    @if(channels_8) {
        s.c1 = sums.c1 + product(at.c1, tap, x);
        s.c2 = sums.c2 + product(at.c2, tap, x);
        s.c3 = sums.c3 + product(at.c3, tap, x);
        s.c4 = sums.c4 + product(at.c4, tap, x);
        s.c5 = sums.c5 + product(at.c5, tap, x);
        s.c6 = sums.c6 + product(at.c6, tap, x);
        s.c7 = sums.c7 + product(at.c7, tap, x);
    }
    @if(channels_16) {
        s.c8 = sums.c8 + product(at.c8, tap, x);
        s.c9 = sums.c9 + product(at.c9, tap, x);
        s.c10 = sums.c10 + product(at.c10, tap, x);
        s.c11 = sums.c11 + product(at.c11, tap, x);
        s.c12 = sums.c12 + product(at.c12, tap, x);
        s.c13 = sums.c13 + product(at.c13, tap, x);
        s.c14 = sums.c14 + product(at.c14, tap, x);
        s.c15 = sums.c15 + product(at.c15, tap, x);
    }
    @if(channels_32) {
        s.c16 = sums.c16 + product(at.c16, tap, x);
        s.c17 = sums.c17 + product(at.c17, tap, x);
        s.c18 = sums.c18 + product(at.c18, tap, x);
        s.c19 = sums.c19 + product(at.c19, tap, x);
        s.c20 = sums.c20 + product(at.c20, tap, x);
        s.c21 = sums.c21 + product(at.c21, tap, x);
        s.c22 = sums.c22 + product(at.c22, tap, x);
        s.c23 = sums.c23 + product(at.c23, tap, x);
        s.c24 = sums.c24 + product(at.c24, tap, x);
        s.c25 = sums.c25 + product(at.c25, tap, x);
        s.c26 = sums.c26 + product(at.c26, tap, x);
        s.c27 = sums.c27 + product(at.c27, tap, x);
        s.c28 = sums.c28 + product(at.c28, tap, x);
        s.c29 = sums.c29 + product(at.c29, tap, x);
        s.c30 = sums.c30 + product(at.c30, tap, x);
        s.c31 = sums.c31 + product(at.c31, tap, x);
    }
    return s;
}

fn start_of(base: u32, m: u32) -> u32 {
    return base + min(m, params.m - 1u) * params.w_m;
}

fn write(axes: Axes, quad: Quad, group: u32, m: u32, sums: vec4<f32>) {
    if m < params.m {
        finish_quad(axes, quad, group, m, sums);
    }
}

@compute @workgroup_size(LANES)
fn main(
    @builtin(workgroup_id) group: vec3<u32>,
    @builtin(num_workgroups) groups: vec3<u32>,
    @builtin(local_invocation_index) lane: u32,
) {
    let number = group.x + group.y * groups.x;
    if number >= params.tiles {
        return;
    }
    let tile = tile_of(number, CHANNELS, LANES);
    let axes = axes_of(tile.phase);
    let quad = quad_of(tile.quads * LANES + lane);
    let m = tile.block * CHANNELS;
    let weights = params.w_base + tile.group * params.w_group;
    var at: Starts;
    at.c0 = start_of(weights, m);
    @if(channels_8) {
        at.c1 = start_of(weights, m + 1u);
        at.c2 = start_of(weights, m + 2u);
        at.c3 = start_of(weights, m + 3u);
        at.c4 = start_of(weights, m + 4u);
        at.c5 = start_of(weights, m + 5u);
        at.c6 = start_of(weights, m + 6u);
        at.c7 = start_of(weights, m + 7u);
    }
    @if(channels_16) {
        at.c8 = start_of(weights, m + 8u);
        at.c9 = start_of(weights, m + 9u);
        at.c10 = start_of(weights, m + 10u);
        at.c11 = start_of(weights, m + 11u);
        at.c12 = start_of(weights, m + 12u);
        at.c13 = start_of(weights, m + 13u);
        at.c14 = start_of(weights, m + 14u);
        at.c15 = start_of(weights, m + 15u);
    }
    @if(channels_32) {
        at.c16 = start_of(weights, m + 16u);
        at.c17 = start_of(weights, m + 17u);
        at.c18 = start_of(weights, m + 18u);
        at.c19 = start_of(weights, m + 19u);
        at.c20 = start_of(weights, m + 20u);
        at.c21 = start_of(weights, m + 21u);
        at.c22 = start_of(weights, m + 22u);
        at.c23 = start_of(weights, m + 23u);
        at.c24 = start_of(weights, m + 24u);
        at.c25 = start_of(weights, m + 25u);
        at.c26 = start_of(weights, m + 26u);
        at.c27 = start_of(weights, m + 27u);
        at.c28 = start_of(weights, m + 28u);
        at.c29 = start_of(weights, m + 29u);
        at.c30 = start_of(weights, m + 30u);
        at.c31 = start_of(weights, m + 31u);
    }
    let plane = params.x_base + quad.sample * params.x_sample + tile.group * params.x_group;
    let column = axes.w.start + i32(quad.w) * axes.w.stride;
    @if(deep) let slices = axes.d.taps;
    @else let slices = 1u;
    var s = Sums();
    for (var qd = 0u; qd < slices; qd++) {
        for (var qh = 0u; qh < axes.h.taps; qh++) {
            var row = row_at(axes, quad, plane, qd, qh);
            var above = axes.h.first + qh * axes.h.step;
            @if(deep) {
                above += (axes.d.first + qd * axes.d.step) * params.k_h;
            }
            var tap = above * params.k_w + axes.w.first;
            @if(fours) {
                for (var c = 0u; c < params.c; c += 4u) {
                    let second = Row(row.start + params.x_channel, row.width);
                    let third = Row(second.start + params.x_channel, row.width);
                    let fourth = Row(third.start + params.x_channel, row.width);
                    let x = mat4x4<f32>(
                        load4(row, column, axes.w.stride), load4(second, column, axes.w.stride),
                        load4(third, column, axes.w.stride), load4(fourth, column, axes.w.stride),
                    );
                    s = add(s, x, at, c);
                    row.start += 4u * params.x_channel;
                }
            }
            @if(!fours) {
                for (var c = 0u; c < params.c; c++) {
                    @if(point) {
                        s = add(s, load4(row, column, axes.w.stride), at, tap);
                    }
                    @if(sliding) {
                        var v = load4(row, column, 1);
                        for (var q = 0u; q < axes.w.taps; q++) {
                            s = add(s, v, at, tap + q * axes.w.step);
                            v = vec4<f32>(v.yzw, load(row, column + 4 + i32(q)));
                        }
                    }
                    @if(!point && !sliding) {
                        for (var q = 0u; q < axes.w.taps; q++) {
                            let x = load4(row, column + i32(q) * axes.w.dilation, axes.w.stride);
                            s = add(s, x, at, tap + q * axes.w.step);
                        }
                    }
                    row.start += params.x_channel;
                    tap += params.w_c;
                }
            }
        }
    }
    if !quad.live {
        return;
    }
    write(axes, quad, tile.group, m, s.c0);
    @if(channels_8) {
        write(axes, quad, tile.group, m + 1u, s.c1);
        write(axes, quad, tile.group, m + 2u, s.c2);
        write(axes, quad, tile.group, m + 3u, s.c3);
        write(axes, quad, tile.group, m + 4u, s.c4);
        write(axes, quad, tile.group, m + 5u, s.c5);
        write(axes, quad, tile.group, m + 6u, s.c6);
        write(axes, quad, tile.group, m + 7u, s.c7);
    }
    @if(channels_16) {
        write(axes, quad, tile.group, m + 8u, s.c8);
        write(axes, quad, tile.group, m + 9u, s.c9);
        write(axes, quad, tile.group, m + 10u, s.c10);
        write(axes, quad, tile.group, m + 11u, s.c11);
        write(axes, quad, tile.group, m + 12u, s.c12);
        write(axes, quad, tile.group, m + 13u, s.c13);
        write(axes, quad, tile.group, m + 14u, s.c14);
        write(axes, quad, tile.group, m + 15u, s.c15);
    }
    @if(channels_32) {
        write(axes, quad, tile.group, m + 16u, s.c16);
        write(axes, quad, tile.group, m + 17u, s.c17);
        write(axes, quad, tile.group, m + 18u, s.c18);
        write(axes, quad, tile.group, m + 19u, s.c19);
        write(axes, quad, tile.group, m + 20u, s.c20);
        write(axes, quad, tile.group, m + 21u, s.c21);
        write(axes, quad, tile.group, m + 22u, s.c22);
        write(axes, quad, tile.group, m + 23u, s.c23);
        write(axes, quad, tile.group, m + 24u, s.c24);
        write(axes, quad, tile.group, m + 25u, s.c25);
        write(axes, quad, tile.group, m + 26u, s.c26);
        write(axes, quad, tile.group, m + 27u, s.c27);
        write(axes, quad, tile.group, m + 28u, s.c28);
        write(axes, quad, tile.group, m + 29u, s.c29);
        write(axes, quad, tile.group, m + 30u, s.c30);
        write(axes, quad, tile.group, m + 31u, s.c31);
    }
}

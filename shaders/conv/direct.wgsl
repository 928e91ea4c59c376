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
// taps meet neighbouring inputs, so that each is read once. `taps_3`: rows of the window
// have three taps, which are written out. `quads`: each of four lanes reads the weights of
// a channel for all four, for drivers whose loads are dear. `lanes`: each of eight lanes
// reads those of a channel for all eight.

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

// Where the weights of each channel start. Of those that lanes read for each other, only
// the lane's own.
struct Starts {
    c0: u32,
    @if(channels_8 && !quads && !lanes) c1: u32,
    @if(channels_8 && !quads && !lanes) c2: u32,
    @if(channels_8 && !quads && !lanes) c3: u32,
    @if(channels_8 && !lanes) c4: u32,
    @if(channels_8 && !quads && !lanes) c5: u32,
    @if(channels_8 && !quads && !lanes) c6: u32,
    @if(channels_8 && !quads && !lanes) c7: u32,
    @if(channels_16) c8: u32,
    @if(channels_16 && !quads && !lanes) c9: u32,
    @if(channels_16 && !quads && !lanes) c10: u32,
    @if(channels_16 && !quads && !lanes) c11: u32,
    @if(channels_16 && !lanes) c12: u32,
    @if(channels_16 && !quads && !lanes) c13: u32,
    @if(channels_16 && !quads && !lanes) c14: u32,
    @if(channels_16 && !quads && !lanes) c15: u32,
    @if(channels_32) c16: u32,
    @if(channels_32 && !quads && !lanes) c17: u32,
    @if(channels_32 && !quads && !lanes) c18: u32,
    @if(channels_32 && !quads && !lanes) c19: u32,
    @if(channels_32 && !lanes) c20: u32,
    @if(channels_32 && !quads && !lanes) c21: u32,
    @if(channels_32 && !quads && !lanes) c22: u32,
    @if(channels_32 && !quads && !lanes) c23: u32,
    @if(channels_32) c24: u32,
    @if(channels_32 && !quads && !lanes) c25: u32,
    @if(channels_32 && !quads && !lanes) c26: u32,
    @if(channels_32 && !quads && !lanes) c27: u32,
    @if(channels_32 && !lanes) c28: u32,
    @if(channels_32 && !quads && !lanes) c29: u32,
    @if(channels_32 && !quads && !lanes) c30: u32,
    @if(channels_32 && !quads && !lanes) c31: u32,
}

// What four outputs of a channel meet, and the weight at `tap` they meet it with: of
// an input channel, or of four.
@if(!fours) alias Met = vec4<f32>;
@if(!fours) alias Weight = f32;
@if(fours) alias Met = mat4x4<f32>;
@if(fours) alias Weight = vec4<f32>;

fn weight(start: u32, tap: u32) -> Weight {
    @if(!fours) return w[start + tap];
    @if(fours) return w[(start + tap) >> 2u];
}

@if(!fours) fn plus(sums: vec4<f32>, x: Met, w: Weight) -> vec4<f32> {
    return sums + x * w;
}

@if(fours) fn plus(sums: vec4<f32>, x: Met, w: Weight) -> vec4<f32> {
    return sums + x[0] * w.x + x[1] * w.y + x[2] * w.z + x[3] * w.w;
}

// Weights are read before anything is multiplied: where reading and multiplying take turns,
// Mesa's compiler keeps what lies between on the stack (`docs/performance.md`).
@if(!quads && !lanes) fn add(sums: Sums, x: Met, at: Starts, tap: u32) -> Sums {
    let w0 = weight(at.c0, tap);
    @if(channels_8) let w1 = weight(at.c1, tap);
    @if(channels_8) let w2 = weight(at.c2, tap);
    @if(channels_8) let w3 = weight(at.c3, tap);
    @if(channels_8) let w4 = weight(at.c4, tap);
    @if(channels_8) let w5 = weight(at.c5, tap);
    @if(channels_8) let w6 = weight(at.c6, tap);
    @if(channels_8) let w7 = weight(at.c7, tap);
    @if(channels_16) let w8 = weight(at.c8, tap);
    @if(channels_16) let w9 = weight(at.c9, tap);
    @if(channels_16) let w10 = weight(at.c10, tap);
    @if(channels_16) let w11 = weight(at.c11, tap);
    @if(channels_16) let w12 = weight(at.c12, tap);
    @if(channels_16) let w13 = weight(at.c13, tap);
    @if(channels_16) let w14 = weight(at.c14, tap);
    @if(channels_16) let w15 = weight(at.c15, tap);
    @if(channels_32) let w16 = weight(at.c16, tap);
    @if(channels_32) let w17 = weight(at.c17, tap);
    @if(channels_32) let w18 = weight(at.c18, tap);
    @if(channels_32) let w19 = weight(at.c19, tap);
    @if(channels_32) let w20 = weight(at.c20, tap);
    @if(channels_32) let w21 = weight(at.c21, tap);
    @if(channels_32) let w22 = weight(at.c22, tap);
    @if(channels_32) let w23 = weight(at.c23, tap);
    @if(channels_32) let w24 = weight(at.c24, tap);
    @if(channels_32) let w25 = weight(at.c25, tap);
    @if(channels_32) let w26 = weight(at.c26, tap);
    @if(channels_32) let w27 = weight(at.c27, tap);
    @if(channels_32) let w28 = weight(at.c28, tap);
    @if(channels_32) let w29 = weight(at.c29, tap);
    @if(channels_32) let w30 = weight(at.c30, tap);
    @if(channels_32) let w31 = weight(at.c31, tap);
    var s: Sums;
    s.c0 = plus(sums.c0, x, w0);
    @if(channels_8) {
        s.c1 = plus(sums.c1, x, w1);
        s.c2 = plus(sums.c2, x, w2);
        s.c3 = plus(sums.c3, x, w3);
        s.c4 = plus(sums.c4, x, w4);
        s.c5 = plus(sums.c5, x, w5);
        s.c6 = plus(sums.c6, x, w6);
        s.c7 = plus(sums.c7, x, w7);
    }
    @if(channels_16) {
        s.c8 = plus(sums.c8, x, w8);
        s.c9 = plus(sums.c9, x, w9);
        s.c10 = plus(sums.c10, x, w10);
        s.c11 = plus(sums.c11, x, w11);
        s.c12 = plus(sums.c12, x, w12);
        s.c13 = plus(sums.c13, x, w13);
        s.c14 = plus(sums.c14, x, w14);
        s.c15 = plus(sums.c15, x, w15);
    }
    @if(channels_32) {
        s.c16 = plus(sums.c16, x, w16);
        s.c17 = plus(sums.c17, x, w17);
        s.c18 = plus(sums.c18, x, w18);
        s.c19 = plus(sums.c19, x, w19);
        s.c20 = plus(sums.c20, x, w20);
        s.c21 = plus(sums.c21, x, w21);
        s.c22 = plus(sums.c22, x, w22);
        s.c23 = plus(sums.c23, x, w23);
        s.c24 = plus(sums.c24, x, w24);
        s.c25 = plus(sums.c25, x, w25);
        s.c26 = plus(sums.c26, x, w26);
        s.c27 = plus(sums.c27, x, w27);
        s.c28 = plus(sums.c28, x, w28);
        s.c29 = plus(sums.c29, x, w29);
        s.c30 = plus(sums.c30, x, w30);
        s.c31 = plus(sums.c31, x, w31);
    }
    return s;
}

// The same where each lane of eight has read the weight of one of eight channels.
@if(lanes) fn add(sums: Sums, x: Met, at: Starts, tap: u32) -> Sums {
    let w0 = weight(at.c0, tap);
    @if(channels_16) let w8 = weight(at.c8, tap);
    @if(channels_32) let w16 = weight(at.c16, tap);
    @if(channels_32) let w24 = weight(at.c24, tap);
    var s: Sums;
    s.c0 = plus(sums.c0, x, subgroupBroadcast(w0, 0u));
    @if(channels_8) {
        s.c1 = plus(sums.c1, x, subgroupBroadcast(w0, 1u));
        s.c2 = plus(sums.c2, x, subgroupBroadcast(w0, 2u));
        s.c3 = plus(sums.c3, x, subgroupBroadcast(w0, 3u));
        s.c4 = plus(sums.c4, x, subgroupBroadcast(w0, 4u));
        s.c5 = plus(sums.c5, x, subgroupBroadcast(w0, 5u));
        s.c6 = plus(sums.c6, x, subgroupBroadcast(w0, 6u));
        s.c7 = plus(sums.c7, x, subgroupBroadcast(w0, 7u));
    }
    @if(channels_16) {
        s.c8 = plus(sums.c8, x, subgroupBroadcast(w8, 0u));
        s.c9 = plus(sums.c9, x, subgroupBroadcast(w8, 1u));
        s.c10 = plus(sums.c10, x, subgroupBroadcast(w8, 2u));
        s.c11 = plus(sums.c11, x, subgroupBroadcast(w8, 3u));
        s.c12 = plus(sums.c12, x, subgroupBroadcast(w8, 4u));
        s.c13 = plus(sums.c13, x, subgroupBroadcast(w8, 5u));
        s.c14 = plus(sums.c14, x, subgroupBroadcast(w8, 6u));
        s.c15 = plus(sums.c15, x, subgroupBroadcast(w8, 7u));
    }
    @if(channels_32) {
        s.c16 = plus(sums.c16, x, subgroupBroadcast(w16, 0u));
        s.c17 = plus(sums.c17, x, subgroupBroadcast(w16, 1u));
        s.c18 = plus(sums.c18, x, subgroupBroadcast(w16, 2u));
        s.c19 = plus(sums.c19, x, subgroupBroadcast(w16, 3u));
        s.c20 = plus(sums.c20, x, subgroupBroadcast(w16, 4u));
        s.c21 = plus(sums.c21, x, subgroupBroadcast(w16, 5u));
        s.c22 = plus(sums.c22, x, subgroupBroadcast(w16, 6u));
        s.c23 = plus(sums.c23, x, subgroupBroadcast(w16, 7u));
        s.c24 = plus(sums.c24, x, subgroupBroadcast(w24, 0u));
        s.c25 = plus(sums.c25, x, subgroupBroadcast(w24, 1u));
        s.c26 = plus(sums.c26, x, subgroupBroadcast(w24, 2u));
        s.c27 = plus(sums.c27, x, subgroupBroadcast(w24, 3u));
        s.c28 = plus(sums.c28, x, subgroupBroadcast(w24, 4u));
        s.c29 = plus(sums.c29, x, subgroupBroadcast(w24, 5u));
        s.c30 = plus(sums.c30, x, subgroupBroadcast(w24, 6u));
        s.c31 = plus(sums.c31, x, subgroupBroadcast(w24, 7u));
    }
    return s;
}

// The same where each lane of four has read the weight of one of four channels.
@if(quads) fn add(sums: Sums, x: Met, at: Starts, tap: u32) -> Sums {
    var s: Sums;
    @if(channels_8) {
        let w0 = weight(at.c0, tap);
        s.c0 = sums.c0 + x * quadBroadcast(w0, 0u);
        s.c1 = sums.c1 + x * quadBroadcast(w0, 1u);
        s.c2 = sums.c2 + x * quadBroadcast(w0, 2u);
        s.c3 = sums.c3 + x * quadBroadcast(w0, 3u);
        let w4 = weight(at.c4, tap);
        s.c4 = sums.c4 + x * quadBroadcast(w4, 0u);
        s.c5 = sums.c5 + x * quadBroadcast(w4, 1u);
        s.c6 = sums.c6 + x * quadBroadcast(w4, 2u);
        s.c7 = sums.c7 + x * quadBroadcast(w4, 3u);
    }
    @if(channels_16) {
        let w8 = weight(at.c8, tap);
        s.c8 = sums.c8 + x * quadBroadcast(w8, 0u);
        s.c9 = sums.c9 + x * quadBroadcast(w8, 1u);
        s.c10 = sums.c10 + x * quadBroadcast(w8, 2u);
        s.c11 = sums.c11 + x * quadBroadcast(w8, 3u);
        let w12 = weight(at.c12, tap);
        s.c12 = sums.c12 + x * quadBroadcast(w12, 0u);
        s.c13 = sums.c13 + x * quadBroadcast(w12, 1u);
        s.c14 = sums.c14 + x * quadBroadcast(w12, 2u);
        s.c15 = sums.c15 + x * quadBroadcast(w12, 3u);
    }
    @if(channels_32) {
        let w16 = weight(at.c16, tap);
        s.c16 = sums.c16 + x * quadBroadcast(w16, 0u);
        s.c17 = sums.c17 + x * quadBroadcast(w16, 1u);
        s.c18 = sums.c18 + x * quadBroadcast(w16, 2u);
        s.c19 = sums.c19 + x * quadBroadcast(w16, 3u);
        let w20 = weight(at.c20, tap);
        s.c20 = sums.c20 + x * quadBroadcast(w20, 0u);
        s.c21 = sums.c21 + x * quadBroadcast(w20, 1u);
        s.c22 = sums.c22 + x * quadBroadcast(w20, 2u);
        s.c23 = sums.c23 + x * quadBroadcast(w20, 3u);
        let w24 = weight(at.c24, tap);
        s.c24 = sums.c24 + x * quadBroadcast(w24, 0u);
        s.c25 = sums.c25 + x * quadBroadcast(w24, 1u);
        s.c26 = sums.c26 + x * quadBroadcast(w24, 2u);
        s.c27 = sums.c27 + x * quadBroadcast(w24, 3u);
        let w28 = weight(at.c28, tap);
        s.c28 = sums.c28 + x * quadBroadcast(w28, 0u);
        s.c29 = sums.c29 + x * quadBroadcast(w28, 1u);
        s.c30 = sums.c30 + x * quadBroadcast(w28, 2u);
        s.c31 = sums.c31 + x * quadBroadcast(w28, 3u);
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
    @if(quads || lanes) @builtin(subgroup_invocation_id) in_subgroup: u32,
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
    @if(!quads && !lanes) let mine = m;
    @if(lanes) let mine = m + in_subgroup % 8u;
    @if(quads) let mine = m + in_subgroup % 4u;
    var at: Starts;
    at.c0 = start_of(weights, mine);
    @if(channels_8) {
        @if(!quads && !lanes) at.c1 = start_of(weights, mine + 1u);
        @if(!quads && !lanes) at.c2 = start_of(weights, mine + 2u);
        @if(!quads && !lanes) at.c3 = start_of(weights, mine + 3u);
        @if(!lanes) at.c4 = start_of(weights, mine + 4u);
        @if(!quads && !lanes) at.c5 = start_of(weights, mine + 5u);
        @if(!quads && !lanes) at.c6 = start_of(weights, mine + 6u);
        @if(!quads && !lanes) at.c7 = start_of(weights, mine + 7u);
    }
    @if(channels_16) {
        at.c8 = start_of(weights, mine + 8u);
        @if(!quads && !lanes) at.c9 = start_of(weights, mine + 9u);
        @if(!quads && !lanes) at.c10 = start_of(weights, mine + 10u);
        @if(!quads && !lanes) at.c11 = start_of(weights, mine + 11u);
        @if(!lanes) at.c12 = start_of(weights, mine + 12u);
        @if(!quads && !lanes) at.c13 = start_of(weights, mine + 13u);
        @if(!quads && !lanes) at.c14 = start_of(weights, mine + 14u);
        @if(!quads && !lanes) at.c15 = start_of(weights, mine + 15u);
    }
    @if(channels_32) {
        at.c16 = start_of(weights, mine + 16u);
        @if(!quads && !lanes) at.c17 = start_of(weights, mine + 17u);
        @if(!quads && !lanes) at.c18 = start_of(weights, mine + 18u);
        @if(!quads && !lanes) at.c19 = start_of(weights, mine + 19u);
        @if(!lanes) at.c20 = start_of(weights, mine + 20u);
        @if(!quads && !lanes) at.c21 = start_of(weights, mine + 21u);
        @if(!quads && !lanes) at.c22 = start_of(weights, mine + 22u);
        @if(!quads && !lanes) at.c23 = start_of(weights, mine + 23u);
        at.c24 = start_of(weights, mine + 24u);
        @if(!quads && !lanes) at.c25 = start_of(weights, mine + 25u);
        @if(!quads && !lanes) at.c26 = start_of(weights, mine + 26u);
        @if(!quads && !lanes) at.c27 = start_of(weights, mine + 27u);
        @if(!lanes) at.c28 = start_of(weights, mine + 28u);
        @if(!quads && !lanes) at.c29 = start_of(weights, mine + 29u);
        @if(!quads && !lanes) at.c30 = start_of(weights, mine + 30u);
        @if(!quads && !lanes) at.c31 = start_of(weights, mine + 31u);
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
                    @if(sliding && !taps_3) {
                        var v = load4(row, column, 1);
                        for (var q = 0u; q < axes.w.taps; q++) {
                            s = add(s, v, at, tap + q * axes.w.step);
                            v = vec4<f32>(v.yzw, load(row, column + 4 + i32(q)));
                        }
                    }
                    @if(sliding && taps_3) {
                        let v = load4(row, column, 1);
                        let v4 = load(row, column + 4);
                        let v5 = load(row, column + 5);
                        s = add(s, v, at, tap);
                        s = add(s, vec4<f32>(v.yzw, v4), at, tap + 1u);
                        s = add(s, vec4<f32>(v.zw, v4, v5), at, tap + 2u);
                    }
                    @if(!point && !sliding && !taps_3) {
                        for (var q = 0u; q < axes.w.taps; q++) {
                            let x = load4(row, column + i32(q) * axes.w.dilation, axes.w.stride);
                            s = add(s, x, at, tap + q * axes.w.step);
                        }
                    }
                    @if(!point && !sliding && taps_3) {
                        let on = axes.w.dilation;
                        let x0 = load4(row, column, axes.w.stride);
                        let x1 = load4(row, column + on, axes.w.stride);
                        let x2 = load4(row, column + 2 * on, axes.w.stride);
                        s = add(s, x0, at, tap);
                        s = add(s, x1, at, tap + 1u);
                        s = add(s, x2, at, tap + 2u);
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

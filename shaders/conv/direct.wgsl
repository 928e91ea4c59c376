import package::config::LANES;
import package::conv::finish::finish_quad;
import package::conv::input::{Row, load, load4, row_at};
import package::conv::params::{axes_of, params, quad_of, tile_of};

// An invocation computes four neighbouring outputs of a row in eight channels
// (in one, if `single`) straight from storage: no workgroup memory, no barriers.
// All invocations of a workgroup read the same weights.
//
// `point`: rows of the window have one tap. `sliding`: neighbouring outputs and
// neighbouring taps meet neighbouring inputs, so that each is read once.

@group(0) @binding(2) var<storage, read> w: array<f32>;

@if(single) const CHANNELS: u32 = 1u;
@if(!single) const CHANNELS: u32 = 8u;

@if(single) struct Sums {
    c0: vec4<f32>,
}

@if(!single) struct Sums {
    c0: vec4<f32>, c1: vec4<f32>, c2: vec4<f32>, c3: vec4<f32>,
    c4: vec4<f32>, c5: vec4<f32>, c6: vec4<f32>, c7: vec4<f32>,
}

// Where the weights of each channel start.
struct Starts {
    lo: vec4<u32>,
    hi: vec4<u32>,
}

fn add(s: Sums, x: vec4<f32>, starts: Starts, tap: u32) -> Sums {
    @if(single) return Sums(s.c0 + w[starts.lo.x + tap] * x);
    @if(!single) return Sums(
        s.c0 + w[starts.lo.x + tap] * x, s.c1 + w[starts.lo.y + tap] * x,
        s.c2 + w[starts.lo.z + tap] * x, s.c3 + w[starts.lo.w + tap] * x,
        s.c4 + w[starts.hi.x + tap] * x, s.c5 + w[starts.hi.y + tap] * x,
        s.c6 + w[starts.hi.z + tap] * x, s.c7 + w[starts.hi.w + tap] * x,
    );
}

fn start_of(base: u32, m: u32) -> u32 {
    return base + min(m, params.m - 1u) * params.w_m;
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
    let starts = Starts(
        vec4<u32>(
            start_of(weights, m), start_of(weights, m + 1u),
            start_of(weights, m + 2u), start_of(weights, m + 3u),
        ),
        vec4<u32>(
            start_of(weights, m + 4u), start_of(weights, m + 5u),
            start_of(weights, m + 6u), start_of(weights, m + 7u),
        ),
    );
    let plane = params.x_base + quad.sample * params.x_sample + tile.group * params.x_group;
    let column = axes.w.start + i32(quad.w) * axes.w.stride;
    @if(deep) let slices = axes.d.taps;
    @else let slices = 1u;
    var s = Sums();
    for (var c = 0u; c < params.c; c++) {
        for (var qd = 0u; qd < slices; qd++) {
            for (var qh = 0u; qh < axes.h.taps; qh++) {
                let row = row_at(axes, quad, plane + c * params.x_channel, qd, qh);
                var above = axes.h.first + qh * axes.h.step;
                @if(deep) {
                    above += (axes.d.first + qd * axes.d.step) * params.k_h;
                }
                let tap = c * params.w_c + above * params.k_w + axes.w.first;
                @if(point) {
                    s = add(s, load4(row, column, axes.w.stride), starts, tap);
                }
                @if(sliding) {
                    var v = load4(row, column, 1);
                    for (var q = 0u; q < axes.w.taps; q++) {
                        s = add(s, v, starts, tap + q * axes.w.step);
                        v = vec4<f32>(v.yzw, load(row, column + 4 + i32(q)));
                    }
                }
                @if(!point && !sliding) {
                    for (var q = 0u; q < axes.w.taps; q++) {
                        let at = column + i32(q) * axes.w.dilation;
                        s = add(s, load4(row, at, axes.w.stride), starts, tap + q * axes.w.step);
                    }
                }
            }
        }
    }
    if !quad.live {
        return;
    }
    @if(single) finish_quad(axes, quad, tile.group, m, s.c0);
    @if(!single) {
        var sums = array<vec4<f32>, 8>(s.c0, s.c1, s.c2, s.c3, s.c4, s.c5, s.c6, s.c7);
        for (var i = 0u; i < min(CHANNELS, params.m - m); i++) {
            finish_quad(axes, quad, tile.group, m + i, sums[i]);
        }
    }
}

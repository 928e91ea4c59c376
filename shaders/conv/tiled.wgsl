import package::config::SIDE;
import package::conv::finish::finish_quad;
import package::conv::input::{load4, row_at};
import package::conv::params::{Axes, Quad, axes_of, params, quad_of, tile_of};

// A workgroup of SIDE by SIDE computes 4 SIDE channels of SIDE quads of outputs,
// as a product of the weights with the matrix of what the window meets, which is
// never stored as a whole. Steps of SIDE along channels and taps go to workgroup
// memory; an invocation adds up four channels of one quad.

@group(0) @binding(2) var<storage, read> w: array<f32>;

// A weight's row has one vector more, so that the stores of neighbouring
// invocations fall into different banks.
const W_ROW: u32 = SIDE + 1u;

// [step][four channels], and [step][quad].
var<workgroup> tile_w: array<vec4<f32>, SIDE * W_ROW>;
var<workgroup> tile_x: array<vec4<f32>, SIDE * SIDE>;

// A channel and a tap.
struct Meeting {
    c: u32,
    d: u32,
    h: u32,
    w: u32,
}

fn meeting(axes: Axes, k: u32) -> Meeting {
    let above = k / axes.w.taps;
    let channel = above / axes.h.taps;
    @if(!deep) return Meeting(channel, 0u, above % axes.h.taps, k % axes.w.taps);
    @if(deep) return Meeting(
        channel / axes.d.taps, channel % axes.d.taps, above % axes.h.taps, k % axes.w.taps,
    );
}

// Where the weight of a meeting is, from the start of its channel's weights.
fn weight_at(axes: Axes, k: u32) -> u32 {
    @if(!transposed) return k;
    @if(transposed) {
        let at = meeting(axes, k);
        var above = axes.h.first + at.h * axes.h.step;
        @if(deep) {
            above += (axes.d.first + at.d * axes.d.step) * params.k_h;
        }
        return at.c * params.w_c + above * params.k_w + axes.w.first + at.w * axes.w.step;
    }
}

fn weight(base: u32, m: u32) -> f32 {
    return w[base + min(m, params.m - 1u) * params.w_m];
}

fn input(axes: Axes, quad: Quad, plane: u32, k: u32) -> vec4<f32> {
    let at = meeting(axes, k);
    let row = row_at(axes, quad, plane + at.c * params.x_channel, at.d, at.h);
    let column = axes.w.start + i32(quad.w) * axes.w.stride + i32(at.w) * axes.w.dilation;
    return load4(row, column, axes.w.stride);
}

@compute @workgroup_size(SIDE * SIDE)
fn main(
    @builtin(workgroup_id) group: vec3<u32>,
    @builtin(num_workgroups) groups: vec3<u32>,
    @builtin(local_invocation_index) index: u32,
) {
    let number = group.x + group.y * groups.x;
    if number >= params.tiles {
        return;
    }
    let tile = tile_of(number, 4u * SIDE, SIDE);
    let axes = axes_of(tile.phase);
    let fast = index % SIDE;
    let slow = index / SIDE;
    let quad = quad_of(tile.quads * SIDE + fast);
    let plane = params.x_base + quad.sample * params.x_sample + tile.group * params.x_group;
    let weights = params.w_base + tile.group * params.w_group;
    let block = tile.block * 4u * SIDE;
    var all = params.c * axes.h.taps * axes.w.taps;
    @if(deep) {
        all *= axes.d.taps;
    }
    var s0 = vec4<f32>();
    var s1 = vec4<f32>();
    var s2 = vec4<f32>();
    var s3 = vec4<f32>();
    for (var k0 = 0u; k0 < all; k0 += SIDE) {
        // Neighbours read weights that are next to each other, and quads that are.
        var four = vec4<f32>();
        if k0 + fast < all {
            let at = weights + weight_at(axes, k0 + fast);
            let m = block + 4u * slow;
            four = vec4<f32>(weight(at, m), weight(at, m + 1u), weight(at, m + 2u), weight(at, m + 3u));
        }
        tile_w[fast * W_ROW + slow] = four;
        var met = vec4<f32>();
        if k0 + slow < all {
            met = input(axes, quad, plane, k0 + slow);
        }
        tile_x[slow * SIDE + fast] = met;
        workgroupBarrier();
        for (var k = 0u; k < SIDE; k++) {
            let a = tile_w[k * W_ROW + slow];
            let b = tile_x[k * SIDE + fast];
            s0 += a.x * b;
            s1 += a.y * b;
            s2 += a.z * b;
            s3 += a.w * b;
        }
        workgroupBarrier();
    }
    let m = block + 4u * slow;
    if !quad.live || m >= params.m {
        return;
    }
    var sums = array<vec4<f32>, 4>(s0, s1, s2, s3);
    for (var i = 0u; i < min(4u, params.m - m); i++) {
        finish_quad(axes, quad, tile.group, m + i, sums[i]);
    }
}

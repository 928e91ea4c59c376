import package::config::{LANES, ROWS};
import package::conv::finish::finish_four;
import package::conv::input::{Row, load, load4, row_at};
import package::conv::params::{Axes, Quad, axes_of, params, quad_of, tile_of};

// For channels that meet one input channel each: an invocation computes a strip of
// four columns and ROWS rows of an output channel. The taps of a row of the window, 3,
// 5 or 7 of them, are written out, which a loop costs several times.
//
// With stride 1 every row of inputs is read once: it adds to as many rows of outputs
// as the window has rows, whose sums move on with it. With `stride_2` a strip has one
// row.

@group(0) @binding(2) var<storage, read> w: array<f32>;

@if(!taps_5) const TAPS: u32 = 3u;
@if(taps_5 && !taps_7) const TAPS: u32 = 5u;
@if(taps_7) const TAPS: u32 = 7u;

// What four neighbouring outputs meet at each tap of a row.
struct Met {
    t0: vec4<f32>,
    t1: vec4<f32>,
    t2: vec4<f32>,
    @if(taps_5) t3: vec4<f32>,
    @if(taps_5) t4: vec4<f32>,
    @if(taps_7) t5: vec4<f32>,
    @if(taps_7) t6: vec4<f32>,
}

@if(!stride_2) fn met(row: Row, column: i32) -> Met {
    var m: Met;
    m.t0 = load4(row, column, 1);
    m.t1 = vec4<f32>(m.t0.yzw, load(row, column + 4));
    m.t2 = vec4<f32>(m.t1.yzw, load(row, column + 5));
    @if(taps_5) {
        m.t3 = vec4<f32>(m.t2.yzw, load(row, column + 6));
        m.t4 = vec4<f32>(m.t3.yzw, load(row, column + 7));
    }
    @if(taps_7) {
        m.t5 = vec4<f32>(m.t4.yzw, load(row, column + 8));
        m.t6 = vec4<f32>(m.t5.yzw, load(row, column + 9));
    }
    return m;
}

@if(stride_2) fn met(row: Row, column: i32) -> Met {
    var m: Met;
    m.t0 = load4(row, column, 2);
    m.t1 = load4(row, column + 1, 2);
    m.t2 = vec4<f32>(m.t0.yzw, load(row, column + 8));
    @if(taps_5) {
        m.t3 = vec4<f32>(m.t1.yzw, load(row, column + 9));
        m.t4 = vec4<f32>(m.t2.yzw, load(row, column + 10));
    }
    @if(taps_7) {
        m.t5 = vec4<f32>(m.t3.yzw, load(row, column + 11));
        m.t6 = vec4<f32>(m.t4.yzw, load(row, column + 12));
    }
    return m;
}

// What the row of the window whose weights start at `tap` makes of them.
fn product(m: Met, tap: u32) -> vec4<f32> {
    var sum = w[tap] * m.t0;
    sum += w[tap + 1u] * m.t1;
    sum += w[tap + 2u] * m.t2;
    @if(taps_5) {
        sum += w[tap + 3u] * m.t3;
        sum += w[tap + 4u] * m.t4;
    }
    @if(taps_7) {
        sum += w[tap + 5u] * m.t5;
        sum += w[tap + 6u] * m.t6;
    }
    return sum;
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
    let tile = tile_of(number, 1u, LANES);
    let axes = axes_of(0u);
    var quad = quad_of(tile.quads * LANES + lane);
    let plane = params.x_base + quad.sample * params.x_sample + tile.group * params.x_group;
    let at = params.w_base + tile.group * params.w_group + tile.block * params.w_m;
    let column = axes.w.start + i32(quad.w) * axes.w.stride;
    @if(stride_2) {
        var sum = vec4<f32>();
        for (var q = 0u; q < TAPS; q++) {
            sum += product(met(row_at(axes, quad, plane, 0u, q), column), at + q * TAPS);
        }
        if quad.live {
            finish_four(axes, quad, tile.group, tile.block, sum);
        }
    }
    @if(!stride_2) {
        let first = quad.h * ROWS;
        // Sums of rows of outputs that have met one row of inputs, two, and so on.
        var s1 = vec4<f32>();
        var s2 = vec4<f32>();
        @if(taps_5) var s3 = vec4<f32>();
        @if(taps_5) var s4 = vec4<f32>();
        @if(taps_7) var s5 = vec4<f32>();
        @if(taps_7) var s6 = vec4<f32>();
        for (var row = 0u; row < ROWS + TAPS - 1u; row++) {
            quad.h = first + row;
            let m = met(row_at(axes, quad, plane, 0u, 0u), column);
            @if(!taps_5) let done = s2 + product(m, at + 6u);
            @if(taps_5 && !taps_7) let done = s4 + product(m, at + 20u);
            @if(taps_7) let done = s6 + product(m, at + 42u);
            @if(taps_7) {
                s6 = s5 + product(m, at + 35u);
                s5 = s4 + product(m, at + 28u);
            }
            @if(taps_5) {
                s4 = s3 + product(m, at + 3u * TAPS);
                s3 = s2 + product(m, at + 2u * TAPS);
            }
            s2 = s1 + product(m, at + TAPS);
            s1 = product(m, at);
            if quad.live && row + 1u >= TAPS {
                quad.h = first + row + 1u - TAPS;
                finish_four(axes, quad, tile.group, tile.block, done);
            }
        }
    }
}

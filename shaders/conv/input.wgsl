import package::conv::params::{Axes, Quad, params};

// Reading x, zero outside.

@group(0) @binding(1) var<storage, read> x: array<f32>;

// A row of x, as wide as it is or, where the row does not exist, 0 wide.
struct Row {
    start: u32,
    width: u32,
}

// The row that the outputs of a quad meet at taps qd and qh, in the plane at `plane`.
fn row_at(axes: Axes, quad: Quad, plane: u32, qd: u32, qh: u32) -> Row {
    let h = bitcast<u32>(axes.h.start + i32(quad.h) * axes.h.stride + i32(qh) * axes.h.dilation);
    var inside = h < params.in_h;
    var row = min(h, params.in_h - 1u);
    @if(deep) {
        let d = bitcast<u32>(axes.d.start + i32(quad.d) * axes.d.stride + i32(qd) * axes.d.dilation);
        inside = inside && d < params.in_d;
        row += min(d, params.in_d - 1u) * params.in_h;
    }
    return Row(plane + row * params.in_w, select(0u, params.in_w, inside));
}

fn load(row: Row, at: i32) -> f32 {
    let i = bitcast<u32>(at);
    return select(0.0, x[row.start + min(i, params.in_w - 1u)], i < row.width);
}

// Four inputs, `apart` from each other.
fn load4(row: Row, at: i32, apart: i32) -> vec4<f32> {
    return vec4<f32>(
        load(row, at), load(row, at + apart), load(row, at + 2 * apart), load(row, at + 3 * apart),
    );
}

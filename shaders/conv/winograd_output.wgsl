import package::conv::finish::finish;

// Winograd's F(2x2, 3x3): the output's part. An invocation turns a channel's 4 by 4
// elements of a tile into its 2 by 2 outputs, Aᵀ m A, with
//
//     Aᵀ = | 1  1  1  0 |
//          | 0  1 -1 -1 |

struct Params {
    channels: u32,
    tiles: u32,
    first: u32,
    tiles_h: u32,
    tiles_w: u32,
    out_h: u32,
    out_w: u32,
}

@group(0) @binding(0) var<uniform> params: Params;
// [4][4][channel][tile]; the outputs, bias and residual are in `conv/finish`.
@group(0) @binding(1) var<storage, read> product: array<f32>;

// Aᵀ times a column.
fn gather(m: vec4<f32>) -> vec2<f32> {
    return vec2<f32>(m.x + m.y + m.z, m.y - m.z - m.w);
}

fn load(at: u32, step: u32) -> vec2<f32> {
    return gather(vec4<f32>(
        product[at], product[at + step], product[at + 2u * step], product[at + 3u * step],
    ));
}

fn write(plane: u32, h: u32, w: u32, channel: u32, sums: vec2<f32>) {
    if h >= params.out_h {
        return;
    }
    let at = plane + h * params.out_w + w;
    finish(at, channel, sums.x);
    if w + 1u < params.out_w {
        finish(at + 1u, channel, sums.y);
    }
}

@compute @workgroup_size(64)
fn main(
    @builtin(workgroup_id) group: vec3<u32>,
    @builtin(num_workgroups) groups: vec3<u32>,
    @builtin(local_invocation_index) lane: u32,
) {
    let number = (group.x + group.y * groups.x) * 64u + lane;
    if number >= params.channels * params.tiles {
        return;
    }
    let channel = number / params.tiles;
    let tile = params.first + number % params.tiles;
    let above = tile / params.tiles_w;
    let sample = above / params.tiles_h;
    let plane = (sample * params.channels + channel) * params.out_h * params.out_w;
    let h = (above % params.tiles_h) * 2u;
    let w = (tile % params.tiles_w) * 2u;
    let step = params.channels * params.tiles;
    let r0 = load(number, step);
    let r1 = load(number + 4u * step, step);
    let r2 = load(number + 8u * step, step);
    let r3 = load(number + 12u * step, step);
    write(plane, h, w, channel, r0 + r1 + r2);
    write(plane, h + 1u, w, channel, r1 - r2 - r3);
}

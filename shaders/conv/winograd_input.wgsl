// Winograd's F(2x2, 3x3): the input's part. An invocation turns the 4 by 4 inputs
// that a tile of 2 by 2 outputs meets in a channel into 4 by 4 elements of as many
// matrices, Bᵀ d B, with
//
//     Bᵀ = | 1  0 -1  0 |
//          | 0  1  1  0 |
//          | 0 -1  1  0 |
//          | 0  1  0 -1 |

struct Params {
    channels: u32,
    // The tiles of this part, and the first one's number.
    tiles: u32,
    first: u32,
    // Tiles along the axes of a sample.
    tiles_h: u32,
    tiles_w: u32,
    in_h: u32,
    in_w: u32,
    pad_h: u32,
    pad_w: u32,
}

@group(0) @binding(0) var<uniform> params: Params;
// [sample][channel][h][w]
@group(0) @binding(1) var<storage, read> x: array<f32>;
// [4][4][channel][tile]
@group(0) @binding(2) var<storage, read_write> v: array<f32>;

// Bᵀ times a column.
fn spread(d: vec4<f32>) -> vec4<f32> {
    return vec4<f32>(d.x - d.z, d.y + d.z, d.z - d.y, d.y - d.w);
}

// An element of a row of x; zero outside.
fn load(row: u32, exists: bool, column: u32) -> f32 {
    let value = x[row + min(column, params.in_w - 1u)];
    return select(0.0, value, exists && column < params.in_w);
}

// Four elements of a row from `column`, which may be before it (wrapping).
fn load4(plane: u32, h: u32, column: u32) -> vec4<f32> {
    let row = plane + min(h, params.in_h - 1u) * params.in_w;
    let exists = h < params.in_h;
    return vec4<f32>(
        load(row, exists, column), load(row, exists, column + 1u),
        load(row, exists, column + 2u), load(row, exists, column + 3u),
    );
}

fn write(at: u32, step: u32, row: vec4<f32>) {
    v[at] = row.x;
    v[at + step] = row.y;
    v[at + 2u * step] = row.z;
    v[at + 3u * step] = row.w;
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
    let plane = (sample * params.channels + channel) * params.in_h * params.in_w;
    let h = (above % params.tiles_h) * 2u - params.pad_h;
    let w = (tile % params.tiles_w) * 2u - params.pad_w;
    // Along w first: each row by itself.
    let r0 = spread(load4(plane, h, w));
    let r1 = spread(load4(plane, h + 1u, w));
    let r2 = spread(load4(plane, h + 2u, w));
    let r3 = spread(load4(plane, h + 3u, w));
    let step = params.channels * params.tiles;
    write(number, step, r0 - r2);
    write(number + 4u * step, step, r1 + r2);
    write(number + 8u * step, step, r2 - r1);
    write(number + 12u * step, step, r1 - r3);
}

// Winograd's F(2x2, 3x3): the weights' part. An invocation turns the window of an
// output and an input channel into 4 by 4 elements of as many matrices, G g Gᵀ, with
//
//     G = | 1    0    0   |
//         | 1/2  1/2  1/2 |
//         | 1/2 -1/2  1/2 |
//         | 0    0    1   |
//
// (Lavin and Gray, "Fast Algorithms for Convolutional Neural Networks", 2015).

struct Params {
    // Output channels times input channels.
    pairs: u32,
}

@group(0) @binding(0) var<uniform> params: Params;
// [pair][3][3]
@group(0) @binding(1) var<storage, read> w: array<f32>;
// [4][4][pair]
@group(0) @binding(2) var<storage, read_write> u: array<f32>;

// G times a column.
fn spread(g: vec3<f32>) -> vec4<f32> {
    let outer = 0.5 * (g.x + g.z);
    let inner = 0.5 * g.y;
    return vec4<f32>(g.x, outer + inner, outer - inner, g.z);
}

fn write(at: u32, row: vec4<f32>) {
    u[at] = row.x;
    u[at + params.pairs] = row.y;
    u[at + 2u * params.pairs] = row.z;
    u[at + 3u * params.pairs] = row.w;
}

@compute @workgroup_size(64)
fn main(
    @builtin(workgroup_id) group: vec3<u32>,
    @builtin(num_workgroups) groups: vec3<u32>,
    @builtin(local_invocation_index) lane: u32,
) {
    let pair = (group.x + group.y * groups.x) * 64u + lane;
    if pair >= params.pairs {
        return;
    }
    let at = pair * 9u;
    let a = spread(vec3<f32>(w[at], w[at + 3u], w[at + 6u]));
    let b = spread(vec3<f32>(w[at + 1u], w[at + 4u], w[at + 7u]));
    let c = spread(vec3<f32>(w[at + 2u], w[at + 5u], w[at + 8u]));
    let step = 4u * params.pairs;
    write(pair, spread(vec3<f32>(a.x, b.x, c.x)));
    write(pair + step, spread(vec3<f32>(a.y, b.y, c.y)));
    write(pair + 2u * step, spread(vec3<f32>(a.z, b.z, c.z)));
    write(pair + 3u * step, spread(vec3<f32>(a.w, b.w, c.w)));
}

// Rotary position embedding: one invocation turns one pair of features, or
// copies one feature past the turned ones.

struct Params {
    // Invocations with work: tokens * heads * (width - half).
    units: u32,
    // The first token of this part of x, counted over all tokens.
    first_token: u32,
    // Elements of x before it.
    base: u32,
    // The tokens whose positions are bound.
    first_position: u32,
    positions_bound: u32,
    heads: u32,
    // Features of a head.
    width: u32,
    // Pairs of a head.
    half: u32,
    // Pair i is the features i * stride and i * stride + partner.
    stride: u32,
    partner: u32,
    // Positions of the whole table.
    positions_end: u32,
    // The rows of the table that are bound.
    table_first: u32,
    table_rows: u32,
}

@group(0) @binding(0) var<storage, read> x: array<f32>;
@group(0) @binding(1) var<storage, read> cosines: array<f32>;
@group(0) @binding(2) var<storage, read> sines: array<f32>;
@group(0) @binding(3) var<storage, read> positions: array<i32>;
@group(0) @binding(4) var<storage, read_write> result: array<f32>;
@group(0) @binding(5) var<uniform> params: Params;

@compute @workgroup_size(64)
fn main(
    @builtin(workgroup_id) group: vec3<u32>,
    @builtin(num_workgroups) groups: vec3<u32>,
    @builtin(local_invocation_index) lane: u32,
) {
    let unit = (group.x + group.y * groups.x) * 64u + lane;
    if unit >= params.units {
        return;
    }
    let units_per_head = params.width - params.half;
    let head = unit / units_per_head;
    let i = unit % units_per_head;
    let token = params.first_token + head / params.heads;
    let at_position = token - params.first_position;
    if at_position >= params.positions_bound {
        // Another dispatch has this part of the positions bound.
        return;
    }
    // Positions out of range are clamped; the host refuses them before.
    let last = i32(params.positions_end) - 1;
    let row = u32(clamp(positions[at_position], 0, last)) - params.table_first;
    if row >= params.table_rows {
        // Another dispatch has this part of the table bound.
        return;
    }
    let start = params.base + head * params.width;
    if i >= params.half {
        result[start + params.half + i] = x[start + params.half + i];
        return;
    }
    let at = start + i * params.stride;
    let c = cosines[row * params.half + i];
    let s = sines[row * params.half + i];
    let first = x[at];
    let second = x[at + params.partner];
    result[at] = first * c - second * s;
    result[at + params.partner] = first * s + second * c;
}

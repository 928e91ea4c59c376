import package::config::{HIDDEN, WIDTH};

// What the kernels that multiply the state with the recurrent weights share:
// sums[d, b, row] of r[d, row] and the state of d and b.

struct Params {
    batch: u32,
    // The first direction of this dispatch and how many (direction, sequence)
    // there are in it.
    direction: u32,
    directions: u32,
    // Rows of each direction's weights: the first and how many.
    first_row: u32,
    rows: u32,
    // The region of the state to multiply with, in elements.
    source: u32,
    // Elements of the weights before the bound part.
    first_weight: u32,
}

@group(0) @binding(0) var<uniform> params: Params;
@group(0) @binding(1) var<storage, read> r: array<f32>;
@group(0) @binding(2) var<storage, read> state: array<f32>;
@group(0) @binding(3) var<storage, read_write> sums: array<f32>;

fn weights_at(d: u32, row: u32) -> u32 {
    return (d * WIDTH + row) * HIDDEN - params.first_weight;
}

fn state_at(d: u32, b: u32) -> u32 {
    return params.source + (d * params.batch + b) * HIDDEN;
}

fn sum_at(d: u32, b: u32, row: u32) -> u32 {
    return (d * params.batch + b) * WIDTH + row;
}

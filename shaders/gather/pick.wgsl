// Which slice an output row comes from; shared by the gather kernels.
//
// Data is [outer, axis, inner], indices are [outer / per_batch, picked].

struct Params {
    // Invocations with work.
    units: u32,
    // Invocations of an output row.
    row_groups: u32,
    // Elements of a row.
    inner: u32,
    // The first output row of this part.
    first_result: u32,
    // Elements of the output before it.
    result_base: u32,
    // The indices that are bound.
    first_index: u32,
    indices_bound: u32,
    // Indices of a batch.
    picked: u32,
    // Outer positions that share their indices.
    per_batch: u32,
    // Entries of the axis.
    axis: u32,
    // The rows of data that are bound.
    first_row: u32,
    rows: u32,
    // Elements of data before them.
    data_base: u32,
    // Blocks of a row of the weight.
    @if(interleaved) row_blocks: u32,
}

@group(0) @binding(0) var<storage, read> indices: array<i32>;
@group(0) @binding(2) var<uniform> params: Params;

// The bound row of data for an output row of this part; `params.rows` or more
// if another dispatch has it or its index bound. Indices out of range are clamped; the host
// refuses them before.
fn source_row(result_row: u32) -> u32 {
    let row = params.first_result + result_row;
    let outer = row / params.picked;
    let at = (outer / params.per_batch) * params.picked + row % params.picked
        - params.first_index;
    if at >= params.indices_bound {
        return params.rows;
    }
    let count = i32(params.axis);
    let index = indices[at];
    let from_front = select(index, index + count, index < 0);
    return outer * params.axis + u32(clamp(from_front, 0, count - 1)) - params.first_row;
}

// What the kernels that turn rows into columns read and write. An element in
// `row` and `column` of a plane is one of the source's row `column`, and one of
// the result's row `row`.

struct Params {
    planes: u32,
    rows: u32,
    columns: u32,
    // Where the first element is in the source.
    start: u32,
    // How far apart columns are in the source, and rows in the result.
    source_column: u32,
    target_row: u32,
    // Planes are [planes / inner, inner]: how far apart they are.
    inner: u32,
    source_outer: u32,
    source_inner: u32,
    target_outer: u32,
    target_inner: u32,
}

@group(0) @binding(0) var<uniform> params: Params;
@group(0) @binding(1) var<storage, read> x: array<u32>;
@group(0) @binding(2) var<storage, read_write> y: array<u32>;

fn source_of(plane: u32) -> u32 {
    return params.start + plane / params.inner * params.source_outer
        + plane % params.inner * params.source_inner;
}

fn target_of(plane: u32) -> u32 {
    return plane / params.inner * params.target_outer + plane % params.inner * params.target_inner;
}

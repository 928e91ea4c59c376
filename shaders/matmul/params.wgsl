@if(experts) import package::matmul::experts::expert_of;

// Parameters of the matrix product kernels, and how work is numbered.

// C[m, n] = A[m, k] * B[k, n], a part of a larger product. Bases and strides
// count elements (blocks for a quantised B).
struct Params {
    // How many tiles there are.
    tiles: u32,
    m: u32,
    n: u32,
    k: u32,
    // First element of the part of A, and from one row (column if `trans_a`) to the next.
    a_base: u32,
    a_stride: u32,
    // The same for B: from one column to the next if `rows_b`, else from one k to the next.
    b_base: u32,
    b_stride: u32,
    c_base: u32,
    c_stride: u32,
    // First column of the part, for the bias.
    @if(bias) bias_base: u32,
    // Bit 0: the first part along k. Bit 1: the last one.
    @if(staged) stage: u32,
    // Matrices of the batch: z = (outer * z_mid + middle) * z_inner + inner.
    @if(batched) z_mid: u32,
    @if(batched) z_inner: u32,
    @if(batched) a_outer: u32,
    @if(batched) a_mid: u32,
    @if(batched) a_inner: u32,
    @if(batched) b_outer: u32,
    @if(batched) b_mid: u32,
    @if(batched) b_inner: u32,
    @if(batched) c_batch: u32,
    // The matrices of B that are bound, and elements or blocks between them.
    @if(experts) first_expert: u32,
    @if(experts) experts: u32,
    @if(experts) b_expert: u32,
    // Rows of C that have a row of A in common.
    @if(experts) a_share: u32,
    // All matrices, and what the status is raised to for one that is not there.
    @if(experts && !grouped) all_experts: u32,
    @if(experts && !grouped) index_code: u32,
    // Tiles along the rows, unused ones included.
    @if(grouped) row_tiles: u32,
}

@group(0) @binding(0) var<uniform> params: Params;

// A tile of C: its first row and column, and where its matrices start.
struct Tile {
    row: u32,
    column: u32,
    a: u32,
    b: u32,
    c: u32,
    // Whether the tile has work, and its matrix of B is bound.
    @if(experts) here: bool,
}

// The tile of a number, rows first: neighbours read the same part of B.
fn tile_of(number: u32, rows: u32, columns: u32) -> Tile {
    let down = (params.m + rows - 1u) / rows;
    var tile: Tile;
    tile.a = params.a_base;
    tile.b = params.b_base;
    tile.c = params.c_base;
    var rest = number;
    @if(batched) {
        let across = (params.n + columns - 1u) / columns;
        let z = number / (down * across);
        rest = number % (down * across);
        let inner = z % params.z_inner;
        let middle = (z / params.z_inner) % params.z_mid;
        let outer = z / (params.z_inner * params.z_mid);
        tile.a += outer * params.a_outer + middle * params.a_mid + inner * params.a_inner;
        tile.b += outer * params.b_outer + middle * params.b_mid + inner * params.b_inner;
        tile.c += z * params.c_batch;
    }
    tile.row = (rest % down) * rows;
    tile.column = (rest / down) * columns;
    @if(experts) {
        let bound = expert_of(rest % down) - params.first_expert;
        tile.b += bound * params.b_expert;
        tile.here = bound < params.experts;
    }
    return tile;
}

import package::matmul::params::params;
@if(!grouped) import package::common::status::raise;

// Rows that each meet a matrix of B of their own, chosen by an index. A row of C
// is a pair of a row of A and one of its indices.
//
// If `grouped`, rows are in the order that `matmul/group` made: tiles of rows that
// meet the same matrix, filled up with rows that are none. Else a tile is a pair.

const NOWHERE: u32 = 0xffffffffu;

@if(!grouped) @group(0) @binding(4) var<storage, read> chosen: array<i32>;
// The matrix of each tile, then the pair of each row.
@if(grouped) @group(0) @binding(4) var<storage, read> grouping: array<u32>;

// The matrix that the rows of a tile meet; past all of them if it has no rows.
@if(grouped) fn expert_of(tile: u32) -> u32 {
    return grouping[tile];
}

@if(!grouped) fn expert_of(tile: u32) -> u32 {
    let index = chosen[tile];
    if index < 0 || u32(index) >= params.all_experts {
        raise(params.index_code);
        return NOWHERE;
    }
    return u32(index);
}

// The pair of a row, or NOWHERE.
fn pair_of(row: u32) -> u32 {
    @if(grouped) return grouping[params.row_tiles + row];
    @if(!grouped) return row;
}

// The row of A of a row: any, where it is none.
fn shared_row(row: u32) -> u32 {
    let pair = pair_of(row);
    return select(pair / params.a_share, 0u, pair == NOWHERE);
}

import package::common::eight::Eight;
import package::config::LANES;
@if(!gated) import package::matmul::finish::finish;
@if(gated) import package::matmul::finish::finish_gated;
import package::matmul::left::{left_row, left8};
import package::matmul::params::{params, tile_of};
import package::matmul::right::{right_column, right8};
@if(gated) import package::matmul::right::up8;

// One row of A times B as [n, k], for software adapters: an invocation has a
// row of B to itself and adds it up straight from storage, without barriers.
// The eight partial sums are independent, so that additions need not wait.

fn along(sums: Eight, x: Eight, w: Eight) -> Eight {
    return Eight(sums.lo + x.lo * w.lo, sums.hi + x.hi * w.hi);
}

fn total(sums: Eight) -> f32 {
    let four = sums.lo + sums.hi;
    return (four.x + four.z) + (four.y + four.w);
}

@compute @workgroup_size(LANES)
fn main(
    @builtin(workgroup_id) group: vec3<u32>,
    @builtin(num_workgroups) groups: vec3<u32>,
    @builtin(local_invocation_index) lane: u32,
) {
    let number = group.x + group.y * groups.x;
    if number >= params.tiles {
        return;
    }
    let tile = tile_of(number, 1u, LANES);
    @if(experts) {
        if !tile.here {
            return;
        }
    }
    let x = left_row(tile.a, tile.row);
    let column = tile.column + lane;
    let w = right_column(tile.b, min(column, params.n - 1u));
    var sums = Eight();
    @if(gated) var ups = Eight();
    for (var k = 0u; k < params.k; k += 8u) {
        let values = left8(x, k);
        sums = along(sums, values, right8(w, k));
        @if(gated) {
            ups = along(ups, values, up8(w, k));
        }
    }
    if column < params.n {
        @if(!gated) {
            finish(tile.c, tile.row, column, total(sums));
        }
        @if(gated) {
            finish_gated(tile.c, tile.row, column, total(sums), total(ups));
        }
    }
}

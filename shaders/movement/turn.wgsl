import package::config::WORKGROUP;
import package::movement::turn_params::{params, target_of, source_of, x, y};

// Turns rows into columns: a workgroup of one SIMD vector of a CPU reads
// neighbours along the source's rows and has each invocation write a row of the
// result, COLUMNS elements of it.

const COLUMNS: u32 = 64u;

@compute @workgroup_size(WORKGROUP)
fn main(
    @builtin(workgroup_id) group: vec3<u32>,
    @builtin(num_workgroups) groups: vec3<u32>,
    @builtin(local_invocation_index) lane: u32,
) {
    let number = group.x + group.y * groups.x;
    let across = (params.rows + WORKGROUP - 1u) / WORKGROUP;
    let down = (params.columns + COLUMNS - 1u) / COLUMNS;
    let plane = number / across / down;
    let row = number % across * WORKGROUP + lane;
    let first = number / across % down * COLUMNS;
    if plane >= params.planes || row >= params.rows {
        return;
    }
    let end = min(first + COLUMNS, params.columns);
    let step = params.source_column;
    var source = source_of(plane) + row + first * step;
    var to = target_of(plane) + row * params.target_row + first;
    var column = first;
    // Eight at a time: on a CPU a loop's end costs as much as they do.
    for (; column + 7u < end; column += 8u) {
        let a = x[source];
        let b = x[source + step];
        let c = x[source + 2u * step];
        let d = x[source + 3u * step];
        let e = x[source + 4u * step];
        let f = x[source + 5u * step];
        let g = x[source + 6u * step];
        let h = x[source + 7u * step];
        y[to] = a;
        y[to + 1u] = b;
        y[to + 2u] = c;
        y[to + 3u] = d;
        y[to + 4u] = e;
        y[to + 5u] = f;
        y[to + 6u] = g;
        y[to + 7u] = h;
        source += 8u * step;
        to += 8u;
    }
    for (; column < end; column++) {
        y[to] = x[source];
        source += step;
        to++;
    }
}

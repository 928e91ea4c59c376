import package::config::TAPS;

// Samples planes of x [N * C, depth, height, width] at the places that a grid
// [N, points, 2 or 3] gives, which count from -1 to 1 along each dimension; one
// invocation for each result [N * C, points].
//
// TAPS elements along each dimension take part: 1 (nearest), 2 (linear) or 4
// (cubic convolution by R. Keys with a = -0.75).

struct Params {
    // Elements of this part, and the place of its first one.
    count: u32,
    first: u32,
    // The planes of x that are bound, and elements before them.
    x_first: u32,
    x_live: u32,
    x_base: u32,
    // The points of the grid that are bound.
    grid_first: u32,
    grid_count: u32,
    channels: u32,
    points: u32,
    @if(volume) depth: u32,
    height: u32,
    width: u32,
}

@group(0) @binding(0) var<uniform> params: Params;
@group(0) @binding(1) var<storage, read> x: array<f32>;
@group(0) @binding(2) var<storage, read> grid: array<f32>;
@group(0) @binding(3) var<storage, read_write> y: array<f32>;

// Far beyond any tensor, and its neighbours are still told apart as integers.
const FAR: f32 = 1.0e9;

// A position in elements.
fn position(g: f32, extent: u32) -> f32 {
    let n = f32(extent);
    @if(align) let at = (g + 1.0) * 0.5 * (n - 1.0);
    @else let at = ((g + 1.0) * n - 1.0) * 0.5;
    return clamp(at, -FAR, FAR);
}

// The position, moved inside where the mode says so.
fn inside(at: f32, extent: u32) -> f32 {
    @if(align) let low = 0.0;
    @else let low = -0.5;
    let span = f32(extent) - 1.0 - 2.0 * low;
    if at >= low && at <= low + span {
        return at;
    }
    @if(border) return clamp(at, 0.0, f32(extent) - 1.0);
    @if(reflection) {
        if span <= 0.0 {
            return 0.0;
        }
        let from_low = abs(at - low);
        let round = from_low - floor(from_low / (2.0 * span)) * (2.0 * span);
        return low + min(round, 2.0 * span - round);
    }
    @if(!border && !reflection) return at;
}

// The element that stands at a whole position; -1 for none.
fn element(at: i32, extent: u32) -> i32 {
    let n = i32(extent);
    if at >= 0 && at < n {
        return at;
    }
    @if(border) return clamp(at, 0, n - 1);
    @if(reflection) {
        @if(align) let round = max(2 * n - 2, 1);
        @else let round = 2 * n;
        let turned = ((at % round) + round) % round;
        @if(align) return min(turned, round - turned) % n;
        @else return min(turned, round - 1 - turned);
    }
    @if(!border && !reflection) return -1;
}

// The first element that takes part.
fn first_tap(at: f32) -> i32 {
    @if(nearest) return i32(round(at));
    @if(cubic) return i32(floor(at)) - 1;
    @if(!nearest && !cubic) return i32(floor(at));
}

fn weight(tap: u32, at: f32) -> f32 {
    @if(nearest) return 1.0;
    @if(!nearest) let fraction = at - floor(at);
    @if(!nearest && !cubic) return select(1.0 - fraction, fraction, tap == 1u);
    @if(cubic) {
        let d = abs(fraction + 1.0 - f32(tap));
        let near = (1.25 * d - 2.25) * d * d + 1.0;
        let far = ((-0.75 * d + 3.75) * d - 6.0) * d + 3.0;
        return select(far, near, d <= 1.0);
    }
}

@compute @workgroup_size(64)
fn main(
    @builtin(workgroup_id) group: vec3<u32>,
    @builtin(num_workgroups) groups: vec3<u32>,
    @builtin(local_invocation_index) lane: u32,
) {
    let i = (group.x + group.y * groups.x) * 64u + lane;
    if i >= params.count {
        return;
    }
    let e = params.first + i;
    let plane = e / params.points;
    let point = plane / params.channels * params.points + e % params.points - params.grid_first;
    if plane - params.x_first >= params.x_live || point >= params.grid_count {
        return;
    }
    @if(volume) const DIMS = 3u;
    @else const DIMS = 2u;
    let place = point * DIMS;
    let across = inside(position(grid[place], params.width), params.width);
    let down = inside(position(grid[place + 1u], params.height), params.height);
    @if(volume) let deep = inside(position(grid[place + 2u], params.depth), params.depth);
    let size = params.height * params.width;
    @if(volume) let start = params.x_base + (plane - params.x_first) * size * params.depth;
    @else let start = params.x_base + (plane - params.x_first) * size;
    var sum = 0.0;
    @if(volume) {
        for (var a = 0u; a < TAPS; a++) {
            let d = element(first_tap(deep) + i32(a), params.depth);
            if d >= 0 {
                sum += weight(a, deep) * sampled(start + u32(d) * size, down, across);
            }
        }
    }
    @else { sum = sampled(start, down, across); }
    y[i] = sum;
}

// The weighted sum of a plane's elements.
fn sampled(start: u32, down: f32, across: f32) -> f32 {
    var sum = 0.0;
    for (var b = 0u; b < TAPS; b++) {
        let h = element(first_tap(down) + i32(b), params.height);
        if h >= 0 {
            var row = 0.0;
            for (var c = 0u; c < TAPS; c++) {
                let w = element(first_tap(across) + i32(c), params.width);
                if w >= 0 {
                    row += weight(c, across) * x[start + u32(h) * params.width + u32(w)];
                }
            }
            sum += weight(b, down) * row;
        }
    }
    return sum;
}

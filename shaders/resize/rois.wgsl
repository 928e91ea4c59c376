import package::common::status::raise;

// Pools regions of planes of x [N * C, height, width]: one invocation for each
// result [regions * C, rows, columns]. A result is the mean of samples spread
// evenly over its part of the region, or (`largest`) the largest of the
// weighted elements they are made of.

struct Params {
    // What the status word is raised to where a batch does not exist.
    index_code: u32,
    // Elements of this part, and the place of its first one.
    count: u32,
    first: u32,
    // The planes of x that are bound, and elements before them.
    x_first: u32,
    x_live: u32,
    x_base: u32,
    batches: u32,
    channels: u32,
    height: u32,
    width: u32,
    rows: u32,
    columns: u32,
    // Samples along each dimension; 0 for as many as elements are covered.
    sampling_ratio: u32,
    spatial_scale: f32,
    // Where the region starts, in elements.
    shift: f32,
}

@group(0) @binding(0) var<uniform> params: Params;
@group(0) @binding(1) var<storage, read> x: array<f32>;
@group(0) @binding(2) var<storage, read> rois: array<f32>;
@group(0) @binding(3) var<storage, read> batch_indices: array<i32>;
@group(0) @binding(4) var<storage, read_write> y: array<f32>;

const LOWEST: f32 = -3.4028234e38;

// Where samples of one dimension of a region are.
struct Line {
    start: f32,
    bin: f32,
    samples: u32,
}

fn line(low: f32, high: f32, bins: u32) -> Line {
    let start = low * params.spatial_scale - params.shift;
    var length = (high * params.spatial_scale - params.shift) - start;
    @if(!half_pixel) { length = max(length, 1.0); }
    let bin = length / f32(bins);
    let covered = u32(clamp(ceil(bin), 0.0, 65535.0));
    return Line(start, bin, select(covered, params.sampling_ratio, params.sampling_ratio > 0u));
}

fn sample_place(line: Line, bin: u32, sample: u32) -> f32 {
    return line.start + f32(bin) * line.bin
        + (f32(sample) + 0.5) * line.bin / f32(line.samples);
}

// The two elements around a place, and the weight of the second.
struct Pair {
    low: u32,
    high: u32,
    part: f32,
}

fn pair(place: f32, extent: u32) -> Pair {
    let at = max(place, 0.0);
    let low = u32(at);
    if low + 1u >= extent {
        return Pair(extent - 1u, extent - 1u, 0.0);
    }
    return Pair(low, low + 1u, at - f32(low));
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
    let bins = params.rows * params.columns;
    let e = params.first + i;
    let result_plane = e / bins;
    let region = result_plane / params.channels;
    let number = batch_indices[region];
    let batch = u32(select(number, number + i32(params.batches), number < 0));
    if batch >= params.batches {
        raise(params.index_code);
        return;
    }
    let plane = batch * params.channels + result_plane % params.channels - params.x_first;
    if plane >= params.x_live {
        return;
    }
    let start = params.x_base + plane * params.height * params.width;
    let corner = region * 4u;
    let across = line(rois[corner], rois[corner + 2u], params.columns);
    let down = line(rois[corner + 1u], rois[corner + 3u], params.rows);
    let row = e / params.columns % params.rows;
    let column = e % params.columns;
    var sum = 0.0;
    var largest = LOWEST;
    for (var a = 0u; a < down.samples; a++) {
        let v = sample_place(down, row, a);
        let outside = v < -1.0 || v > f32(params.height);
        let vertical = pair(v, params.height);
        for (var b = 0u; b < across.samples; b++) {
            let u = sample_place(across, column, b);
            if outside || u < -1.0 || u > f32(params.width) {
                largest = max(largest, 0.0);
                continue;
            }
            let horizontal = pair(u, params.width);
            let upper = start + vertical.low * params.width;
            let lower = start + vertical.high * params.width;
            let v0 = (1.0 - vertical.part) * (1.0 - horizontal.part) * x[upper + horizontal.low];
            let v1 = (1.0 - vertical.part) * horizontal.part * x[upper + horizontal.high];
            let v2 = vertical.part * (1.0 - horizontal.part) * x[lower + horizontal.low];
            let v3 = vertical.part * horizontal.part * x[lower + horizontal.high];
            sum += v0 + v1 + v2 + v3;
            largest = max(largest, max(max(v0, v1), max(v2, v3)));
        }
    }
    let samples = down.samples * across.samples;
    @if(largest) y[i] = select(largest, 0.0, samples == 0u);
    @else y[i] = sum / f32(max(samples, 1u));
}

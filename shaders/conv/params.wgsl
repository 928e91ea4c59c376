// Parameters of the convolution kernels, and how work is numbered.
//
// y[n, m, o] = sum over c and taps of w[m, c, tap] * x[n, c, i], a part of a
// larger convolution. Axes are called d (only if `deep`), h and w, the fastest.
//
// If `transposed`, outputs that are `stride` apart form a phase: they meet the
// same taps, at inputs next to each other. A phase is a convolution of stride 1.

struct Params {
    // How many tiles there are.
    tiles: u32,
    samples: u32,
    groups: u32,
    // Output channels and input channels of a group in this part.
    m: u32,
    c: u32,
    // First elements, and the distances between samples, groups and channels.
    x_base: u32,
    x_sample: u32,
    x_group: u32,
    x_channel: u32,
    w_base: u32,
    w_group: u32,
    w_m: u32,
    w_c: u32,
    y_base: u32,
    y_sample: u32,
    y_group: u32,
    y_channel: u32,
    @if(bias) bias_base: u32,
    @if(bias) bias_group: u32,
    // Bit 0: the first part of the sum. Bit 1: the last one.
    @if(staged) stage: u32,
    // The outputs of a phase: quads of a row, rows of a slice, slices.
    quads: u32,
    rows: u32,
    @if(deep) slices: u32,
    in_w: u32,
    out_w: u32,
    k_w: u32,
    stride_w: u32,
    dilation_w: u32,
    pad_w: u32,
    in_h: u32,
    out_h: u32,
    k_h: u32,
    stride_h: u32,
    dilation_h: u32,
    pad_h: u32,
    @if(deep) in_d: u32,
    @if(deep) out_d: u32,
    @if(deep) k_d: u32,
    @if(deep) stride_d: u32,
    @if(deep) dilation_d: u32,
    @if(deep) pad_d: u32,
    // stride / gcd(stride, dilation), the distance between taps of a phase, and
    // dilation / gcd(stride, dilation), the distance between their inputs.
    @if(transposed) step_w: u32,
    @if(transposed) apart_w: u32,
    @if(transposed) step_h: u32,
    @if(transposed) apart_h: u32,
    @if(transposed && deep) step_d: u32,
    @if(transposed && deep) apart_d: u32,
}

@group(0) @binding(0) var<uniform> params: Params;

// How the window lies along an axis.
struct Axis {
    // How many taps, the first one, and the distance to the next (wrapping).
    taps: u32,
    first: u32,
    step: u32,
    // Output number j meets at its tap q input start + j * stride + q * dilation.
    start: i32,
    stride: i32,
    dilation: i32,
    // How many outputs there are, where the first one is, and their distance.
    count: u32,
    position: u32,
    spacing: u32,
}

struct Axes {
    w: Axis,
    h: Axis,
    @if(deep) d: Axis,
}

@if(!transposed) fn axis(out: u32, k: u32, stride: u32, dilation: u32, pad: u32) -> Axis {
    return Axis(k, 0u, 1u, -i32(pad), i32(stride), i32(dilation), out, 0u, 1u);
}

// Output o meets tap k at input (o + pad - k * dilation) / stride where that is
// whole. `phase` is the first output. The taps are taken from the last to the
// first, so that inputs ascend.
@if(transposed) fn phase_axis(
    phase: u32, out: u32, k: u32, stride: u32, dilation: u32, pad: u32, step: u32, apart: u32,
) -> Axis {
    let turn = stride - dilation % stride;
    var lowest = 0u;
    while lowest < step && (phase + pad + lowest * turn) % stride != 0u {
        lowest++;
    }
    var taps = 0u;
    if lowest < step && lowest < k {
        taps = (k - lowest + step - 1u) / step;
    }
    let last = taps - 1u;
    let at = (i32(phase + pad) - i32(lowest * dilation)) / i32(stride);
    let start = at - i32(last) * i32(apart);
    let count = (out - min(phase, out) + stride - 1u) / stride;
    return Axis(taps, lowest + last * step, 0u - step, start, 1, i32(apart), count, phase, stride);
}

// How many phases there are.
fn phases() -> u32 {
    @if(!transposed) return 1u;
    @if(transposed && !deep) return params.stride_w * params.stride_h;
    @if(transposed && deep) return params.stride_w * params.stride_h * params.stride_d;
}

fn axes_of(phase: u32) -> Axes {
    var axes: Axes;
    let p = params;
    @if(!transposed) {
        axes.w = axis(p.out_w, p.k_w, p.stride_w, p.dilation_w, p.pad_w);
        axes.h = axis(p.out_h, p.k_h, p.stride_h, p.dilation_h, p.pad_h);
        @if(deep) {
            axes.d = axis(p.out_d, p.k_d, p.stride_d, p.dilation_d, p.pad_d);
        }
    }
    @if(transposed) {
        let w = phase % p.stride_w;
        let h = phase / p.stride_w % p.stride_h;
        axes.w = phase_axis(w, p.out_w, p.k_w, p.stride_w, p.dilation_w, p.pad_w, p.step_w, p.apart_w);
        axes.h = phase_axis(h, p.out_h, p.k_h, p.stride_h, p.dilation_h, p.pad_h, p.step_h, p.apart_h);
        @if(deep) {
            let d = phase / (p.stride_w * p.stride_h);
            axes.d = phase_axis(d, p.out_d, p.k_d, p.stride_d, p.dilation_d, p.pad_d, p.step_d, p.apart_d);
        }
    }
    return axes;
}

// Four neighbouring outputs of a row (of a phase); `live` if there are any.
struct Quad {
    live: bool,
    sample: u32,
    d: u32,
    h: u32,
    w: u32,
}

fn quad_count() -> u32 {
    @if(deep) return params.samples * params.slices * params.rows * params.quads;
    @if(!deep) return params.samples * params.rows * params.quads;
}

fn quad_of(number: u32) -> Quad {
    let count = quad_count();
    let at = min(number, count - 1u);
    let above = at / params.quads;
    var quad: Quad;
    quad.live = number < count;
    quad.w = at % params.quads * 4u;
    quad.h = above % params.rows;
    quad.sample = above / params.rows;
    @if(deep) {
        quad.d = quad.sample % params.slices;
        quad.sample = quad.sample / params.slices;
    }
    return quad;
}

// A tile of work: a block of channels of a group, a row of quads, a phase.
struct Tile {
    block: u32,
    quads: u32,
    group: u32,
    phase: u32,
}

// Tiles of the same quads are next to each other.
fn tile_of(number: u32, channels: u32, quads: u32) -> Tile {
    let blocks = (params.m + channels - 1u) / channels;
    let across = (quad_count() + quads - 1u) / quads;
    var tile: Tile;
    tile.block = number % blocks;
    var rest = number / blocks;
    tile.quads = rest % across;
    rest = rest / across;
    tile.group = rest % params.groups;
    tile.phase = rest / params.groups;
    return tile;
}

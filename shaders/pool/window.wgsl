import package::common::decode::{In, decode, word_of};
import package::common::encode::{LANES, Out, encode};
import package::config::WORKGROUP;
@if(power) import package::config::POWER;

// The largest element (`largest`), the mean (`mean`) or the power mean's sum
// (`power`) of what a window meets. An invocation computes a word of outputs;
// if `together`, a workgroup does, and its invocations share the taps.
//
// `include`: the mean counts padding, though not what lies behind it.

struct Params {
    // Outputs of this part; the first one's number.
    count: u32,
    first: u32,
    // Where the first plane is in x (wrapping), and output 0 of the part in y.
    x_base: u32,
    y_base: u32,
    @if(indexed) i_base: u32,
    in_d: u32, out_d: u32, k_d: u32, stride_d: u32, dilation_d: u32, pad_d: u32,
    in_h: u32, out_h: u32, k_h: u32, stride_h: u32, dilation_h: u32, pad_h: u32,
    in_w: u32, out_w: u32, k_w: u32, stride_w: u32, dilation_w: u32, pad_w: u32,
    // Where padding ends, from where it begins.
    @if(include) end_d: u32,
    @if(include) end_h: u32,
    @if(include) end_w: u32,
    // The distances that an index counts along the axes of a plane.
    @if(indexed) along_d: u32,
    @if(indexed) along_h: u32,
    @if(indexed) along_w: u32,
}

@group(0) @binding(0) var<uniform> params: Params;
@group(0) @binding(1) var<storage, read> x: array<u32>;
@group(0) @binding(2) var<storage, read_write> y: array<u32>;
@if(indexed) @group(0) @binding(3) var<storage, read_write> indices: array<u32>;

// What is known of a window so far.
struct State {
    // How many elements it has met, or is to be divided by.
    seen: u32,
    value: In,
    // The tap of the largest element.
    @if(largest) tap: u32,
}

@if(together) var<workgroup> partial: array<State, WORKGROUP>;

// An output's place.
struct Place {
    plane: u32,
    d: u32,
    h: u32,
    w: u32,
}

fn place_of(number: u32) -> Place {
    let above = number / params.out_w;
    let higher = above / params.out_h;
    return Place(
        higher / params.out_d,
        higher % params.out_d * params.stride_d,
        above % params.out_h * params.stride_h,
        number % params.out_w * params.stride_w,
    );
}

fn at_plane(place: Place) -> u32 {
    return params.x_base + place.plane * (params.in_d * params.in_h * params.in_w);
}

@if(power) fn raised(value: f32) -> f32 {
    var result = abs(value);
    for (var i = 1u; i < POWER; i++) {
        result *= abs(value);
    }
    return result;
}

// The state with one more tap. Positions count from where padding begins.
fn meet(state: State, at: u32, place: Place, qd: u32, qh: u32, qw: u32) -> State {
    var next = state;
    let d = place.d + qd * params.dilation_d;
    let h = place.h + qh * params.dilation_h;
    let w = place.w + qw * params.dilation_w;
    @if(include) {
        next.seen += select(0u, 1u, d < params.end_d && h < params.end_h && w < params.end_w);
    }
    let i = vec3<u32>(d - params.pad_d, h - params.pad_h, w - params.pad_w);
    if all(i < vec3<u32>(params.in_d, params.in_h, params.in_w)) {
        let element = at + (i.x * params.in_h + i.y) * params.in_w + i.z;
        let value = decode(x[word_of(element)], element);
        @if(largest) {
            let tap = (qd * params.k_h + qh) * params.k_w + qw;
            if next.seen == 0u || value > next.value {
                next.value = value;
                next.tap = tap;
            }
            next.seen = 1u;
        }
        @if(mean) {
            next.value += value;
        }
        @if(power) {
            next.value += raised(value);
        }
        @if(!largest && !include) {
            next.seen += 1u;
        }
    }
    return next;
}

// What two parts of a window give together.
fn joined(a: State, b: State) -> State {
    @if(!largest) return State(a.seen + b.seen, a.value + b.value);
    @if(largest) {
        // Of equal elements the first tap's is taken.
        let other = b.value > a.value || (b.value == a.value && b.tap < a.tap);
        if a.seen == 0u || (b.seen != 0u && other) {
            return b;
        }
        return a;
    }
}

@if(!together) fn gathered(place: Place, index: u32) -> State {
    var state = State();
    let at = at_plane(place);
    for (var qd = 0u; qd < params.k_d; qd++) {
        for (var qh = 0u; qh < params.k_h; qh++) {
            for (var qw = 0u; qw < params.k_w; qw++) {
                state = meet(state, at, place, qd, qh, qw);
            }
        }
    }
    return state;
}

@if(together) fn gathered(place: Place, index: u32) -> State {
    var state = State();
    let at = at_plane(place);
    let taps = params.k_d * params.k_h * params.k_w;
    for (var tap = index; tap < taps; tap += WORKGROUP) {
        let above = tap / params.k_w;
        state = meet(
            state, at, place, above / params.k_h, above % params.k_h, tap % params.k_w,
        );
    }
    partial[index] = state;
    workgroupBarrier();
    for (var half = WORKGROUP / 2u; half > 0u; half /= 2u) {
        if index < half {
            partial[index] = joined(partial[index], partial[index + half]);
        }
        workgroupBarrier();
    }
    let all = partial[0];
    workgroupBarrier();
    return all;
}

// The output of a window; the lowest number, or 0, where it met nothing.
@if(largest) fn result(state: State) -> Out {
    @if(in_f32) return select(-3.4028234e38, state.value, state.seen != 0u);
    @if(in_i8) return select(-128, state.value, state.seen != 0u);
    @if(in_u8) return state.value;
}

@if(mean) fn result(state: State) -> Out {
    return state.value / f32(max(state.seen, 1u));
}

@if(power) fn result(state: State) -> Out {
    if POWER == 1u {
        return state.value;
    }
    if POWER == 2u {
        return sqrt(state.value);
    }
    // The logarithm of nothing is not defined.
    return select(pow(state.value, 1.0 / f32(POWER)), 0.0, state.value == 0.0);
}

@if(indexed) fn index_of(state: State, place: Place) -> u32 {
    let above = state.tap / params.k_w;
    let d = place.d + above / params.k_h * params.dilation_d - params.pad_d;
    let h = place.h + above % params.k_h * params.dilation_h - params.pad_h;
    let w = place.w + state.tap % params.k_w * params.dilation_w - params.pad_w;
    let before = place.plane * (params.in_d * params.in_h * params.in_w);
    let at = before + d * params.along_d + h * params.along_h + w * params.along_w;
    return select(before, at, state.seen != 0u);
}

@compute @workgroup_size(WORKGROUP)
fn main(
    @builtin(workgroup_id) group: vec3<u32>,
    @builtin(num_workgroups) groups: vec3<u32>,
    @builtin(local_invocation_index) index: u32,
) {
    let number = group.x + group.y * groups.x;
    @if(together) let word = number;
    @if(!together) let word = number * WORKGROUP + index;
    if word * LANES >= params.count {
        return;
    }
    @if(together) let writes = index == 0u;
    @if(!together) let writes = true;
    var bits = 0u;
    for (var lane = 0u; lane < min(LANES, params.count - word * LANES); lane++) {
        let element = word * LANES + lane;
        let place = place_of(params.first + element);
        let state = gathered(place, index);
        bits |= encode(result(state), lane);
        @if(indexed) {
            if writes {
                indices[params.i_base + element] = index_of(state, place);
            }
        }
    }
    if writes {
        y[params.y_base + word] = bits;
    }
}

import package::common::activation::{exp_m1_negative, sigmoid, softplus, tanh_safe};
import package::config::{CLIP, F0, F0_A, F0_B, F1, F1_A, F1_B, G0, G0_A, G0_B, G1, G1_A, G1_B, H0, H0_A, H0_B, H1, H1_A, H1_B, HIDDEN};

// What the kernels of recurrent networks read, and what a cell does with the
// sums of its gates. Gates stand in the order of ONNX: LSTM has i, o, f, c and
// GRU z, r, h.
//
// gates is [D, S * B, GATES * HIDDEN], the products of the inputs; y is
// [S, D, B, HIDDEN]. state has regions of D * B * HIDDEN: the hidden state, then
// what an LSTM's cell holds or what a GRU keeps between its two halves.

struct Params {
    // Positions, sequences and directions there are at run time.
    steps: u32,
    batch: u32,
    directions: u32,
    // Step s is position s, or `last - s` in a direction that goes backwards:
    // those from `backward` on.
    last: u32,
    backward: u32,
    // The steps and directions of this dispatch; a row is a sequence in a
    // direction.
    first: u32,
    count: u32,
    direction: u32,
    rows: u32,
    // Elements before the bound part.
    first_gate: u32,
    first_y: u32,
}

@if(lstm) const GATES: u32 = 4u;
@if(gru) const GATES: u32 = 3u;
@if(!lstm && !gru) const GATES: u32 = 1u;

@group(0) @binding(0) var<uniform> params: Params;
@group(0) @binding(1) var<storage, read> gates: array<f32>;
@group(0) @binding(2) var<storage, read_write> state: array<f32>;
@group(0) @binding(3) var<storage, read_write> y: array<f32>;
@if(biased) @group(0) @binding(4) var<storage, read> bias: array<f32>;
@if(peepholes) @group(0) @binding(5) var<storage, read> peepholes: array<f32>;
@if(lengths) @group(0) @binding(6) var<storage, read> lengths: array<i32>;

fn apply(kind: u32, alpha: f32, beta: f32, x: f32) -> f32 {
    switch kind {
        case 0u: {
            return max(x, 0.0);
        }
        case 1u: {
            return tanh_safe(x);
        }
        case 2u: {
            return sigmoid(x);
        }
        case 3u: {
            return alpha * x + beta;
        }
        case 4u: {
            return select(x, alpha * x, x < 0.0);
        }
        case 5u: {
            return select(0.0, x, x >= alpha);
        }
        case 6u: {
            return alpha * tanh_safe(beta * x);
        }
        case 7u: {
            return clamp(alpha * x + beta, 0.0, 1.0);
        }
        case 8u: {
            return select(x, alpha * exp_m1_negative(x), x < 0.0);
        }
        // Division is accurate only for divisors up to 2^126.
        case 9u: {
            let t = clamp(x, -1.0e30, 1.0e30);
            return t / (1.0 + abs(t));
        }
        default: {
            return softplus(x);
        }
    }
}

fn clipped(x: f32) -> f32 {
    @if(clip) return clamp(x, -CLIP, CLIP);
    @else return x;
}

fn f(d: u32, x: f32) -> f32 {
    if d == 0u {
        return apply(F0, F0_A, F0_B, clipped(x));
    }
    return apply(F1, F1_A, F1_B, clipped(x));
}

fn g(d: u32, x: f32) -> f32 {
    if d == 0u {
        return apply(G0, G0_A, G0_B, clipped(x));
    }
    return apply(G1, G1_A, G1_B, clipped(x));
}

fn h(d: u32, x: f32) -> f32 {
    if d == 0u {
        return apply(H0, H0_A, H0_B, x);
    }
    return apply(H1, H1_A, H1_B, x);
}

// The position of a step.
fn position(d: u32, s: u32) -> u32 {
    return select(s, params.last - s, d >= params.backward);
}

// Where the positions of a sequence end. A length out of range is brought into
// it: a shader cannot report it.
fn end_of(b: u32) -> u32 {
    @if(lengths) return min(u32(max(lengths[b], 0)), params.steps);
    @else return params.steps;
}

fn gate_at(d: u32, p: u32, b: u32) -> u32 {
    return ((d * params.steps + p) * params.batch + b) * (GATES * HIDDEN) - params.first_gate;
}

fn y_at(d: u32, p: u32, b: u32) -> u32 {
    return ((p * params.directions + d) * params.batch + b) * HIDDEN - params.first_y;
}

// The length of a region of the state.
fn region() -> u32 {
    return params.directions * params.batch * HIDDEN;
}

// The bias of the input's product and that of the state's.
fn input_bias(d: u32, gate: u32, j: u32) -> f32 {
    @if(biased) return bias[(d * 2u * GATES + gate) * HIDDEN + j];
    @else return 0.0;
}

fn state_bias(d: u32, gate: u32, j: u32) -> f32 {
    @if(biased) return bias[((d * 2u + 1u) * GATES + gate) * HIDDEN + j];
    @else return 0.0;
}

fn both_biases(d: u32, gate: u32, j: u32) -> f32 {
    return input_bias(d, gate, j) + state_bias(d, gate, j);
}

fn peephole(d: u32, gate: u32, j: u32, cell: f32) -> f32 {
    @if(peepholes) return peepholes[(d * 3u + gate) * HIDDEN + j] * cell;
    @else return 0.0;
}

// The new hidden state and the new cell, of the sums of the gates without
// biases and the old cell.
@if(lstm) fn lstm(d: u32, j: u32, sums: vec4<f32>, cell: f32) -> vec2<f32> {
    let input = f(d, sums.x + both_biases(d, 0u, j) + peephole(d, 0u, j, cell));
    @if(coupled) let forget = 1.0 - input;
    @else let forget = f(d, sums.z + both_biases(d, 2u, j) + peephole(d, 2u, j, cell));
    let fresh = g(d, sums.w + both_biases(d, 3u, j));
    let next = forget * cell + input * fresh;
    let output = f(d, sums.y + both_biases(d, 1u, j) + peephole(d, 1u, j, next));
    return vec2(output * h(d, next), next);
}

// A gate that takes both products: z or r.
@if(gru) fn gru_gate(d: u32, gate: u32, j: u32, sum: f32) -> f32 {
    return f(d, sum + both_biases(d, gate, j));
}

// The new hidden state; `from_input` and `from_state` are the products of the
// third gate.
@if(gru) fn gru(
    d: u32,
    j: u32,
    update: f32,
    reset: f32,
    from_input: f32,
    from_state: f32,
    old: f32,
) -> f32 {
    @if(linear) let moved = reset * (from_state + state_bias(d, 2u, j)) + input_bias(d, 2u, j);
    @else let moved = from_state + both_biases(d, 2u, j);
    let fresh = g(d, from_input + moved);
    return (1.0 - update) * fresh + update * old;
}

import package::attention::grouped::{
    FOURS, Part, VALUE_FOURS, add, done, kept, queries, shares, weights,
};
import package::attention::io::{keys4_at, values4_at};
import package::config::WORKGROUP;

// Products of the workgroup's rows with eight keys, and sums of eight of its rows, with
// little to compile.

// Products of four rows with each of eight keys, and where the keys are.
struct Scores {
    s0: vec4<f32>,
    s1: vec4<f32>,
    s2: vec4<f32>,
    s3: vec4<f32>,
    s4: vec4<f32>,
    s5: vec4<f32>,
    s6: vec4<f32>,
    s7: vec4<f32>,
}

struct Keys {
    k0: u32,
    k1: u32,
    k2: u32,
    k3: u32,
    k4: u32,
    k5: u32,
    k6: u32,
    k7: u32,
}

// With elements 4 * at to 4 * at + 3 of the head.
fn with_four(scores: Scores, keys: Keys, lane: u32, at: u32) -> Scores {
    var s = scores;
    let k0 = keys4_at(keys.k0 + at);
    let k1 = keys4_at(keys.k1 + at);
    let k2 = keys4_at(keys.k2 + at);
    let k3 = keys4_at(keys.k3 + at);
    let k4 = keys4_at(keys.k4 + at);
    let k5 = keys4_at(keys.k5 + at);
    let k6 = keys4_at(keys.k6 + at);
    let k7 = keys4_at(keys.k7 + at);
    let base = at * 4u * WORKGROUP + lane;
    let a = queries[base];
    s.s0 = fma(a, vec4(k0.x), s.s0);
    s.s1 = fma(a, vec4(k1.x), s.s1);
    s.s2 = fma(a, vec4(k2.x), s.s2);
    s.s3 = fma(a, vec4(k3.x), s.s3);
    s.s4 = fma(a, vec4(k4.x), s.s4);
    s.s5 = fma(a, vec4(k5.x), s.s5);
    s.s6 = fma(a, vec4(k6.x), s.s6);
    s.s7 = fma(a, vec4(k7.x), s.s7);
    let b = queries[base + WORKGROUP];
    s.s0 = fma(b, vec4(k0.y), s.s0);
    s.s1 = fma(b, vec4(k1.y), s.s1);
    s.s2 = fma(b, vec4(k2.y), s.s2);
    s.s3 = fma(b, vec4(k3.y), s.s3);
    s.s4 = fma(b, vec4(k4.y), s.s4);
    s.s5 = fma(b, vec4(k5.y), s.s5);
    s.s6 = fma(b, vec4(k6.y), s.s6);
    s.s7 = fma(b, vec4(k7.y), s.s7);
    let c = queries[base + 2u * WORKGROUP];
    s.s0 = fma(c, vec4(k0.z), s.s0);
    s.s1 = fma(c, vec4(k1.z), s.s1);
    s.s2 = fma(c, vec4(k2.z), s.s2);
    s.s3 = fma(c, vec4(k3.z), s.s3);
    s.s4 = fma(c, vec4(k4.z), s.s4);
    s.s5 = fma(c, vec4(k5.z), s.s5);
    s.s6 = fma(c, vec4(k6.z), s.s6);
    s.s7 = fma(c, vec4(k7.z), s.s7);
    let d = queries[base + 3u * WORKGROUP];
    s.s0 = fma(d, vec4(k0.w), s.s0);
    s.s1 = fma(d, vec4(k1.w), s.s1);
    s.s2 = fma(d, vec4(k2.w), s.s2);
    s.s3 = fma(d, vec4(k3.w), s.s3);
    s.s4 = fma(d, vec4(k4.w), s.s4);
    s.s5 = fma(d, vec4(k5.w), s.s5);
    s.s6 = fma(d, vec4(k6.w), s.s6);
    s.s7 = fma(d, vec4(k7.w), s.s7);
    return s;
}

// The products of eight keys from row `first` of the cache on, where `last` is the
// last one there is.
fn score(lane: u32, to: u32, first: u32, last: u32) {
    let keys = Keys(
        first * FOURS,
        min(first + 1u, last) * FOURS,
        min(first + 2u, last) * FOURS,
        min(first + 3u, last) * FOURS,
        min(first + 4u, last) * FOURS,
        min(first + 5u, last) * FOURS,
        min(first + 6u, last) * FOURS,
        min(first + 7u, last) * FOURS,
    );
    var s = Scores();
    for (var at = 0u; at + 1u < FOURS; at += 2u) {
        s = with_four(s, keys, lane, at);
        s = with_four(s, keys, lane, at + 1u);
    }
    if FOURS % 2u == 1u {
        s = with_four(s, keys, lane, FOURS - 1u);
    }
    let place = to * WORKGROUP + lane;
    weights[place] = s.s0;
    weights[place + WORKGROUP] = s.s1;
    weights[place + 2u * WORKGROUP] = s.s2;
    weights[place + 3u * WORKGROUP] = s.s3;
    weights[place + 4u * WORKGROUP] = s.s4;
    weights[place + 5u * WORKGROUP] = s.s5;
    weights[place + 6u * WORKGROUP] = s.s6;
    weights[place + 7u * WORKGROUP] = s.s7;
}

// Sums for eight rows: of four elements, and of four more.
struct Sums {
    a0: vec4<f32>,
    a1: vec4<f32>,
    a2: vec4<f32>,
    a3: vec4<f32>,
    a4: vec4<f32>,
    a5: vec4<f32>,
    a6: vec4<f32>,
    a7: vec4<f32>,
    @if(!narrow) b0: vec4<f32>,
    @if(!narrow) b1: vec4<f32>,
    @if(!narrow) b2: vec4<f32>,
    @if(!narrow) b3: vec4<f32>,
    @if(!narrow) b4: vec4<f32>,
    @if(!narrow) b5: vec4<f32>,
    @if(!narrow) b6: vec4<f32>,
    @if(!narrow) b7: vec4<f32>,
}

// Which of a row's fours this lane sums. Past the last one it is summed again, and
// not written.
fn columns_of(part: Part) -> vec2<u32> {
    let first = vec2(part.column);
    return min(first + vec2(0u, WORKGROUP), vec2(VALUE_FOURS - 1u));
}

// With row `row` of the values, which weighs what is in row `j` of the weights.
fn with_key(sums: Sums, columns: vec2<u32>, row: u32, j: u32, pair: u32) -> Sums {
    var s = sums;
    let at = row * VALUE_FOURS;
    let w = weights[j * WORKGROUP + pair];
    let z = weights[j * WORKGROUP + pair + 1u];
    let a = values4_at(at + columns.x);
    s.a0 = fma(vec4(w.x), a, s.a0);
    s.a1 = fma(vec4(w.y), a, s.a1);
    s.a2 = fma(vec4(w.z), a, s.a2);
    s.a3 = fma(vec4(w.w), a, s.a3);
    s.a4 = fma(vec4(z.x), a, s.a4);
    s.a5 = fma(vec4(z.y), a, s.a5);
    s.a6 = fma(vec4(z.z), a, s.a6);
    s.a7 = fma(vec4(z.w), a, s.a7);
    @if(!narrow) {
        let b = values4_at(at + columns.y);
        s.b0 = fma(vec4(w.x), b, s.b0);
        s.b1 = fma(vec4(w.y), b, s.b1);
        s.b2 = fma(vec4(w.z), b, s.b2);
        s.b3 = fma(vec4(w.w), b, s.b3);
        s.b4 = fma(vec4(z.x), b, s.b4);
        s.b5 = fma(vec4(z.y), b, s.b5);
        s.b6 = fma(vec4(z.z), b, s.b6);
        s.b7 = fma(vec4(z.w), b, s.b7);
    }
    return s;
}

// Rows 4 * pair to 4 * pair + 7, over keys from row `first` of the cache on.
fn sum(part: Part, pair: u32, first: u32, count: u32) {
    var s = Sums();
    let columns = columns_of(part);
    var j = 0u;
    for (; j + 3u < count; j += 4u) {
        s = with_key(s, columns, first + j, j, pair);
        s = with_key(s, columns, first + j + 1u, j + 1u, pair);
        s = with_key(s, columns, first + j + 2u, j + 2u, pair);
        s = with_key(s, columns, first + j + 3u, j + 3u, pair);
    }
    for (; j < count; j++) {
        s = with_key(s, columns, first + j, j, pair);
    }
    // In a loop: what is compiled long is written once.
    let own = part.column % WORKGROUP;
    done[0u * WORKGROUP + own] = s.a0;
    done[1u * WORKGROUP + own] = s.a1;
    done[2u * WORKGROUP + own] = s.a2;
    done[3u * WORKGROUP + own] = s.a3;
    done[4u * WORKGROUP + own] = s.a4;
    done[5u * WORKGROUP + own] = s.a5;
    done[6u * WORKGROUP + own] = s.a6;
    done[7u * WORKGROUP + own] = s.a7;
    @if(!narrow) {
        done[8u * WORKGROUP + own] = s.b0;
        done[9u * WORKGROUP + own] = s.b1;
        done[10u * WORKGROUP + own] = s.b2;
        done[11u * WORKGROUP + own] = s.b3;
        done[12u * WORKGROUP + own] = s.b4;
        done[13u * WORKGROUP + own] = s.b5;
        done[14u * WORKGROUP + own] = s.b6;
        done[15u * WORKGROUP + own] = s.b7;
    }
    for (var i = 0u; i < 8u; i++) {
        let row = pair * 4u + i;
        let keep = kept[row];
        let share = shares[row];
        let a = done[i * WORKGROUP + own];
        add(part, row, part.column, a, keep, share);
        @if(!narrow) {
            let b = done[(8u + i) * WORKGROUP + own];
            add(part, row, part.column + WORKGROUP, b, keep, share);
        }
    }
}

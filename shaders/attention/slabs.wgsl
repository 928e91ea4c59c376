import package::attention::grouped::{
    FOURS, Part, ROWS, VALUE_FOURS, add, done, kept, queries, shares, weights,
};
import package::attention::io::{keys4_at, values4_at};
import package::config::WORKGROUP;

// Products of the workgroup's rows with 32 keys, and sums of its 32 rows, each as a
// product of matrices: what lanes do not have in common is read once for 32 of the
// others, and each sum gets four products before the next one does.

struct Scores {
    s0: vec4<f32>,
    s1: vec4<f32>,
    s2: vec4<f32>,
    s3: vec4<f32>,
    s4: vec4<f32>,
    s5: vec4<f32>,
    s6: vec4<f32>,
    s7: vec4<f32>,
    s8: vec4<f32>,
    s9: vec4<f32>,
    s10: vec4<f32>,
    s11: vec4<f32>,
    s12: vec4<f32>,
    s13: vec4<f32>,
    s14: vec4<f32>,
    s15: vec4<f32>,
    s16: vec4<f32>,
    s17: vec4<f32>,
    s18: vec4<f32>,
    s19: vec4<f32>,
    s20: vec4<f32>,
    s21: vec4<f32>,
    s22: vec4<f32>,
    s23: vec4<f32>,
    s24: vec4<f32>,
    s25: vec4<f32>,
    s26: vec4<f32>,
    s27: vec4<f32>,
    s28: vec4<f32>,
    s29: vec4<f32>,
    s30: vec4<f32>,
    s31: vec4<f32>,
}

// Where keys start.
struct Keys {
    k0: u32,
    k1: u32,
    k2: u32,
    k3: u32,
    k4: u32,
    k5: u32,
    k6: u32,
    k7: u32,
    k8: u32,
    k9: u32,
    k10: u32,
    k11: u32,
    k12: u32,
    k13: u32,
    k14: u32,
    k15: u32,
    k16: u32,
    k17: u32,
    k18: u32,
    k19: u32,
    k20: u32,
    k21: u32,
    k22: u32,
    k23: u32,
    k24: u32,
    k25: u32,
    k26: u32,
    k27: u32,
    k28: u32,
    k29: u32,
    k30: u32,
    k31: u32,
}

// Four elements of the head for four rows.
struct Four {
    a: vec4<f32>,
    b: vec4<f32>,
    c: vec4<f32>,
    d: vec4<f32>,
}

fn with_key(score: vec4<f32>, rows: Four, key: u32) -> vec4<f32> {
    let k = keys4_at(key);
    let first = fma(rows.b, vec4(k.y), fma(rows.a, vec4(k.x), score));
    return fma(rows.d, vec4(k.w), fma(rows.c, vec4(k.z), first));
}

// The products of 32 keys from row `first` of the cache on, where `last` is the last
// one there is.
fn score_slab(lane: u32, to: u32, first: u32, last: u32) {
    var keys: Keys;
    keys.k0 = min(first + 0u, last) * FOURS;
    keys.k1 = min(first + 1u, last) * FOURS;
    keys.k2 = min(first + 2u, last) * FOURS;
    keys.k3 = min(first + 3u, last) * FOURS;
    keys.k4 = min(first + 4u, last) * FOURS;
    keys.k5 = min(first + 5u, last) * FOURS;
    keys.k6 = min(first + 6u, last) * FOURS;
    keys.k7 = min(first + 7u, last) * FOURS;
    keys.k8 = min(first + 8u, last) * FOURS;
    keys.k9 = min(first + 9u, last) * FOURS;
    keys.k10 = min(first + 10u, last) * FOURS;
    keys.k11 = min(first + 11u, last) * FOURS;
    keys.k12 = min(first + 12u, last) * FOURS;
    keys.k13 = min(first + 13u, last) * FOURS;
    keys.k14 = min(first + 14u, last) * FOURS;
    keys.k15 = min(first + 15u, last) * FOURS;
    keys.k16 = min(first + 16u, last) * FOURS;
    keys.k17 = min(first + 17u, last) * FOURS;
    keys.k18 = min(first + 18u, last) * FOURS;
    keys.k19 = min(first + 19u, last) * FOURS;
    keys.k20 = min(first + 20u, last) * FOURS;
    keys.k21 = min(first + 21u, last) * FOURS;
    keys.k22 = min(first + 22u, last) * FOURS;
    keys.k23 = min(first + 23u, last) * FOURS;
    keys.k24 = min(first + 24u, last) * FOURS;
    keys.k25 = min(first + 25u, last) * FOURS;
    keys.k26 = min(first + 26u, last) * FOURS;
    keys.k27 = min(first + 27u, last) * FOURS;
    keys.k28 = min(first + 28u, last) * FOURS;
    keys.k29 = min(first + 29u, last) * FOURS;
    keys.k30 = min(first + 30u, last) * FOURS;
    keys.k31 = min(first + 31u, last) * FOURS;
    var s = Scores();
    for (var at = 0u; at < FOURS; at++) {
        let base = at * 4u * WORKGROUP + lane;
        let rows = Four(
            queries[base], queries[base + WORKGROUP],
            queries[base + 2u * WORKGROUP], queries[base + 3u * WORKGROUP],
        );
        s.s0 = with_key(s.s0, rows, keys.k0 + at);
        s.s1 = with_key(s.s1, rows, keys.k1 + at);
        s.s2 = with_key(s.s2, rows, keys.k2 + at);
        s.s3 = with_key(s.s3, rows, keys.k3 + at);
        s.s4 = with_key(s.s4, rows, keys.k4 + at);
        s.s5 = with_key(s.s5, rows, keys.k5 + at);
        s.s6 = with_key(s.s6, rows, keys.k6 + at);
        s.s7 = with_key(s.s7, rows, keys.k7 + at);
        s.s8 = with_key(s.s8, rows, keys.k8 + at);
        s.s9 = with_key(s.s9, rows, keys.k9 + at);
        s.s10 = with_key(s.s10, rows, keys.k10 + at);
        s.s11 = with_key(s.s11, rows, keys.k11 + at);
        s.s12 = with_key(s.s12, rows, keys.k12 + at);
        s.s13 = with_key(s.s13, rows, keys.k13 + at);
        s.s14 = with_key(s.s14, rows, keys.k14 + at);
        s.s15 = with_key(s.s15, rows, keys.k15 + at);
        s.s16 = with_key(s.s16, rows, keys.k16 + at);
        s.s17 = with_key(s.s17, rows, keys.k17 + at);
        s.s18 = with_key(s.s18, rows, keys.k18 + at);
        s.s19 = with_key(s.s19, rows, keys.k19 + at);
        s.s20 = with_key(s.s20, rows, keys.k20 + at);
        s.s21 = with_key(s.s21, rows, keys.k21 + at);
        s.s22 = with_key(s.s22, rows, keys.k22 + at);
        s.s23 = with_key(s.s23, rows, keys.k23 + at);
        s.s24 = with_key(s.s24, rows, keys.k24 + at);
        s.s25 = with_key(s.s25, rows, keys.k25 + at);
        s.s26 = with_key(s.s26, rows, keys.k26 + at);
        s.s27 = with_key(s.s27, rows, keys.k27 + at);
        s.s28 = with_key(s.s28, rows, keys.k28 + at);
        s.s29 = with_key(s.s29, rows, keys.k29 + at);
        s.s30 = with_key(s.s30, rows, keys.k30 + at);
        s.s31 = with_key(s.s31, rows, keys.k31 + at);
    }
    let place = to * WORKGROUP + lane;
    weights[place + 0u * WORKGROUP] = s.s0;
    weights[place + 1u * WORKGROUP] = s.s1;
    weights[place + 2u * WORKGROUP] = s.s2;
    weights[place + 3u * WORKGROUP] = s.s3;
    weights[place + 4u * WORKGROUP] = s.s4;
    weights[place + 5u * WORKGROUP] = s.s5;
    weights[place + 6u * WORKGROUP] = s.s6;
    weights[place + 7u * WORKGROUP] = s.s7;
    weights[place + 8u * WORKGROUP] = s.s8;
    weights[place + 9u * WORKGROUP] = s.s9;
    weights[place + 10u * WORKGROUP] = s.s10;
    weights[place + 11u * WORKGROUP] = s.s11;
    weights[place + 12u * WORKGROUP] = s.s12;
    weights[place + 13u * WORKGROUP] = s.s13;
    weights[place + 14u * WORKGROUP] = s.s14;
    weights[place + 15u * WORKGROUP] = s.s15;
    weights[place + 16u * WORKGROUP] = s.s16;
    weights[place + 17u * WORKGROUP] = s.s17;
    weights[place + 18u * WORKGROUP] = s.s18;
    weights[place + 19u * WORKGROUP] = s.s19;
    weights[place + 20u * WORKGROUP] = s.s20;
    weights[place + 21u * WORKGROUP] = s.s21;
    weights[place + 22u * WORKGROUP] = s.s22;
    weights[place + 23u * WORKGROUP] = s.s23;
    weights[place + 24u * WORKGROUP] = s.s24;
    weights[place + 25u * WORKGROUP] = s.s25;
    weights[place + 26u * WORKGROUP] = s.s26;
    weights[place + 27u * WORKGROUP] = s.s27;
    weights[place + 28u * WORKGROUP] = s.s28;
    weights[place + 29u * WORKGROUP] = s.s29;
    weights[place + 30u * WORKGROUP] = s.s30;
    weights[place + 31u * WORKGROUP] = s.s31;
}

// Sums of four elements for each row.
struct Sums {
    r0: vec4<f32>,
    r1: vec4<f32>,
    r2: vec4<f32>,
    r3: vec4<f32>,
    r4: vec4<f32>,
    r5: vec4<f32>,
    r6: vec4<f32>,
    r7: vec4<f32>,
    r8: vec4<f32>,
    r9: vec4<f32>,
    r10: vec4<f32>,
    r11: vec4<f32>,
    r12: vec4<f32>,
    r13: vec4<f32>,
    r14: vec4<f32>,
    r15: vec4<f32>,
    r16: vec4<f32>,
    r17: vec4<f32>,
    r18: vec4<f32>,
    r19: vec4<f32>,
    r20: vec4<f32>,
    r21: vec4<f32>,
    r22: vec4<f32>,
    r23: vec4<f32>,
    r24: vec4<f32>,
    r25: vec4<f32>,
    r26: vec4<f32>,
    r27: vec4<f32>,
    r28: vec4<f32>,
    r29: vec4<f32>,
    r30: vec4<f32>,
    r31: vec4<f32>,
}

// Four elements of the values of four keys.
fn with_values(sum: vec4<f32>, w: vec4<f32>, v: Four) -> vec4<f32> {
    let first = fma(vec4(w.y), v.b, fma(vec4(w.x), v.a, sum));
    return fma(vec4(w.w), v.d, fma(vec4(w.z), v.c, first));
}

// What four keys weigh for four rows: a column for each row.
fn weights_from(at: u32) -> mat4x4<f32> {
    return transpose(mat4x4<f32>(
        weights[at], weights[at + WORKGROUP], weights[at + 2u * WORKGROUP],
        weights[at + 3u * WORKGROUP],
    ));
}

// All rows, over `count` keys from row `first` of the cache on. Weights up to the next
// multiple of four are zero.
fn sum_slab(part: Part, first: u32, count: u32) {
    let column = min(part.column, VALUE_FOURS - 1u);
    let last = first + count - 1u;
    var s = Sums();
    for (var j = 0u; j < count; j += 4u) {
        let row = first + j;
        let v = Four(
            values4_at(row * VALUE_FOURS + column),
            values4_at(min(row + 1u, last) * VALUE_FOURS + column),
            values4_at(min(row + 2u, last) * VALUE_FOURS + column),
            values4_at(min(row + 3u, last) * VALUE_FOURS + column),
        );
        let w0 = weights_from(j * WORKGROUP + 0u);
        s.r0 = with_values(s.r0, w0[0], v);
        s.r1 = with_values(s.r1, w0[1], v);
        s.r2 = with_values(s.r2, w0[2], v);
        s.r3 = with_values(s.r3, w0[3], v);
        let w1 = weights_from(j * WORKGROUP + 1u);
        s.r4 = with_values(s.r4, w1[0], v);
        s.r5 = with_values(s.r5, w1[1], v);
        s.r6 = with_values(s.r6, w1[2], v);
        s.r7 = with_values(s.r7, w1[3], v);
        let w2 = weights_from(j * WORKGROUP + 2u);
        s.r8 = with_values(s.r8, w2[0], v);
        s.r9 = with_values(s.r9, w2[1], v);
        s.r10 = with_values(s.r10, w2[2], v);
        s.r11 = with_values(s.r11, w2[3], v);
        let w3 = weights_from(j * WORKGROUP + 3u);
        s.r12 = with_values(s.r12, w3[0], v);
        s.r13 = with_values(s.r13, w3[1], v);
        s.r14 = with_values(s.r14, w3[2], v);
        s.r15 = with_values(s.r15, w3[3], v);
        let w4 = weights_from(j * WORKGROUP + 4u);
        s.r16 = with_values(s.r16, w4[0], v);
        s.r17 = with_values(s.r17, w4[1], v);
        s.r18 = with_values(s.r18, w4[2], v);
        s.r19 = with_values(s.r19, w4[3], v);
        let w5 = weights_from(j * WORKGROUP + 5u);
        s.r20 = with_values(s.r20, w5[0], v);
        s.r21 = with_values(s.r21, w5[1], v);
        s.r22 = with_values(s.r22, w5[2], v);
        s.r23 = with_values(s.r23, w5[3], v);
        let w6 = weights_from(j * WORKGROUP + 6u);
        s.r24 = with_values(s.r24, w6[0], v);
        s.r25 = with_values(s.r25, w6[1], v);
        s.r26 = with_values(s.r26, w6[2], v);
        s.r27 = with_values(s.r27, w6[3], v);
        let w7 = weights_from(j * WORKGROUP + 7u);
        s.r28 = with_values(s.r28, w7[0], v);
        s.r29 = with_values(s.r29, w7[1], v);
        s.r30 = with_values(s.r30, w7[2], v);
        s.r31 = with_values(s.r31, w7[3], v);
    }
    // In a loop: what is compiled long is written once.
    let own = part.column % WORKGROUP;
    done[0u * WORKGROUP + own] = s.r0;
    done[1u * WORKGROUP + own] = s.r1;
    done[2u * WORKGROUP + own] = s.r2;
    done[3u * WORKGROUP + own] = s.r3;
    done[4u * WORKGROUP + own] = s.r4;
    done[5u * WORKGROUP + own] = s.r5;
    done[6u * WORKGROUP + own] = s.r6;
    done[7u * WORKGROUP + own] = s.r7;
    done[8u * WORKGROUP + own] = s.r8;
    done[9u * WORKGROUP + own] = s.r9;
    done[10u * WORKGROUP + own] = s.r10;
    done[11u * WORKGROUP + own] = s.r11;
    done[12u * WORKGROUP + own] = s.r12;
    done[13u * WORKGROUP + own] = s.r13;
    done[14u * WORKGROUP + own] = s.r14;
    done[15u * WORKGROUP + own] = s.r15;
    done[16u * WORKGROUP + own] = s.r16;
    done[17u * WORKGROUP + own] = s.r17;
    done[18u * WORKGROUP + own] = s.r18;
    done[19u * WORKGROUP + own] = s.r19;
    done[20u * WORKGROUP + own] = s.r20;
    done[21u * WORKGROUP + own] = s.r21;
    done[22u * WORKGROUP + own] = s.r22;
    done[23u * WORKGROUP + own] = s.r23;
    done[24u * WORKGROUP + own] = s.r24;
    done[25u * WORKGROUP + own] = s.r25;
    done[26u * WORKGROUP + own] = s.r26;
    done[27u * WORKGROUP + own] = s.r27;
    done[28u * WORKGROUP + own] = s.r28;
    done[29u * WORKGROUP + own] = s.r29;
    done[30u * WORKGROUP + own] = s.r30;
    done[31u * WORKGROUP + own] = s.r31;
    for (var i = 0u; i < ROWS; i++) {
        add(part, i, part.column, done[i * WORKGROUP + own], kept[i], shares[i]);
    }
}

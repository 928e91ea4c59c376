import package::attention::grouped::{
    FOURS, Four, Known, ROWS, Rows, SLAB, kept_of_slab, queries_at, set_weights, weigh_stored,
};
@if(!pairs) import package::attention::io::keys4_at;
@if(pairs) import package::attention::io::keys8_at;
import package::attention::io::{LEAST_SCORE, params};
import package::common::eight::Eight;
import package::config::WORKGROUP;

// Products of the workgroup's rows with 32 keys and what these weigh, as a product of
// matrices: what lanes do not have in common is read once for 32 of the others, and each
// sum gets four products before the next one does.

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

// Where the keys start that a lane reads for all.
@if(handed) struct Own {
    a: u32,
    b: u32,
    c: u32,
    d: u32,
}

// Where keys start.
@if(!handed) struct Keys {
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

fn with_key(score: vec4<f32>, rows: Four, k: vec4<f32>) -> vec4<f32> {
    let first = fma(rows.b, vec4(k.y), fma(rows.a, vec4(k.x), score));
    return fma(rows.d, vec4(k.w), fma(rows.c, vec4(k.z), first));
}

// Four elements of each of 32 keys, of which lanes have four keys each.
@if(handed) fn with_keys(before: Scores, four: Four, mine: Four) -> Scores {
    var s = before;
    s.s0 = with_key(s.s0, four, subgroupBroadcast(mine.a, 0u));
    s.s1 = with_key(s.s1, four, subgroupBroadcast(mine.a, 1u));
    s.s2 = with_key(s.s2, four, subgroupBroadcast(mine.a, 2u));
    s.s3 = with_key(s.s3, four, subgroupBroadcast(mine.a, 3u));
    s.s4 = with_key(s.s4, four, subgroupBroadcast(mine.a, 4u));
    s.s5 = with_key(s.s5, four, subgroupBroadcast(mine.a, 5u));
    s.s6 = with_key(s.s6, four, subgroupBroadcast(mine.a, 6u));
    s.s7 = with_key(s.s7, four, subgroupBroadcast(mine.a, 7u));
    s.s8 = with_key(s.s8, four, subgroupBroadcast(mine.b, 0u));
    s.s9 = with_key(s.s9, four, subgroupBroadcast(mine.b, 1u));
    s.s10 = with_key(s.s10, four, subgroupBroadcast(mine.b, 2u));
    s.s11 = with_key(s.s11, four, subgroupBroadcast(mine.b, 3u));
    s.s12 = with_key(s.s12, four, subgroupBroadcast(mine.b, 4u));
    s.s13 = with_key(s.s13, four, subgroupBroadcast(mine.b, 5u));
    s.s14 = with_key(s.s14, four, subgroupBroadcast(mine.b, 6u));
    s.s15 = with_key(s.s15, four, subgroupBroadcast(mine.b, 7u));
    s.s16 = with_key(s.s16, four, subgroupBroadcast(mine.c, 0u));
    s.s17 = with_key(s.s17, four, subgroupBroadcast(mine.c, 1u));
    s.s18 = with_key(s.s18, four, subgroupBroadcast(mine.c, 2u));
    s.s19 = with_key(s.s19, four, subgroupBroadcast(mine.c, 3u));
    s.s20 = with_key(s.s20, four, subgroupBroadcast(mine.c, 4u));
    s.s21 = with_key(s.s21, four, subgroupBroadcast(mine.c, 5u));
    s.s22 = with_key(s.s22, four, subgroupBroadcast(mine.c, 6u));
    s.s23 = with_key(s.s23, four, subgroupBroadcast(mine.c, 7u));
    s.s24 = with_key(s.s24, four, subgroupBroadcast(mine.d, 0u));
    s.s25 = with_key(s.s25, four, subgroupBroadcast(mine.d, 1u));
    s.s26 = with_key(s.s26, four, subgroupBroadcast(mine.d, 2u));
    s.s27 = with_key(s.s27, four, subgroupBroadcast(mine.d, 3u));
    s.s28 = with_key(s.s28, four, subgroupBroadcast(mine.d, 4u));
    s.s29 = with_key(s.s29, four, subgroupBroadcast(mine.d, 5u));
    s.s30 = with_key(s.s30, four, subgroupBroadcast(mine.d, 6u));
    s.s31 = with_key(s.s31, four, subgroupBroadcast(mine.d, 7u));
    return s;
}

// What 32 keys weigh for a lane's rows, from row `first` of the cache on, where `last` is
// the last one there is, and from key `key` on. Where all rows see all of them, scores stay
// in registers until they are weights: drivers that run on a CPU store for one lane after
// another. Masks and soft caps would be written out 128 times, at a price in compiling.
fn weigh_slab(
    lane: u32, in_subgroup: u32, to: u32, first: u32, last: u32, rows: Rows, seen: bool, key: u32,
    known: ptr<function, Known>,
) {
    // With `handed` each lane reads four of the keys, and hands them to all.
    @if(handed) let own = Own(
        min(first + in_subgroup, last) * FOURS, min(first + in_subgroup + 8u, last) * FOURS,
        min(first + in_subgroup + 16u, last) * FOURS, min(first + in_subgroup + 24u, last) * FOURS,
    );
    @if(!handed) var keys: Keys;
    @if(!handed) keys.k0 = min(first + 0u, last) * FOURS;
    @if(!handed) keys.k1 = min(first + 1u, last) * FOURS;
    @if(!handed) keys.k2 = min(first + 2u, last) * FOURS;
    @if(!handed) keys.k3 = min(first + 3u, last) * FOURS;
    @if(!handed) keys.k4 = min(first + 4u, last) * FOURS;
    @if(!handed) keys.k5 = min(first + 5u, last) * FOURS;
    @if(!handed) keys.k6 = min(first + 6u, last) * FOURS;
    @if(!handed) keys.k7 = min(first + 7u, last) * FOURS;
    @if(!handed) keys.k8 = min(first + 8u, last) * FOURS;
    @if(!handed) keys.k9 = min(first + 9u, last) * FOURS;
    @if(!handed) keys.k10 = min(first + 10u, last) * FOURS;
    @if(!handed) keys.k11 = min(first + 11u, last) * FOURS;
    @if(!handed) keys.k12 = min(first + 12u, last) * FOURS;
    @if(!handed) keys.k13 = min(first + 13u, last) * FOURS;
    @if(!handed) keys.k14 = min(first + 14u, last) * FOURS;
    @if(!handed) keys.k15 = min(first + 15u, last) * FOURS;
    @if(!handed) keys.k16 = min(first + 16u, last) * FOURS;
    @if(!handed) keys.k17 = min(first + 17u, last) * FOURS;
    @if(!handed) keys.k18 = min(first + 18u, last) * FOURS;
    @if(!handed) keys.k19 = min(first + 19u, last) * FOURS;
    @if(!handed) keys.k20 = min(first + 20u, last) * FOURS;
    @if(!handed) keys.k21 = min(first + 21u, last) * FOURS;
    @if(!handed) keys.k22 = min(first + 22u, last) * FOURS;
    @if(!handed) keys.k23 = min(first + 23u, last) * FOURS;
    @if(!handed) keys.k24 = min(first + 24u, last) * FOURS;
    @if(!handed) keys.k25 = min(first + 25u, last) * FOURS;
    @if(!handed) keys.k26 = min(first + 26u, last) * FOURS;
    @if(!handed) keys.k27 = min(first + 27u, last) * FOURS;
    @if(!handed) keys.k28 = min(first + 28u, last) * FOURS;
    @if(!handed) keys.k29 = min(first + 29u, last) * FOURS;
    @if(!handed) keys.k30 = min(first + 30u, last) * FOURS;
    @if(!handed) keys.k31 = min(first + 31u, last) * FOURS;
    var s = Scores();
    for (var at = 0u; at < FOURS; at++) {
        let near = queries_at(lane, at * 4u);
        let far = queries_at(lane, at * 4u + 2u);
        let four = Four(near.lo, near.hi, far.lo, far.hi);
        @if(handed && !pairs) {
            s = with_keys(s, four, Four(
                keys4_at(own.a + at), keys4_at(own.b + at), keys4_at(own.c + at), keys4_at(own.d + at),
            ));
        }
        @if(pairs) {
            let a = keys8_at((own.a + at) / 2u);
            let b = keys8_at((own.b + at) / 2u);
            let c = keys8_at((own.c + at) / 2u);
            let d = keys8_at((own.d + at) / 2u);
            s = with_keys(s, four, Four(a.lo, b.lo, c.lo, d.lo));
            at++;
            let near = queries_at(lane, at * 4u);
            let far = queries_at(lane, at * 4u + 2u);
            s = with_keys(s, Four(near.lo, near.hi, far.lo, far.hi), Four(a.hi, b.hi, c.hi, d.hi));
        }
        @if(!handed) {
            s.s0 = with_key(s.s0, four, keys4_at(keys.k0 + at));
            s.s1 = with_key(s.s1, four, keys4_at(keys.k1 + at));
            s.s2 = with_key(s.s2, four, keys4_at(keys.k2 + at));
            s.s3 = with_key(s.s3, four, keys4_at(keys.k3 + at));
            s.s4 = with_key(s.s4, four, keys4_at(keys.k4 + at));
            s.s5 = with_key(s.s5, four, keys4_at(keys.k5 + at));
            s.s6 = with_key(s.s6, four, keys4_at(keys.k6 + at));
            s.s7 = with_key(s.s7, four, keys4_at(keys.k7 + at));
            s.s8 = with_key(s.s8, four, keys4_at(keys.k8 + at));
            s.s9 = with_key(s.s9, four, keys4_at(keys.k9 + at));
            s.s10 = with_key(s.s10, four, keys4_at(keys.k10 + at));
            s.s11 = with_key(s.s11, four, keys4_at(keys.k11 + at));
            s.s12 = with_key(s.s12, four, keys4_at(keys.k12 + at));
            s.s13 = with_key(s.s13, four, keys4_at(keys.k13 + at));
            s.s14 = with_key(s.s14, four, keys4_at(keys.k14 + at));
            s.s15 = with_key(s.s15, four, keys4_at(keys.k15 + at));
            s.s16 = with_key(s.s16, four, keys4_at(keys.k16 + at));
            s.s17 = with_key(s.s17, four, keys4_at(keys.k17 + at));
            s.s18 = with_key(s.s18, four, keys4_at(keys.k18 + at));
            s.s19 = with_key(s.s19, four, keys4_at(keys.k19 + at));
            s.s20 = with_key(s.s20, four, keys4_at(keys.k20 + at));
            s.s21 = with_key(s.s21, four, keys4_at(keys.k21 + at));
            s.s22 = with_key(s.s22, four, keys4_at(keys.k22 + at));
            s.s23 = with_key(s.s23, four, keys4_at(keys.k23 + at));
            s.s24 = with_key(s.s24, four, keys4_at(keys.k24 + at));
            s.s25 = with_key(s.s25, four, keys4_at(keys.k25 + at));
            s.s26 = with_key(s.s26, four, keys4_at(keys.k26 + at));
            s.s27 = with_key(s.s27, four, keys4_at(keys.k27 + at));
            s.s28 = with_key(s.s28, four, keys4_at(keys.k28 + at));
            s.s29 = with_key(s.s29, four, keys4_at(keys.k29 + at));
            s.s30 = with_key(s.s30, four, keys4_at(keys.k30 + at));
            s.s31 = with_key(s.s31, four, keys4_at(keys.k31 + at));
        }
    }
    let earlier = (*known).peak;
    @if(!masked && !softcap) {
        if seen {
            s = weighed(s, known);
        }
    }
    // Stored in a loop, as what is compiled long is written once. `first` is never past
    // `last`, which drivers do not know: a loop whose count they know they unroll.
    var all: array<vec4<f32>, SLAB>;
    all[0] = s.s0;
    all[1] = s.s1;
    all[2] = s.s2;
    all[3] = s.s3;
    all[4] = s.s4;
    all[5] = s.s5;
    all[6] = s.s6;
    all[7] = s.s7;
    all[8] = s.s8;
    all[9] = s.s9;
    all[10] = s.s10;
    all[11] = s.s11;
    all[12] = s.s12;
    all[13] = s.s13;
    all[14] = s.s14;
    all[15] = s.s15;
    all[16] = s.s16;
    all[17] = s.s17;
    all[18] = s.s18;
    all[19] = s.s19;
    all[20] = s.s20;
    all[21] = s.s21;
    all[22] = s.s22;
    all[23] = s.s23;
    all[24] = s.s24;
    all[25] = s.s25;
    all[26] = s.s26;
    all[27] = s.s27;
    all[28] = s.s28;
    all[29] = s.s29;
    all[30] = s.s30;
    all[31] = s.s31;
    let here = select(SLAB, 0u, first > last);
    for (var i = 0u; i < here; i += 2u) {
        set_weights(lane, to + i, Eight(all[i], all[i + 1u]));
    }
    @if(masked || softcap) let hidden = true;
    @else let hidden = !seen;
    if hidden {
        weigh_stored(lane, to, SLAB / 4u, rows, key, known);
    }
    keep_of_slab(lane, to, exp(earlier - (*known).peak));
}

// The weights of 32 keys that all rows see.
@if(!masked && !softcap) fn weighed(products: Scores, known: ptr<function, Known>) -> Scores {
    var s = products;
    let scale = vec4(params.scale);
    let least = vec4(LEAST_SCORE);
    s.s0 = max(s.s0 * scale, least);
    s.s1 = max(s.s1 * scale, least);
    s.s2 = max(s.s2 * scale, least);
    s.s3 = max(s.s3 * scale, least);
    s.s4 = max(s.s4 * scale, least);
    s.s5 = max(s.s5 * scale, least);
    s.s6 = max(s.s6 * scale, least);
    s.s7 = max(s.s7 * scale, least);
    s.s8 = max(s.s8 * scale, least);
    s.s9 = max(s.s9 * scale, least);
    s.s10 = max(s.s10 * scale, least);
    s.s11 = max(s.s11 * scale, least);
    s.s12 = max(s.s12 * scale, least);
    s.s13 = max(s.s13 * scale, least);
    s.s14 = max(s.s14 * scale, least);
    s.s15 = max(s.s15 * scale, least);
    s.s16 = max(s.s16 * scale, least);
    s.s17 = max(s.s17 * scale, least);
    s.s18 = max(s.s18 * scale, least);
    s.s19 = max(s.s19 * scale, least);
    s.s20 = max(s.s20 * scale, least);
    s.s21 = max(s.s21 * scale, least);
    s.s22 = max(s.s22 * scale, least);
    s.s23 = max(s.s23 * scale, least);
    s.s24 = max(s.s24 * scale, least);
    s.s25 = max(s.s25 * scale, least);
    s.s26 = max(s.s26 * scale, least);
    s.s27 = max(s.s27 * scale, least);
    s.s28 = max(s.s28 * scale, least);
    s.s29 = max(s.s29 * scale, least);
    s.s30 = max(s.s30 * scale, least);
    s.s31 = max(s.s31 * scale, least);
    var peak = (*known).peak;
    peak = max(peak, max(max(s.s0, s.s1), max(s.s2, s.s3)));
    peak = max(peak, max(max(s.s4, s.s5), max(s.s6, s.s7)));
    peak = max(peak, max(max(s.s8, s.s9), max(s.s10, s.s11)));
    peak = max(peak, max(max(s.s12, s.s13), max(s.s14, s.s15)));
    peak = max(peak, max(max(s.s16, s.s17), max(s.s18, s.s19)));
    peak = max(peak, max(max(s.s20, s.s21), max(s.s22, s.s23)));
    peak = max(peak, max(max(s.s24, s.s25), max(s.s26, s.s27)));
    peak = max(peak, max(max(s.s28, s.s29), max(s.s30, s.s31)));
    var sums = (*known).sums * exp((*known).peak - peak);
    s.s0 = exp(s.s0 - peak);
    s.s1 = exp(s.s1 - peak);
    s.s2 = exp(s.s2 - peak);
    s.s3 = exp(s.s3 - peak);
    s.s4 = exp(s.s4 - peak);
    s.s5 = exp(s.s5 - peak);
    s.s6 = exp(s.s6 - peak);
    s.s7 = exp(s.s7 - peak);
    s.s8 = exp(s.s8 - peak);
    s.s9 = exp(s.s9 - peak);
    s.s10 = exp(s.s10 - peak);
    s.s11 = exp(s.s11 - peak);
    s.s12 = exp(s.s12 - peak);
    s.s13 = exp(s.s13 - peak);
    s.s14 = exp(s.s14 - peak);
    s.s15 = exp(s.s15 - peak);
    s.s16 = exp(s.s16 - peak);
    s.s17 = exp(s.s17 - peak);
    s.s18 = exp(s.s18 - peak);
    s.s19 = exp(s.s19 - peak);
    s.s20 = exp(s.s20 - peak);
    s.s21 = exp(s.s21 - peak);
    s.s22 = exp(s.s22 - peak);
    s.s23 = exp(s.s23 - peak);
    s.s24 = exp(s.s24 - peak);
    s.s25 = exp(s.s25 - peak);
    s.s26 = exp(s.s26 - peak);
    s.s27 = exp(s.s27 - peak);
    s.s28 = exp(s.s28 - peak);
    s.s29 = exp(s.s29 - peak);
    s.s30 = exp(s.s30 - peak);
    s.s31 = exp(s.s31 - peak);
    sums += (s.s0 + s.s1) + (s.s2 + s.s3);
    sums += (s.s4 + s.s5) + (s.s6 + s.s7);
    sums += (s.s8 + s.s9) + (s.s10 + s.s11);
    sums += (s.s12 + s.s13) + (s.s14 + s.s15);
    sums += (s.s16 + s.s17) + (s.s18 + s.s19);
    sums += (s.s20 + s.s21) + (s.s22 + s.s23);
    sums += (s.s24 + s.s25) + (s.s26 + s.s27);
    sums += (s.s28 + s.s29) + (s.s30 + s.s31);
    (*known).peak = peak;
    (*known).sums = sums;
    return s;
}

fn keep_of_slab(lane: u32, to: u32, keep: vec4<f32>) {
    let row = to / SLAB * ROWS + lane * 4u;
    kept_of_slab[row] = keep.x;
    kept_of_slab[row + 1u] = keep.y;
    kept_of_slab[row + 2u] = keep.z;
    kept_of_slab[row + 3u] = keep.w;
}

import package::attention::grouped::{
    Four, Part, ROWS, SLAB, VALUE_FOURS, add, kept, kept_of_slab, shares, weights_at,
};
import package::attention::io::values4_at;
import package::config::WORKGROUP;

// Sums of values for all 32 rows of the workgroup, as a product of matrices: see
// `attention/slab_scores`.

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
@if(!handed) fn weights_from(lane: u32, j: u32) -> mat4x4<f32> {
    let near = weights_at(lane, j);
    let far = weights_at(lane, j + 2u);
    return transpose(mat4x4<f32>(near.lo, near.hi, far.lo, far.hi));
}

// All rows, over `count` keys from row `first` of the cache on. Weights up to the
// end of the last slab are zero past them.
fn sum_slab(part: Part, first: u32, count: u32, in_subgroup: u32) {
    let column = min(part.column, VALUE_FOURS - 1u);
    let last = first + count - 1u;
    var s = Sums();
    for (var slab = 0u; slab < count; slab += SLAB) {
        let end = min(slab + SLAB, count);
        let own = slab / SLAB * ROWS;
        @if(handed) {
            // Each lane reads those of four rows.
            let at = own + in_subgroup * 4u;
            let keep = vec4(
                kept_of_slab[at], kept_of_slab[at + 1u], kept_of_slab[at + 2u], kept_of_slab[at + 3u],
            );
            let k0 = subgroupBroadcast(keep, 0u);
            let k1 = subgroupBroadcast(keep, 1u);
            let k2 = subgroupBroadcast(keep, 2u);
            let k3 = subgroupBroadcast(keep, 3u);
            let k4 = subgroupBroadcast(keep, 4u);
            let k5 = subgroupBroadcast(keep, 5u);
            let k6 = subgroupBroadcast(keep, 6u);
            let k7 = subgroupBroadcast(keep, 7u);
            s.r0 *= k0.x;
            s.r1 *= k0.y;
            s.r2 *= k0.z;
            s.r3 *= k0.w;
            s.r4 *= k1.x;
            s.r5 *= k1.y;
            s.r6 *= k1.z;
            s.r7 *= k1.w;
            s.r8 *= k2.x;
            s.r9 *= k2.y;
            s.r10 *= k2.z;
            s.r11 *= k2.w;
            s.r12 *= k3.x;
            s.r13 *= k3.y;
            s.r14 *= k3.z;
            s.r15 *= k3.w;
            s.r16 *= k4.x;
            s.r17 *= k4.y;
            s.r18 *= k4.z;
            s.r19 *= k4.w;
            s.r20 *= k5.x;
            s.r21 *= k5.y;
            s.r22 *= k5.z;
            s.r23 *= k5.w;
            s.r24 *= k6.x;
            s.r25 *= k6.y;
            s.r26 *= k6.z;
            s.r27 *= k6.w;
            s.r28 *= k7.x;
            s.r29 *= k7.y;
            s.r30 *= k7.z;
            s.r31 *= k7.w;
        }
        @if(!handed) {
            s.r0 *= kept_of_slab[own + 0u];
            s.r1 *= kept_of_slab[own + 1u];
            s.r2 *= kept_of_slab[own + 2u];
            s.r3 *= kept_of_slab[own + 3u];
            s.r4 *= kept_of_slab[own + 4u];
            s.r5 *= kept_of_slab[own + 5u];
            s.r6 *= kept_of_slab[own + 6u];
            s.r7 *= kept_of_slab[own + 7u];
            s.r8 *= kept_of_slab[own + 8u];
            s.r9 *= kept_of_slab[own + 9u];
            s.r10 *= kept_of_slab[own + 10u];
            s.r11 *= kept_of_slab[own + 11u];
            s.r12 *= kept_of_slab[own + 12u];
            s.r13 *= kept_of_slab[own + 13u];
            s.r14 *= kept_of_slab[own + 14u];
            s.r15 *= kept_of_slab[own + 15u];
            s.r16 *= kept_of_slab[own + 16u];
            s.r17 *= kept_of_slab[own + 17u];
            s.r18 *= kept_of_slab[own + 18u];
            s.r19 *= kept_of_slab[own + 19u];
            s.r20 *= kept_of_slab[own + 20u];
            s.r21 *= kept_of_slab[own + 21u];
            s.r22 *= kept_of_slab[own + 22u];
            s.r23 *= kept_of_slab[own + 23u];
            s.r24 *= kept_of_slab[own + 24u];
            s.r25 *= kept_of_slab[own + 25u];
            s.r26 *= kept_of_slab[own + 26u];
            s.r27 *= kept_of_slab[own + 27u];
            s.r28 *= kept_of_slab[own + 28u];
            s.r29 *= kept_of_slab[own + 29u];
            s.r30 *= kept_of_slab[own + 30u];
            s.r31 *= kept_of_slab[own + 31u];
        }
        for (var j = slab; j < end; j += 4u) {
            let row = first + j;
            let v = Four(
                values4_at(row * VALUE_FOURS + column),
                values4_at(min(row + 1u, last) * VALUE_FOURS + column),
                values4_at(min(row + 2u, last) * VALUE_FOURS + column),
                values4_at(min(row + 3u, last) * VALUE_FOURS + column),
            );
            // Each lane reads what the keys weigh for four rows, and hands it to all.
            @if(handed) let near = weights_at(in_subgroup, j);
            @if(handed) let far = weights_at(in_subgroup, j + 2u);
            @if(handed) let w = Four(near.lo, near.hi, far.lo, far.hi);
            @if(!handed) let w0 = weights_from(0u, j);
            @if(handed) let w0 = transpose(mat4x4<f32>(
                subgroupBroadcast(w.a, 0u), subgroupBroadcast(w.b, 0u),
                subgroupBroadcast(w.c, 0u), subgroupBroadcast(w.d, 0u),
            ));
            s.r0 = with_values(s.r0, w0[0], v);
            s.r1 = with_values(s.r1, w0[1], v);
            s.r2 = with_values(s.r2, w0[2], v);
            s.r3 = with_values(s.r3, w0[3], v);
            @if(!handed) let w1 = weights_from(1u, j);
            @if(handed) let w1 = transpose(mat4x4<f32>(
                subgroupBroadcast(w.a, 1u), subgroupBroadcast(w.b, 1u),
                subgroupBroadcast(w.c, 1u), subgroupBroadcast(w.d, 1u),
            ));
            s.r4 = with_values(s.r4, w1[0], v);
            s.r5 = with_values(s.r5, w1[1], v);
            s.r6 = with_values(s.r6, w1[2], v);
            s.r7 = with_values(s.r7, w1[3], v);
            @if(!handed) let w2 = weights_from(2u, j);
            @if(handed) let w2 = transpose(mat4x4<f32>(
                subgroupBroadcast(w.a, 2u), subgroupBroadcast(w.b, 2u),
                subgroupBroadcast(w.c, 2u), subgroupBroadcast(w.d, 2u),
            ));
            s.r8 = with_values(s.r8, w2[0], v);
            s.r9 = with_values(s.r9, w2[1], v);
            s.r10 = with_values(s.r10, w2[2], v);
            s.r11 = with_values(s.r11, w2[3], v);
            @if(!handed) let w3 = weights_from(3u, j);
            @if(handed) let w3 = transpose(mat4x4<f32>(
                subgroupBroadcast(w.a, 3u), subgroupBroadcast(w.b, 3u),
                subgroupBroadcast(w.c, 3u), subgroupBroadcast(w.d, 3u),
            ));
            s.r12 = with_values(s.r12, w3[0], v);
            s.r13 = with_values(s.r13, w3[1], v);
            s.r14 = with_values(s.r14, w3[2], v);
            s.r15 = with_values(s.r15, w3[3], v);
            @if(!handed) let w4 = weights_from(4u, j);
            @if(handed) let w4 = transpose(mat4x4<f32>(
                subgroupBroadcast(w.a, 4u), subgroupBroadcast(w.b, 4u),
                subgroupBroadcast(w.c, 4u), subgroupBroadcast(w.d, 4u),
            ));
            s.r16 = with_values(s.r16, w4[0], v);
            s.r17 = with_values(s.r17, w4[1], v);
            s.r18 = with_values(s.r18, w4[2], v);
            s.r19 = with_values(s.r19, w4[3], v);
            @if(!handed) let w5 = weights_from(5u, j);
            @if(handed) let w5 = transpose(mat4x4<f32>(
                subgroupBroadcast(w.a, 5u), subgroupBroadcast(w.b, 5u),
                subgroupBroadcast(w.c, 5u), subgroupBroadcast(w.d, 5u),
            ));
            s.r20 = with_values(s.r20, w5[0], v);
            s.r21 = with_values(s.r21, w5[1], v);
            s.r22 = with_values(s.r22, w5[2], v);
            s.r23 = with_values(s.r23, w5[3], v);
            @if(!handed) let w6 = weights_from(6u, j);
            @if(handed) let w6 = transpose(mat4x4<f32>(
                subgroupBroadcast(w.a, 6u), subgroupBroadcast(w.b, 6u),
                subgroupBroadcast(w.c, 6u), subgroupBroadcast(w.d, 6u),
            ));
            s.r24 = with_values(s.r24, w6[0], v);
            s.r25 = with_values(s.r25, w6[1], v);
            s.r26 = with_values(s.r26, w6[2], v);
            s.r27 = with_values(s.r27, w6[3], v);
            @if(!handed) let w7 = weights_from(7u, j);
            @if(handed) let w7 = transpose(mat4x4<f32>(
                subgroupBroadcast(w.a, 7u), subgroupBroadcast(w.b, 7u),
                subgroupBroadcast(w.c, 7u), subgroupBroadcast(w.d, 7u),
            ));
            s.r28 = with_values(s.r28, w7[0], v);
            s.r29 = with_values(s.r29, w7[1], v);
            s.r30 = with_values(s.r30, w7[2], v);
            s.r31 = with_values(s.r31, w7[3], v);
        }
    }
    // In a loop: what is compiled long is written once.
    var done: array<vec4<f32>, ROWS>;
    done[0] = s.r0;
    done[1] = s.r1;
    done[2] = s.r2;
    done[3] = s.r3;
    done[4] = s.r4;
    done[5] = s.r5;
    done[6] = s.r6;
    done[7] = s.r7;
    done[8] = s.r8;
    done[9] = s.r9;
    done[10] = s.r10;
    done[11] = s.r11;
    done[12] = s.r12;
    done[13] = s.r13;
    done[14] = s.r14;
    done[15] = s.r15;
    done[16] = s.r16;
    done[17] = s.r17;
    done[18] = s.r18;
    done[19] = s.r19;
    done[20] = s.r20;
    done[21] = s.r21;
    done[22] = s.r22;
    done[23] = s.r23;
    done[24] = s.r24;
    done[25] = s.r25;
    done[26] = s.r26;
    done[27] = s.r27;
    done[28] = s.r28;
    done[29] = s.r29;
    done[30] = s.r30;
    done[31] = s.r31;
    let here = min(ROWS, part.rows - part.first);
    for (var i = 0u; i < here; i++) {
        add(part, i, part.column, done[i], kept[i], shares[i]);
    }
}

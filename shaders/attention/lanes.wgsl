import package::common::eight::Eight;
import package::attention::grouped::{
    Known, Part, ROWS, Rows, VALUE_FOURS, add, kept, set_queries, shares, weigh_stored,
};
@if(slabs) import package::attention::grouped::SLAB;
import package::attention::io::{
    LEAST_SCORE, final_share, grouped_row, number_of, params, share_of,
};
@if(!pairs) import package::attention::io::q;
@if(pairs) import package::attention::io::queries8_at;
@if(!slabs) import package::attention::pairs::{score, sum};
@if(slabs) import package::attention::slab_scores::weigh_slab;
@if(slabs) import package::attention::slab_sums::sum_slab;
import package::config::{HEAD, KEYS, WORKGROUP};

// A workgroup is one SIMD vector of a CPU and computes four rows for each of its
// lanes. Lanes are rows while keys are scored, so that a key is read once for
// all of them; they are elements of the values while these are summed, so that
// a weight is. Products are in named registers, and loops have long bodies:
// drivers that run on a CPU spend more on a loop's end than on 50 products.

// Elements of the values, by fours, that are summed at a time.
@if(narrow || slabs) const COLUMNS: u32 = WORKGROUP;
@else const COLUMNS: u32 = 2u * WORKGROUP;

@compute @workgroup_size(WORKGROUP)
fn main(
    @builtin(workgroup_id) place: vec3<u32>,
    @builtin(num_workgroups) places: vec3<u32>,
    @builtin(local_invocation_index) lane: u32,
    @if(handed) @builtin(subgroup_invocation_id) in_subgroup: u32,
) {
    @if(!handed) let in_subgroup = lane;
    let number = place.x + place.y * places.x;
    let rows = params.queries * share_of();
    let tiles = (rows + ROWS - 1u) / ROWS;
    let group = number % params.groups;
    let batch = number / params.groups / tiles;
    var tile = number / params.groups % tiles;
    // Drivers that run on a CPU give each thread one stretch of the workgroups. Where later
    // queries see more keys, each stretch gets as many of the first as of the last.
    @if(causal) tile = select(tile / 2u, tiles - 1u - tile / 2u, tile % 2u == 1u);
    let first = tile * ROWS;
    if batch * params.queries >= params.tokens {
        return;
    }
    // Past the last row the last one is repeated, and not written.
    let last = rows - 1u;
    let r0 = grouped_row(batch, group, min(first + lane * 4u, last));
    let r1 = grouped_row(batch, group, min(first + lane * 4u + 1u, last));
    let r2 = grouped_row(batch, group, min(first + lane * 4u + 2u, last));
    let r3 = grouped_row(batch, group, min(first + lane * 4u + 3u, last));
    let q0 = number_of(r0) * HEAD;
    let q1 = number_of(r1) * HEAD;
    let q2 = number_of(r2) * HEAD;
    let q3 = number_of(r3) * HEAD;
    @if(!pairs) {
        for (var d = 0u; d < HEAD; d += 2u) {
            let one = vec4(q[q0 + d], q[q1 + d], q[q2 + d], q[q3 + d]);
            let e = d + 1u;
            set_queries(lane, d, Eight(one, vec4(q[q0 + e], q[q1 + e], q[q2 + e], q[q3 + e])));
        }
    }
    @if(pairs) {
        for (var d = 0u; d < HEAD; d += 8u) {
            let a = queries8_at((q0 + d) / 8u);
            let b = queries8_at((q1 + d) / 8u);
            let c = queries8_at((q2 + d) / 8u);
            let e = queries8_at((q3 + d) / 8u);
            let near = transpose(mat4x4<f32>(a.lo, b.lo, c.lo, e.lo));
            let far = transpose(mat4x4<f32>(a.hi, b.hi, c.hi, e.hi));
            set_queries(lane, d, Eight(near[0], near[1]));
            set_queries(lane, d + 2u, Eight(near[2], near[3]));
            set_queries(lane, d + 4u, Eight(far[0], far[1]));
            set_queries(lane, d + 6u, Eight(far[2], far[3]));
        }
    }
    // Not of this lane's rows, so that drivers see that it is the same for all. Later rows
    // begin and end no earlier.
    let opening = grouped_row(batch, group, first);
    let closing = grouped_row(batch, group, min(first + ROWS - 1u, last));
    let begin = opening.begin;
    let end = closing.end;
    // The keys that all rows see.
    @if(slabs) let all_begin = closing.begin;
    @if(slabs) let all_end = opening.end;
    let slab = (batch * params.groups + group) * params.capacity;
    var part = Part(batch, group, first, rows, lane, false);
    // Not with the loop below, which would not begin: see `attention/pieces`.
    if begin >= end {
        for (var i = 0u; i < ROWS; i++) {
            for (var column = lane; column < VALUE_FOURS; column += WORKGROUP) {
                add(part, i, column, vec4<f32>(), 0.0, 0.0);
            }
        }
        return;
    }
    let own = Rows(r0, r1, r2, r3);
    var known = Known(vec4(LEAST_SCORE), vec4<f32>());
    for (var start = begin; start < end; start += KEYS) {
        let count = min(KEYS, end - start);
        let earlier = known.peak;
        @if(slabs) {
            for (var j = 0u; j < count; j += SLAB) {
                let key = start + j;
                let seen = key >= all_begin && key + SLAB <= all_end;
                weigh_slab(lane, in_subgroup, j, slab + key, slab + end - 1u, own, seen, key, &known);
            }
        }
        @if(!slabs) {
            for (var j = 0u; j < count; j += 8u) {
                score(lane, j, slab + start + j, slab + end - 1u);
            }
            weigh_stored(lane, 0u, (count + 3u) / 4u, own, start, &known);
        }
        let keep = exp(earlier - known.peak);
        kept[lane * 4u] = keep.x;
        kept[lane * 4u + 1u] = keep.y;
        kept[lane * 4u + 2u] = keep.z;
        kept[lane * 4u + 3u] = keep.w;
        let whole = vec4(
            final_share(known.peak.x, known.sums.x, r0.head),
            final_share(known.peak.y, known.sums.y, r1.head),
            final_share(known.peak.z, known.sums.z, r2.head),
            final_share(known.peak.w, known.sums.w, r3.head),
        );
        let share = select(vec4(1.0), whole, start + KEYS >= end);
        shares[lane * 4u] = share.x;
        shares[lane * 4u + 1u] = share.y;
        shares[lane * 4u + 2u] = share.z;
        shares[lane * 4u + 3u] = share.w;
        workgroupBarrier();
        // The same for all invocations, as loops that have loops inside must be: see
        // `attention/pieces`.
        @if(!slabs) {
            for (var pair = 0u; pair < WORKGROUP; pair += 2u) {
                for (var base = 0u; base < VALUE_FOURS; base += COLUMNS) {
                    part.column = base + lane;
                    sum(part, pair, slab + start, count);
                }
            }
        }
        @if(slabs) {
            for (var base = 0u; base < VALUE_FOURS; base += COLUMNS) {
                part.column = base + lane;
                sum_slab(part, slab + start, count, in_subgroup);
            }
        }
        part.resumed = true;
        workgroupBarrier();
    }
}

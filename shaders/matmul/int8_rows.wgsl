import package::config::WORKGROUP;
import package::matmul::int8_left::RECORD;

// Rows of A in blocks of 32 as whole numbers: q = round(x / scale), with
// scale = max |x| / 127. A block is a record of 11 words: 8 of quants, the scale, and
// scale times the sum of each half of the quants.

struct Params {
    // Blocks in all, and in a row.
    blocks: u32,
    in_row: u32,
    a_base: u32,
    a_stride: u32,
}

@group(0) @binding(0) var<uniform> params: Params;
@group(0) @binding(1) var<storage, read> a: array<f32>;
@group(0) @binding(2) var<storage, read_write> rounded: array<u32>;

// Below this a block counts as zeros: its scale might not be a normal number.
const LEAST: f32 = 1.5e-36;

fn four_at(at: u32) -> vec4<f32> {
    return vec4<f32>(a[at], a[at + 1u], a[at + 2u], a[at + 3u]);
}

@compute @workgroup_size(WORKGROUP)
fn main(
    @builtin(workgroup_id) group: vec3<u32>,
    @builtin(num_workgroups) groups: vec3<u32>,
    @builtin(local_invocation_index) index: u32,
) {
    let block = (group.x + group.y * groups.x) * WORKGROUP + index;
    if block >= params.blocks {
        return;
    }
    let from_a = params.a_base + block / params.in_row * params.a_stride
        + block % params.in_row * 32u;
    var most = vec4<f32>();
    for (var i = 0u; i < 32u; i += 4u) {
        most = max(most, abs(four_at(from_a + i)));
    }
    let largest = max(max(most.x, most.y), max(most.z, most.w));
    let scale = select(0.0, largest / 127.0, largest >= LEAST);
    let inverse = select(0.0, 127.0 / largest, largest >= LEAST);
    let at = block * RECORD;
    var sums = vec2<i32>();
    for (var i = 0u; i < 8u; i++) {
        let q = vec4<i32>(round(four_at(from_a + i * 4u) * inverse));
        let word = pack4xI8(q);
        rounded[at + i] = word;
        let sum = dot4I8Packed(word, 0x01010101u);
        if i < 4u {
            sums.x += sum;
        } else {
            sums.y += sum;
        }
    }
    rounded[at + 8u] = bitcast<u32>(scale);
    rounded[at + 9u] = bitcast<u32>(scale * f32(sums.x));
    rounded[at + 10u] = bitcast<u32>(scale * f32(sums.y));
}

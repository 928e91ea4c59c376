import package::common::f16::exact_half;

// Whether `unpack2x16float` is right for every half: counts those that are not, in either
// place of a word. 256 invocations have 256 halves each.

@group(0) @binding(0) var<storage, read_write> wrong: array<u32>;

const NAN: u32 = 0x7f800000u;

fn differs(got: f32, half: u32) -> u32 {
    let bits = bitcast<u32>(got);
    let wanted = bitcast<u32>(exact_half(half));
    // One NaN is as good as another.
    let both_nan = (bits & 0x7fffffffu) > NAN && (wanted & 0x7fffffffu) > NAN;
    return select(1u, 0u, bits == wanted || both_nan);
}

@compute @workgroup_size(64)
fn main(@builtin(global_invocation_id) id: vec3<u32>) {
    var count = 0u;
    for (var i = 0u; i < 256u; i++) {
        let half = id.x * 256u + i;
        // Something else in the other place.
        let other = half ^ 0x1234u;
        let low = unpack2x16float(half | (other << 16u));
        let high = unpack2x16float(other | (half << 16u));
        count += differs(low.x, half) + differs(high.y, half);
    }
    wrong[id.x] = count;
}

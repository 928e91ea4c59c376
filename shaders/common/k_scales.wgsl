import package::common::f16::word_to_half2;

// The 6-bit scale (x) and minimum (y) of one of the 8 groups of a Q4_K or Q5_K
// block, from the block's three words of scales (A, B, C).
//
// Byte i of A and of B has the scale and the minimum of group i in bits 0 to 5.
// Byte i of C has the low 4 bits of both for group i + 4; their high 2 bits are
// bits 6 and 7 of byte i of A and of B (gguf-py quants.py, `get_scale_min`).
fn k_scale_min(words: vec3<u32>, group: u32) -> vec2<f32> {
    let byte = (group & 3u) << 3u;
    let ab = words.xy >> vec2<u32>(byte);
    let c = words.zz >> vec2<u32>(byte, byte + 4u);
    let first = ab & vec2<u32>(0x3fu);
    let second = (c & vec2<u32>(0xfu)) | ((ab >> vec2<u32>(2u)) & vec2<u32>(0x30u));
    return vec2<f32>(select(first, second, group >= 4u));
}

// The scale and the minimum of group 2 * pair, then those of the next: neighbouring bytes.
fn k_scale_min_pair(words: vec3<u32>, pair: u32) -> vec4<f32> {
    let byte = (pair & 1u) << 4u;
    let ab = words.xy >> vec2<u32>(byte);
    let c = words.zz >> vec2<u32>(byte, byte + 4u);
    let first = ab & vec2<u32>(0x3f3fu);
    let second = (c & vec2<u32>(0x0f0fu)) | ((ab >> vec2<u32>(2u)) & vec2<u32>(0x3030u));
    let both = select(first, second, pair >= 2u);
    return vec4<f32>(vec4<u32>(both & vec2<u32>(0xffu), (both >> vec2<u32>(8u)) & vec2<u32>(0xffu)));
}

// Scales and minus the minimums of the groups that a step of `strips` has halves of, from
// the four words of a block's head.
fn k_strip_scales(head: vec4<u32>, step: u32) -> vec4<f32> {
    let d = word_to_half2(head.x);
    return k_scale_min_pair(head.yzw, step >> 1u) * vec4<f32>(d.x, -d.y, d.x, -d.y);
}

// From the codes of codebooks and nibbles to bytes; shared by weight decoders.

// Four codes of two bits, in the low byte, as bytes.
fn twos_to_bytes(codes: u32) -> u32 {
    let nibbles = (codes | (codes << 12u)) & 0x000f000fu;
    return (nibbles | (nibbles << 6u)) & 0x03030303u;
}

// Eight codes of two bits, as bytes.
fn eight_twos(codes: u32) -> vec2<u32> {
    return vec2<u32>(twos_to_bytes(codes & 0xffu), twos_to_bytes(codes >> 8u));
}

// Four codes of three bits, as bytes.
fn threes_to_bytes(codes: u32) -> u32 {
    let q = (vec4<u32>(codes) >> vec4<u32>(0u, 3u, 6u, 9u)) & vec4<u32>(7u);
    return q.x | (q.y << 8u) | (q.z << 16u) | (q.w << 24u);
}

// Seven sign bits, and an eighth that makes their number even.
fn even_signs(bits: u32) -> u32 {
    let seven = bits & 0x7fu;
    return seven | ((countOneBits(seven) & 1u) << 7u);
}

// The negatives of the bytes (1 to 127) whose mask byte is 1.
fn negated(bytes: vec2<u32>, ones: vec2<u32>) -> vec2<u32> {
    return (bytes ^ (ones * 0xffu)) + ones;
}

// The entries of a table of sixteen bytes for four nibbles, a byte each. Words are
// selected rather than indexed: drivers put indexed constants in memory.
fn table_bytes(nibbles: u32, words: vec4<u32>) -> u32 {
    let q = unpack4xU8(nibbles);
    let bit_2 = (q & vec4<u32>(4u)) != vec4<u32>(0u);
    let bit_3 = (q & vec4<u32>(8u)) != vec4<u32>(0u);
    let low = select(vec4<u32>(words.x), vec4<u32>(words.y), bit_2);
    let high = select(vec4<u32>(words.z), vec4<u32>(words.w), bit_2);
    let word = select(low, high, bit_3);
    let bytes = (word >> ((q & vec4<u32>(3u)) << vec4<u32>(3u))) & vec4<u32>(0xffu);
    return bytes.x | (bytes.y << 8u) | (bytes.z << 16u) | (bytes.w << 24u);
}

// The values of 4-bit floats, doubled: 0 1 2 3, 4 6 8 12 and their negatives
// (ggml-common.h, kvalues_mxfp4).
const FP4: vec4<u32> = vec4<u32>(0x03020100u, 0x0c080604u, 0xfdfeff00u, 0xf4f8fafcu);

// -127 -104 -83 -65, -49 -35 -22 -10, 1 13 25 38, 53 69 89 113 (kvalues_iq4nl).
const IQ4: vec4<u32> = vec4<u32>(0xbfad9881u, 0xf6eaddcfu, 0x26190d01u, 0x71594535u);

// The eight signed bytes that nibbles stand for.
fn eight_of_table(nibbles: vec2<u32>, words: vec4<u32>) -> vec2<u32> {
    return vec2<u32>(table_bytes(nibbles.x, words), table_bytes(nibbles.y, words));
}

// The same for sixteen.
fn sixteen_of_table(nibbles: vec4<u32>, words: vec4<u32>) -> vec4<u32> {
    return vec4<u32>(eight_of_table(nibbles.xy, words), eight_of_table(nibbles.zw, words));
}

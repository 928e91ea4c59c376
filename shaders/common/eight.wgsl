// Eight consecutive elements of a weight row, and the byte tricks that make them.

// Elements 0..3 in `lo`, 4..7 in `hi`.
struct Eight {
    lo: vec4<f32>,
    hi: vec4<f32>,
}

// A block's 32 elements, or their quants.
struct Block32 {
    q0: Eight,
    q1: Eight,
    q2: Eight,
    q3: Eight,
}

// Element `i` (0..7).
fn eight_element(e: Eight, i: u32) -> f32 {
    let half = select(e.lo, e.hi, (i & 4u) != 0u);
    return half[i & 3u];
}

// Eight unsigned bytes, as floats.
fn eight_from_u8(bytes: vec2<u32>) -> Eight {
    return Eight(vec4<f32>(unpack4xU8(bytes.x)), vec4<f32>(unpack4xU8(bytes.y)));
}

// Eight signed bytes, as floats.
fn eight_from_i8(bytes: vec2<u32>) -> Eight {
    return Eight(vec4<f32>(unpack4xI8(bytes.x)), vec4<f32>(unpack4xI8(bytes.y)));
}

// Twice sixteen unsigned bytes, as floats.
fn block32_from_u8(near: vec4<u32>, far: vec4<u32>) -> Block32 {
    return Block32(
        eight_from_u8(near.xy), eight_from_u8(near.zw), eight_from_u8(far.xy), eight_from_u8(far.zw),
    );
}

// Twice sixteen signed bytes, as floats.
fn block32_from_i8(near: vec4<u32>, far: vec4<u32>) -> Block32 {
    return Block32(
        eight_from_i8(near.xy), eight_from_i8(near.zw), eight_from_i8(far.xy), eight_from_i8(far.zw),
    );
}

// Every element times `scale`.
fn eight_scaled(e: Eight, scale: f32) -> Eight {
    return Eight(e.lo * scale, e.hi * scale);
}

// Every element times `affine.x`, plus `affine.y`.
fn eight_affine(e: Eight, affine: vec2<f32>) -> Eight {
    return Eight(e.lo * affine.x + affine.y, e.hi * affine.x + affine.y);
}

// Subtracts the byte repeated in `repeated` (1..128) from eight bytes below 128,
// giving signed bytes. The set top bits keep borrows inside their byte.
fn bytes_minus(bytes: vec2<u32>, repeated: u32) -> vec2<u32> {
    let top = vec2<u32>(0x80808080u);
    return ((bytes | top) - vec2<u32>(repeated)) ^ top;
}

// The same of sixteen bytes.
fn sixteen_minus(bytes: vec4<u32>, repeated: u32) -> vec4<u32> {
    let top = vec4<u32>(0x80808080u);
    return ((bytes | top) - vec4<u32>(repeated)) ^ top;
}

// Bits 0..3 and 4..7 of `bits`, spread to bit 0 of four bytes each.
// A multiplication places copies of four bits 7 apart; none of them overlap.
fn bits_to_bytes(bits: u32) -> vec2<u32> {
    let nibbles = vec2<u32>(bits & 0xfu, (bits >> 4u) & 0xfu);
    return (nibbles * vec2<u32>(0x00204081u)) & vec2<u32>(0x01010101u);
}

// The body region of the second weight of a gated product; see `weight_body.wgsl`.

@group(0) @binding(22) var<storage, read> up_body: array<u32>;

fn body_word(at: u32) -> u32 {
    return up_body[at];
}

fn body_pair(at: u32) -> vec2<u32> {
    return vec2<u32>(up_body[at], up_body[at + 1u]);
}

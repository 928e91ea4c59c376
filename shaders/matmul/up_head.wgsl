// The head region of the second weight of a gated product; see `weight_head.wgsl`.

@group(0) @binding(23) var<storage, read> up_head: array<u32>;

fn head_word(at: u32) -> u32 {
    return up_head[at];
}

fn head_bits(block: u32) -> u32 {
    return (up_head[block >> 1u] >> ((block & 1u) << 4u)) & 0xffffu;
}

fn head_byte(block: u32) -> u32 {
    return (up_head[block >> 2u] >> ((block & 3u) << 3u)) & 0xffu;
}

// The head region of the second weight of a gated product; see `weight_head.wgsl`.

@if(!head_quads) @group(0) @binding(23) var<storage, read> up_head: array<u32>;
@if(head_quads) @group(0) @binding(23) var<storage, read> up_head: array<vec4<u32>>;

@if(!head_quads) fn head_word(at: u32) -> u32 {
    return up_head[at];
}

@if(!head_quads) fn head_bits(block: u32) -> u32 {
    return (up_head[block >> 1u] >> ((block & 1u) << 4u)) & 0xffffu;
}

@if(!head_quads) fn head_byte(block: u32) -> u32 {
    return (up_head[block >> 2u] >> ((block & 3u) << 3u)) & 0xffu;
}

fn head_quad(block: u32) -> vec4<u32> {
    @if(head_quads) return up_head[block];
    @if(!head_quads) {
        let at = block * 4u;
        return vec4<u32>(up_head[at], up_head[at + 1u], up_head[at + 2u], up_head[at + 3u]);
    }
}

// The head region of a weight's buffer (`src/quant/layout.rs`), bound by name.
// A module of its own: types without a head do not import it, and then the
// compiled shader has no such binding. See `weight_body.wgsl` for a second weight.
// With `head_quads` a block has four words here, which are read at once.

@if(!head_quads) @group(0) @binding(21) var<storage, read> w_head: array<u32>;
@if(head_quads) @group(0) @binding(21) var<storage, read> w_head: array<vec4<u32>>;

// A word of the head: the scale and the minimum of a block.
@if(!head_quads) fn head_word(at: u32) -> u32 {
    return w_head[at];
}

// The 16 bits of a block's only scale: two blocks share a word.
@if(!head_quads) fn head_bits(block: u32) -> u32 {
    return (w_head[block >> 1u] >> ((block & 1u) << 4u)) & 0xffffu;
}

// The byte of a block's scale: four blocks share a word.
@if(!head_quads) fn head_byte(block: u32) -> u32 {
    return (w_head[block >> 2u] >> ((block & 3u) << 3u)) & 0xffu;
}

// The four words that a block has in the head, where it has so many.
fn head_quad(block: u32) -> vec4<u32> {
    @if(head_quads) return w_head[block];
    @if(!head_quads) {
        let at = block * 4u;
        return vec4<u32>(w_head[at], w_head[at + 1u], w_head[at + 2u], w_head[at + 3u]);
    }
}

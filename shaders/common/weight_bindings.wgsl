// The two regions of a weight's buffer, as `src/quant/layout.rs` lays them out.
//
// Both are bound by name (`w_body`, `w_head`). Types without a head (F32, F16,
// BF16) do not use `w_head`, and it is then absent from the compiled shader.
// The binding numbers are high so that a kernel may number its own from 0.

@group(0) @binding(20) var<storage, read> w_body: array<u32>;
@group(0) @binding(21) var<storage, read> w_head: array<u32>;

// Two consecutive words of the body.
fn body_pair(at: u32) -> vec2<u32> {
    return vec2<u32>(w_body[at], w_body[at + 1u]);
}

// The 16 bits of a block's only scale: two blocks share a word.
fn head_bits(block: u32) -> u32 {
    return (w_head[block >> 1u] >> ((block & 1u) << 4u)) & 0xffffu;
}

// The body region of a weight's buffer (`src/quant/layout.rs`), bound by name.
//
// The binding numbers of the regions (20 here, 21 in `weight_head.wgsl`) are high
// so that a kernel may number its own bindings from 0.

@group(0) @binding(20) var<storage, read> w_body: array<u32>;

// Two consecutive words of the body.
fn body_pair(at: u32) -> vec2<u32> {
    return vec2<u32>(w_body[at], w_body[at + 1u]);
}

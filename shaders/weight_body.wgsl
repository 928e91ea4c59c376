// The body region of a weight's buffer (`src/quant/layout.rs`), bound by name.
//
// The decoders in `weights/` import this as `super::weight_body`: what they read
// is decided by where they are mounted. `package::weight` reads these bindings;
// a kernel with a second weight mounts its decoder as `package::x::weight` and
// a module with the same functions over other bindings as `package::x::weight_body`.
//
// The binding numbers of the regions (20 here, 21 in `weight_head.wgsl`) are high
// so that a kernel may number its own bindings from 0.

@group(0) @binding(20) var<storage, read> w_body: array<u32>;

// A word of the body.
fn body_word(at: u32) -> u32 {
    return w_body[at];
}

// Two consecutive words of the body.
fn body_pair(at: u32) -> vec2<u32> {
    return vec2<u32>(w_body[at], w_body[at + 1u]);
}

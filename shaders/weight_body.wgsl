// The body region of a weight's buffer (`src/quant/layout.rs`), bound by name.
//
// The decoders in `weights/` import this as `super::weight_body`: what they read
// is decided by where they are mounted. `package::weight` reads these bindings;
// a kernel with a second weight mounts its decoder as `package::x::weight` and
// a module with the same functions over other bindings as `package::x::weight_body`.
//
// The binding numbers of the regions (20 here, 21 in `weight_head.wgsl`) are high
// so that a kernel may number its own bindings from 0.

//
// With `body_pairs` words are read two at a time: a block has an even number of
// them, and pairs begin at even ones. With `body_quads` they are read four at a time.

@if(!body_pairs && !body_quads) @group(0) @binding(20) var<storage, read> w_body: array<u32>;
@if(body_pairs) @group(0) @binding(20) var<storage, read> w_body: array<u64>;
@if(body_quads) @group(0) @binding(20) var<storage, read> w_body: array<vec4<u32>>;

// A word of the body.
fn body_word(at: u32) -> u32 {
    @if(!body_pairs && !body_quads) return w_body[at];
    @if(body_quads) return w_body[at >> 2u][at & 3u];
    @if(body_pairs) return u32(w_body[at >> 1u] >> ((at & 1u) << 5u));
}

// Two consecutive words of the body.
fn body_pair(at: u32) -> vec2<u32> {
    @if(!body_pairs && !body_quads) return vec2<u32>(w_body[at], w_body[at + 1u]);
    @if(body_quads) {
        let quad = w_body[at >> 2u];
        return select(quad.xy, quad.zw, (at & 2u) != 0u);
    }
    @if(body_pairs) {
        let pair = w_body[at >> 1u];
        return vec2<u32>(u32(pair), u32(pair >> 32u));
    }
}

// Four consecutive words, from a multiple of four.
fn body_quad(at: u32) -> vec4<u32> {
    @if(body_quads) return w_body[at >> 2u];
    @if(!body_quads) return vec4<u32>(body_pair(at), body_pair(at + 2u));
}

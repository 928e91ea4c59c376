// The body region of the second weight of a gated product; see `weight_body.wgsl`.

@if(!body_pairs && !body_quads) @group(0) @binding(22) var<storage, read> up_body: array<u32>;
@if(body_pairs) @group(0) @binding(22) var<storage, read> up_body: array<u64>;
@if(body_quads) @group(0) @binding(22) var<storage, read> up_body: array<vec4<u32>>;

fn body_word(at: u32) -> u32 {
    @if(!body_pairs && !body_quads) return up_body[at];
    @if(body_quads) return up_body[at >> 2u][at & 3u];
    @if(body_pairs) return u32(up_body[at >> 1u] >> ((at & 1u) << 5u));
}

fn body_pair(at: u32) -> vec2<u32> {
    @if(!body_pairs && !body_quads) return vec2<u32>(up_body[at], up_body[at + 1u]);
    @if(body_quads) {
        let quad = up_body[at >> 2u];
        return select(quad.xy, quad.zw, (at & 2u) != 0u);
    }
    @if(body_pairs) {
        let pair = up_body[at >> 1u];
        return vec2<u32>(u32(pair), u32(pair >> 32u));
    }
}

fn body_quad(at: u32) -> vec4<u32> {
    @if(body_quads) return up_body[at >> 2u];
    @if(!body_quads) return vec4<u32>(body_pair(at), body_pair(at + 2u));
}

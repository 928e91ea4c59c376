// The codebook of a weight type (`src/quant/codebooks.rs`), bound by name: two
// entries in a word. A module of its own, as `weight_head.wgsl` is.

@group(0) @binding(24) var<storage, read> w_table: array<u32>;

// The codes of an entry.
fn table_entry(index: u32) -> u32 {
    return (w_table[index >> 1u] >> ((index & 1u) << 4u)) & 0xffffu;
}

// Where the rows of an update go in a cache [B, G, C, D]; shared by the
// scatter kernels.

struct Params {
    // Invocations with work.
    units: u32,
    // The rows of the update that are bound.
    first_row: u32,
    rows: u32,
    // Elements of the update before them.
    base: u32,
    // The sequences whose indices are bound.
    first_index: u32,
    indices_bound: u32,
    // New tokens of a sequence.
    tokens: u32,
    groups: u32,
    // 1: the update is [B, Q, G, D]; 0: [B, G, Q, D].
    token_major: u32,
    // Slots of the cache.
    capacity: u32,
    // Rows of the cache.
    cache_rows: u32,
    // Elements of a row.
    width: u32,
    // The words of the cache that are bound.
    window_first: u32,
    window_words: u32,
}

@group(0) @binding(1) var<storage, read> updates: array<f32>;
@group(0) @binding(2) var<storage, read> write_indices: array<i32>;
@group(0) @binding(3) var<uniform> params: Params;

const NOWHERE: u32 = 0xffffffffu;

// The cache's row for a row of the whole update; NOWHERE if its slot is out of range
// or its index is not bound.
fn target_row(row: u32) -> u32 {
    var token = row % params.tokens;
    var group = (row / params.tokens) % params.groups;
    let batch = row / (params.tokens * params.groups);
    if params.token_major != 0u {
        group = row % params.groups;
        token = (row / params.groups) % params.tokens;
    }
    let index = batch - params.first_index;
    if index >= params.indices_bound {
        return NOWHERE;
    }
    let slot = write_indices[index] + i32(token);
    if slot < 0 || u32(slot) >= params.capacity {
        return NOWHERE;
    }
    return (batch * params.groups + group) * params.capacity + u32(slot);
}

// The bound row of the update that goes to a row of the cache; NOWHERE if none does.
fn source_row(cache_row: u32) -> u32 {
    if cache_row >= params.cache_rows {
        return NOWHERE;
    }
    let slot = cache_row % params.capacity;
    let group = (cache_row / params.capacity) % params.groups;
    let batch = cache_row / (params.capacity * params.groups);
    let index = batch - params.first_index;
    if index >= params.indices_bound {
        return NOWHERE;
    }
    let token = i32(slot) - write_indices[index];
    if token < 0 || u32(token) >= params.tokens {
        return NOWHERE;
    }
    var row = (batch * params.groups + group) * params.tokens + u32(token);
    if params.token_major != 0u {
        row = (batch * params.tokens + u32(token)) * params.groups + group;
    }
    let local = row - params.first_row;
    return select(NOWHERE, local, local < params.rows);
}

// Arithmetic of 64-bit integers in the 32 bits that a device has of them: I64 as
// i32, U64 as u32. What leaves the range is noted, and an entry point that finds
// `overflowed` raises the status word (`common/status.wgsl`).

var<private> left_range: bool = false;

fn overflowed() -> bool {
    return left_range;
}

fn overflow_if(wrong: bool) {
    left_range = left_range || wrong;
}

fn magnitude(a: i32) -> u32 {
    // The magnitude of the least number is its own bits.
    return bitcast<u32>(select(a, -a, a < 0));
}

fn add_i32(a: i32, b: i32) -> i32 {
    let sum = a + b;
    overflow_if(((a ^ sum) & (b ^ sum)) < 0);
    return sum;
}

fn add_u32(a: u32, b: u32) -> u32 {
    let sum = a + b;
    overflow_if(sum < a);
    return sum;
}

fn sub_i32(a: i32, b: i32) -> i32 {
    let difference = a - b;
    overflow_if(((a ^ b) & (a ^ difference)) < 0);
    return difference;
}

fn sub_u32(a: u32, b: u32) -> u32 {
    overflow_if(b > a);
    return a - b;
}

fn mul_u32(a: u32, b: u32) -> u32 {
    let ah = a >> 16u;
    let al = a & 0xffffu;
    let bh = b >> 16u;
    let bl = b & 0xffffu;
    // One of the halves is 0, or the product has more than 32 bits.
    overflow_if(ah != 0u && bh != 0u);
    let cross = ah * bl + al * bh;
    overflow_if(cross > 0xffffu);
    let low = al * bl;
    let product = low + (cross << 16u);
    overflow_if(product < low);
    return product;
}

fn mul_i32(a: i32, b: i32) -> i32 {
    let size = mul_u32(magnitude(a), magnitude(b));
    let negative = (a ^ b) < 0;
    overflow_if(size > select(0x7fffffffu, 0x80000000u, negative));
    let product = bitcast<i32>(size);
    return select(product, -product, negative);
}

fn div_i32(a: i32, b: i32) -> i32 {
    overflow_if(a == -2147483647 - 1 && b == -1);
    return a / b;
}

fn neg_i32(a: i32) -> i32 {
    overflow_if(a == -2147483647 - 1);
    return -a;
}

fn abs_i32(a: i32) -> i32 {
    overflow_if(a == -2147483647 - 1);
    return abs(a);
}

// A real number cut off, looked at by its bits: what is not a number is out of
// range as well.
fn whole_i32(a: f32) -> i32 {
    let bits = bitcast<u32>(a);
    overflow_if((bits & 0x7fffffffu) >= 0x4f000000u && bits != 0xcf000000u);
    return i32(clamp(a, -2147483648.0, 2147483520.0));
}

// Negative numbers become 0, as everywhere.
fn whole_u32(a: f32) -> u32 {
    let bits = bitcast<u32>(a);
    let negative = (bits >> 31u) != 0u && (bits & 0x7fffffffu) <= 0x7f800000u;
    overflow_if(!negative && (bits & 0x7fffffffu) >= 0x4f800000u);
    return u32(clamp(a, 0.0, 4294967040.0));
}

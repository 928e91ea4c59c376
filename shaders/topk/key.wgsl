import package::common::decode::In;

// Values as whole numbers in the order in which they are wanted: the largest
// key first. Zeros of either sign are equal.

fn order(bits: u32) -> u32 {
    @if(in_f32 || in_f16 || in_bf16) return select(bits | 0x80000000u, ~bits, bits >= 0x80000000u);
    @if(in_i32 || in_i16 || in_i8) return bits ^ 0x80000000u;
    @if(in_u32 || in_u16 || in_u8) return bits;
}

fn disorder(key: u32) -> u32 {
    @if(in_f32 || in_f16 || in_bf16) return select(~key, key & 0x7fffffffu, key >= 0x80000000u);
    @if(in_i32 || in_i16 || in_i8) return key ^ 0x80000000u;
    @if(in_u32 || in_u16 || in_u8) return key;
}

fn key_of(value: In) -> u32 {
    @if(in_f32 || in_f16 || in_bf16) let bits = select(bitcast<u32>(value), 0u, value == 0.0);
    @else let bits = bitcast<u32>(value);
    @if(smallest) return ~order(bits);
    @else return order(bits);
}

// The bits of the value, in the 32 bits it is computed with.
fn bits_of(key: u32) -> u32 {
    @if(smallest) return disorder(~key);
    @else return disorder(key);
}

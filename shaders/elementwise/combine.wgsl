// One output element from its input elements: the feature `op_...` selects the
// operation of `Map` (src/kernels/elementwise/map.rs). With `checked` the operands
// or the result are 64-bit integers, and what leaves 32 bits is noted.

import package::common::activation::activate;
import package::common::checked::{
    add_i32, add_u32, div_i32, mul_i32, mul_u32, overflow_if, sub_i32, sub_u32, whole_i32, whole_u32,
};
import package::common::decode::In;
import package::common::encode::Out;
import package::common::pow::pow_signed;

@if(op_unary) fn combine(a: In) -> Out {
    return activate(a);
}

@if(op_gated) fn combine(a: In, b: In) -> Out {
    return activate(a) * b;
}

@if(op_add) fn combine(a: In, b: In) -> Out {
    @if(checked && in_i32) return add_i32(a, b);
    @elif(checked) return add_u32(a, b);
    @else return a + b;
}

@if(op_sub) fn combine(a: In, b: In) -> Out {
    @if(checked && in_i32) return sub_i32(a, b);
    @elif(checked) return sub_u32(a, b);
    @else return a - b;
}

@if(op_mul) fn combine(a: In, b: In) -> Out {
    @if(checked && in_i32) return mul_i32(a, b);
    @elif(checked) return mul_u32(a, b);
    @else return a * b;
}

@if(op_div) fn combine(a: In, b: In) -> Out {
    @if(checked && in_i32) return div_i32(a, b);
    @else return a / b;
}

@if(op_pow) fn combine(a: In, b: In) -> Out {
    return pow_signed(a, b);
}

@if(op_min) fn combine(a: In, b: In) -> Out {
    return min(a, b);
}

@if(op_max) fn combine(a: In, b: In) -> Out {
    return max(a, b);
}

@if(op_prelu) fn combine(a: In, b: In) -> Out {
    return select(a, a * b, a < In(0));
}

@if(op_and) fn combine(a: In, b: In) -> Out {
    return a & b;
}

@if(op_or) fn combine(a: In, b: In) -> Out {
    return a | b;
}

@if(op_xor) fn combine(a: In, b: In) -> Out {
    return a ^ b;
}

@if(op_equal) fn combine(a: In, b: In) -> Out {
    return select(0u, 1u, a == b);
}

@if(op_less) fn combine(a: In, b: In) -> Out {
    return select(0u, 1u, a < b);
}

@if(op_less_or_equal) fn combine(a: In, b: In) -> Out {
    return select(0u, 1u, a <= b);
}

@if(op_greater) fn combine(a: In, b: In) -> Out {
    return select(0u, 1u, a > b);
}

@if(op_greater_or_equal) fn combine(a: In, b: In) -> Out {
    return select(0u, 1u, a >= b);
}

@if(op_where) fn combine(condition: u32, a: In, b: In) -> Out {
    return select(b, a, condition != 0u);
}

// Conversions. Whole numbers that do not fit are wrapped when they are stored;
// real ones go to the nearest end of the range.
@if(op_cast) fn combine(a: In) -> Out {
    return Out(a);
}

// Between whole numbers with and without a sign, one of them of 64 bits.
@if(op_cast_sign) fn combine(a: In) -> Out {
    overflow_if(bitcast<i32>(a) < 0);
    return Out(a);
}

@if(op_cast_truth) fn combine(a: In) -> Out {
    return select(0u, 1u, a != In(0));
}

@if(op_cast_i32 && checked) fn combine(a: f32) -> i32 {
    return whole_i32(a);
}

@if(op_cast_u32 && checked) fn combine(a: f32) -> u32 {
    return whole_u32(a);
}

@if(op_cast_i32 && !checked) fn combine(a: f32) -> i32 {
    // The largest f32 below 2^31 is 2147483520.
    return select(i32(clamp(a, -2147483648.0, 2147483520.0)), 2147483647, a >= 2147483648.0);
}

@if(op_cast_u32 && !checked) fn combine(a: f32) -> u32 {
    return select(u32(clamp(a, 0.0, 4294967040.0)), 4294967295u, a >= 4294967296.0);
}

@if(op_cast_i16) fn combine(a: f32) -> i32 {
    return i32(clamp(a, -32768.0, 32767.0));
}

@if(op_cast_u16) fn combine(a: f32) -> u32 {
    return u32(clamp(a, 0.0, 65535.0));
}

@if(op_cast_i8) fn combine(a: f32) -> i32 {
    return i32(clamp(a, -128.0, 127.0));
}

@if(op_cast_u8) fn combine(a: f32) -> u32 {
    return u32(clamp(a, 0.0, 255.0));
}

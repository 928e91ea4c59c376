// One output element from its input elements: the feature `op_...` selects the
// operation of `Map` (src/kernels/elementwise/map.rs). With `checked` the operands
// or the result are 64-bit integers, and what leaves 32 bits is noted.

import package::common::activation::activate;
import package::common::checked::{
    abs_i32, add_i32, add_u32, div_i32, mul_i32, mul_u32, neg_i32, overflow_if, sub_i32, sub_u32,
    whole_i32, whole_u32,
};
import package::common::decode::In;
import package::common::encode::Out;
import package::common::fmod::fmod_exact;
import package::common::pow::pow_signed;
import package::config::BITS;

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

@if(op_pow && !whole) fn combine(a: In, b: In) -> Out {
    return pow_signed(a, b);
}

@if(op_pow && whole) fn combine(a: In, b: In) -> Out {
    var base = a;
    var result = In(1);
    @if(signed) {
        if b < In(0) {
            // Cut off: 0, but for 1 and -1.
            result = select(result, -result, a == In(-1) && (b & In(1)) == In(1));
            return select(In(0), result, abs(a) == In(1));
        }
    }
    var left = u32(b);
    for (var bit = 0u; bit < 32u && left > 0u; bit++) {
        if (left & 1u) == 1u {
            result = times(result, base);
        }
        left >>= 1u;
        if left > 0u {
            base = times(base, base);
        }
    }
    return result;
}

@if(whole) fn times(a: In, b: In) -> In {
    @if(checked && in_i32) return mul_i32(a, b);
    @elif(checked) return mul_u32(a, b);
    @else return a * b;
}

@if(op_mod && !whole) fn combine(a: In, b: In) -> Out {
    let rest = fmod_exact(a, b);
    let sign = bitcast<u32>(b) & 0x80000000u;
    let other = ((bitcast<u32>(rest) ^ sign) & 0x80000000u) != 0u;
    return select(select(rest, rest + b, other), bitcast<f32>(sign), rest == 0.0);
}

@if(op_mod && whole) fn combine(a: In, b: In) -> Out {
    let rest = remainder(a, b);
    @if(signed) return select(rest, rest + b, rest != In(0) && (rest ^ b) < In(0));
    @else return rest;
}

@if(op_fmod && whole) fn combine(a: In, b: In) -> Out {
    return remainder(a, b);
}

@if(op_fmod && !whole) fn combine(a: In, b: In) -> Out {
    return fmod_exact(a, b);
}

// By magnitudes: drivers differ on the sign of a remainder.
@if(whole && signed) fn remainder(a: In, b: In) -> In {
    let size = bitcast<u32>(abs(b));
    let rest = bitcast<i32>(bitcast<u32>(abs(a)) % select(size, 1u, size == 0u));
    return select(rest, -rest, a < In(0));
}

@if(whole && !signed) fn remainder(a: In, b: In) -> In {
    return a % select(b, 1u, b == 0u);
}

// What is moved in is 0 upwards, and the sign downwards.
@if(op_shift_left) fn combine(a: In, b: In) -> Out {
    let inside = u32(b) < BITS;
    let by = select(0u, u32(b), inside);
    let moved = select(In(0), a << by, inside);
    @if(checked && in_i32) overflow_if(select(a != In(0), (moved >> by) != a, u32(b) < 32u) && inside);
    @elif(checked) overflow_if(select(a != In(0), (moved >> by) != a, u32(b) < 32u) && inside);
    return moved;
}

@if(op_shift_right) fn combine(a: In, b: In) -> Out {
    return (a >> min(u32(b), 31u)) >> select(0u, 1u, u32(b) > 31u);
}

@if(op_whole_neg) fn combine(a: In) -> Out {
    @if(checked) return neg_i32(a);
    @else return -a;
}

@if(op_whole_abs) fn combine(a: In) -> Out {
    @if(checked) return abs_i32(a);
    @else return abs(a);
}

@if(op_whole_sign) fn combine(a: In) -> Out {
    return select(sign_of(a), In(0), a == In(0));
}

@if(op_whole_sign && signed) fn sign_of(a: In) -> In {
    return select(1, -1, a < 0);
}

@if(op_whole_sign && !signed) fn sign_of(a: In) -> In {
    return 1u;
}

@if(op_whole_relu) fn combine(a: In) -> Out {
    return max(a, In(0));
}

@if(op_bitwise_not) fn combine(a: In) -> Out {
    @if(checked) overflow_if(true);
    return ~a;
}

@if(op_not) fn combine(a: In) -> Out {
    return select(0u, 1u, a == 0u);
}

// By the bits: compilers may take all numbers for finite.
@if(op_is_nan) fn combine(a: In) -> Out {
    return select(0u, 1u, (bitcast<u32>(a) & 0x7fffffffu) > 0x7f800000u);
}

@if(op_is_inf) fn combine(a: In) -> Out {
    let bits = bitcast<u32>(a);
    var found = false;
    @if(negative) found = found || bits == 0xff800000u;
    @if(positive) found = found || bits == 0x7f800000u;
    return select(0u, 1u, found);
}

// Comparisons keep what is no number, as ONNX asks; WGSL's min and max need not.
@if(op_min) fn combine(a: In, b: In) -> Out {
    return select(select(a, b, b < a), b, !(b == b));
}

@if(op_max) fn combine(a: In, b: In) -> Out {
    return select(select(a, b, b > a), b, !(b == b));
}

@if(op_prelu && !checked) fn combine(a: In, b: In) -> Out {
    return select(a, a * b, a < In(0));
}

@if(op_prelu && checked && signed) fn combine(a: In, b: In) -> Out {
    return mul_i32(a, select(In(1), b, a < In(0)));
}

@if(op_prelu && checked && !signed) fn combine(a: In, b: In) -> Out {
    return a;
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

// What is no number is true: it equals nothing.
@if(op_cast_truth) fn combine(a: In) -> Out {
    return select(1u, 0u, a == In(0));
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

// Below 8 bits the low ones stay.
@if(op_cast_low_signed) fn combine(a: f32) -> i32 {
    return i32(clamp(a, -2147483648.0, 2147483520.0));
}

@if(op_cast_low_unsigned) fn combine(a: f32) -> u32 {
    return bitcast<u32>(i32(clamp(a, -2147483648.0, 2147483520.0)));
}

@if(op_cast_i8) fn combine(a: f32) -> i32 {
    return i32(clamp(a, -128.0, 127.0));
}

@if(op_cast_u8) fn combine(a: f32) -> u32 {
    return u32(clamp(a, 0.0, 255.0));
}

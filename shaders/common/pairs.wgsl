import package::common::eight::Eight;

// Eight neighbouring words, read and written as four of 64 bits: a device that
// goes to memory for each invocation by itself goes half as often.

// The words 0, 2, 4 and 6, and those after them.
struct Words {
    even: vec4<u32>,
    odd: vec4<u32>,
}

fn words(x: vec4<u64>) -> Words {
    return Words(vec4<u32>(x), vec4<u32>(x >> vec4(32u)));
}

fn joined(even: vec4<u32>, odd: vec4<u32>) -> vec4<u64> {
    return vec4<u64>(even) | (vec4<u64>(odd) << vec4(32u));
}

// Four neighbouring numbers.
fn four_numbers(x: vec2<u64>) -> vec4<f32> {
    let even = bitcast<vec2<f32>>(vec2<u32>(x));
    let odd = bitcast<vec2<f32>>(vec2<u32>(x >> vec2(32u)));
    return vec4(even.x, odd.x, even.y, odd.y);
}

fn joined_four(x: vec4<f32>) -> vec2<u64> {
    let words = bitcast<vec4<u32>>(x);
    return vec2<u64>(words.xz) | (vec2<u64>(words.yw) << vec2(32u));
}

// Eight neighbouring numbers.
fn eight_numbers(x: vec4<u64>) -> Eight {
    return Eight(four_numbers(x.xy), four_numbers(x.zw));
}

fn joined_eight(x: Eight) -> vec4<u64> {
    return vec4<u64>(joined_four(x.lo), joined_four(x.hi));
}

// The same of numbers.
struct Numbers {
    even: vec4<f32>,
    odd: vec4<f32>,
}

fn numbers(x: vec4<u64>) -> Numbers {
    let w = words(x);
    return Numbers(bitcast<vec4<f32>>(w.even), bitcast<vec4<f32>>(w.odd));
}

fn joined_numbers(x: Numbers) -> vec4<u64> {
    return joined(bitcast<vec4<u32>>(x.even), bitcast<vec4<u32>>(x.odd));
}

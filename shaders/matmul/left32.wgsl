import package::common::eight::Block32;

// 32 elements of A by 32 quants of B, in two halves that may be of different groups.

// 32 elements of A, and the sums of each half.
struct Left {
    a0: vec4<f32>,
    a1: vec4<f32>,
    a2: vec4<f32>,
    a3: vec4<f32>,
    a4: vec4<f32>,
    a5: vec4<f32>,
    a6: vec4<f32>,
    a7: vec4<f32>,
    lower: f32,
    upper: f32,
}

fn with_sums(read: Left) -> Left {
    var l = read;
    let ones = vec4<f32>(1.0);
    l.lower = dot((l.a0 + l.a1) + (l.a2 + l.a3), ones);
    l.upper = dot((l.a4 + l.a5) + (l.a6 + l.a7), ones);
    return l;
}

// `near` and `far`: scale and offset of each half of the 32 elements of B, which are
// `alike` if they are of one group.
fn product(l: Left, r: Block32, near: vec2<f32>, far: vec2<f32>, alike: bool) -> f32 {
    let lower = l.a0 * r.q0.lo + l.a1 * r.q0.hi + (l.a2 * r.q1.lo + l.a3 * r.q1.hi);
    let upper = l.a4 * r.q2.lo + l.a5 * r.q2.hi + (l.a6 * r.q3.lo + l.a7 * r.q3.hi);
    if alike {
        return near.x * dot(lower + upper, vec4<f32>(1.0)) + near.y * (l.lower + l.upper);
    }
    let scaled = near.x * lower + far.x * upper;
    return dot(scaled, vec4<f32>(1.0)) + (near.y * l.lower + far.y * l.upper);
}

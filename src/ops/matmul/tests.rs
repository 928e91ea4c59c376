//! The reference against sums done by hand, the rules, and the CPU.

use super::*;
use crate::backend::Backend;
use crate::graph::{Dim, Symbol};
use crate::ops::Arithmetic;
use crate::validate::{Target, run_family};

fn real(extents: &[usize], data: &[f64]) -> RefTensor {
    RefTensor::real(DType::F32, extents, data.to_vec())
}

fn ty(dtype: DType, shape: &[u64]) -> TensorType {
    TensorType::new(dtype, shape.iter().map(|&n| Dim::Const(n)).collect::<Vec<_>>())
}

fn message(op: &dyn Operator, inputs: &[Option<&TensorType>]) -> String {
    op.infer(inputs).unwrap_err().to_string()
}

#[test]
fn the_reference_agrees_with_sums_done_by_hand() {
    let a = real(&[2, 3], &[1.0, 2.0, 3.0, 4.0, 5.0, 6.0]);
    let b = real(&[3, 2], &[1.0, 0.0, -1.0, 2.0, 0.5, 1.0]);
    let bias = real(&[2], &[10.0, -20.0]);
    let plain = MatMul::default();
    let c = &plain.reference(&[Some(&a), Some(&b)]).unwrap()[0];
    assert_eq!(
        (c.extents.as_slice(), c.reals().unwrap()),
        (&[2, 2][..], &[0.5, 7.0, 2.0, 16.0][..])
    );
    let relu = MatMul { activation: Some(Unary::Relu), ..plain };
    let c = &relu.reference(&[Some(&a), Some(&b), Some(&bias)]).unwrap()[0];
    assert_eq!(c.reals().unwrap(), [10.5, 0.0, 12.0, 0.0]);
    // The same matrices, stored the other way round.
    let at = real(&[3, 2], &[1.0, 4.0, 2.0, 5.0, 3.0, 6.0]);
    let bt = real(&[2, 3], &[1.0, -1.0, 0.5, 0.0, 2.0, 1.0]);
    let both = MatMul { trans_a: true, trans_b: true, ..plain };
    let c = &both.reference(&[Some(&at), Some(&bt)]).unwrap()[0];
    assert_eq!(c.reals().unwrap(), [0.5, 7.0, 2.0, 16.0]);
}

#[test]
fn broadcast_batches_meet_the_right_matrices() {
    // a: two matrices [1, 2], b: three matrices [2, 1]; every pair is a scalar.
    let a = real(&[2, 1, 1, 2], &[1.0, 2.0, 3.0, 4.0]);
    let b = real(&[3, 2, 1], &[1.0, 0.0, 0.0, 1.0, 1.0, 1.0]);
    let c = &MatMul::default().reference(&[Some(&a), Some(&b)]).unwrap()[0];
    assert_eq!(c.extents, [2, 3, 1, 1]);
    assert_eq!(c.reals().unwrap(), [1.0, 2.0, 3.0, 3.0, 4.0, 7.0]);
}

#[test]
fn a_gated_product_activates_the_gate_only() {
    let x = real(&[1, 2], &[1.0, 2.0]);
    let gate = real(&[2, 2], &[-1.0, 0.0, 1.0, 1.0]);
    let up = real(&[2, 2], &[1.0, 1.0, 0.0, -1.0]);
    let op = GatedMatMul { activation: Unary::Relu };
    let y = &op.reference(&[Some(&x), Some(&gate), Some(&up)]).unwrap()[0];
    assert_eq!(y.reals().unwrap(), [0.0, -6.0]);
}

#[test]
fn bounds_grow_with_the_data_and_with_coarser_arithmetic() {
    let bound = |scale: f64, arithmetic| {
        let a = real(&[1, 4], &[scale, -scale, scale, scale]);
        let b = real(&[4, 1], &[1.0, 1.0, 0.5, 2.0]);
        let inputs = [Some(&a), Some(&b)];
        let outputs = MatMul::default().reference(&inputs).unwrap();
        let cx = BoundCx { inputs: &inputs, outputs: &outputs, arithmetic };
        MatMul::default().bound(&cx).unwrap()[0][0]
    };
    let unit = Arithmetic::F32.unit();
    // λ √k u Σ|a||b| with λ = 5, k = 4 and a sum of 4.5.
    assert!((bound(1.0, Arithmetic::F32) / (10.0 * unit * 4.5) - 1.0).abs() < 1e-5);
    assert!((bound(8.0, Arithmetic::F32) / bound(1.0, Arithmetic::F32) - 8.0).abs() < 1e-9);
    // Both operands are rounded: 2 · 2^-11 Σ|a||b|, and little more.
    let half = bound(1.0, Arithmetic::F16In) / (2.0 * f64::powi(2.0, -11) * 4.5);
    assert!((1.0..1.01).contains(&half), "{half}");
    // A block of 32 by ones: 5 times the root of 32 squares of half a step each.
    let eighth = |scale: f64| {
        let a = real(&[1, 32], &[scale; 32]);
        let b = real(&[32, 1], &[1.0; 32]);
        let inputs = [Some(&a), Some(&b)];
        let outputs = MatMul::default().reference(&inputs).unwrap();
        let cx = BoundCx { inputs: &inputs, outputs: &outputs, arithmetic: Arithmetic::Int8In };
        MatMul::default().bound(&cx).unwrap()[0][0]
    };
    let steps = eighth(2.0) / (5.0 * 32f64.sqrt() * 2.0 / 254.0);
    assert!((1.0..1.01).contains(&steps), "{steps}");
}

#[test]
fn shape_rules_name_what_is_wrong() {
    let (op, gated) = (MatMul::default(), GatedMatMul { activation: Unary::Silu });
    let linear = MatMul { trans_b: true, ..op };
    let (a, w) = (ty(DType::F32, &[2, 64]), ty(DType::Q4_1, &[5, 64]));
    assert_eq!(linear.infer(&[Some(&a), Some(&w)]).unwrap(), [ty(DType::F32, &[2, 5])]);
    assert!(message(&op, &[Some(&a), Some(&w)]).contains("must be [N, K] and transposed"));
    assert!(message(&op, &[Some(&a)]).contains("takes 2 or 3 inputs, got 1"));
    assert!(message(&op, &[Some(&a), None]).contains("input 1 is missing"));
    let ints = ty(DType::I32, &[64, 3]);
    assert!(message(&op, &[Some(&a), Some(&ints)]).contains("floating-point or block type"));
    assert!(message(&op, &[Some(&ints), Some(&a)]).contains("it must be F32"));
    let bias = ty(DType::F32, &[4]);
    let text = message(&linear, &[Some(&a), Some(&w), Some(&bias)]);
    assert!(text.contains("bias is F32[4], it must be F32[5]"), "{text}");
    let other = ty(DType::Q8_0, &[5, 64]);
    let text = message(&gated, &[Some(&a), Some(&w), Some(&other)]);
    assert!(text.contains("gate is Q4_1[5, 64] and up is Q8_0[5, 64]"), "{text}");
    let short = ty(DType::Q4_1, &[5, 60]);
    let a = ty(DType::F32, &[2, 60]);
    assert!(message(&linear, &[Some(&a), Some(&short)]).contains("a multiple of 32"));
}

#[test]
fn symbols_pass_through_the_shape_rule() {
    let rows = Dim::Sym(Symbol(0));
    let x = TensorType::new(DType::F32, vec![rows.clone(), Dim::Const(64)]);
    let w = ty(DType::Q8_0, &[5, 64]);
    let op = GatedMatMul { activation: Unary::Silu };
    let y = op.infer(&[Some(&x), Some(&w), Some(&w)]).unwrap();
    assert_eq!(y, [TensorType::new(DType::F32, vec![rows, Dim::Const(5)])]);
}

#[test]
fn the_cpu_is_within_the_bound_on_every_case() {
    let target = Target::new(Backend::Cpu);
    for family in matmul_cases().iter().chain(&gated_cases()) {
        let passed = run_family(family, &family.shapes, 7, &target, None);
        let passed = passed.unwrap_or_else(|failure| panic!("{failure}"));
        assert!(passed.runs >= family.shapes.len(), "{}", family.label);
    }
}

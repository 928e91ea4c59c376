//! The validation itself on trial: every way to be wrong must be caught.

#![allow(
    clippy::expect_used,
    clippy::panic,
    reason = "a test program: what is wrong should stop it"
)]

use wginfer::backend::Backend;
use wginfer::graph::TensorType;
use wginfer::kernels::{CpuCx, Dispatch, GpuCx, Kernel};
use wginfer::ops::scatter::{Reduction, ScatterElements};
use wginfer::ops::{Arithmetic, BoundCx, Lowering, Operator, RefTensor};
use wginfer::validate::error_model::gamma;
use wginfer::validate::{
    Case, CaseFamily, CaseInput, Failure, Passed, Target, Values, Yardstick, run_family,
};
use wginfer::{DType, Error, Result, Tensor};

/// What is wrong with an operator or its kernel.
#[derive(Debug, Clone, Copy, PartialEq)]
enum Flaw {
    None,
    /// Every element is this many units in the last place off.
    Ulps(f32),
    /// One element is wrong, where the shape has it.
    Element(usize, usize),
    /// The last element is never written.
    Unwritten,
    /// The kernel does nothing but write zeros.
    Zeros,
    /// The bound allows anything.
    LaxBound,
    /// The bound is not a number.
    NoBound,
    /// The reference has another shape than the shape rule.
    Shape,
    /// The lowering computes nothing.
    NoCall,
    /// The kernel fails.
    Fails,
}

/// `y = x / 3` of a matrix; as a state, in place.
#[derive(Debug, Clone)]
struct Third {
    flaw: Flaw,
    in_place: bool,
}

impl Operator for Third {
    fn name(&self) -> &str {
        "Third"
    }

    fn infer(&self, inputs: &[Option<&TensorType>]) -> Result<Vec<TensorType>> {
        Ok(inputs.iter().flatten().map(|ty| (*ty).clone()).collect())
    }

    fn reference(&self, inputs: &[Option<&RefTensor>]) -> Result<Vec<RefTensor>> {
        let Some(x) = inputs[0] else { return Ok(Vec::new()) };
        let mut extents = x.extents.clone();
        if self.flaw == Flaw::Shape {
            extents.reverse();
        }
        let data = x.reals()?.iter().map(|v| v / 3.0).collect();
        Ok(vec![RefTensor::real(x.dtype, &extents, data)])
    }

    fn bound(&self, cx: &BoundCx<'_>) -> Result<Vec<Vec<f64>>> {
        let bound = |y: &f64| match self.flaw {
            Flaw::LaxBound => y.abs() * 1.001,
            Flaw::NoBound => f64::NAN,
            _ => y.abs() * gamma(1, cx.arithmetic.unit()),
        };
        Ok(vec![cx.outputs[0].reals()?.iter().map(bound).collect()])
    }

    fn lower(&self, cx: &mut Lowering<'_>) -> Result<()> {
        let (x, y) = (cx.input(0)?, cx.output(0)?);
        if self.in_place {
            cx.alias(0, 0)?;
        }
        if self.flaw != Flaw::NoCall {
            cx.call(self.clone(), &[Some(x)], &[y]);
        }
        Ok(())
    }

    fn updates(&self) -> &[(usize, usize)] {
        if self.in_place { &[(0, 0)] } else { &[] }
    }
}

impl Kernel for Third {
    fn name(&self) -> &str {
        "test.third"
    }

    fn gpu(&self, _: &GpuCx<'_>) -> Result<Vec<Dispatch>> {
        Err(Error::Unsupported { at: "test.third".into(), what: "the GPU".into() })
    }

    fn cpu(&self, cx: &mut CpuCx<'_>) -> Result<()> {
        let x = match cx.optional(0) {
            Some(x) => x.read::<f32>().into_owned(),
            None => cx.output(0)?.write::<f32>()?.to_vec(),
        };
        let y = cx.output(0)?;
        let (columns, count) = (y.extents[1].max(1), x.len());
        for (i, (y, x)) in y.write::<f32>()?.iter_mut().zip(&x).enumerate() {
            let value = x / 3.0;
            *y = match self.flaw {
                Flaw::Ulps(n) => value * (1.0 + n * f32::EPSILON),
                Flaw::Element(r, c) if (i / columns, i % columns) == (r, c) => value * 1.001,
                Flaw::Unwritten if i + 1 == count => continue,
                Flaw::Zeros => 0.0,
                Flaw::Fails => return Err(Error::Internal("test".into())),
                _ => value,
            };
        }
        Ok(())
    }
}

const SHAPES: [[usize; 2]; 5] = [[40, 70], [1, 1], [3, 64], [0, 7], [5, 0]];

fn judge_with(flaw: Flaw, input: fn(CaseInput) -> CaseInput) -> Result<Passed, Box<Failure>> {
    let in_place = input(CaseInput::run(DType::F32, &[1])).state;
    let build = move |shape: &[usize]| {
        let x = input(CaseInput::run(DType::F32, shape));
        Some(Case::new(Third { flaw, in_place }, [x]))
    };
    let family = CaseFamily::new("third", SHAPES.map(Vec::from), build);
    run_family(&family, &family.shapes, 42, &Target::new(Backend::Cpu), None)
}

fn judge(flaw: Flaw) -> Result<Passed, Box<Failure>> {
    judge_with(flaw, |x| x)
}

fn failure(flaw: Flaw) -> Failure {
    *judge(flaw).expect_err("the flaw must be caught")
}

#[test]
fn a_right_operator_passes_with_fixed_and_symbolic_extents() {
    let passed = judge(Flaw::None).unwrap();
    assert_eq!((passed.runs, passed.symbolic, passed.skipped), (10, 5, 0));
    assert!((0.0..=1.0).contains(&passed.worst_ratio), "{passed:?}");
}

#[test]
fn a_right_update_in_place_passes() {
    let passed = judge_with(Flaw::None, CaseInput::state).unwrap();
    assert_eq!((passed.runs, passed.symbolic), (5, 0));
}

#[test]
fn a_right_operator_on_constants_passes() {
    assert_eq!(judge_with(Flaw::None, CaseInput::constant).unwrap().runs, 5);
}

#[test]
fn a_few_ulps_beyond_the_bound_are_caught() {
    // The bound is 5 half ulps, the storage rounding one more.
    assert!(judge(Flaw::Ulps(1.0)).is_ok());
    let failure = failure(Flaw::Ulps(8.0));
    assert_eq!(failure.shape, [1, 1]);
}

#[test]
fn one_wrong_element_is_caught_and_the_shape_shrinks_to_it() {
    let failure = failure(Flaw::Element(3, 4));
    assert_eq!(
        (failure.shape.as_slice(), failure.first_shape.as_slice()),
        (&[4, 5][..], &[40, 70][..])
    );
    let text = failure.to_string();
    for part in ["third", "cpu", "[4, 5]", "seed 42", "y0[3, 4]", "got", "want", "1 of 20"] {
        assert!(text.contains(part), "{text}");
    }
}

#[test]
fn a_wrong_element_of_a_state_is_caught() {
    let failure = judge_with(Flaw::Element(1, 1), CaseInput::state).expect_err("caught");
    assert_eq!(failure.shape, [2, 2]);
    assert!(failure.what.contains("s0[1, 1]"), "{failure}");
}

#[test]
fn an_unwritten_element_is_caught() {
    let failure = failure(Flaw::Unwritten);
    assert!(failure.what.contains("never written"), "{failure}");
}

#[test]
fn zeros_are_caught() {
    assert_eq!(failure(Flaw::Zeros).shape, [1, 1]);
}

#[test]
fn a_bound_that_allows_anything_is_caught() {
    let lax = failure(Flaw::LaxBound);
    assert!(lax.what.contains("accept a result of zeros"), "{lax}");
    let none = failure(Flaw::NoBound);
    assert!(none.what.contains("NaN"), "{none}");
}

#[test]
fn a_reference_that_breaks_the_shape_rule_is_caught() {
    let failure = failure(Flaw::Shape);
    assert!(failure.what.contains("the shape rule promises"), "{failure}");
}

#[test]
fn errors_of_kernels_and_missing_kernels_are_caught() {
    assert!(failure(Flaw::Fails).what.contains("test"));
    failure(Flaw::NoCall);
}

#[test]
fn coarser_arithmetic_gets_a_wider_bound() {
    let case = Case::new(
        Third { flaw: Flaw::None, in_place: false },
        [CaseInput::run(DType::F32, &[4, 4]).values(Values::Uniform(1.0, 2.0))],
    );
    let yardstick = Yardstick::new(&case, 1).unwrap();
    let fine = yardstick.bounds(Arithmetic::F32).unwrap();
    let coarse = yardstick.bounds(Arithmetic::F16In).unwrap();
    assert!(fine[0].iter().zip(&coarse[0]).all(|(fine, coarse)| coarse > fine));
}

#[test]
fn a_family_that_builds_nothing_runs_nothing() {
    let family = CaseFamily::new("none", [vec![1], vec![2]], |_| None);
    let target = Target::new(Backend::Cpu);
    let passed = run_family(&family, &family.shapes, 1, &target, None).unwrap();
    assert_eq!((passed.runs, passed.skipped), (0, 2));
}

/// Which of several updates stays is open, so a device may be as far off as they are
/// apart; an element with one update or none is exact.
#[test]
fn updates_that_meet_may_stay_in_any_order() {
    let data = Tensor::from_f32(&[4], &[1.0, 2.0, 3.0, 4.0]).expect("data");
    let indices = Tensor::from_i32(&[4], &[1, 3, 1, 1]).expect("indices");
    let updates = Tensor::from_f32(&[4], &[5.0, 7.0, -2.0, 3.0]).expect("updates");
    let exact = [&data, &indices, &updates].map(|t| RefTensor::from_tensor(t).expect("exact"));
    let inputs: Vec<Option<&RefTensor>> = exact.iter().map(Some).collect();
    let op = ScatterElements { axis: 0, reduction: Reduction::None };
    let outputs = op.reference(&inputs).expect("a result");
    let cx = BoundCx { inputs: &inputs, outputs: &outputs, arithmetic: Arithmetic::F32 };
    assert_eq!(op.bound(&cx).expect("a bound"), [[0.0, 7.0, 0.0, 0.0]]);
}

//! Several elementwise operators as one.

use super::{Binary, Cast, CastSmall, GatedActivation, Test, Unary, Where, Whole};
use crate::error::{Error, Result};
use crate::graph::TensorType;
use crate::kernels::elementwise::{self, Map};
use crate::ops::{BoundCx, Lowering, Operator, RefData, RefTensor};
use crate::tensor::{DType, SmallRounding};
use crate::validate::error_model::storage_rounding;
use std::any::Any;
use std::sync::Arc;

/// Where a step of a [`Chain`] finds an operand.
#[derive(Debug, Clone, Copy, PartialEq)]
pub enum Arg {
    /// An input of the chain.
    Input(usize),
    /// The result of an earlier step.
    Step(usize),
    /// A number, as a scalar of this dtype, which holds it exactly.
    Number(f64, DType),
}

impl Arg {
    /// A number that a shader can spell and every backend holds exactly: finite and
    /// not subnormal, or whole and of 32 bits.
    pub fn number(value: f64, dtype: DType) -> Option<Arg> {
        let fits = match dtype {
            DType::Bool => value == 0.0 || value == 1.0,
            _ if dtype.is_integer() => match dtype.range() {
                Some((least, most)) => {
                    let least = least.max(i128::from(i32::MIN) + 1) as f64;
                    let most =
                        most.min(if least < 0.0 { i32::MAX.into() } else { u32::MAX.into() });
                    value.fract() == 0.0 && value >= least && value <= most as f64
                }
                None => false,
            },
            DType::F32 | DType::F16 | DType::BF16 => {
                let near = value as f32;
                f64::from(near) == value && (value == 0.0 || near.is_normal())
            }
            _ => false,
        };
        fits.then_some(Arg::Number(value, dtype))
    }
}

/// One operator of a [`Chain`].
#[derive(Debug, Clone)]
pub struct Step {
    /// The operator; [`Chain::takes`] says which can be steps.
    pub op: Arc<dyn Operator>,
    /// Its operands.
    pub args: Vec<Arg>,
}

/// Elementwise operators one after another, in one pass over memory. Inputs are
/// broadcast as the steps broadcast them; the result is the last step's.
///
/// Steps that are computed in 16-bit floating-point types are held as binary32
/// between the steps, and are rounded by the last step and by casts only.
///
/// | Input | Shape | Dtype |
/// |---|---|---|
/// | 0.. (at most [`Chain::MOST_INPUTS`]) | any that the steps broadcast | any that the steps take |
#[derive(Debug, Clone)]
pub struct Chain {
    /// The operators, each with the operands that are there by then.
    pub steps: Vec<Step>,
}

impl Chain {
    /// The most inputs: with the result and the status word they are the 8
    /// storage buffers that every WebGPU device offers.
    pub const MOST_INPUTS: usize = 6;
    /// The most steps, which keeps shaders short.
    pub const MOST_STEPS: usize = 24;

    /// Whether an operator on a first real operand of this dtype can be a step.
    pub fn takes(op: &dyn Operator, dtype: DType) -> bool {
        map_of(op, dtype).is_some()
    }

    /// What `visit` makes of each step's operator and operands, where the results
    /// of earlier steps are what it made of them.
    fn fold<T: Clone>(
        &self,
        inputs: &[Option<&T>],
        number: impl Fn(f64, DType) -> T,
        mut visit: impl FnMut(&dyn Operator, &[T]) -> Result<T>,
    ) -> Result<Vec<T>> {
        let mut results: Vec<T> = Vec::with_capacity(self.steps.len());
        for step in &self.steps {
            let arg = |arg: &Arg| match *arg {
                Arg::Input(i) => inputs.get(i).copied().flatten().cloned(),
                Arg::Step(i) => results.get(i).cloned(),
                Arg::Number(value, dtype) => Some(number(value, dtype)),
            };
            let args: Option<Vec<T>> = step.args.iter().map(arg).collect();
            let args = args.ok_or_else(|| Error::rule("Chain", "a step has no such operand"))?;
            results.push(visit(&*step.op, &args)?);
        }
        Ok(results)
    }

    fn types(&self, inputs: &[Option<&TensorType>]) -> Result<Vec<TensorType>> {
        let number = |_, dtype| TensorType::new(dtype, []);
        self.fold(inputs, number, |op, args| {
            let args: Vec<_> = args.iter().map(Some).collect();
            first(op.infer(&args)?)
        })
    }

    fn kernel(&self, inputs: &[Option<&TensorType>]) -> Result<elementwise::Chain> {
        let types = self.types(inputs)?;
        let dtype = |arg: &Arg| match *arg {
            Arg::Input(i) => inputs.get(i).copied().flatten().map(|ty| ty.dtype),
            Arg::Step(i) => types.get(i).map(|ty| ty.dtype),
            Arg::Number(_, dtype) => Some(dtype),
        };
        let step = |(step, ty): (&Step, &TensorType)| {
            let from = step.args.last().and_then(dtype);
            let from = from.ok_or_else(|| Error::rule("Chain", "a step without operands"))?;
            let map = map_of(&*step.op, from).ok_or_else(|| {
                Error::rule("Chain", format!("{} of {from} is no step", step.op.name()))
            })?;
            Ok(elementwise::Step { map, from, to: ty.dtype, args: step.args.clone() })
        };
        let steps = self.steps.iter().zip(&types).map(step).collect::<Result<_>>()?;
        Ok(elementwise::Chain { steps })
    }
}

/// The kernel's name for an operator on operands of a dtype, where it is one
/// that looks at each element by itself.
fn map_of(op: &dyn Operator, from: DType) -> Option<Map> {
    let op: &dyn Any = op;
    if let Some(function) = op.downcast_ref::<Unary>() {
        return Some(match function.whole() {
            _ if *function == Unary::Identity => Map::Cast(SmallRounding::default()),
            Some(whole) if from.is_integer() => Map::Whole(whole),
            _ => Map::Unary(*function),
        });
    }
    let binary = op.downcast_ref::<Binary>().map(|op| Map::Binary(*op));
    binary
        .or_else(|| op.downcast_ref::<GatedActivation>().map(|op| Map::Gated(op.act)))
        .or_else(|| op.downcast_ref::<Whole>().map(|op| Map::Whole(*op)))
        .or_else(|| op.downcast_ref::<Test>().map(|op| Map::Test(*op)))
        .or_else(|| op.downcast_ref::<Cast>().map(|_| Map::Cast(SmallRounding::default())))
        .or_else(|| op.downcast_ref::<CastSmall>().map(|op| Map::Cast(op.rounding)))
        .or_else(|| op.downcast_ref::<Where>().map(|_| Map::Where))
}

fn first<T>(results: Vec<T>) -> Result<T> {
    let first = results.into_iter().next();
    first.ok_or_else(|| Error::internal("an elementwise operator without a result"))
}

fn last<T>(results: Vec<T>) -> Result<T> {
    let last = results.into_iter().next_back();
    last.ok_or_else(|| Error::rule("Chain", "needs a step"))
}

/// Whether an operator makes whole numbers of values some of which are not numbers.
fn is_lost(op: &dyn Operator, x: &RefTensor) -> bool {
    let op: &dyn Any = op;
    let whole = op.downcast_ref::<Cast>().is_some_and(|cast| cast.to.is_integer());
    whole && matches!(&x.data, RefData::Real(values) if values.iter().any(|v| v.is_nan()))
}

fn scalar(value: f64, dtype: DType) -> RefTensor {
    if dtype.is_integer() {
        RefTensor::int(dtype, &[], vec![value as i64])
    } else {
        RefTensor::real(dtype, &[], vec![value])
    }
}

impl Operator for Chain {
    fn name(&self) -> &str {
        "Chain"
    }

    fn infer(&self, inputs: &[Option<&TensorType>]) -> Result<Vec<TensorType>> {
        if inputs.len() > Self::MOST_INPUTS || self.steps.len() > Self::MOST_STEPS {
            let what = format!("{} inputs and {} steps", inputs.len(), self.steps.len());
            let most = format!("{} and {}", Self::MOST_INPUTS, Self::MOST_STEPS);
            return Err(Error::rule(self.name(), format!("takes at most {most}, got {what}")));
        }
        let numbers = self.steps.iter().flat_map(|step| &step.args);
        for arg in numbers {
            if let Arg::Number(value, dtype) = *arg
                && Arg::number(value, dtype).is_none()
            {
                return Err(Error::rule(self.name(), format!("{value:e} is no {dtype} of a step")));
            }
        }
        self.kernel(inputs)?;
        Ok(vec![last(self.types(inputs)?)?])
    }

    /// What the steps give one after another.
    ///
    /// # Errors
    /// If one of them fails, or makes a whole number of what is not a number: ONNX
    /// leaves that open, devices differ (SwiftShader clips the logarithm of such a
    /// root to the larger end), and unlike a result that is not finite a whole number
    /// does not show it.
    fn reference(&self, inputs: &[Option<&RefTensor>]) -> Result<Vec<RefTensor>> {
        let results = self.fold(inputs, scalar, |op, args| {
            if args.iter().any(|arg| is_lost(op, arg)) {
                return Err(Error::rule("Chain", "what is not a number has no whole number"));
            }
            let args: Vec<_> = args.iter().map(Some).collect();
            first(op.reference(&args)?)
        })?;
        Ok(vec![last(results)?])
    }

    /// The steps' own bounds, carried through the steps after them: an operand
    /// that may be off by `e` moves a step's value by at most what it moves it
    /// at the ends of its interval, as a step is monotone there or, in so small
    /// an interval, a parabola, whose middle is nearer than one of the ends.
    /// Between steps a value is also rounded to the type it is held in.
    fn bound(&self, cx: &BoundCx<'_>) -> Result<Vec<Vec<f64>>> {
        let exact = |x: &RefTensor| Inexact { errors: vec![0.0; x.len()], value: x.clone() };
        let inputs: Vec<Option<Inexact>> = cx.inputs.iter().map(|x| x.map(exact)).collect();
        let inputs: Vec<Option<&Inexact>> = inputs.iter().map(Option::as_ref).collect();
        let number = |value, dtype| exact(&scalar(value, dtype));
        let steps = self.steps.len();
        let mut at = 0;
        let results = self.fold(&inputs, number, |op, args| {
            at += 1;
            let rounds = matches!(map_of(op, DType::F32), Some(Map::Cast(_)));
            step_bound(op, args, cx, (at < steps).then_some(rounds))
        })?;
        Ok(vec![last(results)?.errors])
    }

    fn lower(&self, cx: &mut Lowering<'_>) -> Result<()> {
        let inputs: Vec<_> = (0..cx.inputs.len()).map(|i| cx.optional(i)).collect();
        let types: Vec<_> = inputs.iter().map(|x| x.as_ref().map(|x| &x.ty)).collect();
        let (kernel, output) = (self.kernel(&types)?, cx.output(0)?);
        cx.call(kernel, &inputs, &[output]);
        Ok(())
    }
}

/// A value and how far an executor's may be off.
#[derive(Clone)]
struct Inexact {
    value: RefTensor,
    errors: Vec<f64>,
}

impl Inexact {
    fn is_exact(&self) -> bool {
        self.errors.iter().all(|&e| e == 0.0)
    }

    /// The value at one end of its interval: `sign` is 1 or -1.
    fn end(&self, sign: f64) -> RefTensor {
        let RefTensor { dtype, extents, data } = &self.value;
        let data = match data {
            RefData::Real(v) => {
                RefData::Real(v.iter().zip(&self.errors).map(|(v, e)| v + sign * e).collect())
            }
            RefData::Int(v) => {
                let end = |(&v, &e): (&i64, &f64)| match dtype {
                    DType::Bool if e > 0.0 => i64::from(sign > 0.0),
                    _ => v.saturating_add((sign * e.ceil()) as i64),
                };
                RefData::Int(v.iter().zip(&self.errors).map(end).collect())
            }
        };
        RefTensor { dtype: *dtype, extents: extents.clone(), data }
    }
}

fn numbers(x: &RefTensor) -> Vec<f64> {
    match &x.data {
        RefData::Real(v) => v.clone(),
        RefData::Int(v) => v.iter().map(|&v| v as f64).collect(),
    }
}

/// The value of a step and its error. `between`: other steps follow, and whether
/// this one rounds to its dtype before them.
fn step_bound(
    op: &dyn Operator,
    args: &[Inexact],
    cx: &BoundCx<'_>,
    between: Option<bool>,
) -> Result<Inexact> {
    let at = |args: &[RefTensor]| -> Result<(RefTensor, Vec<f64>)> {
        let inputs: Vec<_> = args.iter().map(Some).collect();
        let value = first(op.reference(&inputs)?)?;
        let outputs = std::slice::from_ref(&value);
        let cx = BoundCx { inputs: &inputs, outputs, arithmetic: cx.arithmetic };
        let own = first(op.bound(&cx)?)?;
        Ok((value, own))
    };
    let exact: Vec<RefTensor> = args.iter().map(|arg| arg.value.clone()).collect();
    let (value, mut errors) = at(&exact)?;
    let centre = numbers(&value);
    let loose: Vec<usize> = (0..args.len()).filter(|&i| !args[i].is_exact()).collect();
    let corners = if loose.is_empty() { 0 } else { 1usize << loose.len() };
    for corner in 0..corners {
        let mut moved = exact.clone();
        for (bit, &i) in loose.iter().enumerate() {
            moved[i] = args[i].end(if corner >> bit & 1 == 1 { 1.0 } else { -1.0 });
        }
        let (end, own) = at(&moved)?;
        for (i, (end, own)) in numbers(&end).iter().zip(own).enumerate() {
            let off = if end.to_bits() == centre[i].to_bits() { 0.0 } else { end - centre[i] };
            // Out of the step's domain nothing can be said.
            let off = if off.is_nan() { f64::INFINITY } else { off.abs() };
            errors[i] = errors[i].max(off + own);
        }
    }
    let held = match (between, value.dtype) {
        (Some(false), DType::F16 | DType::BF16) => Some(DType::F32),
        (Some(_), dtype) if !dtype.is_integer() => Some(dtype),
        _ => None,
    };
    if let Some(dtype) = held {
        let more = |(e, v): (&mut f64, &f64)| *e += storage_rounding(dtype, v.abs() + *e);
        errors.iter_mut().zip(&centre).for_each(more);
    }
    meet(op, &exact, args, &mut errors)?;
    Ok(Inexact { value, errors })
}

/// Equality is the one step whose value may differ within an interval and be the
/// same at its ends: where the operands may meet, both answers are right.
fn meet(
    op: &dyn Operator,
    exact: &[RefTensor],
    args: &[Inexact],
    errors: &mut [f64],
) -> Result<()> {
    let any: &dyn Any = op;
    if any.downcast_ref::<Binary>() != Some(&Binary::Equal) || args.iter().all(Inexact::is_exact) {
        return Ok(());
    }
    let extents = super::broadcast::extents("Equal", &[&exact[0], &exact[1]])?;
    let (a, b) = (numbers(&exact[0]), numbers(&exact[1]));
    for (i, error) in errors.iter_mut().enumerate() {
        let p = super::broadcast::offset(i, &extents, &exact[0].extents);
        let q = super::broadcast::offset(i, &extents, &exact[1].extents);
        if (a[p] - b[q]).abs() <= args[0].errors[p] + args[1].errors[q]
            && args[0].errors[p] + args[1].errors[q] > 0.0
        {
            *error = 1.0;
        }
    }
    Ok(())
}

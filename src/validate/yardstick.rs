//! What a case's results should be, and how far off they may be.

use super::case::{Case, CaseInput};
use super::compare::{Report, compare};
use super::error_model::storage_rounding;
use super::generate::{generate, mix};
use super::setup::infer;
use crate::error::{Error, Result};
use crate::graph::Bindings;
use crate::ops::{Arithmetic, BoundCx, Operator, RefData, RefTensor};
use crate::tensor::Tensor;
use std::sync::Arc;

/// From this many elements on, a bound that a result of zeros would meet is no
/// bound. Fewer elements can all be near zero by chance.
const ENOUGH: usize = 16;

/// The values of a case and the reference's answer to them.
#[derive(Debug)]
pub struct Yardstick {
    op: Arc<dyn Operator>,
    /// The operator's inputs.
    pub operands: Vec<Option<Tensor>>,
    exact: Vec<Option<RefTensor>>,
    /// The reference's results.
    pub results: Vec<RefTensor>,
}

impl Yardstick {
    /// Draws the case's values and computes the reference.
    ///
    /// # Errors
    /// If the operator refuses the inputs, or its reference does not have the
    /// dtypes and extents that its shape rule promises.
    pub fn new(case: &Case, seed: u64) -> Result<Self> {
        Self::of(case, Self::operands(case, seed)?)
    }

    /// As [`Yardstick::new`], of values drawn already.
    pub(super) fn of(case: &Case, operands: Vec<Option<Tensor>>) -> Result<Self> {
        let exact: Vec<Option<RefTensor>> = operands
            .iter()
            .map(|tensor| tensor.as_ref().map(RefTensor::from_tensor).transpose())
            .collect::<Result<_>>()?;
        let promised = infer(case.op.as_ref(), &operands)?;
        let inputs: Vec<Option<&RefTensor>> = exact.iter().map(Option::as_ref).collect();
        let results = case.op.reference(&inputs)?;
        for (i, ty) in promised.iter().enumerate() {
            let extents = ty.extents(&Bindings::new(0))?;
            let kept = results.get(i).is_some_and(|result| {
                result.dtype == ty.dtype && result.extents == extents && length(result).is_some()
            });
            if !kept || promised.len() != results.len() {
                let found: Vec<_> = results.iter().map(|r| (r.dtype, &r.extents)).collect();
                return Err(Error::rule(
                    case.op.name(),
                    format!("the shape rule promises {promised:?}, the reference gives {found:?}"),
                ));
            }
        }
        Ok(Yardstick { op: case.op.clone(), operands, exact, results })
    }

    /// Draws the case's values: one for each input, `None` where absent.
    ///
    /// # Errors
    /// If values of an input cannot be of its dtype.
    pub fn operands(case: &Case, seed: u64) -> Result<Vec<Option<Tensor>>> {
        let draw = |(i, input): (usize, &Option<CaseInput>)| {
            input.as_ref().map(|input| generate(input, mix(seed, i as u64))).transpose()
        };
        case.inputs.iter().enumerate().map(draw).collect()
    }

    /// The operator's bounds for an arithmetic, one for each element of each
    /// result.
    ///
    /// # Errors
    /// If there are too few or too many, or if they allow anything: an F32
    /// result of many elements that are all zero.
    pub fn bounds(&self, arithmetic: Arithmetic) -> Result<Vec<Vec<f64>>> {
        let inputs: Vec<Option<&RefTensor>> = self.exact.iter().map(Option::as_ref).collect();
        let cx = BoundCx { inputs: &inputs, outputs: &self.results, arithmetic };
        let bounds = self.op.bound(&cx)?;
        let lengths = bounds.iter().map(Vec::len);
        if !lengths.eq(self.results.iter().map(RefTensor::len)) {
            let found: Vec<_> = bounds.iter().map(Vec::len).collect();
            return Err(Error::rule(self.op.name(), format!("bounds of lengths {found:?}")));
        }
        if arithmetic == Arithmetic::F32 {
            for (result, bound) in self.results.iter().zip(&bounds) {
                self.check_bound_means_something(result, bound)?;
            }
        }
        Ok(bounds)
    }

    /// Compares results, in the operator's order, with the reference.
    ///
    /// # Errors
    /// As [`compare`], and if the number of results differs.
    pub fn compare(&self, results: &[(&str, &Tensor)], bounds: &[Vec<f64>]) -> Result<Vec<Report>> {
        if results.len() != self.results.len() || bounds.len() != self.results.len() {
            let expected = self.results.len();
            return Err(Error::input("number of results", expected, results.len()));
        }
        let pairs = results.iter().zip(&self.results).zip(bounds);
        pairs.map(|(((name, got), want), bound)| compare(name, got, want, bound)).collect()
    }

    fn check_bound_means_something(&self, result: &RefTensor, bound: &[f64]) -> Result<()> {
        let RefData::Real(values) = &result.data else { return Ok(()) };
        let met = |(value, bound): (&f64, &f64)| {
            value.abs() <= bound + storage_rounding(result.dtype, value.abs() + bound)
        };
        let zero = values.iter().all(|&value| value == 0.0);
        if values.len() < ENOUGH || zero || !values.iter().zip(bound).all(met) {
            return Ok(());
        }
        Err(Error::rule(self.op.name(), "the error bound would accept a result of zeros"))
    }
}

/// The number of elements, if extents and data agree on it.
fn length(tensor: &RefTensor) -> Option<usize> {
    let data = match &tensor.data {
        RefData::Real(data) => data.len(),
        RefData::Int(data) => data.len(),
    };
    let whole = matches!(tensor.data, RefData::Int(_));
    (data == tensor.len() && whole == tensor.dtype.is_integer()).then_some(data)
}

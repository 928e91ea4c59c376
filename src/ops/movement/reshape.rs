//! The same elements under another shape.

use super::{exact, fixed, present, strides};
use crate::error::{Error, Result};
use crate::graph::{Bindings, Dim, Symbol, TensorType};
use crate::kernels::movement::{Step, StridedCopy};
use crate::ops::rules::Rules;
use crate::ops::{BoundCx, Lowering, Operator, RefTensor};

/// ONNX `Reshape` with a shape known when the graph is built. Costs nothing at
/// run time, since the result is the same memory; only a state is copied.
///
/// | Input | Type |
/// |---|---|
/// | x | any plain dtype |
#[derive(Debug, Clone, PartialEq)]
pub struct Reshape {
    /// The new dimensions; the number of elements must stay the same.
    pub shape: Vec<Dim>,
}

const NAME: &str = "Reshape";

/// Symbols up to this number take part in the comparison of element counts.
const SYMBOLS: u32 = 64;

/// Whether two products of dimensions are equal whatever the symbols are. They
/// are compared at a few points with large, unrelated coordinates: polynomials
/// that agree there agree (Schwartz-Zippel) but for a negligible chance.
fn same_count(a: &Dim, b: &Dim) -> bool {
    (1..=3u64).all(|seed| {
        let mut point = Bindings::new(SYMBOLS as usize);
        let mut x = seed.wrapping_mul(0x9e37_79b9_7f4a_7c15);
        for symbol in 0..SYMBOLS {
            // The constants are Knuth's for a 64-bit congruential generator.
            x = x.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
            point.set(Symbol(symbol), (x >> 54) + 2);
        }
        match (a.eval(&point), b.eval(&point)) {
            (Ok(a), Ok(b)) => a == b,
            _ => a == b,
        }
    })
}

impl Operator for Reshape {
    fn name(&self) -> &str {
        NAME
    }

    fn infer(&self, inputs: &[Option<&TensorType>]) -> Result<Vec<TensorType>> {
        let x = Rules::new(NAME, &["x"], 1, inputs)?.input(0)?;
        let new = TensorType::new(x.dtype, self.shape.clone());
        if x.dtype.is_quantised() {
            return Err(Error::rule(NAME, format!("'x' must have a plain dtype, got {x}")));
        }
        if !same_count(&x.elements(), &new.elements()) {
            return Err(Error::rule(NAME, format!("{x} does not have the elements of {new}")));
        }
        Ok(vec![new])
    }

    fn reference(&self, inputs: &[Option<&RefTensor>]) -> Result<Vec<RefTensor>> {
        self.reference_sized(inputs, &[fixed(NAME, &self.shape)?])
    }

    fn reference_sized(
        &self,
        inputs: &[Option<&RefTensor>],
        extents: &[Vec<usize>],
    ) -> Result<Vec<RefTensor>> {
        let x = present(NAME, inputs, 0)?;
        let extents = extents.first().cloned().unwrap_or_default();
        if extents.iter().product::<usize>() != x.len() {
            let what = format!("{:?} does not have the elements of {extents:?}", x.extents);
            return Err(Error::rule(NAME, what));
        }
        Ok(vec![RefTensor { dtype: x.dtype, extents, data: x.data.clone() }])
    }

    fn bound(&self, cx: &BoundCx<'_>) -> Result<Vec<Vec<f64>>> {
        Ok(exact(cx.outputs))
    }

    /// A state's memory changes later in the run, so what it holds now is copied.
    fn lower(&self, cx: &mut Lowering<'_>) -> Result<()> {
        let (x, y) = (cx.input(0)?, cx.output(0)?);
        if !cx.is_state(&x) {
            return cx.alias(0, 0);
        }
        let steps = strides(&y.ty.shape, Dim::Const(1), |a, b| a * b);
        let steps = steps.into_iter().map(Step::forward).collect();
        cx.call(StridedCopy { start: Dim::Const(0), steps }, &[Some(x)], &[y]);
        Ok(())
    }
}

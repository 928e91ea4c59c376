//! What operators are tried on.

use crate::ops::Operator;
use crate::tensor::{DType, Tensor};
use std::fmt;
use std::sync::Arc;

/// One way to try an operator, for many shapes. Each operator lists its own in
/// its room; the conformance suite runs them on every backend.
pub struct CaseFamily {
    /// Names it in reports: operator, dtypes, attributes.
    pub label: String,
    /// The shapes to try: one number for each free dimension. Include odd and
    /// prime sizes, 1 and 0.
    pub shapes: Vec<Vec<usize>>,
    /// The case for a shape; `None` where the shape makes no sense. Shrinking
    /// calls it with shapes that are not in the list.
    pub build: BuildCase,
    /// Takes long on a software adapter: a quick run tries it with the kernels
    /// that the backend chooses, not with every variant.
    pub heavy: bool,
    /// No device has the dtypes: only the CPU backend is tried.
    pub cpu_only: bool,
}

/// Makes a case of a shape.
pub type BuildCase = Box<dyn Fn(&[usize]) -> Option<Case> + Send + Sync>;

impl fmt::Debug for CaseFamily {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "CaseFamily({}, {} shapes)", self.label, self.shapes.len())
    }
}

impl CaseFamily {
    /// A family from its parts.
    pub fn new(
        label: impl Into<String>,
        shapes: impl IntoIterator<Item = Vec<usize>>,
        build: impl Fn(&[usize]) -> Option<Case> + Send + Sync + 'static,
    ) -> Self {
        CaseFamily {
            label: label.into(),
            shapes: shapes.into_iter().collect(),
            build: Box::new(build),
            heavy: false,
            cpu_only: false,
        }
    }

    /// The same, marked as taking long.
    pub fn heavy(self) -> Self {
        CaseFamily { heavy: true, ..self }
    }

    /// The same, for the CPU backend alone.
    pub fn on_cpu_only(self) -> Self {
        CaseFamily { cpu_only: true, ..self }
    }
}

/// An operator with concrete inputs to be generated.
#[derive(Debug, Clone)]
pub struct Case {
    /// The operator.
    pub op: Arc<dyn Operator>,
    /// Its inputs; `None` where an optional one is absent.
    pub inputs: Vec<Option<CaseInput>>,
}

impl Case {
    /// A case whose inputs are all present.
    pub fn new(op: impl Operator, inputs: impl IntoIterator<Item = CaseInput>) -> Self {
        Case { op: Arc::new(op), inputs: inputs.into_iter().map(Some).collect() }
    }
}

/// An input of a case.
#[derive(Debug, Clone)]
pub struct CaseInput {
    /// The element type; a quantised one gets random blocks.
    pub dtype: DType,
    /// The extents.
    pub extents: Vec<usize>,
    /// How its elements are drawn.
    pub values: Values,
    /// Whether the graph knows it when it is built (a weight, a table) rather
    /// than at each run.
    pub constant: bool,
    /// Whether it is a state, which the operator updates in place. Its values
    /// are put there before the run.
    pub state: bool,
}

/// How elements are drawn.
#[derive(Debug, Clone)]
pub enum Values {
    /// Normally distributed around 0 with this standard deviation.
    Normal(f64),
    /// Evenly distributed between two ends.
    Uniform(f64, f64),
    /// Whole numbers from the first up to, not including, the second.
    Whole(i64, i64),
    /// Exactly these.
    Exact(Tensor),
}

impl CaseInput {
    /// An input of a run, normally distributed with standard deviation 1.
    pub fn run(dtype: DType, extents: &[usize]) -> Self {
        CaseInput {
            dtype,
            extents: extents.to_vec(),
            values: Values::Normal(1.0),
            constant: false,
            state: false,
        }
    }

    /// The same drawn differently.
    pub fn values(self, values: Values) -> Self {
        CaseInput { values, ..self }
    }

    /// The same, known when the graph is built.
    pub fn constant(self) -> Self {
        CaseInput { constant: true, ..self }
    }

    /// The same, as a state updated in place.
    pub fn state(self) -> Self {
        CaseInput { state: true, ..self }
    }

    /// An exact tensor as an input of a run.
    pub fn exact(tensor: Tensor) -> Self {
        let (dtype, extents) = (tensor.dtype(), tensor.extents().to_vec());
        CaseInput { dtype, extents, values: Values::Exact(tensor), constant: false, state: false }
    }
}

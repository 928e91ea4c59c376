//! Operators from their names and attributes in the fixture.

use serde_json::{Map, Value};
use std::sync::Arc;
use wginfer::DType;
use wginfer::graph::Dim;
use wginfer::ops::Operator;
use wginfer::ops::attention::Attention;
use wginfer::ops::elementwise::{Binary, Cast, Unary, Where};
use wginfer::ops::gather::Gather;
use wginfer::ops::matmul::MatMul;
use wginfer::ops::movement::{Concat, Expand, Reshape, Slice, SliceRange, Transpose};
use wginfer::ops::norm::Normalization;
use wginfer::ops::rotary::RotaryEmbedding;
use wginfer::ops::softmax::{LogSoftmax, Softmax};
use wginfer::ops::state::TensorScatter;

struct Attributes<'a>(&'a Map<String, Value>);

impl Attributes<'_> {
    fn get(&self, name: &str) -> &Value {
        self.0.get(name).unwrap_or_else(|| panic!("no attribute {name} in {:?}", self.0))
    }

    fn real(&self, name: &str) -> f32 {
        self.optional(name).unwrap_or_else(|| panic!("{name} is no number"))
    }

    fn optional(&self, name: &str) -> Option<f32> {
        self.get(name).as_f64().map(|value| value as f32)
    }

    fn whole(&self, name: &str) -> i64 {
        self.get(name).as_i64().unwrap()
    }

    fn flag(&self, name: &str) -> bool {
        self.get(name).as_bool().unwrap()
    }

    fn list(&self, name: &str) -> Vec<usize> {
        let list = self.get(name).as_array().unwrap();
        list.iter().map(|n| n.as_u64().unwrap() as usize).collect()
    }

    fn dims(&self, name: &str) -> Vec<Dim> {
        self.list(name).into_iter().map(Dim::from).collect()
    }

    fn ranges(&self) -> Vec<SliceRange> {
        let range = |numbers: &Value| {
            let numbers: Vec<i64> = serde_json::from_value(numbers.clone()).unwrap();
            let &[axis, start, end, step] = &numbers[..] else { panic!("{numbers:?}") };
            SliceRange { axis, start, end, step }
        };
        self.get("ranges").as_array().unwrap().iter().map(range).collect()
    }
}

pub(crate) fn build(op: &str, attributes: &Map<String, Value>) -> Arc<dyn Operator> {
    let a = Attributes(attributes);
    match op {
        "LeakyRelu" => Arc::new(Unary::LeakyRelu { alpha: a.real("alpha") }),
        "Elu" => Arc::new(Unary::Elu { alpha: a.real("alpha") }),
        "HardSigmoid" => {
            Arc::new(Unary::HardSigmoid { alpha: a.real("alpha"), beta: a.real("beta") })
        }
        "Clip" => Arc::new(Unary::Clip { min: a.real("min"), max: a.real("max") }),
        "Cast" => {
            let named = |dtype: &DType| a.get("to").as_str() == Some(dtype.name());
            Arc::new(Cast { to: DType::ALL.into_iter().find(named).unwrap() })
        }
        "Where" => Arc::new(Where),
        "MatMul" => Arc::new(MatMul {
            trans_a: a.flag("trans_a"),
            trans_b: a.flag("trans_b"),
            activation: None,
        }),
        "Attention" => Arc::new(Attention {
            scale: a.optional("scale"),
            causal: a.flag("causal"),
            window: a.get("window").as_u64().map(|window| window as u32),
            softcap: a.optional("softcap"),
        }),
        "Gather" => Arc::new(Gather { axis: a.whole("axis"), batch_dims: 0 }),
        "Concat" => Arc::new(Concat { axis: a.whole("axis") }),
        "Expand" => Arc::new(Expand { shape: a.dims("shape") }),
        "Reshape" => Arc::new(Reshape { shape: a.dims("shape") }),
        "Slice" => Arc::new(Slice { ranges: a.ranges() }),
        "Transpose" => Arc::new(Transpose { permutation: a.list("permutation") }),
        "LayerNormalization" => Arc::new(Normalization::layer(a.real("epsilon"))),
        "RMSNormalization" => Arc::new(Normalization::rms(a.real("epsilon"))),
        "RotaryEmbedding" => Arc::new(RotaryEmbedding {
            interleaved: a.flag("interleaved"),
            rotary_dim: a.whole("rotary_dim") as usize,
        }),
        "Softmax" => Arc::new(Softmax { axis: a.whole("axis") }),
        "LogSoftmax" => Arc::new(LogSoftmax { axis: a.whole("axis") }),
        "TensorScatter" => Arc::new(TensorScatter { axis: 2, token_major: false, skip: false }),
        _ => elementwise(op),
    }
}

/// Functions without attributes.
fn elementwise(op: &str) -> Arc<dyn Operator> {
    if let Some(function) = Unary::ALL.into_iter().find(|function| function.name() == op) {
        return Arc::new(function);
    }
    let operation = Binary::ALL.into_iter().find(|operation| operation.name() == op);
    Arc::new(operation.unwrap_or_else(|| panic!("no operator {op}")))
}

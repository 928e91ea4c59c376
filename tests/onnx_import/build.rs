//! Small ONNX models, made from messages.
#![allow(missing_docs, reason = "the names say all")]

use prost::Message;
use wginfer::formats::onnx::proto::*;

/// ONNX's numbers of element types.
pub const FLOAT: i32 = 1;
pub const INT64: i32 = 7;
pub const BOOL: i32 = 9;

/// A dimension of an input.
#[derive(Debug, Clone, Copy)]
pub enum D {
    N(i64),
    S(&'static str),
    Any,
}

pub fn info(name: &str, elem_type: i32, dims: &[D]) -> ValueInfoProto {
    let dim = |dim: &D| match *dim {
        D::N(number) => DimensionProto { dim_value: Some(number), dim_param: None },
        D::S(name) => DimensionProto { dim_value: None, dim_param: Some(name.into()) },
        D::Any => DimensionProto::default(),
    };
    let shape = TensorShapeProto { dim: dims.iter().map(dim).collect() };
    let tensor = TensorTypeProto { elem_type, shape: Some(shape) };
    let ty = TypeProto { tensor_type: Some(tensor), ..TypeProto::default() };
    ValueInfoProto { name: name.into(), r#type: Some(ty) }
}

/// A result of unknown type.
pub fn result(name: &str) -> ValueInfoProto {
    ValueInfoProto { name: name.into(), r#type: None }
}

pub fn node(op_type: &str, inputs: &[&str], outputs: &[&str]) -> NodeProto {
    let owned = |names: &[&str]| names.iter().map(|&name| name.into()).collect();
    NodeProto {
        op_type: op_type.into(),
        input: owned(inputs),
        output: owned(outputs),
        name: format!("{op_type}_{}", outputs.join("_")),
        ..NodeProto::default()
    }
}

fn attribute(name: &str, kind: i32) -> AttributeProto {
    AttributeProto { name: name.into(), r#type: kind, ..AttributeProto::default() }
}

pub fn int(name: &str, value: i64) -> AttributeProto {
    AttributeProto { i: Some(value), ..attribute(name, attribute_type::INT) }
}

pub fn float(name: &str, value: f32) -> AttributeProto {
    AttributeProto { f: Some(value), ..attribute(name, attribute_type::FLOAT) }
}

pub fn text(name: &str, value: &'static str) -> AttributeProto {
    let value = Some(value.as_bytes().into());
    AttributeProto { s: value, ..attribute(name, attribute_type::STRING) }
}

pub fn ints(name: &str, values: &[i64]) -> AttributeProto {
    AttributeProto { ints: values.to_vec(), ..attribute(name, attribute_type::INTS) }
}

pub fn tensor(name: &str, value: TensorProto) -> AttributeProto {
    AttributeProto { t: Some(Box::new(value)), ..attribute(name, attribute_type::TENSOR) }
}

pub fn graph(name: &str, value: GraphProto) -> AttributeProto {
    AttributeProto { g: Some(Box::new(value)), ..attribute(name, attribute_type::GRAPH) }
}

/// An attribute with the value of one of the function's.
pub fn refer(name: &str, to: &str, kind: i32) -> AttributeProto {
    AttributeProto { ref_attr_name: to.into(), ..attribute(name, kind) }
}

pub fn with(mut node: NodeProto, attributes: Vec<AttributeProto>) -> NodeProto {
    node.attribute = attributes;
    node
}

fn raw(name: &str, data_type: i32, dims: &[i64], bytes: Vec<u8>) -> TensorProto {
    TensorProto {
        name: name.into(),
        data_type,
        dims: dims.to_vec(),
        raw_data: Some(bytes.into()),
        ..TensorProto::default()
    }
}

pub fn floats(name: &str, dims: &[i64], values: &[f32]) -> TensorProto {
    raw(name, FLOAT, dims, values.iter().flat_map(|v| v.to_le_bytes()).collect())
}

pub fn wholes(name: &str, dims: &[i64], values: &[i64]) -> TensorProto {
    raw(name, INT64, dims, values.iter().flat_map(|v| v.to_le_bytes()).collect())
}

pub fn truth(name: &str, value: bool) -> TensorProto {
    raw(name, BOOL, &[], vec![value.into()])
}

pub fn net(
    nodes: Vec<NodeProto>,
    inputs: Vec<ValueInfoProto>,
    outputs: &[&str],
    constants: Vec<TensorProto>,
) -> GraphProto {
    GraphProto {
        name: "net".into(),
        node: nodes,
        input: inputs,
        output: outputs.iter().map(|name| result(name)).collect(),
        initializer: constants,
        ..GraphProto::default()
    }
}

pub fn model(graph: GraphProto) -> ModelProto {
    let opset = OperatorSetIdProto { domain: String::new(), version: 21 };
    ModelProto {
        ir_version: Some(10),
        producer_name: "tests".into(),
        graph: Some(graph),
        opset_import: vec![opset],
        ..ModelProto::default()
    }
}

pub fn bytes(graph: GraphProto) -> Vec<u8> {
    model(graph).encode_to_vec()
}

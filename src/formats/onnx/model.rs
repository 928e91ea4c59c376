//! What is in an ONNX file, checked and in this crate's terms.

use crate::onnx::Attributes;
use crate::tensor::{DType, Tensor};
use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::fmt;
use std::sync::Arc;

/// An ONNX model as its file has it, functions expanded.
#[derive(Debug)]
pub struct OnnxFile {
    /// What errors call the file.
    pub name: String,
    /// The version of the file format.
    pub ir_version: i64,
    /// What made the file, and its version.
    pub producer: String,
    /// The version of each domain's operator set; ONNX's own is "".
    pub opsets: BTreeMap<String, u32>,
    /// The network.
    pub graph: Arc<OnnxGraph>,
    /// Free keys and values.
    pub metadata: Vec<(String, String)>,
}

/// A network, or the body of a node that has one. Names are unique, and every
/// name read is defined before, here or around.
#[derive(Debug, Default)]
pub struct OnnxGraph {
    /// The graph's name.
    pub name: String,
    /// What is handed in. In old files constants are listed here too.
    pub inputs: Vec<ValueInfo>,
    /// The results.
    pub outputs: Vec<ValueInfo>,
    /// The constants by name.
    pub initializers: HashMap<String, Constant>,
    /// The nodes, in running order.
    pub nodes: Vec<OnnxNode>,
    /// Names read here or further inside that are defined around the graph.
    pub captures: BTreeSet<String>,
    /// The last node that reads each value, bodies included; past the last
    /// node for results.
    pub(crate) last_use: HashMap<String, usize>,
}

/// A constant of a model.
#[derive(Debug, Clone)]
pub enum Constant {
    /// Its value, which shares the file's memory where it can.
    Tensor(Tensor),
    /// It is of a type this crate does not have: which.
    Unsupported(String),
}

/// A node.
#[derive(Debug, Clone)]
pub struct OnnxNode {
    /// The node's name; made from operator and position if the file has none.
    pub name: String,
    /// The operator.
    pub op_type: String,
    /// The operator's domain; empty for ONNX's own.
    pub domain: String,
    /// The version of the domain's operator set.
    pub opset: u32,
    /// Names of the values read, empty where absent.
    pub inputs: Vec<String>,
    /// Names of the values made, empty where not wanted.
    pub outputs: Vec<String>,
    /// The attributes that are not graphs.
    pub attributes: Attributes,
    /// The attributes that are graphs.
    pub graphs: BTreeMap<String, Arc<OnnxGraph>>,
    /// The program that wrote the file, as the file has it: few nodes mean different
    /// things to different ones.
    pub producer: Arc<str>,
}

/// Name and type of an input or result.
#[derive(Debug, Clone, PartialEq)]
pub struct ValueInfo {
    /// The name.
    pub name: String,
    /// The element type; `None` for one this crate does not have, for what is
    /// no tensor, and where the file does not say.
    pub dtype: Option<DType>,
    /// The dimensions, slowest first; `None` where their number is not known.
    pub dims: Option<Vec<Dimension>>,
    /// What it is made of; element type and dimensions are those of the tensors.
    pub form: Form,
    /// The type as the file spells it, for messages.
    pub spelled: String,
}

/// What an input or result is made of.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Form {
    /// A tensor.
    #[default]
    Tensor,
    /// Tensors one after another.
    Sequence,
    /// A tensor or nothing.
    Optional,
    /// Tensors one after another, or nothing.
    OptionalSequence,
}

/// A dimension of an input or result.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Dimension {
    /// A number.
    Number(usize),
    /// A name: the same number wherever it stands.
    Symbol(String),
    /// Any number.
    Unknown,
}

impl fmt::Display for Dimension {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Dimension::Number(number) => write!(f, "{number}"),
            Dimension::Symbol(name) => f.write_str(name),
            Dimension::Unknown => f.write_str("?"),
        }
    }
}

fn joined(dims: &[Dimension]) -> String {
    dims.iter().map(Dimension::to_string).collect::<Vec<_>>().join(", ")
}

impl fmt::Display for ValueInfo {
    /// The type.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let (before, after) = match self.form {
            Form::Tensor => ("", ""),
            Form::Sequence => ("sequence(", ")"),
            Form::Optional => ("optional(", ")"),
            Form::OptionalSequence => ("optional(sequence(", "))"),
        };
        let Some(dtype) = self.dtype else {
            f.write_str(&self.spelled)?;
            let Some(dims) = self.dims.as_ref().filter(|_| self.form == Form::Tensor) else {
                return Ok(());
            };
            return write!(f, "[{}]", joined(dims));
        };
        match &self.dims {
            Some(dims) => write!(f, "{before}{dtype}[{}]{after}", joined(dims)),
            None => write!(f, "{before}{dtype}[..]{after}"),
        }
    }
}

impl OnnxGraph {
    /// Every node here and in bodies.
    pub fn all_nodes(&self) -> Vec<&OnnxNode> {
        let mut all = Vec::new();
        let mut graphs = vec![self];
        while let Some(graph) = graphs.pop() {
            for node in &graph.nodes {
                all.push(node);
                graphs.extend(node.graphs.values().map(Arc::as_ref));
            }
        }
        all
    }
}

//! A loaded ONNX model.

use super::control::is_control;
use super::host;
use super::operator::OnnxOperator;
use super::schema;
use crate::error::{Error, Result};
use crate::formats::onnx::{self, Constant, OnnxFile, OnnxGraph, ValueInfo};
use crate::onnx::Attribute;
use crate::ops::registry::ONNX;
use crate::tensor::Tensor;
use std::collections::{BTreeMap, HashMap};
use std::path::Path;
use std::sync::{Arc, LazyLock};

/// An ONNX model, loaded once for any number of sessions. Weights stay in the
/// mapped file.
#[derive(Debug)]
pub struct Model {
    file: OnnxFile,
}

/// An operator of a model that this crate does not have.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Missing {
    /// The domain; empty for ONNX's own.
    pub domain: String,
    /// The operator.
    pub op_type: String,
    /// The version of the operator set.
    pub opset: u32,
    /// The nodes that use it.
    pub nodes: Vec<String>,
}

/// Operators of ONNX Runtime's domain that became ONNX's, and the versions of it
/// whose rows they have: exporters wrote them before ONNX had them.
const ADOPTED: &[(&str, &str, u32)] = &[
    ("ExpandDims", "Unsqueeze", 13),
    ("GatherND", "GatherND", 11),
    ("GridSample", "GridSample", 16),
    ("Pad", "Pad", 11),
    ("Range", "Range", 11),
    ("Trilu", "Trilu", 14),
];

/// The row of an operator for a version of its operator set.
pub(super) fn rows_of(domain: &str, name: &str, opset: u32) -> Option<&'static OnnxOperator> {
    type Rows = HashMap<(&'static str, &'static str), Vec<&'static OnnxOperator>>;
    static ROWS: LazyLock<Rows> = LazyLock::new(|| {
        let mut rows = Rows::new();
        for row in ONNX.iter().flat_map(|family| family.iter()) {
            rows.entry((row.domain, row.name)).or_default().push(row);
        }
        rows
    });
    if domain == "com.microsoft"
        && let Some(&(_, name, version)) = ADOPTED.iter().find(|(own, ..)| *own == name)
    {
        return rows_of("", name, version);
    }
    let rows = ROWS.get(&(domain, name))?;
    rows.iter().filter(|row| row.since <= opset).max_by_key(|row| row.since).copied()
}

/// Beside operators of that domain, whose weights are in blocks as wide as the vectors
/// of the CPU that wrote the file, which the file does not say.
const NCHWC: &str = "; those of com.microsoft.nchwc are written for one kind of CPU by ONNX Runtime's \
     highest level of optimisation (ORT_ENABLE_ALL): have it write ORT_ENABLE_EXTENDED";

impl Model {
    /// Maps a model's file and checks it. Neither it nor the files with its
    /// weights may be changed while it is open.
    ///
    /// # Errors
    /// As [`crate::formats::onnx::open`].
    pub fn open(path: impl AsRef<Path>) -> Result<Arc<Self>> {
        Ok(Arc::new(Model { file: onnx::open(path)? }))
    }

    /// A model from the bytes of its file. `name` is what errors call it.
    ///
    /// # Errors
    /// As [`crate::formats::onnx::parse`].
    pub fn from_bytes(name: &str, bytes: Vec<u8>) -> Result<Arc<Self>> {
        Ok(Arc::new(Model { file: onnx::parse(bytes, name)? }))
    }

    /// The same model with these values as its outputs, in this order: any value
    /// of the main graph can be looked at. What is not needed for them does not
    /// run; weights are shared. The inputs stay as they are.
    ///
    /// # Errors
    /// As [`OnnxFile::with_outputs`].
    pub fn with_outputs(&self, names: &[&str]) -> Result<Arc<Self>> {
        Ok(Arc::new(Model { file: self.file.with_outputs(names)? }))
    }

    /// The model's file.
    pub fn file(&self) -> &OnnxFile {
        &self.file
    }

    /// What errors call the model.
    pub fn name(&self) -> &str {
        &self.file.name
    }

    /// What a run is given, in the file's order: inputs with a default are
    /// among them, but need not be given.
    pub fn inputs(&self) -> &[ValueInfo] {
        &self.file.graph.inputs
    }

    /// What a run gives, in the file's order.
    pub fn outputs(&self) -> &[ValueInfo] {
        &self.file.graph.outputs
    }

    /// The value of an input that is not given.
    pub fn default_of(&self, input: &str) -> Option<&Constant> {
        self.file.graph.initializers.get(input)
    }

    pub(super) fn graph(&self) -> &Arc<OnnxGraph> {
        &self.file.graph
    }

    /// The operators that this crate does not have.
    pub fn missing(&self) -> Vec<Missing> {
        let mut missing: BTreeMap<(&str, &str, u32), Vec<String>> = BTreeMap::new();
        for node in self.file.graph.all_nodes() {
            if !is_control(node)
                && !host::is_host(node)
                && rows_of(&node.domain, &node.op_type, node.opset).is_none()
            {
                let key = (node.domain.as_str(), node.op_type.as_str(), node.opset);
                missing.entry(key).or_default().push(node.name.clone());
            }
        }
        let one = |((domain, op_type, opset), nodes): ((&str, &str, u32), Vec<String>)| Missing {
            domain: domain.into(),
            op_type: op_type.into(),
            opset,
            nodes,
        };
        missing.into_iter().map(one).collect()
    }

    /// Whether all operators are known here, and have what they should have.
    ///
    /// # Errors
    /// [`Error::Unsupported`] that names every operator that is not, with its
    /// nodes; [`Error::Format`] that names nodes with an attribute that their
    /// operator does not have, or with too many or too few inputs.
    pub fn coverage(&self) -> Result<()> {
        let missing = self.missing();
        if missing.is_empty() {
            return self.well_written();
        }
        let one = |missing: &Missing| {
            let domain = if missing.domain.is_empty() { "ai.onnx" } else { &missing.domain };
            let nodes = missing.nodes.join("', '");
            format!("{domain}.{} at opset {} (nodes '{nodes}')", missing.op_type, missing.opset)
        };
        let blocked = missing.iter().any(|missing| missing.domain == "com.microsoft.nchwc");
        let hint = if blocked { NCHWC } else { "" };
        let missing: Vec<_> = missing.iter().map(one).collect();
        let what = format!("operators {}{hint}", missing.join(", "));
        Err(Error::unsupported(self.name(), what))
    }

    /// Whether nodes have only the inputs and attributes that their operators have.
    fn well_written(&self) -> Result<()> {
        const SHOWN: usize = 16;
        let mut wrong = schema::misused(self.graph());
        let more = wrong.len().saturating_sub(SHOWN);
        wrong.truncate(SHOWN);
        if more > 0 {
            wrong.push(format!("and {more} more"));
        }
        match wrong.is_empty() {
            true => Ok(()),
            false => Err(Error::format(self.name(), "nodes", wrong.join("; "))),
        }
    }

    /// Whether all inputs are of types that this crate has.
    pub(super) fn inputs_are_tensors(&self) -> Result<()> {
        match self.inputs().iter().find(|info| info.dtype.is_none()) {
            None => Ok(()),
            Some(info) => {
                let at = format!("{}: input '{}'", self.name(), info.name);
                Err(Error::unsupported(at, info))
            }
        }
    }

    /// All constants, here and in bodies.
    pub(super) fn constants(&self) -> Vec<Tensor> {
        let mut all = Vec::new();
        let mut graphs = vec![self.graph().as_ref()];
        while let Some(graph) = graphs.pop() {
            all.extend(graph.initializers.values().filter_map(|constant| match constant {
                Constant::Tensor(tensor) => Some(tensor.clone()),
                Constant::Unsupported(_) => None,
            }));
            for node in &graph.nodes {
                graphs.extend(node.graphs.values().map(Arc::as_ref));
                for name in node.attributes.names() {
                    if let Some(Attribute::Tensor(tensor)) = node.attributes.get(name) {
                        all.push(tensor.clone());
                    }
                }
            }
        }
        all
    }
}

//! From messages to the file in this crate's terms.

use super::check;
use super::functions::{Call, Functions};
use super::model::{Constant, OnnxFile, OnnxGraph, OnnxNode};
use super::proto::{
    AttributeProto, GraphProto, ModelProto, NodeProto, OperatorSetIdProto, attribute_type as kind,
};
use super::tensor::{Tensors, info, no_size};
use crate::error::{Error, Result};
use crate::formats::gguf::shown;
use crate::onnx::{Attribute, Attributes};
use std::collections::BTreeMap;
use std::sync::Arc;

/// The most nodes after functions are expanded: functions that call functions
/// could make a small file endless.
const MOST_NODES: usize = 1 << 18;

/// An attribute's value.
#[derive(Debug, Clone)]
pub(super) enum Filled {
    Plain(Attribute),
    Graph(Arc<OnnxGraph>),
}

/// What names and attributes mean where a node stands.
#[derive(Debug, Clone, Copy)]
pub(super) struct Scope<'a> {
    pub(super) opsets: &'a BTreeMap<String, u32>,
    /// The call of the function that the node is part of.
    pub(super) call: Option<&'a Call<'a>>,
}

impl Scope<'_> {
    pub(super) fn name(&self, name: &str) -> String {
        match self.call {
            Some(call) => call.name(name),
            None => name.to_string(),
        }
    }
}

/// A file being converted.
pub(super) struct Converter<'m> {
    pub(super) tensors: Tensors<'m>,
    pub(super) functions: Functions<'m>,
    producer: Arc<str>,
    nodes: usize,
}

/// Converts a whole file.
pub(super) fn file(model: &ModelProto, tensors: Tensors<'_>) -> Result<OnnxFile> {
    let name = tensors.file.to_string();
    let ir_version = model.ir_version.unwrap_or(0);
    let graph = model.graph.as_ref();
    let graph = graph.ok_or_else(|| Error::format(&name, "model", "it has no graph"))?;
    let mut opsets = imports(&model.opset_import, &name, "model")?;
    if ir_version < 3 {
        // Files of these versions may not say.
        opsets.entry(String::new()).or_insert(1);
    }
    let functions = Functions::new(&model.functions, &opsets, &name)?;
    let producer = model.producer_name.as_str().into();
    let mut converter = Converter { tensors, functions, producer, nodes: 0 };
    let scope = Scope { opsets: &opsets, call: None };
    let graph = converter.graph(graph, &scope, true)?;
    let metadata = model.metadata_props.iter();
    Ok(OnnxFile {
        name,
        ir_version,
        producer: format!("{} {}", model.producer_name, model.producer_version).trim().into(),
        graph: Arc::new(graph),
        metadata: metadata.map(|entry| (entry.key.clone(), entry.value.clone())).collect(),
        opsets,
    })
}

/// The versions of operator sets; ONNX's own domain has two spellings.
pub(super) fn imports(
    list: &[OperatorSetIdProto],
    file: &str,
    at: &str,
) -> Result<BTreeMap<String, u32>> {
    let mut opsets = BTreeMap::new();
    for entry in list {
        let domain = domain(&entry.domain);
        let version = u32::try_from(entry.version).ok().filter(|&version| version > 0);
        let version = version.ok_or_else(|| {
            let what =
                format!("version {} of domain '{}'", entry.version, shown(domain.as_bytes()));
            Error::format(file, format_args!("{at}: operator sets"), what)
        })?;
        opsets.insert(domain.to_string(), version);
    }
    Ok(opsets)
}

pub(super) fn domain(name: &str) -> &str {
    if name == "ai.onnx" { "" } else { name }
}

impl Converter<'_> {
    pub(super) fn wrong(&self, at: impl std::fmt::Display, what: impl std::fmt::Display) -> Error {
        Error::format(self.tensors.file, at, what)
    }

    /// A graph with its nodes, checked.
    fn graph(
        &mut self,
        proto: &GraphProto,
        scope: &Scope<'_>,
        outermost: bool,
    ) -> Result<OnnxGraph> {
        for input in &proto.input {
            if let Some(number) = no_size(input) {
                let at = format!("input '{}'", shown(input.name.as_bytes()));
                return Err(self.wrong(at, format_args!("a dimension of {number}")));
            }
        }
        let infos = |list: &[super::proto::ValueInfoProto]| {
            let renamed = list.iter().map(|proto| {
                let mut info = info(proto);
                info.name = scope.name(&info.name);
                info
            });
            renamed.collect::<Vec<_>>()
        };
        let mut graph = OnnxGraph {
            name: proto.name.clone(),
            inputs: infos(&proto.input),
            outputs: infos(&proto.output),
            ..OnnxGraph::default()
        };
        for tensor in &proto.initializer {
            let at = format!("initializer '{}'", shown(tensor.name.as_bytes()));
            let value = self.tensors.read(tensor, &at)?;
            if graph.initializers.insert(scope.name(&tensor.name), value).is_some() {
                return Err(self.wrong(at, "given twice"));
            }
        }
        for sparse in &proto.sparse_initializer {
            let name =
                sparse.values.as_ref().map(|values| values.name.as_str()).unwrap_or_default();
            let at = format!("sparse initializer '{}'", shown(name.as_bytes()));
            let value = self.tensors.read_sparse(sparse, &at)?;
            if graph.initializers.insert(scope.name(name), value).is_some() {
                return Err(self.wrong(at, "given twice"));
            }
        }
        let mut nodes = Vec::with_capacity(proto.node.len());
        self.nodes(&proto.node, scope, &mut nodes)?;
        graph.nodes = nodes;
        check::seal(&mut graph, outermost, self.tensors.file)?;
        Ok(graph)
    }

    /// Converts nodes one after another; calls of functions become the
    /// functions' nodes.
    pub(super) fn nodes(
        &mut self,
        protos: &[NodeProto],
        scope: &Scope<'_>,
        out: &mut Vec<OnnxNode>,
    ) -> Result<()> {
        for (index, proto) in protos.iter().enumerate() {
            self.nodes += 1;
            if self.nodes > MOST_NODES {
                return Err(self.wrong("nodes", format_args!("more than {MOST_NODES}")));
            }
            let node = self.node(proto, index, scope)?;
            match self.functions.find(&node.0, &proto.overload) {
                Some(function) => self.expand(function, node, scope, out)?,
                None => out.push(self.checked(node, scope)?),
            }
        }
        Ok(())
    }

    fn node(
        &mut self,
        proto: &NodeProto,
        index: usize,
        scope: &Scope<'_>,
    ) -> Result<(OnnxNode, BTreeMap<String, Filled>)> {
        let mut name = match proto.name.as_str() {
            "" => format!("{}_{index}", proto.op_type),
            name => name.to_string(),
        };
        if let Some(call) = scope.call {
            name = format!("{}{name}", call.prefix);
        }
        let at = format!("node '{}'", shown(name.as_bytes()));
        let mut attributes = BTreeMap::new();
        for attribute in &proto.attribute {
            let value = self.attribute(attribute, scope, &at)?;
            let Some(value) = value else { continue };
            if attributes.insert(attribute.name.clone(), value).is_some() {
                let what = format!("attribute '{}' given twice", shown(attribute.name.as_bytes()));
                return Err(self.wrong(at, what));
            }
        }
        let renamed = |names: &[String]| names.iter().map(|name| scope.name(name)).collect();
        let node = OnnxNode {
            op_type: proto.op_type.clone(),
            domain: domain(&proto.domain).to_string(),
            opset: 0,
            inputs: renamed(&proto.input),
            outputs: renamed(&proto.output),
            attributes: Attributes::default(),
            graphs: BTreeMap::new(),
            producer: self.producer.clone(),
            name,
        };
        Ok((node, attributes))
    }

    /// A node that calls no function: its operator set must be known.
    fn checked(
        &self,
        (mut node, attributes): (OnnxNode, BTreeMap<String, Filled>),
        scope: &Scope<'_>,
    ) -> Result<OnnxNode> {
        node.opset = match (scope.opsets.get(&node.domain), node.domain.as_str()) {
            (Some(&version), _) => version,
            (None, "") => {
                let at = format!("node '{}'", shown(node.name.as_bytes()));
                return Err(self.wrong(at, "the model imports no version of ONNX's operators"));
            }
            // Many exporters leave other domains out, which have one version.
            (None, _) => 1,
        };
        for (name, value) in attributes {
            match value {
                Filled::Plain(value) => node.attributes.insert(name, value).map(|_| ()),
                Filled::Graph(graph) => node.graphs.insert(name, graph).map(|_| ()),
            };
        }
        Ok(node)
    }

    /// An attribute's value; `None` for one that takes the value of an
    /// attribute which the function's caller leaves out.
    pub(super) fn attribute(
        &mut self,
        proto: &AttributeProto,
        scope: &Scope<'_>,
        at: &str,
    ) -> Result<Option<Filled>> {
        let name = shown(proto.name.as_bytes());
        if !proto.ref_attr_name.is_empty() {
            let Some(call) = scope.call else {
                let what = format!("attribute '{name}' refers to one of a function, outside one");
                return Err(self.wrong(at, what));
            };
            return Ok(call.attributes.get(&proto.ref_attr_name).cloned());
        }
        let plain = |value| Ok(Some(Filled::Plain(value)));
        match given_type(proto) {
            kind::FLOAT => plain(Attribute::Float(proto.f.unwrap_or_default())),
            kind::INT => plain(Attribute::Int(proto.i.unwrap_or_default())),
            kind::STRING => {
                plain(Attribute::String(proto.s.as_deref().unwrap_or_default().to_vec()))
            }
            kind::FLOATS => plain(Attribute::Floats(proto.floats.clone())),
            kind::INTS => plain(Attribute::Ints(proto.ints.clone())),
            kind::STRINGS => {
                plain(Attribute::Strings(proto.strings.iter().map(|text| text.to_vec()).collect()))
            }
            kind::TENSOR => {
                let at = format!("{at}, attribute '{name}'");
                let tensor = proto.t.as_ref().ok_or_else(|| self.wrong(&at, "no tensor in it"))?;
                plain(tensor_attribute(self.tensors.read(tensor, &at)?))
            }
            kind::SPARSE_TENSOR => {
                let at = format!("{at}, attribute '{name}'");
                let tensor = proto.sparse_tensor.as_ref();
                let tensor = tensor.ok_or_else(|| self.wrong(&at, "no tensor in it"))?;
                plain(tensor_attribute(self.tensors.read_sparse(tensor, &at)?))
            }
            kind::GRAPH => {
                let graph = proto.g.as_ref();
                let graph = graph.ok_or_else(|| {
                    self.wrong(at, format_args!("attribute '{name}' has no graph in it"))
                })?;
                let graph = self.graph(graph, scope, false)?;
                Ok(Some(Filled::Graph(Arc::new(graph))))
            }
            kind::TYPE_PROTO => plain(Attribute::Other("TYPE_PROTO".into())),
            kind::TENSORS => plain(Attribute::Other("TENSORS".into())),
            kind::GRAPHS => plain(Attribute::Other("GRAPHS".into())),
            kind::SPARSE_TENSORS => plain(Attribute::Other("SPARSE_TENSORS".into())),
            kind::TYPE_PROTOS => plain(Attribute::Other("TYPE_PROTOS".into())),
            other => Err(self.wrong(at, format_args!("attribute '{name}' has type {other}"))),
        }
    }
}

fn tensor_attribute(value: Constant) -> Attribute {
    match value {
        Constant::Tensor(tensor) => Attribute::Tensor(tensor),
        Constant::Unsupported(what) => Attribute::Other(format!("TENSOR of {what}")),
    }
}

/// The type of an attribute. Files of the first versions do not say.
fn given_type(proto: &AttributeProto) -> i32 {
    if proto.r#type != kind::UNDEFINED {
        return proto.r#type;
    }
    let found = [
        (proto.f.is_some(), kind::FLOAT),
        (proto.i.is_some(), kind::INT),
        (proto.s.is_some(), kind::STRING),
        (proto.t.is_some(), kind::TENSOR),
        (proto.g.is_some(), kind::GRAPH),
        (!proto.floats.is_empty(), kind::FLOATS),
        (!proto.strings.is_empty(), kind::STRINGS),
        (!proto.tensors.is_empty(), kind::TENSORS),
        (!proto.graphs.is_empty(), kind::GRAPHS),
    ];
    found.iter().find(|(is, _)| *is).map_or(kind::INTS, |&(_, kind)| kind)
}

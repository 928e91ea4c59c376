//! Operators that the host computes, between stages: those on strings, which no
//! device has, and look-ups from and to strings.

use super::Attributes;
use super::feeds::Feeds;
use super::import::{Flow, Importer, Wanted};
use super::memo::Memo;
use super::model::rows_of;
use super::node::NodeCx;
use super::state::Value;
use crate::error::{Error, Result};
use crate::formats::onnx::OnnxNode;
use crate::graph::{GraphBuilder, ValueId};
use crate::tensor::{DType, Tensor};
use std::sync::Arc;

/// Why the host computes what it does though there is a GPU.
const HOST_WORK: &str = "the host computes with strings and looks them up";

/// Results in the order of the node's outputs; `None` for one that it has not.
pub type HostResults = Vec<Option<Tensor>>;

/// How nodes of an ONNX operator are computed on the host. The rows of a family
/// stand in its room, as those of [`OnnxOperator`](super::OnnxOperator) do.
#[derive(Debug, Clone, Copy)]
pub struct HostOperator {
    /// The domain; empty for ONNX's own.
    pub domain: &'static str,
    /// The operator's type.
    pub name: &'static str,
    /// The first version of the domain's operator set that the row holds for.
    pub since: u32,
    /// Which nodes it is for.
    pub when: When,
    /// Computes the node.
    pub compute: fn(&HostCx<'_>) -> Result<HostResults>,
}

/// Why the host computes nodes whose results have as many elements as data says.
const COUNTED: &str = "the host has to look at its inputs";

impl HostOperator {
    /// Why no device computes it.
    pub(super) fn reason(&self) -> &'static str {
        match self.when {
            When::Always | When::Strings => HOST_WORK,
            When::Unknown => COUNTED,
        }
    }
}

/// Which nodes of an operator the host computes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum When {
    /// All of them.
    Always,
    /// Those that take strings or are to give some.
    Strings,
    /// Those with inputs that only a run can tell: how many elements the results have
    /// depends on them.
    Unknown,
}

/// A node that the host computes, with the values of its inputs.
#[derive(Debug)]
pub struct HostCx<'a> {
    node: &'a OnnxNode,
    name: &'a str,
    inputs: &'a [Option<Tensor>],
}

/// A node to be computed on the host, once its inputs are there.
#[derive(Debug)]
pub(super) struct HostCall {
    pub(super) node: OnnxNode,
    /// The node's name with those around it.
    pub(super) name: String,
    pub(super) compute: fn(&HostCx<'_>) -> Result<HostResults>,
    /// Why no device computes it.
    pub(super) reason: &'static str,
}

/// A node that the host is to compute.
#[derive(Debug)]
pub(super) struct HostWork {
    pub(super) call: Arc<HostCall>,
    pub(super) inputs: Vec<Option<Value>>,
    /// What its results are called; empty where one is not wanted.
    pub(super) names: Vec<String>,
}

impl HostCall {
    pub(super) fn run(&self, inputs: &[Option<Tensor>]) -> Result<HostResults> {
        let cx = HostCx { node: &self.node, name: &self.name, inputs };
        (self.compute)(&cx).map_err(|error| super::import::named(error, &self.node, &self.name))
    }

    /// Gives the strings that whole numbers stand for: the first input has the
    /// numbers, the second the strings.
    pub(super) fn labels(node: &OnnxNode, name: &str) -> Arc<Self> {
        let compute = |cx: &HostCx<'_>| {
            let (places, labels) = (cx.input(0)?.to_i64()?, cx.strings(1)?);
            let label = |&place: &i64| {
                let found = usize::try_from(place).ok().and_then(|at| labels.get(at).copied());
                found.ok_or_else(|| cx.broken(format!("label {place} of {}", labels.len())))
            };
            let values = places.iter().map(label).collect::<Result<Vec<_>>>()?;
            Ok(vec![Some(Tensor::from_strings(cx.input(0)?.extents(), &values)?)])
        };
        Arc::new(HostCall { node: node.clone(), name: name.into(), compute, reason: HOST_WORK })
    }
}

/// The row by which the host computes a node with inputs of these types, all of which
/// may be `known`.
pub(super) fn row_for(
    node: &OnnxNode,
    inputs: &[Option<DType>],
    known: bool,
) -> Option<&'static HostOperator> {
    let row = find(node)?;
    let given = inputs.contains(&Some(DType::String));
    let asked = node.op_type == "Cast"
        && matches!(node.attributes.int("to"), Ok(Some(to)) if crate::formats::onnx::dtype(to) == Some(DType::String));
    let is_for = match row.when {
        When::Always => true,
        When::Strings => given || asked,
        When::Unknown => !known,
    };
    is_for.then_some(row)
}

/// Whether there is a row for all nodes of this operator.
pub(super) fn is_host(node: &OnnxNode) -> bool {
    find(node).is_some_and(|row| row.when == When::Always)
}

fn find(node: &OnnxNode) -> Option<&'static HostOperator> {
    let rows = crate::ops::registry::HOST.iter().flat_map(|family| family.iter());
    rows.filter(|row| row.domain == node.domain && row.name == node.op_type)
        .filter(|row| row.since <= node.opset)
        .max_by_key(|row| row.since)
}

impl HostCx<'_> {
    /// The attributes.
    pub fn attributes(&self) -> &Attributes {
        &self.node.attributes
    }

    /// An INT attribute or its default.
    ///
    /// # Errors
    /// If it is of another type.
    pub fn int(&self, name: &str, default: i64) -> Result<i64> {
        Ok(self.attributes().int(name)?.unwrap_or(default))
    }

    /// A STRING attribute or its default.
    ///
    /// # Errors
    /// If it is of another type.
    pub fn string<'s>(&'s self, name: &str, default: &'s str) -> Result<&'s str> {
        Ok(self.attributes().string(name)?.unwrap_or(default))
    }

    /// How many inputs the node lists.
    pub fn input_count(&self) -> usize {
        self.inputs.len()
    }

    /// How many outputs the node lists.
    pub fn output_count(&self) -> usize {
        self.node.outputs.len()
    }

    /// An input that may be absent.
    pub fn optional(&self, index: usize) -> Option<&Tensor> {
        self.inputs.get(index).and_then(Option::as_ref)
    }

    /// An input that must be present.
    ///
    /// # Errors
    /// If it is absent.
    pub fn input(&self, index: usize) -> Result<&Tensor> {
        self.optional(index).ok_or_else(|| self.broken(format!("input {index} is missing")))
    }

    /// The strings of an input that must be present.
    ///
    /// # Errors
    /// If it is absent or has none.
    pub fn strings(&self, index: usize) -> Result<Vec<&str>> {
        let tensor = self.input(index)?;
        match tensor.dtype() {
            DType::String => tensor.to_strings(),
            other => Err(self.broken(format!("input {index} must hold strings, not {other}"))),
        }
    }

    /// A rule the node breaks.
    pub fn broken(&self, what: impl std::fmt::Display) -> Error {
        Error::rule(&self.node.op_type, what).at_node(self.name)
    }

    /// Something the row does not do, named with its node.
    pub fn unsupported(&self, what: impl std::fmt::Display) -> Error {
        Error::unsupported(format!("node '{}' ({})", self.name, self.node.op_type), what)
    }

    /// Computes the node by the row that it has where its inputs are known while
    /// importing.
    ///
    /// # Errors
    /// As the row.
    pub fn by_row(&self) -> Result<HostResults> {
        self.as_numbers(&[])
    }

    /// Computes the node with numbers in the place of its strings, by the row that
    /// it has for numbers. Equal strings have equal numbers, and in the order of the
    /// strings, so this holds for all that moves or compares elements. `texts` are
    /// the outputs whose numbers stand for strings.
    ///
    /// # Errors
    /// As the row, and if there are more elements than the host computes with.
    pub fn as_numbers(&self, texts: &[usize]) -> Result<HostResults> {
        let mut words = Vec::new();
        for tensor in self.inputs.iter().flatten().filter(|t| t.dtype() == DType::String) {
            words.extend(tensor.to_strings()?);
        }
        words.sort_unstable();
        words.dedup();
        let mut builder = GraphBuilder::new();
        let mut inputs = Vec::with_capacity(self.inputs.len());
        for input in self.inputs {
            let Some(tensor) = input else {
                inputs.push(None);
                continue;
            };
            let tensor = numbers(tensor, &words)?;
            inputs.push(Some(builder.constant("constant", tensor)?));
        }
        let node = self.node;
        let row = rows_of(&node.domain, &node.op_type, node.opset)
            .ok_or_else(|| self.unsupported("strings"))?;
        let (mut memo, mut feeds) = (Memo::default(), Feeds::default());
        let mut cx = NodeCx {
            builder: &mut builder,
            name: self.name,
            op_type: &node.op_type,
            opset: node.opset,
            producer: &node.producer,
            attributes: &node.attributes,
            inputs: &inputs,
            wanted: &node.outputs,
            outputs: Vec::new(),
            labels: Vec::new(),
            needed: None,
            answers: &[],
            asked: 0,
            memo: &mut memo,
            feeds: &mut feeds,
            drawer: &node.name,
        };
        (row.import)(&mut cx)?;
        let outputs = std::mem::take(&mut cx.outputs);
        let mut results = Vec::with_capacity(outputs.len());
        for (index, id) in outputs.into_iter().enumerate() {
            let Some(id) = id else {
                results.push(None);
                continue;
            };
            let known = builder.known(id).cloned();
            let known = known.ok_or_else(|| self.unsupported("so many strings"))?;
            let text = texts.contains(&index);
            results.push(Some(if text { strings(&known, &words)? } else { known }));
        }
        Ok(results)
    }
}

/// The places of a tensor's strings among the words, which are sorted.
fn numbers(tensor: &Tensor, words: &[&str]) -> Result<Tensor> {
    if tensor.dtype() != DType::String {
        return Ok(tensor.clone());
    }
    let place = |text: &&str| words.binary_search(text).map_or(-1, |at| at as i64);
    let places: Vec<i64> = tensor.to_strings()?.iter().map(place).collect();
    Tensor::from_i64(tensor.extents(), &places)
}

fn strings(places: &Tensor, words: &[&str]) -> Result<Tensor> {
    let word = |&place: &i64| {
        let word = usize::try_from(place).ok().and_then(|at| words.get(at).copied());
        word.ok_or_else(|| Error::internal(format!("string {place} of {}", words.len())))
    };
    let words = places.to_i64()?.iter().map(word).collect::<Result<Vec<_>>>()?;
    Tensor::from_strings(places.extents(), &words)
}

impl Importer<'_> {
    /// Ends a node one of whose outputs is strings that numbers stand for.
    pub(super) fn labelled(
        &mut self,
        node: &OnnxNode,
        name: &str,
        mut outputs: Vec<Option<Value>>,
        (index, places, labels): (usize, ValueId, Tensor),
    ) -> Result<Flow> {
        if outputs.len() <= index {
            outputs.resize(index + 1, None);
        }
        outputs[index] = Some(Value::Nothing);
        let inputs = vec![Some(Value::Here(places)), Some(Value::Known(labels))];
        let names = vec![node.outputs.get(index).cloned().unwrap_or_default()];
        let call = HostCall::labels(node, name);
        self.on_host(node, outputs, HostWork { call, inputs, names })
    }

    /// Ends a node that the host computes, or a part of one: at once where all is
    /// known, else when a stage has run.
    pub(super) fn on_host(
        &mut self,
        node: &OnnxNode,
        outputs: Vec<Option<Value>>,
        work: HostWork,
    ) -> Result<Flow> {
        self.bind(node, outputs)?;
        let known = work.inputs.iter().map(|value| match value {
            None => Some(None),
            Some(value) => self.host(value).map(Some),
        });
        let Some(known) = known.collect::<Option<Vec<_>>>() else {
            return Ok(Flow::Look(Wanted::Host(work)));
        };
        let mut results = work.call.run(&known)?.into_iter();
        for name in work.names {
            let result = results.next().flatten();
            if !name.is_empty() {
                let result = result.ok_or_else(|| missing(node, &name))?;
                self.frame_mut()?.names.insert(name, Value::Known(result));
            }
        }
        Ok(Flow::On)
    }
}

fn missing(node: &OnnxNode, name: &str) -> Error {
    let at = format!("node '{}' ({})", node.name, node.op_type);
    Error::unsupported(at, format_args!("output '{name}'"))
}

//! A model's functions, put in place of the nodes that call them.

use super::convert::{Converter, Filled, Scope, domain, imports};
use super::model::OnnxNode;
use super::proto::FunctionProto;
use crate::error::{Error, Result};
use crate::formats::gguf::shown;
use crate::onnx::Attributes;
use std::collections::{BTreeMap, HashMap};
use std::sync::Arc;

/// How deep functions may call functions.
const DEEPEST: usize = 64;

/// The functions of a model by domain, name and overload.
#[derive(Debug)]
pub(super) struct Functions<'m> {
    by_key: HashMap<(&'m str, &'m str, &'m str), usize>,
    all: Vec<(&'m FunctionProto, BTreeMap<String, u32>)>,
    calls: usize,
}

/// A call of a function being expanded.
#[derive(Debug)]
pub(super) struct Call<'a> {
    function: usize,
    around: Option<&'a Call<'a>>,
    /// Put before the names of the function's own nodes and values.
    pub(super) prefix: String,
    /// The caller's names for the function's inputs and outputs.
    names: HashMap<String, String>,
    /// The caller's attributes, and the defaults of others.
    pub(super) attributes: BTreeMap<String, Filled>,
}

impl Call<'_> {
    /// What a name of the function is outside of it.
    pub(super) fn name(&self, name: &str) -> String {
        match self.names.get(name) {
            Some(outer) => outer.clone(),
            None if name.is_empty() => String::new(),
            None => format!("{}{name}", self.prefix),
        }
    }

    fn depth(&self) -> usize {
        1 + self.around.map_or(0, Call::depth)
    }
}

impl<'m> Functions<'m> {
    pub(super) fn new(
        list: &'m [FunctionProto],
        opsets: &BTreeMap<String, u32>,
        file: &str,
    ) -> Result<Self> {
        let mut functions = Functions { by_key: HashMap::new(), all: Vec::new(), calls: 0 };
        for function in list {
            let at = format!("function '{}'", shown(function.name.as_bytes()));
            let mut own = opsets.clone();
            own.extend(imports(&function.opset_import, file, &at)?);
            let key = (domain(&function.domain), function.name.as_str(), &*function.overload);
            if functions.by_key.insert(key, functions.all.len()).is_some() {
                return Err(Error::format(file, at, "given twice"));
            }
            functions.all.push((function, own));
        }
        Ok(functions)
    }

    /// The function that a node calls, if it calls one.
    pub(super) fn find(&self, node: &OnnxNode, overload: &str) -> Option<usize> {
        self.by_key.get(&(node.domain.as_str(), node.op_type.as_str(), overload)).copied()
    }
}

impl Converter<'_> {
    /// Puts the nodes of a function in place of its call.
    pub(super) fn expand(
        &mut self,
        index: usize,
        (node, mut attributes): (OnnxNode, BTreeMap<String, Filled>),
        scope: &Scope<'_>,
        out: &mut Vec<OnnxNode>,
    ) -> Result<()> {
        let Some((function, opsets)) = self.functions.all.get(index).cloned() else {
            return Err(Error::internal("a function that is not there"));
        };
        let at = format!("node '{}'", shown(node.name.as_bytes()));
        let called = shown(function.name.as_bytes());
        if node.inputs.len() > function.input.len() || node.outputs.len() > function.output.len() {
            let what = format!("more inputs or outputs than function '{called}' has");
            return Err(self.wrong(at, what));
        }
        for default in &function.attribute_proto {
            if !attributes.contains_key(&default.name)
                && let Some(value) = self.attribute(default, scope, &at)?
            {
                attributes.insert(default.name.clone(), value);
            }
        }
        self.functions.calls += 1;
        let prefix = format!("{}:{}/", node.name, self.functions.calls);
        let mut names = HashMap::new();
        for (i, formal) in function.input.iter().enumerate() {
            names.insert(formal.clone(), node.inputs.get(i).cloned().unwrap_or_default());
        }
        // Results that are inputs, or given twice, are copies.
        let mut copies = Vec::new();
        for (formal, actual) in function.output.iter().zip(&node.outputs) {
            if actual.is_empty() {
                continue;
            }
            if names.contains_key(formal) {
                copies.push((formal.clone(), actual.clone()));
            } else {
                names.insert(formal.clone(), actual.clone());
            }
        }
        let call = Call { function: index, around: scope.call, prefix, names, attributes };
        let mut around = call.around;
        let again = std::iter::from_fn(|| {
            let next = around?;
            around = next.around;
            Some(next.function)
        })
        .any(|other| other == index);
        if again || call.depth() > DEEPEST {
            let what = format!("function '{called}' calls itself, or calls are nested too deep");
            return Err(self.wrong(at, what));
        }
        let inner = Scope { opsets: &opsets, call: Some(&call) };
        self.nodes(&function.node, &inner, out)?;
        for (formal, actual) in copies {
            let opset = opsets.get("").copied().unwrap_or(1);
            out.push(copy(&call, &formal, actual, opset));
        }
        Ok(())
    }
}

fn copy(call: &Call<'_>, formal: &str, actual: String, opset: u32) -> OnnxNode {
    OnnxNode {
        name: format!("{}{actual}", call.prefix),
        op_type: "Identity".into(),
        domain: String::new(),
        opset,
        inputs: vec![call.name(formal)],
        outputs: vec![actual],
        attributes: Attributes::default(),
        graphs: BTreeMap::new(),
        producer: Arc::default(),
    }
}

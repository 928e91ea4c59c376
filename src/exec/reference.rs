//! The judge: runs the graph as it was built, node by node, in f64.

use crate::error::{Error, Result};
use crate::graph::{Bindings, Graph, Source, ValueId};
use crate::ops::{RefData, RefTensor};
use crate::tensor::{DType, Tensor};
use std::collections::HashMap;

/// Runs an unfused graph in f64. Slow and plain on purpose; the executors are
/// judged by it and never the other way round.
#[derive(Debug)]
pub struct Reference<'g> {
    graph: &'g Graph,
    fixed: Bindings,
    constants: HashMap<ValueId, RefTensor>,
    states: Vec<RefTensor>,
}

impl<'g> Reference<'g> {
    /// A reference for a graph. `fixed` gives values to the symbols that no
    /// input carries, such as a capacity. States are zero at first.
    ///
    /// # Errors
    /// If a state's shape has a symbol without a value.
    pub fn new(graph: &'g Graph, fixed: Bindings) -> Result<Self> {
        let mut states = Vec::new();
        for state in &graph.states {
            states.push(zeros(state.ty.dtype, &state.ty.extents(&fixed)?));
        }
        Ok(Reference { graph, fixed, constants: HashMap::new(), states })
    }

    /// The states, in the order of [`Graph::states`].
    pub fn states(&self) -> &[RefTensor] {
        &self.states
    }

    /// Replaces the content of a state.
    ///
    /// # Errors
    /// If there is no such state or the extents differ.
    pub fn set_state(&mut self, name: &str, value: RefTensor) -> Result<()> {
        let position = self.graph.states.iter().position(|state| state.name == name);
        let Some(state) = position.and_then(|i| self.states.get_mut(i)) else {
            return Err(Error::input("state", "a state of the graph", name));
        };
        if state.extents != value.extents {
            let expected = format!("{:?}", state.extents);
            return Err(Error::input(
                format!("state '{name}'"),
                expected,
                format!("{:?}", value.extents),
            ));
        }
        *state = value;
        Ok(())
    }

    /// Runs the graph once: results by name; states are updated.
    ///
    /// # Errors
    /// If inputs do not fit, or an operator rejects their values.
    pub fn run(&mut self, inputs: &[(&str, &Tensor)]) -> Result<Vec<(String, RefTensor)>> {
        let mut bindings = self.fixed.clone();
        self.graph.bind_inputs(inputs, &mut bindings)?;
        let mut values: HashMap<ValueId, RefTensor> = HashMap::new();
        for &id in &self.graph.inputs {
            let name = &self.graph.value(id).name;
            if let Some((_, tensor)) = inputs.iter().find(|(other, _)| other == name) {
                values.insert(id, RefTensor::from_tensor(tensor)?);
            }
        }
        for (state, value) in self.graph.states.iter().zip(&self.states) {
            values.insert(state.initial, value.clone());
        }
        self.load_constants()?;
        let mut uses = self.graph.use_counts();
        for node in &self.graph.nodes {
            let operands: Vec<_> = node
                .inputs
                .iter()
                .map(|id| id.and_then(|id| values.get(&id).or_else(|| self.constants.get(&id))))
                .collect();
            let extents: Vec<_> = node
                .outputs
                .iter()
                .map(|&id| self.graph.ty(id).extents(&bindings))
                .collect::<Result<_>>()?;
            let results = node.op.reference_sized(&operands, &extents);
            let results = results.map_err(|e| e.at_node(&node.name))?;
            for (&id, result) in node.outputs.iter().zip(results) {
                check_extents(self.graph, id, &result, &bindings, &node.name)?;
                values.insert(id, result);
            }
            for id in node.inputs.iter().flatten() {
                uses[id.index()] -= 1;
                if uses[id.index()] == 0 {
                    values.remove(id);
                }
            }
        }
        for (state, value) in self.graph.states.iter().zip(&mut self.states) {
            if let Some(last) = values.get(&state.last) {
                *value = last.clone();
            }
        }
        let result = |(name, id): &(String, ValueId)| {
            let value = values.get(id).or_else(|| self.constants.get(id)).cloned();
            let value =
                value.ok_or_else(|| Error::internal(format!("output '{name}' is not computed")))?;
            Ok((name.clone(), value))
        };
        self.graph.outputs.iter().map(result).collect()
    }

    fn load_constants(&mut self) -> Result<()> {
        for (i, value) in self.graph.values.iter().enumerate() {
            let id = ValueId(i as u32);
            if let Source::Constant(tensor) = &value.source
                && !self.constants.contains_key(&id)
            {
                self.constants.insert(id, RefTensor::from_tensor(tensor)?);
            }
        }
        Ok(())
    }
}

/// The operator's value must have the shape that its shape rule promised.
fn check_extents(
    graph: &Graph,
    id: ValueId,
    result: &RefTensor,
    bindings: &Bindings,
    node: &str,
) -> Result<()> {
    let promised = graph.ty(id).extents(bindings)?;
    if promised == result.extents && result.dtype == graph.ty(id).dtype {
        return Ok(());
    }
    Err(Error::internal(format!(
        "node '{node}': the shape rule promised {}{promised:?}, the reference gave {}{:?}",
        graph.ty(id).dtype,
        result.dtype,
        result.extents
    )))
}

fn zeros(dtype: DType, extents: &[usize]) -> RefTensor {
    let count = extents.iter().product();
    let data = if dtype.is_integer() {
        RefData::Int(vec![0; count])
    } else {
        RefData::Real(vec![0.0; count])
    };
    RefTensor { dtype, extents: extents.to_vec(), data }
}

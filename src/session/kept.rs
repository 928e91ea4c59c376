//! Runs whose inputs and results may stay on the device.

use super::{Engine, Session};
use crate::error::{Error, Result};
use crate::exec::gpu::{Given, Kept};
use crate::graph::{Bindings, Graph};
use crate::plan::InputHome;
use crate::tensor::Tensor;

impl Session {
    /// Runs a graph without symbols once. Inputs are in the graph's order; the
    /// results that `keep` names stay on the device, if there is one.
    ///
    /// # Errors
    /// As [`Session::run`]; on the CPU if an input is on a device.
    pub(crate) async fn run_kept(
        &mut self,
        inputs: &[Given<'_>],
        keep: &[bool],
    ) -> Result<Vec<Kept>> {
        check(&self.graph, inputs)?;
        let bindings = self.fixed.clone();
        let homes: Vec<InputHome> = inputs.iter().map(home).collect();
        let index = self.plan(&bindings, &homes).await?;
        self.counters.runs += 1;
        match &mut self.engine {
            Engine::Cpu { engine, plans } => {
                let inputs = inputs.iter().map(host).collect::<Result<Vec<_>>>()?;
                let results = engine.run(&plans[index], &inputs, &bindings)?;
                Ok(results.into_iter().map(|(_, tensor)| Kept::Host(tensor)).collect())
            }
            Engine::Gpu(engine) => {
                let results = engine.run(index, inputs, &bindings, false, keep).await?;
                Ok(results.into_iter().map(|(_, kept)| kept).collect())
            }
        }
    }
}

/// Where an input may be on a device.
fn home(given: &Given<'_>) -> InputHome {
    match given {
        Given::Host(_) => InputHome::Packed,
        Given::Last(_) => InputHome::Own,
        Given::Device(_) => InputHome::Apart,
    }
}

fn host<'a>(given: &Given<'a>) -> Result<&'a Tensor> {
    match given {
        Given::Host(tensor) => Ok(tensor),
        Given::Device(_) | Given::Last(_) => Err(Error::internal("a device's value on the CPU")),
    }
}

/// The inputs are of the graph's types, all of whose dimensions are constants.
fn check(graph: &Graph, inputs: &[Given<'_>]) -> Result<()> {
    if graph.inputs().len() != inputs.len() {
        let (want, got) = (graph.inputs().len(), inputs.len());
        return Err(Error::internal(format!("{got} inputs for a graph of {want}")));
    }
    for (&id, given) in graph.inputs().iter().zip(inputs) {
        let (value, (dtype, extents)) = (graph.value(id), given.kind());
        if value.ty.dtype != dtype || value.ty.extents(&Bindings::default())? != extents {
            let at = format!("input '{}'", value.name);
            return Err(Error::input(at, &value.ty, format!("{dtype}{extents:?}")));
        }
    }
    Ok(())
}

/// Tensors of the host as inputs.
pub(super) fn given<'t>(tensors: &[&'t Tensor]) -> Vec<Given<'t>> {
    tensors.iter().map(|tensor| Given::Host(tensor)).collect()
}

/// The results of a run that keeps none of them on the device.
pub(super) fn on_host(results: Vec<(String, Kept)>) -> Result<Vec<(String, Tensor)>> {
    let host = |(name, kept)| match kept {
        Kept::Host(tensor) => Ok((name, tensor)),
        Kept::Device(_) => Err(Error::internal("a result that stayed on the device")),
    };
    results.into_iter().map(host).collect()
}

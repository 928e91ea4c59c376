//! The operators of an ONNX model, and what becomes of each node.

use super::{item, onnx};
use crate::output::{Align, Table, safe};
use crate::run::{InputShape, NamedDim};
use serde_json::{Value, json};
use std::collections::BTreeMap;
use std::io::{self, Write};
use wginfer::Error;
use wginfer::formats::onnx::{Dimension, ValueInfo};
use wginfer::gpu::DeviceCaps;
use wginfer::onnx::{Fate, Form, Model};

/// The extent of a free dimension of a picture, and of anything else.
const PICTURE: usize = 224;
const SEQUENCE: usize = 16;
/// Nodes on the CPU that are told one by one.
const SHOWN: usize = 5;

/// What came of looking at the operators for some inputs.
#[derive(Debug)]
pub(super) struct Trial {
    /// The inputs it was tried with.
    pub(super) tried: Vec<String>,
    /// By operator: how many nodes have each fate, in the order of [`FATES`].
    counts: BTreeMap<String, [usize; FATES.len()]>,
    /// Nodes that the CPU computes though there is a GPU, and why.
    pub(super) on_cpu: Vec<String>,
    pub(super) problem: Option<Error>,
    /// Whether other inputs would not help.
    pub(super) refuses: bool,
}

/// Columns of the table, and what they are called in JSON.
const FATES: [(&str, &str); 5] =
    [("GPU", "gpu"), ("CPU", "cpu"), ("gone", "gone"), ("open", "open"), ("refused", "refused")];

/// What the columns that need it mean.
const MEANING: [(usize, &str); 4] = [
    (1, "CPU: the CPU computes these though there is a GPU"),
    (2, "gone: constants, shapes and what nobody reads, done before anything runs"),
    (3, "open: behind a value that only a run has, or a node that stops the model"),
    (4, "refused: wginfer does not have the operator"),
];

/// Looks at a model's operators for inputs of these extents.
pub(super) fn trial(model: &Model, shapes: &[InputShape], dims: &[NamedDim]) -> Trial {
    let mut inputs = Vec::new();
    for info in model.inputs().iter().filter(|info| model.default_of(&info.name).is_none()) {
        if let Some(dtype) = info.dtype {
            // A sequence is tried with one element.
            let name = match info.form {
                Form::Tensor | Form::Optional => info.name.clone(),
                Form::Sequence | Form::OptionalSequence => format!("{}[0]", info.name),
            };
            inputs.push((name, dtype, extents(info, shapes, dims)));
        }
    }
    let given: Vec<_> =
        inputs.iter().map(|(name, dtype, n)| (name.as_str(), *dtype, n.as_slice())).collect();
    let survey = model.survey(&given, &DeviceCaps::webgpu_minimum());
    let refuses = !model.missing().is_empty() || model.inputs().iter().any(|i| i.dtype.is_none());
    let tried = given.iter().map(|(name, dtype, n)| format!("{name} = {dtype}{n:?}")).collect();
    let mut trial = Trial {
        tried,
        counts: BTreeMap::new(),
        on_cpu: Vec::new(),
        problem: survey.problem,
        refuses,
    };
    for (node, fate) in survey.nodes {
        let operator = match node.domain.as_str() {
            "" => node.op_type.clone(),
            domain => format!("{domain}.{}", node.op_type),
        };
        let column = match &fate {
            Fate::Gpu => 0,
            Fate::Cpu(_) => 1,
            Fate::Gone => 2,
            Fate::Unknown => 3,
            Fate::Refused => 4,
        };
        trial.counts.entry(operator).or_default()[column] += 1;
        if let Fate::Cpu(why) = fate {
            trial.on_cpu.push(format!("node '{}' ({}): {why}", node.name, node.op_type));
        }
    }
    trial
}

fn extents(info: &ValueInfo, shapes: &[InputShape], dims: &[NamedDim]) -> Vec<usize> {
    if let Some(shape) = shapes.iter().find(|shape| shape.name == info.name) {
        return shape.extents.clone();
    }
    let declared = info.dims.as_deref().unwrap_or_default();
    let free = |axis: usize| match (axis, declared.len()) {
        (0, _) => 1,
        (_, 4) => PICTURE,
        _ => SEQUENCE,
    };
    let extent = |(axis, dim): (usize, &Dimension)| match dim {
        Dimension::Number(number) => *number,
        Dimension::Unknown => free(axis),
        Dimension::Symbol(symbol) => {
            let said = dims.iter().find(|dim| dim.name == *symbol).map(|dim| dim.value);
            let batch = symbol.to_ascii_lowercase().contains("batch");
            said.unwrap_or(if batch { 1 } else { free(axis) })
        }
    };
    declared.iter().enumerate().map(extent).collect()
}

/// The table of operators, and whether the model can be run.
pub(super) fn text(out: &mut impl Write, trial: &Trial) -> io::Result<()> {
    let total = |column: usize| trial.counts.values().map(|row| row[column]).sum::<usize>();
    let used: Vec<usize> = (0..FATES.len()).filter(|&column| total(column) > 0).collect();
    let mut columns = vec![("operator", Align::Left), ("nodes", Align::Right)];
    columns.extend(used.iter().map(|&column| (FATES[column].0, Align::Right)));
    let mut table = Table::new(2, &columns);
    let mut rows: Vec<_> = trial.counts.iter().collect();
    rows.sort_by_key(|(_, row)| std::cmp::Reverse(row.iter().sum::<usize>()));
    for (operator, row) in rows {
        let number = |n: usize| if n == 0 { "-".to_string() } else { n.to_string() };
        let mut cells = vec![safe(operator), number(row.iter().sum())];
        cells.extend(used.iter().map(|&column| number(row[column])));
        table.row(cells);
    }
    writeln!(out, "Operators\n{table}")?;
    for (_, meaning) in MEANING.iter().filter(|(column, _)| used.contains(column)) {
        writeln!(out, "  {meaning}")?;
    }
    writeln!(out, "  Looked at for a GPU with the limits that every WebGPU device has, and")?;
    for tried in &trial.tried {
        writeln!(out, "    {}", safe(tried))?;
    }
    writeln!(out)?;
    for line in trial.on_cpu.iter().take(SHOWN) {
        item(out, &format!("on the CPU: {line}"))?;
    }
    if let Some(more @ 1..) = trial.on_cpu.len().checked_sub(SHOWN) {
        item(out, &format!("on the CPU: {more} more"))?;
    }
    onnx::problem(out, trial)
}

/// The same for programs.
pub(super) fn report(trial: &Trial) -> Vec<Value> {
    let one = |(operator, row): (&String, &[usize; FATES.len()])| {
        let mut entry = json!({ "operator": operator, "nodes": row.iter().sum::<usize>() });
        for ((_, key), &number) in FATES.iter().zip(row) {
            entry[*key] = number.into();
        }
        entry
    };
    trial.counts.iter().map(one).collect()
}

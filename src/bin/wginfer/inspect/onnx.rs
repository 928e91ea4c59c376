//! What an ONNX file holds.

use super::operators::{self, Trial};
use super::summary::TypeUse;
use super::{Args, item, type_json, type_table, verdict};
use crate::failure::Failure;
use crate::output::{self, Fields, bytes, count, safe, shortened};
use serde_json::{Value, json};
use std::collections::BTreeMap;
use std::io::{self, BufWriter, Write};
use std::sync::Arc;
use wginfer::formats::onnx::{Constant, Dimension, Form, OnnxFile, OnnxGraph, ValueInfo};
use wginfer::onnx::{Attribute, Model};

/// The most characters of an input's name and of its type.
const NAME: usize = 32;
const TYPE: usize = 42;

/// The facts about a file that a reader wants first.
struct Summary<'m> {
    file: &'m OnnxFile,
    bytes: u64,
    types: Vec<TypeUse>,
    parameters: u64,
    parameter_bytes: u64,
    trial: Trial,
}

pub(super) fn run(args: &Args) -> Result<(), Failure> {
    let model = Model::open(&args.file)?;
    let io = |source| wginfer::Error::Io { path: args.file.clone(), source };
    let types = types(&constants(&model.file().graph));
    let summary = Summary {
        file: model.file(),
        bytes: std::fs::metadata(&args.file).map_err(io)?.len(),
        parameters: types.iter().map(|row| row.parameters).sum(),
        parameter_bytes: types.iter().map(|row| row.bytes).sum(),
        types,
        trial: operators::trial(&model, &args.shapes, &args.dims),
    };
    let mut out = BufWriter::new(io::stdout().lock());
    if args.json {
        output::json(&mut out, &report(&summary, args))?;
    } else {
        text(&mut out, &summary, args)?;
    }
    out.flush()?;
    verdict(args, summary.trial.problem.is_none())
}

/// The constants of a graph and of the bodies in it, with their names: initializers
/// and the values of `Constant` nodes.
fn constants(graph: &OnnxGraph) -> BTreeMap<String, Constant> {
    let mut found: BTreeMap<_, _> = graph
        .initializers
        .iter()
        .map(|(name, constant)| (name.clone(), constant.clone()))
        .collect();
    for node in &graph.nodes {
        if let (Some(Attribute::Tensor(tensor)), "Constant", Some(name)) =
            (node.attributes.get("value"), node.op_type.as_str(), node.outputs.first())
        {
            found.insert(name.clone(), Constant::Tensor(tensor.clone()));
        }
        for body in node.graphs.values() {
            let inner = constants(body).into_iter();
            found.extend(inner.map(|(name, constant)| (format!("{}/{name}", node.name), constant)));
        }
    }
    found
}

fn types(constants: &BTreeMap<String, Constant>) -> Vec<TypeUse> {
    let mut types: BTreeMap<String, TypeUse> = BTreeMap::new();
    for constant in constants.values() {
        let (name, parameters, bytes) = match constant {
            Constant::Tensor(tensor) => {
                let elements: usize = tensor.extents().iter().product();
                (tensor.dtype().to_string(), elements as u64, tensor.bytes().len() as u64)
            }
            Constant::Unsupported(what) => (what.clone(), 0, 0),
        };
        let supported = matches!(constant, Constant::Tensor(_));
        let row = types.entry(name.clone()).or_insert(TypeUse {
            name,
            supported,
            tensors: 0,
            parameters: 0,
            bytes: 0,
        });
        row.tensors += 1;
        row.parameters = row.parameters.saturating_add(parameters);
        row.bytes = row.bytes.saturating_add(bytes);
    }
    let mut types: Vec<_> = types.into_values().collect();
    types.sort_by_key(|row| std::cmp::Reverse(row.bytes));
    types
}

fn text(out: &mut impl Write, summary: &Summary<'_>, args: &Args) -> io::Result<()> {
    let graph = &summary.file.graph;
    writeln!(out, "{}\n{}", safe(&summary.file.name), fields(summary))?;
    writeln!(out, "Inputs\n{}", values(&graph.inputs, graph))?;
    writeln!(out, "Outputs\n{}", values(&graph.outputs, graph))?;
    if !summary.types.is_empty() {
        writeln!(out, "Constants\n{}", type_table(&summary.types))?;
    }
    operators::text(out, &summary.trial)?;
    if args.metadata {
        writeln!(out, "\nMetadata")?;
        for (key, value) in &summary.file.metadata {
            let key = safe(key);
            let room = output::WIDTH.saturating_sub(key.chars().count() + 5).max(16);
            writeln!(out, "  {key} = {}", shortened(&safe(value), room))?;
        }
    }
    if args.tensors {
        writeln!(out, "\nTensors")?;
        write!(out, "{}", tensor_table(graph))?;
    }
    Ok(())
}

fn fields(summary: &Summary<'_>) -> Fields {
    let file = summary.file;
    let (all, main) = (file.graph.all_nodes().len(), file.graph.nodes.len());
    let inner = match all - main {
        0 => String::new(),
        inner => format!(", {inner} of them in bodies"),
    };
    let mut fields = Fields::indented(2);
    fields
        .add(
            "format",
            format_args!("ONNX, IR version {}, {}", file.ir_version, bytes(summary.bytes)),
        )
        .maybe("producer", Some(safe(&file.producer)).filter(|text| !text.is_empty()))
        .maybe("graph", Some(safe(&file.graph.name)).filter(|text| !text.is_empty()))
        .add("operator sets", opsets(file))
        .add(
            "parameters",
            format_args!("{} in {}", count(summary.parameters), bytes(summary.parameter_bytes)),
        )
        .add("nodes", format_args!("{all}{inner}"))
        .add("metadata", output::count_noun(file.metadata.len(), "key"));
    fields
}

fn opsets(file: &OnnxFile) -> String {
    let used: Vec<&str> = file.graph.all_nodes().iter().map(|node| node.domain.as_str()).collect();
    let one = |(domain, version): (&String, &u32)| {
        let domain = if domain.is_empty() { "ai.onnx" } else { domain };
        format!("{}\u{a0}{version}", safe(domain))
    };
    // Exporters list domains that nothing uses.
    let sets = file
        .opsets
        .iter()
        .filter(|(domain, _)| domain.is_empty() || used.contains(&domain.as_str()));
    sets.map(one).collect::<Vec<_>>().join(", ")
}

/// Names and types, a line for each.
fn values(infos: &[ValueInfo], graph: &OnnxGraph) -> String {
    // Old files list all constants among the inputs.
    let shown = |info: &&ValueInfo| !graph.initializers.contains_key(&info.name);
    let mut table = output::Table::plain(2, 2);
    for info in infos.iter().filter(shown) {
        table.row([shortened(&safe(&info.name), NAME), shortened(&safe(&info.to_string()), TYPE)]);
    }
    table.to_string()
}

fn tensor_table(graph: &Arc<OnnxGraph>) -> output::Table {
    use output::Align::{Left, Right};
    let columns = [("type", Left), ("size", Right), ("extents", Left), ("name", Left)];
    let mut table = output::Table::new(2, &columns);
    for (name, constant) in constants(graph) {
        let (ty, size, extents) = match &constant {
            Constant::Tensor(tensor) => (
                tensor.dtype().to_string(),
                bytes(tensor.bytes().len() as u64),
                format!("{:?}", tensor.extents()),
            ),
            Constant::Unsupported(what) => (format!("{what} *"), "unknown".into(), String::new()),
        };
        table.row([ty, size, extents, safe(&name)]);
    }
    table
}

fn report(summary: &Summary<'_>, args: &Args) -> Value {
    let file = summary.file;
    let infos = |infos: &[ValueInfo]| -> Vec<Value> {
        let own = infos.iter().filter(|info| !file.graph.initializers.contains_key(&info.name));
        own.map(value_json).collect()
    };
    let problem = summary.trial.problem.as_ref().map(ToString::to_string);
    let mut report = json!({
        "schema": 1,
        "file": file.name,
        "format": { "name": "onnx", "version": file.ir_version },
        "bytes": summary.bytes,
        "name": file.graph.name,
        "producer": file.producer,
        "opsets": file.opsets,
        "inputs": infos(&file.graph.inputs),
        "outputs": infos(&file.graph.outputs),
        "parameters": summary.parameters,
        "parameter_bytes": summary.parameter_bytes,
        "types": summary.types.iter().map(type_json).collect::<Vec<_>>(),
        "nodes": file.graph.all_nodes().len(),
        "operators": operators::report(&summary.trial),
        "tried_with": summary.trial.tried,
        "on_the_cpu": summary.trial.on_cpu,
        "runnable": problem.is_none(),
        "problems": problem.into_iter().collect::<Vec<_>>(),
    });
    if args.metadata {
        let entry = |(key, value): &(String, String)| json!({ "key": key, "value": value });
        report["metadata"] = file.metadata.iter().map(entry).collect::<Vec<_>>().into();
    }
    if args.tensors {
        let entry = |(name, constant): (String, Constant)| match constant {
            Constant::Tensor(tensor) => json!({
                "name": name,
                "type": tensor.dtype().to_string(),
                "supported": true,
                "extents": tensor.extents(),
                "bytes": tensor.bytes().len(),
            }),
            Constant::Unsupported(what) => json!({
                "name": name, "type": what, "supported": false, "extents": null, "bytes": null,
            }),
        };
        report["tensors"] =
            constants(&file.graph).into_iter().map(entry).collect::<Vec<_>>().into();
    }
    report
}

/// A dimension is a number, a name, or `null` where it may be anything.
fn value_json(info: &ValueInfo) -> Value {
    let dim = |dim: &Dimension| match dim {
        Dimension::Number(number) => json!(number),
        Dimension::Symbol(name) => json!(name),
        Dimension::Unknown => Value::Null,
    };
    json!({
        "name": info.name,
        "type": info.dtype.map_or_else(|| info.spelled.clone(), |dtype| dtype.to_string()),
        "supported": info.dtype.is_some(),
        "form": form(info.form),
        "dims": info.dims.as_ref().map(|dims| dims.iter().map(dim).collect::<Vec<_>>()),
    })
}

/// What a value is made of; for programs.
fn form(form: Form) -> &'static str {
    match form {
        Form::Tensor => "tensor",
        Form::Sequence => "sequence",
        Form::Optional => "optional",
        Form::OptionalSequence => "optional sequence",
    }
}

/// What is wrong, for people.
pub(super) fn problem(out: &mut impl Write, trial: &Trial) -> io::Result<()> {
    match &trial.problem {
        None => writeln!(out, "This model can be run."),
        Some(problem) => {
            let with = if trial.refuses { "" } else { " with these inputs (--shape, --dim)" };
            writeln!(out, "This model cannot be run{with}:")?;
            item(out, &problem.to_string())
        }
    }
}

//! `wginfer inspect`: what a model file holds.

mod metadata;
mod onnx;
mod operators;
mod summary;

use crate::failure::Failure;
use crate::fetch;
use crate::output::{self, Align, Fields, Table, bytes, count, safe};
use crate::run::{InputShape, NamedDim};
use serde_json::{Value, json};
use std::fs::File;
use std::io::{self, BufWriter, Read, Write};
use std::path::{Path, PathBuf};
use summary::{Summary, TypeUse};
use wginfer::formats::gguf::{self, GgufFile, TensorInfo};

#[derive(Debug, clap::Args)]
pub(crate) struct Args {
    /// The GGUF or ONNX file
    file: PathBuf,
    /// Print JSON instead of text
    #[arg(long)]
    json: bool,
    /// List every tensor
    #[arg(long)]
    tensors: bool,
    /// List every key and value; long ones are abbreviated
    #[arg(long)]
    metadata: bool,
    /// Of an ONNX model: extents of an input for which its operators are looked
    /// at: NAME=1x3x224x224
    #[arg(long = "shape", value_name = "NAME=EXTENTS")]
    shapes: Vec<InputShape>,
    /// Of an ONNX model: a named dimension of its inputs: batch=4
    #[arg(long = "dim", value_name = "NAME=N")]
    dims: Vec<NamedDim>,
}

pub(crate) fn run(args: &Args) -> Result<(), Failure> {
    if is_onnx(&args.file) {
        return onnx::run(args);
    }
    let file = gguf::open(fetch::local(&args.file, false)?)?;
    let summary = Summary::new(&file);
    let mut out = BufWriter::new(io::stdout().lock());
    if args.json {
        output::json(&mut out, &report(&file, &summary, args))?;
    } else {
        text(&mut out, &file, &summary, args)?;
    }
    out.flush()?;
    verdict(args, summary.problems.is_empty())
}

/// A model that cannot be run is a failure for scripts that ask.
fn verdict(args: &Args, runnable: bool) -> Result<(), Failure> {
    let name = || safe(&args.file.to_string_lossy());
    if runnable { Ok(()) } else { Err(Failure::Unusable(name())) }
}

/// By its name, or if that says nothing by its first bytes: ONNX files have no
/// mark of their own.
pub(crate) fn is_onnx(path: &Path) -> bool {
    let named = |ending: &str| path.extension().is_some_and(|e| e.eq_ignore_ascii_case(ending));
    let gguf = || {
        let mut start = [0; 4];
        let read = File::open(path).and_then(|mut file| file.read_exact(&mut start));
        // What cannot be read is left to the reader of GGUF, which says why.
        read.is_err() || start == *b"GGUF"
    };
    named("onnx") || !(named("gguf") || gguf())
}

fn text(
    out: &mut impl Write,
    file: &GgufFile,
    summary: &Summary<'_>,
    args: &Args,
) -> io::Result<()> {
    writeln!(out, "{}\n{}", safe(file.name()), fields(file, summary))?;
    if !summary.types.is_empty() {
        writeln!(out, "{}", type_table(&summary.types))?;
    }
    if summary.types.iter().any(|row| !row.supported) {
        writeln!(out, "  * unsupported: tensors of this type cannot be computed with\n")?;
    }
    writeln!(out, "Memory on a device\n{}", memory(summary))?;
    match summary.problems.as_slice() {
        [] => writeln!(out, "This model can be run.")?,
        problems => {
            writeln!(out, "This model cannot be run:")?;
            problems.iter().try_for_each(|problem| item(out, problem))?;
        }
    }
    if args.metadata {
        writeln!(out, "\nMetadata")?;
        for (key, value) in file.metadata().iter() {
            let key = safe(key);
            let room = output::WIDTH.saturating_sub(key.chars().count() + 5);
            writeln!(out, "  {key} = {}", metadata::line(&value, room))?;
        }
    }
    if args.tensors {
        writeln!(out, "\nTensors")?;
        write!(out, "{}", tensor_table(file))?;
    }
    Ok(())
}

/// An item of a list.
fn item(out: &mut impl Write, text: &str) -> io::Result<()> {
    for (i, line) in output::wrapped(&safe(text), 76).iter().enumerate() {
        writeln!(out, "{}{line}", if i == 0 { "  - " } else { "    " })?;
    }
    Ok(())
}

fn fields(file: &GgufFile, summary: &Summary<'_>) -> Fields {
    let mut fields = Fields::indented(2);
    fields
        .add(
            "format",
            format_args!("GGUF version {}, {}", file.version(), bytes(file.file_bytes())),
        )
        .maybe("name", summary.name.map(safe))
        .add("architecture", safe(summary.architecture.unwrap_or("not given")))
        .add("parameters", count(summary.parameters))
        .maybe("context", summary.context.map(|n| format!("{n} tokens")))
        .maybe("blocks", summary.blocks_line())
        .maybe("attention", summary.attention_line())
        .maybe("tokenizer", summary.tokenizer_line())
        .add("chat template", if summary.has_template { "yes" } else { "no" })
        .add("tensors", format_args!("{}, aligned to {} bytes", summary.tensors, file.alignment()));
    fields
}

fn type_table(types: &[TypeUse]) -> Table {
    use Align::{Left, Right};
    let columns = [
        ("type", Left),
        ("tensors", Right),
        ("parameters", Right),
        ("size", Right),
        ("share", Right),
    ];
    let mut table = Table::new(2, &columns);
    let total: u64 = types.iter().map(|row| row.bytes).sum();
    for row in types {
        let share = if total == 0 { 0.0 } else { 100.0 * row.bytes as f64 / total as f64 };
        let mark = if row.supported { "" } else { " *" };
        table.row([
            format!("{}{mark}", row.name),
            row.tensors.to_string(),
            count(row.parameters),
            bytes(row.bytes),
            format!("{share:.1}%"),
        ]);
    }
    table
}

fn memory(summary: &Summary<'_>) -> Fields {
    let mut fields = Fields::indented(2);
    fields.add("weights", bytes(summary.device_bytes));
    if let Some((name, size)) = summary.largest {
        fields.add("largest tensor", format_args!("{} ({})", bytes(size), safe(name)));
    }
    if let Some(cache) = summary.cache.as_ref().filter(|cache| cache.elements_per_token > 0) {
        let at = |elements: u64| bytes(elements.saturating_mul(2));
        fields.add(
            "cache in f16",
            format_args!(
                "{} per token, {} for {} tokens; twice that in f32",
                at(cache.elements_per_token),
                at(cache.elements_per_token.saturating_mul(cache.context)),
                cache.context
            ),
        );
    }
    if let Some(cache) = summary.cache.as_ref().filter(|cache| cache.fixed_bytes > 0) {
        fields.add("states", format_args!("{} for each text", bytes(cache.fixed_bytes)));
    }
    fields
}

fn tensor_table(file: &GgufFile) -> Table {
    let columns = [
        ("type", Align::Left),
        ("size", Align::Right),
        ("extents", Align::Left),
        ("name", Align::Left),
    ];
    let mut table = Table::new(2, &columns);
    for info in file.tensors() {
        let mark = if info.dtype().is_some() { "" } else { " *" };
        table.row([
            format!("{}{mark}", info.ggml_type()),
            info.bytes().map_or("unknown".into(), bytes),
            format!("{:?}", info.extents()),
            safe(info.name()),
        ]);
    }
    table
}

fn report(file: &GgufFile, summary: &Summary<'_>, args: &Args) -> Value {
    let mut report = json!({
        "schema": 1,
        "file": file.name(),
        "format": { "name": "gguf", "version": file.version(), "alignment": file.alignment() },
        "bytes": file.file_bytes(),
        "name": summary.name,
        "architecture": summary.architecture,
        "parameters": summary.parameters,
        "context": summary.context,
        "blocks": summary.blocks,
        "width": summary.width,
        "feed_forward": summary.feed_forward,
        "heads": summary.heads,
        "kv_heads": summary.kv_heads,
        "tokenizer": {
            "model": summary.tokenizer,
            "pre": summary.pre_tokenizer,
            "tokens": summary.vocabulary,
        },
        "chat_template": summary.has_template,
        "types": summary.types.iter().map(type_json).collect::<Vec<_>>(),
        "memory": {
            "weights_bytes": summary.device_bytes,
            "largest_tensor_bytes": summary.largest.map(|(_, size)| size),
            "cache_elements_per_token": summary.cache.as_ref().map(|c| c.elements_per_token),
            "state_bytes": summary.cache.as_ref().map(|c| c.fixed_bytes),
            "default_context": summary.cache.as_ref().map(|c| c.context),
        },
        "runnable": summary.problems.is_empty(),
        "problems": summary.problems,
    });
    if args.metadata {
        report["metadata"] = file
            .metadata()
            .iter()
            .map(|(key, value)| metadata::entry(key, &value))
            .collect::<Vec<_>>()
            .into();
    }
    if args.tensors {
        report["tensors"] =
            file.tensors().map(|info| tensor_json(&info)).collect::<Vec<_>>().into();
    }
    report
}

fn type_json(row: &TypeUse) -> Value {
    json!({
        "type": row.name,
        "supported": row.supported,
        "tensors": row.tensors,
        "parameters": row.parameters,
        "bytes": row.bytes,
    })
}

fn tensor_json(info: &TensorInfo<'_>) -> Value {
    json!({
        "name": info.name(),
        "type": info.ggml_type().to_string(),
        "supported": info.dtype().is_some(),
        "extents": info.extents(),
        "bytes": info.bytes(),
        "offset": info.offset(),
    })
}

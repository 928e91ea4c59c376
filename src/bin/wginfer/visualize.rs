//! `wginfer visualize`: what the layers of an ONNX model see, as one picture.

mod layers;
mod maps;
mod sheet;
mod text;

use crate::device_args::DeviceArgs;
use crate::failure::Failure;
use crate::output::{self, Align, Table, note, safe, shortened, wrapped};
use crate::run::{InputArgs, InputSource, inputs};
use clap::builder::RangedU64ValueParser;
use layers::Layer;
use maps::Maps;
use serde_json::json;
use sheet::{Colors, Scale, Style};
use std::collections::HashMap;
use std::io::{self, Write};
use std::path::PathBuf;
use wginfer::onnx::{Model, OnnxOptions, OnnxSession};
use wginfer::{Backend, BackendChoice, DType, Tensor};

#[derive(Debug, clap::Args)]
pub(crate) struct Args {
    /// The ONNX file
    model: PathBuf,

    /// The picture the model looks at; [NAME=]FILE where it has several inputs
    #[arg(long = "image", value_name = "[NAME=]FILE")]
    images: Vec<InputSource>,

    /// The layers to show: names of nodes or of their outputs, or patterns with
    /// * and ?, separated by commas. Without it a few from first to last
    #[arg(short, long, value_name = "LIST", value_delimiter = ',')]
    layers: Vec<String>,

    /// Print the names of all layers and end
    #[arg(long)]
    list: bool,

    /// Where the picture is written
    #[arg(short, long, value_name = "PNG", default_value = "layers.png")]
    output: PathBuf,

    /// The most channels shown of each layer
    #[arg(long, value_name = "N", default_value_t = 24)]
    #[arg(value_parser = RangedU64ValueParser::<usize>::new().range(1..))]
    channels: usize,

    /// The colours, from the smallest value to the largest
    #[arg(long, value_enum, default_value_t = Colors::Viridis)]
    colors: Colors,

    /// Which values share a scale of colours
    #[arg(long, value_enum, default_value_t = Scale::Layer)]
    scale: Scale,

    /// What computes: an adapter's index or a part of its name (see `wginfer
    /// devices`), `cpu`, or `auto`
    #[arg(short, long, value_name = "ADAPTER", default_value = "auto", env = "WGINFER_ADAPTER")]
    adapter: BackendChoice,

    /// Print one JSON object instead of text
    #[arg(long)]
    json: bool,

    /// Print no notes about adapter and inputs
    #[arg(short, long)]
    quiet: bool,

    #[command(flatten)]
    given: InputArgs,

    #[command(flatten)]
    device: DeviceArgs,
}

pub(crate) fn run(mut args: Args) -> Result<(), Failure> {
    let model = Model::open(&args.model)?;
    let all = layers::all(&model);
    if args.list {
        return list(&args, &all);
    }
    let chosen = layers::choose(&all, &args.layers)?;
    args.given.inputs.append(&mut args.images);
    let given = inputs::gather(&args.given, &model, args.quiet)?;
    let (why, values) = compute(&args, &model, &chosen, &given)?;
    let mut shown = Vec::with_capacity(chosen.len());
    for layer in chosen {
        match values.get(&layer.value) {
            Some(tensor) if tensor.dtype() != DType::String => {
                shown.push((layer.clone(), Maps::of(tensor)?));
            }
            // Of what all layers are there is no need to speak.
            _ if args.layers.is_empty() || args.quiet => {}
            _ => note(format_args!("note: {} is no tensor of numbers", safe(&layer.value))),
        }
    }
    if args.layers.is_empty() {
        // Channels of one value each say little.
        let planes = shown.iter().any(|(_, maps)| maps.is_plane());
        shown.retain(|(_, maps)| maps.is_plane() || !planes);
        shown = layers::spaced(shown, layers::SPREAD);
    }
    let pictures = given.iter().filter(|(_, tensor)| tensor.extents().len() == 4);
    for (at, (name, tensor)) in pictures.enumerate() {
        shown.insert(at, (Layer::input(name), Maps::of(tensor)?));
    }
    let head = sheet::Head {
        model: file_name(&args.model),
        inputs: given.iter().map(|(name, tensor)| input_line(name, tensor)).collect(),
        why: why.clone(),
    };
    let style = Style { channels: args.channels, colors: args.colors, scale: args.scale };
    let picture = sheet::draw(&head, &shown, &style)?;
    picture.save(&args.output).map_err(|error| match error {
        image::ImageError::IoError(source) => {
            wginfer::Error::Io { path: args.output.clone(), source }
        }
        other => wginfer::Error::Format {
            file: args.output.display().to_string(),
            at: "the picture".into(),
            what: other.to_string(),
        },
    })?;
    report(&args, &why, &shown, picture.dimensions())
}

fn file_name(path: &std::path::Path) -> String {
    path.file_name().map_or_else(String::new, |name| name.to_string_lossy().into_owned())
}

fn input_line(name: &str, tensor: &Tensor) -> String {
    format!("{name}: {}{:?}", tensor.dtype(), tensor.extents())
}

/// The values of the layers that are tensors.
fn compute(
    args: &Args,
    model: &Model,
    layers: &[&Layer],
    given: &[(String, Tensor)],
) -> Result<(String, HashMap<String, Tensor>), Failure> {
    let names: Vec<&str> = layers.iter().map(|layer| layer.value.as_str()).collect();
    let exposed = model.with_outputs(&names)?;
    let (backend, why) = Backend::open_blocking(&args.adapter, args.device.options())?;
    if !args.quiet {
        note(wrapped(&safe(&format!("Adapter: {why}")), output::WIDTH).join("\n"));
    }
    let mut options = OnnxOptions { seed: args.given.seed, ..OnnxOptions::default() };
    options.session.disabled_passes = args.device.disabled_passes();
    let mut session = OnnxSession::new(exposed, &backend, options)?;
    let given: Vec<(&str, &Tensor)> = given.iter().map(|(name, t)| (name.as_str(), t)).collect();
    let outputs = session.run_blocking(&given)?;
    Ok((why, outputs.into_iter().collect()))
}

fn list(args: &Args, all: &[Layer]) -> Result<(), Failure> {
    let mut out = io::stdout().lock();
    if args.json {
        let entry = |layer: &Layer| json!({ "value": layer.value, "node": layer.node, "operator": layer.operator });
        let layers: Vec<_> = all.iter().map(entry).collect();
        output::json(&mut out, &json!({ "schema": 1, "layers": layers }))?;
    } else {
        let columns = [("value", Align::Left), ("operator", Align::Left), ("node", Align::Left)];
        let mut table = Table::new(0, &columns);
        for layer in all {
            table.row([safe(&layer.value), safe(&layer.operator), safe(&layer.node)]);
        }
        write!(out, "{table}")?;
    }
    Ok(out.flush()?)
}

fn report(
    args: &Args,
    why: &str,
    shown: &[(Layer, Maps)],
    (width, height): (u32, u32),
) -> Result<(), Failure> {
    let mut out = io::stdout().lock();
    if args.json {
        let entry = |(layer, maps): &(Layer, Maps)| {
            json!({
                "value": layer.value,
                "node": layer.node,
                "operator": layer.operator,
                "type": maps.ty,
                "extents": maps.extents,
                "min": maps.range.map(|(low, _)| low),
                "max": maps.range.map(|(_, high)| high),
                "mean": maps.mean,
                "not_finite": maps.odd,
            })
        };
        let value = json!({
            "schema": 1,
            "model": args.model.display().to_string(),
            "why": why,
            "output": args.output.display().to_string(),
            "width": width,
            "height": height,
            "layers": shown.iter().map(entry).collect::<Vec<_>>(),
        });
        output::json(&mut out, &value)?;
        return Ok(out.flush()?);
    }
    use Align::{Left, Right};
    let columns =
        [("layer", Left), ("operator", Left), ("min", Right), ("max", Right), ("values", Left)];
    let mut table = Table::new(0, &columns);
    for (layer, maps) in shown {
        let end = |end: Option<f64>| end.map_or("-".into(), sheet::number);
        table.row([
            shortened(&safe(&layer.value), 36),
            safe(&layer.operator),
            end(maps.range.map(|(low, _)| low)),
            end(maps.range.map(|(_, high)| high)),
            format!("{}{:?}", maps.ty, maps.extents),
        ]);
    }
    write!(out, "{table}\n{}: {width} x {height} pixels\n", args.output.display())?;
    Ok(out.flush()?)
}

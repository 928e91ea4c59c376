//! The options of `wginfer run`.

use super::picture::{Layout, PictureOptions, Resize};
use crate::device_args::DeviceArgs;
use clap::builder::RangedU64ValueParser;
use std::path::PathBuf;
use std::str::FromStr;
use wginfer::BackendChoice;

#[derive(Debug, clap::Args)]
pub(crate) struct Args {
    /// The ONNX file
    pub(super) model: PathBuf,

    #[command(flatten)]
    pub(super) given: InputArgs,

    /// Write the outputs to a .npz file
    #[arg(short, long, value_name = "FILE")]
    pub(super) output: Option<PathBuf>,

    /// Write the inputs to a .npz file, random ones included
    #[arg(long, value_name = "FILE")]
    pub(super) save_inputs: Option<PathBuf>,

    /// Run so often after a first run and say how long it takes
    #[arg(long, value_name = "N", default_value_t = 0)]
    #[arg(value_parser = RangedU64ValueParser::<usize>::new())]
    pub(super) repeat: usize,

    /// Print the time of each operator
    #[arg(long)]
    pub(super) profile: bool,

    /// Write the times as a Chrome trace (chrome://tracing, ui.perfetto.dev)
    #[arg(long, value_name = "FILE")]
    pub(super) trace: Option<PathBuf>,

    /// What computes: an adapter's index or a part of its name (see `wginfer
    /// devices`), `cpu`, or `auto`
    #[arg(short, long, value_name = "ADAPTER", default_value = "auto", env = "WGINFER_ADAPTER")]
    pub(super) adapter: BackendChoice,

    /// Fail where a part of the model cannot run on the GPU, instead of running
    /// that part on the CPU
    #[arg(long)]
    pub(super) gpu_only: bool,

    /// Print one JSON object instead of text
    #[arg(long)]
    pub(super) json: bool,

    /// Print no notes about adapter and inputs
    #[arg(short, long)]
    pub(super) quiet: bool,

    #[command(flatten)]
    pub(super) device: DeviceArgs,
}

/// What a model is given.
#[derive(Debug, clap::Args)]
pub(crate) struct InputArgs {
    /// An input: NAME=FILE, where FILE is a .npy file, FILE.npz:KEY (an array of
    /// an archive) or a picture. A .npz file without NAME gives all inputs that
    /// it has arrays for. Inputs that are not given are random
    #[arg(short, long = "input", value_name = "[NAME=]FILE")]
    pub(crate) inputs: Vec<InputSource>,

    /// A string of an input of strings: NAME=TEXT; several strings with several of
    /// these
    #[arg(long = "text", value_name = "NAME=TEXT")]
    pub(crate) texts: Vec<NamedText>,

    /// Extents of a random input: NAME=1x3x224x224
    #[arg(long = "shape", value_name = "NAME=EXTENTS")]
    pub(crate) shapes: Vec<InputShape>,

    /// A named dimension of random inputs, 1 without this: batch=4
    #[arg(long = "dim", value_name = "NAME=N")]
    pub(crate) dims: Vec<NamedDim>,

    /// Where random numbers start: the same seed gives the same random inputs, and
    /// the same results where the model itself draws at random. Without it random
    /// inputs are those of seed 0, and the model's own numbers new ones in every run
    #[arg(long, value_name = "N")]
    pub(crate) seed: Option<u64>,

    #[command(flatten)]
    pub(crate) picture: Picture,
}

/// How pictures become tensors.
#[derive(Debug, Clone, clap::Args)]
#[command(next_help_heading = "Pictures")]
pub(crate) struct Picture {
    /// Size in pixels, WIDTHxHEIGHT; without it the size that the model asks
    /// for, or the picture's own
    #[arg(long, value_name = "WxH", value_parser = parse_size)]
    size: Option<(u32, u32)>,

    /// How a picture of another shape is fitted: stretched, cropped around its
    /// middle, or padded with black on the right and below
    #[arg(long, value_enum, default_value_t = Resize::Stretch)]
    resize: Resize,

    /// Order of dimensions; without it what fits the model's input
    #[arg(long, value_enum)]
    layout: Option<Layout>,

    /// Blue comes first
    #[arg(long)]
    bgr: bool,

    /// Taken from the channels' values, which are 0 to 1: one number for all
    /// channels, or one for each
    #[arg(long, value_name = "LIST", value_delimiter = ',', default_value = "0")]
    mean: Vec<f32>,

    /// What the difference is divided by
    #[arg(long, value_name = "LIST", value_delimiter = ',', default_value = "1")]
    std: Vec<f32>,
}

impl Picture {
    pub(crate) fn options(&self) -> PictureOptions {
        PictureOptions {
            size: self.size,
            resize: self.resize,
            layout: self.layout,
            bgr: self.bgr,
            mean: self.mean.clone(),
            std: self.std.clone(),
        }
    }
}

/// `[NAME=]FILE[:KEY]`.
#[derive(Debug, Clone, PartialEq)]
pub(crate) struct InputSource {
    pub(crate) name: Option<String>,
    pub(crate) file: PathBuf,
    /// The array of an archive.
    pub(crate) key: Option<String>,
}

impl FromStr for InputSource {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let (name, file) = match text.split_once('=') {
            Some((name, file)) => (Some(name.to_string()), file),
            None => (None, text),
        };
        if file.is_empty() || name.as_deref() == Some("") {
            return Err("expected NAME=FILE or FILE".into());
        }
        const ARCHIVE: &str = ".npz:";
        let (file, key) = match file.find(ARCHIVE) {
            Some(at) => {
                let (file, key) = file.split_at(at + ARCHIVE.len() - 1);
                (file, Some(key[1..].to_string()))
            }
            None => (file, None),
        };
        Ok(InputSource { name, file: file.into(), key })
    }
}

/// `NAME=1x3x224x224`; nothing behind the `=` is a scalar.
#[derive(Debug, Clone, PartialEq)]
pub(crate) struct InputShape {
    pub(crate) name: String,
    pub(crate) extents: Vec<usize>,
}

impl FromStr for InputShape {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let (name, extents) = text.rsplit_once('=').ok_or("expected NAME=1x3x224x224")?;
        let number = |n: &str| n.trim().parse().map_err(|_| format!("'{n}' is not an extent"));
        let extents = match extents {
            "" => Vec::new(),
            extents => extents.split(['x', ',']).map(number).collect::<Result<_, String>>()?,
        };
        Ok(InputShape { name: name.into(), extents })
    }
}

/// `NAME=N`.
#[derive(Debug, Clone, PartialEq)]
pub(crate) struct NamedDim {
    pub(crate) name: String,
    pub(crate) value: usize,
}

impl FromStr for NamedDim {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let (name, value) = text.rsplit_once('=').ok_or("expected NAME=N")?;
        let value = value.parse().map_err(|_| format!("'{value}' is not an extent"))?;
        Ok(NamedDim { name: name.into(), value })
    }
}

/// `NAME=TEXT`.
#[derive(Debug, Clone, PartialEq)]
pub(crate) struct NamedText {
    pub(crate) name: String,
    pub(crate) text: String,
}

impl FromStr for NamedText {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let (name, text) = text.split_once('=').ok_or("expected NAME=TEXT")?;
        Ok(NamedText { name: name.into(), text: text.into() })
    }
}

fn parse_size(text: &str) -> Result<(u32, u32), String> {
    let numbers = text.split_once('x').and_then(|(w, h)| Some((w.parse().ok()?, h.parse().ok()?)));
    match numbers {
        Some((width, height)) if width > 0 && height > 0 => Ok((width, height)),
        _ => Err("expected WIDTHxHEIGHT, such as 224x224".into()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn inputs_have_names_files_and_keys() {
        let parse = |text: &str| text.parse::<InputSource>();
        let source = |name: Option<&str>, file: &str, key: Option<&str>| InputSource {
            name: name.map(String::from),
            file: file.into(),
            key: key.map(String::from),
        };
        assert_eq!(parse("x=a.npy"), Ok(source(Some("x"), "a.npy", None)));
        assert_eq!(parse("in.npz"), Ok(source(None, "in.npz", None)));
        assert_eq!(parse("x=b/in.npz:y"), Ok(source(Some("x"), "b/in.npz", Some("y"))));
        assert!(parse("x=").is_err());
        assert!(parse("=a.npy").is_err());
    }

    #[test]
    fn shapes_and_sizes_are_numbers() {
        let shape = "input:0=1x3x8".parse::<InputShape>().unwrap();
        assert_eq!((shape.name.as_str(), shape.extents), ("input:0", vec![1, 3, 8]));
        assert_eq!("s=".parse::<InputShape>().unwrap().extents, [0usize; 0]);
        assert!("x=1x-2".parse::<InputShape>().is_err());
        let text = "words=a=b c".parse::<NamedText>().unwrap();
        assert_eq!((text.name.as_str(), text.text.as_str()), ("words", "a=b c"));
        assert_eq!("n=4".parse::<NamedDim>().unwrap().value, 4);
        assert_eq!(parse_size("640x480"), Ok((640, 480)));
        assert!(parse_size("640").is_err() && parse_size("0x4").is_err());
    }
}

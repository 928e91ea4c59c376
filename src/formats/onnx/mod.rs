//! ONNX files: decoded, checked as a whole, functions expanded.
//!
//! [`open`] maps a file; raw weights, and those in files beside it, stay
//! slices of the maps. What operators mean is not known here. The format is
//! that of `onnx.proto`, any IR version.

mod check;
mod convert;
mod external;
mod functions;
mod model;
mod outputs;
pub mod proto;
mod sparse;
mod tensor;
mod wire;

pub use model::{Constant, Dimension, Form, OnnxFile, OnnxGraph, OnnxNode, ValueInfo};
pub(crate) use tensor::{dtype, spelled};

use super::files::map;
use crate::error::{Error, Result};
use crate::tensor::Bytes;
use prost::Message;
use std::path::Path;

/// Maps an ONNX file and reads it.
///
/// The file, and those its weights are in, must not be changed while it is
/// open: they are read in place.
///
/// # Errors
/// [`Error::Io`] where a file cannot be opened or mapped, otherwise as
/// [`parse`].
pub fn open(path: impl AsRef<Path>) -> Result<OnnxFile> {
    let path = path.as_ref();
    let folder = match path.parent() {
        Some(parent) if !parent.as_os_str().is_empty() => parent,
        _ => Path::new("."),
    };
    read(map(path)?, &path.display().to_string(), Some(folder))
}

/// Reads a file's bytes. `name` is what errors call the file.
///
/// # Errors
/// [`Error::Format`] where the bytes break a rule of the format, and if weights
/// are said to be in other files.
pub fn parse(bytes: impl Into<Bytes>, name: &str) -> Result<OnnxFile> {
    read(bytes.into(), name, None)
}

fn read(bytes: Bytes, name: &str, folder: Option<&Path>) -> Result<OnnxFile> {
    wire::look_over(&bytes, name)?;
    let buffer = prost::bytes::Bytes::from_owner(Whole(bytes.clone()));
    let model =
        proto::ModelProto::decode(buffer).map_err(|error| Error::format(name, "model", error))?;
    let tensors = tensor::Tensors {
        file: name,
        whole: bytes,
        external: external::External::new(folder.map(Path::to_path_buf)),
    };
    convert::file(&model, tensors)
}

/// All bytes of a file, to be sliced by the decoder.
struct Whole(Bytes);

impl AsRef<[u8]> for Whole {
    fn as_ref(&self) -> &[u8] {
        &self.0
    }
}

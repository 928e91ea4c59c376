//! Strings: rows only, which the host computes. No device has strings; what
//! numbers are made of them goes on where the rest of the model is.

mod cast;
mod encode;
mod host;
mod words;

pub(crate) use host::HOST;

//! Attributes of ONNX nodes.

use crate::error::{Error, Result};
use crate::tensor::Tensor;
use std::collections::BTreeMap;

/// The value of an attribute that is not a graph.
#[derive(Debug, Clone)]
pub enum Attribute {
    /// INT.
    Int(i64),
    /// FLOAT.
    Float(f32),
    /// STRING; bytes, usually UTF-8.
    String(Vec<u8>),
    /// TENSOR.
    Tensor(Tensor),
    /// INTS.
    Ints(Vec<i64>),
    /// FLOATS.
    Floats(Vec<f32>),
    /// STRINGS.
    Strings(Vec<Vec<u8>>),
    /// Of a type that no operator here reads: which.
    Other(String),
}

/// A node's attributes by name, read with the type that an operator expects.
#[derive(Debug, Clone, Default)]
pub struct Attributes(BTreeMap<String, Attribute>);

impl Attributes {
    /// Adds an attribute; the earlier one of that name, if there was one.
    pub fn insert(&mut self, name: impl Into<String>, value: Attribute) -> Option<Attribute> {
        self.0.insert(name.into(), value)
    }

    /// The attribute as it is.
    pub fn get(&self, name: &str) -> Option<&Attribute> {
        self.0.get(name)
    }

    /// The names, sorted.
    pub fn names(&self) -> impl Iterator<Item = &str> {
        self.0.keys().map(String::as_str)
    }

    /// An INT.
    ///
    /// # Errors
    /// If it is of another type.
    pub fn int(&self, name: &str) -> Result<Option<i64>> {
        match self.get(name) {
            None => Ok(None),
            Some(Attribute::Int(value)) => Ok(Some(*value)),
            Some(other) => Err(mistyped(name, "INT", other)),
        }
    }

    /// A FLOAT.
    ///
    /// # Errors
    /// If it is of another type.
    pub fn float(&self, name: &str) -> Result<Option<f32>> {
        match self.get(name) {
            None => Ok(None),
            Some(Attribute::Float(value)) => Ok(Some(*value)),
            Some(other) => Err(mistyped(name, "FLOAT", other)),
        }
    }

    /// A STRING.
    ///
    /// # Errors
    /// If it is of another type or not UTF-8.
    pub fn string(&self, name: &str) -> Result<Option<&str>> {
        match self.get(name) {
            None => Ok(None),
            Some(Attribute::String(value)) => std::str::from_utf8(value)
                .map(Some)
                .map_err(|_| Error::rule("", format!("attribute '{name}' is not UTF-8"))),
            Some(other) => Err(mistyped(name, "STRING", other)),
        }
    }

    /// A TENSOR.
    ///
    /// # Errors
    /// If it is of another type.
    pub fn tensor(&self, name: &str) -> Result<Option<&Tensor>> {
        match self.get(name) {
            None => Ok(None),
            Some(Attribute::Tensor(value)) => Ok(Some(value)),
            Some(other) => Err(mistyped(name, "TENSOR", other)),
        }
    }

    /// INTS.
    ///
    /// # Errors
    /// If it is of another type.
    pub fn ints(&self, name: &str) -> Result<Option<&[i64]>> {
        match self.get(name) {
            None => Ok(None),
            Some(Attribute::Ints(value)) => Ok(Some(value)),
            Some(other) => Err(mistyped(name, "INTS", other)),
        }
    }

    /// FLOATS.
    ///
    /// # Errors
    /// If it is of another type.
    pub fn floats(&self, name: &str) -> Result<Option<&[f32]>> {
        match self.get(name) {
            None => Ok(None),
            Some(Attribute::Floats(value)) => Ok(Some(value)),
            Some(other) => Err(mistyped(name, "FLOATS", other)),
        }
    }

    /// STRINGS.
    ///
    /// # Errors
    /// If it is of another type or one is not UTF-8.
    pub fn strings(&self, name: &str) -> Result<Option<Vec<&str>>> {
        match self.get(name) {
            None => Ok(None),
            Some(Attribute::Strings(values)) => {
                let text: std::result::Result<Vec<_>, _> =
                    values.iter().map(|value| std::str::from_utf8(value)).collect();
                text.map(Some)
                    .map_err(|_| Error::rule("", format!("attribute '{name}' is not UTF-8")))
            }
            Some(other) => Err(mistyped(name, "STRINGS", other)),
        }
    }
}

impl Attribute {
    /// Its type, as ONNX spells it.
    pub fn kind(&self) -> &str {
        match self {
            Attribute::Int(_) => "INT",
            Attribute::Float(_) => "FLOAT",
            Attribute::String(_) => "STRING",
            Attribute::Tensor(_) => "TENSOR",
            Attribute::Ints(_) => "INTS",
            Attribute::Floats(_) => "FLOATS",
            Attribute::Strings(_) => "STRINGS",
            Attribute::Other(kind) => kind,
        }
    }
}

fn mistyped(name: &str, expected: &str, got: &Attribute) -> Error {
    Error::rule("", format!("attribute '{name}' must be {expected}, got {}", got.kind()))
}

//! The rows by which ONNX operators are known.

use super::NodeCx;
use crate::error::Result;

/// How nodes of an ONNX operator become nodes of a graph. The rows of a family
/// stand in its room, `ops/<family>/onnx.rs`.
#[derive(Debug, Clone, Copy)]
pub struct OnnxOperator {
    /// The domain; empty for ONNX's own.
    pub domain: &'static str,
    /// The operator's type.
    pub name: &'static str,
    /// The first version of the domain's operator set that the row holds for.
    /// Of the rows that hold, the one with the largest number is taken.
    pub since: u32,
    /// Adds the node to the graph.
    pub import: fn(&mut NodeCx<'_>) -> Result<()>,
}

/// A row of ONNX's own domain.
pub(crate) const fn row(
    name: &'static str,
    since: u32,
    import: fn(&mut NodeCx<'_>) -> Result<()>,
) -> OnnxOperator {
    OnnxOperator { domain: "", name, since, import }
}

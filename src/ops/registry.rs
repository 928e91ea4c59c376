//! The table of operators: one line each.

use crate::validate::CaseFamily;

/// An operator as the tests, the documentation and the importers find it.
#[derive(Debug, Clone, Copy)]
pub struct OperatorInfo {
    /// Its name, the ONNX one where it has one.
    pub name: &'static str,
    /// The family, which is the name of its room in `ops`.
    pub family: &'static str,
    /// The cases it is tried on.
    pub cases: fn() -> Vec<CaseFamily>,
}

/// Every built-in operator.
pub const OPERATORS: &[OperatorInfo] = &[
    OperatorInfo { name: "Gather", family: "gather", cases: super::gather::cases },
    OperatorInfo { name: "RotaryEmbedding", family: "rotary", cases: super::rotary::cases },
    OperatorInfo { name: "TensorScatter", family: "state", cases: super::state::cases },
];

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
    OperatorInfo { name: "Concat", family: "movement", cases: super::movement::concat_cases },
    OperatorInfo { name: "Expand", family: "movement", cases: super::movement::expand_cases },
    OperatorInfo { name: "GatedMatMul", family: "matmul", cases: super::matmul::gated_cases },
    OperatorInfo { name: "LayerNormalization", family: "norm", cases: super::norm::layer_cases },
    OperatorInfo { name: "MatMul", family: "matmul", cases: super::matmul::matmul_cases },
    OperatorInfo { name: "Gather", family: "gather", cases: super::gather::cases },
    OperatorInfo { name: "RMSNormalization", family: "norm", cases: super::norm::rms_cases },
    OperatorInfo { name: "Reshape", family: "movement", cases: super::movement::reshape_cases },
    OperatorInfo { name: "RotaryEmbedding", family: "rotary", cases: super::rotary::cases },
    OperatorInfo {
        name: "SkipLayerNormalization",
        family: "norm",
        cases: super::norm::skip_layer_cases,
    },
    OperatorInfo {
        name: "SkipSimplifiedLayerNormalization",
        family: "norm",
        cases: super::norm::skip_rms_cases,
    },
    OperatorInfo { name: "Slice", family: "movement", cases: super::movement::slice_cases },
    OperatorInfo { name: "Softmax", family: "softmax", cases: super::softmax::cases },
    OperatorInfo { name: "TensorScatter", family: "state", cases: super::state::cases },
    OperatorInfo { name: "Transpose", family: "movement", cases: super::movement::transpose_cases },
];

//! The table of operators: one line each.

use super::elementwise::{self, Binary, Unary};
use super::{attention, gather, matmul, movement, norm, resize, rotary, scatter, softmax, state};
use crate::onnx::OnnxOperator;
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
    operator("Identity", "elementwise", || elementwise::unary_cases(Unary::Identity)),
    operator("Neg", "elementwise", || elementwise::unary_cases(Unary::Neg)),
    operator("Abs", "elementwise", || elementwise::unary_cases(Unary::Abs)),
    operator("Sign", "elementwise", || elementwise::unary_cases(Unary::Sign)),
    operator("Exp", "elementwise", || elementwise::unary_cases(Unary::Exp)),
    operator("Log", "elementwise", || elementwise::unary_cases(Unary::Log)),
    operator("Sqrt", "elementwise", || elementwise::unary_cases(Unary::Sqrt)),
    operator("Reciprocal", "elementwise", || elementwise::unary_cases(Unary::Reciprocal)),
    operator("Sigmoid", "elementwise", || elementwise::unary_cases(Unary::Sigmoid)),
    operator("Tanh", "elementwise", || elementwise::unary_cases(Unary::Tanh)),
    operator("Relu", "elementwise", || elementwise::unary_cases(Unary::Relu)),
    operator("LeakyRelu", "elementwise", || {
        elementwise::unary_cases(Unary::LeakyRelu { alpha: 0.01 })
    }),
    operator("Elu", "elementwise", || elementwise::unary_cases(Unary::Elu { alpha: 1.5 })),
    operator("Selu", "elementwise", || elementwise::unary_cases(Unary::Selu)),
    operator("Softplus", "elementwise", || elementwise::unary_cases(Unary::Softplus)),
    operator("Softsign", "elementwise", || elementwise::unary_cases(Unary::Softsign)),
    operator("HardSigmoid", "elementwise", || {
        elementwise::unary_cases(Unary::HardSigmoid { alpha: 0.2, beta: 0.5 })
    }),
    operator("HardSwish", "elementwise", || elementwise::unary_cases(Unary::HardSwish)),
    operator("Swish", "elementwise", || elementwise::unary_cases(Unary::Silu)),
    operator("Mish", "elementwise", || elementwise::unary_cases(Unary::Mish)),
    operator("Gelu", "elementwise", || elementwise::unary_cases(Unary::Gelu)),
    operator("GeluTanh", "elementwise", || elementwise::unary_cases(Unary::GeluTanh)),
    operator("Erf", "elementwise", || elementwise::unary_cases(Unary::Erf)),
    operator("Floor", "elementwise", || elementwise::unary_cases(Unary::Floor)),
    operator("Ceil", "elementwise", || elementwise::unary_cases(Unary::Ceil)),
    operator("Round", "elementwise", || elementwise::unary_cases(Unary::Round)),
    operator("Sin", "elementwise", || elementwise::unary_cases(Unary::Sin)),
    operator("Cos", "elementwise", || elementwise::unary_cases(Unary::Cos)),
    operator("Clip", "elementwise", elementwise::clip_cases),
    operator("Add", "elementwise", || elementwise::binary_cases(Binary::Add)),
    operator("Sub", "elementwise", || elementwise::binary_cases(Binary::Sub)),
    operator("Mul", "elementwise", || elementwise::binary_cases(Binary::Mul)),
    operator("Div", "elementwise", || elementwise::binary_cases(Binary::Div)),
    operator("Pow", "elementwise", || elementwise::binary_cases(Binary::Pow)),
    operator("Min", "elementwise", || elementwise::binary_cases(Binary::Min)),
    operator("Max", "elementwise", || elementwise::binary_cases(Binary::Max)),
    operator("PRelu", "elementwise", || elementwise::binary_cases(Binary::PRelu)),
    operator("And", "elementwise", || elementwise::binary_cases(Binary::And)),
    operator("Or", "elementwise", || elementwise::binary_cases(Binary::Or)),
    operator("Xor", "elementwise", || elementwise::binary_cases(Binary::Xor)),
    operator("Equal", "elementwise", || elementwise::binary_cases(Binary::Equal)),
    operator("Less", "elementwise", || elementwise::binary_cases(Binary::Less)),
    operator("LessOrEqual", "elementwise", || elementwise::binary_cases(Binary::LessOrEqual)),
    operator("Greater", "elementwise", || elementwise::binary_cases(Binary::Greater)),
    operator("GreaterOrEqual", "elementwise", || elementwise::binary_cases(Binary::GreaterOrEqual)),
    operator("GatedActivation", "elementwise", elementwise::gated_cases),
    operator("Cast", "elementwise", elementwise::cast_cases),
    operator("Where", "elementwise", elementwise::where_cases),
    operator("MatMul", "matmul", matmul::matmul_cases),
    operator("GatedMatMul", "matmul", matmul::gated_cases),
    operator("Attention", "attention", attention::cases),
    operator("Gather", "gather", gather::cases),
    operator("GatherElements", "gather", gather::elements_cases),
    operator("GatherND", "gather", gather::nd_cases),
    operator("Take", "gather", gather::take_cases),
    operator("Concat", "movement", movement::concat_cases),
    operator("Expand", "movement", movement::expand_cases),
    operator("Pad", "movement", movement::pad_cases),
    operator("Reshape", "movement", movement::reshape_cases),
    operator("Slice", "movement", movement::slice_cases),
    operator("Transpose", "movement", movement::transpose_cases),
    operator("Trilu", "movement", movement::trilu_cases),
    operator("LayerNormalization", "norm", norm::layer_cases),
    operator("RMSNormalization", "norm", norm::rms_cases),
    operator("SkipLayerNormalization", "norm", norm::skip_layer_cases),
    operator("SkipSimplifiedLayerNormalization", "norm", norm::skip_rms_cases),
    operator("GridSample", "resize", resize::grid_cases),
    operator("Resample", "resize", resize::resample_cases),
    operator("RoiAlign", "resize", resize::rois_cases),
    operator("RotaryEmbedding", "rotary", rotary::cases),
    operator("ScatterElements", "scatter", scatter::elements_cases),
    operator("ScatterND", "scatter", scatter::nd_cases),
    operator("Softmax", "softmax", softmax::softmax_cases),
    operator("LogSoftmax", "softmax", softmax::log_softmax_cases),
    operator("TensorScatter", "state", state::cases),
];

const fn operator(
    name: &'static str,
    family: &'static str,
    cases: fn() -> Vec<CaseFamily>,
) -> OperatorInfo {
    OperatorInfo { name, family, cases }
}

/// How the importer of ONNX models finds operators: one line a family.
pub const ONNX: &[&[OnnxOperator]] =
    &[gather::ONNX, movement::ONNX, resize::ONNX, scatter::ONNX, softmax::ONNX];

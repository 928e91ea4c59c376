//! The table of operators: one line each.

use super::elementwise::{Binary, Test, Unary, Whole};
use super::reduce::Reduction;
// Every family is in the table.
use super::*;
use crate::onnx::{HostOperator, OnnxOperator};
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
    operator("Tan", "elementwise", || elementwise::unary_cases(Unary::Tan)),
    operator("Asin", "elementwise", || elementwise::unary_cases(Unary::Asin)),
    operator("Acos", "elementwise", || elementwise::unary_cases(Unary::Acos)),
    operator("Atan", "elementwise", || elementwise::unary_cases(Unary::Atan)),
    operator("Sinh", "elementwise", || elementwise::unary_cases(Unary::Sinh)),
    operator("Cosh", "elementwise", || elementwise::unary_cases(Unary::Cosh)),
    operator("Asinh", "elementwise", || elementwise::unary_cases(Unary::Asinh)),
    operator("Acosh", "elementwise", || elementwise::unary_cases(Unary::Acosh)),
    operator("Atanh", "elementwise", || elementwise::unary_cases(Unary::Atanh)),
    operator("Celu", "elementwise", || elementwise::unary_cases(Unary::Celu { alpha: 2.0 })),
    operator("ThresholdedRelu", "elementwise", || {
        elementwise::unary_cases(Unary::ThresholdedRelu { alpha: 1.0 })
    }),
    operator("Shrink", "elementwise", || {
        elementwise::unary_cases(Unary::Shrink { lambd: 0.5, bias: 0.25 })
    }),
    operator("Not", "elementwise", || elementwise::whole_cases(Whole::Not)),
    operator("BitwiseNot", "elementwise", || elementwise::whole_cases(Whole::BitwiseNot)),
    operator("IsNaN", "elementwise", || elementwise::test_cases(&[Test::IsNaN])),
    operator("IsInf", "elementwise", elementwise::infinity_cases),
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
    operator("BitwiseAnd", "elementwise", || elementwise::binary_cases(Binary::BitwiseAnd)),
    operator("BitwiseOr", "elementwise", || elementwise::binary_cases(Binary::BitwiseOr)),
    operator("BitwiseXor", "elementwise", || elementwise::binary_cases(Binary::BitwiseXor)),
    operator("Mod", "elementwise", elementwise::mod_cases),
    operator("BitShift", "elementwise", elementwise::shift_cases),
    operator("GatedActivation", "elementwise", elementwise::gated_cases),
    operator("Cast", "elementwise", elementwise::cast_cases),
    operator("BitCast", "elementwise", elementwise::bit_cast_cases),
    operator("Where", "elementwise", elementwise::where_cases),
    operator("Chain", "elementwise", elementwise::chain_cases),
    operator("MatMul", "matmul", matmul::matmul_cases),
    operator("GatedMatMul", "matmul", matmul::gated_cases),
    operator("ExpertMatMul", "matmul", matmul::expert_cases),
    operator("GatedExpertMatMul", "matmul", matmul::gated_expert_cases),
    operator("Attention", "attention", attention::cases),
    operator("Conv", "conv", conv::conv_cases),
    operator("ConvTranspose", "conv", conv::conv_transpose_cases),
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
    operator("GroupNormalization", "norm", norm::group_cases),
    operator("LRN", "norm", norm::response_cases),
    operator("RMSNormalization", "norm", norm::rms_cases),
    operator("SkipLayerNormalization", "norm", norm::skip_layer_cases),
    operator("SkipSimplifiedLayerNormalization", "norm", norm::skip_rms_cases),
    operator("LinearAttention", "linear_attention", linear_attention::cases),
    operator("StatefulConvolution", "linear_attention", linear_attention::convolution_cases),
    operator("StatefulLinearAttention", "linear_attention", linear_attention::stateful_cases),
    operator("RNN", "recurrent", recurrent::rnn_cases),
    operator("LSTM", "recurrent", recurrent::lstm_cases),
    operator("GRU", "recurrent", recurrent::gru_cases),
    operator("ReduceSum", "reduce", || reduce::reduce_cases(Reduction::Sum)),
    operator("ReduceMean", "reduce", || reduce::reduce_cases(Reduction::Mean)),
    operator("ReduceMax", "reduce", || reduce::reduce_cases(Reduction::Max)),
    operator("ReduceMin", "reduce", || reduce::reduce_cases(Reduction::Min)),
    operator("ReduceProd", "reduce", || reduce::reduce_cases(Reduction::Prod)),
    operator("ReduceL1", "reduce", || reduce::reduce_cases(Reduction::L1)),
    operator("ReduceL2", "reduce", || reduce::reduce_cases(Reduction::L2)),
    operator("ReduceSumSquare", "reduce", || reduce::reduce_cases(Reduction::SumSquare)),
    operator("ReduceLogSum", "reduce", || reduce::reduce_cases(Reduction::LogSum)),
    operator("ReduceLogSumExp", "reduce", || reduce::reduce_cases(Reduction::LogSumExp)),
    operator("ArgMax", "reduce", || reduce::arg_cases(true)),
    operator("ArgMin", "reduce", || reduce::arg_cases(false)),
    operator("CumSum", "scan", || scan::cases(false)),
    operator("CumProd", "scan", || scan::cases(true)),
    operator("GridSample", "resize", resize::grid_cases),
    operator("Resample", "resize", resize::resample_cases),
    operator("RoiAlign", "resize", resize::rois_cases),
    operator("AveragePool", "pool", pool::average_pool_cases),
    operator("LpPool", "pool", pool::lp_pool_cases),
    operator("MaxPool", "pool", pool::max_pool_cases),
    operator("QuantizeLinear", "quantize", quantize::quantize_cases),
    operator("DequantizeLinear", "quantize", quantize::dequantize_cases),
    operator("Requantize", "quantize", quantize::requantize_cases),
    operator("QuantizeRange", "quantize", quantize::range_cases),
    operator("MatMulInteger", "quantize", quantize::matmul_integer_cases),
    operator("Patches", "quantize", quantize::patches_cases),
    operator("RotaryEmbedding", "rotary", rotary::cases),
    operator("RotaryScatter", "rotary", rotary::scatter_cases),
    operator("ScatterElements", "scatter", scatter::elements_cases),
    operator("ScatterND", "scatter", scatter::nd_cases),
    operator("Softmax", "softmax", softmax::softmax_cases),
    operator("LogSoftmax", "softmax", softmax::log_softmax_cases),
    operator("TensorScatter", "state", state::cases),
    operator("TopK", "topk", topk::cases),
];

const fn operator(
    name: &'static str,
    family: &'static str,
    cases: fn() -> Vec<CaseFamily>,
) -> OperatorInfo {
    OperatorInfo { name, family, cases }
}

/// How the importer of ONNX models finds operators: one line a family.
#[rustfmt::skip]
pub const ONNX: &[&[OnnxOperator]] = &[
    attention::ONNX,
    conv::ONNX,
    crate::onnx::ONNX,
    elementwise::CONTRIB,
    elementwise::ONNX,
    elementwise::TRAINING,
    gather::HOST,
    gather::CONTRIB,
    gather::ONNX,
    linear_attention::ONNX,
    matmul::ONNX,
    ml::ONNX,
    movement::ONNX,
    norm::CONTRIB,
    norm::ONNX,
    pool::ONNX,
    quantize::CONTRIB,
    quantize::ONNX,
    random::ONNX,
    recurrent::ONNX,
    reduce::ONNX,
    resize::ONNX,
    rotary::ONNX,
    scan::ONNX,
    scatter::ONNX,
    signal::ONNX,
    softmax::ONNX,
    state::ONNX,
    topk::ONNX,
];

/// How it finds the operators that the host computes.
pub const HOST: &[&[HostOperator]] =
    &[gather::COMPUTED, matmul::COMPUTED, ml::HOST, resize::COMPUTED, text::HOST];

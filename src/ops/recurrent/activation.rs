//! The functions that cells of recurrent networks apply.

use crate::ops::elementwise::Unary;

/// Which function.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Function {
    /// max(0, x)
    Relu,
    /// Hyperbolic tangent.
    Tanh,
    /// 1 / (1 + e^-x)
    Sigmoid,
    /// alpha x + beta
    Affine,
    /// x, or alpha x where x is negative.
    LeakyRelu,
    /// x where it is at least alpha, 0 below.
    ThresholdedRelu,
    /// alpha tanh(beta x)
    ScaledTanh,
    /// min(max(alpha x + beta, 0), 1)
    HardSigmoid,
    /// x, or alpha (e^x - 1) where x is negative.
    Elu,
    /// x / (1 + |x|)
    Softsign,
    /// ln(1 + e^x)
    Softplus,
}

/// A function of ONNX's RNN, LSTM and GRU with its two parameters, which those
/// functions that have none ignore.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Activation {
    /// Which function.
    pub function: Function,
    /// The first parameter.
    pub alpha: f32,
    /// The second parameter.
    pub beta: f32,
}

impl Function {
    /// Every function, by the numbers of `shaders/recurrent/io.wgsl`.
    pub const ALL: [Function; 11] = [
        Function::Relu,
        Function::Tanh,
        Function::Sigmoid,
        Function::Affine,
        Function::LeakyRelu,
        Function::ThresholdedRelu,
        Function::ScaledTanh,
        Function::HardSigmoid,
        Function::Elu,
        Function::Softsign,
        Function::Softplus,
    ];

    /// ONNX's name.
    pub fn name(self) -> &'static str {
        match self {
            Function::Relu => "Relu",
            Function::Tanh => "Tanh",
            Function::Sigmoid => "Sigmoid",
            Function::Affine => "Affine",
            Function::LeakyRelu => "LeakyRelu",
            Function::ThresholdedRelu => "ThresholdedRelu",
            Function::ScaledTanh => "ScaledTanh",
            Function::HardSigmoid => "HardSigmoid",
            Function::Elu => "Elu",
            Function::Softsign => "Softsign",
            Function::Softplus => "Softplus",
        }
    }

    /// The function of a name, in capitals or not.
    pub fn named(name: &str) -> Option<Function> {
        Function::ALL.into_iter().find(|function| function.name().eq_ignore_ascii_case(name))
    }

    /// The defaults of alpha and beta: for each, whether there is such a
    /// parameter, and its default if it has one.
    pub(crate) fn parameters(self) -> [Option<Option<f32>>; 2] {
        match self {
            Function::Affine => [Some(Some(1.0)), Some(Some(0.0))],
            Function::LeakyRelu => [Some(Some(0.01)), None],
            Function::ThresholdedRelu | Function::Elu => [Some(Some(1.0)), None],
            Function::ScaledTanh => [Some(None), Some(None)],
            Function::HardSigmoid => [Some(Some(0.2)), Some(Some(0.5))],
            _ => [None, None],
        }
    }
}

impl From<Function> for Activation {
    /// With the defaults; 0 for parameters that have none.
    fn from(function: Function) -> Self {
        let [alpha, beta] = function.parameters().map(|p| p.flatten().unwrap_or(0.0));
        Activation { function, alpha, beta }
    }
}

/// Unit round-off of binary32.
const U: f64 = 5.960_464_477_539_063e-8;

impl Activation {
    /// The same function among the elementwise ones, where it is there.
    fn unary(self) -> Option<Unary> {
        let Activation { function, alpha, beta } = self;
        Some(match function {
            Function::Relu => Unary::Relu,
            Function::Tanh => Unary::Tanh,
            Function::Sigmoid => Unary::Sigmoid,
            Function::LeakyRelu => Unary::LeakyRelu { alpha },
            Function::HardSigmoid => Unary::HardSigmoid { alpha, beta },
            Function::Elu => Unary::Elu { alpha },
            Function::Softsign => Unary::Softsign,
            Function::Softplus => Unary::Softplus,
            Function::Affine | Function::ThresholdedRelu | Function::ScaledTanh => return None,
        })
    }

    /// The exact value.
    pub fn eval(self, x: f64) -> f64 {
        let (alpha, beta) = (f64::from(self.alpha), f64::from(self.beta));
        match (self.unary(), self.function) {
            (Some(unary), _) => unary.eval(x),
            (None, Function::Affine) => alpha * x + beta,
            (None, Function::ScaledTanh) => alpha * (beta * x).tanh(),
            _ if x >= alpha => x,
            _ => 0.0,
        }
    }

    /// The value in f32 arithmetic.
    #[inline]
    pub fn eval_f32(self, x: f32) -> f32 {
        match self.function {
            Function::Sigmoid => Unary::Sigmoid.eval_f32(x),
            Function::Tanh => Unary::Tanh.eval_f32(x),
            Function::Affine => self.alpha * x + self.beta,
            Function::ScaledTanh => self.alpha * Unary::Tanh.eval_f32(self.beta * x),
            Function::ThresholdedRelu if x >= self.alpha => x,
            Function::ThresholdedRelu => 0.0,
            _ => self.unary().map_or(x, |unary| unary.eval_f32(x)),
        }
    }

    /// How far an f32 value may be from [`Activation::eval`] of `x` when the
    /// argument is off by up to `delta`. Products and sums may be rounded to
    /// either neighbour: 2 u.
    pub fn propagate(self, x: f64, delta: f64) -> f64 {
        let (alpha, beta) = (f64::from(self.alpha), f64::from(self.beta));
        let y = self.eval(x).abs();
        match (self.unary(), self.function) {
            (Some(unary), _) => unary.propagate(x, delta),
            (None, Function::Affine) => {
                let moved = alpha.abs() * delta;
                moved + 2.0 * U * ((alpha * x).abs() + y + 2.0 * moved)
            }
            (None, Function::ScaledTanh) => {
                let inner = beta.abs() * delta + 2.0 * U * (beta * x).abs();
                let moved = alpha.abs() * Unary::Tanh.propagate(beta * x, inner);
                moved + 2.0 * U * (y + moved)
            }
            // On which side of the step it is may not be known.
            _ if (x - alpha).abs() <= delta => x.abs() + delta,
            _ if x >= alpha => delta,
            _ => 0.0,
        }
    }

    /// The function's number in the shaders.
    pub(crate) fn number(self) -> u32 {
        let at = Function::ALL.iter().position(|function| *function == self.function);
        at.unwrap_or_default() as u32
    }
}

//! From ONNX models to graphs. A model is imported anew for every set of input
//! extents, so that all shapes are constants and shape arithmetic is gone
//! before anything is planned; see `ARCHITECTURE.md`.

mod attribute;
mod compose;
mod node;
mod operator;

pub use attribute::{Attribute, Attributes};
pub use node::NodeCx;
pub use operator::OnnxOperator;
pub(crate) use operator::row;

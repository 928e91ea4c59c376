//! From ONNX models to graphs. A model is imported anew for every set of input
//! extents, so that all shapes are constants and shape arithmetic is gone
//! before anything is planned; see `ARCHITECTURE.md`.

mod attribute;
mod compose;
mod control;
mod cut;
mod draw;
mod feeds;
mod host;
mod import;
mod inputs;
mod memo;
mod mixed;
mod model;
mod node;
mod operator;
mod refused;
mod rehearsal;
mod rows;
mod schema;
mod sequence;
mod session;
mod stage;
mod state;
mod survey;
mod value;

pub use crate::formats::onnx::{Dimension, Form, ValueInfo};
pub use attribute::{Attribute, Attributes};
pub use draw::Spread;
pub use host::{HostCx, HostOperator, HostResults, When};
pub use mixed::Fallback;
pub use model::{Missing, Model};
pub use node::NodeCx;
pub use operator::OnnxOperator;
pub(crate) use operator::row;
pub(crate) use rows::ONNX;
pub use session::{OnnxCounters, OnnxOptions, OnnxSession, Placement};
pub use survey::{Fate, Survey};
pub use value::OnnxValue;

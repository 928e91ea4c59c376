//! The graph every front door builds and every executor runs.

mod builder;
mod dim;
mod model;
mod types;

pub use builder::GraphBuilder;
pub(crate) use dim::gcd;
pub use dim::{Bindings, Dim, DimExpr, DimOp, Symbol};
pub use model::{Graph, Node, NodeId, Source, StateId, StateInfo, SymbolInfo, Value, ValueId};
pub use types::{Shape, TensorType};

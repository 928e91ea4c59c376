//! The one error type of the crate.
//!
//! Every variant carries what a person needs to act on it: the file, node,
//! tensor, input or limit concerned. Code that branches on the cause uses
//! [`Error::kind`]; messages may change between versions, kinds do not.

use std::fmt;
use std::path::PathBuf;

/// Shorthand for results with this crate's [`Error`].
pub type Result<T, E = Error> = std::result::Result<T, E>;

/// What went wrong, with the names of the things concerned.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum Error {
    /// A file could not be opened or read.
    #[error("{path}: {source}", path = path.display())]
    Io {
        /// The file concerned.
        path: PathBuf,
        /// The operating system's reason.
        source: std::io::Error,
    },
    /// A model file breaks the rules of its format.
    #[error("{file}: {at}: {what}")]
    Format {
        /// The file's name.
        file: String,
        /// The key, tensor or byte offset concerned.
        at: String,
        /// What is wrong there.
        what: String,
    },
    /// The file, graph or request is well formed but uses something this
    /// version does not implement.
    #[error("{at}: unsupported: {what}")]
    Unsupported {
        /// The node, tensor, key or option concerned.
        at: String,
        /// The unsupported thing, and what is supported instead.
        what: String,
    },
    /// A graph is not well formed: wrong rank, shape, dtype or attribute.
    #[error("node '{node}' ({op}): {what}")]
    Graph {
        /// The node's name.
        node: String,
        /// The node's operator.
        op: String,
        /// What is wrong, with the shapes and dtypes found.
        what: String,
    },
    /// A value handed in by the caller is not what was expected.
    #[error("{name}: expected {expected}, got {got}")]
    Input {
        /// The input's, option's or argument's name.
        name: String,
        /// What would be accepted.
        expected: String,
        /// What was given.
        got: String,
    },
    /// No adapter fits the request.
    #[error("no adapter: {what}{}", list(available))]
    NoAdapter {
        /// What was asked for and why nothing fits.
        what: String,
        /// The adapters that exist.
        available: Vec<String>,
    },
    /// Something needs more than a limit of the device or of the model.
    #[error("{what} needs {needed} of {limit_name}, the limit is {limit}")]
    Limit {
        /// The tensor, node or request concerned.
        what: String,
        /// The limit's name, as WebGPU or the model's file spells it.
        limit_name: String,
        /// How much is needed.
        needed: u64,
        /// How much there is.
        limit: u64,
    },
    /// The device or the host ran out of memory.
    #[error("out of memory while {doing} ({bytes} bytes asked)")]
    OutOfMemory {
        /// What was being done.
        doing: String,
        /// The size of the request that failed.
        bytes: u64,
    },
    /// The device was lost; open it again and rebuild the session.
    #[error("device lost while {doing}: {reason}")]
    DeviceLost {
        /// What was being done.
        doing: String,
        /// The driver's reason.
        reason: String,
    },
    /// The driver or `wgpu` refused something this crate asked for.
    #[error("device error while {doing}: {message}")]
    Device {
        /// What was being done.
        doing: String,
        /// The driver's message.
        message: String,
    },
    /// A shader does not compile or does not fit its host description.
    #[error("shader '{shader}': {what}")]
    Shader {
        /// The shader and its variant.
        shader: String,
        /// The compiler's or the binder's message.
        what: String,
    },
    /// The caller cancelled the work.
    #[error("cancelled while {doing}")]
    Cancelled {
        /// What was being done.
        doing: String,
    },
    /// An invariant of this crate does not hold: a bug, reported and not a panic.
    #[error("internal error (please report it): {0}")]
    Internal(String),
}

fn list(names: &[String]) -> String {
    match names.len() {
        0 => " (no adapters were found)".into(),
        _ => format!("; available: {}", names.join(", ")),
    }
}

/// The stable cause of an [`Error`].
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum ErrorKind {
    /// See [`Error::Io`].
    Io,
    /// See [`Error::Format`].
    Format,
    /// See [`Error::Unsupported`].
    Unsupported,
    /// See [`Error::Graph`].
    Graph,
    /// See [`Error::Input`].
    Input,
    /// See [`Error::NoAdapter`].
    NoAdapter,
    /// See [`Error::Limit`].
    Limit,
    /// See [`Error::OutOfMemory`].
    OutOfMemory,
    /// See [`Error::DeviceLost`].
    DeviceLost,
    /// See [`Error::Device`].
    Device,
    /// See [`Error::Shader`].
    Shader,
    /// See [`Error::Cancelled`].
    Cancelled,
    /// See [`Error::Internal`].
    Internal,
}

impl Error {
    /// The stable cause, for code that branches on it.
    pub fn kind(&self) -> ErrorKind {
        match self {
            Error::Io { .. } => ErrorKind::Io,
            Error::Format { .. } => ErrorKind::Format,
            Error::Unsupported { .. } => ErrorKind::Unsupported,
            Error::Graph { .. } => ErrorKind::Graph,
            Error::Input { .. } => ErrorKind::Input,
            Error::NoAdapter { .. } => ErrorKind::NoAdapter,
            Error::Limit { .. } => ErrorKind::Limit,
            Error::OutOfMemory { .. } => ErrorKind::OutOfMemory,
            Error::DeviceLost { .. } => ErrorKind::DeviceLost,
            Error::Device { .. } => ErrorKind::Device,
            Error::Shader { .. } => ErrorKind::Shader,
            Error::Cancelled { .. } => ErrorKind::Cancelled,
            Error::Internal(_) => ErrorKind::Internal,
        }
    }

    pub(crate) fn format(file: &str, at: impl fmt::Display, what: impl fmt::Display) -> Self {
        Error::Format { file: file.into(), at: at.to_string(), what: what.to_string() }
    }

    pub(crate) fn input(
        name: impl fmt::Display,
        expected: impl fmt::Display,
        got: impl fmt::Display,
    ) -> Self {
        Error::Input {
            name: name.to_string(),
            expected: expected.to_string(),
            got: got.to_string(),
        }
    }

    pub(crate) fn unsupported(at: impl fmt::Display, what: impl fmt::Display) -> Self {
        Error::Unsupported { at: at.to_string(), what: what.to_string() }
    }

    /// One error for several things that are not supported.
    pub(crate) fn joined(mut errors: Vec<Error>) -> Self {
        if errors.len() == 1
            && let Some(error) = errors.pop()
        {
            return error;
        }
        let one = |error: &Error| match error {
            Error::Unsupported { at, what } => format!("{at}: {what}"),
            other => other.to_string(),
        };
        let all: Vec<_> = errors.iter().map(one).collect();
        Error::unsupported(format_args!("{} nodes", all.len()), all.join("; "))
    }

    pub(crate) fn internal(what: impl fmt::Display) -> Self {
        Error::Internal(what.to_string())
    }

    /// A rule of an operator is broken; the graph fills in the node's name.
    pub(crate) fn rule(op: &str, what: impl fmt::Display) -> Self {
        Error::Graph { node: String::new(), op: op.into(), what: what.to_string() }
    }

    /// Names the node in an [`Error::Graph`] that does not name one yet.
    pub(crate) fn at_node(mut self, name: &str) -> Self {
        if let Error::Graph { node, .. } = &mut self
            && node.is_empty()
        {
            *node = name.into();
        }
        self
    }
}

//! What can be wrong with a network's description or with the weights that are put into it.

use std::fmt;

/// What the fallible functions of this crate return.
pub type Result<T> = std::result::Result<T, Error>;

/// What the caller must do differently.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum ErrorKind {
    /// The weights do not belong to this network: names or shapes differ.
    Mismatch,
    /// The description is larger than this crate builds.
    Limit,
    /// The description contradicts itself.
    Usage,
}

/// A failure of this crate: a kind, one clause that names the subject, and a next step where there is one.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Error {
    kind: ErrorKind,
    message: String,
    help: Option<String>,
}

impl Error {
    pub(crate) fn mismatch(message: impl Into<String>) -> Error {
        Error { kind: ErrorKind::Mismatch, message: message.into(), help: None }
    }

    pub(crate) fn limit(message: impl Into<String>) -> Error {
        Error { kind: ErrorKind::Limit, message: message.into(), help: None }
    }

    pub(crate) fn usage(message: impl Into<String>) -> Error {
        Error { kind: ErrorKind::Usage, message: message.into(), help: None }
    }

    pub(crate) fn with_help(mut self, help: impl Into<String>) -> Error {
        self.help = Some(help.into());
        self
    }

    /// What the caller must do differently.
    pub fn kind(&self) -> ErrorKind {
        self.kind
    }

    /// The next step, where there is one.
    pub fn help(&self) -> Option<&str> {
        self.help.as_deref()
    }
}

impl fmt::Display for Error {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.message)
    }
}

impl std::error::Error for Error {}

//! What is answered instead of what was asked for.

use std::error::Error;
use std::fmt;

use serde::Serialize;

/// What the asker must do differently. The words are those of the runtime's errors, and `busy`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize)]
#[serde(rename_all = "lowercase")]
#[non_exhaustive]
pub enum Kind {
    /// Bytes are not what their form promises.
    Damaged,
    /// Made for something else: another base, another shape.
    Mismatch,
    /// Nobody we trust vouches for it, or for the asker.
    Untrusted,
    /// Not in this form.
    Unsupported,
    /// Larger than this device allows.
    Limit,
    /// The request makes no sense here.
    Usage,
    /// The operating system refused.
    Io,
    /// Nothing: ask again later.
    Busy,
}

/// A status of HTTP, and what its body says: one clause, often a next step, and the kind.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Refusal {
    #[serde(skip)]
    status: u16,
    error: String,
    #[serde(skip_serializing_if = "Option::is_none")]
    help: Option<String>,
    kind: Kind,
}

impl Refusal {
    /// A refusal without a next step; `error` is one clause in lower case.
    pub fn new(status: u16, kind: Kind, error: impl Into<String>) -> Self {
        Self { status, error: error.into(), help: None, kind }
    }

    /// A request that makes no sense: status 400.
    pub fn usage(error: impl Into<String>) -> Self {
        Self::new(400, Kind::Usage, error)
    }

    /// A request that is larger than allowed: status 413.
    pub fn limit(error: impl Into<String>) -> Self {
        Self::new(413, Kind::Limit, error)
    }

    /// The same refusal with a next step.
    #[must_use]
    pub fn with_help(self, help: impl Into<String>) -> Self {
        Self { help: Some(help.into()), ..self }
    }

    /// Status of HTTP.
    pub fn status(&self) -> u16 {
        self.status
    }

    /// What to do about it.
    pub fn kind(&self) -> Kind {
        self.kind
    }
}

impl fmt::Display for Refusal {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.error)
    }
}

impl Error for Refusal {}

//! What can go wrong on the device, and what its owner can do about it.
//!
//! One opaque error for the crate. It displays its own clause; the failure behind it is its `source()`, and the
//! program that prints it joins the two. Errors of the layers below (`pack`, `bundle`) become causes, and their kinds
//! are carried over, so that `Damaged` means "fetch again" whichever layer noticed it.

use std::error::Error as StdError;
use std::fmt;
use std::io;
use std::path::Path;

/// What to do about a failure.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum ErrorKind {
    /// The bytes are not what was made: fetch them again.
    Damaged,
    /// Made for something else: another base, another shape, an answer that is not the promised one.
    Mismatch,
    /// Nobody we trust vouches for it.
    Untrusted,
    /// Needs newer software, or a library that is not here.
    Unsupported,
    /// Larger than this caller allows.
    Limit,
    /// The call itself makes no sense.
    Usage,
    /// The operating system refused.
    Io,
}

/// A failure: its kind, one clause about the subject, often a next step, and the cause.
///
/// Whatever fails, the composition in force is the one from before the call.
pub struct Error(Box<Parts>);

#[derive(Debug)]
struct Parts {
    kind: ErrorKind,
    clause: String,
    help: Option<String>,
    cause: Option<Box<dyn StdError + Send + Sync>>,
}

impl Error {
    /// A failure of `kind`; `clause` is lower case, without a full stop, with names in backticks. Engines of other
    /// crates make their errors with this.
    pub fn new(kind: ErrorKind, clause: impl Into<String>) -> Self {
        Self(Box::new(Parts { kind, clause: clause.into(), help: None, cause: None }))
    }

    /// The same failure with a next step.
    #[must_use]
    pub fn with_help(mut self, help: impl Into<String>) -> Self {
        self.0.help = Some(help.into());
        self
    }

    /// The same failure with what caused it.
    #[must_use]
    pub fn with_source(mut self, cause: impl Into<Box<dyn StdError + Send + Sync>>) -> Self {
        self.0.cause = Some(cause.into());
        self
    }

    /// The operating system refused to `verb` the file or folder at `path`.
    pub(crate) fn io(verb: &str, path: &Path, cause: io::Error) -> Self {
        Self::new(ErrorKind::Io, format!("cannot {verb} `{}`", path.display())).with_source(cause)
    }

    /// Wraps this failure in one whose clause says what was attempted; kind and next step stay on the outside.
    pub(crate) fn while_doing(mut self, clause: impl Into<String>) -> Self {
        let mut outer = Self::new(self.kind(), clause);
        outer.0.help = self.0.help.take();
        outer.with_source(self)
    }

    /// Its clause and those of its causes, in one line.
    pub fn chain(&self) -> String {
        let mut line = self.to_string();
        let mut cause = self.source();
        while let Some(deeper) = cause {
            line.push_str(": ");
            line.push_str(&deeper.to_string());
            cause = deeper.source();
        }
        line
    }

    /// A copy of this failure, for one more who asks: the causes are words in its clause.
    pub(crate) fn copy(&self) -> Self {
        let mut copy = Self::new(self.kind(), self.chain());
        copy.0.help.clone_from(&self.0.help);
        copy
    }

    /// What to do about it.
    pub fn kind(&self) -> ErrorKind {
        self.0.kind
    }

    /// The next step, where there is one.
    pub fn help(&self) -> Option<&str> {
        self.0.help.as_deref()
    }
}

impl fmt::Display for Error {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0.clause)
    }
}

impl fmt::Debug for Error {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}

impl StdError for Error {
    fn source(&self) -> Option<&(dyn StdError + 'static)> {
        self.0.cause.as_deref().map(|cause| cause as _)
    }
}

/// An error about a bundle, as one of ours with the same kind and next step.
pub(crate) fn of_bundle(cause: taskvec_bundle::Error) -> Error {
    use taskvec_bundle::ErrorKind as Theirs;
    let kind = match cause.kind() {
        Theirs::Mismatch => ErrorKind::Mismatch,
        Theirs::Unsupported => ErrorKind::Unsupported,
        Theirs::Limit => ErrorKind::Limit,
        Theirs::Usage => ErrorKind::Usage,
        Theirs::Io => ErrorKind::Io,
        _ => ErrorKind::Damaged,
    };
    adopted(kind, cause.help().map(str::to_owned), cause)
}

/// An error about a pack, as one of ours with the kind of its class.
pub(crate) fn of_pack(cause: taskvec_pack::Error) -> Error {
    use taskvec_pack::ErrorClass;
    let kind = match cause.class() {
        ErrorClass::Unsupported => ErrorKind::Unsupported,
        ErrorClass::Limit => ErrorKind::Limit,
        _ => ErrorKind::Damaged,
    };
    adopted(kind, Some(cause.help().to_owned()), cause)
}

/// An error about an update, as one of ours with the same kind and next step.
#[cfg(feature = "updates")]
pub(crate) fn of_update(cause: taskvec_update::Error) -> Error {
    use taskvec_update::ErrorKind as Theirs;
    let kind = match cause.kind() {
        Theirs::Mismatch => ErrorKind::Mismatch,
        Theirs::Unsupported => ErrorKind::Unsupported,
        Theirs::Limit => ErrorKind::Limit,
        Theirs::Usage => ErrorKind::Usage,
        _ => ErrorKind::Damaged,
    };
    adopted(kind, Some(cause.help().to_owned()), cause)
}

/// Takes over the clause of `cause`, and what is behind it.
fn adopted(kind: ErrorKind, help: Option<String>, cause: impl StdError + Send + Sync + 'static) -> Error {
    let mut error = Error::new(kind, cause.to_string());
    error.0.help = help;
    error.0.cause = cause.source().map(|deeper| deeper.to_string().into());
    error
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn wrapping_keeps_the_kind_and_moves_the_next_step_outside() {
        let inner = Error::new(ErrorKind::Damaged, "checksum is 1, expected 2").with_help("fetch it again");
        let outer = inner.while_doing("attach `digits`");
        assert_eq!(outer.to_string(), "attach `digits`");
        assert_eq!(outer.kind(), ErrorKind::Damaged);
        assert_eq!(outer.help(), Some("fetch it again"));
        assert_eq!(outer.source().unwrap().to_string(), "checksum is 1, expected 2");
    }
}

//! What can go wrong with a data set and in the packer above it, and what the caller can do about it.
//!
//! One opaque error, here because it is the lowest crate of the packer's house, and shown by packer and commands as their
//! own. It displays its own clause only; what caused it is its `source()`, and the program that prints it joins the chain.
//! The kinds say what the reader must do differently, and no more.

use std::error::Error as StdError;
use std::fmt;
use std::io;
use std::path::Path;

/// What fallible functions of data sets and of the packer return.
pub type Result<T> = std::result::Result<T, Error>;

/// What the caller must do differently.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum ErrorKind {
    /// Bytes are not what their form promises: fetch or write them again.
    Damaged,
    /// Two things do not belong together: another base, another shape.
    Mismatch,
    /// A signature is missing or wrong.
    Untrusted,
    /// Well formed, but made for newer or other software.
    Unsupported,
    /// Larger than the limits of this call allow.
    Limit,
    /// The request itself makes no sense: a recipe, an option, a folder.
    Usage,
    /// The operating system refused.
    Io,
}

/// A failure: a kind, one clause that names the subject, a next step where there is one, and the cause.
pub struct Error {
    inside: Box<Inside>,
}

struct Inside {
    kind: ErrorKind,
    message: String,
    help: Option<String>,
    source: Option<Box<dyn StdError + Send + Sync + 'static>>,
}

impl Error {
    /// An error of `kind` whose clause is `message`: lower case, no full stop, names in backticks.
    pub fn new(kind: ErrorKind, message: impl Into<String>) -> Error {
        Error { inside: Box::new(Inside { kind, message: message.into(), help: None, source: None }) }
    }

    /// Bytes that are not what their form promises.
    pub fn damaged(message: impl Into<String>) -> Error {
        Error::new(ErrorKind::Damaged, message)
    }

    /// Two things that do not belong together.
    pub fn mismatch(message: impl Into<String>) -> Error {
        Error::new(ErrorKind::Mismatch, message)
    }

    /// Well formed, but not understood here.
    pub fn unsupported(message: impl Into<String>) -> Error {
        Error::new(ErrorKind::Unsupported, message)
    }

    /// Larger than a limit.
    pub fn limit(message: impl Into<String>) -> Error {
        Error::new(ErrorKind::Limit, message)
    }

    /// A request that makes no sense.
    pub fn usage(message: impl Into<String>) -> Error {
        Error::new(ErrorKind::Usage, message)
    }

    /// The operating system refused something about `path`; `verb` says what, as in "read" or "create".
    pub fn io(verb: &str, path: &Path, source: io::Error) -> Error {
        Error::new(ErrorKind::Io, format!("cannot {verb} `{}`", path.display())).caused_by(source)
    }

    /// The same error with a next step for whoever reads it.
    #[must_use]
    pub fn with_help(mut self, help: impl Into<String>) -> Error {
        self.inside.help = Some(help.into());
        self
    }

    /// The same error with the failure behind it.
    #[must_use]
    pub fn caused_by(mut self, source: impl Into<Box<dyn StdError + Send + Sync + 'static>>) -> Error {
        self.inside.source = Some(source.into());
        self
    }

    /// This error as the cause of a new one of the same kind, whose clause says what was being attempted.
    /// The next step moves to the outer error, where it is seen first.
    #[must_use]
    pub fn within(mut self, message: impl Into<String>) -> Error {
        let help = self.inside.help.take();
        let outer = Error::new(self.kind(), message);
        let outer = match help {
            Some(help) => outer.with_help(help),
            None => outer,
        };
        outer.caused_by(self)
    }

    /// A failure of `taskvec-bundle` as the cause of a clause of ours; kind and next step are kept.
    pub fn from_bundle(cause: taskvec_bundle::Error, message: impl Into<String>) -> Error {
        let kind = match cause.kind() {
            taskvec_bundle::ErrorKind::Damaged => ErrorKind::Damaged,
            taskvec_bundle::ErrorKind::Mismatch => ErrorKind::Mismatch,
            taskvec_bundle::ErrorKind::Unsupported => ErrorKind::Unsupported,
            taskvec_bundle::ErrorKind::Limit => ErrorKind::Limit,
            taskvec_bundle::ErrorKind::Io => ErrorKind::Io,
            _ => ErrorKind::Usage,
        };
        let error = Error::new(kind, message);
        let error = match cause.help() {
            Some(help) => error.with_help(help),
            None => error,
        };
        error.caused_by(cause)
    }

    /// A failure of `taskvec-pack` as the cause of a clause of ours: the kind follows its class.
    pub fn from_pack(cause: taskvec_pack::Error, message: impl Into<String>) -> Error {
        let error = match cause.class() {
            taskvec_pack::ErrorClass::Unsupported => {
                Error::unsupported(message).with_help("a newer taskvec may read it")
            }
            taskvec_pack::ErrorClass::Limit => Error::limit(message),
            _ => Error::damaged(message).with_help("fetch or make the pack again"),
        };
        error.caused_by(cause)
    }

    /// What the caller must do differently.
    pub fn kind(&self) -> ErrorKind {
        self.inside.kind
    }

    /// The next step, where there is one.
    pub fn help(&self) -> Option<&str> {
        self.inside.help.as_deref()
    }
}

impl fmt::Display for Error {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.inside.message)
    }
}

impl fmt::Debug for Error {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Error")
            .field("kind", &self.inside.kind)
            .field("message", &self.inside.message)
            .field("help", &self.inside.help)
            .field("source", &self.inside.source)
            .finish()
    }
}

impl StdError for Error {
    fn source(&self) -> Option<&(dyn StdError + 'static)> {
        self.inside.source.as_deref().map(|cause| cause as &(dyn StdError + 'static))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn shows_itself_only_and_keeps_its_cause() {
        let error = Error::io("read", Path::new("a/b"), io::Error::other("disk on fire"));
        assert_eq!(error.to_string(), "cannot read `a/b`");
        assert_eq!(error.kind(), ErrorKind::Io);
        assert_eq!(error.source().unwrap().to_string(), "disk on fire");
    }

    #[test]
    fn the_next_step_stays_on_the_outside() {
        let error = Error::usage("no such key").with_help("did you mean `seed`?").within("recipe `x.yaml`");
        assert_eq!(error.to_string(), "recipe `x.yaml`");
        assert_eq!(error.kind(), ErrorKind::Usage);
        assert_eq!(error.help(), Some("did you mean `seed`?"));
        assert_eq!(error.source().unwrap().to_string(), "no such key");
    }
}

//! What can be wrong with a bundle, told as one clause with a next step.
//!
//! The kinds are what the reader must do differently, and no more. Packer and runtime wrap this error as the `source()`
//! of their own.

use std::borrow::Cow;
use std::error::Error as StdError;
use std::fmt;

/// What the reader of an [`Error`] must do differently.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum ErrorKind {
    /// The bytes are not what they should be: fetch them again.
    Damaged,
    /// Both sides are whole, but they do not belong together.
    Mismatch,
    /// Newer software is needed.
    Unsupported,
    /// Too big for here.
    Limit,
    /// The caller asked for something that cannot be.
    Usage,
    /// The operating system refused.
    Io,
}

/// Why something about a bundle was refused: kind, subject, one clause, often a next step, sometimes a cause.
pub struct Error {
    inner: Box<Inner>,
}

struct Inner {
    kind: ErrorKind,
    subject: String,
    clause: String,
    help: Option<Cow<'static, str>>,
    source: Option<Box<dyn StdError + Send + Sync>>,
}

/// The next step after any sign of damage.
const COPY_AGAIN: &str = "the file was changed or damaged: copy the bundle again";

impl Error {
    pub(crate) fn new(kind: ErrorKind, subject: impl Into<String>, clause: impl Into<String>) -> Error {
        let help = (kind == ErrorKind::Damaged).then_some(Cow::Borrowed(COPY_AGAIN));
        Error { inner: Box::new(Inner { kind, subject: subject.into(), clause: clause.into(), help, source: None }) }
    }

    pub(crate) fn damaged(subject: impl Into<String>, clause: impl Into<String>) -> Error {
        Error::new(ErrorKind::Damaged, subject, clause)
    }

    pub(crate) fn usage(subject: impl Into<String>, clause: impl Into<String>) -> Error {
        Error::new(ErrorKind::Usage, subject, clause)
    }

    pub(crate) fn with_help(mut self, help: impl Into<Cow<'static, str>>) -> Error {
        self.inner.help = Some(help.into());
        self
    }

    pub(crate) fn with_source(mut self, source: impl Into<Box<dyn StdError + Send + Sync>>) -> Error {
        self.inner.source = Some(source.into());
        self
    }

    /// What the reader must do differently.
    pub fn kind(&self) -> ErrorKind {
        self.inner.kind
    }

    /// What it is about: a file, a tensor or a head, as it stands at the start of the message.
    pub fn subject(&self) -> &str {
        &self.inner.subject
    }

    /// The next step, if there is one.
    pub fn help(&self) -> Option<&str> {
        self.inner.help.as_deref()
    }
}

impl fmt::Display for Error {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}: {}", self.inner.subject, self.inner.clause)
    }
}

impl fmt::Debug for Error {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Error")
            .field("kind", &self.inner.kind)
            .field("message", &self.to_string())
            .field("help", &self.inner.help)
            .field("source", &self.inner.source)
            .finish()
    }
}

impl StdError for Error {
    fn source(&self) -> Option<&(dyn StdError + 'static)> {
        self.inner.source.as_deref().map(|source| source as &(dyn StdError + 'static))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_layer_shows_itself_only_and_keeps_its_cause() {
        let error = Error::damaged("tensor `a`", "found 3 bytes, expected 4").with_source("inner".to_string());
        assert_eq!(error.to_string(), "tensor `a`: found 3 bytes, expected 4");
        assert_eq!(error.subject(), "tensor `a`");
        assert_eq!(error.kind(), ErrorKind::Damaged);
        assert_eq!(error.help(), Some(COPY_AGAIN));
        assert_eq!(error.source().map(ToString::to_string), Some("inner".to_string()));
    }

    #[test]
    fn help_that_is_more_specific_replaces_the_general_one() {
        let error = Error::damaged("x", "y").with_help("do z");
        assert_eq!(error.help(), Some("do z"));
        assert_eq!(Error::usage("x", "y").help(), None);
    }
}

//! What is wrong with an update, in one clause with a next step.

use std::error::Error as StdError;
use std::fmt;

/// What the reader of an [`Error`] must do differently.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum ErrorKind {
    /// The bytes are not what was made: fetch them again.
    Damaged,
    /// The parents that were given are not those that the update names.
    Mismatch,
    /// Needs newer software.
    Unsupported,
    /// Larger than this reader is willing to take.
    Limit,
    /// What was asked for cannot be.
    Usage,
}

/// Why an update was refused, or could not be made.
pub struct Error {
    kind: ErrorKind,
    clause: String,
    help: &'static str,
    cause: Option<Box<dyn StdError + Send + Sync>>,
}

impl Error {
    /// The bytes contradict themselves, or what was made of them.
    pub(crate) fn damaged(clause: impl Into<String>) -> Self {
        Self::new(ErrorKind::Damaged, clause, "fetch the update again, or fetch the pack itself")
    }

    /// The parents are not the right ones.
    pub(crate) fn mismatch(clause: impl Into<String>) -> Self {
        Self::new(ErrorKind::Mismatch, clause, "give the parents that the update names, in its order")
    }

    /// This version does not know what was found.
    pub(crate) fn unsupported(clause: impl Into<String>) -> Self {
        Self::new(ErrorKind::Unsupported, clause, "use newer software, or fetch the pack itself")
    }

    /// `subject` takes `found` of something, of which the reader takes `max`.
    pub(crate) fn limit(subject: &str, found: u64, max: u64) -> Self {
        let clause = format!("{subject} {found}, expected at most {max}");
        Self::new(ErrorKind::Limit, clause, "fetch the pack itself, or raise the limit if the update is to be believed")
    }

    #[cfg(feature = "write")]
    pub(crate) fn usage(clause: impl Into<String>, help: &'static str) -> Self {
        Self::new(ErrorKind::Usage, clause, help)
    }

    pub(crate) fn caused_by(mut self, cause: impl Into<Box<dyn StdError + Send + Sync>>) -> Self {
        self.cause = Some(cause.into());
        self
    }

    fn new(kind: ErrorKind, clause: impl Into<String>, help: &'static str) -> Self {
        Self { kind, clause: clause.into(), help, cause: None }
    }

    /// What to do about it.
    pub fn kind(&self) -> ErrorKind {
        self.kind
    }

    /// The next step.
    pub fn help(&self) -> &'static str {
        self.help
    }
}

impl fmt::Display for Error {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.clause)
    }
}

impl fmt::Debug for Error {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { kind, clause, help, cause } = self;
        f.debug_struct("Error")
            .field("kind", kind)
            .field("clause", clause)
            .field("help", help)
            .field("cause", cause)
            .finish()
    }
}

impl StdError for Error {
    fn source(&self) -> Option<&(dyn StdError + 'static)> {
        self.cause.as_deref().map(|cause| cause as _)
    }
}

//! What a call says when it is over: a number for the program, a message and a next step for people.

use std::any::Any;
use std::error::Error as _;

use taskvec_runtime::{Error, ErrorKind};

/// How a call ended: 0, or what to do about it. A number keeps its meaning for ever; later versions may return others.
#[repr(i32)]
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum taskvec_status {
    /// It is done.
    Ok = 0,
    /// The bytes are not what was made: fetch them again.
    Damaged = 1,
    /// Made for something else: another base, another shape, an answer that is not the promised one.
    Mismatch = 2,
    /// Nobody we trust vouches for it.
    Untrusted = 3,
    /// Needs newer software, or a library that is not here.
    Unsupported = 4,
    /// Larger than this caller allows.
    Limit = 5,
    /// The call itself makes no sense.
    Usage = 6,
    /// The operating system refused.
    Io = 7,
    /// A pointer is NULL that may not be.
    Null = 8,
    /// The caller's buffer is too small; the message says how much is needed.
    TooSmall = 9,
    /// A bug of this library. What the call was about is as before; other objects are not concerned.
    Panic = 10,
}

/// A call that failed.
#[derive(Debug)]
pub(crate) struct Failure {
    pub(crate) status: taskvec_status,
    pub(crate) message: String,
    pub(crate) help: Option<String>,
}

impl Failure {
    pub(crate) fn new(status: taskvec_status, message: impl Into<String>) -> Self {
        Self { status, message: message.into(), help: None }
    }

    #[must_use]
    pub(crate) fn with_help(mut self, help: impl Into<String>) -> Self {
        self.help = Some(help.into());
        self
    }

    /// The argument called `name` is NULL.
    pub(crate) fn null(name: &str) -> Self {
        Self::new(taskvec_status::Null, format!("`{name}` is NULL, expected a pointer"))
    }

    /// What was thrown by a panic, as far as it is a text.
    pub(crate) fn of_panic(thrown: &(dyn Any + Send)) -> Self {
        let text = thrown.downcast_ref::<&str>().copied();
        let text = text.or_else(|| thrown.downcast_ref::<String>().map(String::as_str)).unwrap_or("no text");
        Self::new(taskvec_status::Panic, format!("taskvec has a bug: {text}"))
            .with_help("report it with this message; close the object that the call was about")
    }
}

impl From<Error> for Failure {
    fn from(error: Error) -> Self {
        let status = match error.kind() {
            ErrorKind::Damaged => taskvec_status::Damaged,
            ErrorKind::Mismatch => taskvec_status::Mismatch,
            ErrorKind::Untrusted => taskvec_status::Untrusted,
            ErrorKind::Limit => taskvec_status::Limit,
            ErrorKind::Usage => taskvec_status::Usage,
            ErrorKind::Io => taskvec_status::Io,
            // `Unsupported`, and kinds that this file has not heard of: a newer interface would know them.
            _ => taskvec_status::Unsupported,
        };
        let mut message = error.to_string();
        let mut cause = error.source();
        while let Some(deeper) = cause {
            message.push_str(": ");
            message.push_str(&deeper.to_string());
            cause = deeper.source();
        }
        Self { status, message, help: error.help().map(str::to_owned) }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_failure_of_the_runtime_keeps_its_kind_all_clauses_and_the_next_step() {
        let error = Error::new(ErrorKind::Damaged, "open pack `a`").with_source("checksum is 1").with_help("fetch it");
        let failure = Failure::from(error);
        assert_eq!(failure.status, taskvec_status::Damaged);
        assert_eq!(failure.message, "open pack `a`: checksum is 1");
        assert_eq!(failure.help.as_deref(), Some("fetch it"));
    }

    #[test]
    fn every_kind_of_the_runtime_has_a_number_of_its_own() {
        use ErrorKind::{Damaged, Io, Limit, Mismatch, Unsupported, Untrusted, Usage};
        let kinds = [Damaged, Mismatch, Untrusted, Unsupported, Limit, Usage, Io];
        let numbers = kinds.map(|kind| Failure::from(Error::new(kind, "a")).status as i32);
        assert_eq!(numbers, [1, 2, 3, 4, 5, 6, 7]);
    }
}

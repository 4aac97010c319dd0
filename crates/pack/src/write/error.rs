//! Why parts do not make a pack.

use alloc::string::String;
use core::fmt;

/// Why parts do not make a pack: a mistake of whoever gave them.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct WriteError {
    subject: String,
    problem: String,
}

impl WriteError {
    pub(crate) fn new(subject: impl Into<String>, problem: impl Into<String>) -> Self {
        Self { subject: subject.into(), problem: problem.into() }
    }

    /// The part that is wrong: ``tensor `norm.weight` ``, `head`, `probes` ...
    #[must_use]
    pub fn subject(&self) -> &str {
        &self.subject
    }
}

impl fmt::Display for WriteError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}: {}", self.subject, self.problem)
    }
}

impl core::error::Error for WriteError {}

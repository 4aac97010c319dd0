//! What was looked at on a device and how it is: the lines of a health report.

use serde::Serialize;

/// One thing that was looked at.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Check {
    /// What was looked at.
    pub subject: String,
    /// How it is.
    pub status: Status,
    /// What was found; if it is not as it should be, with a next step.
    pub reason: String,
}

/// How something is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Status {
    /// As it should be.
    Ok,
    /// It works, and somebody should look at it.
    Warning,
    /// It does not work.
    Failed,
}

impl Check {
    /// A line of the report.
    pub fn new(subject: impl Into<String>, status: Status, reason: impl Into<String>) -> Self {
        Self { subject: subject.into(), status, reason: reason.into() }
    }

    /// Something that is as it should be.
    pub fn ok(subject: impl Into<String>, reason: impl Into<String>) -> Self {
        Self::new(subject, Status::Ok, reason)
    }
}

//! Failures as Python exceptions: one class for each kind, since the kind says what the caller must do.
//!
//! The message is the chain of causes in one line, as the programs print it. The next step is the attribute `help`, and a
//! note of the exception too, so that a traceback shows it.

use std::error::Error as StdError;

use pyo3::prelude::*;
use pyo3::{create_exception, exceptions::PyException};
use taskvec_runtime::{Error as RuntimeError, ErrorKind};

create_exception!(
    taskvec,
    Error,
    PyException,
    "A failure. `help` is the next step, or None. Whatever fails, the composition in force is the one from before."
);
create_exception!(taskvec, Damaged, Error, "The bytes are not what was made: fetch them again.");
create_exception!(
    taskvec,
    Mismatch,
    Error,
    "Made for something else: another base, another shape, an answer that is not the promised one."
);
create_exception!(taskvec, Untrusted, Error, "Nobody we trust vouches for it.");
create_exception!(taskvec, Unsupported, Error, "Needs newer software, or a library that is not here.");
create_exception!(taskvec, Limit, Error, "Larger than this caller allows.");
create_exception!(taskvec, Usage, Error, "The call itself makes no sense.");
create_exception!(taskvec, Io, Error, "The operating system refused.");

/// The exception for `error`.
pub(crate) fn raised(error: RuntimeError) -> PyErr {
    let message = joined(&error);
    let exception = match error.kind() {
        ErrorKind::Damaged => Damaged::new_err(message),
        ErrorKind::Mismatch => Mismatch::new_err(message),
        ErrorKind::Untrusted => Untrusted::new_err(message),
        ErrorKind::Unsupported => Unsupported::new_err(message),
        ErrorKind::Limit => Limit::new_err(message),
        ErrorKind::Usage => Usage::new_err(message),
        ErrorKind::Io => Io::new_err(message),
        // A kind that this module has no class for yet.
        _ => Error::new_err(message),
    };
    match error.help() {
        Some(help) => Python::attach(|py| with_help(py, exception, help)),
        None => exception,
    }
}

/// Wrong use of a call of this module.
pub(crate) fn usage(clause: impl Into<String>, help: impl Into<String>) -> PyErr {
    raised(RuntimeError::new(ErrorKind::Usage, clause).with_help(help))
}

/// If Python refuses to take the help, its reason is raised instead: there is no memory, or someone changed the class.
fn with_help(py: Python<'_>, exception: PyErr, help: &str) -> PyErr {
    let value = exception.value(py);
    let told = value.setattr("help", help).and_then(|()| value.call_method1("add_note", (format!("help: {help}"),)));
    match told {
        Ok(_) => exception,
        Err(refused) => refused,
    }
}

fn joined(error: &RuntimeError) -> String {
    let mut text = error.to_string();
    let mut cause = error.source();
    while let Some(deeper) = cause {
        text.push_str(&format!(": {deeper}"));
        cause = deeper.source();
    }
    text
}

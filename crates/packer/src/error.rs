//! The packer's error is that of the data sets below it: one type, one way to show it.

pub use taskvec_dataset::{Error, ErrorKind, Result};

/// A failure of `taskvec-networks` as the cause of a clause of ours.
pub(crate) fn from_networks(cause: taskvec_networks::Error, message: impl Into<String>) -> Error {
    let kind = match cause.kind() {
        taskvec_networks::ErrorKind::Mismatch => ErrorKind::Mismatch,
        taskvec_networks::ErrorKind::Limit => ErrorKind::Limit,
        _ => ErrorKind::Usage,
    };
    let error = Error::new(kind, message);
    let error = match cause.help() {
        Some(help) => error.with_help(help),
        None => error,
    };
    error.caused_by(cause)
}

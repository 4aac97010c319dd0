//! Everything the program prints: results on stdout, errors on stderr.

#![expect(clippy::print_stderr, reason = "this file is where printing lives")]

use std::io::{self, Write};

use serde::Serialize;

/// Prints `value` as JSON, or the text that `human` makes of it.
pub(crate) fn result<T: Serialize>(json: bool, value: &T, human: impl FnOnce(&T) -> String) -> anyhow::Result<()> {
    let mut out = io::stdout().lock();
    if json {
        serde_json::to_writer_pretty(&mut out, value).map_err(io::Error::from)?;
        writeln!(out)?;
    } else {
        write!(out, "{}", human(value))?;
    }
    out.flush()?;
    Ok(())
}

/// Prints what takes its time.
pub(crate) fn note(line: &str) {
    eprintln!("{line}");
}

/// Prints what somebody should look at, though the command goes on.
pub(crate) fn warning(warning: &str) {
    eprintln!("warning: {warning}");
}

/// The chain of causes in one line.
pub(crate) fn one_line(error: &anyhow::Error) -> String {
    let chain: Vec<String> = error.chain().map(ToString::to_string).collect();
    chain.join(": ")
}

/// Prints the chain of causes in one line, and the next step in a second one.
pub(crate) fn error(error: &anyhow::Error) {
    eprintln!("error: {}", one_line(error));
    let help = error.chain().find_map(|cause| {
        let runtime = cause.downcast_ref::<taskvec_runtime::Error>().and_then(|error| error.help());
        runtime.or_else(|| cause.downcast_ref::<taskvec_dataset::Error>().and_then(|error| error.help()))
    });
    if let Some(help) = help {
        eprintln!("help: {help}");
    }
}

/// True when whoever read our output went away.
pub(crate) fn is_broken_pipe(error: &anyhow::Error) -> bool {
    error
        .chain()
        .any(|cause| cause.downcast_ref::<io::Error>().is_some_and(|error| error.kind() == io::ErrorKind::BrokenPipe))
}

/// True when the cause is what was asked for and not what was found.
pub(crate) fn is_usage(error: &anyhow::Error) -> bool {
    error.chain().any(|cause| {
        let runtime = cause.downcast_ref::<taskvec_runtime::Error>();
        let data = cause.downcast_ref::<taskvec_dataset::Error>();
        runtime.is_some_and(|error| error.kind() == taskvec_runtime::ErrorKind::Usage)
            || data.is_some_and(|error| error.kind() == taskvec_dataset::ErrorKind::Usage)
    })
}

//! Everything the program prints: results on stdout, everything else on stderr.
//!
//! Decided here once: tables are plain columns, JSON is the value that the table is made from, sizes are KiB and MiB,
//! times ms or s, and progress is drawn only when stderr is a terminal (a line a phase otherwise).

#![expect(clippy::print_stderr, reason = "this file is where printing lives")]

use std::io::{self, IsTerminal, Write};
use std::time::{Duration, Instant};

use indicatif::{ProgressBar, ProgressDrawTarget, ProgressStyle};
use serde::Serialize;
use taskvec_packer::evaluate::{Part, Watch};
use taskvec_packer::train::{Phase, Progress, StepReport};

/// Prints `value` as JSON, or the table that `human` makes of it.
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

/// Prints a line for the person who waits; never part of the result.
pub(crate) fn note(line: &str) {
    eprintln!("{line}");
}

/// Prints something that is worth a look although the work went on, and what to do about it.
pub(crate) fn warning(line: &str, help: &str) {
    eprintln!("warning: {line}\nhelp: {help}");
}

/// Prints the chain of causes in one line, and the next step in a second one.
pub(crate) fn error(error: &anyhow::Error) {
    let chain: Vec<String> = error.chain().map(ToString::to_string).collect();
    eprintln!("error: {}", chain.join(": "));
    if let Some(help) = help(error) {
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
        cause
            .downcast_ref::<taskvec_packer::Error>()
            .is_some_and(|error| error.kind() == taskvec_packer::ErrorKind::Usage)
            || cause
                .downcast_ref::<taskvec_runtime::Error>()
                .is_some_and(|error| error.kind() == taskvec_runtime::ErrorKind::Usage)
            || cause
                .downcast_ref::<taskvec_update::Error>()
                .is_some_and(|error| error.kind() == taskvec_update::ErrorKind::Usage)
    })
}

fn help(error: &anyhow::Error) -> Option<String> {
    error.chain().find_map(|cause| {
        let packer = cause.downcast_ref::<taskvec_packer::Error>().and_then(|error| error.help());
        let runtime = cause.downcast_ref::<taskvec_runtime::Error>().and_then(|error| error.help());
        let pack = cause.downcast_ref::<taskvec_pack::Error>().map(|error| error.help());
        let update = cause.downcast_ref::<taskvec_update::Error>().map(|error| error.help());
        packer.or(runtime).or(pack).or(update).map(str::to_owned)
    })
}

/// `123 bytes`, `12.3 KiB`, `4.56 MiB`.
pub(crate) fn size(bytes: u64) -> String {
    match bytes {
        0..1024 => format!("{bytes} bytes"),
        1024..1_048_576 => format!("{:.1} KiB", bytes as f64 / 1024.0),
        _ => format!("{:.2} MiB", bytes as f64 / 1_048_576.0),
    }
}

/// `97.3 %` from a share, 0 to 1.
pub(crate) fn percent(share: f64) -> String {
    format!("{:.1} %", 100.0 * share)
}

/// Columns, the first one flush left and the others flush right, two spaces between them.
pub(crate) fn table(header: &[&str], rows: &[Vec<String>]) -> String {
    let widths: Vec<usize> = (0..header.len())
        .map(|column| {
            let cells = rows.iter().map(|row| row[column].chars().count());
            cells.chain([header[column].chars().count()]).max().unwrap_or(0)
        })
        .collect();
    let line = |cells: &mut dyn Iterator<Item = &str>| {
        let cells: Vec<String> = cells
            .zip(&widths)
            .enumerate()
            .map(
                |(column, (cell, width))| {
                    if column == 0 { format!("{cell:<width$}") } else { format!("{cell:>width$}") }
                },
            )
            .collect();
        format!("{}\n", cells.join("  ").trim_end())
    };
    let mut text = line(&mut header.iter().copied());
    text.push_str(&line(
        &mut widths.iter().map(|width| "-".repeat(*width)).collect::<Vec<_>>().iter().map(String::as_str),
    ));
    for row in rows {
        text.push_str(&line(&mut row.iter().map(String::as_str)));
    }
    text
}

/// Progress of a long run on stderr: a bar on a terminal, otherwise a line when a phase begins and one a minute.
pub(crate) struct Reporter {
    bar: Option<ProgressBar>,
    last_line: Instant,
    /// Whether the phases of a run are left out, since it is one of many and has been named.
    is_quiet: bool,
}

impl Reporter {
    /// A reporter for the terminal at hand.
    pub(crate) fn new() -> Self {
        let bar = io::stderr().is_terminal().then(|| {
            let bar = ProgressBar::with_draw_target(None, ProgressDrawTarget::stderr());
            bar.set_style(
                ProgressStyle::with_template("{prefix:>12} [{bar:30}] {pos}/{len} {msg} {eta} left")
                    .unwrap_or_else(|_| ProgressStyle::default_bar()),
            );
            bar
        });
        Self { bar, last_line: Instant::now(), is_quiet: false }
    }
}

impl Progress for Reporter {
    fn phase(&mut self, phase: Phase, total: u64) {
        match &self.bar {
            Some(bar) => {
                bar.reset();
                bar.set_length(total);
                bar.set_prefix(phase.to_string());
                bar.set_message("");
            }
            None if self.is_quiet => {}
            None => note(&phase.to_string()),
        }
    }

    fn advance(&mut self, done: u64) {
        if let Some(bar) = &self.bar {
            bar.set_position(done);
        }
    }

    fn step(&mut self, report: &StepReport) {
        let speed = format!("loss {:.3}, {:.0} images/s", report.loss, report.examples_per_second);
        match &self.bar {
            Some(bar) => {
                bar.set_position(report.step);
                bar.set_message(speed);
            }
            None if self.last_line.elapsed() >= LINE_EVERY => {
                note(&format!("step {} of {}, {speed}", report.step, report.total));
                self.last_line = Instant::now();
            }
            None => {}
        }
    }
}

impl Watch for Reporter {
    fn part(&mut self, part: &Part) {
        match &self.bar {
            Some(bar) => bar.println(part.to_string()),
            None => note(&part.to_string()),
        }
        self.is_quiet = true;
    }

    fn training(&mut self) -> &mut dyn Progress {
        self
    }
}

impl Drop for Reporter {
    fn drop(&mut self) {
        if let Some(bar) = &self.bar {
            bar.finish_and_clear();
        }
    }
}

/// Time between two lines where there is no terminal.
const LINE_EVERY: Duration = Duration::from_secs(60);

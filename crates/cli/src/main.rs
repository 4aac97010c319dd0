//! `taskvec`: makes, edits, measures and tries packs on a workstation.
//!
//! This file parses what was typed, runs one command, and is the only place that turns an outcome into an exit code:
//! 0 done, 1 failed, 2 wrong usage, 3 done with warnings that matter. A reader that went away (`taskvec ... | head`)
//! is success.

#![forbid(unsafe_code)]

mod args;
mod beside;
mod commands;
mod interrupt;
mod page;
mod picture;
mod render;

use std::process::ExitCode;

use clap::Parser;

/// Keeps freed memory: burn's tensors come and go at every operation, and with glibc each pays page faults.
#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

fn main() -> ExitCode {
    let arguments = args::Arguments::parse();
    match commands::run(arguments) {
        Ok(commands::Outcome::Done) => ExitCode::SUCCESS,
        Ok(commands::Outcome::DoneWithWarnings) => ExitCode::from(3),
        Ok(commands::Outcome::Failed) => ExitCode::FAILURE,
        Err(error) if render::is_broken_pipe(&error) => ExitCode::SUCCESS,
        Err(error) => {
            render::error(&error);
            ExitCode::from(if render::is_usage(&error) { 2 } else { 1 })
        }
    }
}

//! `taskvec-device doctor [--base FOLDER]`: looks at everything on this device and says what is not as it should be.
//!
//! Without a base it reads the store: every pack is held against its digest, the journal is read, failures are counted. With
//! one it also does what a boot would do, proof and all, and writes nothing. Exit code 0 when all is well, 3 when somebody
//! should look at something, 1 when something does not work.

use std::path::Path;

use serde::Serialize;
use taskvec_runtime::{Boot, Check, InForce, Status, Store};

use super::Outcome;
use crate::args::Doctor;
use crate::render;

#[derive(Serialize)]
struct Report {
    /// The worst of all.
    status: Status,
    checks: Vec<Check>,
}

pub(crate) fn run(store: &Path, typed: &Doctor, json: bool) -> anyhow::Result<Outcome> {
    let store = Store::open(store)?;
    let mut checks = store.health();
    if let Some(on) = &typed.on {
        checks.push(boot_check(super::open(on, store.folder()).and_then(|session| Ok(store.rehearse(&session)?))));
    }
    let status = checks.iter().map(|check| check.status).max().unwrap_or(Status::Ok);
    render::result(json, &Report { status, checks }, |report| report.checks.iter().map(line).collect())?;
    Ok(match status {
        Status::Ok => Outcome::Done,
        Status::Warning => Outcome::DoneWithWarnings,
        Status::Failed => Outcome::Failed,
    })
}

/// What a boot would bring into force on this base and engine.
fn boot_check(rehearsed: anyhow::Result<Boot>) -> Check {
    let boot = match rehearsed {
        Ok(boot) => boot,
        Err(error) => return Check::new("boot", Status::Failed, render::one_line(&error)),
    };
    let skills: Vec<String> = boot.change.composition.skills.iter().map(|skill| format!("`{}`", skill.name)).collect();
    let skills = if skills.is_empty() { "the base alone".to_owned() } else { skills.join(", ") };
    let status = if boot.in_force == InForce::Committed { Status::Ok } else { Status::Failed };
    let passed_over: String = super::warnings(&boot).iter().map(|warning| format!("; {warning}")).collect();
    Check::new("boot", status, format!("{skills}, {}{passed_over}", super::attach::proved(&boot.change)))
}

fn line(check: &Check) -> String {
    let status = match check.status {
        Status::Ok => "ok",
        Status::Warning => "warning",
        Status::Failed => "failed",
    };
    format!("{status:<8} {}: {}\n", check.subject, check.reason)
}

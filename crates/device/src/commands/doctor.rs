//! `taskvec-device doctor [--base FOLDER]`: looks at everything on this device and says what is not as it should be.
//!
//! Without a base it reads the store: every pack is held against its digest, the journal is read, failures are counted. With
//! one it also does what a boot would do, proof and all, and tries the execution providers of ONNX Runtime in each tier with a
//! change of every editable tensor: those named by `--provider`, or all that the library has. It writes nothing. Exit code 0
//! when all is well, 3 when somebody should look at something, 1 when something does not work.

use std::path::Path;

use serde::Serialize;
use taskvec_runtime::{BaseModel, Boot, Check, Fallback, InForce, ProviderCheck, Session, Status, Store};

use super::Outcome;
use crate::args::{Doctor, EngineName, OnBase};
use crate::render;

#[derive(Serialize)]
struct Report {
    /// The worst of all.
    status: Status,
    checks: Vec<Check>,
    /// What each execution provider can do; none without a base.
    providers: Vec<ProviderCheck>,
}

pub(crate) fn run(store: &Path, typed: &Doctor, json: bool) -> anyhow::Result<Outcome> {
    let store = Store::open(store)?;
    let mut checks = store.health();
    let mut providers = Vec::new();
    if let Some(on) = &typed.on {
        match super::open(on, store.folder()) {
            Ok(session) => {
                checks.push(engine_check(on, &session));
                checks.push(boot_check(store.rehearse(&session).map_err(Into::into)));
                providers = check_providers(on, store.folder(), session.base(), &mut checks);
            }
            Err(error) => checks.push(Check::new("engine", Status::Failed, render::one_line(&error))),
        }
    }
    let status = checks.iter().map(|check| check.status).max().unwrap_or(Status::Ok);
    let story = |report: &Report| {
        let checks: String = report.checks.iter().map(line).collect();
        checks + &table(&report.providers)
    };
    render::result(json, &Report { status, checks, providers }, story)?;
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

/// Which engine infers. A provider that was asked for and is not used is something to look at.
fn engine_check(on: &OnBase, session: &Session) -> Check {
    let report = session.engine_report();
    let tried = report.fallbacks.iter().map(|Fallback { tried, reason }| format!("; not {tried}: {reason}"));
    let reason = format!("{} ({}){}", session.engine(), report.reason, tried.collect::<String>());
    let preferred = (on.provider.is_empty() && on.tier.is_none()) || report.fallbacks.is_empty();
    Check::new("engine", if preferred { Status::Ok } else { Status::Warning }, reason)
}

/// What the execution providers asked for can do with this base, all of the library's if none was; and a line for each.
fn check_providers(on: &OnBase, store: &Path, base: &BaseModel, checks: &mut Vec<Check>) -> Vec<ProviderCheck> {
    if on.engine == EngineName::Burn {
        return Vec::new();
    }
    match taskvec_runtime::check_providers(&super::ort_settings(on, store), base, &on.provider) {
        Ok(providers) => {
            checks.extend(providers.iter().map(provider_check));
            providers
        }
        // Without a library there are no providers; the engine's line says what is used instead.
        Err(error) => {
            let status = if on.provider.is_empty() { Status::Ok } else { Status::Warning };
            checks.push(Check::new("providers", status, error.chain()));
            Vec::new()
        }
    }
}

fn provider_check(check: &ProviderCheck) -> Check {
    let subject = format!("provider {}", check.provider);
    match (check.used, &check.problem) {
        (Some(tier), _) => {
            let share = if check.whole_graph == Some(true) { "the whole graph" } else { "a part of the graph" };
            Check::ok(subject, format!("works, takes {} and computes {share}", tier.as_str()))
        }
        (None, problem) => {
            let problem = problem.as_deref().unwrap_or("not usable");
            Check::new(subject, Status::Warning, format!("{problem}; a session takes the next provider"))
        }
    }
}

/// A line for each tier of each provider.
fn table(providers: &[ProviderCheck]) -> String {
    let mut rows =
        vec![["provider", "tier", "felt", "undone", "off the CPU's", "first answer", "next"].map(str::to_owned)];
    let mut problems = vec![String::new()];
    for check in providers {
        for tier in &check.tiers {
            let ms = |ms: Option<f64>| ms.map_or("-".to_owned(), |ms| format!("{ms:.1} ms"));
            rows.push([
                check.provider.to_string(),
                tier.tier.as_str().to_owned(),
                format!("{} of {}", tier.tensors - tier.unfelt.len(), tier.tensors),
                if tier.restored { "yes" } else { "no" }.to_owned(),
                tier.difference_from_cpu_max.map_or("-".to_owned(), |difference| format!("{difference:.1e}")),
                ms(tier.prepare_ms),
                ms(tier.infer_ms),
            ]);
            problems.push(tier.problem.clone().unwrap_or_default());
        }
    }
    if rows.len() == 1 {
        return String::new();
    }
    let mut widths = [0; 7];
    for row in &rows {
        widths.iter_mut().zip(row).for_each(|(width, cell)| *width = (*width).max(cell.len()));
    }
    let line = |(row, problem): (&[String; 7], &String)| {
        let cells: Vec<_> = row.iter().zip(widths).map(|(cell, width)| format!("{cell:<width$}")).collect();
        format!("{}\n", format!("{}  {problem}", cells.join("  ")).trim_end())
    };
    std::iter::once("\n".to_owned()).chain(rows.iter().zip(&problems).map(line)).collect()
}

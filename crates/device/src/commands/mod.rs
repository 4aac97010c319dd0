//! One file per command; its first paragraph is its manual page.

mod attach;
mod detach;
mod info;
mod list;
mod run;
mod trust;

use std::path::Path;

use taskvec_runtime::{BaseModel, EngineChoice, OrtSettings, Session, Store, Tier, TrustFile};

use crate::args::{Arguments, Command, EngineName, OnBase, TierName};

/// Runs the command that was typed.
pub(crate) fn run(arguments: &Arguments) -> anyhow::Result<()> {
    let (store, json) = (&arguments.store, arguments.json);
    match &arguments.command {
        Command::List => list::run(store, json),
        Command::Info(typed) => info::run(store, typed, json),
        Command::Attach(typed) => attach::run(store, typed, json),
        Command::Detach(typed) => detach::run(store, typed, json),
        Command::Run(typed) => run::run(store, typed, json),
        Command::Trust(typed) => trust::run(store, typed, json),
    }
}

/// A session on the base with nothing in force, which trusts whom the device in this folder trusts.
fn open(typed: &OnBase, store: &Path) -> anyhow::Result<Session> {
    let settings = ort_settings(typed);
    let choice = match typed.engine {
        EngineName::Auto => EngineChoice::Auto(settings),
        EngineName::Ort => EngineChoice::Ort(settings),
        EngineName::Burn => EngineChoice::Burn,
    };
    let trust = TrustFile::in_folder(store).read()?;
    let trust = if typed.allow_unsigned { trust.and_unsigned_too() } else { trust };
    Ok(Session::open(&BaseModel::open(&typed.base)?, &choice)?.trusting(trust))
}

fn ort_settings(typed: &OnBase) -> OrtSettings {
    let mut settings = OrtSettings {
        library: typed.onnxruntime.clone(),
        python_environments: vec!["target/python".into()],
        tier: typed.tier.map(|tier| match tier {
            TierName::Inputs => Tier::Inputs,
            TierName::BareInputs => Tier::BareInputs,
            TierName::Rebuild => Tier::Rebuild,
        }),
        ..OrtSettings::default()
    };
    if !typed.provider.is_empty() {
        settings.providers.clone_from(&typed.provider);
    }
    settings
}

/// A session with the committed composition in force, proved.
fn open_committed(typed: &OnBase, store: &Store) -> anyhow::Result<Session> {
    let session = open(typed, store.folder())?;
    let skills = store.composition(session.base().fingerprint())?;
    if !skills.is_empty() {
        session.swap(skills)?;
    }
    Ok(session)
}

/// One line for each skill in force.
fn lines(composition: &taskvec_runtime::Composition) -> String {
    if composition.skills.is_empty() {
        return "in force: the base alone\n".to_owned();
    }
    let line = |skill: &taskvec_runtime::SkillInForce| {
        format!("in force: `{}` at alpha {}, pack {}\n", skill.name, skill.alpha, skill.digest)
    };
    composition.skills.iter().map(line).collect()
}

//! One file per command; its first paragraph is its manual page.

mod arrays;
mod attach;
mod detach;
mod doctor;
mod gc;
mod info;
mod install;
pub(crate) mod installed;
mod list;
mod remove;
mod rollback;
mod run;
#[cfg(feature = "serve")]
mod serve;
mod trust;

use std::path::Path;

use taskvec_runtime::{BaseModel, Boot, EngineChoice, Fallback, OrtSettings, Session, Store, Tier, Trust};

use crate::args::{Arguments, Command, EngineName, OnBase, TierName};
use crate::render;

/// Folder in the store for weights that ONNX Runtime has packed: of the base, not of any pack, so that it may be deleted.
const PACKED: &str = "packed";

/// How a command ended that did not end with an error.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Outcome {
    Done,
    /// Done, and something was said on stderr or in the result that somebody should act upon.
    DoneWithWarnings,
    /// The result says what does not work.
    Failed,
}

/// Runs the command that was typed.
pub(crate) fn run(arguments: &Arguments) -> anyhow::Result<Outcome> {
    let (store, json) = (&arguments.store, arguments.json);
    match &arguments.command {
        Command::Install(typed) => install::run(store, typed, json),
        Command::Remove(typed) => remove::run(store, typed, json),
        Command::List => list::run(store, json),
        Command::Attach(typed) => attach::run(store, typed, json),
        Command::Detach(typed) => detach::run(store, typed, json),
        Command::Trust(typed) => trust::run(store, typed, json),
        Command::Rollback => rollback::run(store, json),
        Command::Gc => gc::run(store, json),
        Command::Info(typed) => return info::run(store, typed, json),
        Command::Run(typed) => return run::run(store, typed, json),
        Command::Doctor(typed) => return doctor::run(store, typed, json),
        #[cfg(feature = "serve")]
        Command::Serve(typed) => serve::run(store, typed, json),
    }
    .map(|()| Outcome::Done)
}

/// A session on the base with nothing in force, which trusts whom the device in this folder trusts.
fn open(typed: &OnBase, store: &Path) -> anyhow::Result<Session> {
    if typed.tier == Some(TierName::Packed) && !store.join(PACKED).is_dir() {
        render::note(
            "packing the base's weights for this library and processor: once, up to a minute for a large base",
        );
    }
    let settings = ort_settings(typed, store);
    let choice = match typed.engine {
        EngineName::Auto => EngineChoice::Auto(settings),
        EngineName::Ort => EngineChoice::Ort(settings),
        EngineName::Burn => EngineChoice::Burn,
    };
    let trust = trust_of(&Store::open(store)?, typed.allow_unsigned)?;
    let session = Session::open(&BaseModel::open(&typed.base)?, &choice)?.trusting(trust);
    if !typed.provider.is_empty() || typed.tier == Some(TierName::Packed) {
        for Fallback { tried, reason } in session.engine_report().fallbacks {
            render::warning(&format!("{tried} is not used: {reason}"));
        }
    }
    Ok(session)
}

/// Whom the device trusts for this command.
fn trust_of(store: &Store, allow_unsigned: bool) -> Result<Trust, taskvec_runtime::Error> {
    let trust = store.trust()?;
    Ok(if allow_unsigned { trust.and_unsigned_too() } else { trust })
}

fn ort_settings(typed: &OnBase, store: &Path) -> OrtSettings {
    let mut settings = OrtSettings {
        library: typed.onnxruntime.clone(),
        python_environments: vec!["target/python".into()],
        tier: typed.tier.map(|tier| match tier {
            TierName::Inputs => Tier::Inputs,
            TierName::BareInputs => Tier::BareInputs,
            TierName::Rebuild => Tier::Rebuild,
            TierName::Packed => Tier::Packed,
        }),
        packed_folder: (typed.tier == Some(TierName::Packed)).then(|| store.join(PACKED)),
        ..OrtSettings::default()
    };
    if !typed.provider.is_empty() {
        settings.providers.clone_from(&typed.provider);
    }
    settings
}

/// What a boot had to pass over and could not do, for people.
fn warnings(boot: &Boot) -> Vec<String> {
    let passed_over = boot.passed_over.iter().map(|passed| {
        let what = match &passed.composition {
            Some(composition) => format!("a composition of {} skills", composition.skills.len()),
            None => "a generation of the journal".to_owned(),
        };
        format!("passed over {what}: {}", passed.reason.chain())
    });
    let uncounted = boot.uncounted.iter().map(|why| format!("this attempt was not counted: {}", why.chain()));
    passed_over.chain(uncounted).collect()
}

/// Says what a boot had to pass over, and how the command ends because of it.
fn warn(boot: &Boot) -> Outcome {
    warnings(boot).iter().for_each(|warning| render::warning(warning));
    if boot.passed_over.is_empty() { Outcome::Done } else { Outcome::DoneWithWarnings }
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

//! One file per command; its first paragraph is its manual page. Commands never call each other: work is in the libraries.

mod answers;
mod apply;
mod bench;
mod budget;
mod bundle;
mod demo;
mod diff;
mod eval;
mod inspect;
mod key;
mod merge;
mod overlap;
mod pack;
mod run;
mod sign;
mod train;
mod update;
mod verify;

use std::path::Path;

use taskvec_packer::SecretKey;
use taskvec_packer::recipe::Values;
use taskvec_runtime::{BaseModel, EngineChoice, OrtSettings, PackLimits, Session, Skill, Trust};

use crate::args::{Arguments, Command, EngineName, PackAtAlpha, ValuesName};

/// How a command ended when it did not fail.
pub(crate) enum Outcome {
    /// All is well.
    Done,
    /// The work is done, and something about it deserves a look.
    DoneWithWarnings,
    /// The answer is no, and it has been given.
    Failed,
}

/// Runs the command that was typed.
pub(crate) fn run(arguments: Arguments) -> anyhow::Result<Outcome> {
    let json = arguments.json;
    match arguments.command {
        Command::Demo(typed) => demo::run(&typed, json),
        Command::Train(typed) => train::run(&typed, json),
        Command::Diff(typed) => diff::run(&typed, json),
        Command::Apply(typed) => apply::run(&typed, json),
        Command::Merge(typed) => merge::run(&typed, json),
        Command::Pack(typed) => pack::run(&typed, json),
        Command::Bundle(typed) => bundle::run(&typed, json),
        Command::Inspect(typed) => inspect::run(&typed, json),
        Command::Verify(typed) => verify::run(&typed, json),
        Command::Key(typed) => key::run(&typed, json),
        Command::Sign(typed) => sign::run(&typed, json),
        Command::Update(typed) => update::run(&typed, json),
        Command::Run(typed) => run::run(&typed, json),
        Command::Eval(typed) => eval::run(&typed, json),
        Command::Bench(typed) => bench::run(&typed, json),
    }
}

/// The library's words for what was typed.
fn values(name: ValuesName) -> Values {
    match name {
        ValuesName::F32 => Values::F32,
        ValuesName::F16 => Values::F16,
        ValuesName::Bf16 => Values::Bf16,
        ValuesName::Int8 => Values::Int8,
        ValuesName::Int6 => Values::Int6,
        ValuesName::Int4 => Values::Int4,
        ValuesName::Int3 => Values::Int3,
        ValuesName::Int2 => Values::Int2,
        ValuesName::Sign => Values::Sign,
        ValuesName::Lossless => Values::Lossless,
    }
}

/// The library's words for what was typed.
fn engine(name: EngineName, library: Option<&Path>) -> EngineChoice {
    let settings = onnx_runtime(library);
    match name {
        EngineName::Auto => EngineChoice::Auto(settings),
        EngineName::Ort => EngineChoice::Ort(settings),
        EngineName::Burn => EngineChoice::Burn,
    }
}

/// ONNX Runtime. A Python environment of this project in `target` is looked at as well.
fn onnx_runtime(library: Option<&Path>) -> OrtSettings {
    OrtSettings {
        library: library.map(Path::to_owned),
        python_environments: vec!["target/python".into()],
        ..OrtSettings::default()
    }
}

/// A session that takes every pack: here whoever runs the program has chosen it.
pub(crate) fn open(base: &BaseModel, choice: &EngineChoice) -> Result<Session, taskvec_runtime::Error> {
    Ok(Session::open(base, choice)?.trusting(Trust::unsigned_too()))
}

/// The pack's bytes, signed with the key that was typed, if one was.
fn signed(pack: Vec<u8>, key: Option<&Path>) -> anyhow::Result<Vec<u8>> {
    Ok(match key {
        Some(path) => SecretKey::open(path)?.sign(&pack)?,
        None => pack,
    })
}

/// The pack that was typed, opened, and the alpha that it shall have.
fn skill(typed: &PackAtAlpha) -> anyhow::Result<(Skill, f32)> {
    let skill = Skill::open(&typed.path, &PackLimits::default())?;
    let alpha = typed.alpha.unwrap_or(skill.recommended_alpha());
    Ok((skill, alpha))
}

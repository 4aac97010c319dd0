//! `taskvec verify PACK [--base BASE] [--key PUBFILE]... [--trust TRUSTFILE]`: does a pack hold what it says?
//!
//! Four questions, each answered with what was found: is the file a whole pack; has it the signatures that are asked for; does
//! it belong to the base; and does it do there what it promises, which its probes tell, on an engine. What was not asked is
//! said, too. Exit code 0 only if everything that was asked holds, else 1.
//!
//! `--key` asks for a signature by that key, by each if several are given; `--trust` asks for what a device asks for that has
//! pinned the keys in this `trust.json` (it lies in the device's store). A base is a bundle, or the checkpoint that a pack of
//! `taskvec diff` was made from; the latter infers nothing, so that probes are left out, as they are on a quantized base.

use std::collections::BTreeSet;
use std::path::Path;

use anyhow::Context;
use serde::Serialize;
use taskvec_bundle::BASE_FILE;
use taskvec_pack::{Limits, Pack};
use taskvec_packer::ErrorKind;
use taskvec_packer::apply::belongs;
use taskvec_runtime::{BaseModel, NoProbes, PackLimits, Proof, Skill, Trust, Verdict, read_public_key};

use super::Outcome;
use crate::args::Verify;
use crate::render::{self, size};

const WHOLE: &str = "whole pack";
const SIGNATURES: &str = "signatures";
const BELONGS: &str = "belongs to base";
const PROMISE: &str = "does as promised";

#[derive(Serialize)]
struct Verified {
    pack: String,
    /// Whether everything that was asked holds.
    holds: bool,
    answers: Vec<Answer>,
}

#[derive(Serialize)]
struct Answer {
    question: &'static str,
    /// None where it was not asked, or where there is nothing to hold.
    holds: Option<bool>,
    found: String,
    /// The next step, where it does not hold.
    #[serde(skip_serializing_if = "Option::is_none")]
    help: Option<String>,
}

pub(crate) fn run(typed: &Verify, json: bool) -> anyhow::Result<Outcome> {
    let bytes = std::fs::read(&typed.pack).with_context(|| format!("read pack `{}`", typed.pack.display()))?;
    let trust = trust(typed)?;
    let answers = match Pack::read(&bytes, &Limits::default()) {
        Ok(pack) => {
            let on_base = match &typed.base {
                Some(base) => on_base(typed, base, &bytes)?,
                None => unasked(&pack),
            };
            let mut answers = vec![whole(&pack, &bytes), signed(&pack, trust.as_ref())];
            answers.extend(on_base);
            answers
        }
        Err(error) => vec![Answer::no(WHOLE, error.to_string(), error.help())],
    };
    let holds = answers.iter().all(|answer| answer.holds != Some(false));
    let verified = Verified { pack: typed.pack.display().to_string(), holds, answers };
    render::result(json, &verified, table)?;
    Ok(if holds { Outcome::Done } else { Outcome::Failed })
}

/// Whose signatures are asked for, if any are.
fn trust(typed: &Verify) -> anyhow::Result<Option<Trust>> {
    if let Some(path) = &typed.trust {
        let attempt = || format!("read the pinned keys `{}`", path.display());
        let bytes = std::fs::read(path).with_context(attempt)?;
        return Ok(Some(Trust::decode(&bytes).with_context(attempt)?));
    }
    let keys = typed.key.iter().map(|path| read_public_key(path)).collect::<Result<Vec<_>, _>>()?;
    let all = keys.iter().map(|key| key.id()).collect::<BTreeSet<_>>().len();
    Ok(if keys.is_empty() { None } else { Some(Trust::in_keys(keys, all)?) })
}

fn whole(pack: &Pack<'_>, bytes: &[u8]) -> Answer {
    let (major, minor) = pack.version();
    let entries: u64 = pack.tensors().map(|tensor| tensor.entry_count()).sum();
    let (name, digest) = (pack.manifest().name, pack.digest());
    let size = size(bytes.len() as u64);
    Answer::yes(WHOLE, format!("skill `{name}`, {size}, format {major}.{minor}, {entries} entries; digest {digest}"))
}

/// Each signature, and whether they are those that are asked for.
fn signed(pack: &Pack<'_>, trust: Option<&Trust>) -> Answer {
    let line = |(signature, verdict): (taskvec_pack::Signature<'_>, Verdict)| {
        let id: String = signature.key_id.iter().map(|byte| format!("{byte:02x}")).collect();
        let verdict = match verdict {
            Verdict::Holds => "holds",
            Verdict::Wrong => "DOES NOT FIT",
            _ if trust.is_some() => "is by none of these keys",
            _ => "is not verified",
        };
        format!("the one by {id} {verdict}")
    };
    let lines: Vec<String> = trust.unwrap_or(&Trust::default()).verdicts(pack).map(line).collect();
    let found = if lines.is_empty() { "none".to_owned() } else { lines.join(", ") };
    let Some(trust) = trust else {
        return Answer::unasked(SIGNATURES, format!("{found} (--key or --trust ask for some)"));
    };
    match trust.verify(pack) {
        Ok(_) => Answer::yes(SIGNATURES, found),
        Err(_) => {
            let keys: Vec<String> = trust.keys().map(|key| key.id().to_string()).collect();
            let wanted = if keys.len() == trust.threshold() { "all".to_owned() } else { trust.threshold().to_string() };
            let help = "whoever has a secret key can sign with `taskvec sign`; a pack that was changed has to be fetched again";
            Answer::no(SIGNATURES, format!("{found}; asked for {wanted} of {}", keys.join(", ")), help)
        }
    }
}

fn unasked(pack: &Pack<'_>) -> Vec<Answer> {
    let probes = pack.probes().map_or(0, |probes| probes.count);
    vec![
        Answer::unasked(BELONGS, format!("made for base {} (--base asks)", pack.manifest().base)),
        Answer::unasked(PROMISE, format!("{probes} probes (--base asks)")),
    ]
}

/// Whether it belongs to this base, and does there what it promises.
fn on_base(typed: &Verify, base: &Path, pack: &[u8]) -> anyhow::Result<Vec<Answer>> {
    let shown = base.display();
    if !base.join(BASE_FILE).exists() {
        let answer = match belongs(base, pack) {
            Ok(()) => Answer::yes(BELONGS, format!("`{shown}`: fingerprint, names, shapes and dtypes fit")),
            Err(error) if error.kind() == ErrorKind::Mismatch => stranger(error.to_string(), error.help()),
            Err(error) => return Err(error.into()),
        };
        let found = format!("not tried: `{shown}` is a checkpoint, and answers take a base bundle");
        return Ok(vec![answer, Answer::unasked(PROMISE, found)]);
    }
    let (opened, skill) = (BaseModel::open(base)?, Skill::from_bytes(pack, &PackLimits::default())?);
    if let Err(error) = skill.check_belongs_to(&opened) {
        let nothing = Answer::unasked(PROMISE, "not tried on a base that it does not fit".to_owned());
        return Ok(vec![stranger(error.chain(), error.help()), nothing]);
    }
    let belongs = Answer::yes(BELONGS, format!("`{}`: fingerprint, names, shapes and dtypes fit", opened.name()));
    let session = super::open(&opened, &super::engine(typed.engine, typed.onnxruntime.as_deref()))?;
    let promise = match session.attach(&skill, skill.recommended_alpha()) {
        Ok(change) => kept(&change.proof, &session.engine()),
        Err(error) => {
            Answer::no(PROMISE, error.chain(), error.help().unwrap_or("fetch the pack again, or try another engine"))
        }
    };
    Ok(vec![belongs, promise])
}

/// The base is not the pack's.
fn stranger(found: String, help: Option<&str>) -> Answer {
    Answer::no(BELONGS, found, help.unwrap_or("name the base that it was made for"))
}

/// What was proved on an engine. Where the probes say nothing, the change is felt, and the answers are finite.
fn kept(proof: &Proof, engine: &str) -> Answer {
    let felt = |why: &str| Answer::unasked(PROMISE, format!("{why}; its change is felt and finite, on {engine}"));
    match proof {
        Proof::Probes { count, difference_max, tolerance } => Answer::yes(
            PROMISE,
            format!("{count} probes, largest difference {difference_max:.1e}, allowed {tolerance:.1e}, on {engine}"),
        ),
        Proof::Felt { because: NoProbes::NoneForEngine, .. } => Answer::no(
            PROMISE,
            format!("its probes have no tolerance for {engine}"),
            "try another engine (`--engine ort`, `--engine burn`)",
        ),
        Proof::Felt { because: NoProbes::QuantizedBase, .. } => {
            felt("its probes hold on the floats that this quantized base stands for")
        }
        _ => felt("it promises nothing, having no probes"),
    }
}

impl Answer {
    fn yes(question: &'static str, found: String) -> Self {
        Self { question, holds: Some(true), found, help: None }
    }

    fn no(question: &'static str, found: String, help: impl Into<String>) -> Self {
        Self { question, holds: Some(false), found, help: Some(help.into()) }
    }

    fn unasked(question: &'static str, found: String) -> Self {
        Self { question, holds: None, found, help: None }
    }
}

fn table(verified: &Verified) -> String {
    let line = |answer: &Answer| {
        let holds = match answer.holds {
            Some(true) => "yes",
            Some(false) => "NO",
            None => "-",
        };
        let help = answer.help.as_ref().map_or_else(String::new, |help| format!("{:24}help: {help}\n", ""));
        format!("{:18}{holds:<6}{}\n{help}", answer.question, answer.found)
    };
    verified.answers.iter().map(line).collect()
}

//! What of a store is whole.

use taskvec_pack::Digest;

use super::Store;
use super::disk::ASIDE;
use super::generation::{Generation, Kept};
use crate::check::{Check, Status};
use crate::error::Error;

impl Store {
    /// Looks at everything: reads every pack and holds it against its digest, reads the journal, counts failures and files
    /// left aside. Takes no lock and writes nothing, so it may be asked at any time.
    pub fn health(&self) -> Vec<Check> {
        let mut checks = Vec::new();
        let newest = match self.journal() {
            Ok(journal) => {
                let unreadable = journal.unreadable.iter();
                checks.extend(unreadable.map(|wrong| Check::failed("journal", wrong)));
                checks.push(journal_check(&journal.newest, journal.number_max));
                journal.newest
            }
            Err(wrong) => {
                checks.push(Check::failed("journal", &wrong));
                Generation::default()
            }
        };
        let packs = self.pack_checks(&newest, &mut checks);
        for (place, kept) in newest.kept.iter().enumerate() {
            checks.push(kept_check(place, kept, &packs));
        }
        checks.push(self.aside_check());
        checks.push(self.trust_check());
        checks
    }

    /// One check for each pack on the disk. Returns the digests of those that are whole.
    fn pack_checks(&self, newest: &Generation, checks: &mut Vec<Check>) -> Vec<Digest> {
        let packs = match self.packs() {
            Ok(packs) => packs,
            Err(wrong) => {
                checks.push(Check::failed("packs", &wrong));
                return Vec::new();
            }
        };
        let mut whole = Vec::new();
        for pack in packs {
            let subject = format!("pack {}", pack.digest);
            match pack.skill {
                Ok(skill) => {
                    let needed = if newest.names(&pack.digest) { "a kept composition needs it" } else { "not needed" };
                    let bytes = skill.pack().content().len();
                    checks.push(Check::ok(subject, format!("`{}`, {bytes} bytes, whole; {needed}", skill.name())));
                    whole.push(pack.digest);
                }
                Err(wrong) => checks.push(Check::failed(subject, &wrong)),
            }
        }
        whole
    }

    fn aside_check(&self) -> Check {
        let mut left = 0;
        for folder in self.folders() {
            match self.names(&folder) {
                Ok(names) => left += names.iter().filter(|name| name.ends_with(ASIDE)).count(),
                Err(wrong) => return Check::failed("files left aside", &wrong),
            }
        }
        match left {
            0 => Check::ok("files left aside", "none"),
            count => Check::new("files left aside", Status::Warning, format!("{count}; `gc` removes them")),
        }
    }

    fn trust_check(&self) -> Check {
        match self.trust() {
            Ok(trust) if trust.keys().len() == 0 => Check::ok(
                "trust",
                "no key is pinned: packs come into force only where unsigned ones are allowed by name",
            ),
            Ok(trust) => Check::ok(
                "trust",
                format!("{} of {} pinned keys must have signed", trust.threshold(), trust.keys().len()),
            ),
            Err(wrong) => Check::failed("trust", &wrong),
        }
    }
}

fn journal_check(newest: &Generation, number_max: u64) -> Check {
    match (number_max, newest.number) {
        (0, _) => Check::ok("journal", "nothing was ever committed"),
        (_, 0) => Check::new("journal", Status::Failed, "no generation of it can be read"),
        (_, number) => {
            Check::ok("journal", format!("generation {number} is whole and keeps {} compositions", newest.kept.len()))
        }
    }
}

/// `place` is 0 for the committed composition.
fn kept_check(place: usize, kept: &Kept, packs: &[Digest]) -> Check {
    let subject = match place {
        0 => "committed composition".to_owned(),
        place => format!("composition {place} before it"),
    };
    let (skills, failures, most) = (kept.composition.skills.len(), kept.failures, Kept::FAILURES_MAX);
    let missing: Vec<String> = kept
        .composition
        .skills
        .iter()
        .filter(|(digest, _)| !packs.contains(digest))
        .map(|(digest, _)| digest.to_string())
        .collect();
    let (status, state) = if !missing.is_empty() {
        (Status::Failed, format!("; no whole pack {}; install it again", missing.join(", ")))
    } else if kept.is_given_up() {
        (Status::Failed, "; it is given up: attach its skills again to try it once more".to_owned())
    } else if failures > 0 {
        (Status::Warning, "; then it is given up".to_owned())
    } else {
        (Status::Ok, String::new())
    };
    let base = kept.composition.base;
    Check::new(subject, status, format!("{skills} skills on base {base}; {failures} of {most} failures{state}"))
}

impl Check {
    /// A check that failed, with the whole chain of what went wrong and the next step.
    fn failed(subject: impl Into<String>, wrong: &Error) -> Self {
        let next_step = wrong.help().map(|help| format!("; {help}")).unwrap_or_default();
        Self::new(subject, Status::Failed, wrong.chain() + &next_step)
    }
}

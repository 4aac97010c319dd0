//! Booting: what was committed comes into force, or what was before it, or the base; each attempt is counted beforehand.

use super::Store;
use super::generation::{Committed, Generation, Kept};
use crate::error::{Error, ErrorKind};
use crate::session::{Change, Session};

/// What a boot has brought into force, and what it had to pass over.
#[derive(Debug)]
pub struct Boot {
    /// The change of the session. Its composition is in force now.
    pub change: Change,
    /// Where that composition comes from.
    pub in_force: InForce,
    /// Newer compositions, the newest first, with what was wrong with each.
    pub passed_over: Vec<PassedOver>,
    /// Why the attempts could not be counted, if so: a composition that ends the process would be tried again and again.
    pub uncounted: Option<Error>,
}

/// Where the composition in force comes from.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum InForce {
    /// What is committed: everything is as it should be. The base alone, if nothing was ever committed.
    Committed,
    /// A composition that was committed before.
    Earlier,
    /// The base, since nothing that is kept works.
    Base,
}

/// Something that a boot could not bring into force.
#[derive(Debug)]
pub struct PassedOver {
    /// The composition; none for a generation of the journal that cannot be read.
    pub composition: Option<Committed>,
    /// What was wrong.
    pub reason: Error,
}

/// How a boot goes about it.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Attempts {
    Counted,
    /// Nothing is written, and what was given up is still passed over.
    Rehearsed,
}

impl Store {
    /// Brings into `session` what is committed, proved. If that fails, what was committed before it; if nothing that is
    /// kept works, the base. An attempt is counted on disk before it is made and the count taken back when the proof has
    /// passed, so that a composition on which the process ends counts as failed; after [`Kept::FAILURES_MAX`] failures it is
    /// passed over. Where the disk does not let it count it boots all the same and says so. A pack that the session does not
    /// trust is passed over and not counted.
    ///
    /// Whatever is wrong with the store, the session answers: with the base if need be.
    ///
    /// # Errors
    /// Those of [`Session::swap`] to nothing.
    pub fn boot(&self, session: &Session) -> Result<Boot, Error> {
        self.bring_up(session, Attempts::Counted)
    }

    /// As [`Store::boot`], but nothing is counted and nothing is written: for looking at what a boot would do, and for
    /// programs that a person runs.
    ///
    /// # Errors
    /// As [`Store::boot`].
    pub fn rehearse(&self, session: &Session) -> Result<Boot, Error> {
        self.bring_up(session, Attempts::Rehearsed)
    }

    fn bring_up(&self, session: &Session, attempts: Attempts) -> Result<Boot, Error> {
        let mut passed_over = Vec::new();
        let mut uncounted = None;
        let newest = match self.journal() {
            Ok(journal) => {
                let unreadable = journal.unreadable.into_iter();
                passed_over.extend(unreadable.map(|reason| PassedOver { composition: None, reason }));
                journal.newest
            }
            Err(reason) => {
                passed_over.push(PassedOver { composition: None, reason });
                Generation::default()
            }
        };
        for kept in newest.kept {
            let composition = kept.composition.clone();
            match self.attempt(session, kept, attempts, &mut uncounted) {
                Ok(change) => {
                    let in_force = if passed_over.is_empty() { InForce::Committed } else { InForce::Earlier };
                    return Ok(Boot { change, in_force, passed_over, uncounted });
                }
                Err(reason) => passed_over.push(PassedOver { composition: Some(composition), reason }),
            }
        }
        let change = session.swap([])?;
        let in_force = if passed_over.is_empty() { InForce::Committed } else { InForce::Base };
        Ok(Boot { change, in_force, passed_over, uncounted })
    }

    /// Brings one composition into force, if it was not given up and belongs to this base.
    fn attempt(
        &self,
        session: &Session,
        kept: Kept,
        attempts: Attempts,
        uncounted: &mut Option<Error>,
    ) -> Result<Change, Error> {
        if kept.is_given_up() {
            let clause = format!("it has failed {} times, expected fewer than {}", kept.failures, Kept::FAILURES_MAX);
            return Err(
                Error::new(ErrorKind::Mismatch, clause).with_help("attach its skills again to try it once more")
            );
        }
        kept.composition.made_on(session)?;
        // Nothing to prove: this cannot fail by anything that a count would help against.
        let counts = attempts == Attempts::Counted && !kept.composition.skills.is_empty();
        let count = |failures: fn(u32) -> u32| self.count(&kept.composition, failures).err();
        if counts {
            *uncounted = count(|failures| failures.saturating_add(1)).or(uncounted.take());
        }
        let outcome = self.skills(&kept.composition.skills).and_then(|skills| session.swap(skills));
        if counts && uncounted.is_none() {
            *uncounted = match &outcome {
                Ok(_) => count(|_| 0),
                // Whom to trust is the operator's to say, and tells nothing of whether the composition works.
                Err(cause) if cause.kind() == ErrorKind::Untrusted => count(|failures| failures.saturating_sub(1)),
                Err(_) => None,
            };
        }
        outcome
    }

    /// Writes down another count of failures for `composition`, if it is still kept.
    fn count(&self, composition: &Committed, failures: fn(u32) -> u32) -> Result<(), Error> {
        let writer = self.writer()?;
        let mut kept = writer.generation()?.kept.clone();
        if let Some(ours) = kept.iter_mut().find(|kept| kept.composition == *composition) {
            ours.failures = failures(ours.failures);
        }
        writer.keep(kept)
    }
}

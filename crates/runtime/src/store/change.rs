//! What shall be in force: attach, detach, swap, commit, roll back.
//!
//! A change of the store with a session is one transaction: under the lock the committed composition is read and edited,
//! the result is proved in the session, and only then written down. Two processes that change at once come one after the
//! other, and the second one builds on what the first has committed.

use taskvec_pack::Digest;

use super::generation::{Committed, Generation, Kept};
use super::install::PackFile;
use super::{Store, Writer};
use crate::composition::Composition;
use crate::error::{Error, ErrorKind};
use crate::session::{Change, Session};
use crate::skill::Skill;

/// What rolling back has changed; none stands for the base alone.
#[derive(Clone, Debug, PartialEq)]
pub struct RolledBack {
    /// What should have been in force before; none as well when its generation could not be read.
    pub from: Option<Committed>,
    /// What shall be in force now.
    pub to: Option<Committed>,
}

impl Store {
    /// What shall be in force: the newest composition that was not given up. None means the base alone.
    ///
    /// # Errors
    /// `Io`; `Damaged`, `Limit` or `Unsupported` when the newest generation of the journal cannot be read.
    pub fn committed(&self) -> Result<Option<Committed>, Error> {
        Ok(self.journal()?.sound()?.standing().cloned())
    }

    /// Puts the skill of `pack` in force at `alpha`, beside what is committed: proves all of it in `session`, installs the
    /// pack, commits.
    ///
    /// # Errors
    /// Those of [`Session::swap`]; `Mismatch` when what is committed was made on another base; what is wrong with the
    /// journal or with a pack that is committed; `Io`. The store is then as it was, and so is the session, unless a skill
    /// that it had in force was never installed.
    pub fn attach(&self, session: &Session, pack: &PackFile, alpha: f32) -> Result<Change, Error> {
        let skill = pack.skill();
        self.change(session, Some(pack), |wanted| {
            wanted.push((skill.digest(), alpha));
            Ok(())
        })
        .map_err(|cause| cause.while_doing(format!("attach `{}`", skill.name())))
    }

    /// Puts a pack that is installed in force, as [`Store::attach`] does; at the alpha that it recommends if none is given.
    ///
    /// # Errors
    /// As [`Store::attach`], and those of [`Store::skill`].
    pub fn attach_installed(&self, session: &Session, digest: &Digest, alpha: Option<f32>) -> Result<Change, Error> {
        let skill = self.skill(digest)?;
        self.change(session, None, |wanted| {
            wanted.push((*digest, alpha.unwrap_or(skill.recommended_alpha())));
            Ok(())
        })
        .map_err(|cause| cause.while_doing(format!("attach `{}`", skill.name())))
    }

    /// Takes a skill out of force; its pack stays installed.
    ///
    /// # Errors
    /// `Usage` when it is not committed, and as [`Store::attach`].
    pub fn detach(&self, session: &Session, digest: &Digest) -> Result<Change, Error> {
        self.change(session, None, |wanted| {
            place(wanted, digest).map(|at| {
                wanted.remove(at);
            })
        })
        .map_err(|cause| cause.while_doing(format!("detach {digest}")))
    }

    /// Gives a skill in force another coefficient.
    ///
    /// # Errors
    /// `Usage` when it is not committed, and as [`Store::attach`].
    pub fn set_alpha(&self, session: &Session, digest: &Digest, alpha: f32) -> Result<Change, Error> {
        self.change(session, None, |wanted| place(wanted, digest).map(|at| wanted[at].1 = alpha))
            .map_err(|cause| cause.while_doing(format!("set alpha of {digest} to {alpha}")))
    }

    /// Replaces everything in force by these installed packs; an empty list leaves the base.
    ///
    /// # Errors
    /// As [`Store::attach`], but it does not matter on which base the committed composition was made.
    pub fn swap(&self, session: &Session, skills: &[(Digest, f32)]) -> Result<Change, Error> {
        let writer = self.writer()?;
        writer.generation()?;
        writer.bring_into_force(session, None, skills)
    }

    /// Commits what a session has in force, for those who change a session by themselves. Every pack must be installed.
    ///
    /// # Errors
    /// `Usage` when one is not; what is wrong with the journal; `Io`. The store is then as it was.
    pub fn commit(&self, composition: &Composition) -> Result<(), Error> {
        self.writer()?.commit(composition)
    }

    /// Goes back to the composition before the committed one, or to the base alone when none is kept. When the newest
    /// generation of the journal cannot be read, goes back to what the newest one says that can.
    ///
    /// Nothing is proved here, so that it works without an engine; whoever boots proves what it attaches.
    ///
    /// # Errors
    /// `Usage` when the base alone is committed and nothing is kept; `Io`, and the store is as it was.
    pub fn roll_back(&self) -> Result<RolledBack, Error> {
        let writer = self.writer()?;
        let newest = &writer.journal.newest;
        if !writer.journal.unreadable.is_empty() {
            let to = newest.standing().cloned();
            writer.append(newest.kept.clone())?;
            return Ok(RolledBack { from: None, to });
        }
        let Some(from) = newest.standing().cloned() else {
            let clause = format!("nothing is kept in `{}` to roll back to", self.folder.display());
            return Err(Error::new(ErrorKind::Usage, clause).with_help("the base alone is committed"));
        };
        let usable = newest.kept.iter().filter(|kept| !kept.is_given_up());
        let kept: Vec<Kept> = usable.skip(1).cloned().collect();
        let to = kept.first().map(|kept| kept.composition.clone());
        writer.append(kept)?;
        Ok(RolledBack { from: Some(from), to })
    }

    /// See [`Store::attach`].
    fn change(
        &self,
        session: &Session,
        pack: Option<&PackFile>,
        edit: impl FnOnce(&mut Vec<(Digest, f32)>) -> Result<(), Error>,
    ) -> Result<Change, Error> {
        let writer = self.writer()?;
        let mut wanted = Vec::new();
        if let Some(committed) = writer.generation()?.standing() {
            committed.made_on(session)?;
            wanted.clone_from(&committed.skills);
        }
        edit(&mut wanted)?;
        writer.bring_into_force(session, pack, &wanted)
    }

    /// The skills of a composition, opened.
    pub(super) fn skills(&self, wanted: &[(Digest, f32)]) -> Result<Vec<(Skill, f32)>, Error> {
        wanted.iter().map(|(digest, alpha)| Ok((self.skill(digest)?, *alpha))).collect()
    }
}

impl Committed {
    /// Fails when this was made on another base than the session's.
    pub(super) fn made_on(&self, session: &Session) -> Result<(), Error> {
        let found = session.base().fingerprint();
        if self.base == found {
            return Ok(());
        }
        let clause = format!("the committed composition is for base {}, found {found}", self.base);
        Err(Error::new(ErrorKind::Mismatch, clause)
            .with_help("name the base that it was made on, or another store for this base"))
    }
}

impl Writer<'_> {
    /// What the journal says, to build on.
    pub(super) fn generation(&self) -> Result<&Generation, Error> {
        match self.journal.unreadable.first() {
            None => Ok(&self.journal.newest),
            Some(unreadable) => Err(unreadable.copy()),
        }
    }

    /// Makes `kept` what the journal says, unless it does already.
    pub(super) fn keep(&self, kept: Vec<Kept>) -> Result<(), Error> {
        if self.generation()?.kept == kept {
            return self.store.journal_folder().settle();
        }
        self.append(kept)
    }

    pub(super) fn append(&self, kept: Vec<Kept>) -> Result<(), Error> {
        self.store.journal_folder().append(kept, self.journal.number_max)
    }

    /// Proves `wanted` in `session`, installs the pack that is new among it, and commits. If the store refuses, the session
    /// goes back to what it had.
    fn bring_into_force(
        self,
        session: &Session,
        pack: Option<&PackFile>,
        wanted: &[(Digest, f32)],
    ) -> Result<Change, Error> {
        let before = session.composition();
        let new = pack.map(|pack| pack.skill());
        let mut skills = Vec::with_capacity(wanted.len());
        for (digest, alpha) in wanted {
            let skill = match new.filter(|skill| skill.digest() == *digest) {
                Some(skill) => skill.clone(),
                None => self.store.skill(digest)?,
            };
            skills.push((skill, *alpha));
        }
        let change = session.swap(skills)?;
        let installed = pack.map_or(Ok(false), |pack| self.install(pack));
        let written = installed.and_then(|_| self.commit(&change.composition));
        let Err(cause) = written else { return Ok(change) };
        let back = self.store.skills(&Committed::from(&before).skills).and_then(|skills| session.swap(skills));
        Err(match back {
            Ok(_) => cause,
            Err(back) => cause.while_doing(format!("the session stays ahead of the store ({back})")),
        })
    }

    /// See [`Store::commit`].
    fn commit(&self, composition: &Composition) -> Result<(), Error> {
        let installed = self.store.pack_digests()?;
        for skill in &composition.skills {
            if installed.binary_search(&skill.digest).is_err() {
                let folder = self.store.folder.display();
                let clause = format!("skill `{}` is not installed in `{folder}`", skill.name);
                return Err(Error::new(ErrorKind::Usage, clause).with_help("install its pack first"));
            }
        }
        self.settle_packs()?;
        self.keep(self.generation()?.with(composition.into()))
    }
}

/// Where the skill stands among those that are wanted.
fn place(wanted: &[(Digest, f32)], digest: &Digest) -> Result<usize, Error> {
    wanted.iter().position(|(skill, _)| skill == digest).ok_or_else(|| {
        Error::new(ErrorKind::Usage, format!("no skill {digest} is committed"))
            .with_help("`list` shows what is in force")
    })
}

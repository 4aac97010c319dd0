//! The compositions that are served, by name.
//!
//! `default` is the device's own: its changes are committed to the store, and it comes back with the next start. The others
//! are sessions beside it on the same base; each costs the pages that its skills touch, and is gone when the server stops.
//! Changes come one at a time, whichever composition they change.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, PoisonError, RwLock};
use std::time::Instant;

use serde::Serialize;
use taskvec_runtime::{Change, Composition, Digest, Session, Skill, Store};
use taskvec_wire::{Attach, Detach, Kind, Refusal, SetAlpha, Swap};

use crate::commands::installed::{Named, installed, is_known, meant};

use super::metrics::{Counter, Histogram, Page};
use super::refused::Refused;

/// The composition that is committed.
pub(crate) const DEFAULT: &str = "default";

/// All that are served.
pub(crate) struct Compositions {
    store: Store,
    by_name: RwLock<BTreeMap<String, Arc<Served>>>,
    /// `default` among them.
    count_max: usize,
    /// Held during a change.
    changing: Mutex<()>,
}

/// One that is served.
pub(crate) struct Served {
    pub(crate) session: Session,
    is_committed: bool,
    touched_bytes: Mutex<u64>,
    pub(crate) counted: Counted,
}

/// What was asked of one composition.
#[derive(Default)]
pub(crate) struct Counted {
    /// Requests that were answered with logits.
    pub(crate) inferences: Counter,
    pub(crate) images: Counter,
    /// Requests for an inference that were refused or failed.
    pub(crate) inference_failures: Counter,
    /// From the head of a request to its answer.
    pub(crate) inference_times: Histogram,
    changes: [Counter; Edit::VERBS.len()],
    change_failures: [Counter; Edit::VERBS.len()],
    change_times: Histogram,
}

/// A change that is asked for.
pub(crate) enum Edit {
    Attach(Attach),
    Detach(Detach),
    SetAlpha(SetAlpha),
    Swap(Swap),
}

impl Edit {
    const VERBS: [&str; 4] = ["attach", "detach", "alpha", "swap"];

    fn number(&self) -> usize {
        match self {
            Self::Attach(_) => 0,
            Self::Detach(_) => 1,
            Self::SetAlpha(_) => 2,
            Self::Swap(_) => 3,
        }
    }
}

/// A family of metrics: its name, its help, and where its numbers stand.
type Family<T> = (&'static str, &'static str, fn(&Counted) -> &T);

/// By verb.
const CHANGES: [Family<[Counter; Edit::VERBS.len()]>; 2] = [
    ("taskvec_changes_total", "Changes that came into force.", |counted| &counted.changes),
    ("taskvec_change_failures_total", "Changes that were refused or failed.", |counted| &counted.change_failures),
];

const TIMES: [Family<Histogram>; 2] = [
    ("taskvec_inference_seconds", "From the head of a request to its logits.", |counted| &counted.inference_times),
    ("taskvec_change_seconds", "A change with its proof and its commit.", |counted| &counted.change_times),
];

/// A composition in a list.
#[derive(Serialize)]
pub(crate) struct Listed {
    name: String,
    touched_bytes: u64,
    #[serde(flatten)]
    composition: Composition,
}

/// A pack in a list.
#[derive(Serialize)]
pub(crate) struct Installed {
    name: String,
    digest: String,
    base: String,
    pack_bytes: u64,
    /// The alpha that its maker recommends.
    alpha: f32,
}

impl Compositions {
    /// `session` has in force what is committed, and touches that many bytes.
    pub(crate) fn new(store: Store, session: Session, touched_bytes: u64, count_max: usize) -> Self {
        let default = Arc::new(Served::new(session, true, touched_bytes));
        let by_name = RwLock::new(BTreeMap::from([(DEFAULT.to_owned(), default)]));
        Self { store, by_name, count_max, changing: Mutex::new(()) }
    }

    /// The composition of this name.
    ///
    /// # Errors
    /// Status 404 when there is none.
    pub(crate) fn get(&self, name: &str) -> Result<Arc<Served>, Refusal> {
        self.found(name).ok_or_else(|| {
            Refusal::new(404, Kind::Usage, format!("there is no composition `{name}`"))
                .with_help("PUT it first; GET /compositions lists those there are")
        })
    }

    /// All of them.
    pub(crate) fn list(&self) -> Vec<Listed> {
        let all = self.by_name.read().unwrap_or_else(PoisonError::into_inner).clone();
        all.into_iter().map(|(name, served)| served.listed(name)).collect()
    }

    /// Changes a composition that is there.
    ///
    /// # Errors
    /// Those of the session and of the store, which are then as they were; status 404 for a pack that is not installed or a
    /// skill that is not in force.
    pub(crate) fn change(&self, served: &Served, edit: &Edit) -> Result<Change, Refused> {
        let _one_at_a_time = self.changing.lock().unwrap_or_else(PoisonError::into_inner);
        self.change_alone(served, edit)
    }

    /// Replaces everything in a composition, which is made if there is none; says whether it was.
    ///
    /// # Errors
    /// As [`Compositions::change`], and status 409 when there are as many compositions as there may be.
    pub(crate) fn put(&self, name: &str, swap: Swap) -> Result<(Change, bool), Refused> {
        let edit = Edit::Swap(swap);
        let _one_at_a_time = self.changing.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(served) = self.found(name) {
            return Ok((self.change_alone(&served, &edit)?, false));
        }
        let count = self.by_name.read().unwrap_or_else(PoisonError::into_inner).len();
        if count >= self.count_max {
            let refusal =
                Refusal::new(409, Kind::Limit, format!("{count} compositions are served, and that is the limit"));
            return Err(refusal.with_help("DELETE one, or serve with a larger `--compositions-max`").into());
        }
        let made = Served::new(self.get(DEFAULT)?.session.beside()?, false, 0);
        let change = self.change_alone(&made, &edit)?;
        self.by_name.write().unwrap_or_else(PoisonError::into_inner).insert(name.to_owned(), Arc::new(made));
        Ok((change, true))
    }

    /// Forgets a composition. Inferences that have begun on it end as they would have.
    ///
    /// # Errors
    /// Status 404 when there is none, 400 for `default`.
    pub(crate) fn remove(&self, name: &str) -> Result<(), Refusal> {
        if name == DEFAULT {
            return Err(Refusal::usage(format!("composition `{DEFAULT}` cannot be removed"))
                .with_help(r#"PUT {"skills": []} to leave the base alone"#));
        }
        self.get(name)?;
        self.by_name.write().unwrap_or_else(PoisonError::into_inner).remove(name);
        Ok(())
    }

    /// Every pack of the store that can be read.
    pub(crate) fn packs(&self) -> Result<Vec<Installed>, Refused> {
        let packs = self.store.packs()?;
        Ok(packs.iter().filter_map(|pack| pack.skill.as_ref().ok()).map(Installed::of).collect())
    }

    /// What was asked of each composition, and what each is.
    pub(crate) fn write(&self, page: &mut Page) {
        let all = self.by_name.read().unwrap_or_else(PoisonError::into_inner).clone();
        page.family("taskvec_composition_info", "gauge", "What is in force, by digest.");
        for (name, served) in &all {
            let digest = served.session.digest();
            page.sample("taskvec_composition_info", &[("composition", name), ("digest", &digest)], 1);
        }
        page.family("taskvec_composition_skills", "gauge", "Skills in force.");
        for (name, served) in &all {
            let count = served.session.composition().skills.len();
            page.sample("taskvec_composition_skills", &[("composition", name)], count);
        }
        let mut numbers = |family: &str, kind: &str, help: &str, read: &dyn Fn(&Served) -> u64| {
            page.family(family, kind, help);
            all.iter().for_each(|(name, served)| page.sample(family, &[("composition", name)], read(served)));
        };
        numbers("taskvec_touched_bytes", "gauge", "Weights that the composition owns.", &Served::touched_bytes);
        numbers("taskvec_inferences_total", "counter", "Requests answered with logits.", &|served| {
            served.counted.inferences.read()
        });
        numbers("taskvec_images_total", "counter", "Images in those requests.", &|served| served.counted.images.read());
        numbers("taskvec_inference_failures_total", "counter", "Requests for an inference without one.", &|served| {
            served.counted.inference_failures.read()
        });
        for (family, help, read) in CHANGES {
            page.family(family, "counter", help);
            for (name, served) in &all {
                for (verb, counter) in Edit::VERBS.iter().zip(read(&served.counted)) {
                    page.sample(family, &[("composition", name), ("change", verb)], counter.read());
                }
            }
        }
        for (family, help, read) in TIMES {
            page.family(family, "histogram", help);
            all.iter().for_each(|(name, served)| page.histogram(family, name, read(&served.counted)));
        }
    }

    fn found(&self, name: &str) -> Option<Arc<Served>> {
        self.by_name.read().unwrap_or_else(PoisonError::into_inner).get(name).cloned()
    }

    /// Changes and counts; the caller sees to it that nobody else changes anything.
    fn change_alone(&self, served: &Served, edit: &Edit) -> Result<Change, Refused> {
        let (verb, started) = (edit.number(), Instant::now());
        let changed = self.apply(served, edit);
        match &changed {
            Ok(change) => {
                served.counted.changes[verb].add(1);
                served.counted.change_times.add(started.elapsed());
                *served.touched_bytes.lock().unwrap_or_else(PoisonError::into_inner) = change.touched_bytes;
            }
            Err(_) => served.counted.change_failures[verb].add(1),
        }
        changed
    }

    /// The device's own composition is the store's, the others are those of their sessions.
    fn apply(&self, served: &Served, edit: &Edit) -> Result<Change, Refused> {
        let (store, session) = (&self.store, &served.session);
        Ok(match (edit, served.is_committed) {
            (Edit::Attach(attach), true) => {
                store.attach_installed(session, &self.installed(&attach.pack)?, attach.alpha)?
            }
            (Edit::Attach(attach), false) => {
                let (skill, alpha) = self.skill(attach)?;
                session.attach(&skill, alpha)?
            }
            (Edit::Detach(detach), true) => store.detach(session, &in_force(session, &detach.skill)?)?,
            (Edit::Detach(detach), false) => session.detach(&in_force(session, &detach.skill)?)?,
            (Edit::SetAlpha(set), true) => store.set_alpha(session, &in_force(session, &set.skill)?, set.alpha)?,
            (Edit::SetAlpha(set), false) => session.set_alpha(&in_force(session, &set.skill)?, set.alpha)?,
            (Edit::Swap(swap), is_committed) => {
                let skills: Vec<_> = swap.skills.iter().map(|attach| self.skill(attach)).collect::<Result<_, _>>()?;
                if is_committed {
                    let skills: Vec<_> = skills.iter().map(|(skill, alpha)| (skill.digest(), *alpha)).collect();
                    store.swap(session, &skills)?
                } else {
                    session.swap(skills)?
                }
            }
        })
    }

    /// The installed skill that is meant, and its alpha.
    fn skill(&self, attach: &Attach) -> Result<(Skill, f32), Refused> {
        let skill = self.store.skill(&self.installed(&attach.pack)?)?;
        let alpha = attach.alpha.unwrap_or(skill.recommended_alpha());
        Ok((skill, alpha))
    }

    /// The installed pack that is meant.
    fn installed(&self, typed: &str) -> Result<Digest, Refused> {
        named(&installed(&self.store)?, typed, "installed")
    }
}

impl Served {
    fn new(session: Session, is_committed: bool, touched_bytes: u64) -> Self {
        Self { session, is_committed, touched_bytes: Mutex::new(touched_bytes), counted: Counted::default() }
    }

    pub(crate) fn listed(&self, name: String) -> Listed {
        Listed { name, touched_bytes: self.touched_bytes(), composition: self.session.composition() }
    }

    fn touched_bytes(&self) -> u64 {
        *self.touched_bytes.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Installed {
    fn of(skill: &Skill) -> Self {
        let pack = skill.pack();
        Self {
            name: skill.name().to_owned(),
            digest: skill.digest().to_string(),
            base: pack.manifest().base.to_string(),
            pack_bytes: pack.content().len() as u64,
            alpha: skill.recommended_alpha(),
        }
    }
}

/// The skill in force that is meant.
fn in_force(session: &Session, typed: &str) -> Result<Digest, Refused> {
    let skills = session.composition().skills;
    let skills: Vec<_> = skills.into_iter().map(|skill| (skill.digest, Some(skill.name))).collect();
    named(&skills, typed, "in force")
}

/// The one that is meant: status 404 when there is none, 409 when there are several.
fn named(packs: &[Named], typed: &str, state: &str) -> Result<Digest, Refused> {
    meant(packs, typed, state).map_err(|cause| {
        let status = if is_known(packs, typed) { 409 } else { 404 };
        Refusal::new(status, Kind::Usage, cause.to_string()).with_help(cause.help().unwrap_or_default()).into()
    })
}

//! A session: base, composition and engine. Attach, detach, infer, from any thread.

use std::ffi::{c_char, CString};
use std::mem::MaybeUninit;

use taskvec_runtime::{Change, Digest, Session, SkillInForce};

use crate::base::taskvec_base;
use crate::change::taskvec_change;
use crate::digest::taskvec_digest;
use crate::guard::guarded;
use crate::handle::{c_text, elements, fill, given, output, room};
use crate::head_choice::{self, taskvec_head_choice};
use crate::options::taskvec_session_options;
use crate::skill::taskvec_skill;
use crate::status::{taskvec_status, Failure};

/// Base, composition and engine. Threads may infer and change at once: a change is prepared and proved beside what
/// serves, each inference sees one composition, whole, and none waits for a change.
pub struct taskvec_session {
    pub(crate) session: Session,
    engine: CString,
}

/// A skill in force.
#[repr(C)]
#[derive(Clone, Copy, Debug)]
pub struct taskvec_skill_in_force {
    /// Digest of its pack.
    pub digest: taskvec_digest,
    /// The coefficient that it is applied with. At 0 it is in force and changes nothing.
    pub alpha: f32,
    /// Whether alpha lies in the range on which its maker validated it.
    pub is_validated: bool,
}

/// What belongs to the numbers of an inference.
#[repr(C)]
#[derive(Clone, Copy, Debug)]
pub struct taskvec_answer {
    /// Numbers for each input, as many as the head that answered has classes.
    pub class_count: usize,
    /// Digest of the composition that all of them were computed with.
    pub composition: taskvec_digest,
}

/// Opens an engine over `base`, with nothing in force. `options` may be NULL for the defaults. Close the session with
/// `taskvec_session_close`.
#[no_mangle]
pub unsafe extern "C" fn taskvec_session_open(
    base: Option<&taskvec_base>,
    options: Option<&taskvec_session_options>,
    session: Option<&mut MaybeUninit<Box<taskvec_session>>>,
) -> taskvec_status {
    guarded(|| {
        let base = given(base, "base")?;
        let place = output(session, "session")?;
        let options = options.copied().unwrap_or_default();
        // SAFETY: the contract of the header.
        let session = unsafe { options.open(&base.base) }?;
        place.write(Box::new(taskvec_session::of(session)));
        Ok(())
    })
}

/// Another session on the same base, engine and options, with nothing in force: several compositions can serve at once,
/// at the price of the pages that each touches. Close it with `taskvec_session_close`, before `session` or after it.
#[no_mangle]
pub extern "C" fn taskvec_session_open_beside(
    session: Option<&taskvec_session>,
    beside: Option<&mut MaybeUninit<Box<taskvec_session>>>,
) -> taskvec_status {
    guarded(|| {
        let session = given(session, "session")?;
        let place = output(beside, "beside")?;
        place.write(Box::new(taskvec_session::of(session.session.beside()?)));
        Ok(())
    })
}

/// Closes a session. NULL does nothing.
#[no_mangle]
pub extern "C" fn taskvec_session_close(session: Option<Box<taskvec_session>>) -> taskvec_status {
    guarded(|| {
        drop(session);
        Ok(())
    })
}

/// The engine, its version and settings, for people. The text is the session's.
#[no_mangle]
pub extern "C" fn taskvec_session_engine(
    session: Option<&taskvec_session>,
    description: Option<&mut MaybeUninit<*const c_char>>,
) -> taskvec_status {
    guarded(|| {
        let session = given(session, "session")?;
        output(description, "description")?.write(session.engine.as_ptr());
        Ok(())
    })
}

/// Puts `skill` in force at `alpha`, beside what is. `change` may be NULL.
#[no_mangle]
pub extern "C" fn taskvec_session_attach(
    session: Option<&taskvec_session>,
    skill: Option<&taskvec_skill>,
    alpha: f32,
    change: Option<&mut MaybeUninit<taskvec_change>>,
) -> taskvec_status {
    changed(session, change, |session| session.attach(&given(skill, "skill")?.skill, alpha).map_err(Failure::from))
}

/// Takes a skill out of force. `change` may be NULL.
#[no_mangle]
pub extern "C" fn taskvec_session_detach(
    session: Option<&taskvec_session>,
    skill: Option<&taskvec_digest>,
    change: Option<&mut MaybeUninit<taskvec_change>>,
) -> taskvec_status {
    changed(session, change, |session| session.detach(&digest_of(skill)?).map_err(Failure::from))
}

/// Gives a skill in force another alpha. `change` may be NULL.
#[no_mangle]
pub extern "C" fn taskvec_session_set_alpha(
    session: Option<&taskvec_session>,
    skill: Option<&taskvec_digest>,
    alpha: f32,
    change: Option<&mut MaybeUninit<taskvec_change>>,
) -> taskvec_status {
    changed(session, change, |session| session.set_alpha(&digest_of(skill)?, alpha).map_err(Failure::from))
}

/// Replaces everything in force by `count` skills, each with its alpha, in one step; none leaves the base. `change` may be
/// NULL.
#[no_mangle]
pub unsafe extern "C" fn taskvec_session_swap(
    session: Option<&taskvec_session>,
    skills: *const Option<&taskvec_skill>,
    alphas: *const f32,
    count: usize,
    change: Option<&mut MaybeUninit<taskvec_change>>,
) -> taskvec_status {
    changed(session, change, |session| {
        // SAFETY: the contract of the header.
        let skills = unsafe { elements(skills, count, "skills") }?;
        // SAFETY: the contract of the header.
        let alphas = unsafe { elements(alphas, count, "alphas") }?;
        let skills: Vec<_> = skills.iter().map(|skill| given(*skill, "skills")).collect::<Result<_, _>>()?;
        let wanted = skills.iter().zip(alphas).map(|(skill, alpha)| (skill.skill.clone(), *alpha));
        session.swap(wanted).map_err(Failure::from)
    })
}

/// Digest of what is in force: names the base, the skills and their alphas together.
#[no_mangle]
pub extern "C" fn taskvec_session_digest(
    session: Option<&taskvec_session>,
    digest: Option<&mut MaybeUninit<taskvec_digest>>,
) -> taskvec_status {
    guarded(|| {
        let session = given(session, "session")?;
        output(digest, "digest")?.write(session.session.digest().into());
        Ok(())
    })
}

/// The skills in force, in canonical order. `skills` has room for `capacity` of them; with a capacity of 0 only `count` is
/// written.
#[no_mangle]
pub unsafe extern "C" fn taskvec_session_skills(
    session: Option<&taskvec_session>,
    skills: *mut taskvec_skill_in_force,
    capacity: usize,
    count: Option<&mut MaybeUninit<usize>>,
) -> taskvec_status {
    guarded(|| {
        let session = given(session, "session")?;
        // SAFETY: the contract of the header.
        let room = unsafe { room(skills, capacity, "skills") }?;
        let place = output(count, "count")?;
        let found: Vec<_> = session.session.composition().skills.iter().map(taskvec_skill_in_force::from).collect();
        if !room.is_empty() {
            fill(room, &found, "skills")?;
        }
        place.write(found.len());
        Ok(())
    })
}

/// Answers for `batch` inputs with the head of the caller's choice.
///
/// `pixels` holds `[batch, channel, row, column]`, `pixel_count` numbers. `head` may be NULL for the one skill in force
/// that has a head. `logits` has room for `capacity` numbers and receives `[batch, class]`, `count` numbers; the largest
/// of an input names its class. `answer` may be NULL.
#[no_mangle]
pub unsafe extern "C" fn taskvec_session_infer(
    session: Option<&taskvec_session>,
    pixels: *const f32,
    pixel_count: usize,
    batch: usize,
    head: Option<&taskvec_head_choice>,
    logits: *mut f32,
    capacity: usize,
    count: Option<&mut MaybeUninit<usize>>,
    answer: Option<&mut MaybeUninit<taskvec_answer>>,
) -> taskvec_status {
    guarded(|| {
        let session = given(session, "session")?;
        // SAFETY: the contract of the header.
        let pixels = unsafe { elements(pixels, pixel_count, "pixels") }?;
        // SAFETY: the contract of the header.
        let head = unsafe { head_choice::chosen(head) }?;
        // SAFETY: the contract of the header.
        let room = unsafe { room(logits, capacity, "logits") }?;
        let place = output(count, "count")?;
        let found = session.session.infer(pixels, batch, &head)?;
        fill(room, &found.values, "logits")?;
        place.write(found.values.len());
        if let Some(answer) = answer {
            let (class_count, composition) = (found.class_count, found.composition.into());
            answer.write(taskvec_answer { class_count, composition });
        }
        Ok(())
    })
}

/// The network's features for `batch` inputs, before any head.
///
/// `pixels` as in `taskvec_session_infer`. `features` has room for `capacity` numbers and receives `[batch, feature]`,
/// `count` numbers.
#[no_mangle]
pub unsafe extern "C" fn taskvec_session_features(
    session: Option<&taskvec_session>,
    pixels: *const f32,
    pixel_count: usize,
    batch: usize,
    features: *mut f32,
    capacity: usize,
    count: Option<&mut MaybeUninit<usize>>,
) -> taskvec_status {
    guarded(|| {
        let session = given(session, "session")?;
        // SAFETY: the contract of the header.
        let pixels = unsafe { elements(pixels, pixel_count, "pixels") }?;
        // SAFETY: the contract of the header.
        let room = unsafe { room(features, capacity, "features") }?;
        let place = output(count, "count")?;
        let found = session.session.features(pixels, batch)?;
        fill(room, &found, "features")?;
        place.write(found.len());
        Ok(())
    })
}

impl taskvec_session {
    fn of(session: Session) -> Self {
        Self { engine: c_text(session.engine()), session }
    }
}

impl From<&SkillInForce> for taskvec_skill_in_force {
    fn from(skill: &SkillInForce) -> Self {
        Self { digest: skill.digest.into(), alpha: skill.alpha, is_validated: skill.validated }
    }
}

/// Every change: the session is checked, the change is made, and what it did is told to who asks.
fn changed(
    session: Option<&taskvec_session>,
    told: Option<&mut MaybeUninit<taskvec_change>>,
    change: impl FnOnce(&Session) -> Result<Change, Failure>,
) -> taskvec_status {
    guarded(|| {
        let done = change(&given(session, "session")?.session)?;
        if let Some(told) = told {
            told.write((&done).into());
        }
        Ok(())
    })
}

fn digest_of(digest: Option<&taskvec_digest>) -> Result<Digest, Failure> {
    given(digest, "skill").map(|digest| (*digest).into())
}

#[cfg(test)]
mod tests {
    use std::ptr;
    use std::sync::Arc;

    use taskvec_runtime::{BaseModel, Engine, EngineKind, Error, Inference, PackLimits, Skill, Trust, Weights};

    use super::*;

    /// An engine with a bug.
    struct Panics;

    impl Engine for Panics {
        fn kind(&self) -> EngineKind {
            EngineKind::Other(999)
        }

        fn describe(&self) -> String {
            "panics".into()
        }

        fn over(&self, _weights: &Weights) -> Result<Box<dyn Inference>, Error> {
            Ok(Box::new(Self))
        }
    }

    impl Inference for Panics {
        fn features(&self, _pixels: &[f32], _batch: usize) -> Result<Vec<f32>, Error> {
            panic!("an engine with a bug")
        }
    }

    const MODEL: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/../../models/handwriting");

    fn digest_of(session: &taskvec_session) -> taskvec_digest {
        let mut digest = MaybeUninit::uninit();
        assert_eq!(taskvec_session_digest(Some(session), Some(&mut digest)), taskvec_status::Ok);
        // SAFETY: the call has succeeded, so that its output is written.
        unsafe { digest.assume_init() }
    }

    #[test]
    fn a_panic_inside_is_a_status_and_the_session_goes_on_as_it_was() {
        let base = BaseModel::open(MODEL).unwrap();
        let session =
            taskvec_session::of(Session::with_engine(&base, Arc::new(Panics)).unwrap().trusting(Trust::unsigned_too()));
        let before = digest_of(&session);
        let pixels = vec![0.0f32; base.pictures().unwrap().pixels_len()];
        let mut count = MaybeUninit::new(7);
        // SAFETY: the pixels are as many as is said, and there is no room to write to.
        let status = unsafe {
            let none = ptr::null_mut();
            taskvec_session_features(Some(&session), pixels.as_ptr(), pixels.len(), 1, none, 0, Some(&mut count))
        };
        assert_eq!(status, taskvec_status::Panic);
        // SAFETY: written when it was made; a failure writes nothing.
        assert_eq!(unsafe { count.assume_init() }, 7);

        let skill = Skill::open(format!("{MODEL}/skills/korean.tvp"), &PackLimits::default()).unwrap();
        let skill = taskvec_skill::of(skill);
        assert_eq!(taskvec_session_attach(Some(&session), Some(&skill), 0.5, None), taskvec_status::Panic);
        assert_eq!(digest_of(&session), before);
        assert_eq!(taskvec_session_attach(Some(&session), Some(&skill), 0.0, None), taskvec_status::Panic);
        assert_eq!(taskvec_session_close(Some(Box::new(session))), taskvec_status::Ok);
    }
}

//! A skill: a pack whose bytes have been checked, and what it says about itself.

use std::ffi::{c_char, CString};
use std::mem::MaybeUninit;

use taskvec_runtime::Skill;

use crate::base::nth_label;
use crate::digest::taskvec_digest;
use crate::guard::guarded;
use crate::handle::{c_text, elements, given, output, path};
use crate::limits::{self, taskvec_pack_limits};
use crate::status::taskvec_status;

/// A pack, checked to its last byte. It says nothing about who made it, nor whether it fits your base.
pub struct taskvec_skill {
    pub(crate) skill: Skill,
    name: CString,
    labels: Vec<CString>,
}

/// Maps the pack at `path` and checks it. The file must stay as it is until no session needs the skill: install packs by
/// renaming. `limits` may be NULL for the defaults. Close the skill with `taskvec_skill_close`.
#[no_mangle]
pub unsafe extern "C" fn taskvec_skill_open(
    path: *const c_char,
    limits: Option<&taskvec_pack_limits>,
    skill: Option<&mut MaybeUninit<Box<taskvec_skill>>>,
) -> taskvec_status {
    guarded(|| {
        // SAFETY: the contract of the header.
        let path = unsafe { self::path(path, "path") }?;
        let place = output(skill, "skill")?;
        place.write(Box::new(taskvec_skill::of(Skill::open(path, &limits::of_pack(limits))?)));
        Ok(())
    })
}

/// Checks the pack in memory, of which a copy is taken. `limits` may be NULL for the defaults. Close the skill with
/// `taskvec_skill_close`.
#[no_mangle]
pub unsafe extern "C" fn taskvec_skill_open_bytes(
    bytes: *const u8,
    byte_count: usize,
    limits: Option<&taskvec_pack_limits>,
    skill: Option<&mut MaybeUninit<Box<taskvec_skill>>>,
) -> taskvec_status {
    guarded(|| {
        // SAFETY: the contract of the header.
        let bytes = unsafe { elements(bytes, byte_count, "bytes") }?;
        let place = output(skill, "skill")?;
        place.write(Box::new(taskvec_skill::of(Skill::from_bytes(bytes, &limits::of_pack(limits))?)));
        Ok(())
    })
}

/// Closes a skill. Where it is in force it stays so. NULL does nothing.
#[no_mangle]
pub extern "C" fn taskvec_skill_close(skill: Option<Box<taskvec_skill>>) -> taskvec_status {
    guarded(|| {
        drop(skill);
        Ok(())
    })
}

/// The pack's digest: the identity of the skill, by which it is detached.
#[no_mangle]
pub extern "C" fn taskvec_skill_digest(
    skill: Option<&taskvec_skill>,
    digest: Option<&mut MaybeUninit<taskvec_digest>>,
) -> taskvec_status {
    guarded(|| {
        let skill = given(skill, "skill")?;
        output(digest, "digest")?.write(skill.skill.digest().into());
        Ok(())
    })
}

/// The name its maker gave it, for people; two skills may have the same. The text is the skill's.
#[no_mangle]
pub extern "C" fn taskvec_skill_name(
    skill: Option<&taskvec_skill>,
    name: Option<&mut MaybeUninit<*const c_char>>,
) -> taskvec_status {
    guarded(|| {
        let skill = given(skill, "skill")?;
        output(name, "name")?.write(skill.name.as_ptr());
        Ok(())
    })
}

/// The fingerprint of the only base that the skill can be attached to.
#[no_mangle]
pub extern "C" fn taskvec_skill_base(
    skill: Option<&taskvec_skill>,
    fingerprint: Option<&mut MaybeUninit<taskvec_digest>>,
) -> taskvec_status {
    guarded(|| {
        let skill = given(skill, "skill")?;
        output(fingerprint, "fingerprint")?.write(skill.skill.pack().manifest().base.into());
        Ok(())
    })
}

/// The alpha that its maker recommends, at which its probes hold.
#[no_mangle]
pub extern "C" fn taskvec_skill_recommended_alpha(
    skill: Option<&taskvec_skill>,
    alpha: Option<&mut MaybeUninit<f32>>,
) -> taskvec_status {
    guarded(|| {
        let skill = given(skill, "skill")?;
        output(alpha, "alpha")?.write(skill.skill.recommended_alpha());
        Ok(())
    })
}

/// The range of alphas on which its maker validated it, both ends included.
#[no_mangle]
pub extern "C" fn taskvec_skill_alpha_range(
    skill: Option<&taskvec_skill>,
    low: Option<&mut MaybeUninit<f32>>,
    high: Option<&mut MaybeUninit<f32>>,
) -> taskvec_status {
    guarded(|| {
        let skill = given(skill, "skill")?;
        let (low, high) = (output(low, "low")?, output(high, "high")?);
        let range = skill.skill.pack().manifest().alpha_range;
        low.write(range[0]);
        high.write(range[1]);
        Ok(())
    })
}

/// How many classes its head tells apart; 0 when it brings none.
#[no_mangle]
pub extern "C" fn taskvec_skill_class_count(
    skill: Option<&taskvec_skill>,
    count: Option<&mut MaybeUninit<usize>>,
) -> taskvec_status {
    guarded(|| {
        let skill = given(skill, "skill")?;
        output(count, "count")?.write(skill.labels.len());
        Ok(())
    })
}

/// What a class of its head is called, counted from 0. The text is the skill's.
#[no_mangle]
pub extern "C" fn taskvec_skill_label(
    skill: Option<&taskvec_skill>,
    class_index: usize,
    label: Option<&mut MaybeUninit<*const c_char>>,
) -> taskvec_status {
    guarded(|| {
        let skill = given(skill, "skill")?;
        let place = output(label, "label")?;
        place.write(nth_label(&skill.labels, class_index)?);
        Ok(())
    })
}

impl taskvec_skill {
    pub(crate) fn of(skill: Skill) -> Self {
        let labels = skill.head().map(|head| head.labels().iter().map(String::as_str).map(c_text).collect());
        Self { name: c_text(skill.name()), labels: labels.unwrap_or_default(), skill }
    }
}

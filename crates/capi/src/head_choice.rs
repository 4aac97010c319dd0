//! Whose head answers an inference.

use std::ffi::c_char;
use std::mem::MaybeUninit;
use std::ptr;

use taskvec_runtime::HeadChoice;

use crate::digest::taskvec_digest;
use crate::guard::guarded;
use crate::handle::{output, text};
use crate::status::{taskvec_status, Failure};

/// The head of the one skill in force that has a head.
pub const TASKVEC_HEAD_ONLY: u32 = 0;
/// The head of the skill with the digest `skill`, which must be in force.
pub const TASKVEC_HEAD_SKILL: u32 = 1;
/// The head of the skill in force called `name`; if there is none, the base's own head of this name.
pub const TASKVEC_HEAD_NAMED: u32 = 2;
/// The base's own head called `name`.
pub const TASKVEC_HEAD_BASE: u32 = 3;

/// Whose head answers. Start from `taskvec_head_choice_default`.
#[repr(C)]
#[derive(Clone, Copy, Debug)]
pub struct taskvec_head_choice {
    /// One of `TASKVEC_HEAD_...`. Default: `TASKVEC_HEAD_ONLY`.
    pub kind: u32,
    /// For `TASKVEC_HEAD_SKILL`.
    pub skill: taskvec_digest,
    /// For `TASKVEC_HEAD_NAMED` and `TASKVEC_HEAD_BASE`; looked at during the call only. Default: NULL.
    pub name: *const c_char,
}

/// Writes the default to `choice`.
#[no_mangle]
pub extern "C" fn taskvec_head_choice_default(choice: Option<&mut MaybeUninit<taskvec_head_choice>>) -> taskvec_status {
    guarded(|| {
        let choice = output(choice, "choice")?;
        let skill = taskvec_digest { bytes: [0; 32] };
        choice.write(taskvec_head_choice { kind: TASKVEC_HEAD_ONLY, skill, name: ptr::null() });
        Ok(())
    })
}

/// The choice given, or the default.
///
/// # Safety
/// - The name is NULL or a text, as for [`text`].
pub(crate) unsafe fn chosen(choice: Option<&taskvec_head_choice>) -> Result<HeadChoice, Failure> {
    let Some(choice) = choice else { return Ok(HeadChoice::Only) };
    let name = || {
        // SAFETY: the caller's promise is the same.
        unsafe { text(choice.name, "name") }.map(str::to_owned)
    };
    match choice.kind {
        TASKVEC_HEAD_ONLY => Ok(HeadChoice::Only),
        TASKVEC_HEAD_SKILL => Ok(HeadChoice::Skill(choice.skill.into())),
        TASKVEC_HEAD_NAMED => Ok(HeadChoice::Named(name()?)),
        TASKVEC_HEAD_BASE => Ok(HeadChoice::Base(name()?)),
        unknown => Err(Failure::new(taskvec_status::Usage, format!("head choice {unknown}, expected 0 to 3"))
            .with_help("start from `taskvec_head_choice_default`")),
    }
}

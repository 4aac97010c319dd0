//! The border of every call: a failure or a panic inside becomes a status, and what it said is kept for its thread.

use std::cell::RefCell;
use std::ffi::{c_char, CString};
use std::mem::MaybeUninit;
use std::panic::{catch_unwind, AssertUnwindSafe};
use std::ptr;

use crate::handle;
use crate::status::{taskvec_status, Failure};

/// What the last failure of a thread said.
#[derive(Default)]
struct Told {
    message: CString,
    help: Option<CString>,
}

thread_local! {
    static LAST: RefCell<Told> = RefCell::default();
}

/// Runs `call`, which writes its outputs as its last step.
pub(crate) fn guarded(call: impl FnOnce() -> Result<(), Failure>) -> taskvec_status {
    // What a panic leaves behind is seen by later calls. The runtime's locks are made for that: what is in force is
    // replaced in one step, after everything that can fail; everything else here is not changed by calls.
    let failure = match catch_unwind(AssertUnwindSafe(call)) {
        Ok(Ok(())) => return taskvec_status::Ok,
        Ok(Err(failure)) => failure,
        Err(thrown) => Failure::of_panic(&*thrown),
    };
    let told = Told { message: handle::c_text(failure.message), help: failure.help.map(handle::c_text) };
    // A thread that is ending has nobody left to ask; its status is all it gets.
    let _ = LAST.try_with(|last| *last.borrow_mut() = told);
    failure.status
}

/// What the last call of this thread that failed said, and the next step where there is one (else `help` becomes NULL).
/// Both live until the next call of this thread that fails, or its end. `message` is empty when no call of this thread
/// has failed. `help` may be NULL.
#[no_mangle]
pub extern "C" fn taskvec_last_error(
    message: Option<&mut MaybeUninit<*const c_char>>,
    help: Option<&mut MaybeUninit<*const c_char>>,
) -> taskvec_status {
    guarded(|| {
        let message = handle::output(message, "message")?;
        let (said, next) = LAST.with(|last| {
            let last = last.borrow();
            (last.message.as_ptr(), last.help.as_ref().map_or(ptr::null(), |help| help.as_ptr()))
        });
        message.write(said);
        if let Some(help) = help {
            help.write(next);
        }
        Ok(())
    })
}

#[cfg(test)]
mod tests {
    use std::ffi::CStr;

    use super::*;

    fn last() -> (String, Option<String>) {
        let (mut message, mut help) = (MaybeUninit::uninit(), MaybeUninit::uninit());
        assert_eq!(taskvec_last_error(Some(&mut message), Some(&mut help)), taskvec_status::Ok);
        // SAFETY: the call has succeeded, so that both outputs are written.
        let message = unsafe { message.assume_init() };
        // SAFETY: as above.
        let help = unsafe { help.assume_init() };
        // SAFETY: the message ends with a zero byte and lives until the next failure of this thread.
        let message = unsafe { CStr::from_ptr(message) }.to_str().unwrap().to_owned();
        let help = (!help.is_null()).then(|| {
            // SAFETY: as for the message; it is not NULL.
            unsafe { CStr::from_ptr(help) }.to_str().unwrap().to_owned()
        });
        (message, help)
    }

    #[test]
    fn a_panic_becomes_a_status_and_its_text_a_message() {
        assert_eq!(guarded(|| panic!("index {} is out of reach", 7)), taskvec_status::Panic);
        let (message, help) = last();
        assert_eq!(message, "taskvec has a bug: index 7 is out of reach");
        assert!(help.unwrap().starts_with("report it"));
        assert_eq!(guarded(|| Ok(())), taskvec_status::Ok);
        assert_eq!(last().0, message, "a success leaves what the last failure said");
    }

    #[test]
    fn each_thread_has_its_own_last_failure() {
        let fail = |message: &'static str| guarded(|| Err(Failure::new(taskvec_status::Io, message)));
        assert_eq!(fail("here"), taskvec_status::Io);
        std::thread::spawn(move || {
            assert_eq!(last(), (String::new(), None));
            assert_eq!(fail("there"), taskvec_status::Io);
            assert_eq!(last(), ("there".to_owned(), None));
        })
        .join()
        .unwrap();
        assert_eq!(last(), ("here".to_owned(), None));
    }

    #[test]
    fn a_message_with_a_zero_byte_is_given_whole() {
        guarded(|| Err(Failure::new(taskvec_status::Usage, "a\0b")));
        assert_eq!(last().0, "a\u{fffd}b");
    }
}

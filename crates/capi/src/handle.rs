//! How pointers of C become references, slices and texts, and what they have to keep.
//!
//! Most of it is done by types. `Option<&T>` is a pointer that may be NULL, `Option<Box<T>>` one that is given back to us,
//! `Option<&mut MaybeUninit<T>>` one that we write to: Rust guarantees that they look like pointers to C, and the
//! compiler asks for the NULL check. What is left for `unsafe` are texts and pointers with a count, which are raw.
//!
//! The promises of the caller stand at the head of the header, and here in Rust's words (**the contract of the header**):
//! a pointer that is not NULL is aligned and points to a living object of its type, an input to one that nobody changes
//! during the call, an output to room that nobody else uses during the call; a text ends with a zero byte; a count says
//! how many elements there are behind its pointer; an object from `_open` was not closed.

use std::ffi::{c_char, c_void, CStr, CString};
use std::mem::MaybeUninit;
use std::path::Path;
use std::slice;

use crate::status::{taskvec_status, Failure};

/// An input that may not be NULL.
pub(crate) fn given<'a, T>(pointer: Option<&'a T>, name: &str) -> Result<&'a T, Failure> {
    pointer.ok_or_else(|| Failure::null(name))
}

/// An output that may not be NULL. Asked for before the work begins, so that no work is lost for want of a place.
pub(crate) fn output<'a, T>(
    pointer: Option<&'a mut MaybeUninit<T>>,
    name: &str,
) -> Result<&'a mut MaybeUninit<T>, Failure> {
    pointer.ok_or_else(|| Failure::null(name))
}

/// A text that may not be NULL.
///
/// # Safety
/// - `pointer` is NULL or points to a text that ends with a zero byte and stays as it is for `'a`.
pub(crate) unsafe fn text<'a>(pointer: *const c_char, name: &str) -> Result<&'a str, Failure> {
    // SAFETY: the caller's promise is the same.
    let bytes = unsafe { c_str(pointer, name) }?;
    bytes.to_str().map_err(|cause| {
        Failure::new(taskvec_status::Usage, format!("`{name}` is no UTF-8: {cause}"))
            .with_help("give the text as UTF-8, ending with a zero byte")
    })
}

/// A path that may not be NULL.
///
/// # Safety
/// - As for [`text`].
pub(crate) unsafe fn path<'a>(pointer: *const c_char, name: &str) -> Result<&'a Path, Failure> {
    #[cfg(unix)]
    {
        use std::ffi::OsStr;
        use std::os::unix::ffi::OsStrExt as _;
        // SAFETY: the caller's promise is the same.
        let bytes = unsafe { c_str(pointer, name) }?;
        Ok(Path::new(OsStr::from_bytes(bytes.to_bytes())))
    }
    #[cfg(not(unix))]
    {
        // SAFETY: the caller's promise is the same.
        Ok(Path::new(unsafe { text(pointer, name) }?))
    }
}

/// # Safety
/// - As for [`text`].
unsafe fn c_str<'a>(pointer: *const c_char, name: &str) -> Result<&'a CStr, Failure> {
    if pointer.is_null() {
        return Err(Failure::null(name));
    }
    // SAFETY: not NULL, and by the caller's promise a text that ends with a zero byte and stays for `'a`.
    Ok(unsafe { CStr::from_ptr(pointer) })
}

/// `count` elements to read; the pointer may be NULL when there are none.
///
/// # Safety
/// - `pointer` is NULL or points to `count` elements that stay as they are for `'a`.
pub(crate) unsafe fn elements<'a, T>(pointer: *const T, count: usize, name: &str) -> Result<&'a [T], Failure> {
    check_range(pointer, count, name)?;
    if count == 0 {
        return Ok(&[]);
    }
    // SAFETY: not NULL, aligned and no larger than `isize::MAX` bytes, as checked; `count` elements that stay, by the
    // caller's promise.
    Ok(unsafe { slice::from_raw_parts(pointer, count) })
}

/// Room for `capacity` elements to write; the pointer may be NULL when there is none.
///
/// # Safety
/// - `pointer` is NULL or points to room for `capacity` elements that nobody else uses for `'a`.
pub(crate) unsafe fn room<'a, T>(
    pointer: *mut T,
    capacity: usize,
    name: &str,
) -> Result<&'a mut [MaybeUninit<T>], Failure> {
    check_range(pointer, capacity, name)?;
    if capacity == 0 {
        return Ok(&mut []);
    }
    // SAFETY: not NULL, aligned and no larger than `isize::MAX` bytes, as checked; room that is ours for `'a`, by the
    // caller's promise; uninitialized elements are what `MaybeUninit` is for.
    Ok(unsafe { slice::from_raw_parts_mut(pointer.cast(), capacity) })
}

/// What can be checked about a pointer and its count without believing either.
fn check_range<T>(pointer: *const T, count: usize, name: &str) -> Result<(), Failure> {
    if count == 0 {
        return Ok(());
    }
    if pointer.is_null() {
        return Err(Failure::null(name));
    }
    if !pointer.is_aligned() {
        let clause = format!("`{name}` is not aligned, expected a multiple of {} bytes", align_of::<T>());
        return Err(Failure::new(taskvec_status::Usage, clause));
    }
    match count.checked_mul(size_of::<T>()) {
        Some(size_bytes) if isize::try_from(size_bytes).is_ok() => Ok(()),
        _ => Err(Failure::new(taskvec_status::Usage, format!("`{name}` has {count} elements, more than memory has"))),
    }
}

/// Writes `values` to the start of `room`, whole or not at all.
pub(crate) fn fill<T: Copy>(room: &mut [MaybeUninit<T>], values: &[T], name: &str) -> Result<(), Failure> {
    let Some(room) = room.get_mut(..values.len()) else {
        let clause = format!("`{name}` has room for {} elements, {} are needed", room.len(), values.len());
        return Err(Failure::new(taskvec_status::TooSmall, clause));
    };
    for (place, value) in room.iter_mut().zip(values) {
        place.write(*value);
    }
    Ok(())
}

/// A text for C. A zero byte inside, which C would take for the end, becomes U+FFFD.
pub(crate) fn c_text(text: impl Into<String>) -> CString {
    CString::new(text.into()).unwrap_or_else(|error| {
        let bytes = error.into_vec();
        let text = String::from_utf8_lossy(&bytes).replace('\0', "\u{fffd}");
        // No zero byte is left.
        CString::new(text).unwrap_or_default()
    })
}

/// What a caller wants to see again in his callbacks. We only carry it.
#[derive(Clone, Copy)]
pub(crate) struct User(pub(crate) *mut c_void);

// SAFETY: the pointer is never read here. That what it points to may be used by the threads that call the callbacks is
// the caller's promise (`taskvec_engine`).
unsafe impl Send for User {}
// SAFETY: as above.
unsafe impl Sync for User {}

#[cfg(test)]
mod tests {
    use std::ptr;

    use super::*;

    #[test]
    fn null_is_refused_by_the_name_of_its_argument() {
        // SAFETY: NULL is allowed.
        let failure = unsafe { text(ptr::null(), "folder") }.unwrap_err();
        assert_eq!(failure.status, taskvec_status::Null);
        assert_eq!(failure.message, "`folder` is NULL, expected a pointer");
        assert_eq!(given::<u8>(None, "base").unwrap_err().status, taskvec_status::Null);
        assert_eq!(output::<u8>(None, "base").unwrap_err().status, taskvec_status::Null);
        // SAFETY: NULL is allowed.
        let failure = unsafe { elements::<f32>(ptr::null(), 1, "pixels") }.unwrap_err();
        assert_eq!(failure.status, taskvec_status::Null);
        // SAFETY: NULL is allowed.
        assert!(unsafe { elements::<f32>(ptr::null(), 0, "pixels") }.unwrap().is_empty());
    }

    #[test]
    fn a_text_is_read_up_to_its_zero_byte_and_only_as_utf_8() {
        let words = c_text("a skill");
        // SAFETY: it ends with a zero byte.
        assert_eq!(unsafe { text(words.as_ptr(), "name") }.unwrap(), "a skill");
        let broken = [0xffu8, 0];
        // SAFETY: it ends with a zero byte.
        let failure = unsafe { text(broken.as_ptr().cast(), "name") }.unwrap_err();
        assert_eq!(failure.status, taskvec_status::Usage);
    }

    #[test]
    fn impossible_ranges_are_refused_before_they_are_believed() {
        let numbers = [1.0f32, 2.0];
        let odd = numbers.as_ptr().cast::<u8>().wrapping_add(1).cast::<f32>();
        // SAFETY: a pointer that is not aligned is refused before it is read.
        assert_eq!(unsafe { elements(odd, 1, "pixels") }.unwrap_err().status, taskvec_status::Usage);
        // SAFETY: a count that cannot be is refused before anything is read.
        let failure = unsafe { elements(numbers.as_ptr(), usize::MAX, "pixels") }.unwrap_err();
        assert_eq!(failure.status, taskvec_status::Usage);
        // SAFETY: two numbers stand there.
        assert_eq!(unsafe { elements(numbers.as_ptr(), 2, "pixels") }.unwrap(), numbers);
    }

    #[test]
    fn a_buffer_is_filled_whole_or_left_alone() {
        let mut numbers = [7u32; 3];
        // SAFETY: three numbers stand there, and nobody else uses them.
        let room = unsafe { room(numbers.as_mut_ptr(), 3, "logits") }.unwrap();
        let failure = fill(room, &[1, 2, 3, 4], "logits").unwrap_err();
        assert_eq!(failure.status, taskvec_status::TooSmall);
        assert_eq!(failure.message, "`logits` has room for 3 elements, 4 are needed");
        fill(room, &[1, 2], "logits").unwrap();
        assert_eq!(numbers, [1, 2, 7]);
    }
}

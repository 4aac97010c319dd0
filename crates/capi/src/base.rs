//! A base model: opened once, named by its fingerprint, told what pictures it takes.

use std::ffi::{c_char, CString};
use std::mem::MaybeUninit;

use taskvec_runtime::BaseModel;

use crate::digest::taskvec_digest;
use crate::guard::guarded;
use crate::handle::{c_text, elements, fill, given, output, path, room, text};
use crate::limits::{self, taskvec_bundle_limits};
use crate::status::{taskvec_status, Failure};

/// A base model, mapped read-only and held against its digests. Its files must stay as they are while it is open.
pub struct taskvec_base {
    pub(crate) base: BaseModel,
    name: CString,
    heads: Vec<OwnHead>,
}

/// A head that the base brings.
struct OwnHead {
    name: String,
    labels: Vec<CString>,
}

/// What one input of a network is made of.
#[repr(C)]
#[derive(Clone, Copy, Debug)]
pub struct taskvec_image_shape {
    /// Planes: 1 for gray, 3 for red, green and blue.
    pub channels: usize,
    /// Rows.
    pub height: usize,
    /// Pixels in a row.
    pub width: usize,
}

/// Opens the bundle in `folder` and verifies every tensor. `limits` may be NULL for the defaults. Close the base with
/// `taskvec_base_close`.
#[no_mangle]
pub unsafe extern "C" fn taskvec_base_open(
    folder: *const c_char,
    limits: Option<&taskvec_bundle_limits>,
    base: Option<&mut MaybeUninit<Box<taskvec_base>>>,
) -> taskvec_status {
    guarded(|| {
        // SAFETY: the contract of the header.
        let folder = unsafe { path(folder, "folder") }?;
        let place = output(base, "base")?;
        let base = BaseModel::open_within(folder, &limits::of_bundle(limits))?;
        let heads = base.described().heads().iter().map(|head| OwnHead {
            name: head.name.clone(),
            labels: head.labels.iter().map(String::as_str).map(c_text).collect(),
        });
        place.write(Box::new(taskvec_base { name: c_text(base.name()), heads: heads.collect(), base }));
        Ok(())
    })
}

/// Closes a base. Sessions on it go on; texts that it gave out do not. NULL does nothing.
#[no_mangle]
pub extern "C" fn taskvec_base_close(base: Option<Box<taskvec_base>>) -> taskvec_status {
    guarded(|| {
        drop(base);
        Ok(())
    })
}

/// What packs are bound to.
#[no_mangle]
pub extern "C" fn taskvec_base_fingerprint(
    base: Option<&taskvec_base>,
    fingerprint: Option<&mut MaybeUninit<taskvec_digest>>,
) -> taskvec_status {
    guarded(|| {
        let base = given(base, "base")?;
        output(fingerprint, "fingerprint")?.write(base.base.fingerprint().into());
        Ok(())
    })
}

/// Its name, for people. The text is the base's.
#[no_mangle]
pub extern "C" fn taskvec_base_name(
    base: Option<&taskvec_base>,
    name: Option<&mut MaybeUninit<*const c_char>>,
) -> taskvec_status {
    guarded(|| {
        let base = given(base, "base")?;
        output(name, "name")?.write(base.name.as_ptr());
        Ok(())
    })
}

/// What one input of the network is made of.
#[no_mangle]
pub extern "C" fn taskvec_base_image_shape(
    base: Option<&taskvec_base>,
    shape: Option<&mut MaybeUninit<taskvec_image_shape>>,
) -> taskvec_status {
    guarded(|| {
        let [channels, height, width] = given(base, "base")?.base.pictures()?.shape();
        output(shape, "shape")?.write(taskvec_image_shape { channels, height, width });
        Ok(())
    })
}

/// How many features the network computes for one input.
#[no_mangle]
pub extern "C" fn taskvec_base_feature_width(
    base: Option<&taskvec_base>,
    width: Option<&mut MaybeUninit<usize>>,
) -> taskvec_status {
    guarded(|| {
        let base = given(base, "base")?;
        output(width, "width")?.write(base.base.pictures()?.feature_width());
        Ok(())
    })
}

/// Turns the bytes of pictures into what the network is given: normalized as the base asks for it. `bytes` holds whole
/// pictures of the network's size, `[picture, channel, row, column]`, 0 for dark and 255 for bright; `pixels` has room
/// for `capacity` numbers and receives as many as there are bytes.
#[no_mangle]
pub unsafe extern "C" fn taskvec_base_pixels(
    base: Option<&taskvec_base>,
    bytes: *const u8,
    byte_count: usize,
    pixels: *mut f32,
    capacity: usize,
) -> taskvec_status {
    guarded(|| {
        let preprocessing = &given(base, "base")?.base.pictures()?.preprocessing;
        // SAFETY: the contract of the header.
        let bytes = unsafe { elements(bytes, byte_count, "bytes") }?;
        // SAFETY: the contract of the header.
        let room = unsafe { room(pixels, capacity, "pixels") }?;
        let pictures = bytes.chunks_exact(preprocessing.pixels_len());
        if !pictures.remainder().is_empty() {
            let clause = format!("{byte_count} bytes, expected a multiple of {}", preprocessing.pixels_len());
            return Err(Failure::new(taskvec_status::Usage, clause).with_help("resize pictures to the network's size"));
        }
        let mut normalized = Vec::with_capacity(bytes.len());
        for picture in pictures {
            normalized.extend(
                preprocessing
                    .normalize(picture)
                    .map_err(|cause| Failure::new(taskvec_status::Usage, cause.to_string()))?,
            );
        }
        fill(room, &normalized, "pixels")
    })
}

/// How many classes the base's own head called `head` tells apart.
#[no_mangle]
pub unsafe extern "C" fn taskvec_base_class_count(
    base: Option<&taskvec_base>,
    head: *const c_char,
    count: Option<&mut MaybeUninit<usize>>,
) -> taskvec_status {
    guarded(|| {
        let base = given(base, "base")?;
        // SAFETY: the contract of the header.
        let head = unsafe { text(head, "head") }?;
        let place = output(count, "count")?;
        place.write(base.labels_of(head)?.len());
        Ok(())
    })
}

/// What a class of the base's own head called `head` is called, counted from 0. The text is the base's.
#[no_mangle]
pub unsafe extern "C" fn taskvec_base_label(
    base: Option<&taskvec_base>,
    head: *const c_char,
    class_index: usize,
    label: Option<&mut MaybeUninit<*const c_char>>,
) -> taskvec_status {
    guarded(|| {
        let base = given(base, "base")?;
        // SAFETY: the contract of the header.
        let head = unsafe { text(head, "head") }?;
        let place = output(label, "label")?;
        place.write(nth_label(base.labels_of(head)?, class_index)?);
        Ok(())
    })
}

impl taskvec_base {
    fn labels_of(&self, head: &str) -> Result<&[CString], Failure> {
        let found = self.heads.iter().find(|own| own.name == head);
        found.map(|own| &*own.labels).ok_or_else(|| {
            let names: Vec<_> = self.heads.iter().map(|own| format!("`{}`", own.name)).collect();
            Failure::new(taskvec_status::Usage, format!("the base has no head called `{head}`"))
                .with_help(format!("its heads: {}", names.join(", ")))
        })
    }
}

/// The label of class `index`.
pub(crate) fn nth_label(labels: &[CString], index: usize) -> Result<*const c_char, Failure> {
    labels.get(index).map(|label| label.as_ptr()).ok_or_else(|| {
        Failure::new(taskvec_status::Usage, format!("class {index}, expected one below {}", labels.len()))
    })
}

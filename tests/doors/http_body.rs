//! The body of a request to a device that serves, with what stands around it.

use taskvec_bundle::{Preprocessing, Resize};
use taskvec_wire::{
    Attach, Change, Detach, Limits, Refusal, SetAlpha, Swap, change, checked_name, head, is_loopback, pixels,
};

/// Bytes that an image may decode to here: the naive way to spend a fuzzer's time is a large picture.
const IMAGE_BYTES_MAX: u64 = 1 << 16;

/// Reads the first line as a content type, a host, a query and a name, and all that follows as every body that there is.
///
/// # Panics
///
/// If a request that was accepted does not keep what its type promises, if a refusal is none that a client is told, or if a
/// reader panics.
pub fn http_body(bytes: &[u8]) {
    let end = bytes.iter().position(|&byte| byte == b'\n').unwrap_or(bytes.len());
    let (line, body) = (&bytes[..end], bytes.get(end + 1..).unwrap_or_default());
    let line = std::str::from_utf8(line).ok();
    infer(line, body);
    change_to::<Attach>(line, body, |attach| attach.alpha.is_none_or(f32::is_finite));
    change_to::<Detach>(line, body, |_| true);
    change_to::<SetAlpha>(line, body, |set| set.alpha.is_finite());
    change_to::<Swap>(line, body, |swap| swap.skills.iter().all(|skill| skill.alpha.is_none_or(f32::is_finite)));
    let line = line.unwrap_or_default();
    if let Some(name) = told(checked_name(line)) {
        assert!(name.bytes().all(|byte| byte.is_ascii_graphic() && byte != b'/'), "`{name}` is no part of a path");
    }
    told(head(Some(line)));
    assert!(!is_loopback(line) || line.starts_with(['[', '1', 'l', 'L']), "`{line}` is not this machine");
}

fn infer(content_type: Option<&str>, body: &[u8]) {
    let limits = Limits { images_max: 2, image_side_max: 64, image_bytes_max: IMAGE_BYTES_MAX, ..Limits::default() };
    let preprocessing = Preprocessing::new(3, (4, 5), Resize::Bilinear, vec![0.5; 3], vec![0.25; 3]);
    let preprocessing = preprocessing.expect("numbers that make a picture");
    let Some(pixels) = told(pixels(content_type, body, &preprocessing, &limits)) else { return };
    assert!((1..=limits.images_max).contains(&pixels.image_count), "{} images", pixels.image_count);
    assert_eq!(pixels.values.len(), pixels.image_count * preprocessing.pixels_len());
    assert!(pixels.values.iter().all(|value| value.is_finite()), "a number that is not finite");
}

fn change_to<C: Change>(content_type: Option<&str>, body: &[u8], holds: impl FnOnce(&C) -> bool) {
    let limits = Limits { skills_max: 3, ..Limits::default() };
    let Some(change) = told(change::<C>(content_type, body, &limits)) else { return };
    assert!(change.skill_count() <= limits.skills_max, "{} skills", change.skill_count());
    assert!(holds(&change), "an alpha that is not finite");
}

/// What was accepted; a refusal must be one that a client is told.
fn told<T>(read: Result<T, Refusal>) -> Option<T> {
    read.map_err(|refusal| {
        assert!([400, 413, 415].contains(&refusal.status()), "status {} for {refusal}", refusal.status());
        assert!(!refusal.to_string().is_empty());
    })
    .ok()
}

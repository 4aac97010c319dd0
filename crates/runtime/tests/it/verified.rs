//! A base that was verified before is known again, and only that one.

use std::fs::{self, File};
use std::os::unix::fs::MetadataExt as _;
use std::time::{Duration, SystemTime};

use taskvec_runtime::{BaseModel, BundleLimits, ErrorKind, Verified};

use crate::made::{MIXED, bundle};

/// Puts the time of the last change of what `file` holds into the past, so that nobody has to wait for it to settle. The
/// time of the last change of its metadata cannot be set; so this waits for that.
fn settled(folder: &std::path::Path) -> Verified {
    let model = File::open(folder.join("model.safetensors")).unwrap();
    model.set_modified(SystemTime::now() - Duration::from_secs(60)).unwrap();
    loop {
        if let Some(verified) = BaseModel::open(folder).unwrap().verified() {
            return verified.clone();
        }
        std::thread::sleep(Duration::from_millis(100));
    }
}

#[test]
fn a_changed_byte_is_noticed_whatever_times_the_file_is_given() {
    let made = bundle(MIXED, 60);
    let folder = made.folder.path();
    assert!(made.base.verified().is_none(), "a file that has just been written is not noted");
    let note = settled(folder);
    let open = |note: &Verified| BaseModel::open_unless_verified(folder, &BundleLimits::default(), Some(note));
    assert_eq!(open(&note).unwrap().verified(), Some(&note));

    let model = folder.join("model.safetensors");
    let modified = fs::metadata(&model).unwrap().modified().unwrap();
    let mut bytes = fs::read(&model).unwrap();
    *bytes.last_mut().unwrap() ^= 1;
    fs::write(&model, bytes).unwrap();
    File::open(&model).unwrap().set_modified(modified).unwrap();
    assert_eq!(open(&note).map(drop).unwrap_err().kind(), ErrorKind::Damaged);
}

#[test]
fn the_file_that_was_noted_is_not_digested_again() {
    let made = bundle(MIXED, 61);
    let folder = made.folder.path();
    let note = settled(folder);
    let model = folder.join("model.safetensors");
    let mut bytes = fs::read(&model).unwrap();
    *bytes.last_mut().unwrap() ^= 1;
    fs::write(&model, bytes).unwrap();
    // A note as nobody ever gives it, of the damaged file: by that it shows whether anybody looks.
    let times = fs::metadata(&model).unwrap();
    let mut forged = serde_json::to_value(&note).unwrap();
    forged["modified"] = serde_json::json!([times.mtime(), times.mtime_nsec()]);
    forged["changed"] = serde_json::json!([times.ctime(), times.ctime_nsec()]);
    let forged: Verified = serde_json::from_value(forged).unwrap();
    let open = || BaseModel::open_unless_verified(folder, &BundleLimits::default(), Some(&forged));
    let mut opened = open();
    while opened.is_err() {
        // The file has not settled yet, so that it is digested whatever the note says.
        std::thread::sleep(Duration::from_millis(100));
        opened = open();
    }
    assert_eq!(BaseModel::open(folder).map(drop).unwrap_err().kind(), ErrorKind::Damaged);
}

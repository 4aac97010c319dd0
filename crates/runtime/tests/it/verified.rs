//! A base that was verified before is known again, and a pack that was checked before, and only those.

use std::fs::{self, File};
use std::os::unix::fs::MetadataExt as _;
use std::path::Path;
use std::time::{Duration, SystemTime};

use taskvec_pack::write::Rounding;
use taskvec_runtime::{BaseModel, BundleLimits, CheckedPack, ErrorKind, PackLimits, Skill, Verified};

use crate::made::{Kind, MIXED, bundle, composed, random_pack, session};

/// Puts the time of the last change of what `file` holds into the past, so that nobody has to wait for it to settle. The
/// time of the last change of its metadata cannot be set; so this waits for that.
fn settled(folder: &Path) -> Verified {
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
    forged["file"]["modified"] = serde_json::json!([times.mtime(), times.mtime_nsec()]);
    forged["file"]["changed"] = serde_json::json!([times.ctime(), times.ctime_nsec()]);
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

/// A note on the pack at `path`, once the file has settled.
fn noted(path: &Path) -> CheckedPack {
    loop {
        if let Some(note) = Skill::open(path, &PackLimits::default()).unwrap().checked() {
            return note.clone();
        }
        std::thread::sleep(Duration::from_millis(100));
    }
}

#[test]
fn a_pack_that_was_checked_is_the_same_skill_without_a_second_check() {
    let made = bundle(MIXED, 62);
    let path = made.folder.path().join("one.tvp");
    for kind in [Kind::Deltas(Rounding::INT8), Kind::Lossless] {
        fs::write(&path, random_pack(&made.base, "one", 63, kind, 100).finish().unwrap()).unwrap();
        let checked = Skill::open(&path, &PackLimits::default()).unwrap();
        assert!(checked.checked().is_none(), "a file that has just been written is not noted");
        let note = noted(&path);
        let known = Skill::open_unless_checked(&path, &PackLimits::default(), Some(&note)).unwrap();
        assert_eq!(known.checked(), Some(&note));
        assert_eq!((known.digest(), known.name(), known.size_bytes()), (checked.digest(), "one", checked.size_bytes()));
        let [checked, known] = [checked, known].map(|skill| {
            let session = session(&made.base);
            session.attach(&skill, 0.7).unwrap();
            composed(&session)
        });
        assert!(checked == known);
    }
}

#[test]
fn a_changed_pack_is_checked_whatever_times_the_file_is_given() {
    let made = bundle(MIXED, 64);
    let [path, other] = ["one.tvp", "other.tvp"].map(|name| made.folder.path().join(name));
    let bytes = random_pack(&made.base, "one", 65, Kind::Lossless, 100).finish().unwrap();
    fs::write(&path, &bytes).unwrap();
    let note = noted(&path);
    let open = |path| Skill::open_unless_checked(path, &PackLimits::default(), Some(&note));
    let modified = fs::metadata(&path).unwrap().modified().unwrap();
    let mut changed = bytes.clone();
    // In the middle of the entries, the third section: where a known pack is not looked at again (`FORMAT.md`, 4.2).
    let number = |at: usize| usize::try_from(u64::from_le_bytes(bytes[at..at + 8].try_into().unwrap())).unwrap();
    let entry = 32 + 2 * 24;
    changed[number(entry + 8) + number(entry + 16) / 2] ^= 1;
    fs::write(&path, &changed).unwrap();
    File::open(&path).unwrap().set_modified(modified).unwrap();
    // What has just changed is checked anyhow; a while later it is the note that must not fit.
    let settle = || std::thread::sleep(Duration::from_secs(4));
    settle();
    assert_eq!(open(&path).map(drop).unwrap_err().kind(), ErrorKind::Damaged);
    // Neither is another file with the same bytes, nor one that takes the place of the old one.
    for bytes in [&bytes, &changed] {
        fs::write(&other, bytes).unwrap();
        settle();
        assert_eq!(open(&other).is_ok(), *bytes != changed);
        fs::rename(&other, &path).unwrap();
        settle();
        assert_eq!(open(&path).is_ok(), *bytes != changed);
    }
}

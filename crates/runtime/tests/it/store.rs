//! The store: what is committed is what comes back, and nothing else is believed.

use std::fs;

use taskvec_runtime::{ErrorKind, Fingerprint, Store};

use crate::made::{MIXED, bundle, composed, one_delta, session, skill};

#[test]
fn what_was_committed_comes_back_and_gives_the_same_bits() {
    let made = bundle(MIXED, 90);
    let folder = tempfile::tempdir().unwrap();
    let store = Store::open(folder.path()).unwrap();
    assert!(store.composition(made.base.fingerprint()).unwrap().is_empty());

    let first = session(&made.base);
    for (name, index, alpha) in [("one", 3, 0.5), ("two", 3, -1.0)] {
        let builder = one_delta(&made.base, name, index, 0.25);
        let skill = skill(&builder);
        let change = first.attach(&skill, alpha).unwrap();
        store.install(&skill, &builder.finish().unwrap()).unwrap();
        store.commit(&change.composition).unwrap();
    }
    let second = session(&made.base);
    let change =
        second.swap(Store::open(folder.path()).unwrap().composition(made.base.fingerprint()).unwrap()).unwrap();
    assert_eq!(change.composition, first.composition());
    assert_eq!(composed(&second), composed(&first));
    let names: Vec<String> = store.packs().unwrap().iter().map(|skill| skill.name().to_owned()).collect();
    assert_eq!(names, ["one", "two"]);
}

#[test]
fn a_composition_of_what_is_not_installed_is_not_committed() {
    let made = bundle(MIXED, 91);
    let folder = tempfile::tempdir().unwrap();
    let store = Store::open(folder.path()).unwrap();
    let session = session(&made.base);
    let change = session.attach(&skill(&one_delta(&made.base, "one", 0, 1.0)), 1.0).unwrap();
    let refused = store.commit(&change.composition).unwrap_err();
    assert_eq!(refused.kind(), ErrorKind::Usage);
    assert!(store.committed().unwrap().is_none());
}

#[test]
fn a_composition_for_another_base_is_refused() {
    let made = bundle(MIXED, 92);
    let folder = tempfile::tempdir().unwrap();
    let store = Store::open(folder.path()).unwrap();
    store.commit(&session(&made.base).composition()).unwrap();
    let refused = store.composition(Fingerprint([7; 32])).err().unwrap();
    assert_eq!(refused.kind(), ErrorKind::Mismatch);
    assert!(refused.to_string().contains("base") && refused.help().is_some(), "{refused}");
}

#[test]
fn a_composition_that_was_not_written_by_us_is_refused_by_name() {
    let folder = tempfile::tempdir().unwrap();
    let store = Store::open(folder.path()).unwrap();
    let newer = r#"{"format": "taskvec composition", "version": 2, "base": "", "skills": []}"#;
    for (text, kind) in [("", ErrorKind::Damaged), ("{}", ErrorKind::Damaged), (newer, ErrorKind::Unsupported)] {
        fs::write(folder.path().join("composition.json"), text).unwrap();
        let refused = store.committed().unwrap_err();
        assert_eq!(refused.kind(), kind, "{text}");
        assert!(refused.to_string().contains("composition.json"), "{refused}");
    }
}

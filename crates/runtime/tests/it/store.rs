//! The store: what is committed is what comes back, and what does not work is passed over.

use std::fs;
use std::io::Write as _;
use std::path::Path;
use std::sync::Arc;
use std::thread;

use taskvec_pack::signature::ED25519;
use taskvec_pack::write::Builder;
use taskvec_runtime::{
    Composition, Digest, ErrorKind, InForce, Kept, PackFile, PackLimits, Session, SkillInForce, Status, Store, Trust,
};

use crate::made::{MIXED, bundle, composed, one_delta, session, skill};
use crate::memory_disk::{Faults, MemoryDisk};

fn file(builder: &Builder) -> PackFile {
    PackFile::of(builder.finish().unwrap(), &PackLimits::default()).unwrap()
}

fn digests(composition: &Composition) -> Vec<Digest> {
    composition.skills.iter().map(|skill| skill.digest).collect()
}

#[test]
fn what_was_attached_comes_back_in_the_next_process_and_gives_the_same_bits() {
    let made = bundle(MIXED, 90);
    let folder = tempfile::tempdir().unwrap();
    let store = Store::open(folder.path().join("store")).unwrap();
    assert!(store.committed().unwrap().is_none());
    assert!(!store.folder().exists(), "looking makes nothing");

    let first = session(&made.base);
    for (name, index, alpha) in [("two", 3, 0.5), ("one", 3, -1.0)] {
        store.attach(&first, &file(&one_delta(&made.base, name, index, 0.25)), alpha).unwrap();
    }
    let second = session(&made.base);
    let boot = Store::open(store.folder()).unwrap().boot(&second).unwrap();
    assert_eq!(boot.in_force, InForce::Committed);
    assert!(boot.passed_over.is_empty() && boot.uncounted.is_none());
    assert_eq!(boot.change.composition, first.composition());
    assert_eq!(composed(&second), composed(&first));
    assert!(store.journal().unwrap().newest.kept.iter().all(|kept| kept.failures == 0), "the counts are taken back");
    let packs = store.packs().unwrap();
    let names: Vec<_> = packs.iter().map(|pack| pack.skill.as_ref().unwrap().name()).collect();
    assert_eq!(names, ["one", "two"]);

    store.detach(&second, &packs[0].digest).unwrap();
    store.set_alpha(&second, &packs[1].digest, 2.0).unwrap();
    assert_eq!(store.committed().unwrap().unwrap().skills, [(packs[1].digest, 2.0)]);
    store.attach_installed(&second, &packs[0].digest, None).unwrap();
    store.swap(&second, &[(packs[0].digest, 1.5)]).unwrap();
    assert_eq!(store.committed().unwrap().unwrap().skills, [(packs[0].digest, 1.5)]);
    assert!(store.health().iter().all(|check| check.status == Status::Ok), "{:?}", store.health());
}

#[test]
fn rolling_back_goes_through_what_was_committed_down_to_the_base() {
    let made = bundle(MIXED, 91);
    let folder = tempfile::tempdir().unwrap();
    let store = Store::open(folder.path()).unwrap();
    let session = session(&made.base);
    assert_eq!(store.roll_back().unwrap_err().kind(), ErrorKind::Usage);
    let mut committed = vec![None];
    for at in 0..3 {
        store.attach(&session, &file(&one_delta(&made.base, "skill", at, 1.0)), 1.0).unwrap();
        committed.push(store.committed().unwrap());
    }
    while let [.., to, from] = &committed[..] {
        let back = store.roll_back().unwrap();
        assert_eq!((&back.from, &back.to), (from, to));
        assert_eq!(store.committed().unwrap(), *to);
        committed.pop();
    }
    assert_eq!(store.roll_back().unwrap_err().kind(), ErrorKind::Usage);
    let collected = store.collect().unwrap();
    assert_eq!(collected.packs.len(), 3, "nothing names them any more");
    assert!(store.packs().unwrap().is_empty());
}

#[test]
fn a_composition_of_what_is_not_installed_or_of_another_base_is_not_committed() {
    let made = bundle(MIXED, 92);
    let folder = tempfile::tempdir().unwrap();
    let store = Store::open(folder.path()).unwrap();
    let first = session(&made.base);
    let change = first.attach(&skill(&one_delta(&made.base, "one", 0, 1.0)), 1.0).unwrap();
    let refused = store.commit(&change.composition).unwrap_err();
    assert_eq!(refused.kind(), ErrorKind::Usage);
    assert!(store.committed().unwrap().is_none());

    first.swap([]).unwrap();
    store.attach(&first, &file(&one_delta(&made.base, "one", 0, 1.0)), 1.0).unwrap();
    let before = store.journal().unwrap().newest;
    let other = bundle(MIXED, 93);
    let refused = store.attach(&session(&other.base), &file(&one_delta(&other.base, "two", 0, 1.0)), 1.0).unwrap_err();
    assert_eq!(refused.kind(), ErrorKind::Mismatch);
    assert_eq!(store.journal().unwrap().newest, before);
    assert_eq!(store.packs().unwrap().len(), 1, "the pack that was refused is not installed");
}

/// A store with `earlier` committed, then both, and then the pack of `last` taken away.
fn last_one_missing(folder: &Path, session: &Session, packs: &[PackFile; 2]) -> Store {
    let store = Store::open(folder).unwrap();
    for pack in packs {
        store.attach(session, pack, 1.0).unwrap();
    }
    fs::remove_file(folder.join(format!("packs/{}.tvp", packs[1].skill().digest()))).unwrap();
    store
}

#[test]
fn a_boot_falls_back_counts_and_gives_up_what_fails_three_times() {
    let made = bundle(MIXED, 94);
    let folder = tempfile::tempdir().unwrap();
    let session = session(&made.base);
    let packs = [0, 1].map(|at| file(&one_delta(&made.base, "skill", at, 1.0)));
    let store = last_one_missing(folder.path(), &session, &packs);
    let failures = || store.journal().unwrap().newest.kept.iter().map(|kept| kept.failures).collect::<Vec<_>>();

    let rehearsed = store.rehearse(&session).unwrap();
    assert_eq!((rehearsed.in_force, failures()), (InForce::Earlier, vec![0, 0]), "a rehearsal counts nothing");
    for count in 1..=Kept::FAILURES_MAX {
        let boot = store.boot(&session).unwrap();
        assert_eq!(boot.in_force, InForce::Earlier);
        assert_eq!(digests(&boot.change.composition), [packs[0].skill().digest()]);
        assert_eq!(boot.passed_over[0].reason.kind(), ErrorKind::Io, "{}", boot.passed_over[0].reason);
        assert_eq!(failures(), [count, 0]);
    }
    let boot = store.boot(&session).unwrap();
    assert!(boot.passed_over[0].reason.to_string().contains("3 times"), "{}", boot.passed_over[0].reason);
    assert_eq!(failures(), [3, 0], "what was given up is not tried again");
    assert_eq!(store.committed().unwrap().unwrap().skills.len(), 1, "and is not what a change builds on");

    store.attach(&session, &packs[1], 1.0).unwrap();
    assert_eq!(store.boot(&session).unwrap().in_force, InForce::Committed);
    assert_eq!(failures(), [0, 0], "attached and proved again, it is in force again");
}

#[test]
fn an_attempt_is_counted_before_it_is_made_so_that_a_crash_counts() {
    let made = bundle(MIXED, 95);
    let session = session(&made.base);
    let disk = MemoryDisk::new();
    let open = || Store::open_on("/store", Arc::new(disk.clone())).unwrap();
    for at in 0..2 {
        open().attach(&session, &file(&one_delta(&made.base, "skill", at, 1.0)), 1.0).unwrap();
    }
    // The process ends while it opens the pack of the attempt: everything before has been written.
    let before_the_pack = {
        let trial = disk.copy();
        let count = |store: &Store| store.journal().unwrap().newest.kept[0].failures;
        let store = Store::open_on("/store", Arc::new(trial.clone())).unwrap();
        (1..).find(|&killed_at| {
            trial.set(Faults { killed_at: Some(killed_at), ..Faults::default() });
            let _ = store.boot(&session);
            trial.set(Faults::default());
            count(&store) > 0
        })
    };
    for crash in 1..=Kept::FAILURES_MAX {
        disk.set(Faults { killed_at: before_the_pack.map(|at| at + 2), ..Faults::default() });
        let _ = open().boot(&session);
        disk.set(Faults::default());
        assert_eq!(open().journal().unwrap().newest.kept[0].failures, crash);
    }
    assert_eq!(open().boot(&session).unwrap().in_force, InForce::Earlier);
}

#[test]
fn a_boot_with_nothing_that_works_gives_the_base_and_says_why() {
    let made = bundle(MIXED, 96);
    let folder = tempfile::tempdir().unwrap();
    let session = session(&made.base);
    let packs = [0, 1].map(|at| file(&one_delta(&made.base, "skill", at, 1.0)));
    let store = last_one_missing(folder.path(), &session, &packs);
    let first = folder.path().join(format!("packs/{}.tvp", packs[0].skill().digest()));
    let mut bytes = fs::read(&first).unwrap();
    let middle = bytes.len() / 2;
    bytes[middle] ^= 1;
    fs::remove_file(&first).unwrap();
    fs::write(&first, bytes).unwrap();
    let boot = store.boot(&session).unwrap();
    assert_eq!(boot.in_force, InForce::Base);
    let kinds: Vec<_> = boot.passed_over.iter().map(|passed| passed.reason.kind()).collect();
    assert_eq!(kinds, [ErrorKind::Io, ErrorKind::Damaged]);
    assert_eq!(composed(&session), made.base.bytes());
    let failed = store.health().into_iter().filter(|check| check.status == Status::Failed).count();
    assert_eq!(failed, 3, "a damaged pack and two compositions that miss one: {:?}", store.health());

    assert!(store.install(&packs[0]).unwrap(), "a damaged pack is replaced");
    assert_eq!(store.boot(&session).unwrap().in_force, InForce::Earlier);
}

#[test]
fn a_boot_on_another_base_leaves_it_alone_and_counts_nothing() {
    let made = bundle(MIXED, 97);
    let folder = tempfile::tempdir().unwrap();
    let store = Store::open(folder.path()).unwrap();
    store.attach(&session(&made.base), &file(&one_delta(&made.base, "one", 0, 1.0)), 1.0).unwrap();
    let other = bundle(MIXED, 98);
    let boot = store.boot(&session(&other.base)).unwrap();
    assert_eq!(boot.in_force, InForce::Base);
    assert_eq!(boot.passed_over[0].reason.kind(), ErrorKind::Mismatch);
    assert_eq!(store.journal().unwrap().newest.kept[0].failures, 0);
}

#[test]
fn a_boot_that_does_not_trust_a_pack_leaves_it_alone_and_counts_nothing() {
    let made = bundle(MIXED, 105);
    let folder = tempfile::tempdir().unwrap();
    let store = Store::open(folder.path()).unwrap();
    store.attach(&session(&made.base), &file(&one_delta(&made.base, "one", 0, 1.0)), 1.0).unwrap();
    let trusting_nobody = session(&made.base).trusting(Trust::default());
    for _ in 0..=Kept::FAILURES_MAX {
        let boot = store.boot(&trusting_nobody).unwrap();
        assert_eq!((boot.in_force, boot.passed_over[0].reason.kind()), (InForce::Base, ErrorKind::Untrusted));
        assert_eq!(store.journal().unwrap().newest.kept[0].failures, 0);
    }
    assert_eq!(store.boot(&session(&made.base)).unwrap().in_force, InForce::Committed);
}

#[test]
fn what_is_needed_is_not_removed_and_what_is_removed_is_forgotten() {
    let made = bundle(MIXED, 99);
    let folder = tempfile::tempdir().unwrap();
    let store = Store::open(folder.path()).unwrap();
    let session = session(&made.base);
    let [first, second] = [0, 1].map(|at| file(&one_delta(&made.base, "skill", at, 1.0)));
    store.attach(&session, &first, 1.0).unwrap();
    store.attach(&session, &second, 1.0).unwrap();
    let refused = store.remove(&second.skill().digest()).unwrap_err();
    assert_eq!((refused.kind(), refused.help()), (ErrorKind::Usage, Some("detach it first")));
    store.detach(&session, &first.skill().digest()).unwrap();
    let removed = store.remove(&first.skill().digest()).unwrap();
    assert_eq!(removed.compositions_forgotten, 2);
    assert_eq!(store.packs().unwrap().len(), 1);
    assert_eq!(store.remove(&first.skill().digest()).unwrap_err().kind(), ErrorKind::Usage);
    assert_eq!(store.roll_back().unwrap().to, None, "what named the pack is no longer kept");
}

#[test]
fn what_lies_aside_and_old_generations_are_collected_and_the_rest_is_left_alone() {
    let made = bundle(MIXED, 100);
    let folder = tempfile::tempdir().unwrap();
    let store = Store::open(folder.path()).unwrap();
    assert_eq!(store.collect().unwrap(), taskvec_runtime::Collected::default());
    let session = session(&made.base);
    let attached = file(&one_delta(&made.base, "attached", 0, 1.0));
    let installed = file(&one_delta(&made.base, "installed", 1, 1.0));
    store.attach(&session, &attached, 1.0).unwrap();
    assert!(store.install(&installed).unwrap());
    assert!(!store.install(&installed).unwrap(), "it is there already");
    fs::write(folder.path().join("packs/half.tvp.aside"), "half").unwrap();
    fs::write(folder.path().join("packs/README"), "of the operator").unwrap();
    assert!(store.health().iter().any(|check| check.status == Status::Warning), "{:?}", store.health());
    let collected = store.collect().unwrap();
    assert_eq!(collected.packs, [installed.skill().digest()]);
    assert_eq!(collected.left_aside, 1);
    assert!(folder.path().join("packs/README").exists());
    assert_eq!(store.committed().unwrap().unwrap().skills.len(), 1);
}

#[test]
fn a_journal_that_was_not_written_by_us_is_refused_by_name_and_passed_over_by_a_boot() {
    let made = bundle(MIXED, 101);
    let session = session(&made.base);
    let newer = "taskvec journal 2 abc\n";
    for (text, kind) in [("", ErrorKind::Damaged), ("{}", ErrorKind::Damaged), (newer, ErrorKind::Unsupported)] {
        let folder = tempfile::tempdir().unwrap();
        let store = Store::open(folder.path()).unwrap();
        let name = format!("{:020}", 1);
        fs::create_dir(folder.path().join("journal")).unwrap();
        fs::write(folder.path().join("journal").join(&name), text).unwrap();
        let refused = store.committed().unwrap_err();
        assert_eq!(refused.kind(), kind, "{text}");
        assert!(refused.to_string().contains(&name) && refused.help().is_some(), "{refused}");
        assert_eq!(store.collect().unwrap_err().kind(), kind, "nobody knows what is needed");
        let boot = store.boot(&session).unwrap();
        assert_eq!((boot.in_force, boot.passed_over.len()), (InForce::Base, 1));
        assert_eq!(store.roll_back().unwrap().to, None);
        assert!(store.committed().unwrap().is_none(), "it was repaired");
    }
}

#[test]
fn packs_are_stored_read_only() {
    let made = bundle(MIXED, 102);
    let folder = tempfile::tempdir().unwrap();
    let store = Store::open(folder.path()).unwrap();
    let pack = file(&one_delta(&made.base, "one", 0, 1.0));
    store.install(&pack).unwrap();
    let path = folder.path().join(format!("packs/{}.tvp", pack.skill().digest()));
    assert!(fs::metadata(path).unwrap().permissions().readonly());
}

#[test]
fn an_installed_pack_gets_the_signatures_that_it_is_installed_with_and_loses_none() {
    let made = bundle(MIXED, 106);
    let folder = tempfile::tempdir().unwrap();
    let store = Store::open(folder.path()).unwrap();
    let unsigned = one_delta(&made.base, "one", 0, 1.0).finish().unwrap();
    let signed = taskvec_pack::write::sign(&unsigned, ED25519, &[1; 16], &[2; 64]).unwrap();
    let [plain, signed] = [unsigned, signed].map(|bytes| PackFile::of(bytes, &PackLimits::default()).unwrap());
    let signatures = || store.skill(&plain.skill().digest()).unwrap().pack().signatures().len();
    assert!(store.install(&plain).unwrap());
    assert_eq!(signatures(), 0);
    assert!(!store.install(&signed).unwrap(), "the same pack");
    assert_eq!(signatures(), 1);
    store.install(&plain).unwrap();
    assert_eq!(signatures(), 1);
}

#[test]
fn a_store_that_is_no_folder_is_refused_by_name() {
    let mut file = tempfile::NamedTempFile::new().unwrap();
    file.write_all(b"a file").unwrap();
    let refused = Store::open(file.path()).unwrap_err();
    assert_eq!(refused.kind(), ErrorKind::Io);
    assert!(refused.to_string().contains(&file.path().display().to_string()) && refused.help().is_some(), "{refused}");
}

#[test]
fn changes_by_several_threads_come_one_after_the_other_and_none_is_lost() {
    let made = bundle(MIXED, 103);
    let folder = tempfile::tempdir().unwrap();
    let store = Store::open(folder.path()).unwrap();
    thread::scope(|scope| {
        for at in 0..4 {
            let (store, base) = (&store, &made.base);
            scope.spawn(move || {
                let session = session(base);
                for round in 0..5 {
                    let pack = file(&one_delta(base, &format!("{at} {round}"), 10 * at + round, 1.0));
                    store.attach(&session, &pack, 1.0).unwrap();
                    assert!(store.journal().unwrap().unreadable.is_empty());
                }
            });
        }
    });
    let committed = store.committed().unwrap().unwrap();
    assert_eq!(committed.skills.len(), 20);
    assert_eq!(store.boot(&session(&made.base)).unwrap().in_force, InForce::Committed);
}

#[test]
fn a_session_that_somebody_changed_by_himself_can_be_committed() {
    let made = bundle(MIXED, 104);
    let folder = tempfile::tempdir().unwrap();
    let store = Store::open(folder.path()).unwrap();
    let session = session(&made.base);
    let pack = file(&one_delta(&made.base, "one", 0, 1.0));
    store.install(&pack).unwrap();
    let change = session.attach(pack.skill(), 0.5).unwrap();
    store.commit(&change.composition).unwrap();
    let [SkillInForce { digest, alpha, .. }] = &change.composition.skills[..] else { panic!("one skill") };
    assert_eq!(store.committed().unwrap().unwrap().skills, [(*digest, *alpha)]);
    let number = store.journal().unwrap().newest.number;
    store.commit(&change.composition).unwrap();
    assert_eq!(store.journal().unwrap().newest.number, number, "the same again writes nothing");
}

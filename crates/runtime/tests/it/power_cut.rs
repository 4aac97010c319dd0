//! The power goes after every operation and every byte, every operation is refused: the store is as before or as after.

use std::collections::BTreeSet;
use std::path::Path;
use std::sync::Arc;

use ed25519_dalek::SigningKey;
use taskvec_runtime::{Committed, Digest, Error, Kept, PackFile, PackLimits, PublicKey, Session, Store};

use crate::made::{MIXED, Made, bundle, one_delta, session};
use crate::memory_disk::{EACCES, EIO, ENOSPC, EROFS, Faults, Ignored, MemoryDisk, Survives};

const FOLDER: &str = "/store";

/// What may be found of what was not synced.
fn all_that_may_survive(seed: u64) -> impl Iterator<Item = Survives> {
    use Survives::{ByChance, Everything, Names, NamesAndHalfOfTheBytes, Nothing};
    let by_chance = (0..3).map(move |more| ByChance(seed * 3 + more));
    [Nothing, Names, NamesAndHalfOfTheBytes, Everything].into_iter().chain(by_chance)
}

/// A base, packs for it, and a session to prove them in.
struct Bench {
    _made: Made,
    session: Session,
    packs: Vec<PackFile>,
}

/// Something that is done to a store. The numbers are those of packs.
#[derive(Clone, Copy, Debug)]
enum Act {
    Install(usize),
    Attach(usize),
    Detach(usize),
    RollBack,
    Collect,
    Remove(usize),
    Boot,
    Pin(u8),
    Threshold(usize),
    /// A write that ended with the process: it leaves a file aside.
    Leave,
}

/// What has been done, and what is done when the power goes.
const SCENARIOS: &[(&[Act], Act)] = {
    use Act::{Attach, Boot, Collect, Detach, Install, Leave, Pin, Remove, RollBack, Threshold};
    &[
        (&[], Install(0)),
        (&[Install(0)], Install(1)),
        (&[Attach(0)], Install(0)),
        (&[], Attach(0)),
        (&[Install(0)], Attach(0)),
        (&[Attach(0)], Attach(1)),
        (&[Attach(0), Attach(1), Attach(2), Attach(3)], Attach(4)),
        (&[Attach(0), Attach(1)], Detach(0)),
        (&[Attach(0)], Detach(0)),
        (&[Attach(0), Attach(1)], RollBack),
        (&[Attach(0)], RollBack),
        (&[Attach(0), Install(1), Leave, Attach(2), RollBack], Collect),
        (&[Attach(0), Detach(0), Attach(1), Detach(1), Attach(2), Attach(3)], Collect),
        (&[Attach(0), Attach(1), Detach(1)], Remove(1)),
        (&[Attach(0), Attach(1)], Boot),
        (&[], Pin(1)),
        (&[Attach(0), Pin(1)], Pin(2)),
        (&[Pin(1), Pin(2)], Threshold(2)),
    ]
};

impl Bench {
    fn new() -> Self {
        let made = bundle(MIXED, 95);
        let pack = |at: u64| {
            let builder = one_delta(&made.base, &format!("skill {at}"), at, 0.25);
            PackFile::of(builder.finish().unwrap(), &PackLimits::default()).unwrap()
        };
        let packs = (0..5).map(pack).collect();
        Self { session: session(&made.base), packs, _made: made }
    }

    fn digest(&self, pack: usize) -> Digest {
        self.packs[pack].skill().digest()
    }

    fn act(&self, act: Act, disk: &MemoryDisk) -> Result<(), Error> {
        let store = Store::open_on(FOLDER, Arc::new(disk.clone()))?;
        match act {
            Act::Install(pack) => store.install(&self.packs[pack]).map(drop),
            Act::Attach(pack) => store.attach(&self.session, &self.packs[pack], 1.0).map(drop),
            Act::Detach(pack) => store.detach(&self.session, &self.digest(pack)).map(drop),
            Act::RollBack => store.roll_back().map(drop),
            Act::Collect => store.collect().map(drop),
            Act::Remove(pack) => store.remove(&self.digest(pack)).map(drop),
            Act::Boot => {
                // A boot that cannot count goes on, as it should; here it counts as ended by the cut.
                store.boot(&self.session)?.uncounted.map_or(Ok(()), Err)
            }
            Act::Pin(seed) => {
                store.pin(PublicKey(SigningKey::from_bytes(&[seed; 32]).verifying_key().to_bytes())).map(drop)
            }
            Act::Threshold(count) => store.set_threshold(count).map(drop),
            Act::Leave => {
                let before = disk.spent().1;
                disk.set(Faults { power_for: Some(before + 20), ..Faults::default() });
                let _ = store.install(&self.packs[4]);
                disk.set(Faults::default());
                Ok(())
            }
        }
    }

    /// A disk on which all this was done.
    fn prepared(&self, acts: &[Act]) -> MemoryDisk {
        let disk = MemoryDisk::new();
        for &act in acts {
            self.act(act, &disk).unwrap();
        }
        disk
    }

    /// Does `act` on a copy of `before` where this goes wrong.
    fn broken(&self, act: Act, before: &MemoryDisk, faults: Faults) -> (MemoryDisk, Result<(), Error>) {
        self.session.swap([]).unwrap();
        let disk = before.copy();
        disk.set(faults);
        let outcome = self.act(act, &disk);
        (disk, outcome)
    }
}

/// A store as far as it may not be between.
#[derive(Clone, Debug, PartialEq)]
struct Seen {
    kept: Vec<Kept>,
    packs: BTreeSet<Digest>,
    /// The pinned keys and the threshold.
    trust: (Vec<PublicKey>, usize),
}

/// What is seen in the store on `disk`, or what is wrong with it.
fn seen(disk: &MemoryDisk) -> Result<Seen, String> {
    let store = Store::open_on(FOLDER, Arc::new(disk.clone())).map_err(|error| error.to_string())?;
    let journal = store.journal().map_err(|error| error.to_string())?;
    if let Some(wrong) = journal.unreadable.first() {
        return Err(wrong.to_string());
    }
    let mut packs = BTreeSet::new();
    for pack in store.packs().map_err(|error| error.to_string())? {
        if let Err(wrong) = pack.skill {
            return Err(format!("{}: {wrong}", pack.digest));
        }
        packs.insert(pack.digest);
    }
    let kept = journal.newest.kept;
    let named = kept.iter().flat_map(|kept| &kept.composition.skills);
    if let Some((missing, _)) = named.clone().find(|(digest, _)| !packs.contains(digest)) {
        return Err(format!("pack {missing} is missing, and a composition names it"));
    }
    let trust = store.trust().map_err(|error| error.to_string())?;
    Ok(Seen { kept, packs, trust: (trust.keys().collect(), trust.threshold()) })
}

/// The compositions without their failures, which a boot counts while it is under way.
fn compositions(seen: &Seen) -> Vec<&Committed> {
    seen.kept.iter().map(|kept| &kept.composition).collect()
}

/// What is wrong with what was found after `act` was broken off.
fn wrong_with(act: Act, found: &MemoryDisk, before: &Seen, after: &Seen, is_done: bool) -> Option<String> {
    let now = match seen(found) {
        Ok(now) => now,
        Err(wrong) => return Some(wrong),
    };
    if is_done && now != *after {
        return Some(format!("it was done and is now {now:?}, expected {after:?}"));
    }
    let is_before_or_after = match act {
        Act::Boot => compositions(&now) == compositions(before) && now.kept.iter().all(|kept| kept.failures <= 1),
        _ => {
            (now.kept == before.kept || now.kept == after.kept)
                && (now.trust == before.trust || now.trust == after.trust)
        }
    };
    if !is_before_or_after {
        return Some(format!("{now:?} is between {before:?} and {after:?}"));
    }
    let all: BTreeSet<_> = before.packs.union(&after.packs).collect();
    now.packs.iter().find(|pack| !all.contains(pack)).map(|pack| format!("nobody installed pack {pack}"))
}

/// Cuts the power at every point of every scenario. Returns how many cuts there were, and for each scenario what went wrong.
fn cut_everywhere(ignored: Ignored) -> (usize, Vec<Vec<String>>) {
    let bench = Bench::new();
    let mut cuts = 0;
    let mut wrong = Vec::new();
    for &(prepare, act) in SCENARIOS {
        let start = bench.prepared(prepare);
        let before = seen(&start).unwrap();
        let (whole, outcome) = bench.broken(act, &start, Faults { ignored, ..Faults::default() });
        outcome.unwrap();
        let after = seen(&whole).unwrap();
        let mut wrong_here = Vec::new();
        for power in 0..=whole.spent().1 {
            let faults = Faults { power_for: Some(power), ignored, ..Faults::default() };
            let (disk, outcome) = bench.broken(act, &start, faults);
            for survives in all_that_may_survive(power) {
                cuts += 1;
                let found = disk.after_power_cut(survives);
                if let Some(clause) = wrong_with(act, &found, &before, &after, outcome.is_ok()) {
                    wrong_here
                        .push(format!("{prepare:?}, {act:?}, cut after {power}, {survives:?} survives: {clause}"));
                }
            }
        }
        wrong.push(wrong_here);
    }
    (cuts, wrong)
}

#[test]
fn after_a_power_cut_at_any_byte_the_store_is_as_before_or_as_after() {
    let (cuts, wrong) = cut_everywhere(Ignored::None);
    println!("{cuts} cuts");
    let wrong = wrong.concat();
    assert!(wrong.is_empty(), "{} of {cuts} cuts:\n{}", wrong.len(), wrong[..wrong.len().min(10)].join("\n"));
    assert!(cuts > 20_000, "only {cuts} cuts");
}

#[test]
fn a_sync_of_files_that_does_nothing_is_caught_wherever_a_file_is_written() {
    for (&(_, act), wrong) in SCENARIOS.iter().zip(cut_everywhere(Ignored::Files).1) {
        // These write no file, or only one whose name is there already.
        let writes = !matches!(act, Act::Collect) && !matches!(act, Act::Install(0) if wrong.is_empty());
        assert_eq!(!wrong.is_empty(), writes, "{act:?}");
    }
}

#[test]
fn a_sync_of_folders_that_does_nothing_is_caught_wherever_a_name_appears() {
    let caught = cut_everywhere(Ignored::Folders).1.iter().filter(|wrong| !wrong.is_empty()).count();
    // Installing what is there makes no name, and what is collected may come back.
    assert!(caught >= SCENARIOS.len() - 3, "{caught} of {}", SCENARIOS.len());
}

/// Kills a process at every operation of every scenario, lets another one do `next`, and cuts its power at every operation.
/// Returns how many cuts there were, and what went wrong.
fn kill_and_go_on(next: Act, ignored: Ignored) -> (usize, Vec<String>) {
    let bench = Bench::new();
    let mut cuts = 0;
    let mut wrong = Vec::new();
    for &(prepare, act) in SCENARIOS {
        let start = bench.prepared(prepare);
        let before = seen(&start).unwrap();
        let (whole, _) = bench.broken(act, &start, Faults::default());
        let after = seen(&whole).unwrap();
        for killed_at in 0..=whole.spent().0 {
            let (killed, _) = bench.broken(act, &start, Faults { killed_at: Some(killed_at), ..Faults::default() });
            killed.set(Faults::default());
            let (done, _) = bench.broken(next, &killed, Faults::default());
            for cut_at in 0..=done.spent().0 {
                let faults = Faults { killed_at: Some(cut_at), ignored, ..Faults::default() };
                let (disk, _) = bench.broken(next, &killed, faults);
                for survives in all_that_may_survive(killed_at * 1000 + cut_at) {
                    cuts += 1;
                    let clause = match seen(&disk.after_power_cut(survives)) {
                        Err(wrong) => Some(wrong),
                        Ok(now) if [&before, &after].map(compositions).contains(&compositions(&now)) => None,
                        Ok(now) => Some(format!("{now:?} is between {before:?} and {after:?}")),
                    };
                    wrong.extend(clause.map(|clause| {
                        format!(
                            "{act:?} killed at {killed_at}, {next:?} cut at {cut_at}, {survives:?} survives: {clause}"
                        )
                    }));
                }
            }
        }
    }
    (cuts, wrong)
}

#[test]
fn what_a_killed_process_left_half_done_does_no_harm_when_the_next_one_goes_on_and_the_power_goes() {
    for next in [Act::Collect, Act::Boot, Act::Install(4)] {
        let (cuts, wrong) = kill_and_go_on(next, Ignored::None);
        assert!(wrong.is_empty(), "{} of {cuts} cuts:\n{}", wrong.len(), wrong[..wrong.len().min(10)].join("\n"));
        assert!(cuts > 5_000, "only {cuts} cuts");
    }
}

#[test]
fn a_collection_that_does_not_first_settle_what_others_left_is_caught() {
    let (_, wrong) = kill_and_go_on(Act::Collect, Ignored::FirstOfFolders);
    assert!(!wrong.is_empty());
}

#[test]
fn whatever_operation_is_refused_the_store_is_as_before_or_as_after_and_the_error_says_what_and_what_next() {
    let bench = Bench::new();
    for &(prepare, act) in SCENARIOS {
        let start = bench.prepared(prepare);
        let before = seen(&start).unwrap();
        let (whole, _) = bench.broken(act, &start, Faults::default());
        let after = seen(&whole).unwrap();
        let kinds = [EIO, ENOSPC, EROFS, EACCES].into_iter().flat_map(|number| [(number, false), (number, true)]);
        for ((number, refuse_from_then_on), write_bytes_max) in kinds.zip([None, Some(7)].into_iter().cycle()) {
            let (mut operation, mut refusals) = (0, 0);
            loop {
                let faults = Faults {
                    refuse: Some((operation, number)),
                    refuse_from_then_on,
                    write_bytes_max,
                    ..Faults::default()
                };
                let (disk, outcome) = bench.broken(act, &start, faults);
                let is_past_the_end = disk.spent().0 <= operation;
                let place = format!("{prepare:?}, {act:?}, operation {operation} gives error {number}");
                disk.set(Faults::default());
                let is_done = outcome.is_ok();
                // What could not be tidied up does not make what was done undone.
                let wrong = wrong_with(act, &disk, &before, &after, is_done && !matches!(act, Act::Boot));
                assert_eq!(wrong, None, "{place}");
                if let Err(error) = outcome {
                    refusals += 1;
                    assert!(error.help().is_some(), "{place}: {error} has no next step");
                    let told = chain(&error);
                    assert!(told.contains(FOLDER) || told.contains("`/`"), "{place}: {told} names no path");
                    let must_be_before =
                        !refuse_from_then_on && !matches!(act, Act::Boot | Act::Collect | Act::Remove(_));
                    if must_be_before {
                        assert_eq!(
                            seen(&disk).map(|seen| seen.kept),
                            Ok(before.kept.clone()),
                            "{place}: not taken back"
                        );
                    }
                }
                if is_past_the_end {
                    break;
                }
                operation += 1;
            }
            assert!(refusals > 2, "{act:?}: only {refusals} of {operation} refusals mattered");
        }
    }
}

fn chain(error: &Error) -> String {
    let mut told = error.to_string();
    let mut cause = std::error::Error::source(error);
    while let Some(deeper) = cause {
        told = format!("{told}: {deeper}");
        cause = deeper.source();
    }
    told
}

#[test]
fn when_the_store_refuses_the_session_goes_back_to_what_it_had() {
    let bench = Bench::new();
    let start = bench.prepared(&[Act::Attach(0)]);
    let mut operation = 0;
    loop {
        let disk = start.copy();
        bench.act(Act::Boot, &disk).unwrap();
        let before = bench.session.digest();
        disk.set(Faults { refuse: Some((operation, ENOSPC)), ..Faults::default() });
        let outcome = bench.act(Act::Attach(1), &disk);
        if disk.spent().0 <= operation {
            break;
        }
        if outcome.is_err() {
            assert_eq!(bench.session.digest(), before, "operation {operation}");
        }
        operation += 1;
    }
    assert!(operation > 10, "only {operation} operations");
}

#[test]
fn a_rotten_file_is_named_and_what_was_before_it_is_found() {
    let bench = Bench::new();
    let disk = bench.prepared(&[Act::Attach(0), Act::Attach(1)]);
    disk.rot(&Path::new(FOLDER).join(format!("journal/{:020}", 2)));
    let store = Store::open_on(FOLDER, Arc::new(disk.clone())).unwrap();
    let refused = bench.act(Act::Attach(2), &disk).unwrap_err();
    assert!(chain(&refused).contains(&format!("{:020}", 2)), "{}", chain(&refused));
    assert!(refused.help().unwrap().contains("rollback"), "{:?}", refused.help());
    let boot = store.boot(&bench.session).unwrap();
    assert_eq!(boot.change.composition.skills.len(), 1, "the generation before it has one skill");
    assert_eq!(boot.passed_over.len(), 1);
    let back = store.roll_back().unwrap();
    assert_eq!(back.to, store.committed().unwrap());
    bench.act(Act::Attach(2), &disk).unwrap();
    assert_eq!(store.committed().unwrap().unwrap().skills.len(), 2);
}

//! The kept seeds of the fuzzers, thrown at the doors without one: what was found once stays found.

use std::fs;
use std::path::{Path, PathBuf};

use taskvec_tests::doors::DOORS;

use crate::places::repository;

/// The files of a folder whose names end in this; all of them for an empty ending.
fn files(folder: &Path, ending: &str) -> Vec<PathBuf> {
    let listed = fs::read_dir(folder).unwrap_or_else(|error| panic!("{}: {error}", folder.display()));
    let paths = listed.map(|entry| entry.expect("a listed file").path());
    paths.filter(|path| path.to_str().is_some_and(|path| path.ends_with(ending))).collect()
}

#[test]
fn every_seed_passes_its_door() {
    let repository = repository();
    for (name, door) in DOORS {
        let mut seeds = files(&repository.join("fuzz/seeds").join(name), "");
        if name == "pack" {
            let vectors = repository.join("tests/vectors");
            seeds.extend(["valid", "invalid"].into_iter().flat_map(|folder| files(&vectors.join(folder), ".tvp")));
        }
        assert!(seeds.len() > 2, "only {} seeds for `{name}`", seeds.len());
        for seed in seeds {
            let bytes = fs::read(&seed).expect("a listed file");
            let passed = std::panic::catch_unwind(|| door(&bytes));
            assert!(passed.is_ok(), "`{name}` does not hold for {}", seed.display());
        }
    }
}

#[test]
fn every_door_has_a_fuzzer_and_every_fuzzer_a_door() {
    let mut targets: Vec<String> = files(&repository().join("fuzz/fuzz_targets"), ".rs")
        .iter()
        .map(|path| path.file_stem().and_then(|name| name.to_str()).expect("a name in ASCII").to_owned())
        .collect();
    targets.sort();
    assert_eq!(targets, DOORS.map(|(name, _)| name));
}

#[test]
fn seeds_are_small() {
    let seeds = repository().join("fuzz/seeds");
    let size = |path: &PathBuf| fs::metadata(path).expect("a listed file").len();
    let sizes: Vec<u64> =
        DOORS.iter().flat_map(|(name, _)| files(&seeds.join(name), "")).map(|seed| size(&seed)).collect();
    assert!(sizes.iter().sum::<u64>() < 1 << 20, "{} bytes in all", sizes.iter().sum::<u64>());
}

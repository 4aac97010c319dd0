//! The folder of packed weights: made once, known again, made anew when anything about it is another; and what a session
//! does when it cannot have one.

use std::fs;
use std::io::Write as _;
use std::os::unix::fs::MetadataExt as _;
use std::path::{Path, PathBuf};

use taskvec_runtime::{BaseModel, EngineChoice, ErrorKind, OrtSettings, Session, Tier, Trust};

use crate::engines::{BATCH, base, everywhere, expected, ort_settings};
use crate::made::skill;
use crate::tiers::KIND;

fn choice(folder: &Path) -> EngineChoice {
    let packed_folder = Some(folder.to_owned());
    EngineChoice::Ort(OrtSettings { tier: Some(Tier::Packed), packed_folder, ..ort_settings() })
}

fn open(base: &BaseModel, folder: &Path) -> Session {
    Session::open(base, &choice(folder)).unwrap().trusting(Trust::unsigned_too())
}

/// A base, and an empty folder in which its weights can be packed here.
fn packing() -> Option<(BaseModel, tempfile::TempDir)> {
    let (base, folder) = (base(), tempfile::tempdir().unwrap());
    let report = match Session::open(&base, &choice(folder.path())) {
        Err(error) if error.kind() == ErrorKind::Unsupported => return None,
        opened => opened.unwrap().engine_report(),
    };
    if report.tier != Some(Tier::Packed) {
        // A closed stderr is no reason to fail.
        let _ = writeln!(std::io::stderr(), "left out: {:?}", report.fallbacks);
        return None;
    }
    fs::remove_dir_all(home(folder.path())).unwrap();
    Some((base, folder))
}

/// The one folder of a base in it.
fn home(folder: &Path) -> PathBuf {
    let mut homes = fs::read_dir(folder).unwrap().map(|entry| entry.unwrap().path()).filter(|path| path.is_dir());
    let home = homes.next().unwrap();
    assert_eq!(homes.next(), None);
    home
}

/// Tells files apart that were made at different times.
fn made(folder: &Path) -> (u64, i64, i64) {
    let data = fs::metadata(home(folder).join("packed.bin")).unwrap();
    (data.ino(), data.mtime(), data.mtime_nsec())
}

#[test]
fn packed_weights_are_made_once_and_anew_when_they_are_not_what_was_made() {
    let Some((base, folder)) = packing() else { return };
    let folder = folder.path();
    let (pixels, _) = expected();
    let answer = open(&base, folder).features(&pixels, BATCH).unwrap();
    let mut last = made(folder);
    open(&base, folder);
    assert_eq!(made(folder), last, "made anew without need");

    let flip = |name: &str, at: usize| {
        let path = home(folder).join(name);
        let mut bytes = fs::read(&path).unwrap();
        let at = at.min(bytes.len() - 1);
        bytes[at] ^= 1;
        fs::write(path, bytes).unwrap();
    };
    let harms: [(&str, &dyn Fn()); 6] = [
        ("a bit of the digest", &|| flip("packed.json", 3)),
        ("a bit of the description", &|| flip("packed.json", usize::MAX)),
        ("a bit of the weights", &|| flip("packed.bin", 5000)),
        ("a bit of the graph", &|| flip("packed.onnx", 100)),
        ("no description", &|| fs::remove_file(home(folder).join("packed.json")).unwrap()),
        ("killed while it was made", &|| {
            fs::rename(home(folder), folder.join("making")).unwrap();
            fs::create_dir(folder.join("making").join("saved")).unwrap();
        }),
    ];
    for (harm, does) in harms {
        does();
        let session = open(&base, folder);
        assert_eq!(session.engine_report().tier, Some(Tier::Packed), "{harm}");
        assert_eq!(session.features(&pixels, BATCH).unwrap(), answer, "{harm}");
        assert_ne!(std::mem::replace(&mut last, made(folder)), last, "{harm}: used all the same");
    }
}

/// The order in which compositions came and went, and whether pages are kept, changes no bit.
#[test]
fn every_composition_answers_as_in_a_fresh_session() {
    let Some((base, folder)) = packing() else { return };
    let (pixels, _) = expected();
    let skills = ["one", "another", "a third one"].map(|name| skill(&everywhere(&base, name, KIND, 300)));
    let composition = |which: usize| {
        let in_force = skills.iter().enumerate().filter(move |(number, _)| which >> number & 1 == 1);
        in_force.map(|(number, skill)| (skill.clone(), 0.1 * (number + 1) as f32))
    };
    let fresh: Vec<_> = (0..8)
        .map(|which| {
            let session = open(&base, folder.path());
            session.swap(composition(which)).unwrap();
            session.features(&pixels, BATCH).unwrap()
        })
        .collect();
    for (one, other) in (0..8).flat_map(|one| (0..one).map(move |other| (one, other))) {
        assert_ne!(fresh[one], fresh[other], "{one} and {other} are alike");
    }
    for session in [open(&base, folder.path()), open(&base, folder.path()).keeping_pages()] {
        let beside = session.beside().unwrap();
        for (step, which) in [7, 1, 0, 6, 2, 2, 5, 0, 4, 3, 7, 1].into_iter().enumerate() {
            let session = if step % 3 == 2 { &beside } else { &session };
            session.swap(composition(which)).unwrap();
            assert_eq!(session.features(&pixels, BATCH).unwrap(), fresh[which], "step {step}");
        }
    }
}

#[test]
fn a_session_whose_files_were_replaced_says_so_and_goes_on_serving() {
    let Some((base, folder)) = packing() else { return };
    let (pixels, _) = expected();
    let session = open(&base, folder.path());
    let before = session.features(&pixels, BATCH).unwrap();
    fs::remove_dir_all(home(folder.path())).unwrap();
    let skill = skill(&everywhere(&base, "one", KIND, 300));
    let error = session.attach(&skill, 0.1).unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Damaged, "{error:?}");
    assert!(error.chain().contains("have been replaced") && error.help().is_some(), "{error:?}");
    open(&base, folder.path()).attach(&skill, 0.1).unwrap();
    assert_eq!(session.attach(&skill, 0.1).unwrap_err().kind(), ErrorKind::Damaged, "other files, the same weights");
    assert_eq!(session.features(&pixels, BATCH).unwrap(), before);
}

#[test]
fn where_weights_cannot_be_packed_the_next_tier_is_used_and_the_reason_given() {
    let Some((base, folder)) = packing() else { return };
    let file = folder.path().join("a file");
    fs::write(&file, "").unwrap();
    let nowhere = OrtSettings { tier: Some(Tier::Packed), packed_folder: None, ..ort_settings() };
    for (choice, reason) in
        [(EngineChoice::Ort(nowhere), "no folder for packed weights"), (choice(&file.join("packed")), "cannot make")]
    {
        let report = Session::open(&base, &choice).unwrap().engine_report();
        assert_eq!(report.tier, Some(Tier::Inputs));
        let [fallback] = &report.fallbacks[..] else { panic!("{report:?}") };
        assert_eq!(fallback.tried, "cpu (packed)");
        assert!(fallback.reason.contains(reason), "{}", fallback.reason);
    }
}

#[test]
fn many_open_it_at_once_and_one_makes_it() {
    let Some((base, folder)) = packing() else { return };
    let (pixels, _) = expected();
    let answers: Vec<_> = std::thread::scope(|scope| {
        let opening = || open(&base, folder.path()).features(&pixels, BATCH).unwrap();
        let threads: Vec<_> = (0..4).map(|_| scope.spawn(opening)).collect();
        threads.into_iter().map(|thread| thread.join().unwrap()).collect()
    });
    assert!(answers.iter().all(|answer| answer == &answers[0]));
    home(folder.path());
}

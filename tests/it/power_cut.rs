//! The power goes, on a real file system: `taskvec-device` is killed at each system call with which it changes its store,
//! the file system is shut down so that what was not synced is lost, and mounted again. The store is as before or as after.
//!
//! The file system is an ext4 of some MiB in a file, with the options under which mistakes show: `noauto_da_alloc`, so that
//! the bytes of a renamed file are not written for us, and `commit=9999`, so that nothing is by itself. It is shut down in two
//! ways: with its journal lost (what was not synced is gone) and with it written (the names are there, the bytes are not).
//! This needs Linux, root, loop mounts and strace, and is left out where one of them is missing.

use std::collections::BTreeMap;
use std::fs;
use std::os::unix::fs::MetadataExt as _;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use serde_json::Value;
use tempfile::TempDir;

use crate::places::{handwriting, left_out};
use crate::programs::{Told, taskvec_device, told};
use crate::small_pack::small_pack;

/// System calls that change what is on a disk, or begin to.
const CALLS: &str =
    "openat,mkdir,flock,write,fchmod,fsync,fdatasync,rename,renameat,renameat2,unlink,unlinkat,ftruncate";
/// How ext4 is shut down (`EXT4_IOC_SHUTDOWN`): with its journal written first, or lost as well.
const SHUTDOWNS: [u32; 2] = [2, 1];

/// What is done when the power goes, after what was done before.
struct Scenario {
    name: &'static str,
    before: &'static [&'static [&'static str]],
    command: &'static [&'static str],
}

/// Words that end in `.tvp` are packs in the bench's folder. `attach` and `detach` get a base.
const SCENARIOS: &[Scenario] = &[
    Scenario { name: "the first install", before: &[], command: &["install", "a.tvp"] },
    Scenario { name: "an install", before: &[&["attach", "a.tvp"]], command: &["install", "b.tvp"] },
    Scenario { name: "the first attach", before: &[], command: &["attach", "a.tvp"] },
    Scenario { name: "an attach", before: &[&["attach", "a.tvp"]], command: &["attach", "b.tvp"] },
    Scenario {
        name: "an attach of what is installed",
        before: &[&["attach", "a.tvp"], &["install", "b.tvp"]],
        command: &["attach", "b"],
    },
    Scenario { name: "a detach", before: &[&["attach", "a.tvp"], &["attach", "b.tvp"]], command: &["detach", "a"] },
    Scenario { name: "a rollback", before: &[&["attach", "a.tvp"], &["attach", "b.tvp"]], command: &["rollback"] },
    Scenario { name: "a rollback to the base", before: &[&["attach", "a.tvp"]], command: &["rollback"] },
    Scenario {
        name: "a gc",
        before: &[&["attach", "a.tvp"], &["install", "b.tvp"], &["attach", "c.tvp"], &["rollback"]],
        command: &["gc"],
    },
    Scenario {
        name: "a remove",
        before: &[&["attach", "a.tvp"], &["attach", "b.tvp"], &["detach", "a"]],
        command: &["remove", "a"],
    },
];

/// Each installed pack by its digest, with its alpha when it is in force.
type Seen = BTreeMap<String, Option<f64>>;

/// What one scenario begins and ends with.
struct Bench {
    folder: TempDir,
    scenario: &'static Scenario,
    before: Seen,
    after: Seen,
    /// System calls on the store, by name and how many of that name came before and with it.
    calls: Vec<(String, u32)>,
    /// Those among them that sync the bytes of a file.
    file_syncs: Vec<u32>,
}

impl Bench {
    fn new(scenario: &'static Scenario) -> Self {
        let folder = tempfile::tempdir().unwrap();
        for (name, first) in [("a", 0), ("b", 100), ("c", 200)] {
            small_pack(folder.path(), name, first);
        }
        let store = folder.path().join("store");
        fs::create_dir(&store).unwrap();
        for words in scenario.before {
            told(&mut command(folder.path(), &store, words)).ended_with(0);
        }
        let before = seen(&store).unwrap();
        make_image(folder.path(), &store);
        let log = folder.path().join("calls");
        let mut traced = Command::new("strace");
        traced.args(["-f", "-qq", "-y", "-e", &format!("trace={CALLS}"), "-o"]).arg(&log);
        told(&mut behind(traced, &command(folder.path(), &store, scenario.command))).ended_with(0);
        let after = seen(&store).unwrap();
        let (calls, file_syncs) = calls_on(&store, &fs::read_to_string(log).unwrap());
        Self { folder, scenario, before, after, calls, file_syncs }
    }

    /// Mounts the store as it was before, runs the command with this done to it by strace, cuts the power, and returns what
    /// the command said and what is found.
    fn cut(&self, injected: &str, shutdown: u32) -> (Told, Result<Seen, String>) {
        let image = self.folder.path().join("image");
        copy(&self.folder.path().join("template"), &image);
        let mounted = Mounted::new(&image, &self.folder.path().join("mounted"));
        let store = mounted.folder.join("store");
        let mut traced = Command::new("strace");
        traced.args(["-f", "-qq", "-o", "/dev/null", "-e", &format!("trace={CALLS}"), "-e"]);
        traced.arg(format!("inject={injected}"));
        let told = told(&mut behind(traced, &command(self.folder.path(), &store, self.scenario.command)));
        mounted.shut_down(shutdown);
        drop(mounted);
        let mounted = Mounted::new(&image, &self.folder.path().join("mounted"));
        (told, seen(&mounted.folder.join("store")))
    }

    /// What is wrong with what was found.
    fn wrong_with(&self, is_done: bool, found: Result<Seen, String>) -> Option<String> {
        let found = match found {
            Ok(found) => found,
            Err(wrong) => return Some(wrong),
        };
        if is_done && found != self.after {
            return Some(format!("it was done, and found is {found:?}, expected {:?}", self.after));
        }
        let in_force =
            |seen: &Seen| seen.iter().filter(|(_, alpha)| alpha.is_some()).map(|(k, v)| (k.clone(), *v)).collect();
        let now: Seen = in_force(&found);
        if now != in_force(&self.before) && now != in_force(&self.after) {
            return Some(format!("found is {found:?}, between {:?} and {:?}", self.before, self.after));
        }
        let known = |pack: &&String| self.before.contains_key(*pack) || self.after.contains_key(*pack);
        found.keys().find(|pack| !known(pack)).map(|pack| format!("nobody installed pack {pack}"))
    }
}

/// A store's state as the program tells it, or what the program finds wrong with it.
fn seen(store: &Path) -> Result<Seen, String> {
    let doctor = told(taskvec_device(store).args(["doctor", "--json"]));
    if !matches!(doctor.code, Some(0 | 3)) {
        return Err(doctor.to_string());
    }
    let listed = told(taskvec_device(store).args(["list", "--json"])).json(0);
    let pack = |pack: &Value| (pack["digest"].as_str().unwrap().to_owned(), pack["alpha"].as_f64());
    Ok(listed.as_array().unwrap().iter().map(pack).collect())
}

fn command(folder: &Path, store: &Path, words: &[&str]) -> Command {
    let mut command = taskvec_device(store);
    command.arg(words[0]);
    for word in &words[1..] {
        if word.ends_with(".tvp") {
            command.arg(folder.join(word));
        } else {
            command.arg(word);
        }
    }
    if words[0] == "install" {
        command.arg("--allow-unsigned");
    }
    if matches!(words[0], "attach" | "detach") {
        command.args(["--allow-unsigned", "--engine", "burn", "--base"]).arg(handwriting());
    }
    command
}

/// `command`, run by `program`.
fn behind(mut program: Command, command: &Command) -> Command {
    program.arg(command.get_program()).args(command.get_args());
    if let Some(folder) = command.get_current_dir() {
        program.current_dir(folder);
    }
    program
}

/// The system calls of the first process in `log` that name something in `store`, and which calls of `fsync` are for files.
fn calls_on(store: &Path, log: &str) -> (Vec<(String, u32)>, Vec<u32>) {
    let store = store.to_str().expect("a path that can be read in a log");
    let first = log.split_whitespace().next().expect("strace wrote something");
    let mut counts: BTreeMap<&str, u32> = BTreeMap::new();
    let (mut calls, mut file_syncs) = (Vec::new(), Vec::new());
    for line in log.lines() {
        let Some((process, call)) = line.split_once(' ') else { continue };
        let Some((name, rest)) = call.trim_start().split_once('(') else { continue };
        if process != first {
            continue;
        }
        let count = counts.entry(name).or_default();
        *count += 1;
        if rest.contains(store) {
            calls.push((name.to_owned(), *count));
            if name == "fsync" && rest.contains(".aside") {
                file_syncs.push(*count);
            }
        }
    }
    (calls, file_syncs)
}

/// Makes the file `template` beside `store`: a file system with it inside.
fn make_image(folder: &Path, store: &Path) {
    let template = folder.join("template");
    fs::File::create(&template).unwrap().set_len(16 << 20).unwrap();
    let mut make = Command::new("mkfs.ext4");
    make.args(["-q", "-F", "-E", "lazy_itable_init=0,nodiscard"]).arg(&template);
    told(&mut make).ended_with(0);
    let mounted = Mounted::new(&template, &folder.join("mounted"));
    told(Command::new("cp").arg("-a").arg(store).arg(&mounted.folder)).ended_with(0);
}

fn copy(from: &Path, to: &Path) {
    told(Command::new("cp").arg("--sparse=always").arg(from).arg(to)).ended_with(0);
}

/// A file system, mounted until this is dropped. The loop device goes with the mount.
struct Mounted {
    folder: PathBuf,
}

impl Mounted {
    fn new(image: &Path, folder: &Path) -> Self {
        fs::create_dir_all(folder).unwrap();
        told(&mut mount(image, folder)).ended_with(0);
        Self { folder: folder.to_owned() }
    }

    fn shut_down(&self, how: u32) {
        let script =
            "open(my $f, '<', $ARGV[0]) or die $!; ioctl($f, 0x8004587d, my $how = pack('L', $ARGV[1])) or die $!";
        told(Command::new("perl").args(["-e", script]).arg(&self.folder).arg(how.to_string())).ended_with(0);
    }
}

impl Drop for Mounted {
    fn drop(&mut self) {
        // A mount that stays makes the next one of this folder show, which fails.
        let _ = Command::new("umount").arg(&self.folder).status();
    }
}

fn mount(image: &Path, folder: &Path) -> Command {
    let mut mount = Command::new("mount");
    mount.args(["-o", "loop,noauto_da_alloc,commit=9999"]).arg(image).arg(folder);
    mount
}

/// Whether the power can be cut here.
fn can_cut() -> bool {
    let missing = |tool: &&&str| {
        let found = Command::new(**tool).arg("-V").stdout(Stdio::null()).stderr(Stdio::null()).status();
        found.is_err()
    };
    let tools = ["strace", "mount", "umount", "mkfs.ext4", "perl", "cp"];
    let missing: Vec<_> = tools.iter().filter(missing).copied().collect();
    let is_root = fs::metadata("/proc/self").is_ok_and(|process| process.uid() == 0);
    if !missing.is_empty() || !is_root {
        let why = if is_root { format!("{} missing", missing.join(", ")) } else { "not root".to_owned() };
        left_out(&format!("power cuts on a real file system ({why}; they need Linux, root, loop mounts and strace)"));
        return false;
    }
    let folder = tempfile::tempdir().unwrap();
    let (image, mounted) = (folder.path().join("image"), folder.path().join("mounted"));
    fs::create_dir(&mounted).unwrap();
    fs::File::create(&image).unwrap().set_len(4 << 20).unwrap();
    let made = told(Command::new("mkfs.ext4").args(["-q", "-F"]).arg(&image));
    let told = told(&mut mount(&image, &mounted));
    let traced = Command::new("strace").args(["-qq", "-o", "/dev/null", "true"]).status();
    let works = made.code == Some(0) && told.code == Some(0) && traced.is_ok_and(|status| status.success());
    if told.code == Some(0) {
        drop(Mounted { folder: mounted });
    }
    if !works {
        left_out("power cuts on a real file system (this system mounts no file, or lets no process be traced)");
    }
    works
}

/// Cuts the power at every system call of these scenarios, and at the end. Fails at a violation, and returns how many cuts
/// there were.
fn cut_all(scenarios: &'static [Scenario]) -> usize {
    let mut cuts = 0;
    let mut wrong = Vec::new();
    for scenario in scenarios {
        let bench = Bench::new(scenario);
        // No process makes so many calls: the last one is cut when it is done.
        let mut points: Vec<(String, u32)> = bench.calls.clone();
        points.push(("write".into(), 1_000_000));
        for (call, count) in &points {
            for shutdown in SHUTDOWNS {
                cuts += 1;
                let (told, found) = bench.cut(&format!("{call}:signal=KILL:when={count}"), shutdown);
                if let Some(clause) = bench.wrong_with(told.code == Some(0), found) {
                    wrong.push(format!("{}, killed at {call} {count}, shutdown {shutdown}: {clause}", scenario.name));
                }
            }
        }
    }
    assert!(wrong.is_empty(), "{} of {cuts} cuts:\n{}", wrong.len(), wrong.join("\n"));
    cuts
}

#[test]
fn a_power_cut_on_ext4_while_packs_come_leaves_the_store_as_before_or_as_after() {
    if can_cut() {
        let cuts = cut_all(&SCENARIOS[..5]);
        println!("{cuts} cuts");
        assert!(cuts >= 100, "only {cuts} cuts");
    }
}

#[test]
fn a_power_cut_on_ext4_while_packs_go_leaves_the_store_as_before_or_as_after() {
    if can_cut() {
        let cuts = cut_all(&SCENARIOS[5..]);
        println!("{cuts} cuts");
        assert!(cuts >= 100, "only {cuts} cuts");
    }
}

#[test]
fn a_sync_that_does_nothing_is_caught_on_ext4() {
    if !can_cut() {
        return;
    }
    let mut files = 0;
    for scenario in SCENARIOS {
        let bench = Bench::new(scenario);
        files += bench.file_syncs.len();
        let caught = |injected: &str| {
            SHUTDOWNS.iter().any(|&shutdown| {
                let (told, found) = bench.cut(injected, shutdown);
                told.ended_with(0);
                bench.wrong_with(true, found).is_some()
            })
        };
        assert!(caught("fsync:retval=0"), "{}: no sync at all was needed", scenario.name);
        for count in &bench.file_syncs {
            assert!(caught(&format!("fsync:retval=0:when={count}")), "{}: sync {count} of a file", scenario.name);
        }
    }
    assert!(files >= SCENARIOS.len(), "only {files} files are synced");
}

#[test]
fn a_system_call_that_is_refused_leaves_the_store_as_before_and_says_what_next() {
    let has_strace = Command::new("strace").args(["-qq", "-o", "/dev/null", "true"]).status();
    if !cfg!(target_os = "linux") || !has_strace.is_ok_and(|status| status.success()) {
        left_out("refused system calls (no strace, or it may not trace)");
        return;
    }
    let errors = ["EIO", "ENOSPC", "EROFS", "EACCES"];
    let mut wrong = Vec::new();
    for scenario in [&SCENARIOS[0], &SCENARIOS[1], &SCENARIOS[6], &SCENARIOS[8]] {
        let folder = tempfile::tempdir().unwrap();
        for (name, first) in [("a", 0), ("b", 100), ("c", 200)] {
            small_pack(folder.path(), name, first);
        }
        let [template, store] = ["template", "store"].map(|name| folder.path().join(name));
        fs::create_dir(&template).unwrap();
        for words in scenario.before {
            told(&mut command(folder.path(), &template, words)).ended_with(0);
        }
        let fresh = || {
            let _ = fs::remove_dir_all(&store);
            told(Command::new("cp").arg("-a").arg(&template).arg(&store)).ended_with(0);
        };
        fresh();
        let before = seen(&store).unwrap();
        let log = folder.path().join("calls");
        let mut traced = Command::new("strace");
        traced.args(["-f", "-qq", "-y", "-e", &format!("trace={CALLS}"), "-o"]).arg(&log);
        told(&mut behind(traced, &command(folder.path(), &store, scenario.command))).ended_with(0);
        let after = seen(&store).unwrap();
        let (calls, _) = calls_on(&store, &fs::read_to_string(log).unwrap());
        assert!(calls.len() > 8, "{calls:?}");
        for (at, (call, count)) in calls.iter().enumerate() {
            fresh();
            let error = errors[at % errors.len()];
            let mut traced = Command::new("strace");
            traced.args(["-f", "-qq", "-o", "/dev/null", "-e", &format!("trace={call}"), "-e"]);
            traced.arg(format!("inject={call}:error={error}:when={count}"));
            let told = told(&mut behind(traced, &command(folder.path(), &store, scenario.command)));
            let place = format!("{}, {call} {count} gives {error}", scenario.name);
            let expected = if told.code == Some(0) { &after } else { &before };
            let found = seen(&store);
            let is_partly_collected = scenario.command[0] == "gc" && found.is_ok();
            if found.as_ref() != Ok(expected) && !is_partly_collected {
                wrong.push(format!("{place}: found {found:?}, expected {expected:?}\n{told}"));
            }
            if told.code != Some(0) {
                wrong.extend(told.is_no_refusal_of(&["cannot"]).map(|missing| format!("{place}: {missing}")));
            }
        }
    }
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
}

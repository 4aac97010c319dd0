//! Ctrl-C during training: what was done is kept, and going on gives the bytes of a run that was never disturbed.
#![cfg(unix)]

use std::fs;
use std::io::{BufRead as _, BufReader, Read as _};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, ExitStatus, Stdio};
use std::thread;
use std::time::Duration;

use crate::places::handwriting;
use crate::programs::{taskvec, told};

/// Results of a run; `timing.json` alone may differ between two runs of a recipe.
const RESULTS: [&str; 5] = ["recipe.yaml", "tuned.safetensors", "head.safetensors", "labels.json", "run.json"];

/// How often a run that ended before it could be interrupted is made longer.
const TRIES: u32 = 6;

/// The recipe for digits, shortened to so many steps.
fn shortened(folder: &Path, steps: u64) -> PathBuf {
    let text = fs::read_to_string(handwriting().join("recipes/digits.yaml")).unwrap();
    let replaced = ["epochs:", "steps:", "checkpoint_steps:"];
    let kept: Vec<&str> = text.lines().filter(|line| !replaced.iter().any(|key| line.starts_with(key))).collect();
    let path = folder.join(format!("digits-{steps}.yaml"));
    fs::write(&path, format!("{}\nsteps: {steps}\ncheckpoint_steps: 5\n", kept.join("\n"))).unwrap();
    path
}

fn train(recipe: &Path, run: &Path) -> Command {
    let mut command = taskvec();
    command.arg("train").arg(recipe).arg("--base").arg(handwriting());
    command.arg("--data").arg(handwriting().join("data/digits8x8")).arg("-o").arg(run);
    command
}

/// Waits until `is_there` or until the program has ended.
fn wait(child: &mut Child, is_there: impl Fn() -> bool) {
    while !is_there() && child.try_wait().unwrap().is_none() {
        thread::sleep(Duration::from_millis(5));
    }
}

/// Ctrl-C, and how the program ended.
fn interrupt(mut child: Child) -> ExitStatus {
    // The shell's own `kill`: the program of that name is not everywhere. One that has ended already is no failure.
    let kill = format!("kill -INT {} 2>/dev/null || true", child.id());
    assert!(Command::new("sh").args(["-c", &kill]).status().unwrap().success());
    child.wait().unwrap()
}

/// Starts training and interrupts it as soon as there is a checkpoint: during the search for the mask.
fn interrupted_at_the_first_checkpoint(recipe: &Path, run: &Path) -> Option<i32> {
    let mut child = train(recipe, run).stderr(Stdio::null()).stdout(Stdio::null()).spawn().unwrap();
    wait(&mut child, || run.join("checkpoint").exists());
    interrupt(child).code()
}

/// Goes on, and interrupts again when a checkpoint of the training itself was written.
fn interrupted_while_training(recipe: &Path, run: &Path) -> Option<i32> {
    let mut child = train(recipe, run).stderr(Stdio::piped()).stdout(Stdio::null()).spawn().unwrap();
    let mut told = BufReader::new(child.stderr.take().expect("stderr is piped"));
    let mut line = String::new();
    while line != "training\n" {
        line.clear();
        if told.read_line(&mut line).unwrap() == 0 {
            break;
        }
    }
    // Read on, so that the program never waits for us.
    let drain = thread::spawn(move || told.read_to_end(&mut Vec::new()));
    let states = || {
        let entries = fs::read_dir(run.join("checkpoint")).into_iter().flatten().flatten();
        entries.filter_map(|entry| entry.metadata().ok()?.modified().ok()).max()
    };
    let before = states();
    wait(&mut child, || states() > before);
    let code = interrupt(child).code();
    drain.join().unwrap().unwrap();
    code
}

#[test]
fn an_interrupted_training_goes_on_and_ends_with_the_same_bytes() {
    let folder = tempfile::tempdir().unwrap();
    let (recipe, run) = (0..TRIES)
        .find_map(|doubled| {
            let recipe = shortened(folder.path(), 60 << doubled);
            let run = folder.path().join(format!("interrupted-{doubled}"));
            let codes = [interrupted_at_the_first_checkpoint(&recipe, &run), interrupted_while_training(&recipe, &run)];
            // A run that ended before its interruption says 0.
            assert!(codes.iter().all(|code| matches!(code, Some(0 | 3))), "exit codes {codes:?}");
            (codes == [Some(3), Some(3)]).then_some((recipe, run))
        })
        .expect("a long run can be interrupted");
    assert!(!run.join("run.json").exists(), "an interrupted run is not finished");
    assert!(run.join("checkpoint").exists());
    told(&mut train(&recipe, &run)).ended_with(0);
    assert!(!run.join("checkpoint").exists(), "a finished run needs no checkpoint");

    let undisturbed = folder.path().join("undisturbed");
    told(&mut train(&recipe, &undisturbed)).ended_with(0);
    for name in RESULTS {
        let [found, expected] = [&run, &undisturbed].map(|folder| fs::read(folder.join(name)).unwrap());
        assert!(found == expected, "`{name}` differs");
    }
}

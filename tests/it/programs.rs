//! The two programs as a person meets them: what was typed, what they said, how they ended. And the C library, as a folder.
//!
//! They belong to other packages, for which cargo gives a test no path. So they are built here, once for all tests, into the
//! target folder that the tests themselves lie in; cargo sees to it that they are never older than their sources.

use std::path::{Path, PathBuf};
use std::process::{Child, Command, Output, Stdio};
use std::sync::OnceLock;

use serde_json::Value;

use crate::places::repository;

/// `taskvec`, in the root of the repository.
pub(super) fn taskvec() -> Command {
    program("taskvec")
}

/// `taskvec-device`, in the root of the repository, on this store.
pub(super) fn taskvec_device(store: &Path) -> Command {
    let mut command = program("taskvec-device");
    command.arg("--store").arg(store);
    command
}

/// The same program with the same arguments, started by another one: `unshare -rn`, `strace -o log`.
pub(super) fn started_by(starter: &[&str], command: &Command) -> Command {
    let (first, rest) = starter.split_first().expect("a program that starts the other");
    let mut started = Command::new(first);
    started.args(rest).arg(command.get_program()).args(command.get_args()).current_dir(repository());
    started
}

/// What a program said and how it ended.
pub(super) struct Told {
    typed: String,
    /// Exit code; none when a signal ended it.
    pub(super) code: Option<i32>,
    pub(super) stdout: String,
    pub(super) stderr: String,
}

/// Runs `command` to its end.
pub(super) fn told(command: &mut Command) -> Told {
    let output = command.output().expect("a program that was built can be started");
    Told::of(command, output)
}

/// A program that is running.
pub(super) struct Running {
    command: Command,
    child: Child,
}

/// Starts `command`.
pub(super) fn running(mut command: Command) -> Running {
    let child = command.stdout(Stdio::piped()).stderr(Stdio::piped()).spawn();
    Running { command, child: child.expect("a program that was built can be started") }
}

impl Running {
    /// What it said, once it has ended.
    pub(super) fn told(self) -> Told {
        Told::of(&self.command, self.child.wait_with_output().expect("a child can be waited for"))
    }
}

impl Told {
    /// What `command` said, which ended like this.
    pub(super) fn of(command: &Command, output: Output) -> Self {
        let text = |bytes| String::from_utf8(bytes).expect("the programs write UTF-8");
        Self {
            typed: format!("{command:?}"),
            code: output.status.code(),
            stdout: text(output.stdout),
            stderr: text(output.stderr),
        }
    }

    /// The one JSON value on stdout of a program that ended with this code.
    #[track_caller]
    pub(super) fn json(&self, code: i32) -> Value {
        self.ended_with(code);
        serde_json::from_str(&self.stdout).unwrap_or_else(|error| panic!("no JSON on stdout ({error}):\n{self}"))
    }

    /// Fails unless the program ended with this code.
    #[track_caller]
    pub(super) fn ended_with(&self, code: i32) {
        assert_eq!(self.code, Some(code), "\n{self}");
    }

    /// What is missing of a refusal: exit code 1 or 2, nothing on stdout, a line `error:` with all of `subjects`, a line
    /// `help:`.
    pub(super) fn is_no_refusal_of(&self, subjects: &[&str]) -> Option<String> {
        let line = |start: &str| self.stderr.lines().find(|line| line.starts_with(start));
        let error = line("error: ").unwrap_or_default();
        let missing = if !matches!(self.code, Some(1 | 2)) {
            "another exit code than 1 and 2".to_owned()
        } else if !self.stdout.is_empty() {
            "something on stdout".to_owned()
        } else if let Some(subject) = subjects.iter().find(|subject| !error.contains(**subject)) {
            format!("no `error:` that says `{subject}`")
        } else if line("help: ").is_none() {
            "no `help:`".to_owned()
        } else {
            return None;
        };
        Some(format!("{missing}\n{self}"))
    }

    /// Fails unless this is a refusal that names all of `subjects` and a next step.
    #[track_caller]
    pub(super) fn refused(&self, subjects: &[&str]) {
        if let Some(missing) = self.is_no_refusal_of(subjects) {
            panic!("{missing}");
        }
    }
}

impl std::fmt::Display for Told {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let Self { typed, code, stdout, stderr } = self;
        write!(f, "$ {typed}\nexit code {code:?}\n-- stdout\n{stdout}\n-- stderr\n{stderr}")
    }
}

fn program(name: &str) -> Command {
    let mut command = Command::new(folder().join(name).with_extension(std::env::consts::EXE_EXTENSION));
    command.current_dir(repository());
    command
}

/// Where the programs and the C library lie, fresh.
pub(super) fn folder() -> &'static Path {
    static FOLDER: OnceLock<PathBuf> = OnceLock::new();
    FOLDER.get_or_init(|| {
        let executable = std::env::current_exe().expect("a running test has a path");
        // target/<profile>/deps/<this test>
        let target = executable.ancestors().nth(3).expect("cargo puts tests three folders deep");
        let cargo = std::env::var_os("CARGO").unwrap_or_else(|| "cargo".into());
        let built = Command::new(cargo)
            // With the features of the workspace, like the tests: with those of a few packages burn is compiled again.
            .args(["build", "--release", "--quiet", "--workspace", "--lib"])
            .args(["--bin", "taskvec", "--bin", "taskvec-device", "--target-dir"])
            .arg(target)
            .current_dir(repository())
            .status()
            .expect("cargo, which runs this test, can be started");
        assert!(built.success(), "the programs cannot be built");
        target.join("release")
    })
}

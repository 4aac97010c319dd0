//! The README of the program says how to ask with curl; here it is asked so.

use std::fs;
use std::process::Command;

use super::started::{Started, letter, store};
use crate::places::{left_out, repository};

#[test]
fn the_curl_examples_of_the_readme_run_as_printed() {
    if Command::new("curl").arg("--version").output().is_err() {
        return left_out("no curl, which the README's examples use");
    }
    let folder = tempfile::tempdir().unwrap();
    letter(folder.path());
    let socket = folder.path().join("taskvec.sock");
    let server = Started::with(&store(folder.path()), &["--unix", socket.to_str().unwrap()]);
    let readme = fs::read_to_string(repository().join("crates/device/README.md")).unwrap();
    let commands: Vec<&str> = readme.lines().filter_map(|line| line.strip_prefix("$ curl ")).collect();
    assert!(commands.len() > 5);
    for command in &commands {
        let line = format!("curl --fail-with-body {command}");
        let output = Command::new("sh").args(["-c", &line]).current_dir(folder.path()).output().unwrap();
        let said = String::from_utf8_lossy(&output.stdout);
        assert!(output.status.success(), "{line}\n{said}\n{}", String::from_utf8_lossy(&output.stderr));
    }
    assert_eq!(server.stop()["answered"].as_u64(), Some(commands.len() as u64));
}

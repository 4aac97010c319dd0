//! A device without a network: its whole life goes by in a network namespace of its own, in which nothing can be reached,
//! and no process of it so much as asks for a socket that could leave the machine.

use std::fs;
use std::io::{BufRead as _, BufReader, Read as _, Write as _};
use std::os::unix::net::UnixStream;
use std::path::Path;
use std::process::{Command, Stdio};

use crate::places::{handwriting, has_onnxruntime, left_out};
use crate::programs::{started_by, taskvec_device, told};
use crate::small_pack::small_pack;

/// Starts a program where nothing can be reached.
const NO_NETWORK: [&str; 2] = ["unshare", "-rn"];

/// How a program is started here, and where the calls that it made are found afterwards.
struct Watch<'a> {
    /// Network calls, one a line; none where there is no strace.
    log: Option<&'a Path>,
}

impl Watch<'_> {
    fn start(&self, command: &Command) -> Command {
        let mut starter = NO_NETWORK.to_vec();
        let log = self.log.map(|log| log.to_str().expect("a path in UTF-8"));
        if let Some(log) = log {
            starter.extend(["strace", "-f", "-qq", "-A", "-e", "trace=network", "-o", log]);
        }
        started_by(&starter, command)
    }

    /// The calls for sockets that are not those of the machine itself.
    fn foreign_sockets(&self) -> Vec<String> {
        let log = self.log.map(|log| fs::read_to_string(log).expect("what strace has written")).unwrap_or_default();
        log.lines().filter(|line| line.contains("socket(") && !line.contains("AF_UNIX")).map(str::to_owned).collect()
    }
}

/// Starts a program beside itself, and asks it to end when its own input does.
const UNTIL_INPUT_ENDS: [&str; 4] = ["sh", "-c", "\"$@\" & read -r _; kill $!; wait $!", "sh"];

/// Lets `serve` answer at `socket` as long as it takes for one inference with what is in force.
fn serves(watch: &Watch<'_>, serve: &Command, socket: &Path) {
    let stopped_by_us = started_by(&UNTIL_INPUT_ENDS, serve);
    let mut server = watch.start(&stopped_by_us).stdin(Stdio::piped()).stdout(Stdio::piped()).spawn().unwrap();
    let mut said = BufReader::new(server.stdout.take().unwrap());
    // It says where it listens once it does.
    while !socket.exists() {
        assert_ne!(said.read_line(&mut String::new()).unwrap(), 0, "the server ended at once");
    }
    let body = format!("{{\"pixels\": [{}]}}", vec!["0"; 28 * 28].join(", "));
    let mut asking = UnixStream::connect(socket).unwrap();
    let request = "POST /compositions/default/infer?head=sketches HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n";
    let about_body = format!("Content-Type: application/json\r\nContent-Length: {}\r\n\r\n", body.len());
    write!(asking, "{request}{about_body}{body}").unwrap();
    let mut answer = String::new();
    asking.read_to_string(&mut answer).unwrap();
    assert!(answer.starts_with("HTTP/1.1 200 ") && answer.contains("\"label\""), "{answer}");
    drop(server.stdin.take());
    said.read_to_string(&mut String::new()).unwrap();
    assert_eq!(server.wait().unwrap().code(), Some(0));
}

fn can_start(command: &[&str]) -> bool {
    let output = Command::new(command[0]).args(&command[1..]).output();
    output.is_ok_and(|output| output.status.success())
}

#[test]
fn a_device_lives_without_a_network_and_asks_for_none() {
    if !can_start(&[&NO_NETWORK[..], &["true"]].concat()) {
        return left_out("no network namespace can be made here (`unshare -rn`)");
    }
    let folder = tempfile::tempdir().unwrap();
    let log = folder.path().join("calls");
    fs::write(&log, "").unwrap();
    let has_strace = can_start(&[&NO_NETWORK[..], &["strace", "-qq", "-o", "/dev/null", "true"]].concat());
    if !has_strace {
        left_out("no strace here: what the programs ask for is not watched, only that they do without");
    }
    let watch = Watch { log: has_strace.then_some(&log) };

    let (base, small) = (handwriting(), small_pack(folder.path(), "small", 0));
    let (sketches, pictures) = (base.join("skills/sketches.tvp"), base.join("data/quickdraw3"));
    let engines: &[&str] = if has_onnxruntime() { &["burn", "ort"] } else { &["burn"] };
    for engine in engines {
        let store = folder.path().join(engine);
        let on_store = |words: &[&str], rest: &[&Path]| {
            told(&mut watch.start(taskvec_device(&store).arg("--json").args(words).args(rest))).ended_with(0);
        };
        let on_base = |command: &str, rest: &[&Path]| {
            let mut device = taskvec_device(&store);
            device.args([command, "--json", "--allow-unsigned", "--engine", engine, "--base"]).arg(&base).args(rest);
            told(&mut watch.start(&device)).ended_with(0);
        };
        on_store(&["trust", "list"], &[]);
        on_store(&["install", "--allow-unsigned"], &[&sketches]);
        on_base("info", &[]);
        on_base("attach", &[&small]);
        on_base("attach", &[Path::new("sketches")]);
        on_base("run", &[Path::new("--head"), Path::new("sketches"), Path::new("--data"), &pictures]);
        let socket = folder.path().join(format!("{engine}.socket"));
        let mut serve = taskvec_device(&store);
        serve.args(["serve", "--json", "--allow-unsigned", "--engine", engine, "--base"]).arg(&base);
        serves(&watch, serve.arg("--unix").arg(&socket), &socket);
        on_base("detach", &[Path::new("small")]);
        on_store(&["rollback"], &[]);
        on_base("doctor", &[]);
        on_base("detach", &[Path::new("sketches")]);
        on_store(&["remove", "sketches"], &[]);
        on_store(&["gc"], &[]);
        on_store(&["list"], &[]);
    }
    assert_eq!(watch.foreign_sockets(), Vec::<String>::new(), "a socket of another family than AF_UNIX");

    // The watch sees what it watches for; bash opens such a socket, and nothing answers.
    let mut reaching = Command::new("bash");
    reaching.args(["-c", ": < /dev/tcp/127.0.0.1/9"]);
    assert_ne!(told(&mut watch.start(&reaching)).code, Some(0), "something was reached without a network");
    assert_eq!(watch.foreign_sockets().is_empty(), !has_strace);
}

//! A server of the real program on the handwriting base, with the engine that is always there unless another is named.

use std::fs;
use std::io::BufReader;
use std::path::{Path, PathBuf};
use std::process::{Child, ChildStdout, Command, Stdio};

use serde_json::de::IoRead;
use serde_json::{Deserializer, StreamDeserializer, Value, json};

use super::client::{Door, Request, Response};
use crate::places::handwriting;
use crate::programs::{taskvec_device, told};

/// A server that runs, and ends with the test.
pub(super) struct Started {
    child: Child,
    said: StreamDeserializer<'static, IoRead<BufReader<ChildStdout>>, Value>,
    pub(super) door: Door,
    /// What it said when its door was open.
    pub(super) opened: Value,
}

impl Started {
    /// On a free port of the loopback, with some more options.
    pub(super) fn on(store: &Path, options: &[&str]) -> Self {
        let http = ["--http", "127.0.0.1:0"];
        Self::with(store, &[&http, options].concat())
    }

    /// With these options, which say where it listens.
    pub(super) fn with(store: &Path, options: &[&str]) -> Self {
        Self::by(serve(store, options))
    }

    /// With another engine, on a free port of the loopback.
    pub(super) fn on_engine(engine: &str, store: &Path) -> Self {
        Self::by(serve_on(engine, store, &["--http", "127.0.0.1:0"]))
    }

    fn by(mut command: Command) -> Self {
        let mut child = command.stdout(Stdio::piped()).spawn().expect("a program that was built can be started");
        let stdout = BufReader::new(child.stdout.take().expect("stdout is piped"));
        let mut said = Deserializer::from_reader(stdout).into_iter::<Value>();
        let opened = said.next().and_then(Result::ok);
        let Some(opened) = opened else {
            panic!("the server ended at once: {:?}", child.wait());
        };
        let door = Door::said(opened["listening"].as_str().expect("an address"));
        Self { child, said, door, opened }
    }

    #[track_caller]
    pub(super) fn ask(&self, request: &Request) -> Response {
        self.door.ask(request)
    }

    #[track_caller]
    pub(super) fn get(&self, path: &str) -> Value {
        self.ask(&Request::get(path)).json(200)
    }

    #[track_caller]
    pub(super) fn post(&self, path: &str, body: &Value) -> Value {
        self.ask(&Request::json("POST", path, body)).json(200)
    }

    /// Replaces everything in a composition; says what is in force then.
    #[track_caller]
    pub(super) fn put(&self, composition: &str, skills: &Value) -> Value {
        let request = Request::json("PUT", &format!("/compositions/{composition}"), &json!({"skills": skills}));
        let response = self.ask(&request);
        response.json(if response.status == 201 { 201 } else { 200 })["composition"].clone()
    }

    /// Sends it a signal, by name.
    pub(super) fn signal(&self, name: &str) {
        // The shell's own `kill`: the program of that name is not everywhere.
        let kill = format!("kill -{name} {}", self.child.id());
        assert!(Command::new("sh").args(["-c", &kill]).status().unwrap().success());
    }

    /// Waits for its end after a signal, which must be a good one; says what became of its requests.
    #[track_caller]
    pub(super) fn ended(mut self) -> Value {
        let ended = self.said.next().expect("it says how it ended").unwrap();
        assert_eq!(self.child.wait().unwrap().code(), Some(0));
        ended
    }

    #[track_caller]
    pub(super) fn stop(self) -> Value {
        self.signal("TERM");
        self.ended()
    }
}

impl Drop for Started {
    fn drop(&mut self) {
        // It has ended already when the test went well.
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// The command, for those that are refused.
pub(super) fn serve(store: &Path, options: &[&str]) -> Command {
    serve_on("burn", store, options)
}

fn serve_on(engine: &str, store: &Path, options: &[&str]) -> Command {
    let mut command = taskvec_device(store);
    command.args(["serve", "--json", "--engine", engine, "--allow-unsigned", "--base"]);
    command.arg(handwriting()).args(options);
    command
}

/// A store with the two skills of the repository, none of them in force.
pub(super) fn store(folder: &Path) -> PathBuf {
    let store = folder.join("store");
    for name in ["korean", "sketches"] {
        let pack = handwriting().join(format!("skills/{name}.tvp"));
        told(taskvec_device(&store).args(["install", "--allow-unsigned"]).arg(pack)).ended_with(0);
    }
    store
}

/// Numbers for so many images, each image another and each value another: not drawn at random, and nobody's letters.
pub(super) fn pixels(image_count: usize) -> Vec<f32> {
    (0..image_count * 784).map(|index| ((index * 7919 % 1009) as f32 / 504.0) - 1.0).collect()
}

pub(super) fn floats(pixels: &[f32]) -> Vec<u8> {
    pixels.iter().flat_map(|pixel| pixel.to_le_bytes()).collect()
}

/// A request for the answers of the base's own head.
pub(super) fn infer(composition: &str, image_count: usize) -> Request {
    Request::of("POST", &format!("/compositions/{composition}/infer?head=handwriting"))
        .with_body("application/octet-stream", floats(&pixels(image_count)))
}

/// A picture of 40 x 30 gray pixels, in a file.
pub(super) fn letter(folder: &Path) -> PathBuf {
    let path = folder.join("letter.png");
    image::GrayImage::from_fn(40, 30, |x, y| image::Luma([((x * 13 + y * 29) % 256) as u8])).save(&path).unwrap();
    fs::write(folder.join("pixels.f32"), floats(&pixels(2))).unwrap();
    path
}

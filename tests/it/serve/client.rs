//! A client that can also say what no client should: HTTP/1.1 by hand, over TCP or a Unix socket, a connection a request.

use std::io::{self, Read, Write};
use std::net::TcpStream;
use std::os::unix::net::UnixStream;
use std::path::PathBuf;

use serde_json::Value;

/// Where a server listens.
#[derive(Clone, Debug)]
pub(super) enum Door {
    Tcp(String),
    Unix(PathBuf),
}

pub(super) trait Connection: Read + Write {}

impl<T: Read + Write> Connection for T {}

/// What was answered.
#[derive(Debug)]
pub(super) struct Response {
    pub(super) status: u16,
    head: String,
    pub(super) body: Vec<u8>,
}

/// A request; its defaults are what an honest client says.
#[derive(Clone, Debug)]
pub(super) struct Request {
    method: &'static str,
    path: String,
    host: String,
    headers: String,
    body: Vec<u8>,
}

impl Request {
    pub(super) fn of(method: &'static str, path: &str) -> Self {
        let (path, host) = (path.to_owned(), "localhost".to_owned());
        Self { method, path, host, headers: String::new(), body: Vec::new() }
    }

    pub(super) fn get(path: &str) -> Self {
        Self::of("GET", path)
    }

    /// With a body of JSON.
    pub(super) fn json(method: &'static str, path: &str, body: &Value) -> Self {
        Self::of(method, path).with_body("application/json", body.to_string())
    }

    pub(super) fn with_body(mut self, content_type: &str, body: impl Into<Vec<u8>>) -> Self {
        self.body = body.into();
        self.with_header("Content-Type", content_type)
    }

    pub(super) fn with_header(mut self, name: &str, value: &str) -> Self {
        self.headers += &format!("{name}: {value}\r\n");
        self
    }

    pub(super) fn with_host(self, host: &str) -> Self {
        Self { host: host.to_owned(), ..self }
    }

    /// Its bytes, as they are sent.
    pub(super) fn bytes(&self) -> Vec<u8> {
        let Self { method, path, host, headers, body } = self;
        let length = body.len();
        let head = format!(
            "{method} {path} HTTP/1.1\r\nHost: {host}\r\nConnection: close\r\n{headers}Content-Length: {length}\r\n\r\n"
        );
        [head.as_bytes(), body].concat()
    }
}

impl Door {
    /// As a server says that it listens.
    pub(super) fn said(listening: &str) -> Self {
        match listening.strip_prefix("unix:") {
            Some(path) => Self::Unix(path.into()),
            None => Self::Tcp(listening.strip_prefix("http://").expect("an address").to_owned()),
        }
    }

    pub(super) fn connect(&self) -> io::Result<Box<dyn Connection>> {
        Ok(match self {
            Self::Tcp(address) => Box::new(TcpStream::connect(address)?),
            Self::Unix(path) => Box::new(UnixStream::connect(path)?),
        })
    }

    /// The answer, whole, or why there is none.
    pub(super) fn try_ask(&self, request: &Request) -> io::Result<Response> {
        let mut connection = self.connect()?;
        // A server may refuse before it has read everything; what it said counts.
        let sent = connection.write_all(&request.bytes());
        Response::read(&mut *connection).map_err(|cause| sent.err().unwrap_or(cause))
    }

    #[track_caller]
    pub(super) fn ask(&self, request: &Request) -> Response {
        self.try_ask(request).unwrap_or_else(|cause| panic!("no answer to {request:?}: {cause}"))
    }
}

impl Response {
    /// Reads to the end of the connection. An answer that is cut short is an error.
    pub(super) fn read(connection: &mut dyn Connection) -> io::Result<Self> {
        let mut bytes = Vec::new();
        let ended = connection.read_to_end(&mut bytes);
        let cut = || io::Error::new(io::ErrorKind::UnexpectedEof, format!("{ended:?} after {} bytes", bytes.len()));
        let end = bytes.windows(4).position(|window| window == b"\r\n\r\n").ok_or_else(cut)?;
        let head = String::from_utf8(bytes[..end].to_vec()).expect("a head is text");
        let status = head.split(' ').nth(1).and_then(|status| status.parse().ok()).expect("a status line");
        let response = Self { status, head, body: bytes[end + 4..].to_vec() };
        match response.header("content-length").map(|length| length.parse::<usize>().expect("a number")) {
            Some(length) if length != response.body.len() => Err(cut()),
            _ => Ok(response),
        }
    }

    pub(super) fn header(&self, name: &str) -> Option<&str> {
        let lines = self.head.lines().skip(1).filter_map(|line| line.split_once(": "));
        lines.into_iter().find(|(found, _)| found.eq_ignore_ascii_case(name)).map(|(_, value)| value)
    }

    pub(super) fn text(&self) -> &str {
        std::str::from_utf8(&self.body).expect("a text")
    }

    /// The JSON of an answer with this status.
    #[track_caller]
    pub(super) fn json(&self, status: u16) -> Value {
        assert_eq!(self.status, status, "{}\n{}", self.head, String::from_utf8_lossy(&self.body));
        assert_eq!(self.header("content-type"), Some("application/json"), "{}", self.head);
        serde_json::from_slice(&self.body).expect("JSON")
    }

    /// What is missing of a refusal with this status that says this; nothing if it is one.
    pub(super) fn is_no_refusal(&self, status: u16, says: &str) -> Option<String> {
        let body: Value = serde_json::from_slice(&self.body).unwrap_or_default();
        let error = body["error"].as_str().unwrap_or_default();
        let is_whole =
            self.status == status && error.contains(says) && body["help"].is_string() && body["kind"].is_string();
        (!is_whole).then(|| format!("expected {status} `{says}`, found {}\n{}", self.head, self.text()))
    }
}

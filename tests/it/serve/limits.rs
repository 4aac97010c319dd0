//! What is refused, and that nobody who is slow or greedy keeps others from being answered.

use std::sync::atomic::{AtomicBool, Ordering};
use std::thread;

use serde_json::json;

use super::client::{Connection, Request, Response};
use super::started::{Started, floats, infer, pixels, store};

#[test]
fn what_is_wrong_is_refused_with_its_status_and_a_next_step() {
    let folder = tempfile::tempdir().unwrap();
    let server = Started::on(&store(folder.path()), &["--body-bytes-max", "65536", "--compositions-max", "2"]);
    let before = server.put("default", &json!([{"pack": "korean"}]));
    server.put("beside", &json!([]));
    let infer_with = |content_type: &str, body: &[u8]| {
        Request::of("POST", "/compositions/default/infer").with_body(content_type, body)
    };
    let post = |path: &str, body: &str| {
        Request::of("POST", &format!("/compositions/default/{path}")).with_body("application/json", body)
    };
    let put = |path: &str, body: &str| Request::of("PUT", path).with_body("application/json", body);
    let mut not_a_number = floats(&pixels(1));
    not_a_number[..4].copy_from_slice(&f32::NAN.to_le_bytes());
    let beyond = floats(&[3e38; 784]);
    let cases = [
        (Request::get("/nothing"), 404, "`/nothing`"),
        (Request::get("/compositions/nobody"), 404, "`nobody`"),
        (Request::get("/compositions/a%20b"), 400, "no name of a composition"),
        (Request::get("/compositions/%FF"), 400, "no name of a composition"),
        (Request::of("DELETE", "/compositions/nobody"), 404, "`nobody`"),
        (Request::of("DELETE", "/compositions/default"), 400, "cannot be removed"),
        (Request::of("POST", "/compositions/default"), 405, "does not take POST"),
        (Request::get("/compositions/default/infer"), 405, "does not take GET"),
        (Request::of("POST", "/compositions/default/infer"), 415, "no content type"),
        (infer_with("text/plain", b"1"), 415, "`text/plain`"),
        (infer_with("application/json", b"{\"pixels\": [1,"), 400, "EOF"),
        (infer_with("application/json", b"{\"pixels\": [NaN]}"), 400, "expected value"),
        (infer_with("application/json", b"{\"pixels\": [1]}"), 400, "1 numbers, expected a multiple of 784"),
        (infer_with("application/octet-stream", &not_a_number), 400, "number 0 of the body is NaN"),
        (infer_with("application/octet-stream", &[0; 100]), 400, "25 numbers"),
        (infer_with("application/octet-stream", &beyond), 422, "not finite"),
        (infer_with("application/octet-stream", &floats(&pixels(17))), 413, "12544 numbers"),
        (infer_with("application/octet-stream", &[0; 65_537]), 413, "65536 bytes"),
        (infer_with("image/png", b"no picture"), 400, "cannot be decoded"),
        (
            Request::of("POST", "/compositions/default/infer?head=x").with_body("image/png", ""),
            400,
            "cannot be decoded",
        ),
        (Request::of("POST", "/compositions/default/infer?heads=x"), 400, "`heads`"),
        (infer("nobody", 1), 404, "`nobody`"),
        (post("attach", "{}"), 400, "missing field `pack`"),
        (post("attach", r#"{"pack": "korean", "alpha": 1e39}"#), 400, "out of range"),
        (post("attach", r#"{"pack": "korean"}"#), 400, "in force already"),
        (post("attach", r#"{"pack": "better"}"#), 404, "`better` is installed"),
        (post("attach", r#"{"pack": ""}"#), 404, "`` is installed"),
        (post("attach", r#"{"pack": "sketches", "alpha": 0, "more": 1}"#), 400, "unknown field `more`"),
        (post("detach", r#"{"skill": "sketches"}"#), 404, "`sketches` is in force"),
        (post("alpha", r#"{"skill": "korean"}"#), 400, "missing field `alpha`"),
        (
            put("/compositions/default", r#"{"skills": [{"pack": "korean"}, {"pack": "korean"}]}"#),
            400,
            "in force already",
        ),
        (put("/compositions/third", r#"{"skills": []}"#), 409, "2 compositions"),
        (Request::of("PUT", "/compositions/beside"), 415, "no content type"),
    ];
    let wrong: Vec<String> = cases
        .iter()
        .filter_map(|(request, status, says)| {
            server.ask(request).is_no_refusal(*status, says).map(|why| format!("{request:?}: {why}"))
        })
        .collect();
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
    let shown = server.get("/compositions/default");
    assert_eq!([&shown["digest"], &shown["skills"]], [&before["digest"], &before["skills"]], "nothing has changed");
    server.stop();
}

#[test]
fn who_finds_no_seat_is_told_to_come_back() {
    let folder = tempfile::tempdir().unwrap();
    let server = Started::on(folder.path(), &["--workers", "1", "--queue", "0"]);
    let expected = server.ask(&infer("default", 16)).json(200);
    let is_refused = AtomicBool::new(false);
    let ask_until_refused = || {
        while !is_refused.load(Ordering::Relaxed) {
            let response = server.ask(&infer("default", 16));
            if response.status == 200 {
                assert_eq!(response.json(200), expected);
            } else {
                assert_eq!(response.is_no_refusal(503, "waiting"), None);
                assert_eq!(response.header("retry-after"), Some("1"));
                is_refused.store(true, Ordering::Relaxed);
            }
        }
    };
    thread::scope(|scope| {
        for _ in 0..4 {
            scope.spawn(ask_until_refused);
        }
    });
    server.ask(&infer("default", 16)).json(200);
    server.stop();
}

/// Connects and sends all but the last byte of a request.
fn almost_sent(server: &Started, request: &Request) -> Box<dyn Connection> {
    let mut connection = server.door.connect().unwrap();
    let bytes = request.bytes();
    connection.write_all(&bytes[..bytes.len() - 1]).unwrap();
    connection
}

/// Sends the last byte and reads the answer.
fn finished(mut connection: Box<dyn Connection>, request: &Request) -> Response {
    let bytes = request.bytes();
    // Who was refused already may find the connection closed; what was said counts.
    let _ = connection.write_all(&bytes[bytes.len() - 1..]);
    Response::read(&mut *connection).unwrap()
}

#[test]
fn slow_clients_hold_no_worker_and_are_answered_in_the_end() {
    let folder = tempfile::tempdir().unwrap();
    let server = Started::on(folder.path(), &["--workers", "1", "--queue", "0", "--patience", "3600"]);
    let request = infer("default", 2);
    let expected = server.ask(&request).json(200);
    let slow: Vec<_> = (0..8).map(|_| almost_sent(&server, &request)).collect();
    for _ in 0..4 {
        assert_eq!(server.ask(&request).json(200), expected);
    }
    for connection in slow {
        assert_eq!(finished(connection, &request).json(200), expected);
    }
    server.stop();
}

#[test]
fn bodies_have_room_for_what_has_arrived_and_no_more() {
    let folder = tempfile::tempdir().unwrap();
    let options = ["--body-bytes-max", "65536", "--patience", "3600"];
    let server = Started::on(folder.path(), &options);
    // 50,176 bytes each, and room for 262,144: not all of them fit.
    let request = infer("default", 16);
    let refused = || {
        let slow: Vec<_> = (0..6).map(|_| almost_sent(&server, &request)).collect();
        server.get("/healthz");
        let answered = slow.into_iter().map(|connection| finished(connection, &request));
        answered.filter(|response| response.status != 200).collect::<Vec<_>>()
    };
    // The server may not have read all of them before the first one is finished and gives its room back.
    let refused = std::iter::repeat_with(refused).find(|refused| !refused.is_empty()).expect("it goes on until then");
    for response in refused {
        assert_eq!(response.is_no_refusal(503, "no room"), None);
    }
    server.ask(&request).json(200);
    let ended = server.stop();
    assert_eq!(ended["answered"], ended["requests"]);
}

#[test]
fn a_body_without_a_length_is_cut_at_the_limit() {
    let folder = tempfile::tempdir().unwrap();
    let server = Started::on(folder.path(), &["--body-bytes-max", "65536"]);
    let mut connection = server.door.connect().unwrap();
    let head = "POST /compositions/default/infer HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\
                Content-Type: application/octet-stream\r\nTransfer-Encoding: chunked\r\n\r\n";
    connection.write_all(head.as_bytes()).unwrap();
    let chunk = [b"4000\r\n".as_slice(), &[0; 0x4000], b"\r\n"].concat();
    for _ in 0..5 {
        // The server may have refused already.
        let _ = connection.write_all(&chunk);
    }
    let refused = Response::read(&mut *connection).unwrap();
    assert_eq!(refused.is_no_refusal(413, "65536 bytes"), None);
    server.stop();
}

#[test]
fn whoever_is_too_slow_is_let_go() {
    let folder = tempfile::tempdir().unwrap();
    let server = Started::on(folder.path(), &["--patience", "1", "--connections-max", "3"]);
    let request = infer("default", 1);
    let mut no_head = server.door.connect().unwrap();
    no_head.write_all(b"GET /healthz HTTP/1.1\r\nHost: local").unwrap();
    let mut nothing = server.door.connect().unwrap();
    let mut no_body = almost_sent(&server, &request);
    // All places are taken; this one comes in when one of them is let go.
    server.ask(&request).json(200);
    assert!(Response::read(&mut *no_head).is_err());
    assert!(Response::read(&mut *nothing).is_err());
    assert_eq!(Response::read(&mut *no_body).unwrap().is_no_refusal(408, "within 1 s"), None);
    server.stop();
}

//! Many clients at once: while compositions change, and while the server stops.

use std::collections::BTreeMap;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::thread;
use std::time::{Duration, Instant};

use serde_json::{Value, json};

use super::client::{Request, Response};
use super::started::{Started, infer, store};

const CLIENTS: usize = 4;
/// Changes of `default` during the storm.
const CHANGES: usize = 120;

/// What is put in force in turn.
fn compositions() -> Vec<Value> {
    vec![
        json!([]),
        json!([{"pack": "korean"}]),
        json!([{"pack": "korean", "alpha": 0.5}, {"pack": "sketches"}]),
        json!([{"pack": "sketches", "alpha": -0.25}]),
        json!([{"pack": "korean", "alpha": 2}, {"pack": "sketches", "alpha": 0.125}]),
    ]
}

/// The answers of each composition by its digest, from a session that knew no other.
fn known_answers(server: &Started) -> BTreeMap<String, Value> {
    let mut known = BTreeMap::new();
    for skills in compositions() {
        let composition = server.put("fresh", &skills);
        let answered = server.ask(&infer("fresh", 2)).json(200);
        assert_eq!(answered["composition"], composition["digest"]);
        known.insert(composition["digest"].as_str().unwrap().to_owned(), answered["answers"].clone());
        server.ask(&Request::of("DELETE", "/compositions/fresh")).json(200);
    }
    assert_eq!(known.len(), compositions().len());
    known
}

#[test]
fn every_answer_is_that_of_the_digest_it_carries_whatever_changes() {
    let folder = tempfile::tempdir().unwrap();
    let server = Started::on(&store(folder.path()), &[]);
    let known = known_answers(&server);
    let is_over = AtomicBool::new(false);
    let seen: Vec<BTreeMap<String, u64>> = thread::scope(|scope| {
        let client = || {
            let mut seen = BTreeMap::new();
            while !is_over.load(Ordering::Relaxed) {
                let answered = server.ask(&infer("default", 2)).json(200);
                let digest = answered["composition"].as_str().unwrap();
                assert_eq!(Some(&answered["answers"]), known.get(digest), "{digest}");
                *seen.entry(digest.to_owned()).or_default() += 1;
            }
            seen
        };
        let clients: Vec<_> = (0..CLIENTS).map(|_| scope.spawn(client)).collect();
        for skills in compositions().iter().cycle().take(CHANGES) {
            let composition = server.put("default", skills);
            let answered = server.ask(&infer("default", 2)).json(200);
            assert_eq!(answered["composition"], composition["digest"], "nobody else changes it");
        }
        is_over.store(true, Ordering::Relaxed);
        clients.into_iter().map(|client| client.join().expect("every answer is right")).collect()
    });
    let together: BTreeMap<&String, u64> =
        seen.iter().flatten().fold(BTreeMap::new(), |mut together, (digest, count)| {
            *together.entry(digest).or_default() += count;
            together
        });
    assert!(together.len() > 1, "the clients saw changes: {together:?}");
    let ended = server.stop();
    assert_eq!(ended["answered"], ended["requests"]);
}

#[test]
fn whoever_was_let_in_is_answered_when_the_server_stops() {
    let folder = tempfile::tempdir().unwrap();
    for (signal, http) in [("TERM", true), ("INT", false)] {
        let socket = folder.path().join("socket");
        let unix = ["--unix", socket.to_str().unwrap()];
        let server = Started::with(folder.path(), if http { &["--http", "127.0.0.1:0"] } else { &unix });
        let expected = server.ask(&infer("default", 4)).json(200);
        let door = server.door.clone();
        let answered = AtomicU64::new(1);
        let ended = thread::scope(|scope| {
            for _ in 0..8 {
                scope.spawn(|| {
                    // An answer that is cut short is an error too, and then the counts differ.
                    while let Ok(response) = door.try_ask(&infer("default", 4)) {
                        assert_eq!(response.json(200), expected);
                        answered.fetch_add(1, Ordering::Relaxed);
                    }
                });
            }
            while answered.load(Ordering::Relaxed) < 20 {
                thread::yield_now();
            }
            server.signal(signal);
            server.ended()
        });
        let answered = answered.load(Ordering::Relaxed);
        assert_eq!(ended, json!({"requests": answered, "answered": answered, "abandoned": 0}), "{signal}");
        assert!(door.connect().is_err());
    }
}

#[test]
fn whoever_came_in_before_the_signal_may_still_ask() {
    let folder = tempfile::tempdir().unwrap();
    let server = Started::on(folder.path(), &["--patience", "3600"]);
    let ask = |request: &Request| {
        let mut connection = server.door.connect().unwrap();
        let bytes = request.bytes();
        connection.write_all(&bytes[..20]).unwrap();
        (connection, bytes[20..].to_vec())
    };
    let asking = [ask(&Request::get("/healthz")), ask(&Request::get("/readyz"))];
    server.signal("TERM");
    while server.door.connect().is_ok() {
        thread::yield_now();
    }
    let [alive, ready] = asking.map(|(mut connection, rest)| {
        connection.write_all(&rest).unwrap();
        Response::read(&mut *connection).unwrap()
    });
    alive.json(200);
    assert_eq!(ready.json(503)["error"], "the server is stopping");
    server.ended();
}

#[test]
fn a_client_that_goes_away_is_counted_and_harms_nobody() {
    let folder = tempfile::tempdir().unwrap();
    let server = Started::on(folder.path(), &["--workers", "1"]);
    for _ in 0..20 {
        let mut connection = server.door.connect().unwrap();
        connection.write_all(&infer("default", 16).bytes()).unwrap();
    }
    server.ask(&infer("default", 1)).json(200);
    let ended = server.stop();
    let count = |name: &str| ended[name].as_u64().unwrap();
    assert_eq!(count("requests"), count("answered") + count("abandoned"), "{ended}");
}

/// `just bench-serve` prints it. Requests of one image on connections of their own, from as many clients as the machine has
/// cores; then the same while `default` is swapped every 100 ms.
#[test]
#[ignore = "a minute: prints requests per second and latency, with and without swaps"]
fn requests_per_second_and_latency() {
    let folder = tempfile::tempdir().unwrap();
    let server = Started::on(&store(folder.path()), &[]);
    let clients = thread::available_parallelism().map_or(1, usize::from);
    let run = |swaps: bool| {
        let is_over = AtomicBool::new(false);
        let started = Instant::now();
        let mut times: Vec<Duration> = thread::scope(|scope| {
            let client = || {
                let mut times = Vec::new();
                for _ in 0..2000 {
                    let asked = Instant::now();
                    server.ask(&infer("default", 1)).json(200);
                    times.push(asked.elapsed());
                }
                times
            };
            let handles: Vec<_> = (0..clients).map(|_| scope.spawn(client)).collect();
            if swaps {
                scope.spawn(|| {
                    for skills in compositions().iter().cycle() {
                        if is_over.load(Ordering::Relaxed) {
                            return;
                        }
                        server.put("default", skills);
                        thread::sleep(Duration::from_millis(100));
                    }
                });
            }
            let times = handles.into_iter().flat_map(|handle| handle.join().unwrap()).collect();
            is_over.store(true, Ordering::Relaxed);
            times
        });
        let per_second = times.len() as f64 / started.elapsed().as_secs_f64();
        times.sort_unstable();
        let ms = |share: f64| times[((times.len() - 1) as f64 * share) as usize].as_secs_f64() * 1e3;
        let (p50, p99, worst) = (ms(0.5), ms(0.99), ms(1.0));
        let what = if swaps { "a swap every 100 ms" } else { "no swaps" };
        println!("{what}: {per_second:.0} requests/s, p50 {p50:.2} ms, p99 {p99:.2} ms, worst {worst:.2} ms");
    };
    run(false);
    run(true);
    server.stop();
}

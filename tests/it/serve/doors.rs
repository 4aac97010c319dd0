//! Who is let in: addresses, sockets, hosts, pages, tokens.

use std::fs;
use std::os::unix::fs::{FileTypeExt as _, PermissionsExt as _};
use std::os::unix::net::UnixListener;

use super::client::Request;
use super::started::{Started, serve};
use crate::programs::told;

#[test]
fn an_address_beyond_the_loopback_is_refused() {
    let folder = tempfile::tempdir().unwrap();
    for address in ["0.0.0.0:0", "192.0.2.1:80", "[::]:0"] {
        told(&mut serve(folder.path(), &["--http", address])).refused(&[address, "loopback"]);
    }
    told(&mut serve(folder.path(), &[])).ended_with(2);
    told(&mut serve(folder.path(), &["--http", "127.0.0.1:0", "--unix", "socket"])).ended_with(2);
}

#[test]
fn a_unix_socket_is_its_owners_and_goes_with_the_server() {
    let folder = tempfile::tempdir().unwrap();
    let socket = folder.path().join("socket");
    let unix = ["--unix", socket.to_str().unwrap()];
    // A server that died has left its socket.
    drop(UnixListener::bind(&socket).unwrap());
    let server = Started::with(folder.path(), &unix);
    let metadata = fs::symlink_metadata(&socket).unwrap();
    assert!(metadata.file_type().is_socket());
    assert_eq!(metadata.permissions().mode() & 0o777, 0o600);
    assert_eq!(server.get("/healthz")["status"], "alive");
    let any_host = Request::get("/healthz").with_host("device.example");
    server.ask(&any_host).json(200);

    told(&mut serve(folder.path(), &unix)).refused(&["a server listens", "socket"]);
    assert_eq!(server.get("/healthz")["status"], "alive", "who was there stays");
    server.stop();
    let left: Vec<_> = fs::read_dir(folder.path()).unwrap().map(|entry| entry.unwrap().file_name()).collect();
    assert!(!left.iter().any(|name| name == "socket" || name.to_string_lossy().starts_with('.')), "{left:?}");

    fs::write(&socket, "somebody's").unwrap();
    told(&mut serve(folder.path(), &unix)).refused(&["is no socket"]);
    assert_eq!(fs::read(&socket).unwrap(), b"somebody's");
}

#[test]
fn a_socket_that_another_server_has_taken_is_left_alone() {
    let folder = tempfile::tempdir().unwrap();
    let socket = folder.path().join("socket");
    let server = Started::with(folder.path(), &["--unix", socket.to_str().unwrap()]);
    fs::remove_file(&socket).unwrap();
    let _other = UnixListener::bind(&socket).unwrap();
    server.stop();
    assert!(socket.exists());
}

#[test]
fn a_request_names_the_loopback_and_comes_from_no_page() {
    let folder = tempfile::tempdir().unwrap();
    let server = Started::on(folder.path(), &[]);
    for host in ["localhost", "127.0.0.1:80", "[::1]", "LOCALHOST:8080"] {
        server.ask(&Request::get("/healthz").with_host(host)).json(200);
    }
    let wrong = [
        Request::get("/healthz").with_host("evil.example"),
        Request::get("/healthz").with_host("localhost.evil.example:80"),
        Request::get("/healthz").with_host(""),
        Request::get("http://evil.example/healthz"),
        Request::get("/healthz").with_header("Host", "evil.example"),
        Request::of("DELETE", "/compositions/default").with_host("evil.example"),
        Request::get("/healthz").with_header("Origin", "http://localhost:8080"),
        Request::get("/healthz").with_header("Origin", "null"),
    ];
    let let_in: Vec<String> = wrong
        .iter()
        .map(|request| (request, server.ask(request)))
        .filter(|(_, response)| response.status != 403)
        .map(|(request, response)| format!("{request:?}: {response:?}"))
        .collect();
    assert!(let_in.is_empty(), "{}", let_in.join("\n"));
    assert_eq!(server.ask(&wrong[0]).is_no_refusal(403, "`evil.example`"), None);
    // A page asks first before it sends what is accepted here, and hears no yes.
    let asking =
        Request::of("OPTIONS", "/compositions/default/infer").with_header("Access-Control-Request-Method", "POST");
    let response = server.ask(&asking);
    assert_eq!((response.status, response.header("access-control-allow-origin")), (405, None));
    server.stop();
}

#[test]
fn a_token_keeps_everybody_else_out() {
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("token");
    let options = ["--token-file", file.to_str().unwrap()];
    let with_http = [&["--http", "127.0.0.1:0"], &options[..]].concat();
    let token = "0123456789abcdef0123456789abcdef";
    fs::write(&file, format!("{token}\n")).unwrap();
    fs::set_permissions(&file, fs::Permissions::from_mode(0o640)).unwrap();
    told(&mut serve(folder.path(), &with_http)).refused(&["mode 640"]);
    fs::set_permissions(&file, fs::Permissions::from_mode(0o600)).unwrap();

    let server = Started::on(folder.path(), &options);
    let carrying = |value: &str| Request::get("/healthz").with_header("Authorization", value);
    server.ask(&carrying(&format!("Bearer {token}"))).json(200);
    server.ask(&carrying(&format!("bearer {token}"))).json(200);
    let longer = format!("Bearer {token}0");
    for value in ["", "Bearer", "Bearer ", &longer, &longer[..30], token, "Basic 0123456789abcdef0123456789abcdef"] {
        let refused = server.ask(&carrying(value));
        assert_eq!(refused.is_no_refusal(401, "no valid token"), None, "{value}");
        assert_eq!(refused.header("www-authenticate"), Some("Bearer"));
    }
    for path in ["/healthz", "/metrics", "/compositions", "/nothing"] {
        server.ask(&Request::get(path)).json(401);
    }
    server.stop();

    for wrong in ["", "short", "0123456789abcdef 0123456789abcdef"] {
        fs::write(&file, wrong).unwrap();
        told(&mut serve(folder.path(), &with_http)).refused(&["token file"]);
    }
}

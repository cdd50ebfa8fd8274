//! Tests of the whole engine with a server that sends scripted responses.

use std::io::{BufRead as _, BufReader, Read as _, Write as _};
use std::net::{TcpListener, TcpStream};
use std::sync::{Arc, Mutex};
use std::thread;
use std::time::{Duration, Instant};

use ociserver_core::digest::Algorithm;
use ociserver_core::hash::digest_of;
use ociserver_load::content::Content;
use ociserver_load::{Body, Load, Origin, Report, Step, Target};

/// The received requests: request line and body.
type Asked = Arc<Mutex<Vec<(String, Vec<u8>)>>>;

/// Returns the response to a request line, and whether to keep the connection open.
type Script = fn(&str) -> (&'static str, bool);

/// Serve until the process ends. Returns the port, and the requests that the server receives.
fn server(respond: Script) -> (u16, Asked) {
    let listener = TcpListener::bind("127.0.0.1:0").expect("binds");
    let port = listener.local_addr().expect("is bound").port();
    let asked = Asked::default();
    let seen = asked.clone();
    thread::spawn(move || {
        for stream in listener.incoming().flatten() {
            let seen = seen.clone();
            thread::spawn(move || serve(&stream, respond, &seen));
        }
    });
    (port, asked)
}

fn serve(stream: &TcpStream, respond: Script, asked: &Asked) -> Option<()> {
    let mut reader = BufReader::new(stream);
    loop {
        let (mut first, mut length) = (String::new(), 0);
        reader.read_line(&mut first).ok().filter(|read| *read > 0)?;
        loop {
            let mut line = String::new();
            reader.read_line(&mut line).ok()?;
            if let Some(value) = line.strip_prefix("Content-Length: ") {
                length = value.trim().parse().ok()?;
            }
            if line == "\r\n" {
                break;
            }
        }
        let mut body = vec![0; length];
        reader.read_exact(&mut body).ok()?;
        let first = first.trim().to_owned();
        let (text, goes_on) = respond(&first);
        asked.lock().ok()?.push((first, body));
        (&mut &*stream).write_all(text.as_bytes()).ok()?;
        if !goes_on {
            return None;
        }
    }
}

fn step(method: &str, target: Target, body: Body, expect: u16) -> Arc<Step> {
    let headers = Vec::new();
    Arc::new(Step { method: method.into(), target, headers, body, expect: vec![expect], digest: None })
}

fn get(path: &str) -> Arc<Step> {
    step("GET", Target::Path(path.into()), Body::None, 200)
}

fn origin(port: u16) -> Arc<Origin> {
    Arc::new(Origin::new("127.0.0.1", port, &format!("127.0.0.1:{port}"), false).expect("is an address"))
}

fn load(port: u16, operations: Vec<Vec<Arc<Step>>>, repeat: bool) -> Arc<Load> {
    Arc::new(Load::new(origin(port), &[], operations, repeat, false))
}

fn once(port: u16, operation: Vec<Arc<Step>>) -> Report {
    load(port, vec![operation], false).run(1, 1, None)
}

fn errors(report: &Report) -> Vec<(&str, u64)> {
    report.errors.iter().map(|(name, count)| (name.as_str(), *count)).collect()
}

const OK: &str = "HTTP/1.1 200 OK\r\nContent-Length: 5\r\n\r\nhello";

#[test]
fn each_operation_is_run_once() {
    let (port, asked) = server(|_| (OK, true));
    let operations = (0..100).map(|number| vec![get(&format!("/{number}"))]).collect();
    let report = load(port, operations, false).run(4, 2, None);
    assert_eq!((report.count, report.begun, report.received, report.sent), (100, 100, 500, 0));
    assert!(report.p50 > 0.0 && report.p99 >= report.p50 && report.seconds >= report.p99);
    let mut lines: Vec<_> = asked.lock().expect("held").iter().map(|(line, _)| line.clone()).collect();
    lines.sort();
    lines.dedup();
    assert_eq!(lines.len(), 100);
}

#[test]
fn operations_are_repeated_until_the_time_is_up() {
    let (port, asked) = server(|_| (OK, true));
    let began = Instant::now();
    let report = load(port, vec![vec![get("/a")], vec![get("/b")]], true).run(2, 1, Some(Duration::from_millis(200)));
    assert!(began.elapsed() >= Duration::from_millis(200));
    assert!(report.count > 2);
    assert_eq!(asked.lock().expect("held").len() as u64, report.count);
    assert_eq!(errors(&report), []);
}

#[test]
fn an_upload_follows_the_location_and_sends_what_its_digest_says() {
    let (port, asked) = server(|line| {
        if line.starts_with("POST") {
            ("HTTP/1.1 202 A\r\nLocation: /up/1?s=2\r\nContent-Length: 0\r\n\r\n", true)
        } else {
            ("HTTP/1.1 201 C\r\nLocation: /blob\r\nContent-Length: 0\r\n\r\n", true)
        }
    });
    let content = Content { stamp: 3, offset: 0, length: 3_000_001 };
    let put = step("PUT", Target::Location("digest=x".into()), Body::Content(content), 201);
    let report = once(port, vec![step("POST", Target::Path("/up/".into()), Body::None, 202), put]);
    assert_eq!((report.count, report.sent), (1, 3_000_001));
    let asked = asked.lock().expect("held");
    assert_eq!(asked[1].0, "PUT /up/1?s=2&digest=x HTTP/1.1");
    assert_eq!(digest_of(Algorithm::Sha256, &asked[1].1), content.digest());
}

#[test]
fn bodies_are_hashed_if_asked() {
    let operation = |content| {
        let small = step("PUT", Target::Path("/a".into()), Body::Bytes(vec![1; 70]), 200);
        vec![small, step("PUT", Target::Path("/b".into()), Body::Content(content), 200), get("/c")]
    };
    for length in [1_000, 3_000_001] {
        let (port, _) = server(|_| (OK, true));
        for (hash, hashed) in [(false, 0), (true, 70 + length + 3 * "hello".len() as u64)] {
            let steps = operation(Content { stamp: 4, offset: 0, length });
            let report = Arc::new(Load::new(origin(port), &[], vec![steps], false, hash)).run(1, 1, None);
            assert_eq!((report.count, report.hashed), (1, hashed));
        }
    }
}

#[test]
fn failures_are_counted_by_kind() {
    let cases: [(Script, &str); 5] = [
        (|_| ("HTTP/1.1 404 No\r\nContent-Length: 4\r\n\r\ngone", true), "404"),
        (|_| ("HTTP/1.1 200 OK\r\nContent-Length: 9\r\n\r\nhello", false), "connection lost"),
        (|_| ("", false), "connection lost"),
        (|_| ("SSH-2.0\r\n\r\n", false), "bad response"),
        (|_| ("HTTP/1.1 200 OK\r\nLocation: http://elsewhere/x\r\nContent-Length: 0\r\n\r\n", true), "bad Location"),
    ];
    for (respond, expected) in cases {
        let (port, _) = server(respond);
        let report = once(port, vec![get("/x")]);
        assert_eq!((report.count, errors(&report)), (0, vec![(expected, 1)]));
        assert!(report.first_error.expect("says it").starts_with("GET /x: "));
    }
}

#[test]
fn no_server_is_no_connection() {
    let port = TcpListener::bind("127.0.0.1:0").and_then(|listener| listener.local_addr()).expect("binds").port();
    let report = once(port, vec![get("/x")]);
    assert_eq!(errors(&report), [("no connection", 1)]);
}

#[test]
fn the_excerpt_of_an_error_is_shown() {
    let (port, _) = server(|_| ("HTTP/1.1 405 No\r\nContent-Length: 7\r\n\r\nnot so!", true));
    assert_eq!(once(port, vec![get("/x")]).first_error.as_deref(), Some("GET /x: 405: not so!"));
}

#[test]
fn a_wrong_body_is_noticed() {
    let (port, _) = server(|_| (OK, true));
    let with = |digest: String| vec![Arc::new(Step { digest: Some(digest), ..Arc::unwrap_or_clone(get("/x")) })];
    assert_eq!(once(port, with(digest_of(Algorithm::Sha256, b"hello").to_string())).count, 1);
    assert_eq!(errors(&once(port, with(digest_of(Algorithm::Sha256, b"other").to_string()))), [("wrong content", 1)]);
}

#[test]
fn a_connection_that_was_closed_while_idle_is_opened_again() {
    // The response announces a kept connection, but the server closes it.
    let (port, asked) = server(|_| (OK, false));
    let report = load(port, (0..5).map(|_| vec![get("/x")]).collect(), false).run(1, 1, None);
    assert_eq!((report.count, errors(&report)), (5, vec![]));
    assert_eq!(asked.lock().expect("held").len(), 5);
}

#[test]
fn an_interim_response_is_skipped() {
    let (port, _) = server(|_| ("HTTP/1.1 100 Continue\r\n\r\nHTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nhi", true));
    let report = once(port, vec![get("/x")]);
    assert_eq!((report.count, report.received), (1, 2));
}

#[test]
fn an_upload_that_fails_is_cancelled() {
    let (port, asked) = server(|line| match line.split(' ').next() {
        Some("POST") => ("HTTP/1.1 202 A\r\nLocation: /v2/a/blobs/uploads/1\r\nContent-Length: 0\r\n\r\n", true),
        Some("DELETE") => ("HTTP/1.1 204 D\r\n\r\n", true),
        _ => ("HTTP/1.1 500 E\r\nContent-Length: 0\r\n\r\n", true),
    });
    let put = step("PUT", Target::Location(String::new()), Body::None, 201);
    let report = once(port, vec![step("POST", Target::Path("/up/".into()), Body::None, 202), put]);
    assert_eq!(errors(&report), [("500", 1)]);
    assert_eq!(asked.lock().expect("held")[2].0, "DELETE /v2/a/blobs/uploads/1 HTTP/1.1");
}

#[test]
fn it_can_be_stopped_while_it_waits() {
    let (port, _) = server(|_| {
        thread::sleep(Duration::from_secs(20));
        (OK, true)
    });
    let load = load(port, vec![vec![get("/x")]], true);
    let began = Instant::now();
    thread::scope(|scope| {
        scope.spawn(|| {
            thread::sleep(Duration::from_millis(100));
            load.stop();
        });
        assert_eq!(load.run(2, 1, None).count, 0);
    });
    assert!(began.elapsed() < Duration::from_secs(10));
}

//! Clients that are slow, broken, or speak something else.
use crate::support::{Client, Running};
use glow_serve::ServeOptions;
use std::io::{ErrorKind, Read, Write};
use std::net::TcpStream;
use std::time::{Duration, Instant};

const SHORT: Duration = Duration::from_millis(200);

fn server() -> Running {
    Running::start(ServeOptions::new().header_timeout(SHORT).body_timeout(SHORT).write_timeout(SHORT))
}

/// Sends bytes; what comes back until the server closes the connection.
fn converse(server: &Running, bytes: &[u8]) -> String {
    let mut stream = TcpStream::connect(server.address).unwrap();
    stream.set_read_timeout(Some(Duration::from_secs(20))).unwrap();
    // The server may close it before it has read everything.
    let _ = stream.write_all(bytes);
    let mut answer = Vec::new();
    let mut part = [0; 4096];
    loop {
        match stream.read(&mut part) {
            Ok(0) => break,
            Ok(n) => answer.extend(&part[..n]),
            Err(error) if error.kind() == ErrorKind::ConnectionReset => break,
            Err(error) => panic!("the connection stays open: {error}"),
        }
    }
    String::from_utf8_lossy(&answer).into_owned()
}

#[test]
fn slow_heads_and_bodies_end() {
    let server = server();
    let begin = Instant::now();
    for head in ["", "GET / HT", "GET /v1/models HTTP/1.1\r\nHost: localhost\r\nX-Slow: "] {
        assert_eq!(converse(&server, head.as_bytes()), "", "{head:?}");
    }
    let post = "POST /v1/render HTTP/1.1\r\nHost: localhost\r\nContent-Type: application/json\r\n";
    for rest in ["Content-Length: 100\r\n\r\n{", "Transfer-Encoding: chunked\r\n\r\n1\r\n{\r\n"] {
        let answer = converse(&server, format!("{post}{rest}").as_bytes());
        assert!(answer.starts_with("HTTP/1.1 408 ") && answer.contains("body_timeout"), "{answer}");
    }
    assert!(begin.elapsed() < Duration::from_secs(15), "{:?}", begin.elapsed());
    server.wait_for("glow_connections", |open| open == 1.0);
}

#[test]
fn a_drop_at_a_time_does_not_help() {
    let server = server();
    let mut stream = TcpStream::connect(server.address).unwrap();
    let begin = Instant::now();
    let head = b"GET /v1/models HTTP/1.1\r\nHost: localhost\r\nX-Slow: ";
    let drops = head.iter().chain(std::iter::repeat(&b'a'));
    for byte in drops {
        if stream.write_all(&[*byte]).is_err() {
            break;
        }
        std::thread::sleep(Duration::from_millis(10));
        assert!(begin.elapsed() < Duration::from_secs(20), "the server goes on reading");
    }
}

#[test]
fn a_client_that_takes_nothing_is_let_go() {
    let many = 100_000;
    let options = ServeOptions::new().queue(many).max_images(many).write_timeout(SHORT);
    let server = Running::start(options);
    let mut client = server.client();
    client.send("GET", &format!("/v1/sample?count={many}&format=raw"), &[], b"").unwrap();
    // The answer of 19 MB does not fit into the buffers between.
    server.wait_for("glow_jobs_total{model=\"faces\",result=\"done\"}", |jobs| jobs == 1.0);
    server.wait_for("glow_connections", |open| open == 1.0);
    drop(client);
}

#[test]
fn broken_requests_are_answered_or_closed() {
    let server = server();
    let get = "GET /v1/models HTTP/1.1\r\nHost: localhost\r\n";
    let post = "POST /v1/render HTTP/1.1\r\nHost: localhost\r\nContent-Type: application/json\r\n";
    for (request, statuses) in [
        ("\r\n\r\n\r\n".to_owned(), &[][..]),
        ("nonsense\r\n\r\n".into(), &[400]),
        ("GET / HTTP/9.9\r\n\r\n".into(), &[400, 505]),
        ("PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n".into(), &[400, 505]),
        ("\u{16}\u{3}\u{1}\u{2}\u{0}\u{1}\u{0}\u{1}\r\n\r\n".into(), &[400]),
        (format!("{get}bad header\r\n\r\n"), &[400]),
        (format!("{get}A: {}\r\n\r\n", "a".repeat(1_000_000)), &[431]),
        (format!("GET /{} HTTP/1.1\r\n\r\n", "a".repeat(1_000_000)), &[414, 431]),
        (format!("{get}{}\r\n", "A: a\r\n".repeat(500)), &[431]),
        (format!("{post}Content-Length: -1\r\n\r\n{{}}"), &[400]),
        (format!("{post}Content-Length: 1\r\nContent-Length: 2\r\n\r\n{{}}"), &[400]),
        (format!("{post}Content-Length: 99999999999999999999\r\n\r\n{{}}"), &[400]),
        (format!("{post}Content-Length: 9999999999\r\n\r\n{{}}"), &[413]),
        (format!("{post}Transfer-Encoding: gzip\r\n\r\n{{}}"), &[400, 408, 415]),
        (format!("{post}Transfer-Encoding: chunked\r\n\r\nzz\r\n"), &[400]),
        (format!("{post}Transfer-Encoding: chunked\r\n\r\nffffffffffffffff\r\n"), &[400, 408, 413]),
    ] {
        let answer = converse(&server, request.as_bytes());
        let case = format!("{:?}: {answer}", request.chars().take(120).collect::<String>());
        if answer.is_empty() {
            assert!(statuses.is_empty() || statuses.contains(&400), "{case}");
            continue;
        }
        let status: u16 = answer.split(' ').nth(1).unwrap().parse().unwrap();
        assert!(statuses.contains(&status), "{case}");
    }
    assert_eq!(server.get("/v1/sample").status, 200);
}

#[test]
fn chunks_without_end_are_too_many() {
    let server = Running::start(ServeOptions::new().max_body(10_000));
    let chunk = format!("1000\r\n{}\r\n", " ".repeat(4096));
    let post = "POST /v1/render HTTP/1.1\r\nHost: localhost\r\nContent-Type: application/json\r\n";
    let request = format!("{post}Transfer-Encoding: chunked\r\n\r\n{}", chunk.repeat(5));
    let mut client = server.client();
    client.stream.get_mut().write_all(request.as_bytes()).unwrap();
    assert_eq!(client.read(false).unwrap().status, 413);
}

#[test]
fn connections_beyond_the_limit_wait() {
    let server =
        Running::start(ServeOptions::new().max_connections(2).header_timeout(Duration::from_secs(1)));
    let mut first = server.client();
    assert_eq!(first.ask("GET", "/v1/models", &[], b"").unwrap().status, 200);
    let mut second = server.client();
    assert_eq!(second.ask("GET", "/v1/models", &[], b"").unwrap().status, 200);
    // The system took it; the server answers once there is room: the others say nothing for a second.
    let mut third = Client::connect(server.address).unwrap();
    third.send("GET", "/v1/models", &[], b"").unwrap();
    assert_eq!(third.read(false).unwrap().status, 200);
}

//! `glow serve`, from outside: what it prints, signals, exit codes.
#![cfg(unix)]
use std::io::{BufRead, BufReader, Read, Write};
use std::net::TcpStream;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

fn bundle() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../../models/tests/bundle")
}

fn glow(words: &[&str]) -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_glow"));
    command.arg("serve").args(words).stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::piped());
    command
}

/// A server; killed if a test ends before it does.
struct Serving {
    child: Child,
    address: String,
}

impl Serving {
    fn start(words: &[&str]) -> Self {
        let mut child = glow(words).args(["--port", "0", "--threads", "1"]).spawn().unwrap();
        let mut line = String::new();
        BufReader::new(child.stdout.take().unwrap()).read_line(&mut line).unwrap();
        let address = line.trim().strip_prefix("http://").and_then(|line| line.strip_suffix('/'));
        let address = address.unwrap_or_else(|| panic!("{line:?} is no address")).to_owned();
        Self { child, address }
    }

    fn ask(&self, request: &str) -> String {
        let mut stream = TcpStream::connect(&self.address).unwrap();
        let head = format!("{request} HTTP/1.1\r\nHost: {}\r\nConnection: close\r\n\r\n", self.address);
        stream.write_all(head.as_bytes()).unwrap();
        let mut answer = Vec::new();
        stream.read_to_end(&mut answer).unwrap();
        String::from_utf8_lossy(&answer).into_owned()
    }

    fn signal(&self, name: &str) {
        let pid = self.child.id().to_string();
        assert!(Command::new("kill").args([&format!("-{name}"), &pid]).status().unwrap().success());
    }

    /// Exit code and what it said.
    fn end(mut self) -> (Option<i32>, String) {
        let mut said = String::new();
        let mut stderr = self.child.stderr.take().unwrap();
        let status = self.child.wait().unwrap();
        stderr.read_to_string(&mut said).unwrap();
        (status.code(), said)
    }
}

impl Drop for Serving {
    fn drop(&mut self) {
        let _ = self.child.kill();
    }
}

#[test]
fn it_serves_until_it_is_told_to_stop_and_finishes_what_it_took() {
    for signal in ["TERM", "INT"] {
        let bundle = bundle();
        let named = format!("faces={}", bundle.display());
        let server = Serving::start(&[
            &named,
            bundle.to_str().unwrap(),
            "--access-log",
            "--max-images",
            "20000",
            "--queue",
            "20000",
        ]);
        assert!(server.ask("GET /v1/models").contains(r#"{"models":["faces","bundle"]}"#));
        assert!(server.ask("GET /").contains("<title>Glow</title>"));
        let answer = std::thread::scope(|scope| {
            let long = scope.spawn(|| server.ask("GET /v1/sample?count=20000&format=raw"));
            let begin = Instant::now();
            while !server.ask("GET /metrics").contains("glow_batch_images_sum") {
                assert!(begin.elapsed() < Duration::from_secs(20));
            }
            server.signal(signal);
            long.join().unwrap()
        });
        assert!(answer.starts_with("HTTP/1.1 200 OK") && answer.contains("glow-shape: 20000,8,8,3"));
        let (code, said) = server.end();
        assert_eq!(code, Some(0), "{said}");
        for line in ["GET \"/v1/models\" 200 ", "GET \"/v1/sample\" 200 ", "stopping", "stopped"] {
            assert!(said.lines().any(|other| other.starts_with(line)), "{line} is not in {said}");
        }
    }
}

#[test]
fn a_hangup_loads_the_bundles_again() {
    let server = Serving::start(&[bundle().to_str().unwrap()]);
    server.signal("HUP");
    let begin = Instant::now();
    while !server.ask("GET /metrics").contains(r#"glow_reloads_total{model="bundle",result="done"} 1"#) {
        assert!(begin.elapsed() < Duration::from_secs(30));
        std::thread::sleep(Duration::from_millis(10));
    }
    assert!(server.ask("GET /v1/sample").starts_with("HTTP/1.1 200 OK"));
    server.signal("TERM");
    let (code, said) = server.end();
    assert!(code == Some(0) && said.contains("bundle was loaded again in "), "{said}");
}

#[test]
fn what_cannot_be_served_is_said() {
    let bundle = bundle();
    let bundle = bundle.to_str().unwrap();
    for (words, code, part) in [
        (vec![bundle, bundle], 1, "two models are called bundle"),
        (vec!["/nowhere"], 1, "cannot be loaded from /nowhere"),
        (vec![bundle, "--queue", "0"], 2, "queue"),
        (vec![bundle, "--cors", "*"], 2, "cors"),
        (vec![bundle, "--address", "everywhere"], 2, "invalid IP address"),
        (vec![bundle, "--deadline", "soon"], 2, "not a number of seconds"),
    ] {
        let output = glow(&words).output().unwrap();
        let said = String::from_utf8_lossy(&output.stderr);
        assert_eq!(output.status.code(), Some(code), "{words:?}: {said}");
        assert!(said.contains(part), "{words:?}: {said}");
    }
}

#[cfg(feature = "faces64")]
#[test]
fn without_a_bundle_it_serves_the_programs_own() {
    let server = Serving::start(&[]);
    let answer = server.ask("GET /v1/model");
    assert!(answer.contains(r#""name":"faces64""#) && answer.contains(r#""Smiling""#), "{answer}");
}

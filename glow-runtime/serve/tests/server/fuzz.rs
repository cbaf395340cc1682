//! Requests that are changed at random: each is answered or its connection closed, and none is the server's fault.
use crate::support::{Running, bundle, conditional_bundle, source};
use glow_serve::{Event, ServeOptions};
use rand::{Rng, RngExt, SeedableRng};
use rand_chacha::ChaCha8Rng;
use std::io::{Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::time::Duration;

const ROUNDS: usize = 1500;

/// Requests that are good, as head and body; the length of the body is written last.
fn seeds() -> Vec<(String, Vec<u8>)> {
    let recipe = r#"{"recipe":{"base":{"blend":{"of":[{"sample":{"seed":"7","number":1,"temperature":0.7,
        "truncation":null}},{"sample":{"seed":8}}],"x":0.5,"y":0,"spherical":true}},"redraw":{"levels":[0],
        "seed":"1","number":0,"temperature":1},"strengths":{}}}"#;
    let infer = r#"{"id":"a","inputs":[{"name":"image","datatype":"UINT8","shape":[1,8,8,3],
        "parameters":{"binary_data_size":192}}],"outputs":[{"name":"log_prob","parameters":{"binary_data":true}}]}"#;
    let binary = [infer.as_bytes(), &[7; 192]].concat();
    let mut png = std::io::Cursor::new(Vec::new());
    let image = image::RgbImage::from_fn(12, 9, |x, y| image::Rgb([(x * 20) as u8, (y * 25) as u8, 99]));
    image::DynamicImage::from(image).write_to(&mut png, image::ImageFormat::Png).unwrap();
    let json = "Content-Type: application/json\r\n";
    let head = |line: &str, headers: &str| {
        format!("{line} HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n{headers}")
    };
    vec![
        (
            head(
                "GET /v1/sample?count=2&seed=5&first=1&temperature=0.7&truncation=2&format=json&columns=2&scale=1",
                "",
            ),
            vec![],
        ),
        (
            head("GET /v1/sample?model=classes&label=1", "Glow-Timeout-Ms: 500\r\nAccept: image/png\r\n"),
            vec![],
        ),
        (head("GET /v1/model?model=faces", "If-None-Match: \"a\"\r\nOrigin: http://localhost\r\n"), vec![]),
        (head("POST /v1/render?format=raw", json), recipe.into()),
        (head("POST /v1/score", json), recipe.replace("}}}", "}},\"draws\":2}").into()),
        (head("POST /v1/latents", json), recipe.into()),
        (
            head("POST /v1/interpolate", json),
            br#"{"from":{"sample":{"seed":1}},"to":{"sample":{"seed":2}},"steps":3}"#.to_vec(),
        ),
        (head("POST /v1/images", "Content-Type: image/png\r\n"), png.into_inner()),
        (head("POST /v1/images", "Content-Type: application/octet-stream\r\n"), vec![3; 192]),
        (head(&format!("DELETE /v1/images/{}", "0".repeat(64)), ""), vec![]),
        (head("GET /v2/models/faces_encoder/versions/1/config", ""), vec![]),
        (
            head(
                "POST /v2/models/faces_encoder/infer",
                &format!("Inference-Header-Content-Length: {}\r\n", infer.len()),
            ),
            binary,
        ),
        (head("POST /v2/repository/models/faces/load", ""), b"{}".to_vec()),
        (head("OPTIONS /v1/render", "Origin: http://a\r\nAccess-Control-Request-Method: POST\r\n"), vec![]),
        (head("GET /app.js", ""), vec![]),
    ]
}

/// Pieces that have broken parsers before.
const PIECES: [&str; 22] = [
    "0",
    "-1",
    "1e308",
    "-1e999",
    "NaN",
    "null",
    "true",
    "18446744073709551616",
    "4294967296",
    "\u{0}",
    "%00",
    "%2e%2e%2f",
    "\"",
    "\\u0000",
    "\\ud800",
    "[[[[[[",
    "{}",
    ",",
    "é",
    "\r\n",
    "../../etc/passwd",
    "chunked",
];

fn change(bytes: &mut Vec<u8>, random: &mut impl Rng) {
    let place = random.random_range(0..=bytes.len());
    let end = (place + random.random_range(1..9)).min(bytes.len());
    match random.random_range(0..6) {
        0 if place < bytes.len() => bytes[place] ^= 1 << random.random_range(0..8),
        1 => drop(bytes.drain(place..end)),
        2 => {
            let copy = bytes[place..end].to_vec();
            bytes.splice(place..place, copy);
        }
        3 => {
            let piece = PIECES[random.random_range(0..PIECES.len())];
            bytes.splice(place..place, piece.bytes());
        }
        4 => {
            // A number in place of another.
            let digits = |byte: &u8| byte.is_ascii_digit();
            if let Some(begin) = bytes[place..].iter().position(digits).map(|at| place + at) {
                let end =
                    bytes[begin..].iter().position(|byte| !digits(byte)).map_or(bytes.len(), |at| begin + at);
                let piece = PIECES[random.random_range(0..9)];
                bytes.splice(begin..end, piece.bytes());
            }
        }
        _ => bytes.truncate(place),
    }
}

/// The status of the answer; none if there was no answer.
fn status(address: SocketAddr, request: &[u8]) -> Option<u16> {
    let mut stream = TcpStream::connect(address).unwrap();
    stream.set_read_timeout(Some(Duration::from_secs(30))).unwrap();
    let _ = stream.write_all(request);
    let mut answer = Vec::new();
    if let Err(error) = stream.read_to_end(&mut answer) {
        assert_ne!(error.kind(), std::io::ErrorKind::WouldBlock, "the server does not answer");
    }
    let text = String::from_utf8_lossy(&answer);
    let status = text.strip_prefix("HTTP/1.1 ").or_else(|| text.strip_prefix("HTTP/1.0 "));
    status.map(|text| text[..3].parse().unwrap())
}

#[test]
fn changed_requests_are_nobodys_end() {
    let short = Duration::from_millis(60);
    let options = ServeOptions::new().header_timeout(short).body_timeout(short).max_body(1 << 16);
    let models = vec![source("faces", bundle()), source("classes", conditional_bundle())];
    let server = Running::with(options, models);
    let seeds = seeds();
    let mut random = ChaCha8Rng::seed_from_u64(20);
    let mut counts = std::collections::BTreeMap::new();
    for round in 0..ROUNDS {
        let (head, body) = &seeds[round % seeds.len()];
        let (mut head, mut body) = (head.clone().into_bytes(), body.clone());
        // The first round is of the requests as they are.
        if round >= seeds.len() {
            for _ in 0..random.random_range(1..4) {
                let is_body = !body.is_empty() && random.random_bool(0.7);
                change(if is_body { &mut body } else { &mut head }, &mut random);
            }
        }
        if !body.is_empty() || head.starts_with(b"POST") {
            head.extend(format!("Content-Length: {}\r\n", body.len()).bytes());
        }
        let request = [&head[..], b"\r\n", &body].concat();
        let status = status(server.address, &request);
        let case =
            || format!("round {round}, {status:?}: {}", String::from_utf8_lossy(&request).escape_debug());
        if round < seeds.len() {
            let good = status.is_some_and(|status| matches!(status, 200 | 201 | 403 | 404));
            assert!(good, "{}", case());
        }
        assert!(status.is_none_or(|status| status < 500 || matches!(status, 503..=505)), "{}", case());
        *counts.entry(status).or_insert(0) += 1;
    }
    println!("{counts:?}");
    let failed: Vec<Event> =
        server.events().into_iter().filter(|event| matches!(event, Event::Failed { .. })).collect();
    assert!(failed.is_empty(), "{failed:?}");
    assert!(counts.len() > 5, "{counts:?}");
    assert_eq!(server.get("/v1/sample").status, 200);
    assert_eq!(server.figure("glow_requests_in_flight"), 1.0);
}

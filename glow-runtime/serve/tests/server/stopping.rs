//! Stopping and loading again while requests come: none that was accepted is lost.
use crate::support::{Client, Running, bundle, copy, source};
use glow_serve::{Event, ServeOptions};
use std::io::ErrorKind;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::thread;
use std::time::Duration;

const CLIENTS: usize = 16;
const PATH: &str = "/v1/sample?count=8&seed=4&format=raw";

#[test]
fn a_stop_loses_no_accepted_request() {
    let mut server = Running::start(ServeOptions::new().stop_delay(Duration::from_millis(300)));
    let expected = server.get(PATH).body;
    let (address, answered) = (server.address, Arc::new(AtomicUsize::new(0)));
    let clients: Vec<_> = (0..CLIENTS)
        .map(|_| {
            let (expected, answered) = (expected.clone(), Arc::clone(&answered));
            thread::spawn(move || {
                let mut client = Client::connect(address).unwrap();
                // Until the server says that the connection ends.
                loop {
                    let answer = client.ask("GET", PATH, &[], b"").expect("an accepted request was lost");
                    assert_eq!((answer.status, &answer.body), (200, &expected));
                    answered.fetch_add(1, Ordering::Relaxed);
                    if answer.header("connection") == Some("close") {
                        break;
                    }
                }
            })
        })
        .collect();
    while answered.load(Ordering::Relaxed) < 10 * CLIENTS {
        thread::sleep(Duration::from_millis(5));
    }
    server.signal();
    // In the delay it still answers, but is not ready.
    while server.get("/health/ready").status == 200 {
        thread::sleep(Duration::from_millis(1));
    }
    assert_eq!(server.get("/health/live").status, 200);
    for client in clients {
        client.join().unwrap();
    }
    assert!(server.stop());
    let error = Client::connect(address).map(|_| ()).unwrap_err();
    assert_eq!(error.kind(), ErrorKind::ConnectionRefused);
}

#[test]
fn what_runs_is_finished_and_what_takes_too_long_is_given_up() {
    let many = 40_000;
    for (stop_timeout, finished) in [(Duration::from_secs(60), true), (Duration::from_millis(30), false)] {
        let options = ServeOptions::new().queue(many).max_images(many).stop_delay(Duration::ZERO);
        let mut server = Running::start(options.stop_timeout(stop_timeout));
        let mut client = server.client();
        client.send("GET", &format!("/v1/sample?count={many}&format=raw"), &[], b"").unwrap();
        server.wait_for("glow_batch_images_sum", |images| images > 0.0);
        server.signal();
        if finished {
            assert_eq!(client.read(false).unwrap().body.len(), many * 192);
        }
        assert_eq!(server.stop(), finished);
    }
}

#[test]
fn bundles_are_loaded_again_without_dropping_a_request() {
    let folder = copy(&bundle());
    let options = ServeOptions::new().reload_by_request(true);
    let server = Running::with(options, vec![source("faces", folder.path())]);
    let expected = server.get(PATH).body;
    let (address, over) = (server.address, Arc::new(AtomicBool::new(false)));
    let clients: Vec<_> = (0..4)
        .map(|_| {
            let (expected, over) = (expected.clone(), Arc::clone(&over));
            thread::spawn(move || {
                let mut client = Client::connect(address).unwrap();
                let mut count = 0;
                while !over.load(Ordering::Relaxed) {
                    let answer = client.ask("GET", PATH, &[], b"").unwrap();
                    assert_eq!((answer.status, &answer.body), (200, &expected));
                    count += 1;
                }
                count
            })
        })
        .collect();
    for _ in 0..3 {
        crate::support::block_on(server.handle.reload());
    }
    assert_eq!(server.ask("POST", "/v2/repository/models/faces/load", &[], b"").status, 200);
    // A folder that is not whole for a moment.
    let manifest = folder.path().join("model.json");
    let text = std::fs::read_to_string(&manifest).unwrap();
    std::fs::write(&manifest, "{").unwrap();
    crate::support::block_on(server.handle.reload_changed());
    assert_eq!(server.ask("POST", "/v2/repository/models/faces_encoder/load", &[], b"{}").status, 409);
    assert_eq!(server.get("/health/ready").status, 200);
    std::fs::write(&manifest, text).unwrap();
    crate::support::block_on(server.handle.reload_changed());
    // Nothing has changed since.
    crate::support::block_on(server.handle.reload_changed());
    over.store(true, Ordering::Relaxed);
    for client in clients {
        assert!(client.join().unwrap() > 0);
    }
    let reloads =
        |result| server.figure(&format!("glow_reloads_total{{model=\"faces\",result=\"{result}\"}}"));
    assert_eq!((reloads("done"), reloads("failed")), (5.0, 2.0));
    let failed = |event: &Event| matches!(event, Event::ReloadFailed { model, .. } if model == "faces");
    assert_eq!(server.events().iter().filter(|event| failed(event)).count(), 2);
    // Figures count over all loadings.
    assert!(server.figure("glow_batch_images_sum{model=\"faces\",graph=\"decoder\"}") >= 8.0);
}

#[test]
fn loading_on_request_is_off_unless_asked_for_and_takes_no_paths() {
    let path = "/v2/repository/models/faces/load";
    assert_eq!(Running::start(ServeOptions::new()).ask("POST", path, &[], b"").status, 403);
    let server = Running::start(ServeOptions::new().reload_by_request(true));
    let config = br#"{"parameters": {"config": "{}", "file:1/model.onnx": "AAAA"}}"#;
    assert_eq!(server.ask("POST", path, &[], config).status, 422);
    assert_eq!(server.ask("POST", path, &[], br#"{"path": "/etc"}"#).status, 422);
    assert_eq!(server.ask("POST", "/v2/repository/models/owls/load", &[], b"").status, 404);
    assert_eq!(server.ask("POST", path, &[], br#"{"parameters": {}}"#).status, 200);
}

//! More requests than the server can do, and requests that nobody waits for any more.
use crate::support::{Client, Running};
use glow_serve::ServeOptions;
use std::io;
use std::thread;
use std::time::{Duration, Instant};

/// Images that take the server a second or so.
const MANY: usize = 20_000;

fn patient() -> Running {
    Running::start(ServeOptions::new().queue(3 * MANY).max_images(MANY))
}

/// Images that were run.
fn ran(server: &Running) -> f64 {
    server.figure("glow_batch_images_sum{model=\"faces\",graph=\"decoder\"}")
}

#[test]
fn what_the_queue_does_not_hold_is_refused_and_told_when_to_come_again() {
    let server = Running::start(ServeOptions::new().queue(4).max_images(4));
    let address = server.address;
    let clients: Vec<_> = (0..16)
        .map(|_| {
            thread::spawn(move || {
                let mut client = Client::connect(address).unwrap();
                let (mut done, mut refused) = (0, 0);
                for seed in 0..40 {
                    let path = format!("/v1/sample?count=4&seed={seed}&format=raw");
                    let answer = client.ask("GET", &path, &[], b"").unwrap();
                    match answer.status {
                        200 => {
                            assert_eq!(answer.body.len(), 4 * 192);
                            done += 1;
                        }
                        503 => {
                            let seconds: u64 = answer.header("retry-after").unwrap().parse().unwrap();
                            assert!((1..=60).contains(&seconds));
                            assert_eq!(answer.json()["error"]["kind"], "overloaded");
                            refused += 1;
                        }
                        status => panic!("{status}: {}", answer.text()),
                    }
                }
                (done, refused)
            })
        })
        .collect();
    let (mut done, mut refused) = (0, 0);
    for client in clients {
        let (own_done, own_refused) = client.join().unwrap();
        done += own_done;
        refused += own_refused;
    }
    assert_eq!(done + refused, 16 * 40);
    assert!(done > 0 && refused > 0, "{done} {refused}");
    let jobs = |result| server.figure(&format!("glow_jobs_total{{model=\"faces\",result=\"{result}\"}}"));
    assert_eq!((jobs("done"), jobs("overloaded")), (f64::from(done), f64::from(refused)));
    assert_eq!(ran(&server), 4.0 * f64::from(done));
}

#[test]
fn time_ends_at_the_deadline() {
    let server = patient();
    let path = format!("/v1/sample?count={MANY}&format=raw");
    let begin = Instant::now();
    let answer = server.ask("GET", &path, &[("Glow-Timeout-Ms", "60")], b"");
    assert_eq!((answer.status, answer.json()["error"]["kind"].as_str()), (504, Some("deadline")));
    assert!(begin.elapsed() < Duration::from_secs(10), "{:?}", begin.elapsed());
    server.wait_for("glow_queue_running_images{model=\"faces\",graph=\"decoder\"}", |images| images == 0.0);
    server.wait_for("glow_queue_waiting_images{model=\"faces\",graph=\"decoder\"}", |images| images == 0.0);
    assert_eq!(server.figure("glow_jobs_total{model=\"faces\",result=\"expired\"}"), 1.0);
    assert!(ran(&server) < MANY as f64, "{}", ran(&server));
    // The server's own limit, and a client that may not ask for more.
    let server =
        Running::start(ServeOptions::new().queue(MANY).max_images(MANY).deadline(Duration::from_millis(60)));
    assert_eq!(server.ask("GET", &path, &[("Glow-Timeout-Ms", "60000")], b"").status, 504);
    assert_eq!(server.get("/v1/sample").status, 200);
}

#[test]
fn what_a_departed_client_wanted_is_not_computed() {
    let server = patient();
    let mut departing: Vec<Client> = (0..3).map(|_| server.client()).collect();
    for client in &mut departing {
        client.send("GET", &format!("/v1/sample?count={MANY}"), &[], b"").unwrap();
    }
    server.wait_for("glow_batch_images_sum", |images| images > 0.0);
    server.wait_for("glow_requests_in_flight", |requests| requests == 4.0);
    drop(departing);
    server.wait_for("glow_requests_in_flight", |requests| requests == 1.0);
    let departed = "glow_jobs_total{model=\"faces\",result=\"departed\"}";
    server.wait_for(departed, |jobs| jobs == 3.0);
    server.wait_for("glow_queue_running_images{model=\"faces\",graph=\"decoder\"}", |images| images == 0.0);
    assert!(ran(&server) < 3.0 * MANY as f64, "{}", ran(&server));
    assert_eq!(server.get("/v1/sample").status, 200);
}

#[test]
fn large_bodies_share_a_limit() {
    let options = ServeOptions::new().max_body(1 << 20).body_memory(2 << 20);
    let server = Running::start(options.body_timeout(Duration::from_secs(5)));
    // Two that announce much and send nothing hold all the memory there is.
    let holding: Vec<Client> = (0..2)
        .map(|_| {
            let mut client = server.client();
            let head = "POST /v1/images HTTP/1.1\r\nHost: localhost\r\nContent-Type: image/png\r\n\
                        Content-Length: 1048576\r\n\r\n";
            io::Write::write_all(client.stream.get_mut(), head.as_bytes()).unwrap();
            client
        })
        .collect();
    server.wait_for("glow_requests_in_flight", |requests| requests == 3.0);
    let body = serde_json::json!({ "recipe": { "base": { "sample": { "seed": 1 } } } });
    let answer = server.post("/v1/render", &body);
    assert_eq!((answer.status, answer.header("retry-after")), (503, Some("1")));
    drop(holding);
    server.wait_for("glow_requests_in_flight", |requests| requests == 1.0);
    assert_eq!(server.post("/v1/render", &body).status, 200);
}

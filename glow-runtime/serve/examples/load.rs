//! A server under load, on this machine alone: requests a second, latencies, errors, memory.
//!
//! ```sh
//! cargo run --release -p glow-serve --example load -- BUNDLE [--seconds 60] [--clients 64] [--threads 2]
//! ```
//!
//! It starts a server of its own on a free port of 127.0.0.1 and has three parts, each of a third of the time or less:
//! clients that drag a slider, one alone and then all; and ten times as many clients as the queue holds images, which are
//! to be refused without the server growing.
#[path = "../tests/server/client.rs"]
mod client;

use client::{Answer, Client};
use glow_runtime::Glow;
use glow_serve::{ModelSource, ServeOptions, Server};
use std::collections::BTreeMap;
use std::error::Error;
use std::net::SocketAddr;
use std::thread;
use std::time::{Duration, Instant};

/// Longer runs are refused.
const MOST_SECONDS: u64 = 900;
const MOST_CLIENTS: usize = 512;
/// Images that may wait, in the part with too many clients.
const SMALL_QUEUE: usize = 8;

struct Arguments {
    bundle: String,
    seconds: u64,
    clients: usize,
    threads: Option<usize>,
}

fn arguments() -> Result<Arguments, Box<dyn Error>> {
    let mut arguments = Arguments { bundle: String::new(), seconds: 60, clients: 64, threads: None };
    let mut words = std::env::args().skip(1);
    while let Some(word) = words.next() {
        let mut number = || words.next().ok_or(format!("{word} needs a number"));
        match word.as_str() {
            "--seconds" => arguments.seconds = number()?.parse()?,
            "--clients" => arguments.clients = number()?.parse()?,
            "--threads" => arguments.threads = Some(number()?.parse()?),
            _ => arguments.bundle = word,
        }
    }
    if arguments.bundle.is_empty() || arguments.seconds > MOST_SECONDS || arguments.clients > MOST_CLIENTS {
        let usage =
            format!("load BUNDLE [--seconds 1..{MOST_SECONDS}] [--clients 1..{MOST_CLIENTS}] [--threads N]");
        return Err(usage.into());
    }
    Ok(arguments)
}

fn main() -> Result<(), Box<dyn Error>> {
    let Arguments { bundle, seconds, clients, threads } = arguments()?;
    let builder = match threads {
        Some(threads) => Glow::builder().threads(threads),
        None => Glow::builder(),
    };
    let source = ModelSource::new("model", bundle).builder(builder);
    let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(2).enable_all().build()?;
    let start = |options: ServeOptions| -> Result<SocketAddr, Box<dyn Error>> {
        let server = runtime.block_on(Server::bind(options.port(0), vec![source.clone()]))?;
        let address = server.address();
        runtime.spawn(server.run(std::future::pending()));
        Ok(address)
    };

    let address = start(ServeOptions::new())?;
    let model = client::ask(address, "GET", "/v1/model", &[], b"").json();
    let attributes: Vec<String> = serde_json::from_value(model["attributes"].clone())?;
    println!("{}", model["runs"]);
    let alone = Duration::from_secs((seconds / 10).clamp(1, 20));
    report("one client dragging a slider", &drive(address, 1, alone, &attributes));
    // Once to reach the memory that a full queue takes.
    drive(address, clients, alone, &attributes);
    let before = resident(address);
    let part = drive(address, clients, Duration::from_secs(seconds), &attributes);
    report(&format!("{clients} clients dragging"), &part);
    println!("  resident memory {before:.0} MB before, {:.0} MB after", resident(address));

    let address = start(ServeOptions::new().queue(SMALL_QUEUE).max_images(SMALL_QUEUE))?;
    let crowd = (10 * SMALL_QUEUE).min(MOST_CLIENTS);
    drive(address, crowd, alone, &attributes);
    let before = resident(address);
    let part = drive(address, crowd, Duration::from_secs((seconds / 5).max(1)), &attributes);
    report(&format!("{crowd} clients for a queue of {SMALL_QUEUE}"), &part);
    println!("  resident memory {before:.0} MB before, {:.0} MB after", resident(address));
    // The servers end with the process.
    Ok(())
}

/// What clients saw.
#[derive(Default)]
struct Part {
    seconds: f64,
    /// Of answers with pixels, in milliseconds.
    latencies: Vec<f64>,
    statuses: BTreeMap<String, usize>,
}

/// Has clients drag a slider for some time, each waiting for a frame before it asks for the next.
fn drive(address: SocketAddr, clients: usize, time: Duration, attributes: &[String]) -> Part {
    let begin = Instant::now();
    let threads: Vec<_> = (0..clients)
        .map(|number| {
            let attributes = attributes.to_vec();
            thread::spawn(move || drag(address, number, begin, time, &attributes))
        })
        .collect();
    let mut whole = Part::default();
    for thread in threads {
        let part = thread.join().unwrap_or_default();
        whole.latencies.extend(part.latencies);
        for (status, count) in part.statuses {
            *whole.statuses.entry(status).or_default() += count;
        }
    }
    whole.seconds = begin.elapsed().as_secs_f64();
    whole
}

fn drag(address: SocketAddr, number: usize, begin: Instant, time: Duration, attributes: &[String]) -> Part {
    let mut part = Part::default();
    let mut client = Client::connect(address).ok();
    let mut frame = 0;
    while begin.elapsed() < time {
        frame += 1;
        let value = (f64::from(frame) / 20.0).sin();
        let base = format!(r#"{{"sample": {{"seed": {number}, "temperature": 0.7}}}}"#);
        let body = match attributes.first() {
            Some(name) => format!(r#"{{"recipe": {{"base": {base}, "strengths": {{{name:?}: {value}}}}}}}"#),
            None => format!(
                r#"{{"recipe": {{"base": {{"sample": {{"seed": {number}, "temperature": {}}}}}}}}}"#,
                0.7 + 0.3 * value
            ),
        };
        let asked = Instant::now();
        let answer = match client.as_mut() {
            Some(client) => {
                let json = [("Content-Type", "application/json")];
                client.ask("POST", "/v1/render?format=raw", &json, body.as_bytes())
            }
            None => Err(std::io::ErrorKind::NotConnected.into()),
        };
        let status = match answer {
            Ok(Answer { status: 200, .. }) => {
                part.latencies.push(asked.elapsed().as_secs_f64() * 1e3);
                "200".to_owned()
            }
            Ok(answer) => {
                // As a client should: not at once again.
                if answer.status == 503 {
                    thread::sleep(Duration::from_millis(20));
                }
                answer.status.to_string()
            }
            Err(error) => {
                client = Client::connect(address).ok();
                error.kind().to_string()
            }
        };
        *part.statuses.entry(status).or_default() += 1;
    }
    part
}

fn report(name: &str, part: &Part) {
    let mut latencies = part.latencies.clone();
    latencies.sort_by(f64::total_cmp);
    let at = |share: f64| latencies.get((share * latencies.len().saturating_sub(1) as f64) as usize).copied();
    let at = |share| at(share).unwrap_or(f64::NAN);
    let rate = latencies.len() as f64 / part.seconds;
    println!("{name}: {:.0} s, {:?}", part.seconds, part.statuses);
    println!(
        "  {rate:.1} frames/s; ms a frame: median {:.1}, 99 % {:.1}, most {:.1}",
        at(0.5),
        at(0.99),
        at(1.0)
    );
}

/// Megabytes of this process: the server, and its few clients.
fn resident(address: SocketAddr) -> f64 {
    let text = client::ask(address, "GET", "/metrics", &[], b"").text();
    let line = text.lines().find_map(|line| line.strip_prefix("glow_process_resident_bytes "));
    line.and_then(|bytes| bytes.parse::<f64>().ok()).unwrap_or(f64::NAN) / 1e6
}

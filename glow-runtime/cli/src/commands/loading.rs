//! What `glow info` tells of a loaded bundle: where the time went, the memory, and the nodes.
use anyhow::Result;
use glow_runtime::{Glow, GraphKind, Node, SampleOptions};
use serde_json::{Value, json};
use std::collections::BTreeMap;
use std::time::{Duration, Instant};

/// A bundle that was loaded and has drawn its first sample.
pub struct Loading {
    glow: Glow,
    first_sample: Duration,
    /// From the beginning of the process, as far as the system tells.
    since_start: Option<Duration>,
    /// Reading the weights' file once, now that it is in the system's cache.
    reading: Duration,
    /// Sampling 1 and 8 images, once warm: the median of some calls.
    warm: [Duration; 2],
    /// After the first sample, and what came of larger batches.
    memory: BTreeMap<&'static str, u64>,
}

impl Loading {
    pub fn new(glow: Glow) -> Result<Self> {
        let begin = Instant::now();
        sample(&glow, 1)?;
        let (first_sample, since_start) = (begin.elapsed(), since_start());
        let mut memory = memory();
        let begin = Instant::now();
        if let Some(folder) = glow.folder() {
            std::io::copy(
                &mut std::fs::File::open(folder.join(glow_models::WEIGHTS_FILE))?,
                &mut std::io::sink(),
            )?;
        }
        let reading = begin.elapsed();
        let warm = [median(&glow, 1, 15)?, median(&glow, 8, 5)?];
        memory.extend(resident([
            ("VmRSS:", "resident, after batches of 8"),
            ("VmHWM:", "resident, the most so far"),
        ]));
        Ok(Self { glow, first_sample, since_start, reading, warm, memory })
    }

    /// What executes it, which for `auto` shows only now.
    pub fn providers(&self) -> Vec<String> {
        self.glow.providers().iter().map(ToString::to_string).collect()
    }

    fn times(&self) -> Vec<(&'static str, Option<Duration>)> {
        let times = self.glow.load_times();
        vec![
            ("bundle", Some(times.bundle)),
            ("library", Some(times.library)),
            ("weights", Some(times.weights)),
            ("preparation", Some(times.preparation)),
            ("sessions", Some(times.sessions)),
            ("warm_up", Some(times.warm_up)),
            ("check", Some(times.check)),
            ("load", Some(times.total)),
            ("first_sample", Some(self.first_sample)),
            ("process", self.since_start),
            ("reading", Some(self.reading)),
            ("sample_1", Some(self.warm[0])),
            ("sample_8", Some(self.warm[1])),
        ]
    }

    /// Milliseconds and bytes.
    pub fn to_json(&self) -> Value {
        let times: serde_json::Map<_, _> = self
            .times()
            .into_iter()
            .map(|(name, time)| (name.into(), json!(time.map(|time| time.as_secs_f64() * 1e3))))
            .collect();
        json!({ "milliseconds": times, "memory": self.memory })
    }

    pub fn lines(&self) -> Vec<(String, String)> {
        let what = |name: &str| match name {
            "bundle" => "manifest and graphs, checked",
            "library" => "ONNX Runtime, opened",
            "weights" => "weights, hashed; without a cache, meanwhile",
            "preparation" => "graphs, optimised or found in the cache",
            "sessions" => "sessions",
            "warm_up" => "warm-up",
            "check" => "an image there and back",
            "load" => "loading in all",
            "first_sample" => "first sample",
            "process" => "from the start of the process to the first sample",
            "sample_1" => "sampling 1 image, once warm",
            "sample_8" => "sampling 8 images, once warm",
            _ => "for comparison: reading the weights' file",
        };
        let time = |(name, time): (&'static str, Option<Duration>)| {
            Some(("time".into(), format!("{:8.1} ms  {}", time?.as_secs_f64() * 1e3, what(name))))
        };
        let memory = self
            .memory
            .iter()
            .map(|(name, bytes)| ("memory".into(), format!("{:8.1} MB  {name}", *bytes as f64 / 1e6)));
        self.times().into_iter().filter_map(time).chain(memory).collect()
    }
}

fn sample(glow: &Glow, n: usize) -> Result<()> {
    let labels = (glow.architecture().classes > 0).then(|| vec![0; n]);
    glow.sample(n, &SampleOptions::new().labels(labels))?;
    Ok(())
}

/// The median time of some calls after one that does not count.
fn median(glow: &Glow, n: usize, calls: usize) -> Result<Duration> {
    sample(glow, n)?;
    let mut times = Vec::new();
    for _ in 0..calls {
        let begin = Instant::now();
        sample(glow, n)?;
        times.push(begin.elapsed());
    }
    times.sort();
    Ok(times[calls / 2])
}

/// Resident memory of this process in bytes, by kind.
fn memory() -> BTreeMap<&'static str, u64> {
    resident([
        ("VmRSS:", "resident"),
        ("RssAnon:", "resident, its own"),
        ("RssFile:", "resident, mapped from files"),
    ])
}

/// Fields of /proc/self/status in bytes, by other names; empty where the system does not tell.
fn resident<const N: usize>(fields: [(&str, &'static str); N]) -> BTreeMap<&'static str, u64> {
    let status = std::fs::read_to_string("/proc/self/status").unwrap_or_default();
    let bytes = |field| {
        let line = status.lines().find_map(|line| line.strip_prefix(field))?;
        Some(line.trim().strip_suffix(" kB")?.parse::<u64>().ok()? * 1024)
    };
    fields.into_iter().filter_map(|(field, name)| Some((name, bytes(field)?))).collect()
}

/// Age of this process: its start is told in hundredths of a second since the system's.
fn since_start() -> Option<Duration> {
    let stat = std::fs::read_to_string("/proc/self/stat").ok()?;
    // The second field, a name in brackets, may hold anything.
    let start: f64 = stat.rsplit(')').next()?.split_whitespace().nth(19)?.parse().ok()?;
    let uptime = std::fs::read_to_string("/proc/uptime").ok()?;
    let now: f64 = uptime.split_whitespace().next()?.parse().ok()?;
    Duration::try_from_secs_f64(now - start / 100.0).ok()
}

/// The nodes of both graphs.
pub fn nodes(glow: &Glow) -> Result<Vec<(GraphKind, Vec<Node>)>> {
    [GraphKind::Encoder, GraphKind::Decoder]
        .into_iter()
        .map(|graph| Ok((graph, glow.nodes(graph)?)))
        .collect()
}

pub fn nodes_to_json(nodes: &[(GraphKind, Vec<Node>)]) -> Value {
    let graph = |(graph, nodes): &(GraphKind, Vec<Node>)| {
        let nodes: Vec<Value> = nodes
            .iter()
            .map(|node| json!({ "name": node.name, "operator": node.operator, "provider": node.provider }))
            .collect();
        (graph.to_string(), json!(nodes))
    };
    Value::Object(nodes.iter().map(graph).collect())
}

pub fn nodes_lines(nodes: &[(GraphKind, Vec<Node>)]) -> Vec<(String, String)> {
    let graph = |(graph, nodes): &(GraphKind, Vec<Node>)| {
        let mut counts: BTreeMap<(&str, &str), usize> = BTreeMap::new();
        for node in nodes {
            *counts.entry((node.provider.as_str(), node.operator.as_str())).or_default() += 1;
        }
        let line = move |((provider, operator), count)| format!("{provider}: {count} {operator}");
        counts.into_iter().map(line).map(|line| (graph.to_string(), line)).collect::<Vec<_>>()
    };
    nodes.iter().flat_map(graph).collect()
}

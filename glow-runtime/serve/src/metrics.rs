//! The figures of `/metrics`, in the text format of Prometheus (OpenMetrics).
use axum::http::StatusCode;
use glow_runtime::{Batch, GraphKind};
use prometheus_client::encoding::{EncodeLabelSet, text};
use prometheus_client::metrics::counter::Counter;
use prometheus_client::metrics::family::Family;
use prometheus_client::metrics::gauge::Gauge;
use prometheus_client::metrics::histogram::{Histogram, exponential_buckets};
use prometheus_client::registry::{Registry, Unit};
use std::time::Duration;

/// The media type of what [`Metrics::text`] gives.
pub(crate) const MEDIA_TYPE: &str = "application/openmetrics-text; version=1.0.0; charset=utf-8";

#[derive(Clone, Debug, Hash, PartialEq, Eq, EncodeLabelSet)]
pub(crate) struct RouteLabels {
    pub method: &'static str,
    /// As in the table of routes, so that there are few.
    pub route: String,
    pub status: u16,
}

#[derive(Clone, Debug, Hash, PartialEq, Eq, EncodeLabelSet)]
struct BuildLabels {
    version: &'static str,
    onnxruntime: String,
}

#[derive(Clone, Debug, Hash, PartialEq, Eq, EncodeLabelSet)]
struct RouteTimeLabels {
    route: String,
}

#[derive(Clone, Debug, Hash, PartialEq, Eq, EncodeLabelSet)]
struct GraphLabels {
    model: String,
    graph: &'static str,
}

#[derive(Clone, Debug, Hash, PartialEq, Eq, EncodeLabelSet)]
struct ResultLabels {
    model: String,
    result: &'static str,
}

/// What became of a job.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum JobResult {
    Done,
    /// The queue was full.
    Overloaded,
    /// Its deadline passed.
    Expired,
    /// Its client departed before it was done.
    Departed,
    /// Its arguments do not suit the model.
    Refused,
    Failed,
}

impl JobResult {
    const ALL: [Self; 6] =
        [Self::Done, Self::Overloaded, Self::Expired, Self::Departed, Self::Refused, Self::Failed];

    fn name(self) -> &'static str {
        match self {
            Self::Done => "done",
            Self::Overloaded => "overloaded",
            Self::Expired => "expired",
            Self::Departed => "departed",
            Self::Refused => "refused",
            Self::Failed => "failed",
        }
    }
}

type Histograms<L> = Family<L, Histogram, fn() -> Histogram>;

/// All figures. Counters count since the start of the process, over all loadings of a bundle.
#[derive(Debug)]
pub(crate) struct Metrics {
    registry: Registry,
    build: Family<BuildLabels, Gauge>,
    requests: Family<RouteLabels, Counter>,
    request_seconds: Histograms<RouteTimeLabels>,
    pub in_flight: Gauge,
    pub connections: Gauge,
    jobs: Family<ResultLabels, Counter>,
    waiting: Family<GraphLabels, Gauge>,
    running: Family<GraphLabels, Gauge>,
    batch_images: Histograms<GraphLabels>,
    batch_seconds: Histograms<GraphLabels>,
    wait_seconds: Histograms<GraphLabels>,
    reloads: Family<ResultLabels, Counter>,
    image_cache_images: Gauge,
    image_cache_bytes: Gauge,
    resident_bytes: Gauge,
}

/// 1 ms, 2 ms, 4 ms, … 32 s.
fn seconds() -> Histogram {
    Histogram::new(exponential_buckets(0.001, 2.0, 16))
}

/// 1, 2, 4, … 32.
fn images() -> Histogram {
    Histogram::new(exponential_buckets(1.0, 2.0, 6))
}

impl Metrics {
    pub fn new() -> Self {
        let mut registry = Registry::with_prefix("glow");
        let metrics = Self {
            build: Family::default(),
            requests: Family::default(),
            request_seconds: Family::new_with_constructor(seconds),
            in_flight: Gauge::default(),
            connections: Gauge::default(),
            jobs: Family::default(),
            waiting: Family::default(),
            running: Family::default(),
            batch_images: Family::new_with_constructor(images),
            batch_seconds: Family::new_with_constructor(seconds),
            wait_seconds: Family::new_with_constructor(seconds),
            reloads: Family::default(),
            image_cache_images: Gauge::default(),
            image_cache_bytes: Gauge::default(),
            resident_bytes: Gauge::default(),
            registry: Registry::default(),
        };
        let r = &mut registry;
        r.register("build_info", "What runs; always 1", metrics.build.clone());
        r.register("requests", "Requests answered, by route and status", metrics.requests.clone());
        let help = "Time from a request's head to the head of its answer";
        r.register_with_unit("request", help, Unit::Seconds, metrics.request_seconds.clone());
        r.register("requests_in_flight", "Requests being answered now", metrics.in_flight.clone());
        r.register("connections", "Connections open now", metrics.connections.clone());
        r.register("jobs", "Calls of the model, by what became of them", metrics.jobs.clone());
        r.register("queue_waiting_images", "Images waiting now", metrics.waiting.clone());
        r.register("queue_running_images", "Images being run now", metrics.running.clone());
        r.register("batch_images", "Images of each batch", metrics.batch_images.clone());
        r.register_with_unit("batch", "Time of each batch", Unit::Seconds, metrics.batch_seconds.clone());
        let help = "Time from the submission of a call to its first batch";
        r.register_with_unit("queue_wait", help, Unit::Seconds, metrics.wait_seconds.clone());
        r.register("reloads", "Bundles loaded again, or tried to", metrics.reloads.clone());
        r.register("image_cache_images", "Photographs kept", metrics.image_cache_images.clone());
        let help = "Pixels of photographs kept";
        r.register_with_unit("image_cache", help, Unit::Bytes, metrics.image_cache_bytes.clone());
        let help = "Resident memory of the process";
        r.register_with_unit("process_resident", help, Unit::Bytes, metrics.resident_bytes.clone());
        Self { registry, ..metrics }
    }

    /// What runs.
    pub fn set_build(&self, onnxruntime: &str) {
        let version = env!("CARGO_PKG_VERSION");
        self.build.get_or_create(&BuildLabels { version, onnxruntime: onnxruntime.into() }).set(1);
    }

    /// Makes a model's counters appear from the start, at 0.
    pub fn announce(&self, model: &str) {
        for result in JobResult::ALL {
            drop(self.jobs.get_or_create(&result_labels(model, result.name())));
        }
        for result in ["done", "failed"] {
            drop(self.reloads.get_or_create(&result_labels(model, result)));
        }
    }

    pub fn answered(&self, method: &'static str, route: String, status: StatusCode, time: Duration) {
        self.request_seconds
            .get_or_create(&RouteTimeLabels { route: route.clone() })
            .observe(time.as_secs_f64());
        self.requests.get_or_create(&RouteLabels { method, route, status: status.as_u16() }).inc();
    }

    pub fn job(&self, model: &str, result: JobResult) {
        self.jobs.get_or_create(&result_labels(model, result.name())).inc();
    }

    pub fn reload(&self, model: &str, succeeded: bool) {
        let result = if succeeded { "done" } else { "failed" };
        self.reloads.get_or_create(&result_labels(model, result)).inc();
    }

    pub fn batch(&self, model: &str, batch: &Batch) {
        let labels = graph_labels(model, batch.graph);
        self.batch_images.get_or_create(&labels).observe(batch.images as f64);
        self.batch_seconds.get_or_create(&labels).observe(batch.ran.as_secs_f64());
        let waits = self.wait_seconds.get_or_create(&labels);
        batch.waited.iter().for_each(|wait| waits.observe(wait.as_secs_f64()));
    }

    /// What waits and runs now.
    pub fn set_queue(&self, model: &str, graph: GraphKind, waiting: usize, running: usize) {
        let labels = graph_labels(model, graph);
        self.waiting.get_or_create(&labels).set(waiting as i64);
        self.running.get_or_create(&labels).set(running as i64);
    }

    pub fn set_image_cache(&self, images: usize, bytes: usize) {
        self.image_cache_images.set(images as i64);
        self.image_cache_bytes.set(bytes as i64);
    }

    /// All figures as text.
    pub fn text(&self) -> String {
        if let Some(bytes) = resident_bytes() {
            self.resident_bytes.set(bytes);
        }
        let mut out = String::new();
        text::encode(&mut out, &self.registry).expect("a string takes all");
        out
    }
}

fn result_labels(model: &str, result: &'static str) -> ResultLabels {
    ResultLabels { model: model.into(), result }
}

fn graph_labels(model: &str, graph: GraphKind) -> GraphLabels {
    let graph = match graph {
        GraphKind::Encoder => "encoder",
        GraphKind::Decoder => "decoder",
    };
    GraphLabels { model: model.into(), graph }
}

/// Where the system tells it as Linux does.
fn resident_bytes() -> Option<i64> {
    let status = std::fs::read_to_string("/proc/self/status").ok()?;
    let line = status.lines().find_map(|line| line.strip_prefix("VmRSS:"))?;
    Some(line.trim().strip_suffix(" kB")?.parse::<i64>().ok()? * 1024)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn counters_begin_at_zero_and_count() {
        let metrics = Metrics::new();
        metrics.announce("faces");
        metrics.job("faces", JobResult::Departed);
        metrics.answered("GET", "/v1/model".into(), StatusCode::OK, Duration::from_millis(3));
        metrics.set_queue("faces", GraphKind::Decoder, 5, 2);
        let text = metrics.text();
        for line in [
            "glow_jobs_total{model=\"faces\",result=\"departed\"} 1",
            "glow_jobs_total{model=\"faces\",result=\"overloaded\"} 0",
            "glow_requests_total{method=\"GET\",route=\"/v1/model\",status=\"200\"} 1",
            "glow_request_seconds_bucket{le=\"0.004\",route=\"/v1/model\"} 1",
            "glow_queue_waiting_images{model=\"faces\",graph=\"decoder\"} 5",
            "# EOF",
        ] {
            assert!(text.lines().any(|other| other == line), "{line} is not in\n{text}");
        }
    }
}

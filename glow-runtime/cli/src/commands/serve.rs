//! `glow serve`
use crate::model::Model;
use crate::outputs::{print, say};
use crate::runtime::Runtime;
use anyhow::Result;
use clap::Args;
use glow_serve::{Event, ModelSource, ServeOptions};
use std::net::{IpAddr, Ipv4Addr};
use std::path::PathBuf;
use std::time::Duration;

#[derive(Args)]
#[command(after_help = "Examples:\n  glow serve    and open http://127.0.0.1:8000\n  \
    glow serve models/faces birds=runs/birds.glow --address 0.0.0.0 --port 80\n\n\
    The first bundle is the one of requests that name none. /openapi.json describes the API, /v2 is the Open\n\
    Inference Protocol, /metrics is for Prometheus. SIGTERM or Ctrl-C finishes the requests that were accepted and\n\
    ends; SIGHUP loads the bundles again. Replace a bundle's files by renaming new ones over them: they are mapped.\n\n\
    The server has no accounts and no TLS: let a proxy do that, and see docs/deploy.md.")]
pub struct Arguments {
    /// Bundles' folders, each under a name, or under the folder's own [default: faces64, the model that comes with
    /// this program]
    #[arg(value_name = "[NAME=]BUNDLE")]
    bundles: Vec<String>,
    /// Where to listen; 0.0.0.0 for every network
    #[arg(long, value_name = "IP", default_value_t = IpAddr::V4(Ipv4Addr::LOCALHOST))]
    address: IpAddr,
    /// The port; 0 for any that is free, which is printed
    #[arg(long, default_value_t = 8000)]
    port: u16,
    /// Calls of each graph that run at the same time; they share the cores
    #[arg(long, value_name = "N", default_value_t = 1)]
    sessions: usize,
    /// The most images that may wait at each graph; requests beyond get status 503
    #[arg(long, value_name = "IMAGES", default_value_t = 256)]
    queue: usize,
    /// The most images of one request
    #[arg(long, value_name = "N", default_value_t = 64)]
    max_images: usize,
    /// The most megabytes of a request's body
    #[arg(long, value_name = "MB", default_value_t = 16)]
    max_body: usize,
    /// The most megapixels of a photograph
    #[arg(long, value_name = "MP", default_value_t = 64)]
    max_pixels: u64,
    /// Megabytes of photographs that are kept, in memory alone
    #[arg(long, value_name = "MB", default_value_t = 64)]
    image_cache: usize,
    /// The most connections at a time
    #[arg(long, value_name = "N", default_value_t = 1024)]
    max_connections: usize,
    /// Seconds that a request may take, from its head to its answer
    #[arg(long, value_name = "S", default_value = "30", value_parser = seconds)]
    deadline: Duration,
    /// Seconds that a request's head may take, and its body, each
    #[arg(long, value_name = "S", default_value = "15", value_parser = seconds)]
    read_timeout: Duration,
    /// Seconds from the signal to stop until no connections are accepted any more: as long as balancers need to hear
    /// of it
    #[arg(long, value_name = "S", default_value = "0.25", value_parser = seconds)]
    stop_delay: Duration,
    /// The most seconds that accepted requests get to finish when the server stops
    #[arg(long, value_name = "S", default_value = "30", value_parser = seconds)]
    stop_timeout: Duration,
    /// An origin, such as <https://example.com>, whose pages may call the API; may be given several times
    #[arg(long, value_name = "ORIGIN")]
    cors: Vec<String>,
    /// A host name under which a proxy passes requests on, where the server listens at this machine's own address;
    /// may be given several times
    #[arg(long, value_name = "NAME")]
    host: Vec<String>,
    /// Look for changed bundles every so many seconds, and load them again
    #[arg(long, value_name = "S", value_parser = seconds)]
    watch: Option<Duration>,
    /// Let requests to /v2/repository/models/NAME/load load a bundle again
    #[arg(long)]
    allow_reload: bool,
    /// Print a line for each request
    #[arg(long)]
    access_log: bool,
}

fn seconds(text: &str) -> Result<Duration, String> {
    let seconds = text.parse::<f64>().ok().and_then(|seconds| Duration::try_from_secs_f64(seconds).ok());
    seconds.ok_or_else(|| format!("{text:?} is not a number of seconds"))
}

pub fn run(runtime: &Runtime, arguments: &Arguments) -> Result<()> {
    // Of an embedded bundle, a temporary folder: kept as long as the server runs.
    let own = match arguments.bundles.is_empty() {
        true => Some(Model::choose(None)?.on_disk()?),
        false => None,
    };
    let own = own.iter().map(|own| ModelSource::new("faces64", &own.path));
    let named = arguments.bundles.iter().map(|bundle| source(bundle));
    let builder = runtime.builder().sessions(arguments.sessions).trim_memory(true);
    let models = own.chain(named).map(|source| source.builder(builder.clone())).collect();
    let access_log = arguments.access_log;
    let options = ServeOptions::new()
        .address(arguments.address)
        .port(arguments.port)
        .queue(arguments.queue)
        .max_images(arguments.max_images.min(arguments.queue))
        .max_body(arguments.max_body.saturating_mul(1 << 20))
        .body_memory((256 << 20).max(arguments.max_body.saturating_mul(4 << 20)))
        .max_pixels(arguments.max_pixels.saturating_mul(1_000_000))
        .image_cache(arguments.image_cache.saturating_mul(1 << 20))
        .max_connections(arguments.max_connections)
        .deadline(arguments.deadline)
        .header_timeout(arguments.read_timeout)
        .body_timeout(arguments.read_timeout)
        .stop_delay(arguments.stop_delay)
        .stop_timeout(arguments.stop_timeout)
        .cors(arguments.cors.clone())
        .hosts(arguments.host.clone())
        .watch(arguments.watch)
        .reload_by_request(arguments.allow_reload)
        .on_event(move |event| match event {
            // The address is the command's result. Nobody may be listening, which is no reason to stop.
            Event::Listening { address } => drop(print(&format!("http://{address}/"))),
            Event::Request { .. } if !access_log => {}
            event => say(&event.to_string()),
        });
    match glow_serve::run(options, models)? {
        true => Ok(()),
        false => anyhow::bail!("requests were not finished within {:?}", arguments.stop_timeout),
    }
}

/// NAME=BUNDLE; a folder that has such a name itself is one.
fn source(bundle: &str) -> ModelSource {
    match bundle.split_once('=') {
        Some((name, folder)) if !PathBuf::from(bundle).exists() => ModelSource::new(name, folder),
        _ => ModelSource::of_folder(bundle),
    }
}

//! A server that runs beside a test.
pub use crate::client::{Answer, Client, ask};

use glow_runtime::{Attributes, EncodeOptions, FitOptions, Glow, GlowBuilder};
use glow_serve::{Event, Handle, ModelSource, ServeOptions, Server};
use ndarray::Array4;
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};
use tempfile::TempDir;
use tokio::sync::oneshot;

pub const JSON: (&str, &str) = ("Content-Type", "application/json");

pub fn bundle() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../../models/tests/bundle")
}

pub fn conditional_bundle() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../../models/tests/conditional-bundle")
}

pub fn builder() -> GlowBuilder {
    Glow::builder().threads(1)
}

pub fn source(name: &str, bundle: impl Into<PathBuf>) -> ModelSource {
    ModelSource::new(name, bundle).builder(builder())
}

/// A copy of the bundle with the attributes `Bright` and `Left`.
pub fn with_attributes() -> TempDir {
    let folder = copy(&bundle());
    let glow = builder().load(folder.path()).unwrap();
    let images = Array4::from_shape_fn((8, 8, 8, 3), |(i, y, x, c)| {
        (60 + 100 * (i / 4) + 7 * (i * (x + 1) % 5) + 3 * y + c) as u8
    });
    let latents = glow.encode(&images, &EncodeOptions::default()).unwrap().latents.flat();
    let mut attributes = Attributes::new(glow.manifest());
    for (name, labels) in [("Bright", [0, 0, 0, 0, 1, 1, 1, 1]), ("Left", [0, 1, 0, 1, 0, 1, 0, 1])] {
        attributes
            .fit(name, latents.view(), &labels.map(|label| label == 1), &FitOptions::default())
            .unwrap();
    }
    attributes.save(folder.path()).unwrap();
    folder
}

pub fn copy(bundle: &Path) -> TempDir {
    let folder = tempfile::tempdir().unwrap();
    for entry in bundle.read_dir().unwrap() {
        let entry = entry.unwrap();
        std::fs::copy(entry.path(), folder.path().join(entry.file_name())).unwrap();
    }
    folder
}

/// A running server; it is stopped when it is dropped.
pub struct Running {
    pub address: SocketAddr,
    pub handle: Handle,
    events: Arc<Mutex<Vec<Event>>>,
    stop: Option<oneshot::Sender<()>>,
    thread: Option<JoinHandle<bool>>,
}

impl Running {
    /// Starts a server for one bundle, called `faces`.
    pub fn start(options: ServeOptions) -> Self {
        Self::with(options, vec![source("faces", bundle())])
    }

    pub fn with(options: ServeOptions, models: Vec<ModelSource>) -> Self {
        let events = Arc::new(Mutex::new(Vec::new()));
        let told = Arc::clone(&events);
        let options = options.port(0).on_event(move |event| told.lock().unwrap().push(event.clone()));
        let runtime =
            tokio::runtime::Builder::new_multi_thread().worker_threads(2).enable_all().build().unwrap();
        let server = runtime.block_on(Server::bind(options, models)).unwrap();
        let (address, handle) = (server.address(), server.handle());
        let (stop, stopped) = oneshot::channel();
        let thread = std::thread::spawn(move || {
            runtime.block_on(server.run(async {
                let _ = stopped.await;
            }))
        });
        Self { address, handle, events, stop: Some(stop), thread: Some(thread) }
    }

    pub fn ask(&self, method: &str, path: &str, headers: &[(&str, &str)], body: &[u8]) -> Answer {
        ask(self.address, method, path, headers, body)
    }

    pub fn get(&self, path: &str) -> Answer {
        self.ask("GET", path, &[], b"")
    }

    pub fn post(&self, path: &str, body: &serde_json::Value) -> Answer {
        self.ask("POST", path, &[JSON], body.to_string().as_bytes())
    }

    pub fn client(&self) -> Client {
        Client::connect(self.address).unwrap()
    }

    /// A figure of `/metrics`; 0 for one that is not there yet.
    pub fn figure(&self, name: &str) -> f64 {
        let text = self.get("/metrics").text();
        let line = text.lines().find(|line| line.starts_with(name));
        line.map_or(0.0, |line| line.rsplit(' ').next().unwrap().parse().unwrap())
    }

    /// Waits until a figure is so.
    pub fn wait_for(&self, name: &str, wanted: impl Fn(f64) -> bool) {
        let begin = Instant::now();
        while !wanted(self.figure(name)) {
            assert!(begin.elapsed() < Duration::from_secs(30), "{name} is {}", self.figure(name));
            std::thread::sleep(Duration::from_millis(5));
        }
    }

    pub fn events(&self) -> Vec<Event> {
        self.events.lock().unwrap().clone()
    }

    /// Stops it; gives whether all requests were finished.
    pub fn stop(mut self) -> bool {
        self.signal();
        self.thread.take().unwrap().join().unwrap()
    }

    /// As SIGTERM does.
    pub fn signal(&mut self) {
        if let Some(stop) = self.stop.take() {
            let _ = stop.send(());
        }
    }
}

impl Drop for Running {
    fn drop(&mut self) {
        self.signal();
        if let Some(thread) = self.thread.take() {
            let _ = thread.join();
        }
    }
}

pub fn block_on<T>(future: impl Future<Output = T>) -> T {
    tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap().block_on(future)
}

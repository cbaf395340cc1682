//! Connections: accepted, limited in number and time, and ended without losing what was accepted.
use crate::app::App;
use crate::metrics::Metrics;
use crate::model::{Model, ModelSource};
use crate::{Event, ServeError, ServeOptions, routes};
use axum::Router;
use glow_runtime::OnnxRuntime;
use hyper::server::conn::http1;
use hyper_util::rt::{TokioIo, TokioTimer};
use hyper_util::server::graceful::GracefulShutdown;
use hyper_util::service::TowerToHyperService;
use std::future::Future;
use std::io;
use std::net::SocketAddr;
use std::pin::pin;
use std::sync::Arc;
use std::time::{Duration, Instant};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::{OwnedSemaphorePermit, Semaphore};
use tokio_io_timeout::TimeoutStream;

/// The most bytes of a request's head.
const MAX_HEAD: usize = 64 << 10;
/// How long to wait for a connection that the system accepted already, at the end.
const LAST: Duration = Duration::from_millis(20);
/// How long such connections are taken at the most.
const MOST: Duration = Duration::from_secs(1);
/// The pause after the system refused a connection, as when file descriptors run out.
const PAUSE: Duration = Duration::from_millis(100);

/// A server with its models loaded; it answers once [`Server::run`] is polled.
#[derive(Debug)]
pub struct Server {
    app: Arc<App>,
    listener: TcpListener,
    address: SocketAddr,
}

/// Reaches a [`Server`] from elsewhere.
#[derive(Debug, Clone)]
pub struct Handle {
    app: Arc<App>,
}

impl Server {
    /// Takes the address, then loads the models.
    ///
    /// # Errors
    /// [`ServeError`], all of them.
    pub async fn bind(options: ServeOptions, sources: Vec<ModelSource>) -> Result<Self, ServeError> {
        options.check()?;
        if sources.is_empty() {
            return Err(ServeError::NoModel);
        }
        for (i, source) in sources.iter().enumerate() {
            source.check()?;
            if sources[..i].iter().any(|other| other.name() == source.name()) {
                return Err(ServeError::Duplicate { name: source.name().into() });
            }
        }
        let address = SocketAddr::new(options.address, options.port);
        let listener = TcpListener::bind(address).await;
        let listener = listener.map_err(|source| ServeError::Listen { address, source })?;
        let address = listener.local_addr().map_err(|source| ServeError::Listen { address, source })?;
        let app = tokio::task::spawn_blocking(move || load(options, sources)).await;
        let app = app.map_err(|error| ServeError::Start { source: io::Error::other(error) })??;
        Ok(Self { app, listener, address })
    }

    /// Where it listens.
    pub fn address(&self) -> SocketAddr {
        self.address
    }

    /// Reaches the server while it runs.
    pub fn handle(&self) -> Handle {
        Handle { app: Arc::clone(&self.app) }
    }

    /// Answers requests until `stop` is done. Then it takes no new connections and finishes the requests that it
    /// accepted, within [`ServeOptions::stop_timeout`]; gives whether all were finished.
    pub async fn run(self, stop: impl Future<Output = ()>) -> bool {
        let Self { app, listener, address } = self;
        let connections = Connections {
            router: routes::router(&app),
            graceful: GracefulShutdown::new(),
            free: Arc::new(Semaphore::new(app.options.max_connections)),
            app: Arc::clone(&app),
        };
        app.options.tell(&Event::Listening { address });
        connections.accept_until(&listener, stop).await;

        app.stop();
        app.options.tell(&Event::Stopping);
        // Answers say meanwhile that their connection ends, and balancers learn that the server is not ready.
        connections.accept_until(&listener, tokio::time::sleep(app.options.stop_delay)).await;
        let end = Instant::now() + MOST;
        while let Ok(Ok((stream, _))) = tokio::time::timeout(LAST, listener.accept()).await {
            connections.serve(stream, None);
            // Clients that never cease to come must not keep the server alive.
            if Instant::now() > end {
                break;
            }
        }
        drop(listener);
        let finished = tokio::time::timeout(app.options.stop_timeout, connections.graceful.shutdown()).await;
        app.options.tell(&Event::Stopped { finished: finished.is_ok() });
        finished.is_ok()
    }
}

impl Handle {
    /// Loads all bundles again, one after the other. Requests go on meanwhile; one that cannot be loaded goes on as
    /// it is. [`ServeOptions::on_event`] is told.
    pub async fn reload(&self) {
        self.reload_where(|_| true).await;
    }

    /// Loads those bundles again whose files have changed.
    pub async fn reload_changed(&self) {
        self.reload_where(Model::has_changed).await;
    }

    async fn reload_where(&self, wanted: fn(&Model) -> bool) {
        let app = Arc::clone(&self.app);
        let all = move || {
            for model in app.models.iter().filter(|model| wanted(model)) {
                // The error is told as an event.
                let _ = model.reload(&app.options);
            }
        };
        // It fails only when the process ends.
        let _ = tokio::task::spawn_blocking(all).await;
    }
}

fn load(options: ServeOptions, sources: Vec<ModelSource>) -> Result<Arc<App>, ServeError> {
    // The version is known once the first model is loaded, which needs the metrics.
    let metrics = Arc::new(Metrics::new());
    let mut models = Vec::new();
    for source in sources {
        models.push(Arc::new(Model::load(source, &options, &metrics)?));
    }
    if let Some(model) = models.first() {
        let OnnxRuntime { version, .. } = model.current().glow().onnxruntime().clone();
        metrics.set_build(&version);
    }
    Ok(Arc::new(App::new(options, models, metrics)))
}

struct Connections {
    app: Arc<App>,
    router: Router,
    graceful: GracefulShutdown,
    free: Arc<Semaphore>,
}

impl Connections {
    /// Accepts connections until `end` is done.
    async fn accept_until(&self, listener: &TcpListener, end: impl Future<Output = ()>) {
        let mut end = pin!(end);
        loop {
            let next = async {
                // The system keeps the rest waiting.
                let permit = Arc::clone(&self.free).acquire_owned().await.ok();
                (listener.accept().await, permit)
            };
            tokio::select! {
                biased;
                () = &mut end => return,
                (accepted, permit) = next => match accepted {
                    Ok((stream, _)) => self.serve(stream, permit),
                    Err(error) => {
                        // Of this one connection, or of the whole process for a moment.
                        self.app.options.tell(&Event::AcceptFailed { reason: error.to_string() });
                        tokio::time::sleep(PAUSE).await;
                    }
                },
            }
        }
    }

    fn serve(&self, stream: TcpStream, permit: Option<OwnedSemaphorePermit>) {
        let options = &self.app.options;
        // Answers are small: none should wait for more.
        let _ = stream.set_nodelay(true);
        let mut stream = TimeoutStream::new(stream);
        stream.set_write_timeout(Some(options.write_timeout));
        let connection = http1::Builder::new()
            .timer(TokioTimer::new())
            .header_read_timeout(options.header_timeout)
            .max_buf_size(MAX_HEAD)
            .serve_connection(TokioIo::new(Box::pin(stream)), TowerToHyperService::new(self.router.clone()));
        let connection = self.graceful.watch(connection);
        let open = self.app.metrics.connections.clone();
        open.inc();
        tokio::spawn(async move {
            // Its errors are those of a client that went, was too slow, or spoke no HTTP.
            let _ = connection.await;
            open.dec();
            drop(permit);
        });
    }
}

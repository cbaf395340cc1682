//! A server for a whole process: its runtime and its signals.
use crate::{Handle, ModelSource, ServeError, ServeOptions, Server};
use std::io;
use std::time::Duration;
use tokio::runtime::Builder;

/// The most threads that read and write: the models compute on threads of their own.
const MAX_WORKERS: usize = 4;
/// Threads that draw latents, decode photographs and compress pictures.
const BLOCKING: usize = 16;

/// Serves models until SIGTERM or Ctrl-C, and finishes the requests that it accepted; a second signal ends it at once.
/// SIGHUP loads the bundles again. Gives whether all requests were finished.
///
/// # Errors
/// [`ServeError`], all of them.
pub fn run(options: ServeOptions, models: Vec<ModelSource>) -> Result<bool, ServeError> {
    let start = |source: io::Error| ServeError::Start { source };
    let cores = std::thread::available_parallelism().map_or(1, usize::from);
    let runtime = Builder::new_multi_thread()
        .worker_threads(cores.clamp(1, MAX_WORKERS))
        .max_blocking_threads(BLOCKING)
        .thread_name("glow-http")
        .enable_all()
        .build()
        .map_err(start)?;
    let watch = options.watch;
    let finished = runtime.block_on(async {
        // Before the models are loaded, so that a signal meanwhile is not lost.
        let mut signals = Signals::new().map_err(start)?;
        let hangups = hangups().map_err(start)?;
        let server = tokio::select! {
            server = Server::bind(options, models) => server?,
            () = signals.stop() => return Ok(true),
        };
        let handle = server.handle();
        tokio::spawn(reload_on_signal(handle.clone(), hangups));
        if let Some(interval) = watch {
            tokio::spawn(reload_on_change(handle, interval));
        }
        let (stop, stopped) = tokio::sync::oneshot::channel();
        tokio::spawn(async move {
            signals.stop().await;
            let _ = stop.send(());
            signals.stop().await;
            // 128 + SIGINT, as shells count.
            std::process::exit(130);
        });
        let stopped = async {
            let _ = stopped.await;
        };
        Ok(server.run(stopped).await)
    });
    // A bundle that is being loaded is not waited for.
    runtime.shutdown_timeout(Duration::from_secs(1));
    finished
}

async fn reload_on_change(handle: Handle, interval: Duration) {
    loop {
        tokio::time::sleep(interval).await;
        handle.reload_changed().await;
    }
}

#[cfg(unix)]
type Hangups = tokio::signal::unix::Signal;

#[cfg(unix)]
fn hangups() -> io::Result<Hangups> {
    tokio::signal::unix::signal(tokio::signal::unix::SignalKind::hangup())
}

#[cfg(unix)]
async fn reload_on_signal(handle: Handle, mut hangups: Hangups) {
    while hangups.recv().await.is_some() {
        handle.reload().await;
    }
}

#[cfg(not(unix))]
fn hangups() -> io::Result<()> {
    Ok(())
}

#[cfg(not(unix))]
async fn reload_on_signal(_: Handle, (): ()) {}

/// The signals that end the process.
struct Signals {
    #[cfg(unix)]
    terminate: tokio::signal::unix::Signal,
}

impl Signals {
    fn new() -> io::Result<Self> {
        Ok(Self {
            #[cfg(unix)]
            terminate: tokio::signal::unix::signal(tokio::signal::unix::SignalKind::terminate())?,
        })
    }

    /// Until the next of them.
    #[cfg(unix)]
    async fn stop(&mut self) {
        tokio::select! {
            _ = self.terminate.recv() => {}
            _ = tokio::signal::ctrl_c() => {}
        }
    }

    #[cfg(not(unix))]
    async fn stop(&mut self) {
        let _ = tokio::signal::ctrl_c().await;
    }
}

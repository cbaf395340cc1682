//! How a server runs.
use crate::{Event, ServeError};
use std::fmt;
use std::net::{IpAddr, Ipv4Addr};
use std::sync::Arc;
use std::time::Duration;

/// Options of a [`Server`](crate::Server): begins with `new`, its defaults, and has a method for each field.
#[derive(Clone)]
#[non_exhaustive]
pub struct ServeOptions {
    /// Where to listen. Default 127.0.0.1: this machine alone.
    pub address: IpAddr,
    /// The port; 0 for any that is free. Default 8000.
    pub port: u16,
    /// Host names that requests may carry beside those of this machine, as a proxy passes them on. If the address is
    /// this machine's own, other names are refused, so that no page of the web can reach the server by a name that
    /// it controls. Default none.
    pub hosts: Vec<String>,
    /// Origins, such as `https://example.com`, whose pages may call the API from a browser. Default none.
    pub cors: Vec<String>,
    /// The most images that may wait at each graph of a model; a request beyond them gets status 503. Default 256.
    pub queue: usize,
    /// The most images of one request. Default 64.
    pub max_images: usize,
    /// The most bytes of a request's body; more get status 413. Default 16 MiB.
    pub max_body: usize,
    /// Bytes of all bodies that are held at a time; a request beyond them gets status 503. Default 256 MiB.
    pub body_memory: usize,
    /// The most pixels of a photograph; more get status 422. Default 64 million.
    pub max_pixels: u64,
    /// Bytes of photographs' pixels that are kept, at the model's size. Default 64 MiB.
    pub image_cache: usize,
    /// Bytes of latents of photographs that are kept for each model. Default 64 MiB.
    pub latent_cache: usize,
    /// Time for a request, from its head on; status 504 after it. A request may ask for less. Default 30 s.
    pub deadline: Duration,
    /// Time for a request's head, and for a connection without a request. Default 15 s.
    pub header_timeout: Duration,
    /// Time for a request's body; status 408 after it. Default 15 s.
    pub body_timeout: Duration,
    /// Time that a client may take nothing of an answer before its connection is closed. Default 30 s.
    pub write_timeout: Duration,
    /// The most connections at a time; others wait to be accepted. Default 1024.
    pub max_connections: usize,
    /// Time from the signal to stop until no new connections are accepted, during which the server is not ready: for
    /// balancers that need a moment to hear of it. Default 0.
    pub stop_delay: Duration,
    /// The most time that accepted requests get to finish. Default 30 s.
    pub stop_timeout: Duration,
    /// Looks for changed bundles so often and loads them again. Default: only on SIGHUP.
    pub watch: Option<Duration>,
    /// Whether `POST /v2/repository/models/NAME/load` loads a bundle again. Default false.
    pub reload_by_request: bool,
    on_event: Option<Listener>,
}

type Listener = Arc<dyn Fn(&Event) + Send + Sync>;

impl Default for ServeOptions {
    fn default() -> Self {
        Self {
            address: Ipv4Addr::LOCALHOST.into(),
            port: 8000,
            hosts: Vec::new(),
            cors: Vec::new(),
            queue: 256,
            max_images: 64,
            max_body: 16 << 20,
            body_memory: 256 << 20,
            max_pixels: 64_000_000,
            image_cache: 64 << 20,
            latent_cache: 64 << 20,
            deadline: Duration::from_secs(30),
            header_timeout: Duration::from_secs(15),
            body_timeout: Duration::from_secs(15),
            write_timeout: Duration::from_secs(30),
            max_connections: 1024,
            stop_delay: Duration::ZERO,
            stop_timeout: Duration::from_secs(30),
            watch: None,
            reload_by_request: false,
            on_event: None,
        }
    }
}

/// A method that sets a field of its name.
macro_rules! setters {
    ($($field:ident: $type:ty),* $(,)?) => {
        $(
            #[doc = concat!("Sets [`ServeOptions::", stringify!($field), "`].")]
            pub fn $field(mut self, $field: $type) -> Self {
                self.$field = $field;
                self
            }
        )*
    };
}

impl ServeOptions {
    /// The defaults.
    pub fn new() -> Self {
        Self::default()
    }

    setters! {
        address: IpAddr,
        port: u16,
        hosts: Vec<String>,
        cors: Vec<String>,
        queue: usize,
        max_images: usize,
        max_body: usize,
        body_memory: usize,
        max_pixels: u64,
        image_cache: usize,
        latent_cache: usize,
        deadline: Duration,
        header_timeout: Duration,
        body_timeout: Duration,
        write_timeout: Duration,
        max_connections: usize,
        stop_delay: Duration,
        stop_timeout: Duration,
        watch: Option<Duration>,
        reload_by_request: bool,
    }

    /// Is told what happens. It should be quick: requests wait for it.
    pub fn on_event(mut self, listener: impl Fn(&Event) + Send + Sync + 'static) -> Self {
        self.on_event = Some(Arc::new(listener));
        self
    }

    pub(crate) fn tell(&self, event: &Event) {
        if let Some(listener) = &self.on_event {
            listener(event);
        }
    }

    pub(crate) fn check(&self) -> Result<(), ServeError> {
        let wrong = |option, value: String, allowed| Err(ServeError::Option { option, value, allowed });
        for (option, value) in [
            ("queue", self.queue),
            ("max_images", self.max_images),
            ("max_body", self.max_body),
            ("max_connections", self.max_connections),
        ] {
            if value == 0 {
                return wrong(option, "0".into(), "at least 1");
            }
        }
        if self.max_images > self.queue {
            return wrong("max_images", self.max_images.to_string(), "at most the queue");
        }
        if self.body_memory < self.max_body {
            return wrong("body_memory", self.body_memory.to_string(), "at least max_body");
        }
        if self.watch.is_some_and(|interval| interval.is_zero()) {
            return wrong("watch", "0".into(), "a time above 0");
        }
        for origin in &self.cors {
            let host = origin.strip_prefix("https://").or_else(|| origin.strip_prefix("http://"));
            if host.is_none_or(|host| host.is_empty() || host.contains(['/', ' ', '*', '?', '#', ','])) {
                let allowed = "an origin such as https://example.com, without a path";
                return wrong("cors", origin.clone(), allowed);
            }
        }
        Ok(())
    }
}

impl fmt::Debug for ServeOptions {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("ServeOptions")
            .field("address", &self.address)
            .field("port", &self.port)
            .field("queue", &self.queue)
            .finish_non_exhaustive()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_cannot_be_is_refused() {
        assert!(ServeOptions::new().check().is_ok());
        let origins = |origin: &str| ServeOptions::new().cors(vec![origin.into()]);
        assert!(origins("https://example.com:8443").check().is_ok());
        for (options, wrong) in [
            (ServeOptions::new().queue(0), "queue"),
            (ServeOptions::new().queue(8).max_images(9), "max_images"),
            (ServeOptions::new().max_body(2).body_memory(1), "body_memory"),
            (ServeOptions::new().watch(Some(Duration::ZERO)), "watch"),
            (origins("*"), "cors"),
            (origins("example.com"), "cors"),
            (origins("https://example.com/page"), "cors"),
        ] {
            let result = options.check();
            assert!(
                matches!(result, Err(ServeError::Option { option, .. }) if option == wrong),
                "{result:?}"
            );
        }
    }
}

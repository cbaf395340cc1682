//! What all requests share.
use crate::ServeOptions;
use crate::images::{Cache, ImageId};
use crate::limits::BodyMemory;
use crate::metrics::Metrics;
use crate::model::{Loaded, Model};
use crate::problem::Problem;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use tokio::sync::Semaphore;

/// Options, models, caches and figures of a server.
#[derive(Debug)]
pub(crate) struct App {
    pub options: ServeOptions,
    /// The first is the one for requests that name none.
    pub models: Vec<Arc<Model>>,
    pub metrics: Arc<Metrics>,
    pub images: Cache<ImageId, Arc<[u8]>>,
    pub body_memory: BodyMemory,
    /// Photographs that may be decoded at a time: each takes up to its pixels in memory.
    pub decoders: Arc<Semaphore>,
    stopping: AtomicBool,
}

impl App {
    pub fn new(options: ServeOptions, models: Vec<Arc<Model>>, metrics: Arc<Metrics>) -> Self {
        let cores = std::thread::available_parallelism().map_or(1, usize::from);
        Self {
            models,
            metrics,
            images: Cache::new(options.image_cache),
            body_memory: BodyMemory::new(options.body_memory),
            decoders: Arc::new(Semaphore::new(cores.min(4))),
            stopping: AtomicBool::new(false),
            options,
        }
    }

    /// The model of a name, or the first; as it is loaded now.
    pub fn model(&self, name: Option<&str>) -> Result<(&str, Arc<Loaded>), Problem> {
        let model = match name {
            None => self.models.first(),
            Some(name) => self.models.iter().find(|model| model.name() == name),
        };
        let model = model.ok_or_else(|| {
            let names: Vec<&str> = self.models.iter().map(|model| model.name()).collect();
            let name = name.unwrap_or_default();
            Problem::not_found(
                "unknown_model",
                format!("there is no model {name:?}; there are {}", names.join(", ")),
            )
        })?;
        Ok((model.name(), model.current()))
    }

    /// Whether the server is about to end.
    pub fn is_stopping(&self) -> bool {
        self.stopping.load(Ordering::Relaxed)
    }

    pub fn stop(&self) {
        self.stopping.store(true, Ordering::Relaxed);
    }

    /// Why no requests should come, if so.
    pub fn unready(&self) -> Option<String> {
        if self.is_stopping() {
            return Some("the server is stopping".into());
        }
        self.models.iter().find_map(|model| {
            let error = model.current().glow().health().err()?;
            Some(format!("{}: {error}", model.name()))
        })
    }
}

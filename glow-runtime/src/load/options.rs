//! How a bundle is loaded, as [`GlowBuilder`](crate::GlowBuilder) collects it.
use crate::progress::Progress;
use crate::{Architecture, Error, GraphKind, Provider};
use std::path::PathBuf;

/// What the methods of [`GlowBuilder`](crate::GlowBuilder) set; they say what each means.
#[derive(Debug, Clone)]
pub(crate) struct LoadOptions {
    pub providers: Vec<Provider>,
    pub threads: Option<usize>,
    pub shared_threads: Option<usize>,
    pub spinning: bool,
    pub sessions: usize,
    pub share_weights: bool,
    pub map_weights: bool,
    pub trim_memory: bool,
    pub cache: Option<PathBuf>,
    pub onnxruntime: Option<PathBuf>,
    /// What the application has made.
    pub environment: Option<ort::environment::Environment>,
    pub only: Option<GraphKind>,
    pub verify: bool,
    pub check: bool,
    pub warm_up: Vec<usize>,
    pub max_batch: Option<usize>,
    pub memory_budget: usize,
    pub progress: Progress,
}

/// Bytes that the activations of all sessions may take.
const MEMORY_BUDGET: usize = 512 << 20;
/// More images at once than this gain nothing.
const MAX_BATCH: usize = 32;
/// Hidden activations of an image that are alive at once, counted in float, with ONNX Runtime's arena
/// around them: measured.
const ACTIVATIONS: usize = 8;

/// More sessions than this are a mistake.
const MAX_SESSIONS: usize = 1024;

impl Default for LoadOptions {
    fn default() -> Self {
        Self {
            providers: vec![Provider::default()],
            threads: None,
            shared_threads: None,
            spinning: false,
            sessions: 1,
            share_weights: true,
            map_weights: true,
            trim_memory: false,
            cache: None,
            onnxruntime: None,
            environment: None,
            only: None,
            verify: true,
            check: true,
            warm_up: Vec::new(),
            max_batch: None,
            memory_budget: MEMORY_BUDGET,
            progress: Progress::default(),
        }
    }
}

impl LoadOptions {
    pub fn validate(&self) -> Result<(), Error> {
        let batches = self.warm_up.iter().min().copied();
        let sessions = Some(self.sessions);
        for (option, value) in [
            ("threads", self.threads),
            ("shared_threads", self.shared_threads),
            ("max_batch", self.max_batch),
            ("sessions", sessions),
            ("warm_up", batches),
        ] {
            if value == Some(0) {
                return Err(Error::Option { option, value: "0".into(), allowed: "at least 1" });
            }
        }
        if let (Some(threads), Some(_)) = (self.threads, self.shared_threads) {
            let allowed = "not with shared_threads, which are those of all sessions";
            return Err(Error::Option { option: "threads", value: threads.to_string(), allowed });
        }
        if self.sessions > MAX_SESSIONS {
            let value = self.sessions.to_string();
            return Err(Error::Option { option: "sessions", value, allowed: "at most 1024" });
        }
        let captures = self.providers.iter().any(Provider::captures_graphs);
        if captures && self.sessions > 1 {
            let allowed = "1 with CUDA graphs, as nothing may allocate while one is captured";
            return Err(Error::Option { option: "sessions", value: self.sessions.to_string(), allowed });
        }
        if captures && self.providers.len() > 1 {
            let value = format!("{:?}", self.providers);
            let allowed = "CUDA alone with CUDA graphs, as every node must run there";
            return Err(Error::Option { option: "providers", value, allowed });
        }
        let auto = self.providers.contains(&Provider::Auto);
        if self.providers.is_empty() || auto && self.providers.len() > 1 {
            let value = format!("{:?}", self.providers);
            let allowed = "at least one provider, and Auto only alone";
            return Err(Error::Option { option: "providers", value, allowed });
        }
        Ok(())
    }

    pub fn kinds(&self) -> Vec<GraphKind> {
        match self.only {
            Some(kind) => vec![kind],
            None => vec![GraphKind::Encoder, GraphKind::Decoder],
        }
    }

    pub fn threads_per_session(&self) -> usize {
        self.threads.or(self.shared_threads).unwrap_or_else(|| (cores() / self.sessions).max(1))
    }

    /// Batch sizes that loading runs: those that are asked for, and those that a provider must learn of.
    pub fn batches_to_run(&self, providers: &[Provider]) -> Vec<usize> {
        let mut batches = Provider::to_learn(providers);
        batches.extend(&self.warm_up);
        batches
    }

    /// Images that run at once.
    pub fn chunk(&self, architecture: &Architecture, providers: &[Provider]) -> usize {
        let budget = self.memory_budget / self.sessions;
        let chunk = self.max_batch.unwrap_or_else(|| images_within(budget, architecture));
        providers.iter().filter_map(Provider::batches).map(|(_, most)| most).fold(chunk, usize::min)
    }
}

fn images_within(budget: usize, architecture: &Architecture) -> usize {
    let activation =
        size_of::<f32>() * architecture.hidden * (architecture.height / 2) * (architecture.width / 2);
    (budget / (ACTIVATIONS * activation.max(1))).clamp(1, MAX_BATCH)
}

/// Physical cores, no more than the processors that a container is given.
fn cores() -> usize {
    let processors = std::thread::available_parallelism().map_or(1, usize::from);
    num_cpus::get_physical().clamp(1, processors)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn chunks_shrink_as_images_grow() {
        let of = |size| {
            let architecture = Architecture { height: size, width: size, ..Default::default() };
            images_within(MEMORY_BUDGET, &architecture)
        };
        assert_eq!([32, 64, 128, 256, 1024].map(of), [32, 32, 8, 2, 1]);
    }

    #[test]
    fn the_budget_is_that_of_all_sessions() {
        let cifar = Architecture { height: 32, width: 32, hidden: 512, ..Default::default() };
        let chunk = |options: LoadOptions| options.chunk(&cifar, &[Provider::Cpu]);
        let small = || LoadOptions { memory_budget: 64 << 20, ..Default::default() };
        let large = || LoadOptions { max_batch: Some(100), ..small() };
        let sessions = LoadOptions { sessions: 4, ..small() };
        assert_eq!([chunk(small()), chunk(sessions), chunk(large())], [16, 4, 100]);
        let engine = [Provider::TensorRt(Default::default())];
        assert_eq!(large().chunk(&cifar, &engine), 32);
    }

    #[test]
    fn threads_are_divided_among_sessions() {
        let threads =
            |threads, sessions| LoadOptions { threads, sessions, ..Default::default() }.threads_per_session();
        assert_eq!([threads(Some(3), 2), threads(None, 10_000)], [3, 1]);
        assert!((1..=std::thread::available_parallelism().unwrap().get()).contains(&threads(None, 1)));
    }

    #[test]
    fn graphs_are_captured_for_one_session() {
        let providers = vec![Provider::Cuda(crate::Cuda::default().graphs(true))];
        let options = |sessions| LoadOptions { providers: providers.clone(), sessions, ..Default::default() };
        assert!(options(1).validate().is_ok());
        assert!(matches!(options(2).validate(), Err(Error::Option { option: "sessions", .. })));
        let mut behind = options(1);
        behind.providers.push(Provider::Cpu);
        assert!(matches!(behind.validate(), Err(Error::Option { option: "providers", .. })));
    }
}

//! Spans and events of the crate `tracing`, with the feature of that name; nothing at all without it.

/// Opens a span until the end of the block: its level, its name as a literal, its fields.
macro_rules! span {
    ($level:ident, $name:literal $(, $($fields:tt)*)?) => {
        #[cfg(feature = "tracing")]
        let _span = tracing::span!(target: "glow_runtime", tracing::Level::$level, $name $(, $($fields)*)?).entered();
    };
}
pub(crate) use span;

/// The span that a thread is in, to be entered by another thread or followed by other work.
#[derive(Clone)]
pub(crate) struct Origin(#[cfg(feature = "tracing")] tracing::Span);

impl Origin {
    /// The span that this thread is in.
    pub fn here() -> Self {
        Self(
            #[cfg(feature = "tracing")]
            tracing::Span::current(),
        )
    }

    /// Does some work within the span.
    pub fn within<T>(&self, work: impl FnOnce() -> T) -> T {
        #[cfg(feature = "tracing")]
        let _span = self.0.enter();
        work()
    }

    /// Says that the span that this thread is in was caused by it.
    pub fn is_followed(&self) {
        #[cfg(feature = "tracing")]
        tracing::Span::current().follows_from(&self.0);
    }
}

/// ONNX Runtime's log as events of the target `onnxruntime`.
#[cfg(feature = "tracing")]
pub(crate) mod onnxruntime {
    use ort::logging::{LogLevel, LoggerFunction};
    use std::panic::{AssertUnwindSafe, catch_unwind};
    use std::sync::Arc;
    use tracing::Level;

    const TARGET: &str = "onnxruntime";

    /// What ONNX Runtime calls with each message.
    pub fn logger() -> LoggerFunction {
        Arc::new(|level, category, _id, location, message| {
            // A subscriber that panics must not unwind into C++.
            let _ = catch_unwind(AssertUnwindSafe(|| match level {
                LogLevel::Verbose => tracing::trace!(target: TARGET, category, location, "{message}"),
                LogLevel::Info => tracing::info!(target: TARGET, category, location, "{message}"),
                LogLevel::Warning => tracing::warn!(target: TARGET, category, location, "{message}"),
                LogLevel::Error | LogLevel::Fatal => {
                    tracing::error!(target: TARGET, category, location, "{message}");
                }
            }));
        })
    }

    /// The lowest level that the subscriber takes, so that ONNX Runtime does not write messages for nobody.
    pub fn level() -> LogLevel {
        if tracing::enabled!(target: TARGET, Level::TRACE) {
            LogLevel::Verbose
        } else if tracing::enabled!(target: TARGET, Level::INFO) {
            LogLevel::Info
        } else if tracing::enabled!(target: TARGET, Level::WARN) {
            LogLevel::Warning
        } else if tracing::enabled!(target: TARGET, Level::ERROR) {
            LogLevel::Error
        } else {
            LogLevel::Fatal
        }
    }
}

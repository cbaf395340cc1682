//! Criterion benchmarks of the trainer, the exporter and the runtime.

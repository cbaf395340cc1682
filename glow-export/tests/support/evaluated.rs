//! A thawed bundle in float64. A file of its own: the library's own tests, which share the others, cannot name the library.
use glow_export::{Reference, Weights};
use glow_models::{Checkpoint, CheckpointMeta, Config, Group, ParameterValues, write_atomically};

/// What a bundle was thawed to, as a checkpoint that is evaluated in float64.
pub fn evaluated(thawed: &ParameterValues) -> Reference {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("thawed.safetensors");
    let meta = CheckpointMeta {
        config: Config { model: thawed.architecture().clone(), ..Default::default() },
        actnorm_initialised: true,
        ..Default::default()
    };
    write_atomically(&path, |out| {
        Checkpoint::write(out, &meta, &Group::WEIGHTS[..1], |_, parameter, out| {
            out.write_all(&thawed.bytes(parameter))
        })
    })
    .unwrap();
    Reference::new(&Checkpoint::open(&path).unwrap(), Weights::Averaged).unwrap()
}

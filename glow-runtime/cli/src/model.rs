//! Which model a command uses: the bundle that the command line names, or the one that comes with the program.
use crate::failure::Misuse;
use crate::outputs::say;
use anyhow::Result;
use clap::Args;
use glow_models::{Bundle, DECODER_FILE, ENCODER_FILE, MANIFEST_FILE, WEIGHTS_FILE};
use glow_runtime::{Glow, GlowBuilder};
use std::path::{Path, PathBuf};

/// The argument BUNDLE of commands that take no other argument without a flag.
#[derive(Args)]
pub struct BundleArgument {
    /// The bundle's folder [default: faces64, the model that comes with this program]
    bundle: Option<PathBuf>,
}

impl BundleArgument {
    /// The model that is meant.
    pub fn model(&self) -> Result<Model> {
        Model::choose(self.bundle.as_deref())
    }
}

/// The bundle and the rest of `arguments`. The first argument is the bundle if it looks like one; otherwise the
/// program's own model is meant.
pub fn split(arguments: &[PathBuf]) -> Result<(Option<&Path>, &[PathBuf])> {
    match arguments {
        [bundle] if looks_like_bundle(bundle) => {
            let text = format!("{} is a bundle, and nothing follows that it could work on", bundle.display());
            Err(Misuse(text).into())
        }
        [bundle, rest @ ..] if looks_like_bundle(bundle) => Ok((Some(bundle), rest)),
        all => Ok((None, all)),
    }
}

/// Whether a path is that of a bundle, or of what somebody takes for one: then the error says what it lacks,
/// where another model would silently give other results.
fn looks_like_bundle(path: &Path) -> bool {
    let holds = |name: &&str| path.join(name).exists();
    path.extension().is_some_and(|extension| extension == "glow")
        || [MANIFEST_FILE, WEIGHTS_FILE, ENCODER_FILE, DECODER_FILE].iter().any(holds)
        // A run of glow-train, which has yet to be exported.
        || ["checkpoints", "config.toml"].iter().all(holds)
}

/// Where a model is.
pub enum Model {
    /// In a folder.
    Folder(PathBuf),
    /// In this program.
    #[cfg(feature = "faces64")]
    Embedded,
}

impl Model {
    /// The bundle that is named; without a name, the model that comes with the program, which is told on stderr.
    pub fn choose(named: Option<&Path>) -> Result<Self> {
        match named {
            Some(folder) => Ok(Self::Folder(folder.into())),
            None => Self::own(),
        }
    }

    /// faces64: beside the program, else in the checkout, else within the program.
    #[cfg(feature = "faces64")]
    fn own() -> Result<Self> {
        let beside = || {
            let folder = std::env::current_exe().ok()?.parent()?.join(glow_faces64::NAME);
            folder.join(MANIFEST_FILE).is_file().then_some(folder)
        };
        let model = beside().or_else(glow_faces64::folder).map_or(Self::Embedded, Self::Folder);
        let place = match &model {
            Self::Folder(folder) => folder.display().to_string(),
            Self::Embedded => "within this program".into(),
        };
        say(&format!("model: {}, {place} ({})", glow_faces64::NAME, glow_faces64::LICENCE));
        Ok(model)
    }

    #[cfg(not(feature = "faces64"))]
    fn own() -> Result<Self> {
        say("this program was built without the feature faces64");
        Err(Misuse("no model is named, and this program has none of its own: name a bundle".into()).into())
    }

    /// Loads it.
    pub fn load(&self, builder: GlowBuilder) -> Result<Glow> {
        Ok(match self {
            Self::Folder(folder) => builder.load(folder)?,
            #[cfg(feature = "faces64")]
            Self::Embedded => builder.load_bytes(glow_faces64::bundle())?,
        })
    }

    /// Its bundle, to look at.
    pub fn bundle(&self) -> Result<Bundle> {
        let bundle = match self {
            Self::Folder(folder) => Bundle::open(folder),
            #[cfg(feature = "faces64")]
            Self::Embedded => Bundle::from_bytes(glow_faces64::bundle()),
        };
        Ok(bundle.map_err(glow_runtime::Error::from)?)
    }

    /// Its files in a folder; of an embedded one in a temporary folder.
    pub fn on_disk(&self) -> Result<OnDisk> {
        match self {
            Self::Folder(folder) => Ok(OnDisk { path: folder.clone(), _temporary: None }),
            #[cfg(feature = "faces64")]
            Self::Embedded => unpacked(),
        }
    }
}

/// A bundle's folder.
pub struct OnDisk {
    /// The folder.
    pub path: PathBuf,
    _temporary: Option<tempfile::TempDir>,
}

#[cfg(feature = "faces64")]
fn unpacked() -> Result<OnDisk> {
    use anyhow::Context;
    let folder = tempfile::tempdir().context("cannot make a temporary folder")?;
    let files = glow_faces64::bundle();
    for (name, bytes) in [
        (MANIFEST_FILE, &files.manifest),
        (WEIGHTS_FILE, &files.weights),
        (ENCODER_FILE, &files.encoder.unwrap_or_default()),
        (DECODER_FILE, &files.decoder.unwrap_or_default()),
        (glow_models::ATTRIBUTES_FILE, &files.attributes.unwrap_or_default()),
        ("reference.json", &glow_faces64::reference().into()),
    ] {
        let path = folder.path().join(name);
        std::fs::write(&path, bytes).with_context(|| format!("cannot write {}", path.display()))?;
    }
    Ok(OnDisk { path: folder.path().into(), _temporary: Some(folder) })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_first_argument_is_the_bundle_if_it_looks_like_one() {
        let folder = tempfile::tempdir().unwrap();
        let path = |name: &str| folder.path().join(name);
        for (name, files) in [
            ("whole", &["model.json"][..]),
            ("torn", &["encoder.onnx"]),
            ("run", &["checkpoints", "config.toml"]),
            ("photos", &["a.png", "config.toml"]),
        ] {
            std::fs::create_dir(path(name)).unwrap();
            files.iter().for_each(|file| std::fs::write(path(name).join(file), "").unwrap());
        }
        let photo = path("photos/a.png");
        for (first, is_bundle) in [
            ("whole", true),
            ("torn", true),
            ("run", true),
            ("missing.glow", true),
            ("photos", false),
            ("missing", false),
        ] {
            let arguments = [path(first), photo.clone()];
            let (bundle, rest) = split(&arguments).unwrap();
            assert_eq!(bundle.is_some(), is_bundle, "{first}");
            assert_eq!(rest.len(), if is_bundle { 1 } else { 2 });
            assert_eq!(split(&arguments[..1]).is_err(), is_bundle, "{first} alone");
        }
    }

    #[cfg(feature = "faces64")]
    #[test]
    fn the_embedded_model_can_be_unpacked() {
        let folder = Model::Embedded.on_disk().unwrap();
        let bundle = Bundle::open(&folder.path).unwrap();
        assert!(bundle.manifest().files.keys().all(|file| bundle.verify(file).is_ok()));
        assert_eq!(bundle.manifest(), Model::Embedded.bundle().unwrap().manifest());
        assert!(glow_runtime::Attributes::open(&folder.path).unwrap().len() >= 10);
    }
}

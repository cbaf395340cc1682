//! Writing the page as a folder for a static host.
use crate::{FILES, PageError, onnxruntime_web};
use glow_models::{ATTRIBUTES_FILE, Bundle, MANIFEST_FILE};
use serde::Serialize;
use std::fs;
use std::path::{Path, PathBuf};

/// Says that a folder is a site, and what the page finds in it.
const SITE_FILE: &str = "site.json";
/// Scores of a reference set, as `glow score --save-reference` writes them.
const REFERENCE_FILE: &str = "reference.json";

/// Headers for hosts that read such a file (Netlify, Cloudflare Pages). The first two let WebAssembly use
/// threads; the rest closes what the page does not need.
const HEADERS: &str = "\
/*
  Cross-Origin-Opener-Policy: same-origin
  Cross-Origin-Embedder-Policy: require-corp
  Cross-Origin-Resource-Policy: same-origin
  X-Content-Type-Options: nosniff
  Referrer-Policy: no-referrer
  Permissions-Policy: camera=(self), microphone=(), geolocation=()
  Content-Security-Policy: frame-ancestors 'none'
/*.mjs
  Content-Type: text/javascript
";

const README: &str = "\
This folder is a whole site: put it on any host of static files, and open index.html by http or https. The
model runs in the visitor's browser. Nothing is sent to the host.

Browsers let WebAssembly use several threads only if the host sends these two headers with every file:

  Cross-Origin-Opener-Policy: same-origin
  Cross-Origin-Embedder-Policy: require-corp

Without them the page runs in one thread. `_headers` sets them on Netlify and Cloudflare Pages. Elsewhere:

  nginx   add_header Cross-Origin-Opener-Policy same-origin always;
          add_header Cross-Origin-Embedder-Policy require-corp always;
          types { text/javascript mjs; application/wasm wasm; }
  Apache  Header always set Cross-Origin-Opener-Policy same-origin
          Header always set Cross-Origin-Embedder-Policy require-corp
          AddType text/javascript .mjs
  Caddy   header Cross-Origin-Opener-Policy same-origin
          header Cross-Origin-Embedder-Policy require-corp

GitHub Pages sends neither and cannot be told to. Let the host compress (brotli, gzip): onnxruntime-web has 14
MB on disk and 2.3 MB as brotli. The files for WebGPU, `*.asyncify.*` and `ort.webgpu.min.mjs`, are fetched
only by browsers that have it.
";

/// What was written.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Site {
    /// Number of files.
    pub files: usize,
    /// Their bytes.
    pub bytes: u64,
}

#[derive(Serialize)]
struct SiteManifest<'a> {
    format: &'a str,
    version: u32,
    backend: &'a str,
    /// Which of the bundle's optional files are there.
    optional: Vec<&'a str>,
}

/// Writes the page, onnxruntime-web from its folder `dist`, and a bundle into the folder `out`. `reference` is a
/// file of `glow score --save-reference`, by which the page tells how typical an image is; without one, that
/// of the bundle's folder, if there is one.
///
/// An older site at `out` is replaced once the new one is whole.
///
/// # Errors
/// [`PageError::Bundle`] if the bundle is not whole, [`PageError::Occupied`] if `out` holds anything but an
/// older site, [`PageError::Io`].
pub fn write_site(
    bundle: &Path,
    onnxruntime_web: &Path,
    reference: Option<&Path>,
    out: &Path,
) -> Result<Site, PageError> {
    let bundle = Bundle::open(bundle)?;
    let listed: Vec<&str> = bundle.manifest().files.keys().map(String::as_str).collect();
    for file in &listed {
        bundle.verify(file)?;
    }
    check_free(out)?;
    let new = beside(out, "new");
    let mut writer = Writer::begin(&new)?;

    for (name, content) in FILES {
        writer.write(name, content)?;
    }
    for file in onnxruntime_web::FILES {
        writer.copy(&onnxruntime_web.join(file), &format!("onnxruntime-web/{file}"))?;
    }
    for file in listed.iter().chain([&MANIFEST_FILE]) {
        writer.copy(&bundle.path(file), &format!("model.glow/{file}"))?;
    }
    let mut optional = Vec::new();
    let attributes = bundle.path(ATTRIBUTES_FILE);
    let own_reference = bundle.path(REFERENCE_FILE);
    for (path, name, wanted) in [
        (attributes.as_path(), ATTRIBUTES_FILE, false),
        (reference.unwrap_or(&own_reference), REFERENCE_FILE, reference.is_some()),
    ] {
        if wanted || path.is_file() {
            writer.copy(path, &format!("model.glow/{name}"))?;
            optional.push(name);
        }
    }
    writer.write("_headers", HEADERS.as_bytes())?;
    // GitHub Pages leaves out names that begin with an underscore unless this is there.
    writer.write(".nojekyll", b"")?;
    writer.write("README.txt", README.as_bytes())?;
    let manifest = SiteManifest { format: "glow-page", version: 1, backend: "browser", optional };
    let manifest = serde_json::to_vec_pretty(&manifest).expect("strings become JSON");
    writer.write(SITE_FILE, &manifest)?;

    put_into_place(&new, out)?;
    Ok(writer.site.clone())
}

/// Whether `out` is new, empty, or an older site.
fn check_free(out: &Path) -> Result<(), PageError> {
    let occupied = || PageError::Occupied { path: out.into() };
    match out.read_dir() {
        Ok(mut entries) => match entries.next() {
            Some(_) if !out.join(SITE_FILE).is_file() => Err(occupied()),
            _ => Ok(()),
        },
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => Ok(()),
        Err(error) if error.kind() == std::io::ErrorKind::NotADirectory => Err(occupied()),
        Err(source) => Err(PageError::Io { action: "read", path: out.into(), source }),
    }
}

/// A folder beside another, for what is not finished.
fn beside(out: &Path, what: &str) -> PathBuf {
    let mut name = out.file_name().unwrap_or_default().to_owned();
    name.push(format!(".{what}-{}", std::process::id()));
    out.with_file_name(name)
}

/// Exchanges an older site for the new one.
fn put_into_place(new: &Path, out: &Path) -> Result<(), PageError> {
    let old = beside(out, "old");
    let replace = |path: &Path| {
        let path = path.to_path_buf();
        move |source| PageError::Io { action: "replace", path, source }
    };
    let replaced = match fs::rename(out, &old) {
        Ok(()) => true,
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => false,
        Err(error) => return Err(replace(out)(error)),
    };
    fs::rename(new, out).map_err(replace(out))?;
    if replaced {
        fs::remove_dir_all(&old).map_err(replace(&old))?;
    }
    Ok(())
}

/// Writes files into a new folder.
struct Writer {
    folder: PathBuf,
    site: Site,
}

impl Writer {
    fn begin(folder: &Path) -> Result<Self, PageError> {
        let io = |source| PageError::Io { action: "make the folder", path: folder.into(), source };
        // What a run that was killed left behind.
        if folder.exists() {
            fs::remove_dir_all(folder).map_err(io)?;
        }
        fs::create_dir_all(folder).map_err(io)?;
        Ok(Self { folder: folder.into(), site: Site { files: 0, bytes: 0 } })
    }

    fn write(&mut self, name: &str, content: &[u8]) -> Result<(), PageError> {
        let path = self.place(name)?;
        fs::write(&path, content).map_err(|source| PageError::Io { action: "write", path, source })?;
        self.count(content.len() as u64);
        Ok(())
    }

    fn copy(&mut self, from: &Path, name: &str) -> Result<(), PageError> {
        let path = self.place(name)?;
        let bytes = fs::copy(from, path).map_err(|source| PageError::Io {
            action: "copy",
            path: from.into(),
            source,
        })?;
        self.count(bytes);
        Ok(())
    }

    fn place(&self, name: &str) -> Result<PathBuf, PageError> {
        let path = self.folder.join(name);
        if let Some(folder) = path.parent() {
            let io = |source| PageError::Io { action: "make the folder", path: folder.into(), source };
            fs::create_dir_all(folder).map_err(io)?;
        }
        Ok(path)
    }

    fn count(&mut self, bytes: u64) {
        self.site.files += 1;
        self.site.bytes += bytes;
    }
}

impl Drop for Writer {
    /// What was not put into place is not left behind.
    fn drop(&mut self) {
        let _ = fs::remove_dir_all(&self.folder);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const BUNDLE: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/../../models/tests/bundle");

    /// A stand-in for onnxruntime-web's files.
    fn runtime() -> tempfile::TempDir {
        let folder = tempfile::tempdir().unwrap();
        for file in onnxruntime_web::FILES {
            fs::write(folder.path().join(file), file).unwrap();
        }
        folder
    }

    #[test]
    fn a_site_is_whole_and_is_replaced_by_another() {
        let (runtime, folder) = (runtime(), tempfile::tempdir().unwrap());
        let out = folder.path().join("deep/site");
        let site = write_site(Path::new(BUNDLE), runtime.path(), None, &out).unwrap();
        for name in
            ["index.html", "app.js", "engine/worker.js", "_headers", "onnxruntime-web/ort.wasm.min.mjs"]
        {
            assert!(out.join(name).is_file(), "{name}");
        }
        let copied = |name: &str| fs::read(out.join("model.glow").join(name)).unwrap();
        assert_eq!(
            copied("model.safetensors"),
            fs::read(Path::new(BUNDLE).join("model.safetensors")).unwrap()
        );
        assert!(fs::read_to_string(out.join("site.json")).unwrap().contains("\"optional\": []"));

        fs::write(out.join("stale.js"), "").unwrap();
        assert_eq!(write_site(Path::new(BUNDLE), runtime.path(), None, &out).unwrap(), site);
        assert!(!out.join("stale.js").exists());
        assert_eq!(out.parent().unwrap().read_dir().unwrap().count(), 1, "nothing is left beside it");
    }

    #[test]
    fn what_is_there_is_kept() {
        let (runtime, folder) = (runtime(), tempfile::tempdir().unwrap());
        fs::write(folder.path().join("thesis.txt"), "").unwrap();
        for out in [folder.path().to_path_buf(), folder.path().join("thesis.txt")] {
            let error = write_site(Path::new(BUNDLE), runtime.path(), None, &out).unwrap_err();
            assert!(matches!(error, PageError::Occupied { .. }), "{error}");
        }
        assert!(folder.path().join("thesis.txt").is_file());
    }

    #[test]
    fn a_broken_bundle_leaves_the_older_site() {
        let (runtime, folder) = (runtime(), tempfile::tempdir().unwrap());
        let out = folder.path().join("site");
        write_site(Path::new(BUNDLE), runtime.path(), None, &out).unwrap();
        let bundle = folder.path().join("bundle");
        fs::create_dir(&bundle).unwrap();
        for entry in Path::new(BUNDLE).read_dir().unwrap() {
            let entry = entry.unwrap();
            fs::copy(entry.path(), bundle.join(entry.file_name())).unwrap();
        }
        fs::write(bundle.join("decoder.onnx"), "broken").unwrap();
        let error = write_site(&bundle, runtime.path(), None, &out).unwrap_err();
        assert!(matches!(error, PageError::Bundle(_)), "{error}");
        assert!(out.join("index.html").is_file());
    }
}

//! The program `glow-export`.
mod support;

use std::process::{Command, Output};

fn glow_export(arguments: &[&str]) -> Output {
    Command::new(env!("CARGO_BIN_EXE_glow-export")).args(arguments).output().unwrap()
}

#[test]
fn exit_codes_and_streams() {
    let (folder, path) = support::checkpoint(&support::small());
    let (path, out) = (path.to_str().unwrap(), folder.path().join("bundle"));
    let out = out.to_str().unwrap();

    let done = glow_export(&[path, "--out", out]);
    let (stdout, stderr) = (String::from_utf8(done.stdout).unwrap(), String::from_utf8(done.stderr).unwrap());
    assert_eq!(done.status.code(), Some(0), "{stderr}");
    assert!(stdout.contains("bundle") && stdout.contains("nodes"), "{stdout}");
    assert!(stderr.contains("tolerance") && stderr.contains('✓'), "{stderr}");

    let failed = glow_export(&["no/such/run", "--out", out]);
    assert_eq!((failed.status.code(), failed.stdout.len()), (Some(1), 0));
    assert!(String::from_utf8(failed.stderr).unwrap().contains("no/such/run does not exist"));
    for wrong in [&[path][..], &[path, "--out", out, "--precision", "fp8"], &["--frobnicate"]] {
        assert_eq!(glow_export(wrong).status.code(), Some(2), "{wrong:?}");
    }
    let help = String::from_utf8(glow_export(&["--help"]).stdout).unwrap();
    assert!(help.contains("Example:"), "{help}");
}

#[test]
fn a_bundle_is_imported_and_what_cannot_be_is_explained() {
    let (folder, path) = support::checkpoint(&support::small());
    let at = |name: &str| folder.path().join(name).to_str().unwrap().to_string();
    let (bundle, thawed, again) = (at("bundle"), at("thawed.safetensors"), at("again"));
    let photos = folder.path().join("photos");
    support::write_images(&photos, &support::small(), 6);
    assert_eq!(glow_export(&[path.to_str().unwrap(), "--out", &bundle]).status.code(), Some(0));

    let done = glow_export(&["import", &bundle, "--out", &thawed, "--data", photos.to_str().unwrap()]);
    let (stdout, stderr) = (String::from_utf8(done.stdout).unwrap(), String::from_utf8(done.stderr).unwrap());
    assert_eq!(done.status.code(), Some(0), "{stderr}");
    assert_eq!(stdout.trim(), thawed);
    for part in ["a frozen bundle", "8×8×3", "2 levels of 2 steps", "note: thawed", "bits/dim of 6 images"]
    {
        assert!(stderr.contains(part), "{stderr} does not say {part:?}");
    }
    assert_eq!(glow_export(&[&thawed, "--out", &again]).status.code(), Some(0));

    let nothing = at("nothing.pt");
    std::fs::write(&nothing, "not a checkpoint").unwrap();
    for (file, expected) in [
        (nothing.as_str(), "cannot be read as a PyTorch file"),
        ("no/such/file", "cannot read no/such/file"),
        (folder.path().to_str().unwrap(), "no folder of a bundle"),
        (path.to_str().unwrap(), "takes checkpoints of glow-train as they are"),
    ] {
        let failed = glow_export(&["import", file, "--out", &at("out")]);
        let stderr = String::from_utf8(failed.stderr).unwrap();
        assert_eq!(failed.status.code(), Some(1), "{stderr}");
        assert!(stderr.contains(expected), "{stderr} does not say {expected:?}");
        assert!(!folder.path().join("out").exists());
    }
    for wrong in [&["import", &bundle][..], &["import", "--out", &thawed]] {
        assert_eq!(glow_export(wrong).status.code(), Some(2), "{wrong:?}");
    }
}

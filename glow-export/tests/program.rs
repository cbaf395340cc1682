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

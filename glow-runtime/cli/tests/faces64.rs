//! The program `glow` with the model that comes with it, and photographs with a face in them.
#![cfg(feature = "faces64")]
mod support;

use std::path::{Path, PathBuf};
use support::{glow, size, stdout};

/// faces64, the model that comes with the program, in the checkout.
fn faces64() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../../models/faces64")
}

/// A photograph of 280×300 pixels, and where the face in it is.
fn photograph() -> (String, &'static str) {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../tests/photographs/astronaut.jpg");
    (path.to_str().unwrap().into(), "94,63,92,110")
}

#[test]
fn without_a_bundle_the_programs_own_model_is_used() {
    let folder = tempfile::tempdir().unwrap();
    let [own, named] = ["own.png", "named.png"].map(|name| folder.path().join(name));
    let sample = |bundle: Option<PathBuf>, out: &Path| {
        glow().arg("sample").args(bundle).args(["--count", "2", "--out"]).arg(out).output().unwrap()
    };
    let output = sample(None, &own);
    let told = String::from_utf8_lossy(&output.stderr).into_owned();
    stdout(&output);
    assert!(told.contains("faces64") && told.contains("non-commercial research only"), "{told}");
    let output = sample(Some(faces64()), &named);
    assert!(!String::from_utf8_lossy(&output.stderr).contains("faces64"), "what was named is not told again");
    stdout(&output);
    assert!(std::fs::read(&own).unwrap() == std::fs::read(&named).unwrap());
    let pixels = image::open(&own).unwrap().to_rgb8().into_raw();
    let spread = pixels.iter().max().unwrap() - pixels.iter().min().unwrap();
    assert!(spread > 150, "the samples are pictures: {spread}");

    let info = stdout(&glow().args(["info", "--json"]).output().unwrap());
    let info: serde_json::Value = serde_json::from_str(&info).unwrap();
    assert_eq!(info["architecture"]["height"], 64);
    assert!(info["files"].as_object().unwrap().values().all(|file| file["problem"].is_null()), "{info}");
    let attributes = stdout(&glow().args(["attributes", "list"]).output().unwrap());
    assert_eq!(attributes.lines().count(), 11, "{attributes}");
}

#[test]
fn a_face_in_a_photograph_is_edited_where_it_is() {
    let folder = tempfile::tempdir().unwrap();
    let path = |name: &str| folder.path().join(name).to_str().unwrap().to_string();
    let (photograph, face) = photograph();
    let edit = |arguments: &[&str]| glow().args(["edit", &photograph]).args(arguments).output().unwrap();
    let [smile, all, pasted] = ["smile.png", "all.png", "pasted.png"].map(path);

    stdout(&edit(&[
        "--face",
        face,
        "--attribute",
        "Smiling=1",
        "--steps",
        "3",
        "--scale",
        "1",
        "--out",
        &smile,
    ]));
    assert_eq!(size(Path::new(&smile)), (3 * 66 + 2, 68));
    let row = image::open(&smile).unwrap().to_rgb8();
    let at = |step: u32| image::imageops::crop_imm(&row, 2 + 66 * step, 2, 64, 64).to_image().into_raw();
    let distance = |a: Vec<u8>, b: Vec<u8>| {
        a.iter().zip(&b).map(|(a, b)| f64::from(a.abs_diff(*b))).sum::<f64>() / a.len() as f64
    };
    assert!(distance(at(0), at(1)) > 2.0 && distance(at(2), at(1)) > 2.0);

    stdout(&edit(&["--face", face, "--each", "--scale", "1", "--out", &all]));
    assert_eq!(size(Path::new(&all)), (5 * 66 + 2, 10 * 66 + 2));

    stdout(&edit(&["--face", face, "--attribute", "Smiling=-1", "--paste", "--out", &pasted]));
    let (before, after) =
        (image::open(&photograph).unwrap().to_rgb8(), image::open(&pasted).unwrap().to_rgb8());
    assert_eq!(before.dimensions(), after.dimensions());
    // The window is the 169×169 pixels at (55, 16).
    let changed: Vec<bool> = before
        .enumerate_pixels()
        .filter(|&(x, y, _)| !((55..224).contains(&x) && (16..185).contains(&y)))
        .map(|(x, y, pixel)| after.get_pixel(x, y) != pixel)
        .collect();
    assert!(changed.len() > 50_000 && !changed.contains(&true), "what is around the face stays");
    assert!(distance(before.into_raw(), after.into_raw()) > 0.2);

    let other = path("other");
    for (code, arguments) in [
        (2, &["--face", "1,2,3", "--attribute", "Smiling=1", "--out", &smile][..]),
        (2, &["--face", "900,900,50,50", "--attribute", "Smiling=1", "--out", &smile]),
        (2, &["--face", "0,0,300,400", "--attribute", "Smiling=1", "--out", &smile]),
        (2, &["--face", face, "--crop", "", "--attribute", "Smiling=1", "--out", &smile]),
        (2, &["--paste", "--each", "--out", &smile]),
        (2, &["--out", &smile]),
        // 14 pixels cannot become 64.
        (1, &["--face", "100,100,7,9", "--attribute", "Smiling=1", "--out", &other]),
    ] {
        let output = edit(arguments);
        let stderr = String::from_utf8_lossy(&output.stderr);
        assert_eq!(output.status.code(), Some(code), "{arguments:?}: {stderr}");
    }
}

#[test]
fn the_models_own_samples_go_in_uncut() {
    let folder = tempfile::tempdir().unwrap();
    let samples = folder.path().join("samples");
    stdout(&glow().args(["sample", "--count", "2", "--out"]).arg(&samples).output().unwrap());
    let score = |more: &[&str]| glow().arg("score").arg(&samples).args(more).output().unwrap();
    assert_eq!(stdout(&score(&["--crop", ""])).lines().count(), 3);
    // Cut as photographs are, they would have to be enlarged.
    assert_eq!(score(&[]).status.code(), Some(1));
    let out = folder.path().join("between.png");
    let ends = [samples.join("sample-00000.png"), samples.join("sample-00001.png")];
    let mut between = glow();
    between
        .arg("interpolate")
        .args(&ends)
        .args(["--crop", "", "--steps", "3", "--scale", "1", "--out"])
        .arg(&out);
    stdout(&between.output().unwrap());
    assert_eq!(size(&out), (3 * 66 + 2, 68));
}

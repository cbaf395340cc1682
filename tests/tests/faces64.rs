//! The model that comes with the project, on real photographs: scored, and trained on from.
use glow_tests::{assert_fails, checkout, faces, run, stdout};

/// The square of a photograph's full width.
const SQUARE: &str = "0%,9%,100%,82%";

/// Mean bits/dim of a table of `glow score`.
fn mean(table: &str) -> f64 {
    let bits = table.lines().skip(1).map(|line| line.split('\t').nth(3).expect("a column of bits/dim"));
    let bits: Vec<f64> = bits.map(|bits| bits.trim_start_matches('~').parse().expect("a number")).collect();
    bits.iter().sum::<f64>() / bits.len() as f64
}

#[test]
fn photographs_of_faces_are_likely_and_others_are_not() {
    let faces = faces();
    let score = |images: &str, more: &[&str]| mean(&stdout(run("glow", [&["score", images], more].concat())));
    let own = score(faces.to_str().unwrap(), &["--crop", SQUARE, "--limit", "40"]);
    // Gray, larger in the picture, of another camera: and yet faces.
    assert!((0.7..1.3).contains(&own), "{own}");
    let folder = tempfile::tempdir().unwrap();
    let noise = folder.path().join("noise.png");
    let value = |x: u32, y: u32, c: u32| {
        let hash = (x * 64 + y).wrapping_mul(2_654_435_761).wrapping_add(c * 97).wrapping_mul(0x9E37_79B1);
        (hash >> 24) as u8
    };
    image::RgbImage::from_fn(64, 64, |x, y| image::Rgb([0, 1, 2].map(|c| value(x, y, c))))
        .save(&noise)
        .unwrap();
    let other = score(noise.to_str().unwrap(), &["--crop", ""]);
    assert!(other > 4.0, "{other}");
}

#[test]
fn training_goes_on_where_the_model_stands() {
    let folder = tempfile::tempdir().unwrap();
    let (model, data) = (checkout().join("models/faces64"), format!("images:{}", faces().display()));
    let train = |name: &str, more: &[&str]| {
        let out = folder.path().join(name);
        let mut arguments = vec!["--init-from", model.to_str().unwrap(), "--data", &data, "--crop", SQUARE];
        arguments.extend([
            "--train-for",
            "1 step",
            "--batch-size",
            "2",
            "--init-batch",
            "2",
            "--validate-images",
            "16",
        ]);
        arguments.extend(["--sample-every", "none", "--device", "cpu", "--out", out.to_str().unwrap()]);
        arguments.extend(more);
        run("glow-train", arguments)
    };
    // The photographs are gray, the model takes RGB.
    assert_fails(&train("refused", &[]), 1, "--gray-as-rgb");
    stdout(train("run", &["--gray-as-rgb", "true"]));
    let metrics = std::fs::read_to_string(folder.path().join("run/metrics.jsonl")).unwrap();
    let first: serde_json::Value = serde_json::from_str(metrics.lines().next().unwrap()).unwrap();
    assert_eq!((first["split"].as_str(), first["step"].as_u64()), (Some("validation"), Some(0)));
    let bits = first["bits_per_dim"].as_f64().unwrap();
    assert!((0.7..1.3).contains(&bits), "{bits}");
}
